//! One device of a line: when it is due, what it is asked, what its answers mean for it. No I/O.

use super::health::{Health, Line, ProbeShare};
use super::job::{self, Effects, Item, Job, Manner, Turn};
use super::learned::Learned;
use super::plan::{Block, Terms, WireCost, plan_points};
use super::schedule::Periods;
use super::transact::{Manners, Outcome, Trace};
use super::{DeviceConfig, DeviceMemory, Scan};
use crate::model::{Bad, Mono, Name, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// What a meter is thought to need before it has answered for the first time.
const USUAL_TURNAROUND: Duration = Duration::from_millis(20);
/// A device that did not give a word back is not asked for one again before this.
const BETWEEN_CLEARINGS: Duration = Duration::from_secs(1);
/// Plans kept for the lists of points that fall due together.
const PLANS: usize = 8;

/// A scan under way.
struct Open {
    job: Job,
    /// None for one that is read back to back.
    deadline: Option<Mono>,
    lateness: Duration,
    missed: u64,
    probe: bool,
    asked: bool,
}

/// What the device could do now. They are taken in this order: by deadline, then those without one,
/// the one begun first, then the one that waited longest; last a device that nobody knows, while another
/// such has just cost the line a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Deadline(Mono),
    Begun,
    Asked(Mono),
    Newcomer(Mono),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// The scan under way has a question: this item of it.
    Ask(Rank, usize),
    /// A late answer is in the way of all that is left to ask: a word that the device gives back (function 08)
    /// would show that it will not come any more.
    Clear(Rank),
    /// What is left of the scan under way can't be asked in time.
    GiveUp,
    /// A scan is due.
    Begin(Rank),
    /// Not before this.
    Wait(Mono),
    /// Answers are under way, or nothing is ever due.
    Nothing,
}

/// A scan that is over.
pub(super) struct Done {
    pub scan: Option<Scan>,
    pub health: job::Health,
    pub reason: Option<Bad>,
    /// Some value is good.
    pub answered: bool,
    /// Some question was asked.
    pub asked: bool,
    pub lateness: Duration,
    pub missed: u64,
}

pub(super) struct Device {
    pub config: Arc<DeviceConfig>,
    periods: Periods,
    pub health: Health,
    pub learned: Learned,
    open: Option<Open>,
    /// When its last scan began.
    asked: Mono,
    /// Not before this: what the device itself needs between two questions.
    pub rest_until: Mono,
    /// No word to clear the line before this.
    cleared_at: Mono,
    cost: WireCost,
    /// What the plans were made with.
    turnaround: Duration,
    plans: Vec<(Vec<usize>, Vec<Block>)>,
}

impl Device {
    pub(super) fn new(
        config: Arc<DeviceConfig>,
        periods: Periods,
        cost: WireCost,
        max_probe: Duration,
        memory: Option<&DeviceMemory>,
        now: Mono,
    ) -> Device {
        let remembered = |memory| Learned::remembered(memory, &config.profile, config.unit, now);
        Device {
            learned: memory.map(remembered).unwrap_or_default(),
            health: Health::new(now, max_probe),
            cost: cost.with_min_gap(config.min_gap),
            config,
            periods,
            open: None,
            asked: Mono(0),
            rest_until: Mono(0),
            cleared_at: Mono(0),
            turnaround: USUAL_TURNAROUND,
            plans: Vec::new(),
        }
    }

    /// What this device could do now.
    pub(super) fn ready(
        &self,
        now: Mono,
        share: &ProbeShare,
        blocked: &dyn Fn(u8, &Block) -> Option<Mono>,
    ) -> Ready {
        match &self.open {
            Some(open) => self.ready_open(open, now, share, blocked),
            None => self.ready_closed(now, share),
        }
    }

    fn ready_open(
        &self,
        open: &Open,
        now: Mono,
        share: &ProbeShare,
        blocked: &dyn Fn(u8, &Block) -> Option<Mono>,
    ) -> Ready {
        let gate = if open.probe && !open.job.is_answered() {
            share.free_at().max(self.rest_until)
        } else {
            self.rest_until
        };
        let unit = self.config.unit;
        let rank = open.deadline.map_or(Rank::Begun, Rank::Deadline);
        match open.job.turn(now, &|block| blocked(unit, block)) {
            _ if gate > now => Ready::Wait(gate),
            Turn::Wait(until) if self.could_clear(open, until, now) => Ready::Clear(rank),
            Turn::Ask(at) if self.is_newcomer() && share.newcomers_wait(now) => {
                Ready::Ask(Rank::Newcomer(self.asked), at)
            }
            Turn::Ask(at) => Ready::Ask(rank, at),
            Turn::Wait(until) if !open.probe && open.deadline.is_some_and(|deadline| deadline <= until) => {
                Ready::GiveUp
            }
            Turn::Wait(until) => Ready::Wait(until),
            Turn::Pending | Turn::Over => Ready::Nothing,
        }
    }

    /// It gives words back, is there, and the wait is longer than that takes.
    fn could_clear(&self, open: &Open, until: Mono, now: Mono) -> bool {
        let worth_it = until.since(now) > self.config.min_timeout;
        let there = self.health.is_good() || open.job.is_answered();
        self.config.profile.habits.diagnostics && there && worth_it && self.cleared_at <= now
    }

    /// How long the word that clears the line is waited for; not sent again before a while is over.
    pub(super) fn clear(&mut self, now: Mono) -> Manners {
        self.cleared_at = now.plus(BETWEEN_CLEARINGS);
        let timeout = self.health.patience(&self.config, &Line::default());
        Manners { timeout, longest: self.config.timeout, min_gap: self.config.min_gap }
    }

    fn ready_closed(&self, now: Mono, share: &ProbeShare) -> Ready {
        let gate = self.health.not_before.max(self.rest_until);
        let gate = if self.health.is_probed() { gate.max(share.free_at()) } else { gate };
        let (periodic, always) = (self.periods.next_periodic(), self.periods.continuous_since());
        let first = match (periodic, always) {
            (Some(a), Some(b)) => a.min(b),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return Ready::Nothing,
        };
        if first.max(gate) > now {
            return Ready::Wait(first.max(gate));
        }
        match self.periods.deadline(now) {
            _ if self.is_newcomer() && share.newcomers_wait(now) => Ready::Begin(Rank::Newcomer(self.asked)),
            Some(deadline) => Ready::Begin(Rank::Deadline(deadline)),
            None => Ready::Begin(Rank::Asked(self.asked)),
        }
    }

    /// It has not been asked before, and nobody knows whether it is there.
    pub(super) fn is_newcomer(&self) -> bool {
        !self.health.is_good() && !self.health.is_probed()
    }

    /// Begins the scan that is due.
    pub(super) fn begin(&mut self, now: Mono, utc: Timestamp) {
        self.learned_anew(|learned| learned.forget_old(utc));
        let due = self.periods.take(now);
        let (held, asked): (Vec<usize>, Vec<usize>) =
            due.points.iter().partition(|point| self.learned.held(**point, now).is_some());
        let probe = self.health.is_probed();
        let manner = Manner { retries: self.config.retries, known: self.health.is_good(), probe };
        let short = if probe { self.shortest(&asked) } else { None };
        let blocks = self.plan(&asked);
        let (name, profile) = (self.config.name.clone(), Arc::clone(&self.config.profile));
        let lessons = self.learned.lessons().clone();
        let mut job = Job::new(name, profile, lessons, blocks, short, manner);
        for point in held {
            if let Some(bad) = self.learned.held(point, now) {
                job.hold(point, bad);
            }
        }
        self.asked = now;
        let lateness = now.since(due.release.max(self.health.not_before));
        self.open =
            Some(Open { job, deadline: due.deadline, lateness, missed: due.missed, probe, asked: false });
    }

    /// One point, the one that is quickest to ask.
    fn shortest(&self, points: &[usize]) -> Option<Block> {
        let lessons = self.learned.lessons();
        let terms = Terms { cost: self.cost, turnaround: self.turnaround, lessons };
        let single = |point: &usize| plan_points(&self.config.profile, &[*point], &terms).pop();
        points.iter().filter_map(single).min_by_key(|block| block.request.reply_data_octets())
    }

    fn plan(&mut self, points: &[usize]) -> Vec<Block> {
        self.take_turnaround_over();
        if let Some((_, blocks)) = self.plans.iter().find(|(due, _)| due == points) {
            return blocks.clone();
        }
        let lessons = self.learned.lessons();
        let terms = Terms { cost: self.cost, turnaround: self.turnaround, lessons };
        let blocks = plan_points(&self.config.profile, points, &terms);
        if self.plans.len() >= PLANS {
            self.plans.remove(0);
        }
        self.plans.push((points.to_vec(), blocks.clone()));
        blocks
    }

    /// Plans follow the device's turnaround only when it has changed by a good part: not its every mood.
    fn take_turnaround_over(&mut self) {
        let Some(mean) = self.health.latency.mean() else { return };
        if mean.abs_diff(self.turnaround) > (self.turnaround / 4).max(Duration::from_millis(2)) {
            self.turnaround = mean;
            self.plans.clear();
        }
    }

    fn learned_anew(&mut self, change: impl FnOnce(&mut Learned)) {
        let before = self.learned.lessons().clone();
        change(&mut self.learned);
        if *self.learned.lessons() != before {
            self.plans.clear();
        }
    }

    /// Hands out the question that `ready` named.
    pub(super) fn take(
        &mut self,
        at: usize,
        blocked: &dyn Fn(u8, &Block) -> Option<Mono>,
        line: &Line,
    ) -> Option<(Item, Manners)> {
        let open = self.open.as_mut()?;
        let patience = self.health.patience(&self.config, line);
        let item = open.job.take(at, &|block| blocked(self.config.unit, block))?;
        open.asked = true;
        Some((
            item,
            Manners { timeout: patience, longest: self.config.timeout, min_gap: self.config.min_gap },
        ))
    }

    /// A question that was handed out has come to this. `true` when lessons were learned.
    pub(super) fn heard(
        &mut self,
        item: Item,
        outcome: Outcome,
        trace: &Trace,
        utc: Timestamp,
        now: Mono,
    ) -> bool {
        let Some(open) = self.open.as_mut() else { return false };
        if let (Outcome::Data(_) | Outcome::Exception(_), Some(first)) = (&outcome, trace.first_heard) {
            self.health.latency.add(first.since(trace.last_octet_left));
        }
        let effects = match outcome {
            Outcome::Data(data) => open.job.data(&item, &data, utc),
            Outcome::Exception(code) => open.job.exception(item, code, utc, now),
            Outcome::NoReply => open.job.no_reply(item),
            Outcome::Garbled { whole } => open.job.garbled(item, whole),
            Outcome::TwoAnswers => {
                open.job.doubtful(&item, utc);
                Effects::default()
            }
        };
        self.take_in(effects, utc, now)
    }

    fn take_in(&mut self, effects: Effects, utc: Timestamp, now: Mono) -> bool {
        let config = Arc::clone(&self.config);
        let mut news = false;
        self.learned_anew(|learned| {
            news |= learned.answered(&effects.answered);
            for lesson in &effects.lessons {
                if learned.learn(lesson, utc, now) {
                    tracing::warn!(device = %config.name, unit = config.unit, "{}", lesson.sentence(&config.profile));
                    news = true;
                }
            }
            for (points, code) in &effects.refused {
                learned.refuse(points, *code, utc, now);
            }
        });
        for (points, tries) in effects.again.into_iter().rev() {
            let blocks = self.plan(&points);
            if let Some(open) = self.open.as_mut() {
                open.job.put_first(blocks, tries);
            }
        }
        news
    }

    /// The port or connection went while this was asked.
    pub(super) fn lost(&mut self, item: &Item, bad: Bad) {
        if let Some(open) = self.open.as_mut() {
            open.job.lost(item, bad);
        }
    }

    /// The stop came while a question was asked.
    pub(super) fn cut_short(&mut self) {
        if let Some(open) = self.open.as_mut() {
            open.job.cut_short();
        }
    }

    pub(super) fn abandon(&mut self, bad: Bad) {
        if let Some(open) = self.open.as_mut() {
            open.job.abandon(bad);
        }
    }

    /// What is left of the scan can't be asked in time.
    pub(super) fn give_up(&mut self) {
        if let Some(open) = self.open.as_mut() {
            open.job.give_up();
        }
    }

    pub(super) fn cut_off(&mut self) {
        if let Some(open) = self.open.as_mut() {
            open.job.cut_off();
        }
    }

    /// Whether this question is a probe that nobody has answered.
    pub(super) fn is_unanswered_probe(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.probe && !open.job.is_answered())
    }

    /// Closes the scan if nothing of it is left to ask or to hear.
    pub(super) fn finished(&mut self, now: Mono, utc: Timestamp) -> Option<Done> {
        let over = |open: &Open| open.job.turn(now, &|_| None) == Turn::Over;
        if !self.open.as_ref().is_some_and(over) {
            return None;
        }
        let Open { job, lateness, missed, asked, .. } = self.open.take()?;
        let (health, reason, answered) = (job.verdict(), job.reason(), job.has_good());
        let scan = (!job.is_empty()).then(|| job.scan(utc));
        Some(Done { scan, health, reason, answered, asked, lateness, missed })
    }

    pub(super) fn memory(&self) -> DeviceMemory {
        self.learned.memory(&self.config.profile, self.config.unit)
    }

    /// The points that it refuses, by name, and with which exception.
    pub(super) fn refused(&self) -> Vec<(Name, u8)> {
        let points = &self.config.profile.points;
        self.learned
            .refusals()
            .filter_map(|(index, code)| Some((points.get(index)?.name.clone(), code)))
            .collect()
    }

    /// Whether nothing has been learned that is worth keeping.
    pub(super) fn knows_nothing(&self) -> bool {
        self.learned.is_empty()
    }
}
