//! The cheapest cut of one table's points into reads, by dynamic programming over the points in order.
//!
//! Why cutting the sorted points into runs is enough: let a block serve a first and a third point, and another
//! block the second between them. The first block covers the second point already, so to move it there costs
//! nothing, and the other block can only shrink. Points inside another point ride along with it.
//!
//! `best(i)`, the least cost of points i and on, is the least of `read(i..=k) + best(k + 1)` over all k that one
//! read may reach: n·w steps for n points, w of them within a read's reach.

use super::{Block, Span, Terms, function_of};
use crate::modbus::ReadRequest;
use crate::profile::{Profile, Table};
use std::cmp::Reverse;

/// Adds the blocks for these points, all of one table, by first address and the longest first.
pub(super) fn plan(profile: &Profile, spans: &[Span], terms: &Terms<'_>, blocks: &mut Vec<Block>) {
    let Some(table) = spans.first().map(|span| span.table) else { return };
    let ground = Ground::of(profile, table, terms);
    let mut rows: Vec<Row> = Vec::new();
    let mut inside: Vec<Span> = Vec::new();
    let mut reads: Vec<Read> = Vec::new();
    for same in spans.chunk_by(Span::same_registers) {
        let span = same[0];
        let from = ground.begin(&span);
        if !ground.is_free(span.first, span.last) || span.last - span.first >= ground.most {
            let points = same.iter().map(|span| span.point).collect();
            reads.push(Read { first: from, last: span.last, points });
        } else if rows.last().is_some_and(|row| row.last >= span.last) {
            inside.extend(same);
        } else {
            rows.push(Row { from, last: span.last, points: same });
        }
    }
    let together = reads.len();
    cheapest(&rows, &ground, terms, &mut reads);
    let runs = &mut reads[together..];
    for span in inside {
        // The first block that ends late enough begins early enough: the one with the point around it does.
        let at = runs.partition_point(|read| read.last < span.last);
        if let Some(read) = runs.get_mut(at) {
            read.points.push(span.point);
        }
    }
    reads.sort_unstable_by_key(|read| (read.first, read.last));
    blocks.extend(reads.into_iter().filter_map(|read| read.block(table)));
}

/// What may be read in this table.
struct Ground {
    align: u32,
    /// Most registers, or coils, in one read.
    most: u32,
    /// First and last addresses that must not be read in passing, by first address.
    holes: Vec<(u32, u32)>,
}

impl Ground {
    fn of(profile: &Profile, table: Table, terms: &Terms<'_>) -> Ground {
        let (habits, lessons) = (&profile.habits, terms.lessons);
        let registers = habits.max_registers.min(lessons.max_registers.unwrap_or(u16::MAX));
        let most = if table.is_bits() { table.limit() } else { registers.clamp(1, table.limit()) };
        let declared = habits.holes.iter().map(|hole| (*hole.start(), *hole.end()));
        let learned = lessons.holes.iter().filter(|hole| hole.0 == table).map(|hole| (hole.1, hole.2));
        let holes = declared.chain(learned).map(|(first, last)| (u32::from(first), u32::from(last)));
        let alone = lessons.alone.iter().filter_map(|index| Span::of(profile, *index));
        let alone = alone.filter(|span| span.table == table).map(|span| (span.first, span.last));
        let mut holes: Vec<_> = holes.chain(alone).collect();
        holes.sort_unstable();
        Ground { align: u32::from(habits.align.max(1)), most: u32::from(most), holes }
    }

    fn is_free(&self, first: u32, last: u32) -> bool {
        self.holes.iter().all(|hole| hole.1 < first || hole.0 > last)
    }

    /// Where a read begins whose first point is this.
    fn begin(&self, span: &Span) -> u32 {
        let aligned = span.first - span.first % self.align;
        let on_the_way = aligned == span.first || self.is_free(aligned, span.first - 1);
        if on_the_way && span.last - aligned < self.most { aligned } else { span.first }
    }

    /// The first address that a read from here can't take in. The address itself lies in no hole.
    fn end(&self, from: u32) -> u32 {
        let hole = self.holes.iter().map(|hole| hole.0).find(|first| *first >= from);
        hole.unwrap_or(u32::MAX).min(from + self.most)
    }
}

/// The points of some registers; no row lies inside another.
struct Row<'a> {
    /// Where a read begins that has this row first.
    from: u32,
    last: u32,
    points: &'a [Span],
}

struct Read {
    first: u32,
    last: u32,
    points: Vec<usize>,
}

impl Read {
    fn block(mut self, table: Table) -> Option<Block> {
        self.points.sort_unstable();
        let address = u16::try_from(self.first).ok()?;
        let count = u16::try_from(self.last - self.first + 1).ok()?;
        let request = ReadRequest::new(function_of(table), address, count).ok()?;
        Some(Block { request, points: self.points })
    }
}

/// The rest of a plan: what it costs, in how many reads, and which row ends the first of them. Less is better;
/// of equals the one whose first read is longer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    cost: u64,
    reads: usize,
    end: Reverse<usize>,
}

const NOTHING_LEFT: Rest = Rest { cost: 0, reads: 0, end: Reverse(0) };

fn cheapest(rows: &[Row<'_>], ground: &Ground, terms: &Terms<'_>, reads: &mut Vec<Read>) {
    let Some(table) = rows.first().and_then(|row| row.points.first()).map(|span| span.table) else { return };
    let (function, price) = (function_of(table), terms.cost.price(terms.turnaround));
    let mut best = vec![NOTHING_LEFT; rows.len() + 1];
    for (i, first) in rows.iter().enumerate().rev() {
        let end = ground.end(first.from);
        let within = rows[i..].iter().enumerate().take_while(|(k, row)| *k == 0 || row.last < end);
        let choices = within.map(|(k, row)| {
            let rest = best[i + k + 1];
            let count = u16::try_from(row.last - first.from + 1).unwrap_or(u16::MAX);
            let cost = price.of(function.data_octets(count));
            Rest { cost: cost.saturating_add(rest.cost), reads: rest.reads + 1, end: Reverse(i + k + 1) }
        });
        best[i] = choices.min().unwrap_or(NOTHING_LEFT);
    }
    let mut i = 0;
    while i < rows.len() {
        let end = best[i].end.0.max(i + 1);
        let run = &rows[i..end];
        let points = run.iter().flat_map(|row| row.points).map(|span| span.point).collect();
        reads.push(Read { first: run[0].from, last: run[run.len() - 1].last, points });
        i = end;
    }
}
