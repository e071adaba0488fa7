//! Whether a record is poison: pure. MQTT 3.1.1 has no way to refuse one publish. A broker that does not want it closes
//! the connection, or keeps silent.
//!
//! Records that were in flight when two sessions in a row failed are suspected. The next session sends each of
//! them alone, after its status and meta have been acknowledged, so that nothing else can be the reason; one that fails
//! alone too, its third time, is refused. What goes in batches is suspected by batches: one that fails alone is halved, and
//! each half goes alone, until a single record is refused. A line that comes and goes suspects nobody as long as records get
//! through.
//!
//! # One device, or everything
//! A broker may refuse one device's topic for good while it takes the others': those records are set aside one by one, and
//! nobody else notices. It may also refuse everything, because somebody has made a mistake with its rights: that is an outage
//! with another name, and the backlog waits. What tells them apart is that somebody else is taken: a refusal is believed
//! while there is a device of which a record was taken within the last [`PROOF`] and none was refused since. Without
//! such a device [`IN_A_ROW`] refusals are believed and no more. Then the session ends, and the next one sends a *witness*
//! first, alone: the next record of a device that has not been refused.

use crate::model::Name;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

/// The positions that one publish stands for: a record's, or those of a batch.
pub(in crate::upstream) type Span = RangeInclusive<u64>;

/// More records in a row are not the records' fault, if nobody proves that they are.
const IN_A_ROW: u32 = 3;
/// How long it proves something that a device's record was taken.
const PROOF: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(in crate::upstream) struct Trials {
    /// In flight when the last session failed.
    last: Vec<Span>,
    /// In flight when the one before failed too, in the order in which they went.
    suspects: VecDeque<Span>,
    /// Believed since the last record that was taken.
    in_a_row: u32,
    /// Of which a record was taken, and when last.
    taken: BTreeMap<Name, Instant>,
    /// Of which a record was refused since one was taken.
    refused: BTreeSet<Name>,
    /// A refusal was not believed: somebody has to be asked.
    wants_witness: bool,
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
    pub(in crate::upstream) fn failed_alone(
        &mut self,
        span: &Span,
        device: Option<&Name>,
        now: Instant,
    ) -> bool {
        if span.start() != span.end() {
            self.halve(span);
            return false;
        }
        let convicted = self.may_refuse(device, now);
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

    /// The broker refuses a record and says so: whether that is the record's fault. Who cannot be read is nobody's device.
    pub(in crate::upstream) fn may_refuse(&mut self, device: Option<&Name>, now: Instant) -> bool {
        self.refused.extend(device.cloned());
        self.taken.retain(|_, at| now.duration_since(*at) < PROOF);
        let somebody_else = self.taken.keys().any(|device| !self.refused.contains(device));
        let may = somebody_else || self.in_a_row < IN_A_ROW;
        self.in_a_row += u32::from(may);
        self.wants_witness |= !may;
        may
    }

    /// A record was delivered: this far end takes some.
    pub(in crate::upstream) fn delivered(&mut self, position: u64, device: Option<&Name>, now: Instant) {
        self.in_a_row = 0;
        self.wants_witness = false;
        if let Some(device) = device {
            self.refused.remove(device);
            self.taken.insert(device.clone(), now);
        }
        self.last.retain(|span| !span.contains(&position));
        self.suspects.retain(|suspect| !suspect.contains(&position));
    }

    /// Whether somebody has to be found who may be taken, and whom it is no use to ask.
    pub(in crate::upstream) fn witness_wanted(&self) -> Option<&BTreeSet<Name>> {
        self.wants_witness.then_some(&self.refused)
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

    fn each(positions: &[u64]) -> Vec<Span> {
        positions.iter().map(|position| *position..=*position).collect()
    }

    fn device(name: &str) -> Option<Name> {
        Some(name.parse().unwrap())
    }

    #[test]
    fn one_device_that_is_refused_is_believed_while_another_is_taken() {
        let (mut trials, start) = (Trials::default(), Instant::now());
        trials.delivered(1, device("b").as_ref(), start);
        for n in 0..100 {
            assert!(trials.may_refuse(device("a").as_ref(), start + Duration::from_secs(n)));
        }
        assert!(!trials.may_refuse(device("a").as_ref(), start + PROOF), "too long ago");
        assert_eq!(trials.witness_wanted().unwrap().len(), 1);
        trials.delivered(2, device("b").as_ref(), start + PROOF);
        assert!(trials.may_refuse(device("a").as_ref(), start + PROOF) && trials.witness_wanted().is_none());
    }

    #[test]
    fn rights_that_were_taken_away_from_all_cost_a_record_a_device_and_no_more() {
        let (mut trials, now) = (Trials::default(), Instant::now());
        let devices: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().map(device).collect();
        for device in &devices {
            trials.delivered(1, device.as_ref(), now);
        }
        let believed = (0..100).filter(|n| trials.may_refuse(devices[n % 5].as_ref(), now)).count();
        assert_eq!(believed, 4, "the fifth has nobody left to prove it");
    }

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
                    trials.delivered(*span.end(), None, Instant::now());
                    continue;
                }
                failures += 1;
                if trials.failed_alone(&span, None, Instant::now()) {
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
        trials.delivered(2, None, Instant::now());
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
        assert!(trials.failed_alone(&one(7), None, Instant::now()));
        assert_eq!(trials.suspect(), Some(one(8)), "the next is tried alone before it is believed");
        trials.delivered(8, None, Instant::now());
        assert_eq!(trials.suspect(), None);
    }

    #[test]
    fn a_line_that_comes_and_goes_suspects_nobody_while_records_get_through() {
        let mut trials = Trials::default();
        for first in 1..100 {
            let in_flight: Vec<u64> = (first * 32..first * 32 + 32).collect();
            in_flight.iter().take(5).for_each(|position| trials.delivered(*position, None, Instant::now()));
            trials.failed(each(&in_flight));
            assert_eq!(trials.suspect(), None);
        }
    }

    #[test]
    fn a_far_end_that_refuses_everything_is_not_fed_the_whole_backlog() {
        let mut trials = Trials::default();
        let mut set_aside = 0;
        for position in 1..50 {
            trials.failed(each(&[position]));
            trials.failed(each(&[position]));
            set_aside += u32::from(trials.failed_alone(&one(position), None, Instant::now()));
        }
        assert_eq!(set_aside, IN_A_ROW);
        trials.delivered(49, None, Instant::now());
        trials.failed(each(&[50]));
        trials.failed(each(&[50]));
        assert!(trials.failed_alone(&one(50), None, Instant::now()));
    }
}
