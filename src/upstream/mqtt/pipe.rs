//! One connection to a broker behind four verbs: connect, publish, next event, close.
//!
//! A task of its own owns the socket. Packet identifiers go round all 65 535, and no more than a window of them is in
//! use, so none is met again while it is.

use super::config::Config;
use super::wire::{Greeting, Heard, Hello, Letter};
use crate::uplink::{self, Connection, DialError, Endpoint, Problem, TlsError, Validity};
use bytes::BytesMut;
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
/// How long the answer to a ping may take, beside the keep-alive itself.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Connected(Greeting, Validity),
    Acknowledged(u16),
    /// Never to be taken, for this reason.
    Refused(u16, &'static str),
    /// Our good-bye is out.
    Closed,
    Trouble(String),
}

enum Request {
    Publish(Letter),
    Close,
}

/// One connection. Dropping it closes it with all that was not written yet.
pub(super) struct Pipe {
    requests: mpsc::Sender<Request>,
    events: mpsc::Receiver<Happened>,
    driver: JoinHandle<()>,
    last: u16,
}

impl Pipe {
    /// Begins to connect; the first event says what came of it.
    pub(super) fn connect(config: &Config, to: &Endpoint, hello: Hello) -> Pipe {
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (told, events) = mpsc::channel(EVENTS);
        let (config, to) = (config.clone(), to.clone());
        let driver = tokio::spawn(async move {
            let ended = converse(&config, &to, &hello, asked, &told).await;
            let _ = told.send(ended.map_or_else(Happened::Trouble, |()| Happened::Closed)).await;
        });
        Pipe { requests, events, driver, last: 0 }
    }

    /// Hands over a publish with QoS 1, and says under which identifier it goes.
    pub(super) fn publish(
        &mut self,
        topic: &str,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<u16, String> {
        let packet = self.last.checked_add(1).unwrap_or(1);
        let letter = Letter { packet, topic: topic.to_owned(), retain, payload: payload.into() };
        let sent = self.requests.try_send(Request::Publish(letter));
        sent.map_err(|_| "the connection takes no publish".to_owned())?;
        self.last = packet;
        Ok(packet)
    }

    pub(super) async fn next(&mut self) -> Happened {
        self.events.recv().await.unwrap_or_else(|| Happened::Trouble("the connection ended".to_owned()))
    }

    /// What has happened already, without waiting.
    pub(super) fn ready(&mut self) -> Option<Happened> {
        self.events.try_recv().ok()
    }

    /// A proper DISCONNECT; `Closed` follows when it is out.
    pub(super) fn close(&self) {
        // A queue that is full at this point means a broker that does not read: dropping will do.
        let _ = self.requests.try_send(Request::Close);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The whole connection; `Ok` when our good-bye is out.
async fn converse(
    config: &Config,
    to: &Endpoint,
    hello: &Hello,
    mut requests: mpsc::Receiver<Request>,
    events: &mpsc::Sender<Happened>,
) -> Result<(), String> {
    let dialled = uplink::dial(to, config.tls.as_ref()).await;
    let connection = dialled.map_err(|error| undialled(&error, hello.clock_unsure))?;
    let validity = connection.validity();
    let mut talk = Talk::new(config, to, connection);
    talk.config.version.connect(hello, &mut talk.output)?;
    let greeting = match timeout(GREETING, talk.greeting()).await {
        Ok(greeting) => greeting?,
        Err(_) => return Err(format!("{to} does not answer")),
    };
    talk.keep_alive = greeting.keep_alive.unwrap_or(config.keep_alive);
    if events.send(Happened::Connected(greeting, validity)).await.is_err() {
        return Ok(());
    }
    loop {
        let over = talk.turn(Some(&mut requests)).await?;
        while let Some(heard) = talk.hear()? {
            let happened = match heard {
                Heard::Acknowledged(packet) => Happened::Acknowledged(packet),
                Heard::Refused(packet, why) => Happened::Refused(packet, why),
                Heard::Life => continue,
                Heard::Greeted(_) => return Err(format!("{to} greets twice; the connection is made anew")),
            };
            if events.send(happened).await.is_err() {
                return Ok(());
            }
        }
        if over {
            return Ok(());
        }
    }
}

/// A wrong clock makes good certificates look bad.
fn undialled(error: &DialError, clock_unsure: bool) -> String {
    let by_date = matches!(
        error,
        DialError::Tls(_, TlsError::Certificate { problem: Problem::Expired | Problem::NotYetValid, .. })
    );
    let doubt = if by_date && clock_unsure {
        " (or this machine's clock is wrong: it is not known to be right yet)"
    } else {
        ""
    };
    format!("{error}{doubt}")
}

struct Talk<'a> {
    config: &'a Config,
    to: &'a Endpoint,
    reader: ReadHalf<Connection>,
    writer: WriteHalf<Connection>,
    asked: Vec<Request>,
    input: BytesMut,
    output: BytesMut,
    /// Something was written and not flushed: TLS may hold it back.
    unflushed: bool,
    closing: bool,
    keep_alive: Duration,
    sent: Instant,
    heard: Instant,
    /// A ping that nothing was heard since.
    pinged: Option<Instant>,
}

impl<'a> Talk<'a> {
    fn new(config: &'a Config, to: &'a Endpoint, connection: Connection) -> Talk<'a> {
        let (reader, writer) = tokio::io::split(connection);
        let now = Instant::now();
        Talk {
            config,
            to,
            reader,
            writer,
            asked: Vec::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            unflushed: false,
            closing: false,
            keep_alive: config.keep_alive,
            sent: now,
            heard: now,
            pinged: None,
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
        self.config.version.hear(&mut self.input).map_err(|what| format!("{to} {what}"))
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
                if !all_out.map_err(|error| io_sentence(&error, to))? {
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

    fn write_out(&mut self) -> Result<(), String> {
        let version = self.config.version;
        for request in self.asked.drain(..) {
            match request {
                Request::Publish(letter) => version.publish(letter, &mut self.output)?,
                Request::Close => {
                    self.closing = true;
                    version.disconnect(&mut self.output)?;
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
        self.config.version.ping(&mut self.output)
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

/// Writes some of it, or, where there is nothing left to write, sees to it that all goes out: `true`. Nothing is lost where
/// this is not waited for to the end.
async fn push(writer: &mut WriteHalf<Connection>, output: &mut BytesMut) -> io::Result<bool> {
    if output.is_empty() {
        writer.flush().await.map(|()| true)
    } else {
        writer.write_buf(output).await.map(|_| false)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn io_sentence(error: &io::Error, to: &Endpoint) -> String {
    if let Some(said) = uplink::said_by_tls(error) {
        return format!("{to}: {said}");
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => format!("{to} closed the connection"),
        io::ErrorKind::TimedOut => format!("{to} does not acknowledge what is sent: the path is dead"),
        _ => format!("{to}: {error}"),
    }
}
