//! Whether a line can keep every period, how late a scan may come, and what would make the line carry it all.
//!
//! # The test
//! Requests are asked by earliest deadline, and no request is broken off for a more urgent one. For such tasks
//! Jeffay, Stanat and Martel (*On non-preemptive scheduling of periodic and sporadic tasks*, RTSS 1991) show
//! that all deadlines are kept, whatever the phases, when
//! 1. the load is at most 1, and
//! 2. for every span L: what is due within L, and the one request of something less urgent that may just have
//!    begun, fit into L.
//!
//! A scan of several requests may be parted between them, so what may just have begun is one request, not a scan.
//!
//! Condition 2 takes the worst phases there are: everything is due at once, and the longest request has just begun.
//! Devices start apart from each other, so a line seldom sees that, and a scan that comes late once keeps its
//! period all the same. So a period **can't be kept** when condition 1 fails, or when 2 fails for a scan with nothing
//! else beside it: it and the longest request of something slower take longer than its period. By how much 2 fails
//! otherwise is the most that a scan may **come late**.
//!
//! With several questions under way at once there is no such test: there the load must be at most 1 and every
//! request shorter than its period.

use super::demand::{Demand, Task};
use super::{Asked, Continuous, Remedy, Unmet};
use crate::bus::{PortConfig, SerialConfig};
use crate::profile::Every;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is advised loads the line no more than this: retries and probes need some air.
const ROOMY: f64 = 0.95;
/// What meters offer.
const BAUDS: [u32; 8] = [1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200];
/// The most that the configuration takes.
const MOST_IN_FLIGHT: u16 = 16;
/// Spans that are looked at. There are more only on a line within a hair of being full, and the worst are the first.
const MOST_SPANS: usize = 20_000;

pub(super) struct Line<'a> {
    pub(super) demands: Vec<Demand<'a>>,
    /// Questions that may be under way at once.
    pub(super) lanes: u16,
}

impl<'a> Line<'a> {
    /// The part of its time that periodic points need.
    pub(super) fn load(&self) -> f64 {
        self.demands.iter().map(Demand::share).sum::<f64>() / f64::from(self.lanes)
    }

    pub(super) fn continuous(&self, periodic: f64) -> Option<Continuous> {
        let wires = self
            .demands
            .iter()
            .flat_map(|demand| demand.back_to_back().into_iter().map(|block| demand.wire(&block.request)));
        let round = wires.sum::<Duration>() / u32::from(self.lanes);
        let left = 1.0 - periodic;
        let cycle =
            (left > 0.0).then(|| Duration::try_from_secs_f64(round.as_secs_f64() / left).ok()).flatten();
        (!round.is_zero()).then_some(Continuous { round, cycle })
    }

    pub(super) fn requests(&self, continuous: Option<Continuous>) -> Vec<Asked> {
        let (lanes, cycle) = (f64::from(self.lanes), continuous.and_then(|continuous| continuous.cycle));
        let mut asked = Vec::new();
        for demand in &self.demands {
            asked.extend(demand.repeated().into_iter().map(|found| {
                let every = Every::Period(found.every);
                demand.asked(&found.request, every, found.share / lanes, found.points)
            }));
            asked.extend(demand.back_to_back().into_iter().map(|block| {
                let wire = demand.wire(&block.request);
                let share = cycle.map_or(0.0, |cycle| wire.div_duration_f64(cycle) / lanes);
                demand.asked(&block.request, Every::Continuous, share, block.points)
            }));
        }
        asked
    }

    /// The periodic points that are asked for more often than this, by device and period.
    pub(super) fn faster_than(&self, possible: Duration) -> Vec<Unmet> {
        let groups = self.demands.iter().flat_map(|demand| {
            demand.periods.range(..possible).map(|(every, points)| {
                let points = demand.names(points.iter().copied());
                Unmet { device: demand.device.name.clone(), every: *every, possible, points }
            })
        });
        groups.collect()
    }

    /// What would make it carry all that is asked; `None` when it does already.
    pub(super) fn remedy(&self, port: &PortConfig) -> Option<Remedy> {
        if self.fits() {
            return None;
        }
        let shortest = self.demands.iter().filter_map(|demand| demand.periods.keys().next()).min()?;
        let periods: Vec<Duration> = round_periods().filter(|period| period > shortest).collect();
        let at = periods.partition_point(|least| !self.with(|demand| demand.slowed(*least)).is_roomy());
        let every = *periods.get(at).or(periods.last())?;
        Some(Remedy {
            every,
            baud: self.baud(port),
            in_flight: self.in_flight(port),
            points: self.points(every),
        })
    }

    fn baud(&self, port: &PortConfig) -> Option<u32> {
        let PortConfig::Serial(serial) = port else { return None };
        let faster = BAUDS.into_iter().filter(|baud| *baud > serial.baud);
        let cost = |baud: u32| PortConfig::Serial(SerialConfig { baud, ..serial.clone() }).wire_cost();
        faster.into_iter().find(|baud| self.with(|demand| demand.on(cost(*baud))).is_roomy())
    }

    fn in_flight(&self, port: &PortConfig) -> Option<u16> {
        let PortConfig::Tcp { .. } = port else { return None };
        let wider = |lanes: u16| Line { demands: self.demands.clone(), lanes };
        (self.lanes + 1..=MOST_IN_FLIGHT).find(|lanes| wider(*lanes).is_roomy())
    }

    fn points(&self, under: Duration) -> Option<usize> {
        let counts =
            self.demands.iter().map(|d| d.periods.range(..under).map(|(_, points)| points.len()).sum());
        let counts: Vec<usize> = (1..=counts.max().unwrap_or(0)).collect();
        let most = counts.partition_point(|most| self.with(|demand| demand.thinned(under, *most)).is_roomy());
        (most > 0).then_some(most)
    }

    fn with(&self, change: impl Fn(&Demand<'a>) -> Demand<'a>) -> Line<'a> {
        Line { demands: self.demands.iter().map(change).collect(), lanes: self.lanes }
    }

    fn is_roomy(&self) -> bool {
        self.load() <= ROOMY && self.fits()
    }

    fn fits(&self) -> bool {
        let tasks: Vec<Task> = self.demands.iter().flat_map(Demand::tasks).collect();
        let in_time = if self.lanes == 1 { each_fits(&tasks) } else { none_too_long(&tasks) };
        in_time && self.load() <= 1.0
    }

    /// The most that a scan may come late, where one question is asked at a time and the load can be carried.
    pub(super) fn late(&self) -> Option<Duration> {
        let tasks: Vec<Task> = self.demands.iter().flat_map(Demand::tasks).collect();
        if self.lanes == 1 { lateness(&tasks) } else { None }
    }
}

/// Each scan by itself fits into its period, when the longest request of something slower has just begun.
fn each_fits(tasks: &[Task]) -> bool {
    let mut slowest_first: Vec<&Task> = tasks.iter().collect();
    slowest_first.sort_unstable_by_key(|task| Reverse(task.period));
    let mut begun = Duration::ZERO;
    slowest_first.chunk_by(|a, b| a.period == b.period).all(|same| {
        let fit = same.iter().all(|task| task.scan.saturating_add(begun) <= task.period);
        begun = same.iter().map(|task| task.longest).fold(begun, Duration::max);
        fit
    })
}

fn none_too_long(tasks: &[Task]) -> bool {
    tasks.iter().all(|task| task.longest <= task.period)
}

/// By how much condition 2 fails at the worst: a scan that is due at the end of a span L comes so much later.
/// `None` when the load can't be carried.
pub(super) fn lateness(tasks: &[Task]) -> Option<Duration> {
    let mut alike: BTreeMap<(Duration, Duration), Task> = BTreeMap::new();
    for task in tasks {
        let same =
            alike.entry((task.period, task.deadline)).or_insert(Task { cost: Duration::ZERO, ..*task });
        same.cost = same.cost.saturating_add(task.cost);
        same.longest = same.longest.max(task.longest);
    }
    let tasks: Vec<Task> = alike.into_values().collect();
    let late = spans(&tasks, enough(&tasks)?).map(|span| {
        let due =
            tasks.iter().map(|task| task.due_within(span)).fold(Duration::ZERO, Duration::saturating_add);
        let begun = tasks.iter().filter(|task| task.deadline > span).map(|task| task.longest).max();
        due.saturating_add(begun.unwrap_or_default()).saturating_sub(span)
    });
    Some(late.max().unwrap_or_default())
}

/// In any longer span the time that is left over is enough for what is due before its period ends and for the
/// longest request.
fn enough(tasks: &[Task]) -> Option<Duration> {
    let longest = tasks.iter().map(|task| task.longest).max().unwrap_or_default();
    let load: f64 = tasks.iter().map(Task::share).sum();
    let early = tasks.iter().map(|task| (task.period - task.deadline).as_secs_f64() * task.share());
    let seconds = (longest.as_secs_f64() + early.sum::<f64>()) / (1.0 - load);
    // Below zero where the load is above 1, infinite where it is 1.
    Duration::try_from_secs_f64(seconds).ok()
}

/// The spans at whose end something is due, up to the last.
fn spans(tasks: &[Task], last: Duration) -> impl Iterator<Item = Duration> {
    let next = move |now: Duration| {
        let due = tasks.iter().map(|task| task.deadline_after(now)).min();
        due.filter(|next| *next > now && *next <= last)
    };
    std::iter::successors(next(Duration::ZERO), move |now| next(*now)).take(MOST_SPANS)
}

impl Task {
    fn share(&self) -> f64 {
        self.cost.div_duration_f64(self.period)
    }

    /// How many times it must have been done by the end of a span that began with it.
    fn times_within(&self, span: Duration) -> u32 {
        let Some(more) = span.checked_sub(self.deadline) else { return 0 };
        u32::try_from(more.as_nanos() / self.period.as_nanos().max(1) + 1).unwrap_or(u32::MAX)
    }

    fn due_within(&self, span: Duration) -> Duration {
        self.cost.saturating_mul(self.times_within(span))
    }

    fn deadline_after(&self, now: Duration) -> Duration {
        self.deadline.saturating_add(self.period.saturating_mul(self.times_within(now)))
    }
}

/// Periods that a person would write: two digits and noughts, from 10 ms to eleven days.
fn round_periods() -> impl Iterator<Item = Duration> {
    let decades = (0..8).map(|power| 10u64.pow(power));
    decades.flat_map(|decade| (10..100).map(move |digits| Duration::from_millis(digits * decade)))
}
