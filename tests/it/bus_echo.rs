//! A two-wire adapter that hears itself: our own question is never an answer, and no answer is lost for it. On a
//! clock that moves when somebody waits.

use crate::common::wire::{Events, VirtualLink};
use linesman::bus::transact::{Conversation, Manners, Outcome, Tempo};
use linesman::modbus::rtu::Pace;
use linesman::modbus::{Ask, Framing, ReadFunction, ReadRequest, ascii, encode_data_reply, rtu};
use linesman::model::status::BusCounters;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(100);
const MS: Duration = Duration::from_millis(1);
/// Units that answer; the others are not there.
const THERE: u8 = 9;

fn frame(framing: Framing, unit: u8, pdu: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Rtu => rtu::frame(unit, pdu),
        Framing::Ascii => ascii::frame(unit, pdu),
    }
}

/// A question whose own octets would be a valid answer to it: diagnostics come back as they are (as a write does),
/// and three octets of coils from 0x0300 on are asked for in eight octets with a 3 where the answer has its count.
fn like_its_answer(dice: &mut fastrand::Rng) -> Ask {
    if dice.bool() {
        return Ask::Echo(dice.u16(..));
    }
    let coils = ReadRequest::new(ReadFunction::Coils, 0x0300 + dice.u16(..256), dice.u16(17..=24));
    Ask::Read(coils.unwrap())
}

fn question(dice: &mut fastrand::Rng) -> Ask {
    if dice.u8(..3) == 0 {
        return like_its_answer(dice);
    }
    let address = dice.u16(..60_000);
    Ask::Read(ReadRequest::new(ReadFunction::HoldingRegisters, address, dice.u16(1..=20)).unwrap())
}

/// What a meter answers to it.
fn right(ask: &Ask) -> (Vec<u8>, Vec<u8>) {
    match ask {
        Ask::Read(request) => {
            let data: Vec<u8> = (1..=u8::MAX).cycle().take(request.reply_data_octets()).collect();
            (encode_data_reply(request, &data), data)
        }
        Ask::Echo(word) => (ask.pdu(), word.to_be_bytes().to_vec()),
        Ask::ServerId | Ask::Identification { .. } => unreachable!(),
    }
}

/// How an adapter gives our own octets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Adapter {
    /// Each as it leaves.
    AtOnce,
    /// All of them up to 16 ms after the last has left, perhaps only with the answer.
    Late,
}

struct Line {
    framing: Framing,
    link: VirtualLink,
    talk: Conversation,
    counters: BusCounters,
}

impl Line {
    fn new(framing: Framing) -> Line {
        let tempo = Tempo::serial(Pace::new(19_200, false, 1), framing);
        let link = VirtualLink::new(tempo.pace);
        Line { framing, talk: Conversation::new(tempo, link.time()), link, counters: BusCounters::default() }
    }

    /// Asks; what comes back after our octets is given.
    fn ask(&mut self, unit: u8, ask: Ask, events: Events) -> Outcome {
        self.link.answer_next_with(events);
        let manners = Manners::new(TIMEOUT);
        self.talk.transact(&mut self.link, unit, ask, manners, &mut self.counters).unwrap().0
    }

    fn own(&self, unit: u8, ask: Ask) -> Vec<u8> {
        frame(self.framing, unit, &ask.pdu())
    }

    fn answer(&self, unit: u8, ask: &Ask) -> Vec<u8> {
        frame(self.framing, unit, &right(ask).0)
    }
}

#[test]
fn on_a_line_with_an_echo_no_answer_is_lost_and_no_echo_is_one() {
    for (framing, adapter) in [
        (Framing::Rtu, Adapter::AtOnce),
        (Framing::Rtu, Adapter::Late),
        (Framing::Ascii, Adapter::AtOnce),
        (Framing::Ascii, Adapter::Late),
    ] {
        let mut dice = fastrand::Rng::with_seed(6);
        let mut line = Line::new(framing);
        line.link.echoes = adapter == Adapter::AtOnce;
        for poll in 0..10_000u32 {
            let (unit, ask) = (dice.u8(1..=2 * THERE), question(&mut dice));
            let mut events = Events::new();
            let mut back_at = Duration::ZERO;
            if adapter == Adapter::Late {
                back_at = MS * dice.u32(..=16);
                events.push((back_at, line.own(unit, ask)));
            }
            if unit <= THERE {
                events.push((back_at + MS * dice.u32(12..60), line.answer(unit, &ask)));
            }
            let came = line.ask(unit, ask, events);
            let what = format!("{framing:?}, {adapter:?}, poll {poll}: unit {unit}, {ask:?}");
            if unit <= THERE {
                assert_eq!(came, Outcome::Data(right(&ask).1), "{what}");
            } else {
                assert_eq!(came, Outcome::NoReply, "{what}");
            }
        }
        assert_eq!(line.counters.echoes, 10_000, "{framing:?}, {adapter:?}: {:?}", line.counters);
        assert_eq!(line.counters.foreign_frames, 0, "{framing:?}, {adapter:?}: {:?}", line.counters);
    }
}

#[test]
fn an_echo_is_no_answer_though_none_came_whole_before() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let mut dice = fastrand::Rng::with_seed(13);
        for _ in 0..1000 {
            let mut line = Line::new(framing);
            // The first one is damaged, lost, or came as noise: for all we know there is none.
            let first = Ask::Read(ReadRequest::new(ReadFunction::HoldingRegisters, 7, 2).unwrap());
            let mut own = line.own(1, first);
            let at = dice.usize(..own.len());
            own[at] ^= dice.u8(1..0x40);
            line.link.interrupt_next_with(own);
            let events = vec![(MS * 20, line.answer(1, &first))];
            assert_eq!(line.ask(1, first, events), Outcome::Data(right(&first).1), "{framing:?}");
            // Nobody is there, and what comes back comes when an answer could.
            let ask = like_its_answer(&mut dice);
            let events = vec![(MS * dice.u32(1..=16), line.own(100, ask))];
            assert_eq!(line.ask(100, ask, events), Outcome::NoReply, "{framing:?} {ask:?}");
        }
    }
}

#[test]
fn an_echo_that_begins_later_is_known_by_the_first_question_that_is_unlike_its_answer() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let mut dice = fastrand::Rng::with_seed(17);
        let mut line = Line::new(framing);
        let read = Ask::Read(ReadRequest::new(ReadFunction::HoldingRegisters, 7, 2).unwrap());
        for echoes in [false, true, false, true] {
            let mut events = vec![(MS * 20, line.answer(1, &read))];
            if echoes {
                events.insert(0, (MS, line.own(1, read)));
            }
            assert_eq!(line.ask(1, read, events), Outcome::Data(right(&read).1), "{framing:?}");
            if echoes {
                for _ in 0..20 {
                    let ask = like_its_answer(&mut dice);
                    let events = vec![(MS * dice.u32(1..=16), line.own(100, ask))];
                    assert_eq!(line.ask(100, ask, events), Outcome::NoReply, "{framing:?} {ask:?}");
                }
            }
        }
        assert_eq!(line.counters.foreign_frames, 0, "an echo is no other master's: {:?}", line.counters);
    }
}

#[test]
fn what_began_before_our_last_octet_left_is_no_answer_though_it_end_after() {
    for framing in [Framing::Rtu, Framing::Ascii] {
        let mut line = Line::new(framing);
        // Its answer begins as the question does: unit id, function, and a 2.
        let ask = Ask::Read(ReadRequest::new(ReadFunction::HoldingRegisters, 0x0202, 1).unwrap());
        let character = Pace::new(19_200, false, 1).character();
        // Its first octet is there before our last has left.
        let octets = u32::try_from(line.own(1, ask).len()).unwrap();
        for tenth in 0..(octets - 1) * 10 {
            let later = line.link.time().plus(Duration::from_secs(2));
            line.talk.listen_until(&mut line.link, later, &mut line.counters).unwrap();
            line.link.arrive_from_now(vec![(character * tenth / 10, line.answer(1, &ask))]);
            let came = line.ask(1, ask, Events::new());
            assert!(
                !matches!(came, Outcome::Data(_)),
                "{framing:?}: {tenth} tenths of a character: {came:?}"
            );
        }
    }
}
