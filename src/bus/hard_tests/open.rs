//! What once broke it.

use super::line::{Line, data, device, every, ms, request, seconds, silence};
use crate::bus::owner::Question;
use crate::bus::transact::Outcome;
use crate::model::Mono;
use crate::model::status::DeviceState;
use crate::profile::Every;
use std::time::Duration;

#[test]
fn a_silent_device_that_is_read_back_to_back_is_probed_too_where_others_with_periods_are_dead() {
    let mut line = Line::new(vec![device(1, 4, every(seconds(1))), device(2, 4, Every::Continuous)]);
    line.run(seconds(3600), |question, _| silence(question));
    let late = line.asked.iter().filter(|(at, of, ..)| *of == 1 && at.0 > 600_000_000_000).count();
    assert!(late > 5, "asked {late} times in the last fifty minutes");
}

#[test]
fn a_device_that_has_become_slower_than_ever_is_found_again() {
    // As on Modbus TCP, where nobody hears a late answer.
    let mut line = Line::new(vec![device(1, 4, every(seconds(1)))]);
    let slow = |latency: Duration| {
        move |question: &Question, _| {
            if question.manners.timeout > latency { (data(question), latency) } else { silence(question) }
        }
    };
    line.run(seconds(120), slow(ms(20)));
    line.asked.clear();
    line.run(seconds(1000), slow(ms(400)));
    let answered = line.asked.iter().filter(|(_, _, outcome, _)| matches!(outcome, Outcome::Data(_))).count();
    assert!(answered > 0, "answered none of {} questions", line.asked.len());
}

#[test]
fn devices_that_a_gateway_says_are_silent_take_no_more_of_the_line_than_those_that_are() {
    let devices = (1..=11).map(|unit| device(unit, 4, every(seconds(5)))).collect();
    let mut line = Line::new(devices);
    line.run(seconds(1200), |question, _| {
        if question.index == 0 { (data(question), ms(20)) } else { (Outcome::Exception(11), ms(1000)) }
    });
    let dead = line.asked.iter().filter(|(at, of, ..)| *of != 0 && at.0 > 600_000_000_000);
    let spent: Duration = dead.map(|(.., took)| *took).sum();
    assert!(spent <= seconds(600 * 4 / 100), "{spent:?} of ten minutes");
}

#[test]
fn a_refused_point_that_is_read_rarely_does_not_change_the_devices_state_with_every_scan() {
    let mut config = device(1, 4, every(seconds(1)));
    config.every[3] = every(seconds(10));
    let mut line = Line::new(vec![config]);
    let mut states: Vec<DeviceState> = Vec::new();
    let status = line.status.clone();
    line.run(seconds(600), |question, _| {
        let state = status.borrow().devices[0].state;
        if states.last() != Some(&state) {
            states.push(state);
        }
        let touches = request(question).address() + request(question).count() > 3;
        (if touches { Outcome::Exception(2) } else { data(question) }, ms(20))
    });
    assert!(states.len() <= 3, "{} changes in ten minutes", states.len());
}

#[test]
fn a_meter_that_refuses_everything_while_it_boots_is_read_when_it_has_booted() {
    for code in [2, 3] {
        let mut line = Line::new(vec![device(1, 40, every(seconds(1)))]);
        let booting = |at: Mono| at < Mono(0).plus(seconds(5));
        line.run(seconds(60), |question, at| {
            (if booting(at) { Outcome::Exception(code) } else { data(question) }, ms(20))
        });
        let last = line.scans().pop().unwrap();
        let good = last.fields.iter().filter(|field| field.octets.is_ok()).count();
        assert_eq!(good, 40, "exception {code}: after a minute");
        let questions = line.asked.iter().filter(|(at, ..)| booting(*at)).count();
        assert!(questions < 40, "{questions} questions of a meter that boots");
    }
}

#[test]
fn one_refusal_that_does_not_come_again_teaches_nothing() {
    let mut line = Line::new(vec![device(1, 40, every(seconds(1)))]);
    let mut asked = 0;
    line.run(seconds(60), |question, _| {
        asked += 1;
        (if asked == 3 { Outcome::Exception(2) } else { data(question) }, ms(20))
    });
    let lately = line.asked.iter().filter(|(at, ..)| at.0 >= 50_000_000_000).count();
    assert_eq!(lately, 10, "questions for ten scans");
}
