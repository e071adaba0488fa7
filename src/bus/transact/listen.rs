//! What is heard besides answers: while nothing is asked, before a question, and in the silence behind an answer.

use super::{Answered, BUFFER, Conversation, LONGEST_WAIT_FOR_SILENCE, Outcome, READS_IN_A_ROW, REST};
use crate::bus::frames::reply_octets;
use crate::bus::link::Link;
use crate::bus::overheard::{self, Stray, StrayKind};
use crate::modbus::{Ask, Framing, ReplyPdu, ascii, rtu};
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::io;

/// Octets that nobody asked for are looked through for frames in pieces of this size.
const MOST_OVERHEARD: usize = 512;
/// Strays remembered between two looks at the notes.
const MOST_NOTES: usize = 16;

impl Conversation {
    /// Reads what nobody asked for: how many octets.
    pub(super) fn drain<L: Link>(&mut self, link: &mut L, counters: &mut BusCounters) -> io::Result<usize> {
        let (mut buffer, mut heard) = ([0; BUFFER], 0);
        // Not for ever: a peer that is not paced can write faster than we read.
        for _ in 0..READS_IN_A_ROW {
            let Some(n) = link.read(&mut buffer)? else { break };
            self.record(link, |tap, at| tap.heard(at, &buffer[..n]));
            let now = link.now();
            if now.since(self.last_activity) > self.tempo.frame_gap {
                self.listen_in(now, counters);
            }
            heard += n;
            counters.unsolicited_octets += n as u64;
            self.notes.idle_octets += n as u64;
            if self.overheard.is_empty() {
                self.overheard_since = now;
            }
            self.overheard.extend_from_slice(&buffer[..n]);
            if self.overheard.len() > MOST_OVERHEARD {
                self.listen_in(now, counters);
            }
            self.last_activity = self.last_activity.max(now);
        }
        Ok(heard)
    }

    /// Looks through what nobody asked for: late answers, second answers, other masters.
    pub(super) fn listen_in(&mut self, now: Mono, counters: &mut BusCounters) {
        let octets = std::mem::take(&mut self.overheard);
        let mut rest = octets.as_slice();
        while let Some((range, stray)) = overheard::first(rest, self.tempo.framing) {
            counters.foreign_frames += 1;
            self.judge(stray, rest.get(range.clone()), now);
            rest = rest.get(range.end..).unwrap_or_default();
        }
    }

    pub(super) fn judge(&mut self, stray: Stray, frame: Option<&[u8]>, now: Mono) {
        if let Some(late) = self.suspects.late(&stray, now) {
            if self.notes.late.len() < MOST_NOTES {
                self.notes.late.push(late);
            }
        } else if stray.kind == StrayKind::Request {
            // Another master: what is answered from now on may be answered to it.
            self.answered = None;
        } else if let (Some(answered), Some(frame)) = (&self.answered, frame)
            && answered.unit == stray.unit
            // Not when it is looked at: what follows it may keep the line busy for long.
            && self.overheard_since <= answered.until
            && let Some(data) = self.answer_in(frame, &answered.ask)
            && data != answered.data
        {
            self.notes.second_answer = Some(stray.unit);
        }
        if self.notes.strays.len() < MOST_NOTES {
            self.notes.strays.push(stray);
        }
    }

    /// The data of a frame that answers this question.
    fn answer_in(&self, frame: &[u8], ask: &Ask) -> Option<Vec<u8>> {
        let pdu = match self.tempo.framing {
            Framing::Rtu => rtu::unframe(frame).ok()?.1.to_vec(),
            Framing::Ascii => ascii::unframe(frame).ok()?.1,
        };
        match ask.read_reply(&pdu) {
            Ok(ReplyPdu::Data(data)) => Some(data.to_vec()),
            Ok(ReplyPdu::Exception(_)) | Err(_) => None,
        }
    }

    /// Listens while there is nothing to ask, so that a port that vanishes is noticed at once.
    pub fn listen_until<L: Link>(
        &mut self,
        link: &mut L,
        until: Mono,
        counters: &mut BusCounters,
    ) -> io::Result<()> {
        let mut heard = 0;
        while link.now() < until {
            if heard > BUFFER {
                link.pause(link.now().plus(REST).min(until))?;
                heard = self.drain(link, counters)?;
            } else if link.wait_readable(until)? {
                heard += self.drain(link, counters)?;
            }
        }
        if link.now().since(self.last_activity) >= self.tempo.silence {
            self.listen_in(link.now(), counters);
        }
        Ok(())
    }

    /// Rule 5: in the silence behind an answer shows whether another one follows.
    pub(super) fn look_behind<L: Link>(
        &mut self,
        link: &mut L,
        unit: u8,
        ask: &Ask,
        outcome: Outcome,
        longest: Mono,
        counters: &mut BusCounters,
    ) -> io::Result<Outcome> {
        self.answered = None;
        let Outcome::Data(data) = outcome else {
            self.overheard.clear();
            return Ok(outcome);
        };
        // What came in the same read as the answer was heard with it.
        counters.noise_octets += self.overheard.len() as u64;
        let another = self.tempo.pace.octets(reply_octets(ask, self.tempo.framing));
        // Where noise began before it an answer is waited for longer: another is then at least as late.
        let until = longest.max(self.last_activity).plus(another);
        self.answered = Some(Answered { unit, ask: *ask, data: data.clone(), until });
        let mut heard = 0;
        // A line on which it is never silent is not waited for, however slow its octets.
        let give_up = link.now().plus(LONGEST_WAIT_FOR_SILENCE.max(another.saturating_mul(2)));
        loop {
            let until = self.last_activity.plus(self.tempo.silence).min(give_up);
            if link.now() >= until || heard > BUFFER {
                break;
            }
            if link.wait_readable(until)? {
                let before = counters.unsolicited_octets;
                heard += self.drain(link, counters)?;
                counters.noise_octets += counters.unsolicited_octets - before;
                counters.unsolicited_octets = before;
            }
        }
        self.listen_in(link.now(), counters);
        let doubtful = self.notes.second_answer == Some(unit);
        Ok(if doubtful { Outcome::TwoAnswers } else { Outcome::Data(data) })
    }
}
