//! Plans that a person can check.

use super::*;
use crate::modbus::rtu::Pace;
use crate::profile::{Format, Habits};
use std::collections::BTreeSet;

pub(crate) fn point(name: &str, table: Table, address: u16, format: Format) -> Point {
    Point::new(name.parse().unwrap(), table, address, format)
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
        habits: Habits {
            max_registers: 20,
            align: 1,
            holes: vec![],
            min_gap: Duration::ZERO,
            diagnostics: false,
            timeout: None,
            min_timeout: None,
        },
        identify: vec![],
        parameters: vec![],
        identity: None,
        points,
        walks: false,
    }
}

pub(super) fn all(profile: &Profile) -> Vec<usize> {
    (0..profile.points.len()).collect()
}

fn asked(blocks: &[Block]) -> Vec<(u16, u16)> {
    blocks.iter().map(|block| (block.request.address(), block.request.count())).collect()
}

const PACE_9600: Pace = Pace::new(9600, false, 1);

/// 9600 8N1, and a meter that answers after its 3.5 characters.
fn plan(profile: &Profile, lessons: &Lessons) -> Vec<Block> {
    let terms = Terms { cost: WireCost::rtu(PACE_9600), turnaround: Duration::ZERO, lessons };
    plan_points(profile, &all(profile), &terms)
}

fn registers(addresses: impl IntoIterator<Item = u16>) -> Profile {
    let points =
        addresses.into_iter().map(|n| point(&format!("p{n}"), Table::HoldingRegister, n, Format::U16));
    profile(points.collect())
}

#[test]
fn a_gap_is_bridged_while_that_costs_less_than_another_request() {
    // A request costs 13 + 2·3.5 = 20 characters, as many as ten registers.
    let none = Lessons::default();
    assert_eq!(asked(&plan(&registers([0, 10]), &none)), [(0, 11)]);
    assert_eq!(asked(&plan(&registers([0, 12]), &none)), [(0, 1), (12, 1)]);
    let slow =
        Terms { cost: WireCost::rtu(PACE_9600), turnaround: Duration::from_millis(20), lessons: &none };
    let p = registers([0, 12]);
    assert_eq!(asked(&plan_points(&p, &all(&p), &slow)), [(0, 13)]);
    let patient = WireCost::rtu(PACE_9600).with_min_gap(Duration::from_millis(20));
    let wants_silence = Terms { cost: patient, turnaround: Duration::ZERO, lessons: &none };
    assert_eq!(asked(&plan_points(&p, &all(&p), &wants_silence)), [(0, 13)]);
}

#[test]
fn the_cut_is_made_where_the_gap_is_widest_not_where_the_limit_falls() {
    // A greedy plan fills the first read up to 20 registers and then begins a third one.
    let p = registers([0, 8, 16, 24, 32]);
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(0, 17), (24, 9)]);
    let p = registers([0, 1, 12, 19, 20, 21, 31, 32]);
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(0, 2), (12, 10), (31, 2)]);
}

#[test]
fn tables_are_read_apart_and_in_order() {
    let p = profile(vec![
        point("a", Table::HoldingRegister, 1, Format::U16),
        point("b", Table::InputRegister, 0, Format::F32),
        point("c", Table::Coil, 3, Format::Bool),
        point("d", Table::DiscreteInput, 2, Format::Bool),
    ]);
    let functions =
        plan(&p, &Lessons::default()).iter().map(|block| block.request.function().code()).collect::<Vec<_>>();
    assert_eq!(functions, [1, 2, 4, 3]);
}

#[test]
fn holes_and_limits_part_blocks() {
    let mut p = registers(0..30);
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(0, 20), (20, 10)]);
    let shorter = Lessons { max_registers: Some(16), ..Lessons::default() };
    assert_eq!(asked(&plan(&p, &shorter)), [(0, 16), (16, 14)]);
    p.habits.holes = vec![5..=5];
    p.points.remove(5);
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(0, 5), (6, 20), (26, 4)]);
}

#[test]
fn a_learned_hole_is_one_of_its_own_table() {
    let mut points = vec![];
    for (table, address) in [
        (Table::HoldingRegister, 0),
        (Table::HoldingRegister, 4),
        (Table::InputRegister, 0),
        (Table::InputRegister, 4),
    ] {
        points.push(point("p", table, address, Format::U16));
    }
    let lessons = Lessons { holes: BTreeSet::from([(Table::HoldingRegister, 2, 2)]), ..Lessons::default() };
    assert_eq!(asked(&plan(&profile(points), &lessons)), [(0, 5), (0, 1), (4, 1)]);
}

#[test]
fn a_point_that_was_refused_is_asked_alone() {
    let alone = Lessons { alone: BTreeSet::from([1]), ..Lessons::default() };
    assert_eq!(asked(&plan(&registers(0..3), &alone)), [(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn a_point_on_a_hole_is_asked_within_its_own_registers() {
    let mut p = profile(vec![
        point("a", Table::HoldingRegister, 0, Format::U16),
        point("b", Table::HoldingRegister, 1, Format::U64),
        point("c", Table::HoldingRegister, 5, Format::U16),
        point("inside", Table::HoldingRegister, 1, Format::U16),
    ]);
    p.habits.holes = vec![3..=3];
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(0, 2), (1, 4), (5, 1)]);
}

#[test]
fn the_bits_of_a_register_share_a_request_even_when_it_was_refused() {
    let bits = (0..16).map(|n| point(&format!("bit{n}"), Table::HoldingRegister, 7, Format::Bits)).collect();
    let alone = Lessons { alone: BTreeSet::from([3]), ..Lessons::default() };
    let blocks = plan(&profile(bits), &alone);
    assert_eq!((asked(&blocks), blocks[0].points.len()), (vec![(7, 1)], 16));
}

#[test]
fn a_point_longer_than_the_meters_limit_is_asked_whole_and_alone() {
    let p = profile(vec![
        point("a", Table::HoldingRegister, 0, Format::U16),
        point("serial_number", Table::HoldingRegister, 1, Format::Text(30)),
        point("b", Table::HoldingRegister, 31, Format::U16),
    ]);
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(0, 1), (1, 30), (31, 1)]);
}

#[test]
fn a_read_begins_aligned_unless_that_touches_a_hole_or_is_too_long() {
    let mut p = registers([5]);
    p.habits.align = 4;
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(4, 2)]);
    p.habits.holes = vec![4..=4];
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(5, 1)]);
    let mut p = profile(vec![point("a", Table::HoldingRegister, 5, Format::Text(20))]);
    p.habits.align = 4;
    assert_eq!(asked(&plan(&p, &Lessons::default())), [(5, 20)]);
}

#[test]
fn two_thousand_coils_are_one_request_and_one_more_are_two() {
    let coils = (0..2001).map(|n| point("c", Table::Coil, n, Format::Bool)).collect();
    assert_eq!(asked(&plan(&profile(coils), &Lessons::default())), [(0, 2000), (2000, 1)]);
}

#[test]
fn what_no_request_can_ask_for_is_in_no_block() {
    let p = profile(vec![
        point("beyond", Table::HoldingRegister, 65_535, Format::U32),
        point("long", Table::HoldingRegister, 0, Format::Text(126)),
        point("last", Table::HoldingRegister, 65_535, Format::U16),
    ]);
    let blocks = plan_points(
        &p,
        &[0, 1, 2, 2, 7],
        &Terms { cost: WireCost::tcp(), turnaround: Duration::ZERO, lessons: &Lessons::default() },
    );
    assert_eq!((asked(&blocks), &blocks[0].points), (vec![(65_535, 1)], &vec![2]));
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
