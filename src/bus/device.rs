//! One device of a line: when it is due, what it is asked, what its answers mean for it. No I/O.

use super::health::{Health, ProbeShare};
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
    /// When it might have been probed.
    since: Mono,
    asked: bool,
}

/// What the device could do now. They are taken in this order: by deadline, then those without one,
/// the one begun first, then the one that waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Deadline(Mono),
    Begun,
    Asked(Mono),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// The scan under way has a question: this item of it.
    Ask(Rank, usize),
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
        match open.job.turn(now, &|block| blocked(unit, block)) {
            _ if gate > now => Ready::Wait(gate),
            Turn::Ask(at) if open.probe => Ready::Ask(Rank::Deadline(open.since), at),
            Turn::Ask(at) => Ready::Ask(open.deadline.map_or(Rank::Begun, Rank::Deadline), at),
            Turn::Wait(until) => Ready::Wait(until),
            Turn::Pending | Turn::Over => Ready::Nothing,
        }
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
            // Probes share 3 % of the line: whoever has waited longest for its own is next, with a period or
            // without.
            _ if self.health.is_probed() => Ready::Begin(Rank::Deadline(self.health.not_before)),
            Some(deadline) => Ready::Begin(Rank::Deadline(deadline)),
            None => Ready::Begin(Rank::Asked(self.asked)),
        }
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
        let mut job = Job::new(name, profile, blocks, short, manner);
        for point in held {
            if let Some(bad) = self.learned.held(point, now) {
                job.hold(point, bad);
            }
        }
        self.asked = now;
        let lateness = now.since(due.release.max(self.health.not_before));
        let (deadline, missed, since) = (due.deadline, due.missed, self.health.not_before);
        self.open = Some(Open { job, deadline, lateness, missed, probe, since, asked: false });
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
    pub(super) fn take(&mut self, at: usize, neighbours: Option<Duration>) -> Option<(Item, Manners)> {
        let open = self.open.as_mut()?;
        let patience = self.health.patience(&self.config, neighbours);
        let item = open.job.take(at)?;
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
