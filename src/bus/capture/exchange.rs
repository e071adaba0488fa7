//! Which answer belongs to which question: by the line engine's own rules, from what a capture holds.
//!
//! On a serial line an answer follows its question before the next one, and unit, function, exact length
//! and checksum must fit. By TCP the transaction number tells. What the gateway's timeouts were is not in
//! a capture: an answer that came too late for it, but before the next question, is taken here.

use super::pcapng::Direction;
use crate::bus::frames::{Arrived, Verdict};
use crate::bus::transact::Outcome;
use crate::modbus::mbap::Adu;
use crate::modbus::rtu;
use crate::modbus::{ReadRequest, ReplyPdu, decode_reply};
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::collections::BTreeMap;

/// A question on a serial line: unit id, five octets of PDU, checksum.
const QUESTION: usize = 8;
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
    /// … and which of it made the answer whole.
    pub settled_by: Option<usize>,
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
    pub tally: Tally,
}

impl Pairs {
    /// Octets on a serial line. Sniffers do not tell who spoke: then the octets themselves must.
    pub(super) fn serial(
        &mut self,
        line: usize,
        at: i64,
        direction: Option<Direction>,
        octets: &[u8],
    ) -> Vec<Exchange> {
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
        let head = octets.get(..QUESTION).unwrap_or_default();
        let open = self.serial.get(&line).and_then(|line| line.open.as_ref());
        // Sixteen coils are answered by as many octets as a question has.
        let answers = open.is_some_and(|open| open.heard.is_empty() && open.is_answered_by(octets));
        if question(head).is_none() || answers {
            self.heard(line, at, octets);
            return Vec::new();
        }
        // A coarse sniffer puts question and answer into one packet.
        let rest = octets.get(QUESTION..).unwrap_or_default();
        let mut done: Vec<Exchange> = self.asked(line, at, head).into_iter().collect();
        if !rest.is_empty() {
            done.extend(self.guess(line, at, rest));
        }
        done
    }

    fn asked(&mut self, number: usize, at: i64, frame: &[u8]) -> Option<Exchange> {
        let line = self.serial.entry(number).or_default();
        let before = line.open.take();
        line.open = question(frame).map(|(unit, request)| Question {
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
        let outcome = match answer.map(|(_, adu)| decode_reply(&question.request, &adu.pdu)) {
            Some(Ok(ReplyPdu::Data(data))) => Outcome::Data(data.to_vec()),
            Some(Ok(ReplyPdu::Exception(code))) => Outcome::Exception(code),
            Some(Err(_)) => Outcome::Garbled { whole: true },
            None => Outcome::NoReply,
        };
        let at = answer.map_or(question.asked, |(at, _)| at);
        self.tally.count(&outcome);
        question.exchange(at, outcome, None)
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
        let (mut outcome, settled_by) = question.listen(before.is_some(), &mut tally.counters);
        let same_length =
            |request: ReadRequest| request.reply_data_octets() == question.request.reply_data_octets();
        if matches!(outcome, Outcome::Data(_)) && before.is_some_and(|(_, request, _)| same_length(request)) {
            tally.in_doubt += 1;
            outcome = Outcome::Garbled { whole: false };
        }
        tally.count(&outcome);
        if matches!(outcome, Outcome::NoReply | Outcome::Garbled { whole: false }) {
            self.unanswered = Some((question.unit, question.request, question.asked));
        }
        let at = settled_by.and_then(|index| question.heard.get(index)).map_or(question.asked, |(at, _)| *at);
        question.exchange(at, outcome, settled_by)
    }
}

impl Question {
    /// What the line engine would have made of it.
    fn listen(&self, refusal_in_doubt: bool, counters: &mut BusCounters) -> (Outcome, Option<usize>) {
        let mut arrived = Arrived::new(self.unit, &self.request, &self.frame, refusal_in_doubt);
        for (index, (at, octets)) in self.heard.iter().enumerate() {
            let now = Mono(u64::try_from(*at).unwrap_or(0));
            match arrived.take(octets, now, true, counters) {
                Verdict::Data(data) => return (Outcome::Data(data), Some(index)),
                Verdict::Exception(code) => return (Outcome::Exception(code), Some(index)),
                Verdict::NotYet => {}
            }
        }
        (arrived.conclude(counters), None)
    }

    fn is_answered_by(&self, octets: &[u8]) -> bool {
        let pdu = rtu::unframe(octets).ok().filter(|(unit, _)| *unit == self.unit).map(|(_, pdu)| pdu);
        pdu.is_some_and(|pdu| decode_reply(&self.request, pdu).is_ok())
    }

    fn exchange(self, at: i64, outcome: Outcome, settled_by: Option<usize>) -> Exchange {
        let Question { unit, request, asked, frame, heard } = self;
        Exchange { unit, request, asked, at, outcome, frame, heard, settled_by }
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        let counters = &mut self.counters;
        counters.requests += 1;
        match outcome {
            Outcome::Data(_) => counters.replies += 1,
            Outcome::Exception(_) => {
                counters.replies += 1;
                counters.exceptions += 1;
            }
            Outcome::NoReply => counters.timeouts += 1,
            Outcome::Garbled { .. } => self.garbled += 1,
        }
    }
}

/// Unit and request of a frame that is a question.
fn question(frame: &[u8]) -> Option<(u8, ReadRequest)> {
    let (unit, pdu) = rtu::unframe(frame).ok()?;
    Some((unit, ReadRequest::decode(pdu).ok()?))
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
            done.extend(pairs.serial(0, ms * MS, *direction, &rtu::frame(*unit, pdu)));
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
        assert_eq!((done[0].asked, done[0].at, done[0].settled_by), (0, 20 * MS, Some(0)));
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
    fn an_echo_is_no_answer_and_pieces_are_put_together() {
        let mut pairs = Pairs::default();
        let question = rtu::frame(1, &[4, 0, 0, 0, 1]);
        let answer = rtu::frame(1, &[4, 2, 0, 42]);
        pairs.serial(0, 0, Some(Sent), &question);
        pairs.serial(0, 8, Some(Heard), &question);
        pairs.serial(0, 20, Some(Heard), &answer[..3]);
        pairs.serial(0, 40, Some(Heard), &answer[3..]);
        let done = pairs.end();
        assert_eq!(done[0].1.outcome, Outcome::Data(vec![0, 42]));
        assert_eq!((done[0].1.settled_by, pairs.tally.counters.echoes), (Some(2), 1));
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
        pairs.serial(0, 0, None, &glued);
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
