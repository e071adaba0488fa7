//! Whether a record is poison: pure. MQTT 3.1.1 has no way to refuse one publish. A broker that does not want it closes
//! the connection, or keeps silent.
//!
//! Records that were in flight when two sessions in a row failed are suspected. The next session sends each of
//! them alone, after its status and meta have been acknowledged, so that nothing else can be the reason; one that fails
//! alone too, its third time, is refused. A line that comes and goes suspects nobody as long as records get
//! through. And a far end that has refused [`IN_A_ROW`] records and delivered none in between refuses everything: that is
//! an outage with another name, and the backlog waits.

use std::collections::{BTreeSet, VecDeque};

/// More records in a row are not the records' fault.
const IN_A_ROW: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Trials {
    /// In flight when the last session failed.
    last: BTreeSet<u64>,
    /// In flight when the one before failed too, in the order in which they went.
    suspects: VecDeque<u64>,
    refused: u32,
}

impl Trials {
    /// The next position to be sent alone, if any is suspected.
    pub(super) fn suspect(&self) -> Option<u64> {
        self.suspects.front().copied()
    }

    /// A session failed with these in flight, oldest first.
    pub(super) fn failed(&mut self, in_flight: &[u64]) {
        self.suspects = in_flight.iter().copied().filter(|position| self.last.contains(position)).collect();
        self.last = in_flight.iter().copied().collect();
    }

    /// A session failed while nothing but the suspect was in flight: whether that convicts it.
    pub(super) fn failed_alone(&mut self) -> bool {
        let convicted = self.may_refuse();
        if convicted {
            self.gone();
        }
        convicted
    }

    /// The broker refuses one and says so: whether that is the record's fault.
    pub(super) fn may_refuse(&mut self) -> bool {
        let may = self.refused < IN_A_ROW;
        self.refused += u32::from(may);
        may
    }

    /// A record was delivered: this far end takes some.
    pub(super) fn delivered(&mut self, position: u64) {
        self.refused = 0;
        self.last.remove(&position);
        self.suspects.retain(|suspect| *suspect != position);
    }

    /// The suspect is settled, or not in the spool any more.
    pub(super) fn gone(&mut self) {
        if let Some(position) = self.suspects.pop_front() {
            self.last.remove(&position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_refused_at_its_third_failure_of_which_the_last_was_alone() {
        let mut trials = Trials::default();
        trials.failed(&[6, 7, 8]);
        assert_eq!(trials.suspect(), None, "any line breaks once");
        trials.failed(&[7, 8, 9]);
        assert_eq!(trials.suspect(), Some(7));
        assert!(trials.failed_alone());
        assert_eq!(trials.suspect(), Some(8), "the next is tried alone before it is believed");
        trials.delivered(8);
        assert_eq!(trials.suspect(), None);
    }

    #[test]
    fn a_line_that_comes_and_goes_suspects_nobody_while_records_get_through() {
        let mut trials = Trials::default();
        for first in 1..100 {
            let in_flight: Vec<u64> = (first * 32..first * 32 + 32).collect();
            in_flight.iter().take(5).for_each(|position| trials.delivered(*position));
            trials.failed(&in_flight);
            assert_eq!(trials.suspect(), None);
        }
    }

    #[test]
    fn a_far_end_that_refuses_everything_is_not_fed_the_whole_backlog() {
        let mut trials = Trials::default();
        let mut set_aside = 0;
        for position in 1..50 {
            trials.failed(&[position]);
            trials.failed(&[position]);
            set_aside += u32::from(trials.failed_alone());
        }
        assert_eq!(set_aside, IN_A_ROW);
        trials.delivered(49);
        trials.failed(&[50]);
        trials.failed(&[50]);
        assert!(trials.failed_alone());
    }
}
