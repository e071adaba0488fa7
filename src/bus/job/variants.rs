//! The same values asked in another length: what no late answer to the first question can be taken for.
//!
//! A block is made longer, never over a hole, never beyond the registers that the profile knows. Should
//! the device refuse the longer one all the same, nothing is learned from that: while the late answer may
//! come, a refusal is not believed.

use crate::bus::plan::{Block, Lessons};
use crate::profile::{Profile, Table};

/// So many steps longer at the most, at either end.
const STEPS: u16 = 6;
/// Of coils, so many make an octet, by which lengths are told apart.
const COILS_OF_AN_OCTET: u16 = 8;

/// The block in other lengths, the nearest first.
pub(super) fn longer<'a>(
    profile: &'a Profile,
    lessons: &'a Lessons,
    block: &'a Block,
) -> impl Iterator<Item = Block> + 'a {
    let table = block.points.first().and_then(|index| profile.points.get(*index)).map(|point| point.table);
    let known = table.and_then(|table| Some((table, extent(profile, table)?)));
    (1..=STEPS).flat_map(|step| [(step, false), (step, true)]).filter_map(move |(step, before)| {
        let (table, (least, most)) = known?;
        let unit = if table.is_bits() { COILS_OF_AN_OCTET } else { profile.habits.align.max(1) };
        let more = unit.checked_mul(step)?;
        let (first, count) = (block.request.address(), block.request.count());
        let last = first.checked_add(count - 1)?;
        let (from, to) =
            if before { (first.checked_sub(more)?, last) } else { (first, last.checked_add(more)?) };
        let limit = if table.is_bits() { table.limit() } else { profile.habits.max_registers };
        let limit = lessons.max_registers.map_or(limit, |learned| limit.min(learned));
        let added = if before { from..=first - 1 } else { last + 1..=to };
        let free =
            from >= least && to <= most && to - from < limit && is_free(profile, lessons, table, added);
        if free { Block::over(table, from, to, block.points.clone()) } else { None }
    })
}

/// The first and the last address of a table that the profile knows.
fn extent(profile: &Profile, table: Table) -> Option<(u16, u16)> {
    let points = profile.points.iter().filter(|point| point.table == table);
    let least = points.clone().map(|point| point.address).min()?;
    let most = points.map(|point| point.address.saturating_add(point.format.count().max(1) - 1)).max()?;
    Some((least, most))
}

/// No hole, declared or learned, and no register of a point that is refused.
fn is_free(profile: &Profile, lessons: &Lessons, table: Table, range: std::ops::RangeInclusive<u16>) -> bool {
    let touches = |from: u16, to: u16| from <= *range.end() && to >= *range.start();
    let declared = profile.habits.holes.iter().any(|hole| touches(*hole.start(), *hole.end()));
    let learned = lessons.holes.iter().any(|(of, from, to)| *of == table && touches(*from, *to));
    let refused = lessons.alone.iter().filter_map(|index| profile.points.get(*index)).any(|point| {
        point.table == table
            && touches(point.address, point.address.saturating_add(point.format.count().max(1) - 1))
    });
    !(declared || learned || refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::plan::tests::{point, profile};
    use crate::profile::Format;

    const HOLDING: Table = Table::HoldingRegister;

    fn lengths(profile: &Profile, lessons: &Lessons, first: u16, last: u16) -> Vec<(u16, u16)> {
        let block = Block::over(HOLDING, first, last, vec![0]).unwrap();
        let longer = longer(profile, lessons, &block);
        longer.map(|block| (block.request.address(), block.request.count())).collect()
    }

    #[test]
    fn a_block_grows_within_what_the_profile_knows() {
        let mut p = profile((0..5).map(|n| point("p", HOLDING, 10 + n * 2, Format::F32)).collect());
        let nothing = Lessons::default();
        assert_eq!(lengths(&p, &nothing, 10, 11), [(10, 3), (10, 4), (10, 5), (10, 6), (10, 7), (10, 8)]);
        assert_eq!(lengths(&p, &nothing, 16, 17)[..3], [(16, 3), (15, 3), (16, 4)]);
        assert_eq!(lengths(&p, &nothing, 10, 19), [], "all of it already");
        p.habits.align = 2;
        assert_eq!(lengths(&p, &nothing, 16, 17), [(16, 4), (14, 4), (12, 6), (10, 8)]);
        p.habits.max_registers = 4;
        assert_eq!(lengths(&p, &nothing, 16, 17), [(16, 4), (14, 4)]);
    }

    #[test]
    fn it_never_grows_over_a_hole_or_a_refused_point() {
        let mut p = profile((0..5).map(|n| point("p", HOLDING, n * 2, Format::U16)).collect());
        let lessons = |holes: &[(Table, u16, u16)], alone: &[usize]| Lessons {
            holes: holes.iter().copied().collect(),
            alone: alone.iter().copied().collect(),
            max_registers: None,
        };
        assert_eq!(lengths(&p, &lessons(&[(HOLDING, 5, 5)], &[]), 4, 4), [(3, 2), (2, 3), (1, 4), (0, 5)]);
        assert_eq!(lengths(&p, &lessons(&[], &[1, 3]), 4, 4), [(4, 2), (3, 2)]);
        p.habits.holes = vec![3..=3, 5..=5];
        assert_eq!(lengths(&p, &lessons(&[], &[]), 4, 4), []);
    }

    #[test]
    fn coils_grow_by_octets() {
        let p = profile((0..40).map(|n| point("p", Table::Coil, n, Format::Bool)).collect());
        let block = Block::over(Table::Coil, 0, 7, vec![0]).unwrap();
        let nothing = Lessons::default();
        let counts: Vec<u16> = longer(&p, &nothing, &block).map(|block| block.request.count()).collect();
        assert_eq!(counts, [16, 24, 32, 40]);
    }
}
