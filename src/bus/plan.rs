//! Due points → blocks: pure, and independent of the order of the points.
//!
//! Points whose registers touch or overlap are read by one request, within the limits of the table, the
//! meter's `max_registers`, its `align` and its `holes`. A value is never torn over two requests.
//! (Bridging gaps where that costs less wire time is not done in this version.)

use crate::modbus::{ReadFunction, ReadRequest};
use crate::profile::{Habits, Point, Profile, Table};
use std::collections::BTreeSet;

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

/// The blocks that serve these points of a profile.
pub fn plan_points(profile: &Profile, due: &[usize]) -> Vec<Block> {
    plan_apart(profile, due, &BTreeSet::new())
}

/// The same, with some points read alone because asking for them with others was refused.
pub(super) fn plan_apart(profile: &Profile, due: &[usize], alone: &BTreeSet<usize>) -> Vec<Block> {
    let mut spans: Vec<Span> = due.iter().filter_map(|index| Span::of(profile, *index)).collect();
    spans.sort_by_key(|span| (span.table, span.first, span.last, span.point));
    spans.dedup();
    let (mut blocks, mut open): (Vec<Block>, Option<Open>) = (Vec::new(), None);
    for span in spans {
        if alone.contains(&span.point) {
            blocks.extend(Open::begin(&span, &profile.habits).and_then(Open::close));
            continue;
        }
        if let Some(current) = &mut open
            && current.takes(&span, &profile.habits)
        {
            continue;
        }
        blocks.extend(open.take().and_then(Open::close));
        open = Open::begin(&span, &profile.habits);
    }
    blocks.extend(open.and_then(Open::close));
    blocks
}

/// Where a point stands, by first and last address.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    table: Table,
    first: u32,
    last: u32,
    point: usize,
}

impl Span {
    fn of(profile: &Profile, index: usize) -> Option<Span> {
        let point = profile.points.get(index)?;
        let first = u32::from(point.address);
        let last = first + u32::from(point.format.count().max(1)) - 1;
        Some(Span { table: point.table, first, last, point: index })
    }
}

/// A block that may still take more points.
struct Open {
    table: Table,
    first: u32,
    last: u32,
    points: Vec<usize>,
}

impl Open {
    fn begin(span: &Span, habits: &Habits) -> Option<Open> {
        let align = u32::from(habits.align.max(1));
        let aligned = span.first - span.first % align;
        // A read that begins earlier, to be aligned, must not touch a hole on the way.
        let first = if free(habits, aligned, span.first) { aligned } else { span.first };
        Some(Open { table: span.table, first, last: span.last, points: vec![span.point] })
    }

    /// Takes the point if it touches or overlaps and the block stays within its limits.
    fn takes(&mut self, span: &Span, habits: &Habits) -> bool {
        let last = self.last.max(span.last);
        let most = if self.table.is_bits() { self.table.limit() } else { habits.max_registers.min(125) };
        let fits = span.table == self.table
            && span.first <= self.last + 1
            && last - self.first < u32::from(most)
            && free(habits, self.first, last + 1);
        if fits {
            self.last = last;
            self.points.push(span.point);
        }
        fits
    }

    fn close(mut self) -> Option<Block> {
        self.points.sort_unstable();
        let address = u16::try_from(self.first).ok()?;
        let count = u16::try_from(self.last - self.first + 1).ok()?;
        let request = ReadRequest::new(function_of(self.table), address, count).ok()?;
        Some(Block { request, points: self.points })
    }
}

/// No hole lies in `from..to`.
fn free(habits: &Habits, from: u32, to: u32) -> bool {
    habits.holes.iter().all(|hole| u32::from(*hole.end()) < from || u32::from(*hole.start()) >= to)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{Decimal, Ratio};
    use crate::profile::{Format, Order};
    use proptest::prelude::*;

    pub(crate) fn point(name: &str, table: Table, address: u16, format: Format) -> Point {
        Point {
            name: name.parse().unwrap(),
            table,
            address,
            format,
            word_order: Order::Big,
            byte_order: Order::Big,
            scale: Ratio::ONE,
            offset: Decimal::ZERO,
            resolution: None,
            quantity: "other".into(),
            unit: String::new(),
            phase: None,
            direction: None,
            range: None,
            invalid: vec![],
            words: vec![],
            bit: None,
            index: false,
            every: None,
            unverified: false,
        }
    }

    pub(crate) fn profile(points: Vec<Point>) -> Profile {
        Profile {
            name: "test".into(),
            vendor: "Test".into(),
            model: "T".into(),
            kind: "other".into(),
            sources: vec![],
            serial: None,
            unit_id: None,
            habits: Habits { max_registers: 20, ..Habits::default() },
            identify: vec![],
            points,
        }
    }

    fn all(profile: &Profile) -> Vec<usize> {
        (0..profile.points.len()).collect()
    }

    fn asked(blocks: &[Block]) -> Vec<(u16, u16)> {
        blocks.iter().map(|block| (block.request.address(), block.request.count())).collect()
    }

    #[test]
    fn points_that_touch_are_read_together_and_gaps_are_not_bridged() {
        use Table::InputRegister as Input;
        let p = profile(vec![
            point("a", Input, 0, Format::F32),
            point("b", Input, 2, Format::F32),
            point("c", Input, 6, Format::U16),
            point("d", Table::HoldingRegister, 4, Format::U16),
        ]);
        assert_eq!(asked(&plan_points(&p, &all(&p))), [(0, 4), (6, 1), (4, 1)]);
    }

    #[test]
    fn holes_and_limits_part_blocks() {
        let points =
            (0..30).map(|n| point(&format!("p{n}"), Table::HoldingRegister, n, Format::U16)).collect();
        let mut p = profile(points);
        assert_eq!(asked(&plan_points(&p, &all(&p))), [(0, 20), (20, 10)]);
        p.habits.holes = vec![5..=5];
        let due: Vec<usize> = all(&p).into_iter().filter(|n| *n != 5).collect();
        assert_eq!(asked(&plan_points(&p, &due)), [(0, 5), (6, 20), (26, 4)]);
    }

    #[test]
    fn a_point_that_was_refused_is_asked_alone() {
        let p = profile(
            (0..3).map(|n| point(&format!("p{n}"), Table::HoldingRegister, n, Format::U16)).collect(),
        );
        let blocks = plan_apart(&p, &all(&p), &BTreeSet::from([1]));
        assert_eq!(asked(&blocks), [(1, 1), (0, 1), (2, 1)]);
    }

    #[test]
    fn coils_come_out_of_packed_octets() {
        let p = profile(vec![
            point("a", Table::Coil, 3, Format::Bool),
            point("b", Table::Coil, 4, Format::Bool),
            point("c", Table::Coil, 12, Format::Bool),
        ]);
        let block =
            Block { request: ReadRequest::new(ReadFunction::Coils, 3, 10).unwrap(), points: vec![0, 1, 2] };
        let data = [0b0000_0010, 0b0000_0010];
        let bits: Vec<_> = p.points.iter().map(|p| block.octets_of(p, &data).unwrap()).collect();
        assert_eq!(bits, [[0], [1], [1]]);
    }

    fn a_point() -> impl Strategy<Value = Point> {
        let format =
            prop_oneof![Just(Format::U16), Just(Format::F32), Just(Format::U64), Just(Format::Text(8))];
        (0u16..200, format, any::<bool>()).prop_map(|(address, format, input)| {
            let table = if input { Table::InputRegister } else { Table::HoldingRegister };
            point("p", table, address, format)
        })
    }

    proptest! {
        #[test]
        fn every_point_is_served_once_and_whole(points in proptest::collection::vec(a_point(), 0..60), most in 8u16..=125, align in 1u16..3) {
            let mut p = profile(points);
            p.habits.max_registers = most;
            p.habits.align = align;
            let blocks = plan_points(&p, &all(&p));
            let mut served: Vec<usize> = blocks.iter().flat_map(|block| block.points.clone()).collect();
            served.sort_unstable();
            prop_assert_eq!(served, all(&p));
            for block in &blocks {
                prop_assert!(block.request.count() <= most.max(9));
                for index in &block.points {
                    let data = vec![0; block.request.reply_data_octets()];
                    let octets = block.octets_of(&p.points[*index], &data).unwrap();
                    prop_assert_eq!(octets.len(), usize::from(p.points[*index].format.count()) * 2);
                }
            }
        }

        #[test]
        fn the_order_of_points_does_not_matter(points in proptest::collection::vec(a_point(), 0..40), seed: u64) {
            let mut shuffled = points.clone();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            let (a, b) = (profile(points), profile(shuffled));
            prop_assert_eq!(asked(&plan_points(&a, &all(&a))), asked(&plan_points(&b, &all(&b))));
        }
    }
}
