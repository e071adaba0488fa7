//! One connection: status, meta, then records from the cursor on, until trouble or the stop.

use super::Config;
use super::pipe::{Happened, LARGEST_PAYLOAD, Pipe};
use super::window::{Fate, What, Window};
use crate::encode::json::{self, Number};
use crate::encode::{Encoding, Numbered, Refused};
use crate::model::{Name, Reading, Timestamp};
use crate::record;
use crate::spool::{Closed, Stored};
use crate::upstream::Work;
use crate::upstream::backoff::Backoff;
use rumqttc::{LastWill, QoS};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Records fetched from the spool at a time.
const RECORDS: usize = 64;
const OCTETS: usize = 256 << 10;
/// A publish that is not acknowledged for so long will not be on this connection.
const ACK_PATIENCE: Duration = Duration::from_secs(20);
/// Status is said again after this, and when the backlog has come to nothing.
const STATUS_EVERY: Duration = Duration::from_secs(60);
/// Younger than this is live, or younger than three periods if those are longer.
const LIVE: Duration = Duration::from_secs(30);
/// How long what was there at the stop may take to be delivered, and the good-bye to go out.
const DRAIN: Duration = Duration::from_secs(2);

/// Why a session is over.
#[derive(Debug)]
pub(super) enum Ended {
    AsAsked,
    SpoolClosed,
    Trouble(String),
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Ended {
        Ended::SpoolClosed
    }
}

pub(super) struct Session<'a> {
    config: &'a Config,
    work: &'a mut Work,
    backoff: &'a mut Backoff,
    pipe: Pipe,
    window: Window,
    /// Fetched and not yet handed to the client.
    fetched: VecDeque<Stored>,
    /// The last position fetched.
    at: u64,
    connected: Timestamp,
    /// The number of the last event that was handed to the client.
    told: u64,
    /// How often each device is read, of the site that meta was last said of.
    every: BTreeMap<Name, Duration>,
    status_due: Instant,
    /// The last status told of a backlog.
    had_backlog: bool,
    stopping: Option<Stopping>,
}

/// The end, step by step: deliver up to here, say good-bye, close.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    upto: u64,
    by: Instant,
    said_goodbye: bool,
    closing: bool,
}

impl<'a> Session<'a> {
    pub(super) async fn run(config: &'a Config, work: &'a mut Work, backoff: &'a mut Backoff) -> Ended {
        match Session::connect(config, work, backoff).await {
            Ok(mut session) => match session.deliver().await {
                Ok(()) => Ended::AsAsked,
                Err(ended) => ended,
            },
            Err(ended) => ended,
        }
    }

    async fn connect(
        config: &'a Config,
        work: &'a mut Work,
        backoff: &'a mut Backoff,
    ) -> Result<Session<'a>, Ended> {
        let will =
            LastWill::new(format!("{}/status", config.topic), json::offline(None), QoS::AtLeastOnce, true);
        let gateway = work.site.borrow().gateway.clone();
        let client_id =
            config.client_id.clone().unwrap_or_else(|| format!("linesman-{gateway}-{}", work.name));
        let mut pipe = Pipe::connect(config, &client_id, will).map_err(Ended::Trouble)?;
        let stop = work.stop.clone();
        let first = tokio::select! {
            first = pipe.next() => first,
            () = stop.cancelled() => return Err(Ended::AsAsked),
        };
        match first {
            Happened::Connected => {}
            Happened::Trouble(why) => return Err(Ended::Trouble(why)),
            Happened::Sent(_) | Happened::Acknowledged(_) | Happened::Closed => {
                return Err(Ended::Trouble("the broker speaks before it has greeted".to_owned()));
            }
        }
        work.report.connected();
        let told = work.told;
        let (at, connected, now) = (work.reader.cursor(), work.clock.utc(), Instant::now());
        Ok(Session {
            config,
            work,
            backoff,
            pipe,
            window: Window::default(),
            fetched: VecDeque::new(),
            at,
            connected,
            told,
            every: BTreeMap::new(),
            status_due: now,
            had_backlog: false,
            stopping: None,
        })
    }

    async fn deliver(&mut self) -> Result<(), Ended> {
        self.say_status()?;
        self.say_meta()?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.work.stop.clone();
        let mut events = true;
        loop {
            self.fill().await?;
            if self.is_finished()? {
                return Ok(());
            }
            let idle = self.window.has_room() && self.fetched.is_empty() && self.stopping.is_none();
            tokio::select! {
                happened = self.pipe.next() => {
                    let over = self.take_all(happened);
                    // What was acknowledged before trouble came is delivered all the same.
                    self.settle().await?;
                    if over? {
                        return Ok(());
                    }
                }
                more = self.work.reader.beyond(self.at), if idle => more?,
                changed = self.work.site.changed() => {
                    if changed.is_ok() { self.say_meta()?; }
                }
                // Only to wake: what is new is told with the records.
                changed = self.work.events.changed(), if events => events = changed.is_ok(),
                () = stop.cancelled(), if self.stopping.is_none() => self.begin_stop(),
                _ = ticks.tick() => self.look()?,
            }
        }
    }

    /// Hands records to the client while the window has room.
    async fn fill(&mut self) -> Result<(), Ended> {
        self.tell_events()?;
        while self.window.has_room() {
            if self.fetched.is_empty() {
                if self.stopping.is_some_and(|stopping| self.at >= stopping.upto) {
                    return self.settle().await;
                }
                let records = self.work.reader.read(self.at, RECORDS, OCTETS).await?;
                let Some(last) = records.last() else { return self.settle().await };
                self.at = last.position;
                self.fetched = records.into();
            }
            if let Some(stored) = self.fetched.pop_front() {
                self.hand_over(&stored)?;
            }
        }
        self.settle().await
    }

    /// Events go before records: they are few, and somebody waits for them.
    fn tell_events(&mut self) -> Result<(), Ended> {
        while self.window.has_room() {
            let Some((number, event)) = self.work.events.borrow().after(self.told) else { break };
            let topic = format!("{}/event", self.config.topic);
            self.publish(What::Event(number), &topic, false, json::event(&event))?;
            self.told = number;
        }
        Ok(())
    }

    fn hand_over(&mut self, stored: &Stored) -> Result<(), Ended> {
        let reading = match record::decode(&stored.octets) {
            Ok(reading) => reading,
            Err(error) => {
                tracing::warn!(upstream = %self.work.name, position = stored.position, %error, "record given up");
                self.window.given_up(stored.position, "undecodable", Instant::now());
                return Ok(());
            }
        };
        let number = Number { epoch: stored.epoch, seq: stored.seq };
        let payload = match self.payload(Numbered { reading: &reading, number }) {
            Ok(payload) => payload,
            Err(why) => {
                tracing::warn!(upstream = %self.work.name, device = %reading.device, %why, "record given up");
                self.window.given_up(stored.position, why.word(), Instant::now());
                return Ok(());
            }
        };
        let lane = if self.is_live(&reading) { "d" } else { "h" };
        let topic = format!("{}/{lane}/{}", self.config.topic, reading.device);
        self.publish(What::Record(stored.position), &topic, false, payload)
    }

    /// One reading, one message; the topic says whose it is. Its line end stays behind.
    fn payload(&self, one: Numbered<'_>) -> Result<Vec<u8>, Refused> {
        if matches!(self.config.encoding, Encoding::Json) {
            let octets = json::reading(one.reading, one.number, None).into_bytes();
            let too_large = Refused::TooLarge { octets: octets.len(), at_most: LARGEST_PAYLOAD };
            return if octets.len() > LARGEST_PAYLOAD { Err(too_large) } else { Ok(octets) };
        }
        let site = Arc::clone(&self.work.site.borrow());
        let mut payload = self.config.encoding.encode(&[one], &site, LARGEST_PAYLOAD)?.octets;
        while payload.last() == Some(&b'\n') {
            payload.pop();
        }
        Ok(payload)
    }

    /// Live is what was sampled since the connection stands and has not aged since.
    fn is_live(&self, reading: &Reading) -> bool {
        let every = self.every.get(&reading.device).copied().unwrap_or_default();
        let longest = i64::try_from(LIVE.max(every * 3).as_millis()).unwrap_or(i64::MAX);
        let age = self.work.clock.utc().0.saturating_sub(reading.ts.0);
        reading.ts >= self.connected && age <= longest
    }

    fn publish(
        &mut self,
        what: What,
        topic: &str,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<(), Ended> {
        self.pipe.publish(topic, retain, payload).map_err(Ended::Trouble)?;
        self.window.handed(what, Instant::now());
        Ok(())
    }

    fn say_status(&mut self) -> Result<(), Ended> {
        let backlog = self.work.reader.account().borrow().pending;
        let config = self.work.site.borrow().config_hash.clone();
        let payload = json::online(self.work.clock.utc(), self.work.version, &config, backlog);
        self.had_backlog = backlog > 0;
        self.status_due = Instant::now() + STATUS_EVERY;
        self.publish(What::Word, &format!("{}/status", self.config.topic), true, payload)
    }

    fn say_meta(&mut self) -> Result<(), Ended> {
        let site = Arc::clone(&self.work.site.borrow_and_update());
        self.every = site.devices.iter().map(|device| (device.name.clone(), device.every)).collect();
        let meta = json::meta(&site, LARGEST_PAYLOAD);
        let meta = meta.map_err(|error| Ended::Trouble(format!("meta cannot be written: {error}")))?;
        let Some(payload) = meta else {
            tracing::warn!(upstream = %self.work.name, octets = LARGEST_PAYLOAD, "meta is larger than what is sent at once and is left out");
            return Ok(());
        };
        self.publish(What::Word, &format!("{}/meta", self.config.topic), true, payload)
    }

    /// All that has happened by now: acknowledgements come in bunches, and each settling wakes the spool.
    fn take_all(&mut self, first: Happened) -> Result<bool, Ended> {
        let mut next = Some(first);
        while let Some(happened) = next {
            if self.take(happened)? {
                return Ok(true);
            }
            next = self.pipe.ready();
        }
        Ok(false)
    }

    /// `true` when our good-bye is out.
    fn take(&mut self, happened: Happened) -> Result<bool, Ended> {
        let confused = |what: &str| Ended::Trouble(format!("the broker {what}; the connection is made anew"));
        match happened {
            Happened::Sent(packet) => {
                if !self.window.sent(packet) {
                    return Err(confused("was sent more than was handed over"));
                }
            }
            Happened::Acknowledged(packet) => {
                if !self.window.acknowledged(packet) {
                    return Err(confused("acknowledges what was not sent"));
                }
            }
            Happened::Closed => return Ok(true),
            Happened::Trouble(_) if self.stopping.is_some_and(|stopping| stopping.closing) => {
                return Ok(true);
            }
            Happened::Trouble(why) => return Err(Ended::Trouble(why)),
            Happened::Connected => return Err(confused("greets twice")),
        }
        Ok(false)
    }

    /// Moves the cursor over the unbroken run.
    async fn settle(&mut self) -> Result<(), Ended> {
        let mut delivered = None;
        for (what, fate) in self.window.take_run() {
            match (what, fate) {
                (What::Record(position), Fate::Delivered) => delivered = Some(position),
                (What::Event(number), _) => self.work.told = self.work.told.max(number),
                (What::Word, _) => {}
                (What::Record(position), Fate::GivenUp(reason)) => {
                    if let Some(upto) = delivered.take() {
                        self.work.reader.ack(upto).await?;
                    }
                    // Only this one: everything before it has been settled.
                    self.work.reader.give_up(position, reason).await?;
                }
            }
        }
        if let Some(upto) = delivered {
            self.work.reader.ack(upto).await?;
            self.work.report.delivered(self.work.clock.utc());
            self.backoff.worked();
        }
        Ok(())
    }

    /// Once a second: a broker that does not acknowledge, and the status that is due.
    fn look(&mut self) -> Result<(), Ended> {
        if self.window.waiting_since().is_some_and(|since| since.elapsed() > ACK_PATIENCE) {
            let patience = ACK_PATIENCE.as_secs();
            return Err(Ended::Trouble(format!("a publish was not acknowledged within {patience} s")));
        }
        let caught_up = self.had_backlog && self.work.reader.account().borrow().pending == 0;
        if self.stopping.is_none() && (caught_up || Instant::now() >= self.status_due) {
            self.say_status()?;
        }
        Ok(())
    }

    fn begin_stop(&mut self) {
        let (upto, by) = (self.work.reader.head(), Instant::now() + DRAIN);
        self.stopping = Some(Stopping { upto, by, said_goodbye: false, closing: false });
    }

    /// Goes on with the stop as far as it can; `true` when it took too long and is over all the same.
    fn is_finished(&mut self) -> Result<bool, Ended> {
        let Some(mut stopping) = self.stopping else { return Ok(false) };
        if Instant::now() >= stopping.by + DRAIN {
            return Ok(true);
        }
        let late = Instant::now() >= stopping.by;
        let all_handed = self.fetched.is_empty() && self.at >= stopping.upto;
        if !stopping.said_goodbye && (late || (all_handed && self.window.is_empty())) {
            stopping.said_goodbye = true;
            let payload = json::offline(Some(self.work.clock.utc()));
            self.publish(What::Word, &format!("{}/status", self.config.topic), true, payload)?;
        }
        if stopping.said_goodbye && !stopping.closing && (late || self.window.is_empty()) {
            stopping.closing = true;
            self.pipe.close();
        }
        self.stopping = Some(stopping);
        Ok(false)
    }
}
