//! One connection to a broker behind a few verbs: connect, publish, subscribe, next event, close.
//!
//! A task of its own owns the socket. Packet identifiers go round all 65 535, and no more than a window of them is in
//! use, so none is met again while it is. A message with QoS 1 is acknowledged when the session is about to hear it.
//!
//! Nobody acknowledges a publish with QoS 0. [`Pipe::ask_how_far`] puts a PINGREQ behind what was handed over: a broker
//! reads what a connection brings in its order (MQTT 3.1.1, 4.6; TCP), so once it has answered, it has read all that
//! stood before it.

use super::broken::{io_sentence, undialled};
use super::config::Access;
use super::giant::Giants;
use super::out::push;
use super::wire::{Greeting, Heard, Hello, Letter};
use crate::uplink::{Connection, Dialler, Endpoint, Validity};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the broker may take to greet.
const GREETING: Duration = Duration::from_secs(30);
/// What is handed over and not written yet: the window, status, meta and good-bye.
const REQUESTS: usize = 64;
/// Events that the session has not looked at yet.
const EVENTS: usize = 128;
/// Octets that wait for the socket before no more is taken out of the queue.
const OUTPUT: usize = 256 << 10;
/// How long is listened to a far end that takes nothing any more.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long the answer to a ping may take, beside the keep-alive itself.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Happened {
    Connected(Greeting, Validity),
    Acknowledged(u16),
    /// Never to be taken, for this reason.
    Refused(u16, &'static str),
    /// What was subscribed to under this identifier, and whether all of it was granted.
    Subscribed(u16, bool),
    /// What we have subscribed to; `retain` says that it was there before.
    Message {
        topic: String,
        payload: Vec<u8>,
        retain: bool,
    },
    /// The broker has read all that was handed over before this was asked.
    ReadSoFar(u64),
    /// Our good-bye is out.
    Closed,
    Trouble(String),
}

enum Request {
    Publish(Letter),
    Subscribe(u16, Vec<String>),
    HowFar(u64),
    /// With or without the broker saying our Will.
    Close(bool),
}

/// One connection. Dropping it closes it with all that was not written yet.
pub(in crate::upstream) struct Pipe {
    requests: mpsc::Sender<Request>,
    events: mpsc::Receiver<Happened>,
    driver: JoinHandle<()>,
    last: u16,
    /// How often it was asked how far the broker has read.
    asked: u64,
}

impl Pipe {
    /// Begins to connect; the first event says what came of it. How the session is asked for is made when the broker has
    /// been reached, so that whoever counts sessions counts those that were asked for.
    pub(in crate::upstream) fn connect(
        access: &Access,
        to: &Endpoint,
        hello: (bool, impl Future<Output = Result<Hello, String>> + Send + 'static),
        by: Dialler,
    ) -> Pipe {
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (told, events) = mpsc::channel(EVENTS);
        let end = (access.clone(), to.clone());
        let driver = tokio::spawn(async move {
            let ended = converse(&end, by, hello, asked, &told).await;
            let _ = told.send(ended.map_or_else(Happened::Trouble, |()| Happened::Closed)).await;
        });
        Pipe { requests, events, driver, last: 0, asked: 0 }
    }

    /// Hands over a publish with QoS 1, and says under which identifier it goes.
    pub(in crate::upstream) fn publish(
        &mut self,
        topic: &str,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<u16, String> {
        let (topic, payload) = (topic.to_owned(), payload.into());
        self.numbered(|packet| Request::Publish(Letter { packet: Some(packet), topic, retain, payload }))
    }

    /// Hands over a publish with QoS 0, not retained.
    pub(in crate::upstream) fn publish_unacknowledged(
        &self,
        topic: &str,
        payload: Vec<u8>,
    ) -> Result<(), String> {
        let letter = Letter { packet: None, topic: topic.to_owned(), retain: false, payload };
        self.request(Request::Publish(letter))
    }

    /// Subscribes to these filters with QoS 1; `Subscribed` follows under this identifier.
    pub(in crate::upstream) fn subscribe(&mut self, filters: Vec<String>) -> Result<u16, String> {
        self.numbered(|packet| Request::Subscribe(packet, filters))
    }

    /// Asks the broker to say when it has read all that was handed over so far; `ReadSoFar` follows with this number.
    pub(in crate::upstream) fn ask_how_far(&mut self) -> Result<u64, String> {
        self.request(Request::HowFar(self.asked + 1))?;
        self.asked += 1;
        Ok(self.asked)
    }

    /// How much more may be handed over before something has gone out.
    pub(in crate::upstream) fn room(&self) -> usize {
        self.requests.capacity()
    }

    /// Hands over what has an identifier, under the next one.
    fn numbered(&mut self, request: impl FnOnce(u16) -> Request) -> Result<u16, String> {
        let packet = self.last.checked_add(1).unwrap_or(1);
        self.request(request(packet))?;
        self.last = packet;
        Ok(packet)
    }

    fn request(&self, request: Request) -> Result<(), String> {
        self.requests.try_send(request).map_err(|_| "the connection takes no publish".to_owned())
    }

    pub(in crate::upstream) async fn next(&mut self) -> Happened {
        self.events.recv().await.unwrap_or_else(|| Happened::Trouble("the connection ended".to_owned()))
    }

    /// What has happened already, without waiting.
    pub(in crate::upstream) fn ready(&mut self) -> Option<Happened> {
        self.events.try_recv().ok()
    }

    /// A proper DISCONNECT; `Closed` follows when it is out.
    pub(in crate::upstream) fn close(&self) {
        // A queue that is full at this point means a broker that does not read: dropping will do.
        let _ = self.requests.try_send(Request::Close(false));
    }

    /// The same, and the broker says our Will, if it is one of MQTT 5 (3.14.2.1, reason 0x04); 3.1.1 has no such thing.
    pub(in crate::upstream) fn close_with_will(&self) {
        let _ = self.requests.try_send(Request::Close(true));
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The whole connection; `Ok` when our good-bye is out.
async fn converse(
    (access, to): &(Access, Endpoint),
    by: Dialler,
    (clock_unsure, hello): (bool, impl Future<Output = Result<Hello, String>>),
    mut requests: mpsc::Receiver<Request>,
    events: &mpsc::Sender<Happened>,
) -> Result<(), String> {
    let dialled = by.dial(to, access.tls.as_ref()).await;
    let connection = dialled.map_err(|error| undialled(&error, clock_unsure))?;
    let validity = connection.validity();
    let mut talk = Talk::new(access, to, connection);
    talk.access.version.connect(&hello.await?, &mut talk.output)?;
    let greeting = match timeout(GREETING, talk.greeting()).await {
        Ok(greeting) => greeting?,
        Err(_) => return Err(format!("{to} does not answer")),
    };
    talk.keep_alive = greeting.keep_alive.unwrap_or(access.keep_alive);
    if events.send(Happened::Connected(greeting, validity)).await.is_err() {
        return Ok(());
    }
    loop {
        let over = talk.turn(Some(&mut requests)).await?;
        while let Some(heard) = talk.hear()? {
            let Some(happened) = talk.means(heard)? else { continue };
            if events.send(happened).await.is_err() {
                return Ok(());
            }
        }
        if over {
            return Ok(());
        }
    }
}

struct Talk<'a> {
    access: &'a Access,
    to: &'a Endpoint,
    reader: ReadHalf<Connection>,
    writer: WriteHalf<Connection>,
    asked: Vec<Request>,
    input: BytesMut,
    output: BytesMut,
    /// Something was written and not flushed: TLS may hold it back.
    unflushed: bool,
    closing: bool,
    giants: Giants,
    keep_alive: Duration,
    sent: Instant,
    heard: Instant,
    /// A ping that nothing was heard since.
    pinged: Option<Instant>,
    /// The pings that are not answered yet, in their order: those that somebody has asked for have a number.
    pings: VecDeque<Option<u64>>,
}

impl<'a> Talk<'a> {
    fn new(access: &'a Access, to: &'a Endpoint, connection: Connection) -> Talk<'a> {
        let (reader, writer) = tokio::io::split(connection);
        let now = Instant::now();
        Talk {
            access,
            to,
            reader,
            writer,
            asked: Vec::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            unflushed: false,
            closing: false,
            giants: Giants::default(),
            keep_alive: access.keep_alive,
            sent: now,
            heard: now,
            pinged: None,
            pings: VecDeque::new(),
        }
    }

    async fn greeting(&mut self) -> Result<Greeting, String> {
        loop {
            self.turn(None).await?;
            match self.hear()? {
                Some(Heard::Greeted(greeting)) => return Ok(greeting),
                Some(_) => {
                    return Err(format!(
                        "{} answers before it greets: is something else listening on this port?",
                        self.to
                    ));
                }
                None => {}
            }
        }
    }

    fn hear(&mut self) -> Result<Option<Heard>, String> {
        let to = self.to;
        let (version, output) = (self.access.version, &mut self.output);
        if self.giants.pass(&mut self.input, |packet| version.acknowledge(packet, output))? {
            return Ok(None);
        }
        self.access.version.hear(&mut self.input).map_err(|what| format!("{to} {what}"))
    }

    /// What the session is to know of it, if anything.
    fn means(&mut self, heard: Heard) -> Result<Option<Happened>, String> {
        Ok(match heard {
            Heard::Acknowledged(packet) => Some(Happened::Acknowledged(packet)),
            Heard::Refused(packet, why) => Some(Happened::Refused(packet, why)),
            Heard::Subscribed(packet, granted) => Some(Happened::Subscribed(packet, granted)),
            Heard::Message(Letter { packet, topic, payload, retain }) => {
                if let Some(packet) = packet {
                    self.access.version.acknowledge(packet, &mut self.output)?;
                }
                Some(Happened::Message { topic, payload, retain })
            }
            Heard::Pong => self.pings.pop_front().flatten().map(Happened::ReadSoFar),
            Heard::Life => None,
            Heard::Greeted(_) => {
                return Err(format!("{} greets twice; the connection is made anew", self.to));
            }
        })
    }

    /// One step in whichever direction is ready; `true` when the good-bye is out.
    async fn turn(&mut self, requests: Option<&mut mpsc::Receiver<Request>>) -> Result<bool, String> {
        let to = self.to;
        let due = self.due();
        let is_pushing = self.unflushed || !self.output.is_empty();
        let has_room = self.output.len() < OUTPUT && !self.closing;
        tokio::select! {
            read = self.reader.read_buf(&mut self.input) => {
                if read.map_err(|error| io_sentence(&error, to))? == 0 {
                    return Err(format!("{to} closed the connection"));
                }
                (self.heard, self.pinged) = (Instant::now(), None);
            }
            all_out = push(&mut self.writer, &mut self.output), if is_pushing => {
                let all_out = match all_out {
                    Ok(all_out) => all_out,
                    Err(error) => return Err(self.last_words(&error).await),
                };
                if !all_out {
                    (self.sent, self.unflushed) = (Instant::now(), true);
                    return Ok(false);
                }
                self.unflushed = false;
                if self.closing {
                    // A TLS session says that it ends; whether the far end still listens does not matter.
                    let _ = self.writer.shutdown().await;
                    return Ok(true);
                }
            }
            some = asked(requests, &mut self.asked), if has_room => {
                if !some {
                    return Ok(true);
                }
                self.write_out()?;
            }
            () = sleep_until(due) => self.ping()?,
        }
        Ok(false)
    }

    /// Who hangs up may have said why just before, and that has arrived although nothing can be written any more.
    async fn last_words(&mut self, error: &io::Error) -> String {
        while let Ok(Ok(1..)) = timeout(LAST_WORDS, self.reader.read_buf(&mut self.input)).await {}
        loop {
            match self.hear() {
                Ok(Some(_)) => {}
                Ok(None) => return io_sentence(error, self.to),
                Err(said) => return said,
            }
        }
    }

    fn write_out(&mut self) -> Result<(), String> {
        let version = self.access.version;
        for request in self.asked.drain(..) {
            match request {
                Request::Publish(letter) => version.publish(letter, &mut self.output)?,
                Request::Subscribe(packet, filters) => {
                    version.subscribe(packet, filters, &mut self.output)?;
                }
                Request::HowFar(number) => {
                    self.pings.push_back(Some(number));
                    version.ping(&mut self.output)?;
                }
                Request::Close(with_will) => {
                    self.closing = true;
                    version.disconnect(with_will, &mut self.output)?;
                }
            }
        }
        Ok(())
    }

    /// When a ping has to go out, or its answer to be there.
    fn due(&self) -> Instant {
        match self.pinged {
            Some(at) => at + PING_PATIENCE.max(self.keep_alive / 2),
            None => self.sent.min(self.heard) + self.keep_alive,
        }
    }

    fn ping(&mut self) -> Result<(), String> {
        if self.pinged.is_some() {
            return Err(format!("{} has not answered for {} s", self.to, self.heard.elapsed().as_secs()));
        }
        self.pinged = Some(Instant::now());
        self.pings.push_back(None);
        self.access.version.ping(&mut self.output)
    }
}

/// All that waits, so that it goes out in one write; `false` where nobody asks any more. Before the greeting nothing is
/// asked.
async fn asked(requests: Option<&mut mpsc::Receiver<Request>>, into: &mut Vec<Request>) -> bool {
    match requests {
        Some(requests) => requests.recv_many(into, REQUESTS).await > 0,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::mqtt::wire::Will;
    use tokio::net::{TcpListener, TcpStream};

    async fn heard(broker: &mut TcpStream, octets: usize) -> Vec<u8> {
        let mut heard = vec![0; octets];
        broker.read_exact(&mut heard).await.unwrap();
        heard
    }

    /// A pipe that has been greeted, and the socket at its far end.
    async fn greeted() -> (Pipe, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let access = Access::here(listener.local_addr().unwrap().port());
        let will = Will { topic: "w".to_owned(), payload: vec![0xff, 0], retain: false };
        let hello = Hello {
            client_id: "id".to_owned(),
            keep_alive: access.keep_alive,
            will: Some(will),
            login: None,
        };
        let hello = (false, std::future::ready(Ok(hello)));
        let mut pipe = Pipe::connect(&access, &access.brokers[0], hello, Dialler::default());
        let (mut broker, _) = listener.accept().await.unwrap();
        // Clean session, a will with QoS 1 that is not retained, of any octets.
        assert_eq!(
            heard(&mut broker, 23).await,
            b"\x10\x15\x00\x04MQTT\x04\x0e\x00\x1e\x00\x02id\x00\x01w\x00\x02\xff\x00"
        );
        broker.write_all(b"\x20\x02\x00\x00").await.unwrap();
        assert!(matches!(pipe.next().await, Happened::Connected(..)));
        (pipe, broker)
    }

    #[tokio::test]
    async fn what_was_subscribed_to_arrives_and_is_acknowledged() {
        let (mut pipe, mut broker) = greeted().await;
        let packet = pipe.subscribe(vec!["a/+".to_owned()]).unwrap();
        assert_eq!(heard(&mut broker, 10).await, b"\x82\x08\x00\x01\x00\x03a/+\x01");
        broker.write_all(b"\x90\x03\x00\x01\x01\x33\x08\x00\x03a/b\x01\x02x").await.unwrap();
        assert_eq!(pipe.next().await, Happened::Subscribed(packet, true));
        let expected = Happened::Message { topic: "a/b".to_owned(), payload: b"x".to_vec(), retain: true };
        assert_eq!(pipe.next().await, expected);
        assert_eq!(heard(&mut broker, 4).await, b"\x40\x02\x01\x02");
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_is_acknowledged_and_passed_over() {
        let (mut pipe, mut broker) = greeted().await;
        // 200 007 octets behind the head, which come in pieces, and a small one behind them.
        let mut giant = b"\x32\xc7\x9a\x0c\x00\x01t\x00\x07".to_vec();
        giant.resize(4 + 200_007, b'x');
        giant.extend(b"\x30\x04\x00\x01ty");
        for piece in giant.chunks(50_000) {
            broker.write_all(piece).await.unwrap();
        }
        let message = Happened::Message { topic: "t".to_owned(), payload: b"y".to_vec(), retain: false };
        assert_eq!(pipe.next().await, message);
        assert_eq!(heard(&mut broker, 4).await, b"\x40\x02\x00\x07");
    }

    #[tokio::test]
    async fn how_far_the_broker_has_read_is_known_behind_what_nobody_acknowledges() {
        let (mut pipe, mut broker) = greeted().await;
        pipe.publish_unacknowledged("t", b"1".to_vec()).unwrap();
        let first = pipe.ask_how_far().unwrap();
        pipe.publish_unacknowledged("t", b"2".to_vec()).unwrap();
        let second = pipe.ask_how_far().unwrap();
        let expected = b"\x30\x04\x00\x01t1\xc0\x00\x30\x04\x00\x01t2\xc0\x00";
        assert_eq!(heard(&mut broker, 16).await, expected);
        broker.write_all(b"\xd0\x00\xd0\x00\xd0\x00").await.unwrap();
        assert_eq!(pipe.next().await, Happened::ReadSoFar(first));
        assert_eq!(pipe.next().await, Happened::ReadSoFar(second));
        // A third answer, to nobody's question, means nothing.
        pipe.ask_how_far().unwrap();
        assert_eq!(heard(&mut broker, 2).await, b"\xc0\x00");
        broker.write_all(b"\xd0\x00").await.unwrap();
        assert_eq!(pipe.next().await, Happened::ReadSoFar(3));
    }
}
