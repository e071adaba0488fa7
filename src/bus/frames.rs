//! The answer found among what arrives: echo stripped, foreign frames told apart, noise passed over.

use super::overheard::{self, Stray};
use super::transact::Outcome;
use crate::modbus::{Ask, Framing, ReplyLength, ReplyPdu, ascii, rtu};
use crate::model::Mono;
use crate::model::status::BusCounters;

/// More than this is never held: a babbling line must not fill memory.
const MOST: usize = 1024;
/// So many foreign frames are remembered for one question.
const MOST_STRAYS: usize = 8;

/// Whether the answer is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Data(Vec<u8>),
    Exception(u8),
    NotYet,
}

/// Whether this line gives us our own frames back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum EchoState {
    /// Nothing was answered yet.
    #[default]
    Unknown,
    Heard,
    Absent,
}

/// What has arrived for one question.
pub(super) struct Arrived<'a> {
    unit: u8,
    ask: &'a Ask,
    sent: &'a [u8],
    framing: Framing,
    octets: Vec<u8>,
    first_heard: Option<Mono>,
    last_heard: Option<Mono>,
    /// All octets so far, to know babble by.
    heard: usize,
    /// Our own frame may still come back: then it is no answer, though it look like one.
    echo_possible: bool,
    pub(super) echoed: bool,
    /// So many of the octets at the front came before our own last one had left: an echo, or nothing.
    early: usize,
    /// Nothing came before the answer, not so much as a damaged echo.
    pub(super) is_alone: bool,
    /// A refusal carries no length. While an older question of this unit and function may still be
    /// answered, a refusal may be that one's: it is not believed.
    refusal_in_doubt: bool,
    /// An ASCII frame came damaged; whether it was as long as the answer.
    damaged: Option<bool>,
    pub(super) strays: Vec<Stray>,
}

impl<'a> Arrived<'a> {
    pub(super) fn new(
        unit: u8,
        ask: &'a Ask,
        sent: &'a [u8],
        framing: Framing,
        echo: EchoState,
        refusal_in_doubt: bool,
    ) -> Arrived<'a> {
        Arrived {
            unit,
            ask,
            sent,
            framing,
            octets: Vec::with_capacity(reply_octets(ask, framing)),
            first_heard: None,
            last_heard: None,
            heard: 0,
            // Where no answer can look like the question, an echo that was missed before is known all the same.
            echo_possible: echo != EchoState::Absent || !looks_like_an_answer(sent, ask, framing),
            echoed: false,
            early: 0,
            is_alone: false,
            refusal_in_doubt,
            damaged: None,
            strays: Vec::new(),
        }
    }

    pub(super) fn last_heard(&self) -> Option<Mono> {
        self.last_heard
    }

    /// When the first octet came that was no echo.
    pub(super) fn first_heard(&self) -> Option<Mono> {
        self.first_heard
    }

    /// Far more has come than any answer and echo have.
    pub(super) fn is_babble(&self) -> bool {
        self.heard > MOST
    }

    /// Takes octets in; `all_left` when our own last octet had left before they came.
    pub(super) fn take(
        &mut self,
        octets: &[u8],
        now: Mono,
        all_left: bool,
        counters: &mut BusCounters,
    ) -> Verdict {
        self.last_heard = Some(now);
        self.heard = self.heard.saturating_add(octets.len());
        self.octets.extend_from_slice(octets);
        self.strip_echo(counters);
        if !all_left {
            self.forget_all_but_echo(counters);
            self.early = self.octets.len();
            return Verdict::NotYet;
        }
        if !self.octets.is_empty() {
            self.first_heard.get_or_insert(now);
        }
        let verdict = match self.framing {
            Framing::Rtu => self.find_rtu(counters),
            Framing::Ascii => self.find_ascii(counters),
        };
        if self.octets.len() > MOST {
            let surplus = self.octets.len() - MOST;
            counters.noise_octets += surplus as u64;
            self.pass(surplus);
        }
        verdict
    }

    /// A two-wire adapter that hears itself gives our own frame back, whole; noise may come before it.
    fn strip_echo(&mut self, counters: &mut BusCounters) {
        if !self.echo_possible || self.octets.len() < self.sent.len() {
            return;
        }
        // One bit that is hit makes a digit of ASCII frames a small letter, and the frame still valid.
        let is_ours = |window: &[u8]| match self.framing {
            Framing::Rtu => window == self.sent,
            Framing::Ascii => window.eq_ignore_ascii_case(self.sent),
        };
        if let Some(at) = self.octets.windows(self.sent.len()).position(is_ours) {
            counters.noise_octets += at as u64;
            self.pass(at + self.sent.len());
            (self.echo_possible, self.echoed) = (false, true);
            self.first_heard = None;
            counters.echoes += 1;
        }
    }

    /// These octets at the front have been dealt with.
    fn pass(&mut self, count: usize) {
        self.octets.drain(..count);
        self.early = self.early.saturating_sub(count);
    }

    /// Before our last octet has left nothing can be the answer; only the beginning of an echo may stay. Turning
    /// a transmitter on often makes a glitch before it.
    fn forget_all_but_echo(&mut self, counters: &mut BusCounters) {
        let begins = |at: &usize| self.sent.starts_with(&self.octets[*at..]);
        let surplus = (0..self.octets.len()).find(begins).filter(|_| self.echo_possible);
        let surplus = surplus.unwrap_or(self.octets.len());
        counters.noise_octets += surplus as u64;
        self.pass(surplus);
    }

    /// Looks for the answer at every place, since noise may stand before it.
    fn find_rtu(&mut self, counters: &mut BusCounters) -> Verdict {
        self.drop_foreign_frames(counters);
        for at in self.early..self.octets.len() {
            let Some(length) = self.expected_at(at) else { continue };
            let Some(frame) = self.octets.get(at..at + length) else { continue };
            let Ok((_, pdu)) = rtu::unframe(frame) else { continue };
            let verdict = match self.ask.read_reply(pdu) {
                Ok(ReplyPdu::Data(data)) => Verdict::Data(data.to_vec()),
                Ok(ReplyPdu::Exception(code)) => Verdict::Exception(code),
                Err(_) => continue,
            };
            counters.noise_octets += at as u64;
            self.is_alone = at == 0 && self.heard == self.octets.len();
            self.pass(at + length);
            return verdict;
        }
        Verdict::NotYet
    }

    /// The length of the answer's frame if one could begin here.
    fn expected_at(&self, at: usize) -> Option<usize> {
        let [unit, pdu @ ..] = self.octets.get(at..)? else { return None };
        let is_refusal = pdu.first().is_some_and(|function| function & 0x80 != 0);
        if *unit != self.unit || is_refusal && self.refusal_in_doubt {
            return None;
        }
        // Two octets must fit before it counts as a beginning: one alone is too often noise.
        match self.ask.reply_length(pdu) {
            ReplyLength::Exactly(length) if is_refusal || pdu.len() > 1 => Some(rtu::OVERHEAD + length),
            ReplyLength::Exactly(_) | ReplyLength::NotYet | ReplyLength::Never => None,
        }
    }

    /// A whole valid frame at the front that is not the answer: another unit's, a late one's, a question.
    fn drop_foreign_frames(&mut self, counters: &mut BusCounters) {
        while let Some((length, stray)) = overheard::rtu_at(&self.octets) {
            if self.the_answer_may_stand_first() {
                return;
            }
            self.pass(length);
            self.note(stray, counters);
        }
    }

    /// Where the checksum of an answer of two registers ends with zero (one in 256), its first eight octets have a
    /// right one too, and may be a question; of longer answers one in 65 536.
    fn the_answer_may_stand_first(&self) -> bool {
        self.early == 0
            && self
                .expected_at(0)
                .is_some_and(|length| self.octets.get(..length).is_none_or(|frame| self.is_the_answer(frame)))
    }

    fn is_the_answer(&self, frame: &[u8]) -> bool {
        rtu::unframe(frame).is_ok_and(|(unit, pdu)| self.is_ours(unit, pdu))
    }

    /// What is as long as our own frame and came damaged may have been our own.
    fn may_be_the_echo(&self, length: usize) -> bool {
        self.echo_possible && length == self.sent.len()
    }

    fn is_ours(&self, unit: u8, pdu: &[u8]) -> bool {
        unit == self.unit
            && match self.ask.read_reply(pdu) {
                Ok(ReplyPdu::Data(_)) => true,
                Ok(ReplyPdu::Exception(_)) => !self.refusal_in_doubt,
                Err(_) => false,
            }
    }

    fn note(&mut self, stray: Stray, counters: &mut BusCounters) {
        counters.foreign_frames += 1;
        if self.strays.len() < MOST_STRAYS {
            self.strays.push(stray);
        }
    }

    /// Frames have a beginning and an end of their own here.
    fn find_ascii(&mut self, counters: &mut BusCounters) -> Verdict {
        while let Some(span) = overheard::ascii_span(&self.octets, 0) {
            self.is_alone = span.start == 0 && self.heard == self.octets.len();
            let frame: Vec<u8> = self.octets.get(span.clone()).unwrap_or_default().to_vec();
            let is_early = span.start < self.early;
            self.pass(span.end);
            counters.noise_octets += span.start as u64;
            match ascii::unframe(&frame) {
                Ok((unit, pdu)) if !is_early && self.is_ours(unit, &pdu) => {
                    return match self.ask.read_reply(&pdu) {
                        Ok(ReplyPdu::Data(data)) => Verdict::Data(data.to_vec()),
                        Ok(ReplyPdu::Exception(code)) => Verdict::Exception(code),
                        Err(_) => Verdict::NotYet,
                    };
                }
                Ok(_) => match overheard::first(&frame, Framing::Ascii) {
                    Some((_, stray)) => self.note(stray, counters),
                    None => counters.foreign_frames += 1,
                },
                Err(ascii::FrameError::Lrc { .. }) => {
                    counters.crc_errors += 1;
                    let ours = framed(self.unit, self.ask, self.framing);
                    // Colon, unit id and function; of the length nothing but the answer's own is told.
                    let same_head = frame.get(..5).is_some_and(|head| head.eq_ignore_ascii_case(&ours[..5]));
                    let long = frame.len() == reply_octets(self.ask, self.framing);
                    self.damaged = Some(same_head && long && !self.may_be_the_echo(frame.len()));
                }
                Err(_) => counters.noise_octets += frame.len() as u64,
            }
        }
        Verdict::NotYet
    }

    /// The answer has begun, or has come damaged: no need to wait for another beginning.
    pub(super) fn is_broken(&self) -> bool {
        match self.framing {
            Framing::Rtu => self.begun().is_some(),
            Framing::Ascii => {
                self.damaged.is_some() || self.octets.iter().skip(self.early).any(|octet| *octet == b':')
            }
        }
    }

    /// What has come is the beginning of an answer of this unit, as noise hardly ever is.
    pub(super) fn has_begun(&self) -> bool {
        match self.framing {
            Framing::Rtu => self.is_broken(),
            Framing::Ascii => {
                let begin = self.octets.iter().rposition(|octet| *octet == b':');
                let head = begin.and_then(|at| ascii::octets_of(self.octets.get(at + 1..at + 5)?).ok());
                head.is_some_and(|head| match head[..] {
                    [unit, function] => unit == self.unit && function & 0x7F == self.ask.function(),
                    _ => false,
                })
            }
        }
    }

    /// Where the answer may have begun, and its length: not in what came before our last octet had left.
    fn begun(&self) -> Option<(usize, usize)> {
        (self.early..self.octets.len()).find_map(|at| Some((at, self.expected_at(at)?)))
    }

    /// What has come behind the answer.
    pub(super) fn rest(self) -> Vec<u8> {
        self.octets
    }

    /// Nothing more comes: what was it?
    pub(super) fn conclude(self, counters: &mut BusCounters) -> Outcome {
        if self.framing == Framing::Ascii {
            return self.conclude_ascii(counters);
        }
        match self.begun() {
            Some((at, length)) if self.octets.len() >= at + length => {
                counters.crc_errors += 1;
                // Only octets that are exactly a frame are surely the answer, damaged. With more or
                // others around them (a damaged echo, say) the answer may be still to come.
                let whole = at == 0 && self.octets.len() == length && !self.may_be_the_echo(length);
                Outcome::Garbled { whole }
            }
            Some(_) => {
                counters.short_frames += 1;
                Outcome::Garbled { whole: false }
            }
            None if self.octets.is_empty() => Outcome::NoReply,
            None => {
                counters.noise_octets += self.octets.len() as u64;
                Outcome::Garbled { whole: false }
            }
        }
    }

    fn conclude_ascii(self, counters: &mut BusCounters) -> Outcome {
        if self.octets.contains(&b':') {
            counters.short_frames += 1;
            return Outcome::Garbled { whole: false };
        }
        counters.noise_octets += self.octets.len() as u64;
        match (self.damaged, self.octets.is_empty()) {
            // One of another length may be anybody's: the answer may be still to come.
            (Some(whole), nothing_else) => Outcome::Garbled { whole: whole && nothing_else },
            (None, true) => Outcome::NoReply,
            (None, false) => Outcome::Garbled { whole: false },
        }
    }
}

/// Whether our own frame could be taken for the answer to it.
fn looks_like_an_answer(sent: &[u8], ask: &Ask, framing: Framing) -> bool {
    let pdu = match framing {
        Framing::Rtu => rtu::unframe(sent).map(|(_, pdu)| pdu.to_vec()).ok(),
        Framing::Ascii => ascii::unframe(sent).map(|(_, pdu)| pdu).ok(),
    };
    pdu.is_none_or(|pdu| ask.read_reply(&pdu).is_ok())
}

/// Octets of the longest frame that can answer this.
pub(super) fn reply_octets(ask: &Ask, framing: Framing) -> usize {
    match framing {
        Framing::Rtu => rtu::OVERHEAD + ask.longest_reply(),
        Framing::Ascii => ascii::octets_for(ask.longest_reply()),
    }
}

/// Our question as it goes on the wire.
pub(super) fn framed(unit: u8, ask: &Ask, framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Rtu => rtu::frame(unit, &ask.pdu()),
        Framing::Ascii => ascii::frame(unit, &ask.pdu()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{ReadFunction, ReadRequest};

    fn ask(function: ReadFunction, address: u16, count: u16) -> Ask {
        Ask::Read(ReadRequest::new(function, address, count).unwrap())
    }

    fn heard(framing: Framing, ask: &Ask, pieces: &[&[u8]]) -> (Vec<Verdict>, BusCounters) {
        let (sent, mut counters) = (framed(1, ask, framing), BusCounters::default());
        let mut arrived = Arrived::new(1, ask, &sent, framing, EchoState::Unknown, false);
        let take = |piece: &&[u8]| arrived.take(piece, Mono(1), true, &mut counters);
        (pieces.iter().map(take).collect(), counters)
    }

    #[test]
    fn an_answer_that_begins_with_a_valid_frame_is_heard_in_one_piece_or_octet_by_octet() {
        // 241 in two registers: the checksum ends with zero, so that of the first eight octets is right too,
        // and they ask for a register of 0x0400.
        let (ask, answer) = (ask(ReadFunction::InputRegisters, 0, 2), rtu::frame(1, &[4, 4, 0, 0, 0, 241]));
        assert_eq!(answer[8], 0);
        let octets: Vec<&[u8]> = answer.chunks(1).collect();
        for pieces in [vec![answer.as_slice()], octets, vec![&answer[..8], &answer[8..]]] {
            let (verdicts, counters) = heard(Framing::Rtu, &ask, &pieces);
            assert_eq!(verdicts.last(), Some(&Verdict::Data(vec![0, 0, 0, 241])), "{pieces:?}");
            assert_eq!(counters, BusCounters::default());
        }
    }

    #[test]
    fn what_came_while_our_octets_were_leaving_is_no_part_of_an_answer() {
        for framing in [Framing::Rtu, Framing::Ascii] {
            let ask = ask(ReadFunction::HoldingRegisters, 0x0200, 1);
            let (sent, mut counters) = (framed(1, &ask, framing), BusCounters::default());
            let mut arrived = Arrived::new(1, &ask, &sent, framing, EchoState::Unknown, false);
            // Its first octets are those of our echo too, so they are kept.
            let answer = match framing {
                Framing::Rtu => rtu::frame(1, &[3, 2, 0, 42]),
                Framing::Ascii => ascii::frame(1, &[3, 2, 0, 42]),
            };
            let (early, late) = answer.split_at(4);
            assert_eq!(arrived.take(early, Mono(1), false, &mut counters), Verdict::NotYet);
            assert_eq!(arrived.take(late, Mono(2), true, &mut counters), Verdict::NotYet, "{framing:?}");
            assert_eq!(arrived.take(&answer, Mono(3), true, &mut counters), Verdict::Data(vec![0, 42]));
        }
    }

    #[test]
    fn an_echo_that_comes_in_pieces_does_not_make_a_device_quick() {
        let ask = ask(ReadFunction::HoldingRegisters, 0, 1);
        let (sent, mut counters) = (framed(1, &ask, Framing::Rtu), BusCounters::default());
        let mut arrived = Arrived::new(1, &ask, &sent, Framing::Rtu, EchoState::Unknown, false);
        // A USB adapter gives what it has every 16 ms.
        arrived.take(&sent[..5], Mono(1), true, &mut counters);
        arrived.take(&sent[5..], Mono(2), true, &mut counters);
        assert_eq!(arrived.first_heard(), None);
        arrived.take(&rtu::frame(1, &[3, 2, 0, 42])[..3], Mono(9), true, &mut counters);
        assert_eq!(arrived.first_heard(), Some(Mono(9)));
    }

    #[test]
    fn an_echo_with_a_small_letter_is_an_echo() {
        // Registers from 0x030A on: the question is an answer of three octets as well.
        let ask = ask(ReadFunction::Coils, 0x030A, 24);
        let echo = framed(1, &ask, Framing::Ascii);
        let (verdicts, counters) = heard(Framing::Ascii, &ask, &[&echo.to_ascii_lowercase()]);
        assert_eq!((verdicts, counters.echoes), (vec![Verdict::NotYet], 1));
    }

    /// What comes of a damaged frame and nothing else.
    fn concluded(framing: Framing, ask: &Ask, echo: EchoState, octets: &[u8]) -> Outcome {
        let (sent, mut counters) = (framed(1, ask, framing), BusCounters::default());
        let mut arrived = Arrived::new(1, ask, &sent, framing, echo, false);
        arrived.take(octets, Mono(1), true, &mut counters);
        arrived.conclude(&mut counters)
    }

    #[test]
    fn a_damaged_frame_is_the_answer_only_where_it_can_be_nothing_else() {
        let hit = |mut frame: Vec<u8>| {
            let at = frame.len() - 4;
            frame[at] ^= 1;
            frame
        };
        let (own, others) = (ascii::frame(1, &[3, 2, 0, 42]), ascii::frame(2, &[3, 2, 0, 42]));
        let (holding, coils) =
            (ask(ReadFunction::HoldingRegisters, 0, 1), ask(ReadFunction::Coils, 0x300, 24));
        for (framing, ask, echo, frame, whole) in [
            (Framing::Ascii, holding, EchoState::Unknown, own, true),
            // The late answer of another unit: that of this one may be still to come.
            (Framing::Ascii, holding, EchoState::Unknown, others, false),
            (Framing::Rtu, coils, EchoState::Absent, rtu::frame(1, &[1, 3, 0, 0, 24]), true),
            // As long as our own frame: it may be our echo.
            (Framing::Rtu, coils, EchoState::Unknown, rtu::frame(1, &[1, 3, 0, 0, 24]), false),
            (Framing::Ascii, coils, EchoState::Heard, ascii::frame(1, &[1, 3, 0, 0, 24]), false),
        ] {
            let outcome = concluded(framing, &ask, echo, &hit(frame));
            assert_eq!(outcome, Outcome::Garbled { whole }, "{framing:?} {ask:?} {echo:?}");
        }
    }

    #[test]
    fn zeros_behind_an_answer_are_noise() {
        // A frame's checksum stays right with zeros behind it: eight octets of these are a question too.
        let ask = ask(ReadFunction::HoldingRegisters, 0, 1);
        let octets = [rtu::frame(1, &[3, 2, 0, 42]), vec![0, 0]].concat();
        let (verdicts, counters) = heard(Framing::Rtu, &ask, &[&octets]);
        assert_eq!((verdicts, counters.foreign_frames), (vec![Verdict::Data(vec![0, 42])], 0));
    }

    #[test]
    fn octets_from_before_our_last_one_left_make_no_whole_answer() {
        // The beginning of our echo, kept from before our last octet left, and three octets of noise.
        let ask = ask(ReadFunction::HoldingRegisters, 0x0200, 1);
        let (sent, mut counters) = (framed(1, &ask, Framing::Rtu), BusCounters::default());
        let mut arrived = Arrived::new(1, &ask, &sent, Framing::Rtu, EchoState::Unknown, false);
        arrived.take(&sent[..4], Mono(1), false, &mut counters);
        arrived.take(&[0xFE, 0xFD, 0xFC], Mono(2), true, &mut counters);
        assert_eq!(arrived.conclude(&mut counters), Outcome::Garbled { whole: false });
    }
}
