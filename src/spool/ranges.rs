//! A set of positions as ranges: sorted, apart, both ends included. Pure.

/// What is settled beyond a cursor's prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().copied()
    }

    pub(super) fn last(&self) -> Option<(u64, u64)> {
        self.ranges.last().copied()
    }

    /// How many positions there are in all.
    pub(super) fn count(&self) -> u64 {
        self.ranges.iter().map(|(from, to)| to - from + 1).sum()
    }

    pub(super) fn contains(&self, position: u64) -> bool {
        let after = self.ranges.partition_point(|(from, _)| *from <= position);
        after > 0 && self.ranges[after - 1].1 >= position
    }

    /// How far everything after this position is in the set.
    pub(super) fn run_from(&self, position: u64) -> u64 {
        let after = self.ranges.partition_point(|(from, _)| *from <= position.saturating_add(1));
        if after == 0 { position } else { position.max(self.ranges[after - 1].1) }
    }

    /// How many of these positions are in the set.
    pub(super) fn overlap(&self, from: u64, to: u64) -> u64 {
        let first = self.ranges.partition_point(|(_, end)| *end < from);
        let met = self.ranges[first..].iter().take_while(|(start, _)| *start <= to);
        met.map(|(start, end)| (*end).min(to) - (*start).max(from) + 1).sum()
    }

    pub(super) fn add(&mut self, mut from: u64, mut to: u64) {
        let first = self.ranges.partition_point(|(_, end)| end.saturating_add(1) < from);
        let met = self.ranges[first..].iter().take_while(|(start, _)| *start <= to.saturating_add(1)).count();
        for (start, end) in self.ranges.drain(first..first + met) {
            from = from.min(start);
            to = to.max(end);
        }
        self.ranges.insert(first, (from, to));
    }

    /// Takes the range that goes on where `position` ends, if there is one; returns the new end.
    pub(super) fn take_run_after(&mut self, mut position: u64) -> u64 {
        while let Some((from, to)) = self.ranges.first().copied() {
            if from > position.saturating_add(1) {
                break;
            }
            position = position.max(to);
            self.ranges.remove(0);
        }
        position
    }

    /// Forgets the smallest ranges beyond so many; returns how many positions that were.
    pub(super) fn forget_smallest(&mut self, most: usize) -> u64 {
        let mut forgotten = 0;
        while self.ranges.len() > most {
            let sizes = self.ranges.iter().map(|(from, to)| to - from).enumerate();
            let Some((at, size)) = sizes.min_by_key(|(_, size)| *size) else { break };
            forgotten += size + 1;
            self.ranges.remove(at);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_behave_like_a_set_of_numbers(steps in proptest::collection::vec((1u64..60, 0u64..8), 0..30), ask in (0u64..70, 0u64..20)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (from, n) in steps {
                ranges.add(from, from + n);
                set.extend(from..=from + n);
                prop_assert_eq!(ranges.count(), set.len() as u64);
                prop_assert!(ranges.ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            }
            let (from, to) = (ask.0, ask.0 + ask.1);
            prop_assert_eq!(ranges.overlap(from, to), set.range(from..=to).count() as u64);
            prop_assert_eq!(ranges.contains(from), set.contains(&from));
            let run = (from + 1..).take_while(|n| set.contains(n)).last().unwrap_or(from);
            let before = ranges.clone();
            if before.iter().all(|(start, _)| start > from) {
                prop_assert_eq!(ranges.take_run_after(from), run);
            }
        }
    }

    #[test]
    fn the_smallest_are_forgotten_first() {
        let mut ranges = Ranges::default();
        [(1, 9), (20, 20), (30, 31)].into_iter().for_each(|(from, to)| ranges.add(from, to));
        assert_eq!(ranges.forget_smallest(1), 3);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 9)]);
    }
}
