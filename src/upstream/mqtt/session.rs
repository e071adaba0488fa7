//! One connection: status, meta, then records in their lanes, until trouble or the stop.

use super::Config;
use super::batches::Batches;
use super::ending::Stopping;
use super::greeting::connect;
use super::lane::Lane;
use super::layout::{Said, Speaker};
use super::moving::Beat;
use super::pipe::{Happened, Pipe};
use super::trials::Trials;
pub(super) use super::walk::Ended;
use super::warnings;
use super::window::{Fate, What, Window};
use super::wire::{Greeting, Will};
use crate::model::{Name, Site, Timestamp};
use crate::spool::Stored;
use crate::uplink::{Endpoint, Validity};
use crate::upstream::backoff::Backoff;
use crate::upstream::bodies::Ways;
use crate::upstream::pace::Pace;
use crate::upstream::proof::Way;
use crate::upstream::standing::standing;
use crate::upstream::{Order, Work};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// How long history that may yet be dated waits for its date.
const HOLD: Duration = Duration::from_secs(60);

pub(super) struct Session<'a> {
    pub(super) config: &'a Config,
    pub(super) work: &'a mut Work,
    pub(super) backoff: &'a mut Backoff,
    pub(super) trials: &'a mut Trials,
    pub(super) broker: &'a Endpoint,
    pub(super) pipe: Pipe,
    /// What this broker takes, and until when certificates are valid.
    pub(super) greeting: Greeting,
    pub(super) validity: Validity,
    pub(super) window: Window,
    pub(super) pace: Pace,
    pub(super) beat: Beat,
    /// How fast the far end takes publishes.
    rate: Pace,
    /// Status, meta and what else is said of ourselves, and has not been handed over yet.
    pub(super) words: VecDeque<Said>,
    /// What exists; said before anything else in a session, and beside it after that.
    pub(super) meta: VecDeque<Said>,
    pub(super) meta_was_said: bool,
    /// Until when the backlog waits because the broker refuses it, and why that is not believed.
    pub(super) held: Option<(Instant, String)>,
    /// When something was acknowledged last.
    pub(super) progress: Instant,
    /// From the cursor on: all of it in strict order, else up to where live begins.
    pub(super) history: Lane,
    pub(super) live: Option<Lane>,
    /// The first position of the live lane.
    pub(super) live_from: u64,
    /// The newest position when the connection stood: what is older is backlog.
    pub(super) backlog_upto: u64,
    /// Live has grown old: once nothing is in flight, the lanes are cut anew.
    pub(super) recut: bool,
    pub(super) connected: Timestamp,
    pub(super) hold_until: Instant,
    /// What is suspected and sent alone, one record or those of one batch, and whether it has gone out.
    pub(super) alone: Option<(Vec<Stored>, bool)>,
    /// With `encoding: batch`.
    pub(super) batches: Option<Batches>,
    /// The number of the last event that was handed over, and of the last gap.
    pub(super) told: u64,
    pub(super) gap_told: Option<u64>,
    /// The broker has refused an event in this session: none behind it counts as told.
    pub(super) event_refused: bool,
    /// Whose the records are that were handed over, and by which way they went.
    pub(super) under_way: BTreeMap<u64, (Way, Name)>,
    /// Whose records the broker refuses, and why, since it took one of theirs.
    pub(super) unwanted: BTreeMap<(Name, Way), &'static str>,
    /// How often each device is read, of the site that meta was last said of.
    pub(super) every: BTreeMap<Name, Duration>,
    pub(super) status_due: Instant,
    /// The last status told of a backlog.
    pub(super) had_backlog: bool,
    pub(super) stopping: Option<Stopping>,
}

impl<'a> Session<'a> {
    pub(super) async fn run(
        config: &'a Config,
        broker: &'a Endpoint,
        ways: Ways,
        work: &'a mut Work,
        lasting: (&'a mut Backoff, &'a mut Trials),
    ) -> Ended {
        let will = std::future::ready(Ok(will(config, work)));
        let (pipe, greeting, validity) = match connect(&config.access, broker, will, work).await {
            Ok(greeted) => greeted,
            Err(ended) => return ended,
        };
        work.report.connected();
        let mut session = Session::begin((config, broker), ways, work, lasting, pipe);
        session.window = Window::of(greeting.at_once);
        (session.greeting, session.validity) = (greeting, validity);
        session.warn();
        match session.deliver().await {
            Ok(()) if session.is_moving() => Ended::Moved,
            Ok(()) => Ended::AsAsked,
            Err(Ended::Trouble(why)) => {
                session.convict(&why).await;
                Ended::Trouble(why)
            }
            Err(ended) => ended,
        }
    }

    fn begin(
        (config, broker): (&'a Config, &'a Endpoint),
        ways: Ways,
        work: &'a mut Work,
        (backoff, trials): (&'a mut Backoff, &'a mut Trials),
        pipe: Pipe,
    ) -> Session<'a> {
        let (cursor, head, now) = (work.reader.cursor(), work.reader.head(), Instant::now());
        let (bound, live_from) = match ways.order {
            Order::LiveFirst => (Some(head), head + 1),
            Order::Strict => (None, u64::MAX),
        };
        let batches = Batches::of(config, &work.site.borrow(), ways.order == Order::Strict);
        Session {
            broker,
            pipe,
            greeting: Greeting::default(),
            validity: Validity::default(),
            window: Window::default(),
            pace: Pace::new(ways.history_rate),
            beat: Beat::default(),
            rate: Pace::new(config.layout.limits().rate),
            words: VecDeque::new(),
            meta: VecDeque::new(),
            meta_was_said: false,
            held: None,
            progress: now,
            history: Lane::start(work, cursor, bound),
            live: bound.map(|head| Lane::start(work, head, None)),
            live_from,
            backlog_upto: head,
            recut: false,
            connected: work.clock.utc(),
            hold_until: now + HOLD,
            alone: None,
            batches,
            told: work.told,
            gap_told: None,
            event_refused: false,
            under_way: BTreeMap::new(),
            unwanted: BTreeMap::new(),
            every: BTreeMap::new(),
            status_due: now,
            had_backlog: false,
            stopping: None,
            config,
            work,
            backoff,
            trials,
        }
    }

    async fn deliver(&mut self) -> Result<(), Ended> {
        self.listen()?;
        self.say_status();
        self.say_meta()?;
        self.find_witness().await?;
        self.summon().await?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.work.stop.clone();
        let tls = self.config.access.tls.as_ref();
        let mut events = true;
        loop {
            let wake = self.fill().await?;
            if self.is_finished()? {
                return Ok(());
            }
            tokio::select! {
                happened = self.pipe.next() => {
                    let over = self.take_all(happened);
                    // What was acknowledged before trouble came is delivered all the same.
                    self.settle().await?;
                    if over? {
                        return Ok(());
                    }
                }
                () = more(&mut self.live) => {}
                () = self.history.more() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                changed = self.work.site.changed() => {
                    if changed.is_ok() {
                        self.say_meta()?;
                        // Who is gone is known by what the broker keeps, which it tells whoever subscribes.
                        self.listen()?;
                    }
                }
                // Only to wake: what is new is told with the records.
                changed = self.work.events.changed(), if events => events = changed.is_ok(),
                () = stop.cancelled(), if self.stopping.is_none_or(|stopping| stopping.moving && !stopping.closing) => {
                    self.begin_stop();
                }
                () = self.work.link.moved(self.broker, tls), if self.stopping.is_none() => self.move_on()?,
                _ = ticks.tick() => self.look()?,
            }
        }
    }

    /// From the cursor on, in one lane, or in two of which one ends here and the other begins.
    pub(super) fn start_lanes(&mut self, bound: Option<u64>) {
        let work = &*self.work;
        self.history = Lane::start(work, work.reader.cursor(), bound);
        self.live = bound.map(|bound| Lane::start(work, bound, None));
        self.live_from = bound.map_or(u64::MAX, |bound| bound + 1);
        if let Some(batches) = &mut self.batches {
            batches.start_over();
        }
    }

    /// Hands records over while the window has room. When history has to wait: until when.
    async fn fill(&mut self) -> Result<Option<Instant>, Ended> {
        // Before what they explain.
        self.say_words()?;
        if !self.meta_was_said || self.alone.is_some() && !self.try_alone().await? {
            return Ok(self.rate.not_before(Instant::now()));
        }
        if self.policy().allow.alarm {
            self.tell_events()?;
            self.tell_gaps().await?;
        }
        self.cut_anew();
        let wake = match self.batches.take() {
            Some(mut batches) => {
                let wake = self.fill_batches(&mut batches);
                self.batches = Some(batches);
                wake?
            }
            None => self.fill_singly()?,
        };
        self.settle().await?;
        if self.history.is_over() && self.live.as_ref().is_none_or(Lane::is_over) {
            // The lane that has no bound ends only with the spool.
            return Err(Ended::SpoolClosed);
        }
        Ok(wake)
    }

    /// Each reading a message.
    fn fill_singly(&mut self) -> Result<Option<Instant>, Ended> {
        while self.has_room() && !self.recut {
            match self.next_record() {
                Ok(stored) => self.hand_over(&stored)?,
                Err(until) => return Ok(until),
            }
        }
        Ok(self.rate.not_before(Instant::now()))
    }

    /// Whether the far end takes another publish now.
    pub(super) fn has_room(&self) -> bool {
        !self.is_moving() && self.window.has_room() && self.rate.not_before(Instant::now()).is_none()
    }

    /// Octets of payload that go at once under this topic.
    pub(super) fn room(&self, topic: &str) -> usize {
        self.greeting.room(topic).min(self.config.layout.limits().payload)
    }

    pub(super) fn speaker<'s>(&'s self, site: &'s Site) -> Speaker<'s> {
        Speaker {
            layout: &self.config.layout,
            topic: &self.config.topic,
            site,
            lost: &self.work.lost,
            now: self.work.clock.utc(),
        }
    }

    pub(super) fn publish(
        &mut self,
        what: What,
        topic: &str,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<(), Ended> {
        let retain = retain && self.greeting.retains && self.config.layout.limits().retains;
        let (payload, now) = (payload.into(), Instant::now());
        if matches!(what, What::Record(position) if position <= self.backlog_upto) {
            self.work.link.history_went(payload.len() + topic.len(), now);
        }
        let packet = self.pipe.publish(topic, retain, payload).map_err(Ended::Trouble)?;
        self.window.handed(what, packet, now);
        self.rate.take(now);
        Ok(())
    }

    /// Says what does not stop anything and should not stay so.
    pub(super) fn warn(&self) {
        let plain = self.config.access.tls.is_none().then_some(self.broker);
        let now = self.work.clock.utc();
        let mut warnings = standing(("broker", "mqtts://"), plain, self.validity, now);
        let site = Arc::clone(&self.work.site.borrow());
        let speaker = self.speaker(&site);
        warnings.extend(warnings::refusals(&self.unwanted, |way, device| match way {
            Way::BATCHES => speaker.batch_topic(true),
            way => speaker.reading_topic(way, device),
        }));
        warnings.extend(self.held.iter().map(|(_, why)| why.clone()));
        self.work.report.warn(warnings);
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
            Happened::Acknowledged(packet) => {
                if !self.window.acknowledged(packet) {
                    return Err(confused("acknowledges what was not sent"));
                }
            }
            Happened::Refused(packet, why) => {
                if !self.window.ended(packet, Fate::Refused(why)) {
                    return Err(confused("refuses what was not sent"));
                }
            }
            Happened::Closed => return Ok(true),
            Happened::Trouble(_) if self.stopping.is_some_and(|stopping| stopping.closing) => {
                return Ok(true);
            }
            Happened::Trouble(why) => return Err(Ended::Trouble(why)),
            Happened::Connected(..) => return Err(confused("greets twice")),
            Happened::Message { topic, payload, .. } => self.heard(&topic, &payload)?,
            Happened::Subscribed(_, false) => {
                tracing::warn!(upstream = %self.work.name, "the broker does not let us listen to what we have asked for");
            }
            Happened::Subscribed(_, true) | Happened::ReadSoFar(_) => {}
        }
        Ok(false)
    }
}

/// What the broker says for us when we are gone.
fn will(config: &Config, work: &Work) -> Option<Will> {
    let site = Arc::clone(&work.site.borrow());
    let now = work.clock.utc();
    let (layout, topic, lost) = (&config.layout, &config.topic, &work.lost);
    let speaker = Speaker { layout, topic, site: &site, lost, now };
    let Said { topic, retain, payload } = speaker.will()?;
    Some(Will { topic, payload, retain: retain && config.layout.limits().retains })
}

/// A lane that is not there never has more.
async fn more(lane: &mut Option<Lane>) {
    match lane {
        Some(lane) => lane.more().await,
        None => std::future::pending().await,
    }
}
