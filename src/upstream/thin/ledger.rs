//! What has become of a lane's records, in the order of their positions: settled from the front on, never beyond one that
//! has not ended. So what is settled is few long ranges, and a cursor has room for them.

use crate::spool::Outcome;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// Records in a row that have ended alike, or one that has not.
#[derive(Debug)]
struct Entry {
    first: u64,
    last: u64,
    ended: Option<Outcome>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    /// The records that are part of one reading, by the one that carries it.
    parts: BTreeMap<u64, Vec<u64>>,
}

impl Ledger {
    /// The next record of the lane.
    pub(super) fn open(&mut self, position: u64) {
        self.entries.push_back(Entry { first: position, last: position, ended: None });
    }

    /// Nothing of it goes.
    pub(super) fn left_out(&mut self, position: u64) {
        let newest = self.entries.len().saturating_sub(1);
        if let (Some(newest), Some(before)) = (self.entries.get(newest), newest.checked_sub(1))
            && (newest.first, newest.last) == (position, position)
            && let Some(before) = self.entries.get_mut(before)
            && before.ended == Some(Outcome::LeftOut)
        {
            before.last = position;
            self.entries.pop_back();
            return;
        }
        self.set(position, Outcome::LeftOut);
    }

    /// These go as parts of another, and are left out when that has ended.
    pub(super) fn carried(&mut self, by: u64, parts: Vec<u64>) {
        if !parts.is_empty() {
            self.parts.insert(by, parts);
        }
    }

    /// One that went has ended so.
    pub(super) fn end(&mut self, position: u64, outcome: Outcome) {
        self.set(position, outcome);
        for part in self.parts.remove(&position).unwrap_or_default() {
            self.set(part, Outcome::LeftOut);
        }
    }

    fn set(&mut self, position: u64, outcome: Outcome) {
        let found = self.entries.binary_search_by(|entry| entry.first.cmp(&position));
        if let Some(entry) = found.ok().and_then(|at| self.entries.get_mut(at)) {
            entry.ended.get_or_insert(outcome);
        }
    }

    /// Entries that are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes what can be settled. What lies between two records that ended alike is lost in the spool, which counts it.
    pub(super) fn take(&mut self) -> Vec<(RangeInclusive<u64>, Outcome)> {
        let mut runs: Vec<(RangeInclusive<u64>, Outcome)> = Vec::new();
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.ended.is_some()) {
            let Some(ended) = entry.ended else { break };
            match runs.last_mut() {
                Some((range, same)) if *same == ended => *range = *range.start()..=entry.last,
                Some(_) | None => runs.push((entry.first..=entry.last, ended)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_settled_in_front_of_what_has_not_ended() {
        let mut ledger = Ledger::default();
        (1..=6).for_each(|position| ledger.open(position));
        ledger.carried(4, vec![1, 3]);
        ledger.end(2, Outcome::Delivered);
        ledger.left_out(6);
        assert_eq!(ledger.take(), []);
        ledger.end(4, Outcome::Delivered);
        let expected = [
            (1..=1, Outcome::LeftOut),
            (2..=2, Outcome::Delivered),
            (3..=3, Outcome::LeftOut),
            (4..=4, Outcome::Delivered),
        ];
        assert_eq!(ledger.take(), expected);
        ledger.end(5, Outcome::Dropped("refused".to_owned()));
        assert_eq!(
            ledger.take(),
            [(5..=5, Outcome::Dropped("refused".to_owned())), (6..=6, Outcome::LeftOut)]
        );
        assert_eq!((ledger.len(), ledger.parts.len()), (0, 0));
    }

    #[test]
    fn a_long_run_that_is_left_out_takes_one_place() {
        let mut ledger = Ledger::default();
        for position in 1..=100_000 {
            ledger.open(position);
            if position > 1 {
                ledger.left_out(position);
            }
        }
        assert_eq!(ledger.len(), 2);
        ledger.end(1, Outcome::Delivered);
        assert_eq!(ledger.take(), [(1..=1, Outcome::Delivered), (2..=100_000, Outcome::LeftOut)]);
    }
}
