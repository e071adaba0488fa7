//! Who is asked next: earliest deadline first, continuous devices in turn, silent ones rarely. Pure.

use crate::model::Mono;
use crate::profile::Every;
use std::time::Duration;

/// The first probe of a silent device comes after this; then twice as long each time.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// A device that is back is found within this, and the time a probe takes.
const LONGEST_PROBE: Duration = Duration::from_secs(25);
/// Devices begin apart from each other, but the last of them no later than this.
const STAGGER: Duration = Duration::from_secs(10);
/// Silent scans in a row after which a device counts as lost.
const LOST_AFTER: u32 = 2;
/// Scans in a row with nothing but garbage, after which more of them count as silence.
const GARBLED_SCANS: u32 = 3;

/// Points of one device that share a period.
#[derive(Debug, Clone)]
struct Group {
    every: Every,
    next: Mono,
    points: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Turn {
    groups: Vec<Group>,
    /// Scans in a row that nothing answered.
    silent: u32,
    /// Scans in a row in which octets came, but no valid answer.
    garbled: u32,
    /// Not before this: a probe's interval, or a question that must wait for a late answer to pass.
    not_before: Mono,
    /// When it was asked last, for taking turns.
    asked: Mono,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Ask(usize),
    /// Nothing is due before this.
    Wait(Mono),
    /// Nothing is ever due.
    Nothing,
}

/// A device's due points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub points: Vec<usize>,
    pub lateness: Duration,
    /// The device is silent: one short question decides whether it is back.
    pub probe: bool,
}

#[derive(Debug)]
pub(super) struct Schedule {
    turns: Vec<Turn>,
}

impl Schedule {
    /// One entry a device: the period of each of its points; empty for one that is not asked.
    pub(super) fn new(devices: &[Vec<Every>], start: Mono) -> Schedule {
        let count = u32::try_from(devices.len().max(1)).unwrap_or(u32::MAX);
        let turns = devices.iter().zip(0u32..).map(|(every, index)| {
            let mut groups: Vec<Group> = Vec::new();
            for (point, every) in every.iter().enumerate() {
                match groups.iter_mut().find(|group| group.every == *every) {
                    Some(group) => group.points.push(point),
                    None => groups.push(Group { every: *every, next: start, points: vec![point] }),
                }
            }
            let shortest = groups.iter().filter_map(|group| period(group.every)).min().unwrap_or_default();
            let first = start.plus(shortest.min(STAGGER) * index / count);
            groups.iter_mut().for_each(|group| group.next = first);
            Turn { groups, silent: 0, garbled: 0, not_before: start, asked: Mono(0) }
        });
        Schedule { turns: turns.collect() }
    }

    /// The device to ask now: periodic ones by deadline, then continuous ones by who waited longest.
    pub(super) fn next(&self, now: Mono) -> Next {
        let due = |index: usize| self.turns.get(index).and_then(|turn| turn.deadline());
        let ready = (0..self.turns.len()).filter_map(|index| due(index).map(|deadline| (deadline, index)));
        let ready: Vec<(Deadline, usize)> = ready.collect();
        let best = ready.iter().filter(|(deadline, _)| deadline.at <= now).min_by_key(|(deadline, index)| {
            // Among continuous devices the one asked longest ago; the deadline orders the others.
            (deadline.continuous, if deadline.continuous { deadline.asked } else { deadline.at }, *index)
        });
        if let Some((_, index)) = best {
            return Next::Ask(*index);
        }
        ready.iter().map(|(deadline, _)| deadline.at).min().map_or(Next::Nothing, Next::Wait)
    }

    /// The due points of this device, without taking them.
    pub(super) fn peek(&self, index: usize, now: Mono) -> Due {
        let mut copy = self.turns.get(index).cloned();
        copy.as_mut().map_or_else(Due::nothing, |turn| turn.take(now))
    }

    /// Takes the due points of this device and sets their next deadlines. What was missed is not made
    /// up for: no burst after a pause.
    pub(super) fn take(&mut self, index: usize, now: Mono) -> Due {
        self.turns.get_mut(index).map_or_else(Due::nothing, |turn| turn.take(now))
    }

    /// The device answered, be it with a refusal.
    pub(super) fn answered(&mut self, index: usize) {
        if let Some(turn) = self.turns.get_mut(index) {
            (turn.silent, turn.garbled) = (0, 0);
        }
    }

    /// Nothing came at all: asked again after an interval that doubles.
    pub(super) fn silent(&mut self, index: usize, now: Mono) {
        if let Some(turn) = self.turns.get_mut(index) {
            let wait = FIRST_PROBE.saturating_mul(1 << turn.silent.min(5)).min(LONGEST_PROBE);
            turn.silent = turn.silent.saturating_add(1);
            turn.not_before = now.plus(wait);
        }
    }

    /// Octets came, but no valid answer. One such scan may be a burst of noise; several are as good as
    /// silence, and cost as much.
    pub(super) fn garbled(&mut self, index: usize, now: Mono) {
        let Some(turn) = self.turns.get_mut(index) else { return };
        turn.garbled = turn.garbled.saturating_add(1);
        if turn.garbled >= GARBLED_SCANS {
            self.silent(index, now);
        }
    }

    pub(super) fn is_lost(&self, index: usize) -> bool {
        self.turns.get(index).is_some_and(|turn| turn.silent >= LOST_AFTER)
    }

    /// Not before this, whatever is due.
    pub(super) fn hold(&mut self, index: usize, until: Mono) {
        if let Some(turn) = self.turns.get_mut(index) {
            turn.not_before = turn.not_before.max(until);
        }
    }

    /// After the line was away: nobody is held back for it.
    pub(super) fn forgive(&mut self, now: Mono) {
        for turn in &mut self.turns {
            (turn.silent, turn.garbled) = (0, 0);
            turn.not_before = now;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Mono,
    continuous: bool,
    asked: Mono,
}

impl Due {
    fn nothing() -> Due {
        Due { points: Vec::new(), lateness: Duration::ZERO, probe: false }
    }
}

impl Turn {
    fn take(&mut self, now: Mono) -> Due {
        self.asked = now;
        let (mut points, mut lateness) = (Vec::new(), Duration::ZERO);
        for group in self.groups.iter_mut().filter(|group| group.next <= now) {
            points.extend_from_slice(&group.points);
            if let Some(every) = period(group.every) {
                lateness = lateness.max(now.since(group.next.max(self.not_before)));
                group.next = following(group.next, every, now);
            }
        }
        points.sort_unstable();
        Due { points, lateness, probe: self.silent > 0 }
    }

    fn deadline(&self) -> Option<Deadline> {
        let first = |continuous: bool| {
            let groups = self.groups.iter().filter(|group| period(group.every).is_none() == continuous);
            groups.map(|group| group.next).min().map(|next| next.max(self.not_before))
        };
        // A continuous group's time is that of its start; after it, it is due whenever nobody else is.
        let (at, continuous) = match (first(false), first(true)) {
            (Some(periodic), Some(always)) => (periodic.min(always), true),
            (None, Some(always)) => (always, true),
            (periodic, None) => (periodic?, false),
        };
        Some(Deadline { at, continuous, asked: self.asked })
    }
}

fn period(every: Every) -> Option<Duration> {
    match every {
        Every::Period(period) => Some(period),
        Every::Continuous => None,
    }
}

/// The first deadline after `now` in steps of the period, so that the phase stays.
fn following(next: Mono, every: Duration, now: Mono) -> Mono {
    let step = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    let missed = now.0.saturating_sub(next.0) / step;
    Mono(next.0.saturating_add(step.saturating_mul(missed.saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn every(ms: u64) -> Every {
        Every::Period(Duration::from_millis(ms))
    }

    /// Runs devices that each take 20 ms to be asked, and says who was asked when.
    fn run(schedule: &mut Schedule, until_ms: u64, dead: &[usize]) -> Vec<(u64, usize)> {
        let (mut now, mut log) = (Mono(0), Vec::new());
        while now.0 < until_ms * MS {
            match schedule.next(now) {
                Next::Ask(device) => {
                    schedule.take(device, now);
                    log.push((now.0 / MS, device));
                    now = now.plus(Duration::from_millis(if dead.contains(&device) { 300 } else { 20 }));
                    if dead.contains(&device) {
                        schedule.silent(device, now);
                    } else {
                        schedule.answered(device);
                    }
                }
                Next::Wait(until) => now = until,
                Next::Nothing => break,
            }
        }
        log
    }

    #[test]
    fn periods_are_kept_in_phase() {
        let mut schedule = Schedule::new(&[vec![every(1000)], vec![every(500)]], Mono(0));
        let log = run(&mut schedule, 3000, &[]);
        let of = |device| log.iter().filter(|(_, d)| *d == device).map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(of(0), [0, 1000, 2000]);
        assert_eq!(of(1), [250, 750, 1250, 1750, 2250, 2750]);
    }

    #[test]
    fn a_dead_device_is_probed_ever_more_rarely_and_the_others_keep_their_period() {
        let mut schedule = Schedule::new(&[vec![every(1000)], vec![every(1000)], vec![every(1000)]], Mono(0));
        let log = run(&mut schedule, 100_000, &[1]);
        let probes: Vec<u64> = log.iter().filter(|(_, d)| *d == 1).map(|(at, _)| *at / 1000).collect();
        assert!(probes.len() <= 9, "{probes:?}");
        assert!(probes.windows(2).all(|pair| pair[1] - pair[0] <= 27), "{probes:?}");
        for living in [0, 2] {
            assert!(log.iter().filter(|(_, d)| *d == living).count() >= 99);
        }
    }

    #[test]
    fn whoever_is_asked_has_points_that_are_due() {
        let mixed = || vec![Every::Continuous, every(1000)];
        let mut schedule = Schedule::new(&[mixed(), mixed(), vec![every(400)]], Mono(0));
        let mut now = Mono(0);
        while now.0 < 3000 * MS {
            match schedule.next(now) {
                Next::Ask(device) => assert!(!schedule.take(device, now).points.is_empty(), "{device}"),
                Next::Wait(until) => now = until,
                Next::Nothing => break,
            }
            now = now.plus(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_device_that_answers_nothing_but_garbage_is_probed_rarely_in_the_end() {
        let mut schedule = Schedule::new(&[vec![every(1000)]], Mono(0));
        for scan in 0..5 {
            assert!(!schedule.is_lost(0) || scan > 3);
            schedule.garbled(0, Mono(0));
        }
        assert!(schedule.is_lost(0));
        schedule.answered(0);
        schedule.garbled(0, Mono(0));
        assert!(!schedule.is_lost(0));
    }

    #[test]
    fn there_is_no_burst_after_a_pause() {
        let mut schedule = Schedule::new(&[vec![every(100)]], Mono(0));
        schedule.take(0, Mono(0));
        let late = Mono(10_050 * MS);
        assert_eq!(schedule.next(late), Next::Ask(0));
        assert_eq!(schedule.take(0, late).points, [0]);
        assert_eq!(schedule.next(late), Next::Wait(Mono(10_100 * MS)));
    }

    #[test]
    fn continuous_devices_take_turns_behind_periodic_ones() {
        let continuous = || vec![Every::Continuous];
        let mut schedule = Schedule::new(&[continuous(), vec![every(1000)], continuous()], Mono(0));
        let log = run(&mut schedule, 2100, &[]);
        let count = |device| log.iter().filter(|(_, d)| *d == device).count();
        assert_eq!(count(1), 2, "{log:?}");
        assert!(count(0).abs_diff(count(2)) <= 1 && count(0) > 40);
    }

    #[test]
    fn points_with_a_period_of_their_own_go_when_they_are_due() {
        let mut schedule = Schedule::new(&[vec![every(100), every(1000)]], Mono(0));
        assert_eq!(schedule.take(0, Mono(0)).points, [0, 1]);
        assert_eq!(schedule.take(0, Mono(100 * MS)).points, [0]);
        assert_eq!(schedule.take(0, Mono(1000 * MS)).points, [0, 1]);
    }
}
