//! The answer found among what arrives: echo stripped, foreign frames told apart, noise passed over.

use super::transact::Outcome;
use crate::modbus::rtu::{self, OVERHEAD};
use crate::modbus::{ReadFunction, ReadRequest, ReplyPdu, decode_reply};
use crate::model::Mono;
use crate::model::status::BusCounters;

/// Unit id, function, exception code, checksum.
const EXCEPTION_FRAME: usize = 5;
/// More than this is never held: a babbling line must not fill memory.
const MOST: usize = 1024;

/// Whether the answer is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Data(Vec<u8>),
    Exception(u8),
    NotYet,
}

/// What has arrived for one question.
pub(super) struct Arrived<'a> {
    unit: u8,
    request: &'a ReadRequest,
    sent: &'a [u8],
    octets: Vec<u8>,
    last_heard: Option<Mono>,
    echo_possible: bool,
    /// A refusal carries no length. While an older question of this unit and function may still be
    /// answered, a refusal may be that one's: it is not believed.
    refusal_in_doubt: bool,
}

impl<'a> Arrived<'a> {
    pub(super) fn new(
        unit: u8,
        request: &'a ReadRequest,
        sent: &'a [u8],
        refusal_in_doubt: bool,
    ) -> Arrived<'a> {
        let octets = Vec::with_capacity(OVERHEAD + request.reply_pdu_octets());
        Arrived { unit, request, sent, octets, last_heard: None, echo_possible: true, refusal_in_doubt }
    }

    pub(super) fn last_heard(&self) -> Option<Mono> {
        self.last_heard
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
        self.octets.extend_from_slice(octets);
        self.strip_echo(counters);
        if !all_left {
            self.forget_all_but_echo(counters);
            return Verdict::NotYet;
        }
        let verdict = self.find(counters);
        if self.octets.len() > MOST {
            let surplus = self.octets.len() - MOST;
            counters.noise_octets += surplus as u64;
            self.octets.drain(..surplus);
        }
        verdict
    }

    /// A two-wire adapter that hears itself gives our own frame back, whole and first.
    fn strip_echo(&mut self, counters: &mut BusCounters) {
        if self.echo_possible && self.octets.starts_with(self.sent) {
            self.octets.drain(..self.sent.len());
            self.echo_possible = false;
            counters.echoes += 1;
        }
    }

    /// Before our last octet has left nothing can be the answer; only the beginning of an echo may stay.
    fn forget_all_but_echo(&mut self, counters: &mut BusCounters) {
        if !(self.echo_possible && self.sent.starts_with(&self.octets)) {
            counters.noise_octets += self.octets.len() as u64;
            self.octets.clear();
        }
    }

    /// Looks for the answer at every place, since noise may stand before it.
    fn find(&mut self, counters: &mut BusCounters) -> Verdict {
        self.drop_foreign_frames(counters);
        for at in 0..self.octets.len() {
            let Some(length) = self.expected_at(at) else { continue };
            let Some(frame) = self.octets.get(at..at + length) else { continue };
            let Ok((_, pdu)) = rtu::unframe(frame) else { continue };
            let verdict = match decode_reply(self.request, pdu) {
                Ok(ReplyPdu::Data(data)) => Verdict::Data(data.to_vec()),
                Ok(ReplyPdu::Exception(code)) => Verdict::Exception(code),
                Err(_) => continue,
            };
            // Noise before the answer, and whatever follows it, belong to no frame of ours.
            counters.noise_octets += (self.octets.len() - length) as u64;
            return verdict;
        }
        Verdict::NotYet
    }

    /// The length of the answer's frame if one could begin here.
    fn expected_at(&self, at: usize) -> Option<usize> {
        let head = self.octets.get(at..)?;
        let function = self.request.function().code();
        match head {
            [unit, code, ..] if *unit == self.unit && *code == function | 0x80 && !self.refusal_in_doubt => {
                Some(EXCEPTION_FRAME)
            }
            [unit, code, count, ..]
                if *unit == self.unit
                    && *code == function
                    && usize::from(*count) == self.request.reply_data_octets() =>
            {
                Some(OVERHEAD + self.request.reply_pdu_octets())
            }
            _ => None,
        }
    }

    /// A whole valid frame at the front that is not the answer: another unit's, a late one's.
    fn drop_foreign_frames(&mut self, counters: &mut BusCounters) {
        while let Some(length) = self.foreign_frame() {
            self.octets.drain(..length);
            counters.foreign_frames += 1;
        }
    }

    fn foreign_frame(&self) -> Option<usize> {
        let [_, function, third, ..] = self.octets[..] else { return None };
        let length = if function & 0x80 != 0 {
            EXCEPTION_FRAME
        } else {
            ReadFunction::from_code(function)?;
            OVERHEAD + 2 + usize::from(third)
        };
        let (unit, pdu) = rtu::unframe(self.octets.get(..length)?).ok()?;
        let ours = unit == self.unit
            && match decode_reply(self.request, pdu) {
                Ok(ReplyPdu::Data(_)) => true,
                Ok(ReplyPdu::Exception(_)) => !self.refusal_in_doubt,
                Err(_) => false,
            };
        (!ours).then_some(length)
    }

    /// The answer has begun, or has come damaged: no need to wait for another beginning.
    pub(super) fn is_broken(&self) -> bool {
        (0..self.octets.len()).any(|at| self.expected_at(at).is_some())
    }

    /// Nothing more comes: what was it?
    pub(super) fn conclude(self, counters: &mut BusCounters) -> Outcome {
        let begun = (0..self.octets.len()).find_map(|at| Some((at, self.expected_at(at)?)));
        match begun {
            Some((at, length)) if self.octets.len() >= at + length => {
                counters.crc_errors += 1;
                // Only octets that are exactly a frame are surely the answer, damaged. With more or
                // others around them (a damaged echo, say) the answer may be still to come.
                Outcome::Garbled { whole: at == 0 && self.octets.len() == length }
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
}
