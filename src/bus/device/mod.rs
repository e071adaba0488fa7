//! One device of a line: when it is due, what it is asked, what its answers mean for it. No I/O.

mod ready;

use super::along::Along;
use super::health::{Health, Line, Try};
use super::job::{self, Effects, Item, Job, Manner, Turn};
use super::learned::Learned;
use super::plan::{Block, WireCost};
use super::plans::Plans;
use super::schedule::Periods;
use super::search::Lesson;
use super::transact::{Manners, Outcome, Trace};
use super::{DeviceConfig, DeviceMemory, Scan};
use crate::model::{Bad, Mono, Name, Timestamp};
use crate::profile::Every;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(super) use ready::{Rank, Ready};

/// A device that did not give a word back is not asked for one again before this.
const BETWEEN_CLEARINGS: Duration = Duration::from_secs(1);

/// A scan under way.
struct Open {
    job: Job,
    /// None for one that is read back to back.
    deadline: Option<Mono>,
    lateness: Duration,
    missed: u64,
    probe: bool,
    asked: bool,
    /// Some point's turn has come; else the scan is about what is owed alone.
    fresh: bool,
    /// It is about second chances alone.
    second: bool,
    points: Vec<usize>,
}

/// A scan that is over.
pub(super) struct Done {
    /// None where it would only say once more what has been said.
    pub scan: Option<Scan>,
    /// Not even tried.
    pub is_empty: bool,
    pub health: job::Health,
    pub reason: Option<Bad>,
    /// Some value is good.
    pub answered: bool,
    /// Some question was asked.
    pub asked: bool,
    pub lateness: Duration,
    pub missed: u64,
    /// Something was learned.
    pub news: bool,
}

pub(super) struct Device {
    pub config: Arc<DeviceConfig>,
    periods: Periods,
    /// Points whose turn came and that nobody answered for: asked at the next chance, not at their next turn.
    owed: Vec<usize>,
    /// Points that alone went unanswered in a scan: asked once more when nobody else needs the line.
    second: Vec<usize>,
    /// Those that went unanswered then too: no second chance until they have been answered.
    hopeless: BTreeSet<usize>,
    along: Along,
    pub health: Health,
    pub learned: Learned,
    open: Option<Open>,
    /// When its last scan began.
    asked: Mono,
    /// Not before this: what the device itself needs between two questions.
    pub rest_until: Mono,
    /// No word to clear the line before this.
    cleared_at: Mono,
    plans: Plans,
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
            plans: Plans::new(cost.with_min_gap(config.min_gap)),
            along: Along::new(&config),
            config,
            periods,
            owed: Vec::new(),
            second: Vec::new(),
            hopeless: BTreeSet::new(),
            open: None,
            asked: Mono(0),
            rest_until: Mono(0),
            cleared_at: Mono(0),
        }
    }

    /// How long the word that clears the line is waited for; not sent again before a while is over.
    pub(super) fn clear(&mut self, now: Mono) -> Manners {
        self.cleared_at = now.plus(BETWEEN_CLEARINGS);
        let timeout = self.health.patience(&self.config, &Line::default(), Try::Last);
        Manners { timeout, longest: self.config.timeout, min_gap: self.config.min_gap }
    }

    /// Begins the scan that is due.
    pub(super) fn begin(&mut self, lossy: bool, now: Mono, utc: Timestamp) {
        self.learned.forget_old(utc);
        self.plans.follow(self.health.latency.mean());
        let mut due = self.periods.take(now);
        let fresh = !due.points.is_empty();
        let second = !fresh && self.owed.is_empty() && !self.second.is_empty();
        // It is over when the device's own turn comes.
        let deadline = if second { self.periods.next_periodic() } else { due.deadline };
        due.points.append(&mut self.owed);
        due.points.append(&mut self.second);
        self.along.add_to(&mut due.points, now);
        due.points.sort_unstable();
        due.points.dedup();
        let (held, asked): (Vec<usize>, Vec<usize>) =
            due.points.iter().partition(|point| self.learned.held(**point, now).is_some());
        let probe = self.health.is_probed();
        let manner = Manner { retries: self.config.retries, known: self.health.is_good(), probe, lossy };
        let (name, profile) = (self.config.name.clone(), Arc::clone(&self.config.profile));
        let lessons = self.learned.lessons().clone();
        let short = if probe { self.plans.shortest(&profile, &lessons, &asked) } else { None };
        let blocks = self.plans.plan(&profile, &lessons, &asked);
        let mut job = Job::new(name, profile, lessons, blocks, short, manner);
        for point in held {
            if let Some(bad) = self.learned.held(point, now) {
                job.hold(point, bad);
            }
        }
        self.asked = now;
        let lateness = now.since(due.release.max(self.health.not_before));
        self.open = Some(Open {
            job,
            deadline,
            lateness,
            missed: due.missed,
            probe,
            asked: false,
            fresh,
            second,
            points: due.points,
        });
    }

    /// Hands out the question that `ready` named.
    pub(super) fn take(
        &mut self,
        at: usize,
        blocked: &dyn Fn(u8, &Block) -> Option<Mono>,
        line: &Line,
    ) -> Option<(Item, Manners)> {
        let open = self.open.as_mut()?;
        let item = open.job.take(at, &|block| blocked(self.config.unit, block))?;
        open.asked = true;
        let last_try = !line.hears_late || item.tries >= self.config.retries;
        let try_now = if last_try { Try::Last } else { Try::Before(item.tries) };
        let patience = self.health.patience(&self.config, line, try_now);
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
        idle: bool,
        (utc, now): (Timestamp, Mono),
    ) -> bool {
        let Some(open) = self.open.as_mut() else { return false };
        open.job.line_is_idle(idle);
        let answered = matches!(outcome, Outcome::Data(_) | Outcome::Exception(_));
        // How long a gateway waits for a device that is not there says nothing of that device.
        if let (true, false, Some(first)) = (answered, outcome.is_gateways_silence(), trace.first_heard) {
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
        self.along.answered(&effects.answered, effects.nameless);
        let mut news = self.learned.answered(&effects.answered);
        for lesson in &effects.lessons {
            news |= self.learn(lesson, utc, now);
        }
        for (points, code) in &effects.refused {
            self.learned.refuse_for_now(points, *code, utc, now);
        }
        self.put_again(effects.again);
        news
    }

    fn learn(&mut self, lesson: &Lesson, utc: Timestamp, now: Mono) -> bool {
        let (config, news) = (&self.config, self.learned.learn(lesson, utc, now));
        if news {
            tracing::warn!(device = %config.name, unit = config.unit, "{}", lesson.sentence(&config.profile));
        }
        news
    }

    /// What was refused in this scan. A device that gave no value at all is not ready, or not the one that its
    /// profile says: that is no register's fault, and it is asked again soon.
    fn judge(&mut self, refused: Vec<(Vec<usize>, u8)>, by_itself: bool, utc: Timestamp, now: Mono) -> bool {
        let mut news = false;
        for (points, code) in refused {
            if by_itself {
                news |= self.learn(&Lesson::Refused { points, code }, utc, now);
            } else {
                self.learned.refuse_for_now(&points, code, utc, now);
            }
        }
        news
    }

    /// Parts a question that may be asked in no other way now.
    pub(super) fn part(&mut self, at: usize) {
        let Some((halves, tries)) = self.open.as_mut().and_then(|open| open.job.part(at)) else { return };
        let again = halves.into_iter().map(|points| (points, tries)).collect();
        self.put_again(again);
    }

    fn put_again(&mut self, again: Vec<(Vec<usize>, u8)>) {
        for (points, tries) in again.into_iter().rev() {
            let blocks = self.plans.plan(&self.config.profile, self.learned.lessons(), &points);
            if let Some(open) = self.open.as_mut() {
                open.job.put_first(blocks, tries);
            }
        }
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

    /// Whether nobody knows that it is there, and it has not answered its scan.
    pub(super) fn is_unanswered(&self) -> bool {
        !self.health.is_good() && self.open.as_ref().is_some_and(|open| !open.job.is_answered())
    }

    /// Whether it is there, has points that are read back to back, and has waited so long for its turn.
    pub(super) fn starves(&self, longest: Duration, now: Mono) -> bool {
        let since = self.periods.continuous_since().map(|since| since.max(self.asked));
        self.open.is_none() && self.health.is_good() && since.is_some_and(|since| now.since(since) > longest)
    }

    /// Closes the scan if nothing of it is left to ask or to hear.
    pub(super) fn finished(&mut self, now: Mono, utc: Timestamp) -> Option<Done> {
        let over = |open: &Open| open.job.turn(now, &|_| None) == Turn::Over;
        if !self.open.as_ref().is_some_and(over) {
            return None;
        }
        let Open { mut job, lateness, missed, asked, fresh, second, points, .. } = self.open.take()?;
        let (health, answered) = (job.verdict(), job.has_good());
        let news = self.judge(job.take_refused(), answered, utc, now);
        // A point that is refused and rarely asked is a fault also while it is not asked.
        let refused = self.learned.refusals().next().map(|(_, code)| Bad::Exception(code));
        let reason = job.reason().or(refused);
        if health == job::Health::Answers || second {
            self.second = self.worth_a_second_chance(&mut job, second);
        } else {
            self.owed = points;
        }
        if !answered {
            self.along.forget();
        }
        // That there is still no answer is said once a turn, not with each probe.
        let is_empty = job.is_empty();
        let worth_it = !is_empty && (fresh || health == job::Health::Answers);
        let scan = worth_it.then(|| job.scan(utc));
        Some(Done { scan, is_empty, health, reason, answered, asked, lateness, missed, news })
    }

    /// Of a scan that is over, the points that went unanswered and may be asked once more before their next turn.
    fn worth_a_second_chance(&mut self, job: &mut Job, second: bool) -> Vec<usize> {
        for point in job.good() {
            self.hopeless.remove(&point);
        }
        let unanswered = job.without_answer();
        if second {
            // That they went unanswered has been said.
            job.forget(&unanswered);
            self.hopeless.extend(unanswered);
            return Vec::new();
        }
        let has_period = |point: &usize| matches!(self.config.every.get(*point), Some(Every::Period(_)));
        let hopeful = |point: &usize| has_period(point) && !self.hopeless.contains(point);
        unanswered.into_iter().filter(hopeful).collect()
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
