//! One connection that delivers compact batches: status, meta, events as ever, and what was sampled every so often in `P/b`.
//!
//! A batch is one publish that stands for a run of records: its acknowledgement moves the cursor over all of them. Records
//! are read when their batch is due and not before, so what waits, waits in the spool. A batch holds live records
//! or such from the backlog, never both, and ends where a record can't be read; that one is given up by name.
//! After a break the same records may be cut into other batches; each still has its (`epoch`, `seq`).

use super::config::Config;
use super::flying::{Flying, What};
use super::pipe::{Happened, LARGEST_PAYLOAD, Pipe};
use super::session::Ended;
use crate::encode::batch::{self, Options, Schema};
use crate::encode::json::{self, Number};
use crate::encode::{Numbered, Refused};
use crate::model::{Name, Reading, Timestamp};
use crate::record;
use crate::upstream::Work;
use crate::upstream::backoff::Backoff;
use rumqttc::{LastWill, QoS};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Records asked of the spool at once.
const RECORDS: usize = 256;
const OCTETS: usize = 256 << 10;
/// A publish that is not acknowledged for so long will not be on this connection.
const ACK_PATIENCE: Duration = Duration::from_secs(20);
/// Status is said again after this, and when the backlog has come to nothing.
const STATUS_EVERY: Duration = Duration::from_secs(60);
/// When its batch is due, a live record is no older than this and the batch's own period.
const LIVE: Duration = Duration::from_secs(30);
/// How long what was there at the stop may take to be delivered, and the good-bye to go out.
const DRAIN: Duration = Duration::from_secs(2);

/// A record out of the spool; `None` where it could not be read.
struct Piece {
    position: u64,
    read: Option<(Reading, Number)>,
}

pub(super) struct Batches<'a> {
    config: &'a Config,
    options: &'a Options,
    work: &'a mut Work,
    backoff: &'a mut Backoff,
    pipe: Pipe,
    flying: Flying,
    /// The last position fetched, and what of it is not in a batch yet.
    at: u64,
    fetched: VecDeque<Piece>,
    /// Batches are being made until this position is in one.
    upto: Option<u64>,
    due: Instant,
    connected: Timestamp,
    told: u64,
    every: BTreeMap<Name, Duration>,
    schema: Schema,
    status_due: Instant,
    had_backlog: bool,
    stopping: Option<Stopping>,
}

/// The end, step by step: deliver what is there, say good-bye, close.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    by: Instant,
    said_goodbye: bool,
    closing: bool,
}

/// Connects and delivers until trouble or the stop.
pub(super) async fn run(config: &Config, options: &Options, work: &mut Work, backoff: &mut Backoff) -> Ended {
    let pipe = match connect(config, work).await {
        Ok(pipe) => pipe,
        Err(ended) => return ended,
    };
    work.report.connected();
    let (at, connected, now, told) = (work.reader.cursor(), work.clock.utc(), Instant::now(), work.told);
    let schema = Schema::unpublished(&work.site.borrow(), options);
    let mut batches = Batches {
        config,
        options,
        work,
        backoff,
        pipe,
        flying: Flying::default(),
        at,
        fetched: VecDeque::new(),
        upto: None,
        // What waits has waited long enough.
        due: now,
        connected,
        told,
        every: BTreeMap::new(),
        schema,
        status_due: now,
        had_backlog: false,
        stopping: None,
    };
    batches.deliver().await.err().unwrap_or(Ended::AsAsked)
}

async fn connect(config: &Config, work: &Work) -> Result<Pipe, Ended> {
    let will = LastWill::new(format!("{}/status", config.topic), json::offline(None), QoS::AtLeastOnce, true);
    let gateway = work.site.borrow().gateway.clone();
    let client_id = config.client_id.clone().unwrap_or_else(|| format!("linesman-{gateway}-{}", work.name));
    let mut pipe = Pipe::connect(config, &client_id, will).map_err(Ended::Trouble)?;
    let stop = work.stop.clone();
    let first = tokio::select! {
        first = pipe.next() => first,
        () = stop.cancelled() => return Err(Ended::AsAsked),
    };
    match first {
        Happened::Connected => Ok(pipe),
        Happened::Trouble(why) => Err(Ended::Trouble(why)),
        Happened::Sent(_) | Happened::Acknowledged(_) | Happened::Closed => {
            Err(Ended::Trouble("the broker speaks before it has greeted".to_owned()))
        }
    }
}

impl Batches<'_> {
    async fn deliver(&mut self) -> Result<(), Ended> {
        self.say_status()?;
        self.say_meta()?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.work.stop.clone();
        let mut events = true;
        loop {
            self.tell_events()?;
            self.fill().await?;
            self.settle().await?;
            if self.is_finished()? {
                return Ok(());
            }
            let waits = self.upto.is_none() && self.stopping.is_none();
            tokio::select! {
                happened = self.pipe.next() => {
                    let over = self.take_all(happened);
                    // What was acknowledged before trouble came is delivered all the same.
                    self.settle().await?;
                    if over? {
                        return Ok(());
                    }
                }
                () = sleep_until(self.due), if waits => {}
                changed = self.work.site.changed() => {
                    if changed.is_ok() { self.say_meta()?; }
                }
                changed = self.work.events.changed(), if events => events = changed.is_ok(),
                () = stop.cancelled(), if self.stopping.is_none() => {
                    let by = Instant::now() + DRAIN;
                    self.stopping = Some(Stopping { by, said_goodbye: false, closing: false });
                    self.upto = Some(self.work.reader.head());
                }
                _ = ticks.tick() => self.look()?,
            }
        }
    }

    /// Makes batches of all that was there when they were due, while there is room in flight.
    async fn fill(&mut self) -> Result<(), Ended> {
        if self.upto.is_none() && self.stopping.is_none() && Instant::now() >= self.due {
            self.upto = Some(self.work.reader.head());
        }
        while let Some(upto) = self.upto
            && self.flying.has_room()
        {
            if self.fetched.is_empty() {
                self.fetch(upto).await?;
            }
            if self.fetched.is_empty() {
                self.upto = None;
                self.due = Instant::now() + self.config.batch_every;
                return Ok(());
            }
            self.hand_over()?;
        }
        Ok(())
    }

    /// As many records as make a full batch, or as there are.
    async fn fetch(&mut self, upto: u64) -> Result<(), Ended> {
        let mut values = 0;
        while self.at < upto && values < batch::MOST_VALUES && self.fetched.len() < batch::MOST_READINGS {
            let records = self.work.reader.read(self.at, RECORDS, OCTETS).await?;
            let Some(last) = records.last() else { return Ok(()) };
            self.at = last.position;
            for stored in records {
                let position = stored.position;
                let read = match record::decode(&stored.octets) {
                    Ok(reading) => {
                        values += reading.samples.len();
                        Some((reading, Number { epoch: stored.epoch, seq: stored.seq }))
                    }
                    Err(error) => {
                        tracing::warn!(upstream = %self.work.name, position, %error, "record given up");
                        None
                    }
                };
                self.fetched.push_back(Piece { position, read });
            }
        }
        Ok(())
    }

    /// One batch, or one record that can't be in any.
    fn hand_over(&mut self) -> Result<(), Ended> {
        let Some(Piece { position, read }) = self.fetched.front() else { return Ok(()) };
        let position = *position;
        let Some((first, _)) = read else {
            self.flying.given_up(position, "undecodable", Instant::now());
            self.fetched.pop_front();
            return Ok(());
        };
        let live = self.is_live(first);
        let pieces = self.fetched.iter().map_while(|piece| piece.read.as_ref());
        let same = pieces.take_while(|(reading, _)| self.is_live(reading) == live);
        let readings: Vec<Numbered<'_>> =
            same.map(|(reading, number)| Numbered { reading, number: *number }).collect();
        match batch::encode(&readings, &self.schema, !live, LARGEST_PAYLOAD) {
            Ok(payload) => {
                let last = self.fetched.drain(..payload.taken).next_back();
                let upto = last.map_or(position, |piece| piece.position);
                self.publish(What::Batch(upto), &format!("{}/b", self.config.topic), false, payload.octets)
            }
            Err(why) => {
                self.give_up(position, &why);
                Ok(())
            }
        }
    }

    fn give_up(&mut self, position: u64, why: &Refused) {
        tracing::warn!(upstream = %self.work.name, position, %why, "record given up");
        self.flying.given_up(position, why.word(), Instant::now());
        self.fetched.pop_front();
    }

    /// Live is what was sampled since the connection stands, and no longer ago than its batch had to wait.
    fn is_live(&self, reading: &Reading) -> bool {
        let every = self.every.get(&reading.device).copied().unwrap_or_default();
        let longest = LIVE.max(every * 3) + self.config.batch_every;
        let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        let age = self.work.clock.utc().0.saturating_sub(reading.ts.0);
        reading.ts >= self.connected && age <= longest
    }

    fn tell_events(&mut self) -> Result<(), Ended> {
        while self.flying.has_room() {
            let Some((number, event)) = self.work.events.borrow().after(self.told) else { break };
            let topic = format!("{}/event", self.config.topic);
            self.publish(What::Event(number), &topic, false, json::event(&event).into_bytes())?;
            self.told = number;
        }
        Ok(())
    }

    fn publish(&mut self, what: What, topic: &str, retain: bool, payload: Vec<u8>) -> Result<(), Ended> {
        self.pipe.publish(topic, retain, payload).map_err(Ended::Trouble)?;
        self.flying.handed(what, Instant::now());
        Ok(())
    }

    fn say_status(&mut self) -> Result<(), Ended> {
        let backlog = self.work.reader.account().borrow().pending;
        let config = self.work.site.borrow().config_hash.clone();
        let payload = json::online(self.work.clock.utc(), self.work.version, &config, backlog);
        self.had_backlog = backlog > 0;
        self.status_due = Instant::now() + STATUS_EVERY;
        self.publish(What::Word, &format!("{}/status", self.config.topic), true, payload.into_bytes())
    }

    /// Meta, and the schema that batches name from now on. Where meta is too large to send, they bring their names.
    fn say_meta(&mut self) -> Result<(), Ended> {
        let site = Arc::clone(&self.work.site.borrow_and_update());
        self.every = site.devices.iter().map(|device| (device.name.clone(), device.every)).collect();
        let meta = json::meta(&site, LARGEST_PAYLOAD);
        let meta = meta.map_err(|error| Ended::Trouble(format!("meta cannot be written: {error}")))?;
        let Some(payload) = meta else {
            tracing::warn!(upstream = %self.work.name, octets = LARGEST_PAYLOAD, "meta is larger than what is sent at once; batches bring their names, which costs");
            self.schema = Schema::unpublished(&site, self.options);
            return Ok(());
        };
        self.schema = Schema::of(&site, self.options);
        self.publish(What::Word, &format!("{}/meta", self.config.topic), true, payload.into_bytes())
    }

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
        let expected = match happened {
            Happened::Sent(packet) => self.flying.sent(packet),
            Happened::Acknowledged(packet) => self.flying.acknowledged(packet),
            Happened::Closed => return Ok(true),
            Happened::Trouble(_) if self.stopping.is_some_and(|stopping| stopping.closing) => {
                return Ok(true);
            }
            Happened::Trouble(why) => return Err(Ended::Trouble(why)),
            Happened::Connected => false,
        };
        if expected {
            Ok(false)
        } else {
            Err(Ended::Trouble(
                "the broker and this client do not agree on what was sent; the connection is made anew"
                    .to_owned(),
            ))
        }
    }

    /// Moves the cursor over what has ended, in order.
    async fn settle(&mut self) -> Result<(), Ended> {
        while let Some(ended) = self.flying.take_ended() {
            match ended {
                What::Batch(upto) => {
                    self.work.reader.ack(upto).await?;
                    self.work.report.delivered(self.work.clock.utc());
                    self.backoff.worked();
                }
                What::GivenUp(position, reason) => self.work.reader.give_up(position, reason).await?,
                What::Event(number) => self.work.told = self.work.told.max(number),
                What::Word => {}
            }
        }
        Ok(())
    }

    /// Once a second: a broker that does not acknowledge, and the status that is due.
    fn look(&mut self) -> Result<(), Ended> {
        if self.flying.waiting_since().is_some_and(|since| since.elapsed() > ACK_PATIENCE) {
            let patience = ACK_PATIENCE.as_secs();
            return Err(Ended::Trouble(format!("a publish was not acknowledged within {patience} s")));
        }
        let caught_up = self.had_backlog && self.work.reader.account().borrow().pending == 0;
        if self.stopping.is_none() && (caught_up || Instant::now() >= self.status_due) {
            self.say_status()?;
        }
        Ok(())
    }

    /// Goes on with the stop as far as it can; `true` when it took too long and is over all the same.
    fn is_finished(&mut self) -> Result<bool, Ended> {
        let Some(mut stopping) = self.stopping else { return Ok(false) };
        if Instant::now() >= stopping.by + DRAIN {
            return Ok(true);
        }
        let late = Instant::now() >= stopping.by;
        let done = self.upto.is_none() && self.flying.is_empty();
        if !stopping.said_goodbye && (late || done) {
            stopping.said_goodbye = true;
            let payload = json::offline(Some(self.work.clock.utc()));
            let topic = format!("{}/status", self.config.topic);
            self.publish(What::Word, &topic, true, payload.into_bytes())?;
        }
        if stopping.said_goodbye && !stopping.closing && (late || self.flying.is_empty()) {
            stopping.closing = true;
            self.pipe.close();
        }
        self.stopping = Some(stopping);
        Ok(false)
    }
}
