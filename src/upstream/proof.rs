//! Whether a far end that refuses a record for good is believed: pure.
//!
//! # One device, or everything
//! A far end may refuse one device's records for good while it takes the others': those are set aside one by one, and
//! nobody else notices. It may also refuse everything, because somebody has made a mistake with its rights or its address:
//! that is an outage with another name, and the backlog waits. What tells them apart is that somebody else is taken: a
//! refusal is believed while there is a device of which a record was taken within the last [`PROOF`], **by the same way**,
//! and none was refused since. Without such a device [`IN_A_ROW`] refusals are believed and no more. Then a *witness*
//! is asked for: the next record of a device that has not been refused, sent alone.
//!
//! The ways are apart because rights are: a broker's list that has `…/d/#` and forgets `…/h/#` takes whatever is live, and
//! that says nothing of the backlog.

use crate::model::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// More records in a row are not the records' fault, if nobody proves that they are.
const IN_A_ROW: u32 = 3;
/// How long it proves something that a device's record was taken.
const PROOF: Duration = Duration::from_secs(600);

/// What rights may differ by, beside the device: the level of the topic, or one for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way(pub(super) &'static str);

impl Way {
    pub(super) const LIVE: Way = Way("d");
    pub(super) const HISTORY: Way = Way("h");
    pub(super) const BATCHES: Way = Way("b");
    /// Where there are no topics.
    pub(super) const BODIES: Way = Way("");
}

/// Who cannot be read is nobody's device.
pub(super) type Whose<'a> = (Way, Option<&'a Name>);

#[derive(Debug, Default)]
pub(super) struct Proof {
    ways: BTreeMap<Way, OfWay>,
    /// A refusal was not believed: somebody has to be asked, by this way.
    wants_witness: Option<Way>,
}

#[derive(Debug, Default)]
struct OfWay {
    /// Believed since the last record that was taken.
    in_a_row: u32,
    /// Of which a record was taken, and when last.
    taken: BTreeMap<Name, Instant>,
    /// Of which a record was refused since one was taken.
    refused: BTreeSet<Name>,
}

impl Proof {
    /// A record is refused: whether that is the record's fault.
    pub(super) fn may_refuse(&mut self, (way, device): Whose<'_>, now: Instant) -> bool {
        // By whatever way: one and the same mistake must not cost three records by each.
        let in_a_row: u32 = self.ways.values().map(|of| of.in_a_row).sum();
        let of = self.ways.entry(way).or_default();
        of.refused.extend(device.cloned());
        of.taken.retain(|_, at| now.duration_since(*at) < PROOF);
        let somebody_else = of.taken.keys().any(|device| !of.refused.contains(device));
        let may = somebody_else || in_a_row < IN_A_ROW;
        of.in_a_row += u32::from(may);
        if !may {
            self.wants_witness = Some(way);
        }
        may
    }

    pub(super) fn taken(&mut self, (way, device): Whose<'_>, now: Instant) {
        let of = self.ways.entry(way).or_default();
        of.in_a_row = 0;
        if let Some(device) = device {
            of.refused.remove(device);
            of.taken.insert(device.clone(), now);
        }
        if self.wants_witness == Some(way) {
            self.wants_witness = None;
        }
    }

    /// Whether somebody has to be found who may be taken, and whom it is no use to ask; asks once.
    pub(super) fn witness_wanted(&mut self) -> Option<BTreeSet<Name>> {
        let way = self.wants_witness.take()?;
        Some(self.ways.get(&way).map(|of| of.refused.clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn one_device_that_is_refused_is_believed_while_another_is_taken() {
        let (mut proof, start) = (Proof::default(), Instant::now());
        let devices = names(&["a", "b"]);
        let [a, b] = [0, 1].map(|n| (Way::HISTORY, devices.get(n)));
        proof.taken(b, start);
        for n in 0..100 {
            assert!(proof.may_refuse(a, start + Duration::from_secs(n)));
        }
        assert!(!proof.may_refuse(a, start + PROOF), "too long ago");
        assert_eq!(proof.witness_wanted().unwrap().len(), 1);
        assert!(proof.witness_wanted().is_none(), "asked once");
        proof.taken(b, start + PROOF);
        assert!(proof.may_refuse(a, start + PROOF) && proof.witness_wanted().is_none());
    }

    #[test]
    fn rights_that_were_taken_away_from_all_cost_a_record_a_device_and_no_more() {
        let (mut proof, now) = (Proof::default(), Instant::now());
        let devices = names(&["a", "b", "c", "d", "e"]);
        devices.iter().for_each(|device| proof.taken((Way::LIVE, Some(device)), now));
        let believed = (0..100).filter(|n| proof.may_refuse((Way::LIVE, devices.get(n % 5)), now)).count();
        assert_eq!(believed, 4, "the fifth has nobody left to prove it");
    }

    #[test]
    fn what_is_taken_live_proves_nothing_of_the_backlog() {
        let (mut proof, now) = (Proof::default(), Instant::now());
        let devices = names(&["a", "b"]);
        let believed = (0..100).filter(|n| {
            devices.iter().for_each(|device| proof.taken((Way::LIVE, Some(device)), now));
            proof.may_refuse((Way::HISTORY, devices.get(n % 2)), now)
        });
        assert_eq!(believed.count(), 3);
        assert_eq!(proof.witness_wanted().unwrap().len(), 2);
        assert!(!proof.may_refuse((Way::BATCHES, devices.first()), now), "three by all ways together");
    }
}
