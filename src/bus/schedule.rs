//! When the points of one device are due: periods, phases, what is taken together. Pure.

use crate::model::Mono;
use crate::profile::Every;
use std::time::Duration;

/// Devices begin apart from each other, but the last of them no later than this.
const STAGGER: Duration = Duration::from_secs(10);
/// What is due so soon is taken along with what is due now: this part of its period, …
const TOLERANCE_PART: u32 = 20;
/// … but no sooner than this before its time.
const TOLERANCE: Duration = Duration::from_millis(100);

/// Points of one device that share a period.
#[derive(Debug, Clone)]
struct Group {
    every: Every,
    next: Mono,
    /// The second turn comes so much after the first, then a period after each: the slow points of all
    /// devices would else fall due in the same second for ever.
    second: Option<Duration>,
    points: Vec<usize>,
}

/// The points of a device that are due together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// Indices into the profile's points, ascending.
    pub points: Vec<usize>,
    /// When the earliest of them that has a period fell due.
    pub release: Mono,
    /// When the scan should be done: the next time that one of them falls due. None of them has a period
    /// where all are continuous.
    pub deadline: Option<Mono>,
    /// Turns that were missed: periods that went by without a scan.
    pub missed: u64,
}

/// The periods of one device's points.
#[derive(Debug, Clone)]
pub(super) struct Periods {
    groups: Vec<Group>,
}

impl Periods {
    /// The period of each point, in profile order; the device is number `index` of `count` on its line, and
    /// begins so much later than the first that their questions do not come all at once.
    pub(super) fn new(every: &[Every], start: Mono, index: usize, count: usize) -> Periods {
        let mut groups: Vec<Group> = Vec::new();
        for (point, every) in every.iter().enumerate() {
            match groups.iter_mut().find(|group| group.every == *every) {
                Some(group) => group.points.push(point),
                None => groups.push(Group { every: *every, next: start, second: None, points: vec![point] }),
            }
        }
        let shortest = groups.iter().filter_map(|group| period(group.every)).min().unwrap_or_default();
        let (index, count) =
            (u32::try_from(index).unwrap_or(u32::MAX), u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        let first = start.plus(shortest.min(STAGGER).saturating_mul(index) / count);
        for group in &mut groups {
            let place = |of: Duration, index: u32| {
                period(group.every).and_then(|every| place(every, shortest, of.min(every), index, count))
            };
            let begins = place(STAGGER, index).unwrap_or_default();
            group.next = first.plus(begins);
            group.second =
                place(Duration::MAX, index + 1).map(|second| (second - begins.min(second)).max(shortest));
        }
        Periods { groups }
    }

    /// When the next point with a period falls due.
    pub(super) fn next_periodic(&self) -> Option<Mono> {
        self.groups.iter().filter(|group| period(group.every).is_some()).map(|group| group.next).min()
    }

    /// Whether there are points that are read back to back, and since when.
    pub(super) fn continuous_since(&self) -> Option<Mono> {
        self.groups.iter().filter(|group| period(group.every).is_none()).map(|group| group.next).min()
    }

    /// When the first of those that are due now should be done by.
    pub(super) fn deadline(&self, now: Mono) -> Option<Mono> {
        self.due(now).filter_map(|group| Some(group.next.plus(period(group.every)?))).min()
    }

    fn due(&self, now: Mono) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(move |group| group.next <= now)
    }

    /// Takes what is due, and what is due within the tolerance, and sets the next times. What was missed is
    /// not made up for: no burst after a pause.
    pub(super) fn take(&mut self, now: Mono) -> Due {
        let release = self.next_periodic().unwrap_or(now).min(now);
        let mut due = Due { points: Vec::new(), release, deadline: None, missed: 0 };
        for group in &mut self.groups {
            let early =
                period(group.every).map_or(Duration::ZERO, |every| (every / TOLERANCE_PART).min(TOLERANCE));
            if group.next > now.plus(early) {
                continue;
            }
            due.points.extend_from_slice(&group.points);
            if let Some(every) = period(group.every) {
                let (next, missed) = match group.second.take() {
                    // Late by more than that already: the phase is what it is.
                    Some(second) if group.next.plus(second) > now => (group.next.plus(second), 0),
                    Some(_) | None => following(group.next, every, now),
                };
                group.next = next;
                due.missed = due.missed.saturating_add(missed);
                due.deadline = Some(due.deadline.map_or(next, |deadline| deadline.min(next)));
            }
        }
        due.points.sort_unstable();
        due
    }
}

/// Where the slow points of this device have their place among those of the others: spread over a span, in step
/// with the quick ones, so that they go on being read together.
fn place(every: Duration, shortest: Duration, span: Duration, index: u32, count: u32) -> Option<Duration> {
    let (every, shortest, span) = (every.as_nanos(), shortest.as_nanos(), span.as_nanos());
    if shortest == 0 || every <= shortest || !every.is_multiple_of(shortest) {
        return None;
    }
    let place = span.saturating_mul(u128::from(index)) / u128::from(count);
    Some(Duration::from_nanos(u64::try_from(place / shortest * shortest).ok()?))
}

fn period(every: Every) -> Option<Duration> {
    match every {
        Every::Period(period) => Some(period),
        Every::Continuous => None,
    }
}

/// The first time after `now` in steps of the period, so that the phase stays, and how many were skipped.
fn following(next: Mono, every: Duration, now: Mono) -> (Mono, u64) {
    let step = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    let missed = now.0.saturating_sub(next.0) / step;
    (Mono(next.0.saturating_add(step.saturating_mul(missed.saturating_add(1)))), missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn every(ms: u64) -> Every {
        Every::Period(Duration::from_millis(ms))
    }

    #[test]
    fn devices_begin_apart_and_the_last_within_ten_seconds() {
        let first = |index| Periods::new(&[every(60_000)], Mono(0), index, 10).next_periodic().unwrap();
        assert_eq!([first(0), first(1), first(9)], [Mono(0), Mono(1000 * MS), Mono(9000 * MS)]);
        let fast = Periods::new(&[every(1000)], Mono(0), 1, 4);
        assert_eq!(fast.next_periodic(), Some(Mono(250 * MS)));
    }

    #[test]
    fn there_is_no_burst_after_a_pause_and_the_phase_stays() {
        let mut periods = Periods::new(&[every(100)], Mono(0), 0, 1);
        assert_eq!(periods.take(Mono(0)).missed, 0);
        let late = periods.take(Mono(10_050 * MS));
        assert_eq!((late.points, late.missed, late.release), (vec![0], 99, Mono(100 * MS)));
        assert_eq!(periods.next_periodic(), Some(Mono(10_100 * MS)));
    }

    #[test]
    fn points_with_a_period_of_their_own_go_when_they_are_due() {
        let mut periods = Periods::new(&[every(100), every(1000)], Mono(0), 0, 1);
        let both = periods.take(Mono(0));
        assert_eq!((both.points, both.deadline), (vec![0, 1], Some(Mono(100 * MS))));
        assert_eq!(periods.take(Mono(100 * MS)).points, [0]);
        assert_eq!(periods.take(Mono(1000 * MS)).points, [0, 1]);
    }

    #[test]
    fn slow_points_of_several_devices_do_not_fall_due_in_one_second() {
        let turns = |index| {
            let mut periods = Periods::new(&[every(1000), every(60_000)], Mono(0), index, 4);
            let began = periods.next_periodic().unwrap();
            let mut slow = Vec::new();
            while slow.len() < 4 {
                let now = periods.next_periodic().unwrap();
                if periods.take(now).points.len() == 2 {
                    slow.push(now.since(began).as_secs());
                }
            }
            slow
        };
        // All are read within ten seconds, then each in its own part of the minute.
        let all: Vec<Vec<u64>> = (0..4).map(turns).collect();
        assert_eq!(all, [[0, 15, 75, 135], [2, 30, 90, 150], [5, 45, 105, 165], [7, 60, 120, 180]]);
    }

    #[test]
    fn what_is_due_in_a_moment_is_taken_along_and_keeps_its_phase() {
        let mut periods = Periods::new(&[every(700), every(1000)], Mono(0), 0, 1);
        periods.take(Mono(0));
        periods.take(Mono(700 * MS));
        assert_eq!(periods.take(Mono(960 * MS)).points, [1], "forty milliseconds early of a thousand");
        assert_eq!(periods.next_periodic(), Some(Mono(1400 * MS)));
        periods.take(Mono(1400 * MS));
        assert_eq!(periods.next_periodic(), Some(Mono(2000 * MS)), "not 1960");
    }

    #[test]
    fn continuous_points_are_always_due_and_have_no_deadline() {
        let mut periods = Periods::new(&[Every::Continuous, every(1000)], Mono(0), 0, 1);
        assert_eq!(periods.take(Mono(5)).points, [0, 1]);
        let due = periods.take(Mono(10));
        assert_eq!((due.points, due.deadline), (vec![0], None));
        assert_eq!(periods.continuous_since(), Some(Mono(0)));
    }

    proptest! {
        #[test]
        fn over_any_sequence_of_turns_a_point_is_taken_once_a_period_at_most(
            periods in proptest::collection::vec(10u64..5000, 1..5),
            steps in proptest::collection::vec(1u64..4000, 1..60),
        ) {
            let all: Vec<Every> = periods.iter().map(|ms| every(*ms)).collect();
            let mut due = Periods::new(&all, Mono(0), 0, 1);
            let (mut now, mut taken, mut missed) = (Mono(0), vec![0u64; all.len()], 0);
            for step in steps {
                let came = due.take(now);
                missed += came.missed;
                came.points.iter().for_each(|point| taken[*point] += 1);
                now = Mono(now.0 + step * MS);
            }
            for (point, count) in taken.iter().enumerate() {
                // Once at the start, then once for each period that has begun, one of them early.
                prop_assert!(*count <= now.0 / MS / periods[point] + 2);
            }
            let turns: u64 = periods.iter().map(|ms| now.0 / MS / ms + 2).sum();
            prop_assert!(missed <= turns);
        }
    }
}
