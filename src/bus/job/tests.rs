//! A scan against devices of every mood.

use super::*;
use crate::bus::plan::tests::{point, profile};
use crate::profile::{Format, Table};
use std::collections::BTreeSet;

const KNOWN: Manner = Manner { retries: 2, known: true, probe: false, lossy: false };
const UNKNOWN: Manner = Manner { known: false, ..KNOWN };

/// A device with so many registers, each a block of its own, or all in one.
fn job_of(count: u16, apart: bool, manner: Manner) -> Job {
    let points =
        (0..count).map(|n| point(&format!("p{n}"), Table::HoldingRegister, n * 2, Format::U16)).collect();
    let profile = Arc::new(profile(points));
    let all: Vec<usize> = (0..usize::from(count)).collect();
    let single = |n: &usize| {
        Block::over(
            Table::HoldingRegister,
            u16::try_from(*n * 2).unwrap(),
            u16::try_from(*n * 2).unwrap(),
            vec![*n],
        )
    };
    let blocks = if apart {
        all.iter().filter_map(single).collect()
    } else {
        Block::over(Table::HoldingRegister, 0, count * 2 - 2, all).into_iter().collect()
    };
    Job::new("m".parse().unwrap(), profile, Lessons::default(), blocks, None, manner)
}

fn next(job: &mut Job) -> Option<Item> {
    match job.turn(Mono(u64::MAX), &|_| None) {
        Turn::Ask(at) => job.take(at, &|_| None),
        Turn::Part(_) | Turn::Wait(_) | Turn::Pending | Turn::Over => None,
    }
}

fn results(job: Job) -> Vec<Result<Vec<u8>, Bad>> {
    job.scan(Timestamp(9)).fields.into_iter().map(|field| field.octets).collect()
}

/// Asks until nothing is left, answering by the unit's own rule; returns how many questions that took.
fn run(job: &mut Job, mut answer: impl FnMut(&Item) -> Outcome) -> usize {
    let mut questions = 0;
    while let Some(item) = next(job) {
        questions += 1;
        let effects = match answer(&item) {
            Outcome::Good => job.data(&item, &vec![7; item.block.request.reply_data_octets()], Timestamp(1)),
            Outcome::Refused(code) => job.exception(item, code, Timestamp(1), Mono(0)),
            Outcome::Silent => job.no_reply(item),
            Outcome::Garbled(whole) => job.garbled(item, whole),
        };
        for (points, tries) in effects.again {
            let blocks = points.iter().filter_map(|n| {
                Block::over(
                    Table::HoldingRegister,
                    u16::try_from(*n * 2).unwrap(),
                    u16::try_from(*n * 2).unwrap(),
                    vec![*n],
                )
            });
            job.put_first(blocks.collect(), tries);
        }
        assert!(questions < 200, "it does not end");
    }
    questions
}

enum Outcome {
    Good,
    Refused(u8),
    Silent,
    Garbled(bool),
}

#[test]
fn one_illegal_register_costs_itself_only() {
    let mut job = job_of(16, false, KNOWN);
    let bad = |item: &Item| {
        let first = item.block.request.address();
        (first..first + item.block.request.count()).contains(&10)
    };
    let questions = run(&mut job, |item| if bad(item) { Outcome::Refused(2) } else { Outcome::Good });
    // The whole, then at most four to find it among sixteen values, one to be sure, one for the rest.
    assert!(questions <= 1 + 4 + 2, "{questions}");
    let mut wanted = vec![Ok(vec![7, 7]); 16];
    wanted[5] = Err(Bad::Exception(2));
    assert_eq!(results(job), wanted);
}

#[test]
fn a_refusal_that_is_no_registers_fault_is_not_searched() {
    for code in [1, 4, 5, 8, 99] {
        let mut job = job_of(3, false, KNOWN);
        assert_eq!(run(&mut job, |_| Outcome::Refused(code)), 1);
        assert_eq!(results(job), vec![Err(Bad::Exception(code)); 3]);
    }
}

#[test]
fn a_busy_device_is_asked_three_times_more_after_pauses() {
    let mut job = job_of(1, true, KNOWN);
    let mut waits = Vec::new();
    loop {
        match job.turn(Mono(0), &|_| None) {
            Turn::Wait(until) => waits.push(until.0 / 1_000_000),
            Turn::Over => break,
            Turn::Ask(_) | Turn::Part(_) | Turn::Pending => {}
        }
        let Some(item) = next(&mut job) else { break };
        job.exception(item, 6, Timestamp(1), Mono(0));
    }
    assert_eq!(waits, [100, 200, 400]);
    assert_eq!(results(job), [Err(Bad::Exception(6))]);
}

#[test]
fn what_nobody_knows_costs_one_question_when_it_is_silent() {
    let mut job = job_of(20, true, UNKNOWN);
    assert_eq!(run(&mut job, |_| Outcome::Silent), 1);
    assert_eq!(job.verdict(), Health::Silent);
    assert_eq!(results(job), vec![Err(Bad::NoReply); 20]);
}

#[test]
fn where_answers_get_lost_a_newcomer_is_asked_again_as_well() {
    let mut job = job_of(20, true, Manner { lossy: true, ..UNKNOWN });
    assert_eq!(run(&mut job, |_| Outcome::Silent), 3);
    assert_eq!(results(job), vec![Err(Bad::NoReply); 20]);
}

#[test]
fn a_known_device_is_asked_again_but_not_for_ever() {
    let mut job = job_of(20, true, KNOWN);
    assert_eq!(run(&mut job, |_| Outcome::Silent), 6);
    assert_eq!(results(job), vec![Err(Bad::NoReply); 20]);
}

#[test]
fn a_lost_answer_costs_nothing_but_another_question() {
    let mut job = job_of(8, false, KNOWN);
    let mut first = true;
    let questions =
        run(&mut job, |_| if std::mem::take(&mut first) { Outcome::Silent } else { Outcome::Good });
    assert!(questions > 1);
    assert_eq!(results(job), vec![Ok(vec![7, 7]); 8]);
}

#[test]
fn after_silence_the_parts_are_asked_that_no_late_answer_fits() {
    let mut job = job_of(4, false, KNOWN);
    let whole = next(&mut job).unwrap();
    let effects = job.no_reply(whole);
    assert_eq!(effects.again, [(vec![0, 1], 1), (vec![2, 3], 1)]);
}

#[test]
fn while_a_late_answer_may_come_another_length_is_asked() {
    let mut job = job_of(3, true, KNOWN);
    let first = next(&mut job).unwrap();
    assert_eq!(job.no_reply(first), Effects::default());
    // Reads of one register are suspect: the same value is asked with its neighbour.
    let blocked = |block: &Block| (block.request.count() == 1).then_some(Mono(70));
    assert_eq!(job.turn(Mono(5), &blocked), Turn::Ask(0));
    let longer = job.take(0, &blocked).unwrap();
    assert_eq!((longer.block.request.count(), &longer.block.points), (2, &vec![0]));
    job.data(&longer, &[0, 42, 0, 99], Timestamp(1));
    assert_eq!(job.fields[&0], Ok(vec![0, 42]));
}

#[test]
fn the_refusal_of_a_longer_block_teaches_nothing() {
    let mut job = job_of(2, true, KNOWN);
    let first = next(&mut job).unwrap();
    job.no_reply(first);
    let blocked = |block: &Block| (block.request.count() == 1).then_some(Mono(70));
    let longer = job.take(0, &blocked).unwrap();
    assert_eq!(job.exception(longer, 2, Timestamp(1), Mono(5)), Effects::default());
    let again = next(&mut job).unwrap();
    assert_eq!((again.block.request.count(), &again.block.points), (1, &vec![0]));
}

#[test]
fn one_value_alone_waits_until_a_late_answer_can_no_longer_come() {
    let mut job = job_of(1, true, KNOWN);
    let item = next(&mut job).unwrap();
    assert_eq!(job.no_reply(item), Effects::default());
    assert_eq!(job.turn(Mono(5), &|_| Some(Mono(70))), Turn::Wait(Mono(70)));
    assert_eq!(job.turn(Mono(70), &|_| Some(Mono(70))), Turn::Ask(0));
}

#[test]
fn a_damaged_answer_that_came_whole_is_asked_for_again_at_once() {
    let mut job = job_of(1, true, UNKNOWN);
    let mut bad = 2;
    let questions = run(&mut job, |_| {
        bad -= 1;
        if bad >= 0 { Outcome::Garbled(true) } else { Outcome::Good }
    });
    assert_eq!(questions, 3);
    assert_eq!(results(job), [Ok(vec![7, 7])]);
}

#[test]
fn a_device_that_answers_with_garbage_does_not_cost_a_question_a_block() {
    let mut job = job_of(20, true, UNKNOWN);
    assert_eq!(run(&mut job, |_| Outcome::Garbled(true)), 3);
    assert_eq!(job.verdict(), Health::Garbled);
    assert_eq!(results(job), vec![Err(Bad::Garbled); 20]);
}

#[test]
fn a_gateways_word_for_silence_is_silence() {
    let mut job = job_of(5, true, UNKNOWN);
    assert_eq!(run(&mut job, |_| Outcome::Refused(11)), 1);
    assert_eq!(job.verdict(), Health::Silent);
    assert_eq!(results(job), vec![Err(Bad::Exception(11)); 5]);
}

#[test]
fn every_exception_code_ends_the_scan_with_a_reason() {
    for code in 0..=255 {
        for known in [true, false] {
            let mut job = job_of(9, false, Manner { known, ..KNOWN });
            run(&mut job, |_| Outcome::Refused(code));
            assert_eq!(results(job), vec![Err(Bad::Exception(code)); 9], "{code}");
        }
    }
}

#[test]
fn several_questions_may_be_under_way_but_for_a_search_one() {
    let mut job = job_of(3, true, KNOWN);
    let items: Vec<Item> = std::iter::from_fn(|| next(&mut job)).collect();
    assert_eq!(items.len(), 3);
    assert_eq!(job.turn(Mono(0), &|_| None), Turn::Pending);
    for item in &items {
        job.data(item, &[7, 7], Timestamp(3));
    }
    assert_eq!(job.turn(Mono(0), &|_| None), Turn::Over);
    let mut searching = job_of(4, false, KNOWN);
    let whole = next(&mut searching).unwrap();
    searching.exception(whole, 2, Timestamp(1), Mono(0));
    assert!(next(&mut searching).is_some());
    assert_eq!(searching.turn(Mono(0), &|_| None), Turn::Pending);
}

#[test]
fn the_stamp_is_the_first_replys() {
    let mut job = job_of(2, true, KNOWN);
    for at in [100, 250] {
        let item = next(&mut job).unwrap();
        job.data(&item, &[0, 0], Timestamp(at));
    }
    let scan = job.scan(Timestamp(999));
    assert_eq!((scan.ts, scan.took), (Timestamp(100), Duration::from_millis(150)));
}

#[test]
fn every_point_has_a_result_whatever_comes() {
    let mut dice = fastrand::Rng::with_seed(9);
    for _ in 0..500 {
        let mut job = job_of(dice.u16(1..30), dice.bool(), Manner { known: dice.bool(), ..KNOWN });
        let points = job.profile.points.len();
        run(&mut job, |_| match dice.u8(0..6) {
            0 | 1 => Outcome::Good,
            2 => Outcome::Refused(dice.u8(1..12)),
            3 => Outcome::Silent,
            4 => Outcome::Garbled(true),
            _ => Outcome::Garbled(false),
        });
        let named: BTreeSet<usize> = job.scan(Timestamp(0)).fields.iter().map(|field| field.point).collect();
        assert_eq!(named.len(), points);
    }
}
