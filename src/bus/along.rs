//! What is read along with a point because its value is made with it: factors, signs, units, second parts.
//!
//! A sign and a second part change with the value and are always of the same scan. A factor or a unit is too,
//! unless it has a longer period of its own: then its last answer is good, until the device was silent. Who is
//! back may be another meter: all is asked again before anything is scaled with it.
//!
//! Who it is has to be known before its values are believed, and a meter may not know it while it starts: then its
//! register is empty. It is asked in the next scans, and if that does not help more and more rarely: some have none.

use super::DeviceConfig;
use crate::model::Mono;
use crate::profile::Every;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// In so many scans in a row a meter is asked who it is, …
const AT_ONCE: u32 = 3;
/// … then after this, then after twice that, …
const PAUSE: Duration = Duration::from_secs(10);
/// … but at least so often.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Along {
    /// By point: what is read in the same scan.
    always: BTreeMap<usize, Vec<usize>>,
    /// What is read more rarely than what needs it.
    rare: BTreeSet<usize>,
    /// Of these, what has not been answered since the device was silent.
    unknown: BTreeSet<usize>,
    /// The point that says who it is.
    identity: Option<usize>,
    /// How often it was asked for that since the device was silent, and when it is again.
    tries: u32,
    not_before: Mono,
}

impl Along {
    pub(super) fn new(config: &DeviceConfig) -> Along {
        let period = |index: usize| match config.every.get(index) {
            Some(Every::Period(period)) => *period,
            Some(Every::Continuous) | None => Duration::ZERO,
        };
        let mut along = Along::default();
        let owing = config.profile.points.iter().enumerate().filter(|(_, point)| !point.stands_alone());
        for (index, point) in owing {
            let needs = point.needs();
            let (rare, often): (Vec<usize>, Vec<usize>) =
                needs.cached.into_iter().partition(|needed| period(*needed) > period(index));
            along.rare.extend(rare);
            along.always.insert(index, [needs.same_scan, often].concat());
        }
        along.identity = config.profile.identity;
        along.rare.extend(along.identity);
        along.unknown.clone_from(&along.rare);
        along
    }

    /// Completes the points that are due.
    pub(super) fn add_to(&mut self, due: &mut Vec<usize>, now: Mono) {
        if self.always.is_empty() && self.unknown.is_empty() {
            return;
        }
        let needed: Vec<usize> =
            due.iter().filter_map(|point| self.always.get(point)).flatten().copied().collect();
        due.extend(needed);
        let waits = self.identity.filter(|_| now < self.not_before);
        due.extend(self.unknown.iter().filter(|point| Some(**point) != waits));
        let asks = self.identity.filter(|identity| self.unknown.contains(identity) && due.contains(identity));
        if asks.is_some() {
            self.not_before = now.plus(self.pause());
            self.tries = self.tries.saturating_add(1);
        }
    }

    fn pause(&self) -> Duration {
        match self.tries.saturating_add(1).checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(times) => PAUSE.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE),
        }
    }

    /// These points were answered; `nameless`: but who it is has not been said.
    pub(super) fn answered(&mut self, points: &[usize], nameless: bool) {
        if !self.unknown.is_empty() {
            let nothing = self.identity.filter(|_| nameless);
            for point in points.iter().filter(|point| Some(**point) != nothing) {
                self.unknown.remove(point);
            }
        }
    }

    /// The device was silent.
    pub(super) fn forget(&mut self) {
        self.unknown.clone_from(&self.rare);
        (self.tries, self.not_before) = (0, Mono(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::plan::tests::{point, profile};
    use crate::profile::{Factor, Format, How, Operand, Table};
    use std::sync::Arc;

    #[test]
    fn what_a_point_needs_is_read_with_it_and_a_slow_factor_once_after_each_silence() {
        let mut points: Vec<_> =
            (0..4).map(|n| point(&format!("p{n}"), Table::HoldingRegister, n, Format::U16)).collect();
        let factor = |index| Factor { of: Operand::Point(index), how: How::Times };
        points[0].scale_by = vec![factor(1), factor(2)];
        points[0].plus = vec![3];
        let second = Every::Period(Duration::from_secs(1));
        let mut config = DeviceConfig::new("d".parse().unwrap(), 1, Arc::new(profile(points)), second);
        config.every[2] = Every::Period(Duration::from_secs(60));
        config.every[3] = Every::Period(Duration::from_secs(60));
        let mut along = Along::new(&config);
        let with = |along: &mut Along, mut due: Vec<usize>| {
            along.add_to(&mut due, Mono(0));
            due.sort_unstable();
            due
        };
        assert_eq!(with(&mut along, vec![0]), [0, 1, 2, 3], "at first all");
        along.answered(&[0, 1, 2, 3], false);
        assert_eq!(with(&mut along, vec![0]), [0, 1, 3], "then the slow factor at its own period");
        assert_eq!(with(&mut along, vec![1]), [1]);
        along.forget();
        assert_eq!(with(&mut along, vec![0]), [0, 1, 2, 3], "and anew after a silence");
    }

    #[test]
    fn who_it_is_is_asked_at_once_and_then_more_and_more_rarely_until_it_is_said() {
        let mut model = profile(vec![point("p0", Table::HoldingRegister, 0, Format::U16)]);
        model.identity = Some(0);
        let hour = Every::Period(Duration::from_secs(3600));
        let mut along = Along::new(&DeviceConfig::new("d".parse().unwrap(), 1, Arc::new(model), hour));
        let asked_within = |along: &mut Along, seconds: std::ops::Range<u64>| {
            let asked = seconds.filter(|second| {
                let mut due = Vec::new();
                along.add_to(&mut due, Mono(second * 1_000_000_000));
                along.answered(&due, true);
                !due.is_empty()
            });
            asked.collect::<Vec<_>>()
        };
        assert_eq!(asked_within(&mut along, 0..100), [0, 1, 2, 12, 32, 72]);
        assert_eq!(
            asked_within(&mut along, 5000..6200),
            [5000, 5160, 5480, 6080],
            "twice as long each time, up to ten minutes"
        );
        along.forget();
        assert_eq!(asked_within(&mut along, 6200..6205), [6200, 6201, 6202], "anew after a silence");
        along.answered(&[0], false);
        assert_eq!(asked_within(&mut along, 7000..9000), [] as [u64; 0]);
    }
}
