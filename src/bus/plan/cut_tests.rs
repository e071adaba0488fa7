//! The plan against every cut there is, and against what a plain one costs.

use super::tests::{all, point, profile};
use super::*;
use crate::modbus::rtu::Pace;
use crate::profile::{Format, Habits};
use proptest::prelude::*;
use std::ops::RangeInclusive;

/// Points, a meter's habits, lessons, and a line: whatever a plan may depend on.
#[derive(Debug, Clone)]
struct Case {
    profile: Profile,
    lessons: Lessons,
    cost: WireCost,
    turnaround: Duration,
}

impl Case {
    fn plan(&self) -> Vec<Block> {
        plan_points(&self.profile, &all(&self.profile), &self.terms())
    }

    fn terms(&self) -> Terms<'_> {
        Terms { cost: self.cost, turnaround: self.turnaround, lessons: &self.lessons }
    }

    fn cost(&self, blocks: &[(Table, u32, u32)]) -> Duration {
        let read = |(table, first, last): &(Table, u32, u32)| {
            let address = u16::try_from(*first).unwrap();
            let request =
                ReadRequest::new(function_of(*table), address, u16::try_from(last - first + 1).unwrap());
            self.cost.read(&request.unwrap(), self.turnaround)
        };
        blocks.iter().map(read).sum()
    }

    fn span(&self, index: usize) -> (Table, u32, u32) {
        let point = &self.profile.points[index];
        let first = u32::from(point.address);
        (point.table, first, first + u32::from(point.format.count()) - 1)
    }

    /// Whether these addresses may not be read in passing. Said the long way round, address by address.
    fn forbidden(&self, table: Table, addresses: RangeInclusive<u32>) -> bool {
        let hole = |address: u32| {
            let short = u16::try_from(address).unwrap();
            let within =
                |(t, first, last): (Table, u32, u32)| t == table && (first..=last).contains(&address);
            self.profile.habits.holes.iter().any(|hole| hole.contains(&short))
                || self
                    .lessons
                    .holes
                    .iter()
                    .any(|(t, first, last)| *t == table && (first..=last).contains(&&short))
                || self.lessons.alone.iter().any(|point| within(self.span(*point)))
        };
        addresses.into_iter().any(hole)
    }

    fn most(&self, table: Table) -> u32 {
        let learned = self.lessons.max_registers.unwrap_or(125);
        u32::from(if table.is_bits() {
            2000
        } else {
            learned.min(self.profile.habits.max_registers).min(125)
        })
    }

    /// The read that serves these points together, if there may be one.
    fn together(&self, points: &[usize]) -> Option<(Table, u32, u32)> {
        let spans: Vec<_> = points.iter().map(|point| self.span(*point)).collect();
        let (table, first, end) =
            spans.iter().copied().min_by_key(|(_, first, last)| (*first, u32::MAX - last))?;
        let last = spans.iter().map(|span| span.2).max()?;
        let align = u32::from(self.profile.habits.align);
        let aligned = first - first % align;
        let in_passing = aligned < first && self.forbidden(table, aligned..=first - 1);
        let begin = if in_passing || end - aligned >= self.most(table) { first } else { aligned };
        let same = spans.iter().all(|span| *span == spans[0]);
        let one_table = spans.iter().all(|span| span.0 == table);
        let allowed = last - begin < self.most(table) && !self.forbidden(table, first..=last);
        (same || one_table && allowed).then_some((table, begin, last))
    }

    /// The least cost of all ways to part the points.
    fn best_of_all(&self) -> Duration {
        let mut best = Duration::MAX;
        let mut groups: Vec<Vec<usize>> = Vec::new();
        self.part(0, &mut groups, &mut best);
        best
    }

    fn part(&self, next: usize, groups: &mut Vec<Vec<usize>>, best: &mut Duration) {
        if next == self.profile.points.len() {
            let reads: Option<Vec<_>> = groups.iter().map(|group| self.together(group)).collect();
            if let Some(reads) = reads {
                *best = (*best).min(self.cost(&reads));
            }
            return;
        }
        for group in 0..groups.len() {
            groups[group].push(next);
            self.part(next + 1, groups, best);
            groups[group].pop();
        }
        groups.push(vec![next]);
        self.part(next + 1, groups, best);
        groups.pop();
    }

    /// What a plan that only joins what touches costs: first come, first served.
    fn touching_only(&self) -> Duration {
        let mut order = all(&self.profile);
        order.sort_by_key(|point| self.span(*point));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for point in order {
            if let Some(group) = groups.last_mut() {
                let end = group.iter().map(|other| self.span(*other).2).max().unwrap();
                let joined: Vec<usize> = group.iter().copied().chain([point]).collect();
                if self.span(point).1 <= end + 1 && self.together(&joined).is_some() {
                    *group = joined;
                    continue;
                }
            }
            groups.push(vec![point]);
        }
        self.cost(&groups.iter().map(|group| self.together(group).unwrap()).collect::<Vec<_>>())
    }
}

fn a_point(reach: u16) -> impl Strategy<Value = Point> {
    let format = prop_oneof![
        4 => Just(Format::U16),
        4 => Just(Format::F32),
        2 => Just(Format::U64),
        1 => (1u16..30).prop_map(Format::Text),
    ];
    let table = prop_oneof![6 => Just(Table::HoldingRegister), 1 => Just(Table::InputRegister), 1 => Just(Table::Coil)];
    (0..reach, format, table).prop_map(|(address, format, table)| {
        let format = if table.is_bits() { Format::Bool } else { format };
        point("p", table, address, format)
    })
}

fn some_lessons(reach: u16) -> impl Strategy<Value = Lessons> {
    let hole = (any::<bool>(), 0..reach, 0u16..4).prop_map(|(holding, first, more)| {
        (if holding { Table::HoldingRegister } else { Table::InputRegister }, first, first + more)
    });
    let holes = proptest::collection::btree_set(hole, 0..3);
    let alone = proptest::collection::btree_set(0usize..8, 0..2);
    let shorter = proptest::option::weighted(0.2, 1u16..20);
    (holes, alone, shorter).prop_map(|(holes, alone, max_registers)| Lessons { holes, alone, max_registers })
}

fn a_cost() -> impl Strategy<Value = WireCost> {
    let baud = proptest::sample::select(vec![1200, 9600, 19_200, 115_200]);
    let gap = proptest::sample::select(vec![0, 0, 30]);
    (baud, 0usize..3, gap).prop_map(|(baud, wire, gap)| {
        let pace = Pace::new(baud, true, 1);
        let cost = [WireCost::rtu(pace), WireCost::ascii(pace), WireCost::tcp()][wire];
        cost.with_min_gap(Duration::from_millis(gap))
    })
}

fn a_case(points: usize, reach: u16) -> impl Strategy<Value = Case> {
    let habits = (1u16..=30, 1u16..=5, proptest::collection::vec((0..reach, 0u16..3), 0..2));
    let points = proptest::collection::vec(a_point(reach), 0..=points);
    (points, habits, some_lessons(reach), a_cost(), 0u64..100).prop_map(
        move |(points, habits, mut lessons, cost, ms)| {
            let (max_registers, align, holes) = habits;
            lessons.alone.retain(|point| *point < points.len());
            let mut profile = profile(points);
            let holes = holes.into_iter().map(|(first, more)| first..=first + more).collect();
            profile.habits = Habits { max_registers, align, holes, ..profile.habits };
            Case { profile, lessons, cost, turnaround: Duration::from_millis(ms) }
        },
    )
}

/// What it costs, read by read.
fn price(case: &Case, blocks: &[Block]) -> Duration {
    blocks.iter().map(|block| case.cost.read(&block.request, case.turnaround)).sum()
}

/// Each of up to 40 reads is rounded to a nanosecond.
const ROUNDING: Duration = Duration::from_nanos(40);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_way_to_part_the_points_costs_less(case in a_case(7, 60)) {
        prop_assert!(price(&case, &case.plan()) <= case.best_of_all() + ROUNDING);
        prop_assert!(price(&case, &case.plan()) + ROUNDING >= case.best_of_all());
    }

    #[test]
    fn no_plan_costs_more_than_a_plain_one(case in a_case(40, 300)) {
        let cost = price(&case, &case.plan());
        let one_by_one: Vec<_> = all(&case.profile).iter().map(|point| case.together(&[*point]).unwrap()).collect();
        prop_assert!(cost <= case.cost(&one_by_one) + ROUNDING);
        prop_assert!(cost <= case.touching_only() + ROUNDING);
    }

    #[test]
    fn every_point_is_served_once_and_whole(case in a_case(40, 300)) {
        let blocks = case.plan();
        let mut served: Vec<usize> = blocks.iter().flat_map(|block| block.points.clone()).collect();
        served.sort_unstable();
        prop_assert_eq!(served, all(&case.profile));
        for block in &blocks {
            prop_assert!(block.points.is_sorted());
            let data = vec![0; block.request.reply_data_octets()];
            for index in &block.points {
                let point = &case.profile.points[*index];
                let wanted = if point.table.is_bits() { 1 } else { usize::from(point.format.count()) * 2 };
                prop_assert_eq!(function_of(point.table), block.request.function());
                prop_assert_eq!(block.octets_of(point, &data).unwrap().len(), wanted);
            }
        }
    }

    #[test]
    fn limits_are_kept_and_no_hole_is_read_that_no_point_lies_on(case in a_case(40, 300)) {
        for block in case.plan() {
            let (table, _, _) = case.span(block.points[0]);
            let first = u32::from(block.request.address());
            let last = first + u32::from(block.request.count()) - 1;
            let spans: Vec<_> = block.points.iter().map(|point| case.span(*point)).collect();
            let same = spans.iter().all(|span| *span == spans[0]);
            prop_assert!(last - first < case.most(table) || same && spans[0].1 == first);
            for address in first..=last {
                let wanted = spans.iter().any(|span| (span.1..=span.2).contains(&address));
                prop_assert!(!case.forbidden(table, address..=address) || wanted && same);
            }
        }
    }

    #[test]
    fn the_order_of_points_does_not_matter(case in a_case(40, 300), seed: u64) {
        let mut order = all(&case.profile);
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        let mut other = case.clone();
        other.profile.points = order.iter().map(|index| case.profile.points[*index].clone()).collect();
        let moved = |old: &usize| order.iter().position(|index| index == old).unwrap();
        other.lessons.alone = case.lessons.alone.iter().map(moved).collect();
        let mut blocks = other.plan();
        for block in &mut blocks {
            block.points.iter_mut().for_each(|point| *point = order[*point]);
            block.points.sort_unstable();
        }
        prop_assert_eq!(blocks, case.plan());
    }
}
