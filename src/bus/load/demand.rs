//! What one device asks of its line: its scans over time, and what each costs.

use super::Asked;
use crate::bus::{Block, DeviceConfig, Lessons, Terms, WireCost, plan_points};
use crate::modbus::ReadRequest;
use crate::model::Name;
use crate::profile::Every;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Periods without a short common multiple (7 s, 11 s, 13 s …) are followed for so many scans; what comes after is
/// like what came before, but for the one instant at which all coincide.
const MOST_SCANS: usize = 10_000;

/// A device, and which of its points are read how often.
#[derive(Debug, Clone)]
pub(super) struct Demand<'a> {
    pub(super) device: &'a DeviceConfig,
    cost: WireCost,
    turnaround: Duration,
    pub(super) periods: BTreeMap<Duration, Vec<usize>>,
    continuous: Vec<usize>,
}

/// A scan of certain points, and when it takes place.
pub(super) struct Scans {
    points: Vec<usize>,
    at: Vec<Duration>,
}

/// The points of a device that share a period, as the test of feasibility sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) period: Duration,
    /// By when it must be done: what is planned together with faster points goes with them.
    pub(super) deadline: Duration,
    /// What it costs each period, …
    pub(super) cost: Duration,
    /// … and by itself.
    pub(super) scan: Duration,
    /// The longest request: so long the line can't be taken from it.
    pub(super) longest: Duration,
}

/// A request over time.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) request: ReadRequest,
    pub(super) points: BTreeSet<usize>,
    /// The shortest time from one to the next.
    pub(super) every: Duration,
    /// The part of the time that it takes.
    pub(super) share: f64,
}

impl<'a> Demand<'a> {
    pub(super) fn of(device: &'a DeviceConfig, cost: WireCost, turnaround: Duration) -> Demand<'a> {
        let (mut periods, mut continuous) = (BTreeMap::<Duration, Vec<usize>>::new(), Vec::new());
        for (point, every) in device.every.iter().enumerate() {
            match every {
                Every::Period(period) => periods.entry(*period).or_default().push(point),
                Every::Continuous => continuous.push(point),
            }
        }
        let cost = cost.with_min_gap(device.min_gap);
        Demand { device, cost, turnaround, periods, continuous }
    }

    /// The same on another wire.
    pub(super) fn on(&self, cost: WireCost) -> Demand<'a> {
        Demand { cost: cost.with_min_gap(self.device.min_gap), ..self.clone() }
    }

    /// The same with no period shorter than this.
    pub(super) fn slowed(&self, least: Duration) -> Demand<'a> {
        let mut periods = BTreeMap::<Duration, Vec<usize>>::new();
        for (period, points) in &self.periods {
            periods.entry((*period).max(least)).or_default().extend(points);
        }
        Demand { periods, ..self.clone() }
    }

    /// The same with at most so many points, the first by address, of those with periods shorter than this.
    pub(super) fn thinned(&self, under: Duration, most: usize) -> Demand<'a> {
        let place = |point: &usize| self.device.profile.points.get(*point).map(|p| (p.table, p.address));
        let mut fast: Vec<usize> =
            self.periods.range(..under).flat_map(|(_, points)| points).copied().collect();
        fast.sort_by_key(place);
        fast.truncate(most);
        let mut thinner = self.clone();
        thinner
            .periods
            .range_mut(..under)
            .for_each(|(_, points)| points.retain(|point| fast.contains(point)));
        thinner.periods.retain(|_, points| !points.is_empty());
        thinner
    }

    fn plan(&self, points: &[usize]) -> Vec<Block> {
        let lessons = Lessons::default();
        let terms = Terms { cost: self.cost, turnaround: self.turnaround, lessons: &lessons };
        plan_points(&self.device.profile, points, &terms)
    }

    pub(super) fn wire(&self, request: &ReadRequest) -> Duration {
        self.cost.read(request, self.turnaround)
    }

    /// What the scan of these points costs, and its longest request.
    fn scan(&self, points: &[usize]) -> (Duration, Duration) {
        let blocks = self.plan(points);
        let wires = blocks.iter().map(|block| self.wire(&block.request));
        (wires.clone().sum(), wires.max().unwrap_or_default())
    }

    /// Its scans until they begin anew (or [`MOST_SCANS`]), how long that takes, and whether they do begin anew.
    fn scans(&self) -> (Vec<Scans>, Duration, bool) {
        let mut scans: BTreeMap<Vec<usize>, Vec<Duration>> = BTreeMap::new();
        let (anew, mut now) = (common_multiple(self.periods.keys()), Duration::ZERO);
        let mut next: Vec<(Duration, Duration)> =
            self.periods.keys().map(|period| (*period, Duration::ZERO)).collect();
        for _ in 0..MOST_SCANS {
            let mut due = Vec::new();
            for (index, (period, at)) in next.iter_mut().enumerate() {
                if *at == now {
                    due.push(index);
                    *at = at.saturating_add(*period);
                }
            }
            scans.entry(due).or_default().push(now);
            now = next.iter().map(|(_, at)| *at).min().unwrap_or(Duration::MAX);
            if anew.is_some_and(|anew| now >= anew) {
                break;
            }
        }
        let groups: Vec<&Vec<usize>> = self.periods.values().collect();
        let points =
            |due: Vec<usize>| due.iter().filter_map(|i| groups.get(*i)).copied().flatten().copied().collect();
        let scans = scans.into_iter().map(|(due, at)| Scans { points: points(due), at }).collect();
        (scans, now, anew == Some(now))
    }

    /// The part of the time that its periodic points take.
    pub(super) fn share(&self) -> f64 {
        if self.periods.is_empty() {
            return 0.0;
        }
        let (scans, window, _) = self.scans();
        let part = |scans: &Scans| times(self.scan(&scans.points).0, scans.at.len()).div_duration_f64(window);
        scans.iter().map(part).sum()
    }

    /// Its requests for periodic points.
    pub(super) fn repeated(&self) -> Vec<Repeated> {
        if self.periods.is_empty() {
            return Vec::new();
        }
        let (scans, window, anew) = self.scans();
        let mut requests: BTreeMap<ReadRequest, (BTreeSet<usize>, Vec<Duration>)> = BTreeMap::new();
        for scan in &scans {
            for block in self.plan(&scan.points) {
                let (points, at) = requests.entry(block.request).or_default();
                points.extend(block.points);
                at.extend(&scan.at);
            }
        }
        let found = requests.into_iter().map(|(request, (points, at))| {
            let share = times(self.wire(&request), at.len()).div_duration_f64(window);
            Repeated { request, points, every: shortest(at, window, anew), share }
        });
        found.collect()
    }

    /// Its requests for continuous points.
    pub(super) fn back_to_back(&self) -> Vec<Block> {
        self.plan(&self.continuous)
    }

    /// One of its requests, with names.
    pub(super) fn asked(
        &self,
        request: &ReadRequest,
        every: Every,
        share: f64,
        points: impl IntoIterator<Item = usize>,
    ) -> Asked {
        let DeviceConfig { name, unit, .. } = self.device;
        let (wire, points) = (self.wire(request), self.names(points));
        Asked { device: name.clone(), unit: *unit, request: *request, wire, every, share, points }
    }

    pub(super) fn names(&self, points: impl IntoIterator<Item = usize>) -> Vec<Name> {
        let points = points.into_iter().filter_map(|index| self.device.profile.points.get(index));
        points.map(|point| point.name.clone()).collect()
    }

    /// For the test of feasibility. Points that are due only together with faster ones cost what they add to those;
    /// others cost a scan of their own. Continuous points have no deadline, but a request is a request.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let (mut tasks, mut faster, mut cost_of_faster) = (Vec::<Task>::new(), Vec::new(), Duration::ZERO);
        for (period, points) in &self.periods {
            let with = tasks.iter().find(|task| is_multiple(*period, task.period)).map(|task| task.deadline);
            let always = self.periods.range(..*period).all(|(shorter, _)| is_multiple(*period, *shorter));
            faster.extend(points);
            let ((together, longest), (scan, _)) = (self.scan(&faster), self.scan(points));
            let cost = if always { together.saturating_sub(cost_of_faster) } else { scan };
            tasks.push(Task { period: *period, deadline: with.unwrap_or(*period), cost, scan, longest });
            cost_of_faster = together;
        }
        if !self.continuous.is_empty() {
            let (scan, longest) = self.scan(&self.continuous);
            let never = Duration::MAX;
            tasks.push(Task { period: never, deadline: never, cost: Duration::ZERO, scan, longest });
        }
        tasks
    }
}

/// The shortest time from one to the next; past the window's end it begins anew, if it does.
fn shortest(mut at: Vec<Duration>, window: Duration, anew: bool) -> Duration {
    at.sort_unstable();
    let steps = at.windows(2).map(|two| two[1] - two[0]).min();
    let around = at.first().zip(at.last()).map(|(first, last)| (window + *first).saturating_sub(*last));
    let around = around.filter(|_| anew || steps.is_none());
    steps.into_iter().chain(around).min().unwrap_or(window)
}

fn times(span: Duration, n: usize) -> Duration {
    span.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX))
}

fn is_multiple(long: Duration, short: Duration) -> bool {
    !short.is_zero() && long.as_nanos().is_multiple_of(short.as_nanos())
}

/// `None` when it is beyond all sense.
fn common_multiple<'d>(periods: impl Iterator<Item = &'d Duration>) -> Option<Duration> {
    let multiple = periods.map(Duration::as_nanos).try_fold(1u128, |a, b| {
        let (mut x, mut y) = (a, b);
        while y != 0 {
            (x, y) = (y, x % y);
        }
        (a / x.max(1)).checked_mul(b)
    });
    multiple.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos)
}
