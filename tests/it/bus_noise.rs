//! What a bad line does to answers: bits turned over, octets lost, added or cut apart, answers of others. Whatever
//! comes of it, no value is wrong, and what came whole is used. On a clock that moves when somebody waits.

use crate::common::is_long;
use crate::common::wire::{Events, VirtualLink};
use linesman::bus::transact::{Conversation, Manners, Outcome, Tempo};
use linesman::modbus::rtu::Pace;
use linesman::modbus::{Framing, ReadFunction, ReadRequest, ascii, encode_data_reply, rtu};
use linesman::model::status::BusCounters;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(100);
const MS: Duration = Duration::from_millis(1);
/// Of a thousand bits one arrives as the other.
const BIT_ERRORS: f64 = 1e-3;

fn framed(framing: Framing, unit: u8, pdu: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Rtu => rtu::frame(unit, pdu),
        Framing::Ascii => ascii::frame(unit, pdu),
    }
}

fn tempo(framing: Framing, parity: bool) -> Tempo {
    let pace = Pace::new(19_200, parity, 1);
    match framing {
        Framing::Rtu => Tempo::serial(pace, framing),
        Framing::Ascii => Tempo::serial(pace.with_data_bits(7), framing),
    }
}

/// A line between a meter and us, and its bad days.
struct BadLine {
    dice: fastrand::Rng,
    framing: Framing,
    /// Bits of a character, the parity bit among them.
    bits: u32,
    /// Bits that still arrive as they were sent.
    good: u32,
}

impl BadLine {
    fn new(framing: Framing, parity: bool, seed: u64) -> BadLine {
        let bits = if framing == Framing::Ascii { 7 } else { 8 } + u32::from(parity);
        let mut line = BadLine { dice: fastrand::Rng::with_seed(seed), framing, bits, good: 0 };
        line.good = line.bits_until_an_error();
        line
    }

    fn bits_until_an_error(&mut self) -> u32 {
        // As if the dice were thrown for each bit.
        let bits = (1.0 - self.dice.f64()).ln() / (1.0 - BIT_ERRORS).ln();
        u32::try_from(Duration::from_secs_f64(bits).as_secs()).unwrap()
    }

    fn octet(&mut self, octet: u8) -> u8 {
        let (mut turned, mut at) = (0u32, 0);
        while self.good < self.bits - at {
            at += self.good + 1;
            turned ^= 1 << (at - 1);
            self.good = self.bits_until_an_error();
        }
        self.good -= self.bits - at;
        // As ports are set up: what the receiver doubts comes as it came, but in ASCII frames is a NUL.
        let is_nul = self.framing == Framing::Ascii && turned.count_ones() % 2 == 1;
        if is_nul { 0 } else { octet ^ (turned.to_le_bytes()[0] & self.mask()) }
    }

    /// A break is a NUL to the receiver, and drivers that are switched off leave one behind too.
    fn junk(&mut self, most: usize) -> Vec<u8> {
        let (count, is_break) = (self.dice.usize(1..=most), self.dice.bool());
        (0..count).map(|_| if is_break { 0 } else { self.dice.u8(..) & self.mask() }).collect()
    }

    fn mask(&self) -> u8 {
        if self.framing == Framing::Ascii { 0x7F } else { 0xFF }
    }

    /// The frame as it arrives.
    fn carry(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut frame: Vec<u8> = frame.iter().map(|octet| self.octet(*octet)).collect();
        match self.dice.u8(..200) {
            0 => drop(frame.remove(self.dice.usize(..frame.len()))),
            1 => {
                let at = self.dice.usize(..frame.len());
                frame.splice(at..at, self.junk(3));
            }
            2 => {
                let at = self.dice.usize(..frame.len());
                frame[at] = 0;
            }
            _ => {}
        }
        frame
    }

    /// What comes when this frame is sent to us: noise before and behind, close to it and apart.
    fn deliver(&mut self, frame: Vec<u8>, pace: Pace) -> Events {
        let (mut at, mut events) = (MS * self.dice.u32(5..40), Events::new());
        let mut say = |at: &mut Duration, octets: Vec<u8>| {
            let took = pace.octets(octets.len());
            events.push((*at, octets));
            *at += took;
        };
        if self.dice.u8(..10) < 3 {
            say(&mut at, self.junk(20));
            at += MS * self.dice.u32(..2) * 4;
        }
        say(&mut at, frame);
        if self.dice.u8(..10) < 3 {
            at += MS * self.dice.u32(..2) * 3;
            say(&mut at, self.junk(6));
        }
        events
    }
}

#[derive(Debug, Default)]
struct Count {
    intact: u32,
    used: u32,
    wrong: u32,
}

/// So many questions over a line on which every bit of an answer may turn over.
fn ask_over_noise(framing: Framing, parity: bool, questions: u32, seed: u64) -> Count {
    let tempo = tempo(framing, parity);
    let mut line = BadLine::new(framing, parity, seed);
    let mut link = VirtualLink::new(tempo.pace);
    let mut talk = Conversation::new(tempo, link.time());
    let (mut counters, mut count) = (BusCounters::default(), Count::default());
    for question in 0..questions {
        let (unit, address) = (line.dice.u8(1..=9), line.dice.u16(..1000));
        let registers = line.dice.choice([1u16, 2, 2, 4, 10]).unwrap();
        let request = ReadRequest::new(ReadFunction::HoldingRegisters, address, registers).unwrap();
        let truth: Vec<u8> = (0..registers * 2).map(|_| line.dice.u8(..)).collect();
        let whole = framed(framing, unit, &encode_data_reply(&request, &truth));
        let came = line.carry(&whole);
        let is_intact = came == whole;
        count.intact += u32::from(is_intact);
        link.answer_next_with(line.deliver(came, tempo.pace));
        if question % 8 == 0 {
            // While nobody asks anything.
            link.arrive_from_now(vec![(Duration::ZERO, line.junk(8))]);
        }
        let outcome = talk.transact(&mut link, unit, request, Manners::new(TIMEOUT), &mut counters);
        match outcome.unwrap().0 {
            Outcome::Data(data) if data == truth => count.used += u32::from(is_intact),
            Outcome::NoReply | Outcome::Garbled { .. } => {}
            Outcome::Data(_) | Outcome::Exception(_) | Outcome::TwoAnswers => count.wrong += 1,
        }
        link.sent.clear();
    }
    count
}

/// A fifth of a million, and all of it with `tests/run --long`.
///
/// A checksum of sixteen bits lets one damaged frame in 65 536 pass where the damage is of any kind; turned bits it
/// tells up to three of a frame, and sixteen in a row. What it does not see, no master can. The sum of an ASCII frame
/// sees far less, and needs parity beside it: without, 24 values of 300 000 are wrong here.
#[test]
fn no_value_is_wrong_in_a_million_noisy_frames_and_what_came_whole_is_used() {
    let part = if is_long() { 1 } else { 5 };
    for (framing, parity, questions) in
        [(Framing::Rtu, false, 500_000), (Framing::Rtu, true, 200_000), (Framing::Ascii, true, 300_000)]
    {
        let questions = questions / part;
        let count = ask_over_noise(framing, parity, questions, 1);
        let what = format!("{framing:?}, parity {parity}: {count:?} of {questions}");
        if is_long() {
            println!("{what}");
        }
        assert_eq!(count.wrong, 0, "{what}");
        assert!(count.intact > questions / 2 && count.intact < questions - questions / 50, "{what}");
        assert!(count.used >= count.intact / 100 * 95, "{what}");
    }
}

/// A line with an answer that comes in pieces.
struct Pieces {
    tempo: Tempo,
    link: VirtualLink,
    talk: Conversation,
    counters: BusCounters,
}

impl Pieces {
    fn new(framing: Framing) -> Pieces {
        let tempo = Tempo::serial(Pace::new(9600, false, 1), framing);
        let link = VirtualLink::new(tempo.pace);
        let talk = Conversation::new(tempo, link.time());
        Pieces { tempo, link, talk, counters: BusCounters::default() }
    }

    /// Asks for so many registers; each piece of the answer comes so long after the last octet of the one before.
    fn ask(&mut self, registers: u16, pieces: &[(Duration, std::ops::Range<usize>)]) -> Outcome {
        let request = ReadRequest::new(ReadFunction::InputRegisters, 7, registers).unwrap();
        let frame = answer(self.tempo.framing, &request);
        let mut at = MS * 5;
        let events = pieces.iter().map(|(gap, range)| {
            let event = (at + *gap, frame[range.clone()].to_vec());
            at += *gap + self.tempo.pace.octets(range.len());
            event
        });
        self.link.answer_next_with(events.collect());
        let manners = Manners::new(TIMEOUT);
        self.talk.transact(&mut self.link, 1, request, manners, &mut self.counters).unwrap().0
    }
}

/// The data say which octet they are.
fn data(request: &ReadRequest) -> Vec<u8> {
    (0..=255u8).cycle().take(request.reply_data_octets()).collect()
}

fn answer(framing: Framing, request: &ReadRequest) -> Vec<u8> {
    framed(framing, 1, &encode_data_reply(request, &data(request)))
}

#[test]
fn an_answer_cut_in_two_anywhere_is_taken_whole() {
    let request = |registers| ReadRequest::new(ReadFunction::InputRegisters, 7, registers).unwrap();
    for framing in [Framing::Rtu, Framing::Ascii] {
        let mut line = Pieces::new(framing);
        for (registers, gaps) in
            [(1, &[1, 8, 16, 20][..]), (2, &[1, 8, 16, 20]), (10, &[1, 8, 16, 20]), (60, &[16]), (125, &[20])]
        {
            let length = answer(framing, &request(registers)).len();
            for (at, gap) in (1..length).flat_map(|at| gaps.iter().map(move |gap| (at, MS * *gap))) {
                let came = line.ask(registers, &[(Duration::ZERO, 0..at), (gap, at..length)]);
                let what = format!("{framing:?}: {registers} registers, cut at {at} for {gap:?}");
                assert_eq!(came, Outcome::Data(data(&request(registers))), "{what}");
            }
        }
    }
}

#[test]
fn an_answer_that_dribbles_octet_by_octet_is_taken_whole() {
    let mut dice = fastrand::Rng::with_seed(5);
    let request = |registers| ReadRequest::new(ReadFunction::InputRegisters, 7, registers).unwrap();
    for framing in [Framing::Rtu, Framing::Ascii] {
        let mut line = Pieces::new(framing);
        for registers in (0..3).flat_map(|_| 1..=125) {
            let length = answer(framing, &request(registers)).len();
            let gap = |octet: usize| (MS.mul_f64(20.0 * dice.f64()), octet..octet + 1);
            let pieces: Vec<_> = (0..length).map(gap).collect();
            let came = line.ask(registers, &pieces);
            assert_eq!(came, Outcome::Data(data(&request(registers))), "{framing:?}: {registers} registers");
        }
    }
}

/// Who answers instead of whom was asked: right before it, or at another moment; with the same function and
/// length, with others, or with a refusal.
fn another(dice: &mut fastrand::Rng, framing: Framing, unit: u8, request: &ReadRequest) -> Vec<u8> {
    let other = dice.u8(1..=246);
    let other = if other >= unit { other + 1 } else { other };
    let pdu = match dice.u8(..4) {
        0 => vec![request.function().code() | 0x80, dice.u8(1..12)],
        1 => encode_data_reply(&ReadRequest::new(ReadFunction::Coils, 0, 40).unwrap(), &[0xA5; 5]),
        _ => encode_data_reply(request, &vec![0x5A; request.reply_data_octets()]),
    };
    framed(framing, other, &pdu)
}

#[test]
fn after_the_answer_of_another_unit_the_right_one_is_still_taken() {
    let mut dice = fastrand::Rng::with_seed(23);
    for (framing, questions) in [(Framing::Rtu, 10_000), (Framing::Ascii, 3000)] {
        let mut line = Pieces::new(framing);
        let pace = line.tempo.pace;
        for _ in 0..questions {
            let unit = dice.u8(1..=247);
            let request =
                ReadRequest::new(ReadFunction::InputRegisters, dice.u16(..9000), dice.u16(1..9)).unwrap();
            let truth: Vec<u8> = (0..request.reply_data_octets()).map(|_| dice.u8(..)).collect();
            let (mut at, mut events) = (MS * dice.u32(..20), Events::new());
            for _ in 0..dice.u8(1..=3) {
                let wrong = another(&mut dice, framing, unit, &request);
                let took = pace.octets(wrong.len());
                events.push((at, wrong));
                at += took + MS * dice.u32(..2) * 10;
            }
            events.push((at, framed(framing, unit, &encode_data_reply(&request, &truth))));
            line.link.answer_next_with(events);
            let manners = Manners::new(Duration::from_millis(500));
            let came = line.talk.transact(&mut line.link, unit, request, manners, &mut line.counters);
            assert_eq!(came.unwrap().0, Outcome::Data(truth), "{framing:?} {unit} {request:?}");
        }
        assert!(line.counters.foreign_frames > questions, "{:?}", line.counters);
        assert_eq!(line.counters.timeouts, 0);
    }
}
