//! Due points → the blocks that take the least time on the wire: pure, and independent of the points' order.
//!
//! Points whose registers overlap, touch, or lie so near that reading what is between costs less than another
//! request are read by one request. What a request costs stands in [`WireCost`]; how the cheapest cut is found,
//! in `table`. A value is never torn over two requests.
//!
//! # What a block may touch
//! At most `max_registers` of the profile or of the [`Lessons`] (125 registers, 2000 coils at most), beginning at
//! a multiple of the profile's `align`, and no hole: one declared in the profile (in every table), one
//! learned (in its own table), or the registers of a point that must be asked alone.
//!
//! Asked **by itself**, within its own registers, is a point that was learned to be asked alone, that lies on a
//! hole, or that is longer than `max_registers`. Points with exactly the same registers (the bits of
//! one) share a request even then: two requests would be the same octets. Whoever parts a refused block
//! must therefore expect one with several points that can't be parted.
//!
//! An aligned read that would touch a hole, or be too long, before it reaches its first point begins at
//! that point instead.

mod cost;
mod lessons;
mod table;

pub use cost::WireCost;
pub use lessons::Lessons;

use crate::modbus::{ReadFunction, ReadRequest};
use crate::profile::{Point, Profile, Table};
use std::time::Duration;

/// One request, and the points it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub request: ReadRequest,
    /// Indices into the profile's points, ascending.
    pub points: Vec<usize>,
}

impl Block {
    /// The octets of one of its points, as they stand in the reply's data; a coil is one octet, 0 or 1.
    pub fn octets_of(&self, point: &Point, data: &[u8]) -> Option<Vec<u8>> {
        let from = usize::from(point.address.checked_sub(self.request.address())?);
        if point.table.is_bits() {
            let octet = data.get(from / 8)?;
            return Some(vec![(octet >> (from % 8)) & 1]);
        }
        let count = usize::from(point.format.count());
        data.get(from * 2..(from + count) * 2).map(<[u8]>::to_vec)
    }
}

/// The function that reads a table.
pub fn function_of(table: Table) -> ReadFunction {
    match table {
        Table::Coil => ReadFunction::Coils,
        Table::DiscreteInput => ReadFunction::DiscreteInputs,
        Table::InputRegister => ReadFunction::InputRegisters,
        Table::HoldingRegister => ReadFunction::HoldingRegisters,
    }
}

/// What a plan depends on beside the profile and the due points.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub cost: WireCost,
    /// How long this device takes to answer: from our last octet to the reply's first. It decides how wide a gap
    /// is bridged, so a caller that measures it should round it (to 5 ms, say) or plan again only when it has
    /// changed by a good part: else the blocks of a device change from scan to scan with its mood.
    pub turnaround: Duration,
    pub lessons: &'a Lessons,
}

/// The blocks that serve these points of a profile in the least total time, by table and address.
///
/// Among plans that cost the same: the fewest requests, then the first block as long as possible, then the
/// next. So one set of registers has one plan. A point that no request can ask for (beyond address 65535, more
/// than 125 registers) is in no block; the profile's reader lets none through.
pub fn plan_points(profile: &Profile, due: &[usize], terms: &Terms<'_>) -> Vec<Block> {
    let mut spans: Vec<Span> = due.iter().filter_map(|index| Span::of(profile, *index)).collect();
    // Of points that begin together the longest comes first: it may hold the others.
    spans.sort_unstable_by_key(|span| (span.table, span.first, std::cmp::Reverse(span.last), span.point));
    spans.dedup();
    let mut blocks = Vec::new();
    for spans in spans.chunk_by(|a, b| a.table == b.table) {
        table::plan(profile, spans, terms, &mut blocks);
    }
    blocks
}

/// Where a point stands, by first and last address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    table: Table,
    first: u32,
    last: u32,
    point: usize,
}

impl Span {
    fn of(profile: &Profile, index: usize) -> Option<Span> {
        let point = profile.points.get(index)?;
        let count = point.format.count().max(1);
        let first = u32::from(point.address);
        let last = first + u32::from(count) - 1;
        let can_be_asked = count <= point.table.limit() && last <= u32::from(u16::MAX);
        can_be_asked.then_some(Span { table: point.table, first, last, point: index })
    }

    fn same_registers(&self, other: &Span) -> bool {
        (self.first, self.last) == (other.first, other.last)
    }
}

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
pub(crate) mod tests;
