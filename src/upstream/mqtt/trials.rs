//! Whether a record is poison: pure. MQTT 3.1.1 has no way to refuse one publish. A broker that does not want it closes
//! the connection, or keeps silent.
//!
//! Records that were in flight when two sessions in a row failed are suspected. The next session sends each of
//! them alone, after its status and meta have been acknowledged, so that nothing else can be the reason; one that fails
//! alone too, its third time, is refused. What goes in batches is suspected by batches: one that fails alone is halved, and
//! each half goes alone, until a single record is refused. A line that comes and goes suspects nobody as long as records get
//! through.
//! Whether a refusal is believed: see [`Proof`].

use crate::upstream::proof::{Proof, Whose};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use tokio::time::Instant;

/// The positions that one publish stands for: a record's, or those of a batch.
pub(in crate::upstream) type Span = RangeInclusive<u64>;

#[derive(Debug, Default)]
pub(in crate::upstream) struct Trials {
    /// In flight when the last session failed.
    last: Vec<Span>,
    /// In flight when the one before failed too, in the order in which they went.
    suspects: VecDeque<Span>,
    /// Whose refusals are believed.
    pub(in crate::upstream) proof: Proof,
}

impl Trials {
    /// What is to be sent alone next, if anything is suspected.
    pub(in crate::upstream) fn suspect(&self) -> Option<Span> {
        self.suspects.front().cloned()
    }

    /// A session failed with these in flight, oldest first. Batches may have been cut otherwise the time before.
    pub(in crate::upstream) fn failed(&mut self, in_flight: Vec<Span>) {
        let again = in_flight.iter().flat_map(|span| self.last.iter().map(|last| common(span, last)));
        self.suspects = again.filter(|span| !span.is_empty()).collect();
        self.last = in_flight;
    }

    /// A session failed while nothing but these was in flight: whether that convicts a record. More than one are halved.
    pub(in crate::upstream) fn failed_alone(&mut self, span: &Span, whose: Whose<'_>, now: Instant) -> bool {
        if span.start() != span.end() {
            self.halve(span);
            return false;
        }
        let convicted = self.proof.may_refuse(whose, now);
        if convicted {
            self.gone();
        }
        convicted
    }

    /// These positions are suspected by halves from now on.
    pub(in crate::upstream) fn halve(&mut self, span: &Span) {
        if !self.suspects.front().is_some_and(|suspect| suspect.contains(span.start())) {
            self.suspects.push_front(span.clone());
        }
        self.part(span.start() + (span.end() - span.start()).div_ceil(2));
    }

    /// The first suspect is two from now on, the second from this position on.
    pub(in crate::upstream) fn part(&mut self, at: u64) {
        let Some((first, last)) = self.suspects.pop_front().map(Span::into_inner) else { return };
        for span in [at.max(first)..=last, first..=last.min(at.saturating_sub(1))] {
            if !span.is_empty() {
                self.suspects.push_front(span);
            }
        }
    }

    /// A record was delivered: this far end takes some.
    pub(in crate::upstream) fn delivered(&mut self, position: u64, whose: Whose<'_>, now: Instant) {
        self.proof.taken(whose, now);
        self.last.retain(|span| !span.contains(&position));
        self.suspects.retain(|suspect| !suspect.contains(&position));
    }

    /// Sends this one alone, before those that are suspected.
    pub(in crate::upstream) fn call(&mut self, witness: u64) {
        self.suspects.push_front(witness..=witness);
    }

    /// The suspect is settled, or not in the spool any more.
    pub(in crate::upstream) fn gone(&mut self) {
        if let Some(gone) = self.suspects.pop_front() {
            self.last.retain(|span| common(span, &gone).is_empty());
        }
    }
}

fn common(a: &Span, b: &Span) -> Span {
    *a.start().max(b.start())..=*a.end().min(b.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::proof::Way;

    fn each(positions: &[u64]) -> Vec<Span> {
        positions.iter().map(|position| *position..=*position).collect()
    }

    const NOBODY: Whose<'static> = (Way::HISTORY, None);

    fn one(position: u64) -> Span {
        position..=position
    }

    #[test]
    fn a_batch_is_halved_until_one_record_is_refused_and_the_rest_delivered() {
        for poison in 1..=300 {
            let mut trials = Trials::default();
            trials.failed(vec![1..=300, 301..=310]);
            // Cut otherwise, for more has been sampled.
            trials.failed(vec![1..=320]);
            let (mut refused, mut delivered, mut failures) = (Vec::new(), 0, 2);
            while let Some(span) = trials.suspect() {
                if !span.contains(&poison) {
                    delivered += span.clone().count();
                    trials.delivered(*span.end(), NOBODY, Instant::now());
                    continue;
                }
                failures += 1;
                if trials.failed_alone(&span, NOBODY, Instant::now()) {
                    refused.push(span);
                }
            }
            assert_eq!((refused, delivered), (vec![one(poison)], 309), "{poison}");
            assert!(failures <= 2 + 10, "{failures} for {poison}");
        }
    }

    #[test]
    fn what_did_not_fit_into_a_batch_stays_suspected() {
        let mut trials = Trials::default();
        trials.halve(&(1..=8));
        assert_eq!(trials.suspect(), Some(1..=4));
        trials.part(3);
        assert_eq!(trials.suspect(), Some(1..=2));
        trials.delivered(2, NOBODY, Instant::now());
        assert_eq!(trials.suspect(), Some(3..=4));
        trials.gone();
        assert_eq!(trials.suspect(), Some(5..=8));
    }

    #[test]
    fn a_record_is_refused_at_its_third_failure_of_which_the_last_was_alone() {
        let mut trials = Trials::default();
        trials.failed(each(&[6, 7, 8]));
        assert_eq!(trials.suspect(), None, "any line breaks once");
        trials.failed(each(&[7, 8, 9]));
        assert_eq!(trials.suspect(), Some(one(7)));
        assert!(trials.failed_alone(&one(7), NOBODY, Instant::now()));
        assert_eq!(trials.suspect(), Some(one(8)), "the next is tried alone before it is believed");
        trials.delivered(8, NOBODY, Instant::now());
        assert_eq!(trials.suspect(), None);
    }

    #[test]
    fn a_line_that_comes_and_goes_suspects_nobody_while_records_get_through() {
        let mut trials = Trials::default();
        for first in 1..100 {
            let in_flight: Vec<u64> = (first * 32..first * 32 + 32).collect();
            in_flight.iter().take(5).for_each(|position| trials.delivered(*position, NOBODY, Instant::now()));
            trials.failed(each(&in_flight));
            assert_eq!(trials.suspect(), None);
        }
    }

    #[test]
    fn a_far_end_that_breaks_at_everything_is_not_fed_the_whole_backlog() {
        let mut trials = Trials::default();
        let mut set_aside = 0;
        for position in 1..50 {
            trials.failed(each(&[position]));
            trials.failed(each(&[position]));
            set_aside += u32::from(trials.failed_alone(&one(position), NOBODY, Instant::now()));
        }
        assert_eq!(set_aside, 3);
        trials.delivered(49, NOBODY, Instant::now());
        trials.failed(each(&[50]));
        trials.failed(each(&[50]));
        assert!(trials.failed_alone(&one(50), NOBODY, Instant::now()));
    }
}
