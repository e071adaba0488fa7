//! One connection: status, meta, then records in their lanes, until trouble or the stop.

use super::batches::Batches;
use super::ending::Stopping;
use super::lane::Lane;
use super::pace::Pace;
use super::pipe::{Happened, Pipe, Will};
use super::trials::{Span, Trials};
use super::window::{Fate, What, Window};
use super::{Config, Ways};
use crate::encode::{batch, json};
use crate::model::{Name, Timestamp};
use crate::spool::{Closed, Outcome, Stored};
use crate::upstream::backoff::Backoff;
use crate::upstream::{Order, Work};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// How long history that may yet be dated waits for its date.
const HOLD: Duration = Duration::from_secs(60);

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
    pub(super) config: &'a Config,
    pub(super) work: &'a mut Work,
    pub(super) backoff: &'a mut Backoff,
    pub(super) trials: &'a mut Trials,
    pub(super) pipe: Pipe,
    pub(super) window: Window,
    pub(super) pace: Pace,
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
    /// The number of the last event that was handed to the client, and of the last gap.
    pub(super) told: u64,
    pub(super) gap_told: Option<u64>,
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
        ways: Ways,
        work: &'a mut Work,
        backoff: &'a mut Backoff,
        trials: &'a mut Trials,
    ) -> Ended {
        let (pipe, most) = match connect(config, work).await {
            Ok(greeted) => greeted,
            Err(ended) => return ended,
        };
        work.report.connected();
        let mut session = Session::begin(config, ways, work, (backoff, trials), pipe);
        session.window = Window::of(most);
        match session.deliver().await {
            Ok(()) => Ended::AsAsked,
            Err(Ended::Trouble(why)) => {
                session.convict(&why).await;
                Ended::Trouble(why)
            }
            Err(ended) => ended,
        }
    }

    fn begin(
        config: &'a Config,
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
            pipe,
            window: Window::default(),
            pace: Pace::new(ways.history_rate),
            history: Lane::start(work.reader.another(), cursor, bound),
            live: bound.map(|head| Lane::start(work.reader.another(), head, None)),
            live_from,
            backlog_upto: head,
            recut: false,
            connected: work.clock.utc(),
            hold_until: now + HOLD,
            alone: None,
            batches,
            told: work.told,
            gap_told: None,
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
        self.say_status()?;
        self.say_meta()?;
        self.summon().await?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.work.stop.clone();
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
                    if changed.is_ok() { self.say_meta()?; }
                }
                // Only to wake: what is new is told with the records.
                changed = self.work.events.changed(), if events => events = changed.is_ok(),
                () = stop.cancelled(), if self.stopping.is_none() => self.begin_stop(),
                _ = ticks.tick() => self.look()?,
            }
        }
    }

    /// From the cursor on, in one lane, or in two of which one ends here and the other begins.
    pub(super) fn start_lanes(&mut self, bound: Option<u64>) {
        let reader = &self.work.reader;
        self.history = Lane::start(reader.another(), reader.cursor(), bound);
        self.live = bound.map(|bound| Lane::start(reader.another(), bound, None));
        self.live_from = bound.map_or(u64::MAX, |bound| bound + 1);
        if let Some(batches) = &mut self.batches {
            batches.start_over();
        }
    }

    /// Fetches the next records that are suspected, to send them alone.
    async fn summon(&mut self) -> Result<(), Ended> {
        self.alone = None;
        while let Some((first, last)) = self.trials.suspect().map(Span::into_inner) {
            let (before, most) = (first.saturating_sub(1), batch::MOST_READINGS);
            let found = self.work.reader.read_until(before, last, most, usize::MAX).await?;
            if !found.is_empty() {
                self.alone = Some((found, false));
                break;
            }
            self.trials.gone();
        }
        Ok(())
    }

    /// Goes on with the records that are sent alone; `true` when there are none left.
    async fn try_alone(&mut self) -> Result<bool, Ended> {
        loop {
            let empty = self.window.is_empty();
            let Some((stored, sent)) = &mut self.alone else {
                // What was read ahead may have them again.
                self.start_lanes(self.live.is_some().then_some(self.backlog_upto));
                return Ok(true);
            };
            if !empty {
                return Ok(false);
            }
            if std::mem::replace(sent, true) {
                self.summon().await?;
            } else {
                let stored = stored.clone();
                self.hand_over_alone(&stored)?;
                // One that cannot even be sent has ended already.
                self.settle().await?;
            }
        }
    }

    /// Hands records to the client while the window has room. When history has to wait: until when.
    async fn fill(&mut self) -> Result<Option<Instant>, Ended> {
        if self.alone.is_some() && !self.try_alone().await? {
            return Ok(None);
        }
        self.tell_events()?;
        self.tell_gaps().await?;
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
        while self.window.has_room() && !self.recut {
            match self.next_record() {
                Ok(stored) => self.hand_over(&stored)?,
                Err(until) => return Ok(until),
            }
        }
        Ok(None)
    }

    pub(super) fn publish(
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
            Happened::Connected(_) => return Err(confused("greets twice")),
        }
        Ok(false)
    }

    /// Of a position, the first one of the lane that its record travels in; what goes alone is a lane of its own.
    fn lanes(&self) -> impl Fn(u64) -> u64 + use<> {
        let spans = self.batches.as_ref().map(Batches::spans).cloned().unwrap_or_default();
        let (live_from, alone) = (self.live_from, self.alone.is_some());
        move |position| match position {
            position if alone => spans.get(&position).copied().unwrap_or(position),
            position if position >= live_from => live_from,
            _ => 0,
        }
    }

    /// Settles what has ended, in the order in which it was handed over: of each lane everything up to there.
    async fn settle(&mut self) -> Result<(), Ended> {
        let mut delivered: BTreeMap<u64, u64> = BTreeMap::new();
        let mut any = false;
        let lane_of = self.lanes();
        for (what, fate) in self.window.take_run(&lane_of) {
            match (what, fate) {
                (What::Record(position), Fate::Delivered) => {
                    delivered.insert(lane_of(position), position);
                    self.trials.delivered(position);
                    any = true;
                }
                (What::Record(position), Fate::Refused(why)) => {
                    let from = lane_of(position);
                    if let Some(upto) = delivered.remove(&from) {
                        self.work.reader.settle([from..=upto], Outcome::Delivered).await?;
                    }
                    self.refuse(position, why).await?;
                }
                (What::Event(number), _) => self.work.told = self.work.told.max(number),
                (What::Gap(id), _) => self.work.reader.announced(id).await?,
                (What::Word, _) => {}
                (What::Record(position), Fate::GivenUp(reason)) => {
                    let from = lane_of(position);
                    if let Some(upto) = delivered.remove(&from) {
                        self.work.reader.settle([from..=upto], Outcome::Delivered).await?;
                    }
                    // Only this one: everything before it in its lane has been settled.
                    self.work.reader.settle([from..=position], Outcome::Dropped(reason.to_owned())).await?;
                }
            }
        }
        if any {
            let ranges = delivered.into_iter().map(|(from, upto)| from..=upto);
            self.work.reader.settle(ranges, Outcome::Delivered).await?;
            self.work.report.delivered(self.work.clock.utc());
            self.backoff.worked();
        }
        Ok(())
    }
}

/// Connects and is greeted.
async fn connect(config: &Config, work: &Work) -> Result<(Pipe, usize), Ended> {
    let topic = format!("{}/status", config.topic);
    let will = Will { topic, payload: json::offline(None) };
    let gateway = work.site.borrow().gateway.clone();
    let client_id = config.client_id.clone().unwrap_or_else(|| format!("linesman-{gateway}-{}", work.name));
    let mut pipe = Pipe::connect(config, &client_id, will).map_err(Ended::Trouble)?;
    let first = tokio::select! {
        first = pipe.next() => first,
        () = work.stop.cancelled() => return Err(Ended::AsAsked),
    };
    match first {
        Happened::Connected(most) => Ok((pipe, most)),
        Happened::Trouble(why) => Err(Ended::Trouble(why)),
        Happened::Sent(_) | Happened::Acknowledged(_) | Happened::Refused(..) | Happened::Closed => {
            Err(Ended::Trouble("the broker speaks before it has greeted".to_owned()))
        }
    }
}

/// A lane that is not there never has more.
async fn more(lane: &mut Option<Lane>) {
    match lane {
        Some(lane) => lane.more().await,
        None => std::future::pending().await,
    }
}
