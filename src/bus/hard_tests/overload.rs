//! A line that is asked more than it can carry says so.

use super::line::{Line, data, device, every, ms, seconds, silence};
use crate::model::{EventKind, FindingKind};
use crate::profile::Every;

const BEGINS: EventKind = EventKind::Begins(FindingKind::Overload);
const ENDS: EventKind = EventKind::Ends(FindingKind::Overload);

fn told(line: &mut Line) -> Vec<EventKind> {
    line.events().into_iter().filter(|kind| [BEGINS, ENDS].contains(kind)).collect()
}

#[test]
fn periods_that_cannot_be_kept_are_said_and_said_to_be_over() {
    let mut line = Line::new((1..=5).map(|unit| device(unit, 4, every(ms(200)))).collect());
    line.run(seconds(60), |question, _| (data(question), ms(50)));
    assert_eq!(told(&mut line), [BEGINS]);
    line.run(seconds(150), |question, _| (data(question), ms(30)));
    assert_eq!(told(&mut line), [ENDS]);
}

#[test]
fn a_full_line_that_keeps_its_periods_a_dead_meter_and_a_pause_are_no_overload() {
    let mut line = Line::new((1..=5).map(|unit| device(unit, 4, every(seconds(1)))).collect());
    for minute in 1..=5 {
        line.run(seconds(60 * minute), |question, _| {
            if question.index == 0 { silence(question) } else { (data(question), ms(200)) }
        });
        line.pause(seconds(60 * minute) + seconds(7));
    }
    assert_eq!(told(&mut line), []);
}

#[test]
fn who_is_read_back_to_back_and_gets_no_turn_is_said_to_wait() {
    let devices = vec![device(1, 4, every(ms(200))), device(2, 4, Every::Continuous)];
    let mut line = Line::new(devices);
    line.run(seconds(10), |question, _| (data(question), ms(20)));
    line.run(seconds(200), |question, _| (data(question), ms(210)));
    assert_eq!(told(&mut line), [BEGINS]);
}
