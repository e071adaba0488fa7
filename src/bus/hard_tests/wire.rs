//! One conversation with peers that do their worst.

use crate::bus::link::Link;
use crate::bus::overheard::StrayKind;
use crate::bus::transact::{Conversation, Manners, Outcome, Tempo};
use crate::modbus::rtu::Pace;
use crate::modbus::{Framing, ReadFunction, ReadRequest, ascii, rtu};
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;

const PACE: Pace = Pace::new(9600, false, 1);
const TIMEOUT: Duration = Duration::from_millis(100);

/// What comes back for a question, counted from when its last octet has left.
type Answers = Vec<(Duration, Vec<u8>)>;

/// What the other end makes of our octets.
type Peer = Box<dyn FnMut(&[u8]) -> Answers>;

/// A wire whose clock goes on only while somebody waits.
struct Wire {
    now: Mono,
    left: Mono,
    coming: Vec<(Mono, Vec<u8>)>,
    answers: Peer,
    gone_at: Option<Mono>,
}

impl Wire {
    fn new(answers: impl FnMut(&[u8]) -> Answers + 'static) -> Wire {
        Wire { now: Mono(0), left: Mono(0), coming: Vec::new(), answers: Box::new(answers), gone_at: None }
    }

    fn is_gone(&self) -> io::Result<()> {
        if self.gone_at.is_some_and(|at| at <= self.now) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the port is gone"));
        }
        Ok(())
    }
}

impl Link for Wire {
    fn now(&self) -> Mono {
        self.now
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.is_gone()?;
        let Some(at) = self.coming.iter().position(|(at, _)| *at <= self.now) else { return Ok(None) };
        let (_, octets) = self.coming.remove(at);
        buffer[..octets.len()].copy_from_slice(&octets);
        Ok(Some(octets.len()))
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.is_gone()?;
        self.left = self.now.plus(PACE.octets(octets.len()));
        for (after, octets) in (self.answers)(octets) {
            self.coming.push((self.left.plus(after), octets));
        }
        self.coming.sort_by_key(|(at, _)| *at);
        Ok(octets.len())
    }

    fn output_is_empty(&self) -> bool {
        self.now >= self.left
    }

    fn discard_input(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        let next = self.coming.first().map(|(at, _)| *at).filter(|at| *at <= until);
        let end = next.unwrap_or(until).max(self.now);
        if let Some(gone) = self.gone_at.filter(|gone| *gone <= end) {
            self.now = self.now.max(gone);
        } else {
            self.now = end;
        }
        self.is_gone()?;
        Ok(next.is_some())
    }

    fn wait_writable(&mut self, _: Mono) -> io::Result<()> {
        Ok(())
    }

    fn pause(&mut self, until: Mono) -> io::Result<()> {
        self.now = self.now.max(until);
        Ok(())
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn holding(address: u16, count: u16) -> ReadRequest {
    ReadRequest::new(ReadFunction::HoldingRegisters, address, count).unwrap()
}

/// The answer to a read of so many registers, all with this value.
fn reply(unit: u8, count: u8, value: u8) -> Vec<u8> {
    let mut pdu = vec![3, count * 2];
    pdu.extend(vec![value; usize::from(count) * 2]);
    rtu::frame(unit, &pdu)
}

fn ask(talk: &mut Conversation, wire: &mut Wire, request: ReadRequest) -> (Outcome, Option<Duration>) {
    let (outcome, trace) =
        talk.transact(wire, 1, request, Manners::new(TIMEOUT), &mut BusCounters::default()).unwrap();
    (outcome, trace.first_heard.map(|first| first.since(trace.last_octet_left)))
}

#[test]
fn a_question_whose_port_went_may_still_be_answered_on_the_next_one() {
    for gone_after in [0, 4, 9, 30] {
        let mut wire = Wire::new(|_| vec![]);
        let mut talk = Conversation::new(Tempo::rtu_over_tcp(), Mono(0));
        wire.gone_at = Some(Mono(0).plus(ms(gone_after)));
        let request = holding(0, 2);
        let manners = Manners::new(TIMEOUT);
        let put = talk.transact(&mut wire, 1, request, manners, &mut BusCounters::default());
        assert!(put.is_err());
        talk.reopened(wire.now);
        let blocked = talk.blocked_until(1, holding(40, 2), wire.now);
        // Nothing was sent where the port was gone before.
        assert_eq!(blocked.is_some(), gone_after > 0, "gone after {gone_after} ms");
    }
}

#[test]
fn a_port_that_went_under_another_question_does_not_shorten_the_silence_a_device_asks_for() {
    let mut wire = Wire::new(|_| vec![(ms(10), reply(1, 2, 7))]);
    let mut talk = Conversation::new(PACE, Mono(0));
    let (slow, quick) = (Manners { min_gap: ms(200), ..Manners::new(TIMEOUT) }, Manners::new(TIMEOUT));
    let put = |wire: &mut Wire, talk: &mut Conversation, count, manners| {
        talk.transact(wire, 1, holding(0, count), manners, &mut BusCounters::default())
    };
    put(&mut wire, &mut talk, 2, slow).unwrap();
    wire.gone_at = Some(wire.now.plus(ms(205)));
    assert!(put(&mut wire, &mut talk, 2, quick).is_err());
    wire.gone_at = None;
    talk.reopened(wire.now);
    let opened = wire.now;
    put(&mut wire, &mut talk, 3, quick).unwrap();
    assert!(wire.left.since(opened) >= ms(200), "{:?}", wire.left.since(opened));
}

#[test]
fn refusals_of_two_lengths_do_not_keep_each_other_in_doubt_for_ever() {
    let mut first = true;
    let mut wire = Wire::new(move |frame| {
        // One answer is lost, once.
        if std::mem::take(&mut first) { vec![] } else { vec![(ms(10), rtu::frame(frame[0], &[0x83, 2]))] }
    });
    let mut talk = Conversation::new(PACE, Mono(0));
    let both = [holding(0, 1), holding(10, 2)];
    let (mut refused, mut turn) = ([0, 0], 0);
    while wire.now < Mono(0).plus(Duration::from_secs(60)) {
        let now = wire.now;
        let free = |request: ReadRequest| talk.blocked_until(1, request, now);
        turn += 1;
        match (0..2).map(|other| (turn + other) % 2).find(|at| free(both[*at]).is_none()) {
            Some(at) => {
                if ask(&mut talk, &mut wire, both[at]).0 == Outcome::Exception(2) {
                    refused[at] += 1;
                    wire.now = wire.now.plus(ms(500));
                }
            }
            None => wire.now = both.into_iter().filter_map(free).min().unwrap(),
        }
    }
    assert!(refused[0] > 20 && refused[1] > 20, "believed {refused:?} times in a minute");
}

#[test]
fn an_echo_that_was_missed_once_is_not_another_master() {
    let mut count = 0;
    let mut wire = Wire::new(move |frame| {
        count += 1;
        let answer = (ms(20), reply(1, 2, 7));
        // The first echo is lost in the glitch with which the transmitter is turned on.
        if count == 1 { vec![answer] } else { vec![(ms(0), frame.to_vec()), answer] }
    });
    let mut talk = Conversation::new(PACE, Mono(0));
    for _ in 0..4 {
        assert_eq!(ask(&mut talk, &mut wire, holding(0, 2)).0, Outcome::Data(vec![7; 4]));
    }
    let strays = talk.take_notes().strays;
    assert!(strays.iter().all(|stray| stray.kind != StrayKind::Request), "{strays:?}");
}

#[test]
fn an_answer_is_not_quicker_for_an_echo_that_comes_in_pieces() {
    let mut wire = Wire::new(|frame| {
        vec![(ms(1), frame[..5].to_vec()), (ms(2), frame[5..].to_vec()), (ms(60), reply(1, 2, 7))]
    });
    let mut talk = Conversation::new(PACE, Mono(0));
    for _ in 0..2 {
        let (outcome, latency) = ask(&mut talk, &mut wire, holding(0, 2));
        assert_eq!((outcome, latency), (Outcome::Data(vec![7; 4]), Some(ms(60))));
    }
}

#[test]
fn what_another_master_is_answered_is_no_second_answer_to_us() {
    let mut wire = Wire::new(|_| vec![(ms(10), reply(1, 2, 7))]);
    let mut talk = Conversation::new(PACE, Mono(0));
    assert_eq!(ask(&mut talk, &mut wire, holding(0, 2)).0, Outcome::Data(vec![7; 4]));
    let question = rtu::frame(1, &holding(50, 2).pdu());
    wire.coming = vec![(wire.now.plus(ms(200)), question), (wire.now.plus(ms(230)), reply(1, 2, 9))];
    let until = wire.now.plus(ms(500));
    talk.listen_until(&mut wire, until, &mut BusCounters::default()).unwrap();
    let notes = talk.take_notes();
    assert_eq!((notes.strays.len(), notes.second_answer), (2, None));
}

#[test]
fn an_answer_long_after_its_question_is_no_second_answer() {
    let mut wire = Wire::new(|_| vec![(ms(10), reply(1, 2, 7))]);
    let mut talk = Conversation::new(PACE, Mono(0));
    assert_eq!(ask(&mut talk, &mut wire, holding(0, 2)).0, Outcome::Data(vec![7; 4]));
    // Another master's question was garbled by noise, its answer not.
    wire.coming = vec![(wire.now.plus(Duration::from_secs(8)), reply(1, 2, 9))];
    let until = wire.now.plus(Duration::from_secs(9));
    talk.listen_until(&mut wire, until, &mut BusCounters::default()).unwrap();
    assert_eq!(talk.take_notes().second_answer, None);
}

#[test]
fn a_stray_is_no_late_answer_to_a_question_that_can_no_longer_be_answered() {
    let mut wire = Wire::new(|_| vec![]);
    let mut talk = Conversation::new(PACE, Mono(0));
    assert_eq!(ask(&mut talk, &mut wire, holding(0, 2)).0, Outcome::NoReply);
    wire.coming = vec![(wire.now.plus(Duration::from_secs(20)), reply(1, 2, 9))];
    let until = wire.now.plus(Duration::from_secs(21));
    talk.listen_until(&mut wire, until, &mut BusCounters::default()).unwrap();
    assert_eq!(talk.take_notes().late, []);
}

#[test]
fn another_units_damaged_ascii_frame_is_not_our_answer_however_long_it_is() {
    let mut wire = Wire::new(|_| {
        let mut damaged = ascii::frame(2, &[3, 4, 1, 2, 3, 4]);
        damaged[9] ^= 1;
        vec![(ms(10), damaged)]
    });
    let mut talk = Conversation::new(Tempo::serial(PACE, Framing::Ascii), Mono(0));
    assert_eq!(ask(&mut talk, &mut wire, holding(0, 2)).0, Outcome::Garbled { whole: false });
    assert!(talk.blocked_until(1, holding(9, 2), wire.now).is_some());
}

#[test]
fn a_second_answer_is_seen_however_the_reads_part_it_and_whatever_noise_follows() {
    let coils = |value| ascii::frame(1, &[1, 2, value, value]);
    for between in ["", ":0101", ":0101\r\n", "0101025A5A48\r\n", ":0101:01010", ":"] {
        let octets = [b":\xbb\x846", coils(0x5A).as_slice(), between.as_bytes(), &coils(0xBB)].concat();
        is_seen_behind(&octets, between);
    }
}

/// Two answers with something between.
fn is_seen_behind(octets: &[u8], between: &str) {
    // Noise that begins like a frame is waited for longer than an answer.
    for (part, noise, after) in
        [(1, 0, 10), (3, 0, 10), (16, 0, 10), (64, 0, 10), (64, 400, 10), (1, 0, 300), (64, 0, 300)]
    {
        let octets = octets.to_vec();
        let mut wire = Wire::new(move |_| {
            let mut pieces: Answers = vec![(ms(0), vec![b':']), (ms(100), vec![b':'])];
            pieces.extend(octets.chunks(part).map(|piece| (ms(after), piece.to_vec())));
            // Colons begin a frame again and again.
            pieces.extend((0..noise).map(|n| (ms(after + n), vec![b':'])));
            pieces
        });
        let mut talk = Conversation::new(Tempo::serial(PACE, Framing::Ascii), Mono(0));
        let request = ReadRequest::new(ReadFunction::Coils, 0, 15).unwrap();
        let came = ask(&mut talk, &mut wire, request).0;
        assert_eq!(
            came,
            Outcome::TwoAnswers,
            "{between:?}, {part} octets a read, {noise} of noise, after {after} ms"
        );
    }
}
