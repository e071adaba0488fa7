//! Which answer belongs to which question: by the line engine's own rules, from what a capture holds.
//!
//! On a serial line an answer follows its question before the next one, and unit, function, exact length
//! and checksum must fit. By TCP the transaction number tells. What the gateway's timeouts were is not in
//! a capture: unless somebody says it, an answer that came too late for it, but before the next question, is
//! taken here. What came before the question's last octet had left is no answer; where the pace of the line
//! is not known, it can't be told.

use super::pcapng::Direction;
use crate::bus::frames::{Arrived, EchoState, Verdict};
use crate::bus::transact::Outcome;
use crate::modbus::mbap::Adu;
use crate::modbus::rtu::{self, Pace};
use crate::modbus::{Ask, Framing, ReadRequest, ReplyPdu, ascii, decode_reply};
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::collections::BTreeMap;

/// A question of RTU: unit id, five octets of PDU, checksum.
const QUESTION: usize = 8;
/// What has begun like the answer and is silent for so long will not be finished: the line engine's rule, …
const FRAME_GAP_NANOS: i64 = 50_000_000;
/// … and in ASCII, where frames have marks of their own.
const ASCII_GAP_NANOS: i64 = 250_000_000;
/// As long after an unanswered question its answer may still come (the least that the line engine waits).
const SUSPICION_NANOS: i64 = 1_000_000_000;

/// A question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub unit: u8,
    pub request: ReadRequest,
    /// When it was put, in nanoseconds since 1970 UTC …
    pub asked: i64,
    /// … and when the answer came; without one, `asked` again.
    pub at: i64,
    pub outcome: Outcome,
    /// On a serial line: the question's octets, …
    pub frame: Vec<u8>,
    /// … everything heard before the next one, …
    pub heard: Vec<(i64, Vec<u8>)>,
    /// … and how many packets of that settled it: the rest came when nobody listened any more.
    pub taken: usize,
    /// An answer, but it could as well be the late one to another question: not believed.
    pub in_doubt: bool,
}

/// How octets go on a line, as far as the capture says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timing {
    pub pace: Option<Pace>,
    pub ascii: bool,
    /// They take no time, whatever the pace.
    pub unpaced: bool,
    /// How long whoever asks waits for an answer's first octet; without it, to the next question.
    pub timeout_nanos: Option<i64>,
}

/// What a capture came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests, replies, and whatever else the line engine counts.
    pub counters: BusCounters,
    /// Octets came that were not the answer.
    pub garbled: u64,
    /// Answers that could as well be the late one to another question: not believed.
    pub in_doubt: u64,
    /// What was sent and is no question of functions 1 to 4.
    pub other_requests: u64,
    /// Answers by TCP to no question in the capture.
    pub unasked: u64,
}

#[derive(Debug)]
struct Question {
    unit: u8,
    request: ReadRequest,
    asked: i64,
    frame: Vec<u8>,
    heard: Vec<(i64, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct SerialLine {
    timing: Timing,
    open: Option<Question>,
    /// What was sent last is no question that is understood here; nor is its answer.
    other: bool,
    /// The last question that stayed without an answer.
    unanswered: Option<(u8, ReadRequest, i64)>,
}

/// All lines of a capture.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    serial: BTreeMap<usize, SerialLine>,
    tcp: BTreeMap<(usize, u16), Question>,
    /// Of Modbus TCP.
    timeout_nanos: Option<i64>,
    pub tally: Tally,
}

impl Pairs {
    pub(super) fn new(timeout_nanos: Option<i64>) -> Pairs {
        Pairs { timeout_nanos, ..Pairs::default() }
    }

    /// Octets on a serial line. Sniffers do not tell who spoke: then the octets themselves must.
    pub(super) fn serial(
        &mut self,
        line: usize,
        timing: Timing,
        at: i64,
        direction: Option<Direction>,
        octets: &[u8],
    ) -> Vec<Exchange> {
        self.serial.entry(line).or_default().timing = timing;
        match direction {
            Some(Direction::Sent) => self.asked(line, at, octets).into_iter().collect(),
            Some(Direction::Heard) => {
                self.heard(line, at, octets);
                Vec::new()
            }
            None => self.guess(line, at, octets),
        }
    }

    fn guess(&mut self, line: usize, at: i64, octets: &[u8]) -> Vec<Exchange> {
        let framing = self.serial.get(&line).map_or(Framing::Rtu, |line| line.timing.framing());
        let length = match framing {
            Framing::Rtu => QUESTION,
            Framing::Ascii => octets.iter().position(|octet| *octet == b'\n').map_or(0, |at| at + 1),
        };
        let head = octets.get(..length).unwrap_or_default();
        let open = self.serial.get(&line).and_then(|line| line.open.as_ref());
        // Sixteen coils are answered by as many octets as a question has.
        let answers = open.is_some_and(|open| open.heard.is_empty() && open.is_answered_by(octets, framing));
        if question(head, framing).is_none() || answers {
            self.heard(line, at, octets);
            return Vec::new();
        }
        // A coarse sniffer puts question and answer into one packet.
        let rest = octets.get(length..).unwrap_or_default();
        let mut done: Vec<Exchange> = self.asked(line, at, head).into_iter().collect();
        if !rest.is_empty() {
            done.extend(self.guess(line, at, rest));
        }
        done
    }

    fn asked(&mut self, number: usize, at: i64, frame: &[u8]) -> Option<Exchange> {
        let line = self.serial.entry(number).or_default();
        let before = line.open.take();
        line.open = question(frame, line.timing.framing()).map(|(unit, request)| Question {
            unit,
            request,
            asked: at,
            frame: frame.to_vec(),
            heard: Vec::new(),
        });
        line.other = line.open.is_none();
        self.tally.other_requests += u64::from(line.other);
        before.map(|question| line.settle(question, &mut self.tally))
    }

    fn heard(&mut self, number: usize, at: i64, octets: &[u8]) {
        let line = self.serial.entry(number).or_default();
        match &mut line.open {
            Some(question) => question.heard.push((at, octets.to_vec())),
            None if line.other => {}
            None => self.tally.counters.unsolicited_octets += octets.len() as u64,
        }
    }

    /// An ADU of Modbus TCP.
    pub(super) fn adu(&mut self, line: usize, at: i64, direction: Direction, adu: &Adu) -> Option<Exchange> {
        let key = (line, adu.transaction);
        if direction == Direction::Sent {
            let Ok(request) = ReadRequest::decode(&adu.pdu) else {
                self.tally.other_requests += 1;
                return None;
            };
            let (frame, heard) = (Vec::new(), Vec::new());
            let question = Question { unit: adu.unit, request, asked: at, frame, heard };
            return self.tcp.insert(key, question).map(|old| self.conclude(old, None));
        }
        match self.tcp.remove(&key) {
            Some(question) if question.unit == adu.unit => Some(self.conclude(question, Some((at, adu)))),
            Some(question) => {
                self.tcp.insert(key, question);
                self.tally.counters.foreign_frames += 1;
                None
            }
            None => {
                self.tally.unasked += 1;
                None
            }
        }
    }

    fn conclude(&mut self, question: Question, answer: Option<(i64, &Adu)>) -> Exchange {
        let timeout = self.timeout_nanos.unwrap_or(i64::MAX);
        let answer = answer.filter(|(at, _)| at.saturating_sub(question.asked) <= timeout);
        let outcome = match answer.map(|(_, adu)| decode_reply(&question.request, &adu.pdu)) {
            Some(Ok(ReplyPdu::Data(data))) => Outcome::Data(data.to_vec()),
            Some(Ok(ReplyPdu::Exception(code))) => Outcome::Exception(code),
            Some(Err(_)) => Outcome::Garbled { whole: true },
            None => Outcome::NoReply,
        };
        let at = answer.map_or(question.asked, |(at, _)| at);
        self.tally.count(&outcome);
        question.exchange(at, outcome, 0)
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) -> Vec<(usize, Exchange)> {
        let mut done = Vec::new();
        for (number, mut line) in std::mem::take(&mut self.serial) {
            if let Some(question) = line.open.take() {
                done.push((number, line.settle(question, &mut self.tally)));
            }
        }
        for ((number, _), question) in std::mem::take(&mut self.tcp) {
            done.push((number, self.conclude(question, None)));
        }
        done
    }
}

impl SerialLine {
    fn settle(&mut self, question: Question, tally: &mut Tally) -> Exchange {
        let before = self.unanswered.take().filter(|(unit, request, asked)| {
            *unit == question.unit
                && *request != question.request
                && request.function() == question.request.function()
                && question.asked.saturating_sub(*asked) < SUSPICION_NANOS
        });
        let (mut outcome, taken) = question.listen(self.timing, before.is_some(), &mut tally.counters);
        let same_length =
            |request: ReadRequest| request.reply_data_octets() == question.request.reply_data_octets();
        let in_doubt =
            matches!(outcome, Outcome::Data(_)) && before.is_some_and(|(_, request, _)| same_length(request));
        if in_doubt {
            tally.in_doubt += 1;
            outcome = Outcome::Garbled { whole: false };
        }
        tally.count(&outcome);
        if matches!(outcome, Outcome::NoReply | Outcome::Garbled { whole: false }) {
            self.unanswered = Some((question.unit, question.request, question.asked));
        }
        let answered = matches!(outcome, Outcome::Data(_) | Outcome::Exception(_));
        let last = taken.checked_sub(1).filter(|_| answered).and_then(|last| question.heard.get(last));
        let at = last.map_or(question.asked, |(at, _)| *at);
        Exchange { in_doubt, ..question.exchange(at, outcome, taken) }
    }
}

impl Question {
    /// What the line engine would have made of it.
    fn listen(&self, timing: Timing, refusal_in_doubt: bool, counters: &mut BusCounters) -> (Outcome, usize) {
        let real = timing.pace.filter(|_| !timing.unpaced);
        let ask = Ask::Read(self.request);
        let (framing, echo) = (timing.framing(), EchoState::Unknown);
        let mut arrived = Arrived::new(self.unit, &ask, &self.frame, framing, echo, refusal_in_doubt);
        for (index, (at, octets)) in self.heard.iter().enumerate() {
            if self.is_over(index, timing, arrived.is_broken()) {
                return (arrived.conclude(counters), index);
            }
            let now = Mono(u64::try_from(*at).unwrap_or(0));
            let early = real.map_or(0, |pace| early(pace, self.asked, self.frame.len(), *at, octets.len()));
            let (early, octets) = octets.split_at(early);
            if !early.is_empty() {
                arrived.take(early, now, false, counters);
            }
            match arrived.take(octets, now, true, counters) {
                Verdict::Data(data) => return (Outcome::Data(data), index + 1),
                Verdict::Exception(code) => return (Outcome::Exception(code), index + 1),
                Verdict::NotYet => {}
            }
        }
        (arrived.conclude(counters), self.heard.len())
    }

    /// Whether the engine has given up before this packet begins: what is silent after it has begun like
    /// an answer will not go on, and what has not begun within the timeout will not begin.
    fn is_over(&self, index: usize, timing: Timing, begun: bool) -> bool {
        let longest = if timing.ascii { ASCII_GAP_NANOS } else { FRAME_GAP_NANOS };
        let silent = index == 0 || self.gap_before(index, timing) > longest;
        let (Some(timeout), Some((at, _))) = (timing.timeout_nanos, self.heard.get(index)) else {
            return silent && begun;
        };
        let question = timing.pace.filter(|_| !timing.unpaced).map_or(0, |p| nanos(p, self.frame.len()));
        silent && (begun || at.saturating_sub(self.asked).saturating_sub(question) > timeout)
    }

    /// The silence before a packet, where the pace says how long the one before it took.
    fn gap_before(&self, index: usize, timing: Timing) -> i64 {
        match (timing.pace, self.heard.get(index - 1), self.heard.get(index)) {
            (Some(pace), Some((before, octets)), Some((at, _))) => {
                at.saturating_sub(before.saturating_add(nanos(pace, octets.len() + 2)))
            }
            _ => 0,
        }
    }

    fn is_answered_by(&self, octets: &[u8], framing: Framing) -> bool {
        let frame = unframe(octets, framing).filter(|(unit, _)| *unit == self.unit);
        frame.is_some_and(|(_, pdu)| decode_reply(&self.request, &pdu).is_ok())
    }

    fn exchange(self, at: i64, outcome: Outcome, taken: usize) -> Exchange {
        let Question { unit, request, asked, frame, heard } = self;
        Exchange { unit, request, asked, at, outcome, frame, heard, taken, in_doubt: false }
    }
}

impl Exchange {
    /// How many octets of what was heard came before the question's last had left.
    pub fn early(&self, index: usize, pace: Pace) -> usize {
        let heard = self.heard.get(index);
        heard.map_or(0, |(at, octets)| early(pace, self.asked, self.frame.len(), *at, octets.len()))
    }
}

impl Timing {
    fn framing(self) -> Framing {
        if self.ascii { Framing::Ascii } else { Framing::Rtu }
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        let counters = &mut self.counters;
        counters.requests += 1;
        match outcome {
            Outcome::Data(_) | Outcome::TwoAnswers => counters.replies += 1,
            Outcome::Exception(_) => {
                counters.replies += 1;
                counters.exceptions += 1;
            }
            Outcome::NoReply => counters.timeouts += 1,
            Outcome::Garbled { .. } => self.garbled += 1,
        }
    }
}

/// How many octets of a packet came before the question's last octet had left: its stamp is the first one's.
fn early(pace: Pace, asked: i64, question: usize, at: i64, octets: usize) -> usize {
    let left = asked.saturating_add(nanos(pace, question));
    let ahead = left.saturating_sub(at).max(0).unsigned_abs();
    let character = nanos(pace, 1).max(1).unsigned_abs();
    usize::try_from(ahead.div_ceil(character)).map_or(octets, |early| early.min(octets))
}

/// How long octets take on the wire.
fn nanos(pace: Pace, octets: usize) -> i64 {
    i64::try_from(pace.octets(octets).as_nanos()).unwrap_or(i64::MAX)
}

/// Unit and request of a frame that is a question.
fn question(frame: &[u8], framing: Framing) -> Option<(u8, ReadRequest)> {
    let (unit, pdu) = unframe(frame, framing)?;
    Some((unit, ReadRequest::decode(&pdu).ok()?))
}

fn unframe(frame: &[u8], framing: Framing) -> Option<(u8, Vec<u8>)> {
    match framing {
        Framing::Rtu => rtu::unframe(frame).ok().map(|(unit, pdu)| (unit, pdu.to_vec())),
        Framing::Ascii => ascii::unframe(frame).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::mbap;
    use Direction::{Heard, Sent};

    const MS: i64 = 1_000_000;

    fn data(exchanges: &[Exchange]) -> Vec<Outcome> {
        exchanges.iter().map(|exchange| exchange.outcome.clone()).collect()
    }

    /// Plays frames of one line: milliseconds, direction, octets without their checksum.
    fn play(frames: &[(i64, Option<Direction>, &[u8])]) -> (Vec<Exchange>, Tally) {
        let mut pairs = Pairs::default();
        let mut done = Vec::new();
        for (ms, direction, octets) in frames {
            let [unit, pdu @ ..] = octets else { panic!("no frame") };
            done.extend(pairs.serial(0, Timing::default(), ms * MS, *direction, &rtu::frame(*unit, pdu)));
        }
        done.extend(pairs.end().into_iter().map(|(_, exchange)| exchange));
        (done, pairs.tally)
    }

    #[test]
    fn an_answer_follows_its_question_before_the_next() {
        let (done, tally) = play(&[
            (0, Some(Sent), &[1, 4, 0, 0, 0, 1]),
            (20, Some(Heard), &[1, 4, 2, 0, 42]),
            (40, Some(Sent), &[1, 4, 0, 5, 0, 1]),
            (60, Some(Heard), &[1, 0x84, 2]),
            (80, Some(Sent), &[2, 4, 0, 0, 0, 1]),
            (90, Some(Sent), &[3, 4, 0, 0, 0, 1]),
            (99, Some(Heard), &[2, 4, 2, 0, 42]),
        ]);
        let silent = Outcome::NoReply;
        assert_eq!(data(&done)[..3], [Outcome::Data(vec![0, 42]), Outcome::Exception(2), silent]);
        // What unit 2 says late is no answer of unit 3's.
        assert_eq!(tally.counters.foreign_frames, 1);
        assert!(!matches!(done[3].outcome, Outcome::Data(_)), "{done:?}");
        assert_eq!((done[0].asked, done[0].at, done[0].taken), (0, 20 * MS, 1));
    }

    #[test]
    fn an_answer_that_may_be_the_late_one_to_another_question_is_not_believed() {
        let first: (i64, _, &[u8]) = (0, Some(Sent), &[1, 4, 0, 0, 0, 1]);
        let answer: (i64, _, &[u8]) = (520, Some(Heard), &[1, 4, 2, 0, 42]);
        let (done, tally) = play(&[first, (500, Some(Sent), &[1, 4, 0, 9, 0, 1]), answer]);
        assert!(!matches!(done[1].outcome, Outcome::Data(_)));
        assert_eq!(tally.in_doubt, 1);
        // The same question again: whichever it answers, it is that register.
        let (done, tally) = play(&[first, (500, Some(Sent), &[1, 4, 0, 0, 0, 1]), answer]);
        assert_eq!((done[1].outcome.clone(), tally.in_doubt), (Outcome::Data(vec![0, 42]), 0));
    }

    #[test]
    fn what_came_before_our_last_octet_had_left_is_no_answer() {
        let (pace, question, answer) =
            (Pace::new(9600, false, 1), rtu::frame(1, &[4, 0, 0, 0, 1]), rtu::frame(1, &[4, 2, 0, 42]));
        let paced = Timing { pace: Some(pace), ..Timing::default() };
        for (at, timing, outcome) in [
            (MS, paced, Outcome::NoReply),
            // The last octet of the answer came after, but most of it did not.
            (5 * MS, paced, Outcome::Garbled { whole: false }),
            (9 * MS, paced, Outcome::Data(vec![0, 42])),
            (MS, Timing { unpaced: true, ..paced }, Outcome::Data(vec![0, 42])),
        ] {
            let mut pairs = Pairs::default();
            pairs.serial(0, timing, 0, Some(Sent), &question);
            pairs.serial(0, timing, at, Some(Heard), &answer);
            assert_eq!(pairs.end()[0].1.outcome, outcome, "{at}");
        }
        // An echo that the answer follows in the same packet does not cost the answer.
        let mut pairs = Pairs::default();
        pairs.serial(0, paced, 0, Some(Sent), &question);
        pairs.serial(0, paced, 1_041_666, Some(Heard), &[question, answer].concat());
        assert_eq!(pairs.end()[0].1.outcome, Outcome::Data(vec![0, 42]));
    }

    #[test]
    fn what_begins_like_the_answer_and_falls_silent_is_given_up() {
        let timing = Timing { pace: Some(Pace::new(9600, false, 1)), ..Timing::default() };
        let (question, answer) = (rtu::frame(1, &[4, 0, 0, 0, 1]), rtu::frame(1, &[4, 2, 0, 42]));
        for (pause, whole) in [(40 * MS, true), (60 * MS, false)] {
            let mut pairs = Pairs::default();
            pairs.serial(0, timing, 0, Some(Sent), &question);
            pairs.serial(0, timing, 20 * MS, Some(Heard), &answer[..3]);
            pairs.serial(0, timing, 24 * MS + pause, Some(Heard), &answer[3..]);
            let done = pairs.end().remove(0).1;
            assert_eq!(matches!(done.outcome, Outcome::Data(_)), whole, "{done:?}");
            assert_eq!(done.taken, 1 + usize::from(whole));
        }
    }

    #[test]
    fn an_answer_after_the_timeout_is_none_where_somebody_says_what_it_was() {
        let timing = Timing { timeout_nanos: Some(100 * MS), ..Timing::default() };
        for (at, answered) in [(90 * MS, true), (110 * MS, false)] {
            let mut pairs = Pairs::default();
            pairs.serial(0, timing, 0, Some(Sent), &rtu::frame(1, &[4, 0, 0, 0, 1]));
            pairs.serial(0, timing, at, Some(Heard), &rtu::frame(1, &[4, 2, 0, 42]));
            let done = pairs.end().remove(0).1;
            let expected = if answered { Outcome::Data(vec![0, 42]) } else { Outcome::NoReply };
            assert_eq!((done.outcome, done.taken), (expected, usize::from(answered)));
            let mut pairs = Pairs::new(timing.timeout_nanos);
            let adu = |pdu: &[u8]| mbap::take(&mut mbap::encode(1, 1, pdu)).unwrap().unwrap();
            pairs.adu(0, 0, Sent, &adu(&[4, 0, 0, 0, 1]));
            let done = pairs.adu(0, at, Heard, &adu(&[4, 2, 0, 42])).unwrap();
            assert_eq!(matches!(done.outcome, Outcome::Data(_)), answered);
        }
    }

    #[test]
    fn an_echo_is_no_answer_and_pieces_are_put_together() {
        let mut pairs = Pairs::default();
        let question = rtu::frame(1, &[4, 0, 0, 0, 1]);
        let answer = rtu::frame(1, &[4, 2, 0, 42]);
        pairs.serial(0, Timing::default(), 0, Some(Sent), &question);
        pairs.serial(0, Timing::default(), 8, Some(Heard), &question);
        pairs.serial(0, Timing::default(), 20, Some(Heard), &answer[..3]);
        pairs.serial(0, Timing::default(), 40, Some(Heard), &answer[3..]);
        let done = pairs.end();
        assert_eq!(done[0].1.outcome, Outcome::Data(vec![0, 42]));
        assert_eq!((done[0].1.taken, pairs.tally.counters.echoes), (3, 1));
    }

    #[test]
    fn a_sniffer_that_does_not_tell_who_spoke_is_understood() {
        let (done, _) = play(&[
            (0, None, &[1, 4, 0, 0, 0, 1]),
            (20, None, &[1, 4, 2, 0, 42]),
            // Sixteen coils: question and answer have eight octets each.
            (40, None, &[1, 1, 0, 0, 0, 24]),
            (60, None, &[1, 1, 3, 0, 0, 1]),
        ]);
        assert_eq!(data(&done), [Outcome::Data(vec![0, 42]), Outcome::Data(vec![0, 0, 1])]);
        let mut pairs = Pairs::default();
        let glued = [rtu::frame(1, &[4, 0, 0, 0, 1]), rtu::frame(1, &[4, 2, 0, 42])].concat();
        pairs.serial(0, Timing::default(), 0, None, &glued);
        assert_eq!(pairs.end()[0].1.outcome, Outcome::Data(vec![0, 42]));
    }

    #[test]
    fn what_is_no_read_is_counted_and_its_answer_taken_for_nobodys() {
        let (done, tally) = play(&[
            (0, Some(Sent), &[1, 6, 0, 0, 0, 1]),
            (20, Some(Heard), &[1, 6, 0, 0, 0, 1]),
            (40, Some(Sent), &[1, 4, 0, 0, 0, 1]),
        ]);
        assert_eq!((done.len(), tally.other_requests, tally.counters.unsolicited_octets), (1, 1, 0));
    }

    #[test]
    fn in_ascii_frames_are_those_between_colon_and_line_feed() {
        let timing = Timing { pace: Some(Pace::new(9600, true, 1)), ascii: true, ..Timing::default() };
        let (question, answer) = (ascii::frame(1, &[4, 0, 0, 0, 1]), ascii::frame(1, &[4, 2, 0, 42]));
        let mut pairs = Pairs::default();
        pairs.serial(0, timing, 0, Some(Sent), &question);
        pairs.serial(0, timing, 30 * MS, Some(Heard), &answer[..5]);
        // Longer than RTU allows.
        pairs.serial(0, timing, 150 * MS, Some(Heard), &answer[5..]);
        let done = pairs.end();
        assert_eq!((done[0].1.outcome.clone(), done[0].1.taken), (Outcome::Data(vec![0, 42]), 2));
        // A sniffer that does not tell who spoke, and has both in one packet.
        let mut pairs = Pairs::default();
        pairs.serial(0, Timing { pace: None, ..timing }, 0, None, &[question, answer].concat());
        assert_eq!(pairs.end()[0].1.outcome, Outcome::Data(vec![0, 42]));
    }

    #[test]
    fn by_tcp_the_transaction_number_tells() {
        let mut pairs = Pairs::default();
        let adu =
            |transaction, pdu: &[u8]| mbap::take(&mut mbap::encode(transaction, 1, pdu)).unwrap().unwrap();
        assert_eq!(pairs.adu(0, 0, Sent, &adu(7, &[4, 0, 0, 0, 1])), None);
        assert_eq!(pairs.adu(0, 1, Sent, &adu(8, &[4, 0, 9, 0, 1])), None);
        assert_eq!(pairs.adu(0, 2, Heard, &adu(9, &[4, 2, 0, 1])), None);
        let second = pairs.adu(0, 3, Heard, &adu(8, &[4, 2, 0, 2])).unwrap();
        let first = pairs.adu(0, 4, Heard, &adu(7, &[4, 2, 0, 3])).unwrap();
        assert_eq!((second.request.address(), second.outcome), (9, Outcome::Data(vec![0, 2])));
        assert_eq!((first.request.address(), first.outcome), (0, Outcome::Data(vec![0, 3])));
        assert_eq!(pairs.tally.unasked, 1);
        // A number that is used again before it was answered: the first question stays without an answer.
        assert_eq!(pairs.adu(0, 5, Sent, &adu(1, &[4, 0, 0, 0, 1])), None);
        let given_up = pairs.adu(0, 6, Sent, &adu(1, &[4, 0, 0, 0, 1])).unwrap();
        assert_eq!(given_up.outcome, Outcome::NoReply);
    }
}
