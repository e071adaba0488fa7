//! What is asked only while nobody else needs the line: second chances, and probes ahead of their time.

use super::line::{Line, data, device, every, ms, request, seconds, silence};
use crate::bus::owner::Question;
use crate::bus::transact::Outcome;
use crate::bus::{DeviceConfig, Scan};
use crate::model::Mono;
use crate::profile::Every;
use std::sync::Arc;
use std::time::Duration;

/// A device whose last registers lie so far from the others that they are a question of their own.
fn in_two_blocks(unit: u8, period: Every) -> DeviceConfig {
    let mut config = device(unit, 8, period);
    let mut profile = (*config.profile).clone();
    profile.points.iter_mut().skip(4).for_each(|point| point.address += 1000);
    config.profile = Arc::new(profile);
    config
}

fn is_far(question: &Question) -> bool {
    request(question).address() >= 900
}

/// The far block's questions: how many, in each ten seconds.
fn asked_far(line: &mut Line, span: u64, mut comes: impl FnMut(u32) -> bool) -> Vec<u32> {
    let (mut count, mut each) = (0, vec![0; usize::try_from(span / 10).unwrap()]);
    line.run(seconds(span), |question, now| {
        if !is_far(question) {
            return (data(question), ms(20));
        }
        count += 1;
        each[usize::try_from(now.0 / 10_000_000_000).unwrap()] += 1;
        if comes(count) { (data(question), ms(20)) } else { silence(question) }
    });
    each
}

fn good(scan: &Scan) -> usize {
    scan.fields.iter().filter(|field| field.octets.is_ok()).count()
}

#[test]
fn what_alone_went_unanswered_is_asked_once_more_before_its_next_turn() {
    let mut line = Line::new(vec![in_two_blocks(1, every(seconds(10)))]);
    let each = asked_far(&mut line, 30, |count| count > 4);
    assert_eq!(each, [5, 1, 1], "three times in its turn, twice at leisure");
    let scans: Vec<(usize, usize)> =
        line.scans().iter().map(|scan| (scan.fields.len(), good(scan))).collect();
    assert_eq!(scans, [(8, 4), (4, 4), (8, 8), (8, 8)]);
}

#[test]
fn what_never_answers_has_one_second_chance_and_says_nothing_twice() {
    let mut line = Line::new(vec![in_two_blocks(1, every(seconds(10)))]);
    let each = asked_far(&mut line, 60, |_| false);
    assert_eq!(each, [6, 3, 3, 3, 3, 3]);
    assert_eq!(line.scans().len(), 6);
}

#[test]
fn what_was_answered_again_has_a_second_chance_again() {
    let mut line = Line::new(vec![in_two_blocks(1, every(seconds(10)))]);
    let each = asked_far(&mut line, 50, |count| count == 10 || count > 14);
    assert_eq!(each, [6, 3, 1, 5, 1]);
}

#[test]
fn there_are_no_second_chances_where_the_line_is_never_idle() {
    let busy = device(2, 100, Every::Continuous);
    let mut line = Line::new(vec![in_two_blocks(1, every(seconds(10))), busy]);
    let mut far = 0;
    line.run(seconds(60), |question, _| {
        let lost = question.index == 0 && is_far(question);
        far += u32::from(lost);
        if lost { silence(question) } else { (data(question), ms(20)) }
    });
    assert_eq!(far, 18, "three times in each turn");
}

/// Its first answer was lost. Where the line is idle it does not wait for the share of the line that silent
/// devices have.
#[test]
fn a_newcomer_that_was_not_heard_at_first_is_soon_asked_again_on_an_idle_line() {
    for unlucky in 2..=6 {
        let devices = (1..=6).map(|unit| device(unit, 4, every(seconds(5)))).collect();
        let (mut line, mut asked) = (Line::new(devices), [0; 6]);
        line.run(seconds(6), |question, _| {
            asked[question.index] += 1;
            let lost = (1..unlucky).contains(&question.index) && asked[question.index] == 1;
            if lost { silence(question) } else { (data(question), ms(20)) }
        });
        let answered = |index| {
            line.asked.iter().any(|(_, of, outcome, _)| *of == index && matches!(outcome, Outcome::Data(_)))
        };
        assert!((0..6).all(answered), "{unlucky}: {:?}", line.asked);
    }
}

#[test]
fn probes_on_an_idle_line_keep_the_share_in_the_long_run() {
    let devices = (1..=40).map(|unit| device(unit, 4, every(seconds(60)))).collect();
    let mut line = Line::new(devices);
    let dead = |index: usize| index != 0;
    line.run(
        seconds(3600),
        |question, _| {
            if dead(question.index) { silence(question) } else { (data(question), ms(20)) }
        },
    );
    let from = Mono(0).plus(seconds(120));
    let taken: Duration =
        line.asked.iter().filter(|(at, index, ..)| *at > from && dead(*index)).map(|(.., took)| *took).sum();
    let permille = taken.as_millis() * 1000 / 3_480_000;
    assert!((20..=30).contains(&permille), "{permille} thousandths");
}

/// Another one has answered, so it is known how quick they are here.
fn with_a_quick_neighbour(latency: Duration) -> Line {
    let mut line = Line::new(vec![device(1, 4, every(seconds(5))), device(2, 4, every(seconds(5)))]);
    line.run(seconds(5), |question, _| {
        let latency = if question.index == 0 { ms(5) } else { latency };
        if latency < question.manners.timeout { (data(question), latency) } else { silence(question) }
    });
    line
}

#[test]
fn a_newcomer_is_asked_again_while_the_line_is_idle_and_more_patiently_each_time() {
    let line = with_a_quick_neighbour(seconds(100));
    let of_second: Vec<Duration> =
        line.asked.iter().filter(|(_, index, ..)| *index == 1).map(|(.., took)| *took).collect();
    assert_eq!(of_second[..2], [ms(75), ms(150)], "{of_second:?}");
    assert!(of_second[2] >= ms(500), "as long as the line is idle: {of_second:?}");
    let probes = of_second.len() - 3;
    assert!(probes <= 1, "a dead one is known to be dead then: {of_second:?}");
}

#[test]
fn a_slow_newcomer_answers_its_first_scan() {
    let mut line = with_a_quick_neighbour(ms(400));
    let scans = line.scans();
    let first = scans.iter().find(|scan| scan.device.as_str() == "d2").unwrap();
    assert_eq!(good(first), 4, "{first:?}");
}
