//! One body: what it holds, and what is settled when it is taken.

use super::Sink;
use crate::encode::{Loss, Number, Numbered};
use crate::model::{Name, Reading, Site};
use crate::record;
use crate::spool::{Gap, Stored};
use crate::upstream::witness::number_of;
use crate::upstream::{SAYS_NOTHING, Work};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) octets: Vec<u8>,
    /// What becomes of the records that were given, in their order.
    pub(super) settle: Vec<Settle>,
    /// Of the records that were given, so many from the first on: in it, or given up.
    pub(super) covers: usize,
    /// Whose records are in it.
    pub(super) devices: BTreeSet<Name>,
    /// The losses that it announces.
    pub(super) gaps: Vec<u64>,
}

/// Records in a row that end alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settle {
    /// The position of the last one.
    pub(super) upto: u64,
    pub(super) records: usize,
    /// Why they are not in the body.
    pub(super) lost: Option<&'static str>,
}

/// Readable records in a row.
type Run = Vec<(u64, Reading, Number)>;

impl Body {
    /// Of losses and records, in this order, as much as one body takes.
    pub(super) fn of<S: Sink>(sink: &S, work: &Work, records: &[Stored], gaps: &[Gap]) -> Body {
        let site = Arc::clone(&work.site.borrow());
        let mut body = Body::default();
        for gap in gaps {
            body.announce(sink, work, &site, gap);
            if !sink.joins() {
                return body;
            }
        }
        let mut run: Run = Vec::new();
        for stored in records {
            match record::decode(&stored.octets) {
                Ok(mut reading) => {
                    work.dating.borrow().date(&mut reading);
                    run.push((stored.position, reading, number_of(stored)));
                }
                Err(error) => {
                    if !body.put(sink, work, &site, std::mem::take(&mut run)) {
                        return body;
                    }
                    tracing::warn!(upstream = %work.name, position = stored.position, %error, "record given up");
                    body.settled(stored.position, 1, Some("undecodable"));
                }
            }
        }
        body.put(sink, work, &site, run);
        body
    }

    fn announce<S: Sink>(&mut self, sink: &S, work: &Work, site: &Site, gap: &Gap) {
        let loss = Loss { from: gap.from, to: gap.to, count: gap.count, reason: &gap.reason };
        match sink.gap(work.clock.utc(), &loss, site) {
            Some(octets) => self.octets.extend(octets),
            None => {
                tracing::warn!(upstream = %work.name, ?loss, "a loss that this format can't announce");
            }
        }
        self.gaps.push(gap.id);
    }

    /// Writes readings behind what there is; what cannot be written is given up by name. `false` where the body is full.
    fn put<S: Sink>(&mut self, sink: &S, work: &Work, site: &Site, run: Run) -> bool {
        let readings: Vec<Numbered<'_>> =
            run.iter().map(|(_, reading, number)| Numbered { reading, number: *number }).collect();
        let mut at = 0;
        while let Some((position, _, _)) = run.get(at) {
            let is_begun = !self.octets.is_empty();
            if is_begun && !sink.joins() {
                return false;
            }
            let room = sink.largest().saturating_sub(self.octets.len());
            match sink.encode(readings.get(at..).unwrap_or_default(), site, room) {
                Ok(payload) if payload.taken > 0 => {
                    // What a format has no words for is not sent, and proves nothing.
                    let lost = payload.octets.is_empty().then_some(SAYS_NOTHING);
                    if lost.is_none() {
                        let taken = run.get(at..at + payload.taken).unwrap_or_default();
                        self.devices.extend(taken.iter().map(|(_, reading, _)| reading.device.clone()));
                    }
                    self.octets.extend(payload.octets);
                    at += payload.taken;
                    let upto = run.get(at - 1).map_or(*position, |(position, _, _)| *position);
                    self.settled(upto, payload.taken, lost);
                }
                // It may fit into a body of its own.
                _ if is_begun => return false,
                refused => {
                    let word = refused.err().map_or("unwritten", |why| {
                        tracing::warn!(upstream = %work.name, position, %why, "record given up");
                        why.word()
                    });
                    self.settled(*position, 1, Some(word));
                    at += 1;
                }
            }
        }
        true
    }

    fn settled(&mut self, upto: u64, records: usize, lost: Option<&'static str>) {
        self.covers += records;
        match self.settle.last_mut() {
            Some(last) if last.lost == lost => {
                (last.upto, last.records) = (upto, last.records + records);
            }
            Some(_) | None => self.settle.push(Settle { upto, records, lost }),
        }
    }
}
