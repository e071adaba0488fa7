//! A conversation on a line: questions, and whatever may come for them. What the engine says of each is
//! measured by what really came, octet by octet.
//!
//! An input is a line (framing, pace, how its port behaves, whether it gives an echo) and up to eight
//! questions. For each the device answers rightly, late, damaged, with a refusal or not at all; strangers put
//! in noise, frames, forged answers, babble; and the port may go away.

mod oracle;
mod scenario;

use super::choices::Choices;
use super::wire::Wire;
use linesman::bus::link::Link;
use linesman::bus::transact::Conversation;
use linesman::model::status::BusCounters;
use oracle::{Asked, Judge};
use scenario::{Line, Question, Reaction};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const MOST_QUESTIONS: usize = 8;

/// Plays the conversation that these octets describe; panics where the engine breaks a promise.
pub fn run(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    let line = Line::choose(&mut choices);
    let mut wire = Wire::new(line.habits);
    let mut talk = Conversation::new(line.tempo, wire.time());
    let mut judge = Judge::new(line);
    let free = Rc::new(RefCell::new(BTreeMap::new()));
    let mut counters = BusCounters::default();
    while !choices.is_empty() && judge.asked() < MOST_QUESTIONS {
        let question = Question::choose(&mut choices, &line, judge.last_asked());
        let reaction = Reaction::new(&line, &question, judge.asked(), Rc::clone(&free));
        let asked = Asked::new(&line, &question, &reaction);
        wire.ready_for(asked.frame.len(), reaction.into());
        wire.gone_at = question.gone.map(|span| wire.time().plus(span));
        let started = wire.time();
        let before = counters;
        let came = talk.transact(&mut wire, question.unit, question.ask, question.manners, &mut counters);
        wire.gone_at = None;
        let came = came.ok();
        judge.hears(asked, &wire, started, came, &talk.take_notes(), (&before, &counters));
        if judge.is_lost() || question.reopen {
            talk.reopened(wire.now());
        }
        let until = wire.now().plus(question.idle);
        talk.listen_until(&mut wire, until, &mut counters).expect("the port is there again");
        judge.heard_nothing_wrong(
            &wire,
            &talk.take_notes(),
            &counters,
            until.plus(Duration::from_millis(20)),
        );
    }
}
