//! One question and its answer over a wire and a clock made of text: `golden/wire/*.txt`.
//!
//! A transcript:
//! ```text
//! # comment
//! unpaced                      the peer hears and answers at once (a pseudo-terminal)
//! ask 1 input 0 2              the engine asks unit 1 for two input registers from 0 on
//! > 01 04 00 00 00 02 crc      it must send exactly this
//! ~ 20ms                       time passes, counted from when its last octet has left
//! < 01 04 04 43 66 33 34 crc   octets arrive, one character time each
//! ^ 01 04 04 43 66 33 34 crc   octets arrive while ours are still leaving
//! = data 43 66 33 34           what must come of it (exception N, no-reply, garbled)
//! ! crc_errors 1               and what must be counted for this question
//! after 900ms                  the question was put no sooner than so long after the one before
//! ```
//! `crc` stands for the right checksum of what precedes it on the line, `bad` for a wrong one.

use crate::common::wire::{Peer, VirtualLink};
use linesman::bus::transact::{Conversation, Manners, Outcome};
use linesman::modbus::rtu::Pace;
use linesman::modbus::{ReadFunction, ReadRequest};
use linesman::model::Mono;
use linesman::model::status::BusCounters;
use std::fs;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(100);

/// CRC-16/MODBUS bit by bit, as the specification draws it: not the table of the product.
fn crc(octets: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFFu16;
    for octet in octets {
        crc ^= u16::from(*octet);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}

fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "crc" => out.extend(crc(&out)),
            "bad" => out.extend(crc(&out).map(|octet| octet ^ 0x55)),
            hex => out.push(u8::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("{hex:?} is no octet"))),
        }
    }
    out
}

fn span(text: &str) -> Duration {
    let ms = text.trim().strip_suffix("ms").unwrap_or_else(|| panic!("{text:?} is no time"));
    Duration::from_secs_f64(ms.parse::<f64>().unwrap() / 1000.0)
}

fn request(words: &str) -> (u8, ReadRequest) {
    let words: Vec<&str> = words.split_whitespace().collect();
    let [unit, table, address, count] = words[..] else { panic!("ask UNIT TABLE ADDRESS COUNT") };
    let function = match table {
        "coil" => ReadFunction::Coils,
        "discrete" => ReadFunction::DiscreteInputs,
        "holding" => ReadFunction::HoldingRegisters,
        "input" => ReadFunction::InputRegisters,
        other => panic!("{other:?} is no table"),
    };
    let request = ReadRequest::new(function, address.parse().unwrap(), count.parse().unwrap()).unwrap();
    (unit.parse().unwrap(), request)
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Data(data) => {
            let octets: Vec<String> = data.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("data {}", octets.join(" "))
        }
        Outcome::Exception(code) => format!("exception {code}"),
        Outcome::NoReply => "no-reply".to_owned(),
        Outcome::Garbled { .. } => "garbled".to_owned(),
        Outcome::TwoAnswers => "two-answers".to_owned(),
    }
}

fn counter(counters: &BusCounters, name: &str) -> u64 {
    serde_json::to_value(counters).unwrap()[name].as_u64().unwrap_or_else(|| panic!("no counter {name}"))
}

/// A transcript being played.
struct Stage {
    pace: Pace,
    link: VirtualLink,
    talk: Conversation,
    counted: BusCounters,
    /// The question put, and the octets it must be put in.
    asked: Option<(u8, ReadRequest, Vec<u8>)>,
    /// What comes back, counted from when our last octet has left.
    events: Vec<(Duration, Vec<u8>)>,
    offset: Duration,
    outcome: Option<Outcome>,
    last_sent: Option<Mono>,
    least: Option<Duration>,
}

impl Stage {
    fn new() -> Stage {
        let pace = Pace::new(9600, false, 1);
        let link = VirtualLink::new(pace);
        Stage {
            talk: Conversation::new(pace, link.time()),
            pace,
            link,
            counted: BusCounters::default(),
            asked: None,
            events: Vec::new(),
            offset: Duration::ZERO,
            outcome: None,
            last_sent: None,
            least: None,
        }
    }

    fn step(&mut self, head: &str, rest: &str, place: &str) {
        match head {
            "" => {}
            "unpaced" => self.link.peer = Peer::Unpaced,
            "ask" => {
                // What came before this question arrives unasked, from now on.
                self.link.arrive_from_now(std::mem::take(&mut self.events));
                let (unit, request) = request(rest);
                self.asked = Some((unit, request, Vec::new()));
                (self.offset, self.outcome) = (Duration::ZERO, None);
            }
            ">" => self.asked.as_mut().expect(place).2 = octets(rest),
            "~" => self.offset += span(rest),
            "<" => {
                let octets = octets(rest);
                let takes = self.pace.octets(octets.len());
                self.events.push((self.offset, octets));
                self.offset += takes;
            }
            "^" => self.link.interrupt_next_with(octets(rest)),
            "after" => self.least = Some(span(rest)),
            "=" => self.transact(rest, place),
            "!" => {
                assert!(self.outcome.is_some(), "{place}: nothing was asked yet");
                let (name, count) = rest.split_once(' ').expect(place);
                let counted = counter(&self.counted, name);
                assert_eq!(counted, count.parse::<u64>().unwrap(), "{place}: {:?}", self.counted);
            }
            other => panic!("{place}: {other:?} is no step"),
        }
    }

    fn transact(&mut self, expected: &str, place: &str) {
        let (unit, request, frame) = self.asked.take().expect(place);
        self.link.answer_next_with(std::mem::take(&mut self.events));
        self.counted = BusCounters::default();
        let manners = Manners::new(TIMEOUT);
        let (came, trace) =
            self.talk.transact(&mut self.link, unit, request, manners, &mut self.counted).unwrap();
        assert_eq!(self.link.sent.last().unwrap().1, frame, "{place}: sent");
        assert_eq!(word(&came), expected, "{place}");
        if let (Some(least), Some(last)) = (self.least.take(), self.last_sent) {
            assert!(trace.sent.since(last) >= least, "{place}: asked after {:?}", trace.sent.since(last));
        }
        self.last_sent = Some(trace.sent);
        self.outcome = Some(came);
        self.offset = Duration::ZERO;
    }
}

/// Plays a transcript; what is wrong with it is told with its line.
fn play(path: &Path) {
    let mut stage = Stage::new();
    for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        stage.step(head, rest, &format!("{}:{}", path.display(), number + 1));
    }
    assert!(stage.asked.is_none() && stage.outcome.is_some(), "{}: ends without `=`", path.display());
    stage.link.assert_silence_was_kept(&path.display().to_string());
}

#[test]
fn every_transcript_of_the_field_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/wire");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "only {} transcripts", paths.len());
    paths.iter().for_each(|path| play(path));
}

/// The value a register must have: it says whose it is.
fn truth(unit: u8, address: u16) -> u16 {
    u16::from(unit) << 8 | (address & 0xFF)
}

/// Some registers are refused, each with a code of its own.
fn refused(unit: u8, address: u16) -> Option<u8> {
    (address % 5 == 4).then(|| 1 + unit * 16 + address.to_le_bytes()[0])
}

/// What the question for so many registers must come to.
fn right(unit: u8, address: u16, count: u16) -> Outcome {
    let range = address..address + count;
    match range.clone().find_map(|address| refused(unit, address)) {
        Some(code) => Outcome::Exception(code),
        None => Outcome::Data(range.flat_map(|address| truth(unit, address).to_be_bytes()).collect()),
    }
}

fn reply_to(frame: &[u8]) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut reply = match right(frame[0], word(2), word(4)) {
        Outcome::Exception(code) => vec![frame[0], frame[1] | 0x80, code],
        Outcome::Data(data) => [&[frame[0], frame[1], 2 * frame[5]], &data[..]].concat(),
        Outcome::NoReply | Outcome::Garbled { .. } | Outcome::TwoAnswers => unreachable!(),
    };
    reply.extend(crc(&reply));
    reply
}

#[derive(Debug, Default)]
struct Came {
    right: u32,
    refused: u32,
    silent: u32,
}

/// A hundred thousand questions for so many registers, to devices that take any time from none to three timeouts,
/// as a slow gateway or radio does; each answer by itself, so that they overtake one another.
fn ask_the_slow(longest: u16, addresses: u16, seed: u64) -> Came {
    let pace = Pace::new(115_200, false, 1);
    let mut link = VirtualLink::new(pace);
    let (mut dice, mut delays) = (fastrand::Rng::with_seed(seed), fastrand::Rng::with_seed(seed + 4));
    link.responder =
        Some(Box::new(move |frame: &[u8]| vec![(TIMEOUT.mul_f64(3.0 * delays.f64()), reply_to(frame))]));
    let mut talk = Conversation::new(pace, link.time());
    let (mut counters, mut came) = (BusCounters::default(), Came::default());
    for _ in 0..100_000 {
        let (unit, address, count) = (dice.u8(1..4), dice.u16(0..addresses), dice.u16(1..=longest));
        let request = ReadRequest::new(ReadFunction::HoldingRegisters, address, count).unwrap();
        let outcome = talk.transact(&mut link, unit, request, Manners::new(TIMEOUT), &mut counters);
        match outcome.unwrap().0 {
            Outcome::NoReply | Outcome::Garbled { .. } => came.silent += 1,
            answer @ (Outcome::Data(_) | Outcome::Exception(_) | Outcome::TwoAnswers) => {
                assert_eq!(answer, right(unit, address, count), "unit {unit}, {count} from {address}");
                let is_refusal = matches!(answer, Outcome::Exception(_));
                *(if is_refusal { &mut came.refused } else { &mut came.right }) += 1;
            }
        }
    }
    assert!(counters.foreign_frames + counters.unsolicited_octets > 10_000, "{counters:?}");
    link.assert_silence_was_kept("late replies");
    came
}

#[test]
fn no_value_is_wrong_in_a_hundred_thousand_questions_with_replies_late_by_chance() {
    let came = ask_the_slow(1, 4, 7);
    // About a third of the replies are in time; the rest must have been late, not lost in the bookkeeping.
    assert!(came.right > 25_000 && came.silent > 25_000 && came.refused == 0, "{came:?}");
}

#[test]
fn no_value_and_no_refusal_is_wrong_where_late_ones_of_any_length_come_between() {
    let came = ask_the_slow(4, 20, 29);
    assert!(came.right > 15_000 && came.refused > 1000 && came.silent > 25_000, "{came:?}");
}
