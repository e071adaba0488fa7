//! Whose a record is, and where one of somebody else's is: what refusals are measured by (see `proof.rs`).

use crate::encode::Number;
use crate::model::Name;
use crate::record;
use crate::spool::{Closed, Reader, Stored};
use std::collections::BTreeSet;

/// How far is looked for a device that may be taken.
const READS: usize = 16;
const RECORDS: usize = 256;

/// The next record of a device that is none of these; so many octets are read at a time.
pub(super) async fn find(
    reader: &Reader,
    refused: &BTreeSet<Name>,
    octets: usize,
) -> Result<Option<Stored>, Closed> {
    let (mut at, head) = (reader.cursor(), reader.head());
    for _ in 0..READS {
        let found = reader.read_until(at, head, RECORDS, octets).await?;
        let Some(last) = found.last() else { break };
        at = last.position;
        let is_another = |stored: &Stored| device_of(stored).is_some_and(|device| !refused.contains(&device));
        if let Some(stored) = found.into_iter().find(is_another) {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// Who cannot be read is nobody's device.
pub(super) fn device_of(stored: &Stored) -> Option<Name> {
    record::decode(&stored.octets).ok().map(|reading| reading.device)
}

pub(super) fn number_of(stored: &Stored) -> Number {
    Number { epoch: stored.epoch, seq: stored.seq }
}
