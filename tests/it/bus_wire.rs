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
//! idle 300ms                   nothing is asked for so long; what was to arrive arrives
//! baud 19200 8E1               before all else: another pace than that of 9600 8N1
//! timeout 250ms                from here on: an answer's first octet is waited for longer than 100 ms
//! ```
//! `linesman replay CAPTURE --as-transcript` makes one of what was recorded in the field.
//!
//! `crc` stands for the right checksum of what precedes it on the line, `bad` for a wrong one.

use crate::common::wire::{Peer, VirtualLink};
use linesman::bus::capture::{self, Tap};
use linesman::bus::transact::{Conversation, Manners, Outcome, Tempo};
use linesman::bus::{LineConfig, MAX_PROBE, PortConfig, SerialConfig};
use linesman::modbus::rtu::Pace;
use linesman::modbus::{ReadFunction, ReadRequest};
use linesman::model::Mono;
use linesman::model::status::BusCounters;
use std::fs;
use std::path::Path;
use std::process::Command;
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
    timeout: Duration,
}

impl Stage {
    fn new(pace: Pace, tap: Tap) -> Stage {
        let link = VirtualLink::new(pace);
        Stage {
            talk: Conversation::new(pace, link.time()).with_tap(tap),
            pace,
            link,
            counted: BusCounters::default(),
            asked: None,
            events: Vec::new(),
            offset: Duration::ZERO,
            outcome: None,
            last_sent: None,
            least: None,
            timeout: TIMEOUT,
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
            "timeout" => self.timeout = span(rest),
            "idle" => {
                self.link.arrive_from_now(std::mem::take(&mut self.events));
                let until = self.link.time().plus(span(rest));
                self.talk.listen_until(&mut self.link, until, &mut BusCounters::default()).unwrap();
                self.offset = Duration::ZERO;
            }
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
        let manners = Manners::new(self.timeout);
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

/// `19200 8E1`.
fn pace(text: &str) -> Pace {
    let (baud, format) = text.split_once(' ').expect("baud BAUD FORMAT");
    let [data, parity, stop] = *format.as_bytes() else { panic!("{format:?} is no format") };
    Pace::new(baud.parse().unwrap(), parity != b'N', stop - b'0').with_data_bits(data - b'0')
}

/// Plays a transcript; what is wrong with it is told with its line.
fn play(path: &Path) {
    play_into(path, &Tap::none());
}

/// The same, with the wire on record. Returns how many questions there were.
fn play_into(path: &Path, tap: &Tap) -> usize {
    let mut stage = Stage::new(Pace::new(9600, false, 1), tap.clone());
    for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        if head == "baud" {
            stage = Stage::new(pace(rest), tap.clone());
        } else {
            stage.step(head, rest, &format!("{}:{}", path.display(), number + 1));
        }
    }
    assert!(stage.asked.is_none() && stage.outcome.is_some(), "{}: ends without `=`", path.display());
    stage.link.assert_silence_was_kept(&path.display().to_string());
    stage.link.sent.len()
}

#[test]
fn every_transcript_of_the_field_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/wire");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "only {} transcripts", paths.len());
    paths.iter().for_each(|path| play(path));
}

/// What must come of each question, as a transcript says it.
fn outcomes(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split('#').next()?.trim().strip_prefix("= "))
        .map(octets_alike)
        .collect()
}

/// Octets are octets, however they are written.
fn octets_alike(outcome: &str) -> String {
    outcome
        .strip_prefix("data ")
        .map_or_else(|| outcome.to_owned(), |data| word(&Outcome::Data(octets(data))))
}

#[test]
fn what_was_recorded_becomes_a_transcript_that_plays_and_says_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/wire");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let made = tempfile::tempdir().unwrap();
        let (file, transcript) = (made.path().join("wire.pcapng"), made.path().join("made.txt"));
        let (capture, recording) = capture::start(&file, capture::LIMIT).unwrap();
        // Of a pseudo-terminal, and only of one, a capture says that octets take no time on it.
        let unpaced = fs::read_to_string(&path).unwrap().lines().any(|line| line == "unpaced");
        let port = if unpaced { "/dev/pts/ptmx" } else { "/dev/ttyUSB0" };
        let port = PortConfig::Serial(SerialConfig::new(port, 9600));
        let line =
            LineConfig { name: "rs485-1".parse().unwrap(), port, devices: vec![], max_probe: MAX_PROBE };
        let asked = play_into(&path, &capture.tap(&line));
        recording.finish().unwrap();
        let replayed = Command::new(env!("CARGO_BIN_EXE_linesman"))
            .args(["replay", "--as-transcript", "--timeout", "100ms"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            replayed.status.success(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&replayed.stderr)
        );
        fs::write(&transcript, &replayed.stdout).unwrap();
        let text = String::from_utf8(replayed.stdout).unwrap();
        let shown = format!("{} became\n{text}", path.display());
        assert_eq!(outcomes(&text), outcomes(&fs::read_to_string(&path).unwrap()), "{shown}");
        assert_eq!(play_into(&transcript, &Tap::none()), asked, "{shown}");
    }
}

#[test]
fn what_comes_while_nobody_asks_is_on_record_too() {
    let made = tempfile::tempdir().unwrap();
    let file = made.path().join("wire.pcapng");
    let (capture, recording) = capture::start(&file, capture::LIMIT).unwrap();
    let pace = Pace::new(9600, false, 1);
    let port = PortConfig::Serial(SerialConfig::new("/dev/ttyUSB0", 9600));
    let line = LineConfig { name: "a".parse().unwrap(), port, devices: vec![], max_probe: MAX_PROBE };
    let mut link = VirtualLink::new(pace);
    let mut talk = Conversation::new(pace, link.time()).with_tap(capture.tap(&line));
    link.arrive_from_now(vec![(Duration::from_millis(5), vec![0x00, 0xFF, 0x55])]);
    let until = link.time().plus(Duration::from_millis(50));
    talk.listen_until(&mut link, until, &mut BusCounters::default()).unwrap();
    recording.finish().unwrap();
    let (contents, _) = capture::read(&file, None, |_, _| ());
    assert_eq!((contents.packets, contents.tally.counters.unsolicited_octets), (1, 3));
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

#[test]
fn a_device_server_is_asked_again_as_soon_as_it_has_answered() {
    // How fast its own wire is nobody says; that octets have left it shows when the answer is there.
    let mut link = VirtualLink::new(Pace::new(1_000_000, false, 1));
    link.peer = Peer::Unpaced;
    link.responder = Some(Box::new(|frame: &[u8]| vec![(Duration::from_millis(1), reply_to(frame))]));
    let mut talk = Conversation::new(Tempo::rtu_over_tcp(), link.time());
    let (began, mut counters) = (link.time(), BusCounters::default());
    for _ in 0..100 {
        let request = ReadRequest::new(ReadFunction::HoldingRegisters, 0, 2).unwrap();
        let came = talk.transact(&mut link, 1, request, Manners::new(TIMEOUT), &mut counters).unwrap().0;
        assert_eq!(came, right(1, 0, 2));
    }
    let took = link.time().since(began);
    assert!(took < Duration::from_millis(150), "{took:?} for a hundred answers of a millisecond");
}
