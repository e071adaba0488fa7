//! What is read along with a point because its value is made with it: factors, signs, units, second parts.
//!
//! A sign and a second part change with the value and are always of the same scan. A factor or a unit is too,
//! unless it has a longer period of its own: then its last answer is good, until the device was silent. Who is
//! back may be another meter: all is asked again before anything is scaled with it.

use super::DeviceConfig;
use crate::profile::Every;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Along {
    /// By point: what is read in the same scan.
    always: BTreeMap<usize, Vec<usize>>,
    /// What is read more rarely than what needs it.
    rare: BTreeSet<usize>,
    /// Of these, what has not been answered since the device was silent.
    unknown: BTreeSet<usize>,
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
        // Who it is has to be known before its values are believed.
        along.rare.extend(config.profile.identity);
        along.unknown.clone_from(&along.rare);
        along
    }

    /// Completes the points that are due.
    pub(super) fn add_to(&self, due: &mut Vec<usize>) {
        if self.always.is_empty() && self.unknown.is_empty() {
            return;
        }
        let needed: Vec<usize> =
            due.iter().filter_map(|point| self.always.get(point)).flatten().copied().collect();
        due.extend(needed);
        due.extend(&self.unknown);
    }

    pub(super) fn answered(&mut self, points: &[usize]) {
        if !self.unknown.is_empty() {
            points.iter().for_each(|point| {
                self.unknown.remove(point);
            });
        }
    }

    /// The device was silent.
    pub(super) fn forget(&mut self) {
        self.unknown.clone_from(&self.rare);
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
        let with = |along: &Along, mut due: Vec<usize>| {
            along.add_to(&mut due);
            due.sort_unstable();
            due
        };
        assert_eq!(with(&along, vec![0]), [0, 1, 2, 3], "at first all");
        along.answered(&[0, 1, 2, 3]);
        assert_eq!(with(&along, vec![0]), [0, 1, 3], "then the slow factor at its own period");
        assert_eq!(with(&along, vec![1]), [1]);
        along.forget();
        assert_eq!(with(&along, vec![0]), [0, 1, 2, 3], "and anew after a silence");
    }
}
