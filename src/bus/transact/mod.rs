//! One question, one answer: the rules by which a reply is known to belong to the request.
//!
//! A reply on a serial line carries no transaction number. These rules take its place:
//! 1. Before sending, the line is silent for 3.5 characters and what lies there is thrown away.
//! 2. What arrives before our own last octet has left can't be the answer: it is our echo, or noise. It
//!    has left at the earlier of *written + n characters* and an empty output queue (a peer on an unpaced
//!    pseudo-terminal answers sooner than a wire could). A frame equal to our own is our echo unless this
//!    line is known to have none: an echo confirms nothing.
//! 3. Unit, function, byte count and checksum must be those of the answer to exactly this request.
//! 4. After silence, or a frame that did not come whole, an answer may still be on its way. The same
//!    unit, function and length are not asked again until it can't come any more; other questions are,
//!    for rule 3 tells their answers apart. A refusal has no length to tell it by: none of this unit and
//!    function is believed in that time. Closing and opening the port changes nothing of this.
//! 5. The answer counts as soon as it is complete. In the silence that follows anyway a second answer to
//!    the same question shows: then two devices share a unit id, and neither is believed.

mod listen;
mod words;

pub use words::{Manners, Notes, Outcome, Tempo, Trace};

use super::capture::Tap;
use super::frames::{Arrived, EchoState, Verdict, framed, reply_octets};
use super::link::Link;
use super::suspects::Suspects;
use crate::modbus::{Ask, Framing, ascii, rtu};
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;

/// A whole reply may take so much longer than the wire needs, per octet, …
const DRIBBLE: Duration = Duration::from_millis(25);
/// … and in all: a line that babbles must not hold up the others, nor the stop. …
const LONGEST_DRIBBLE: Duration = Duration::from_secs(1);
/// … What is the answer's beginning is waited for longer: 250 octets, each some milliseconds after the other.
const LONGEST_DRIBBLE_OF_THE_ANSWER: Duration = Duration::from_secs(6);
/// A line on which it is never silent is spoken on all the same after this.
const LONGEST_WAIT_FOR_SILENCE: Duration = Duration::from_secs(1);
/// How much longer than the wire needs the driver may take to accept a request.
const WRITE_PATIENCE: Duration = Duration::from_millis(500);
/// No frame is longer; what is more is read bit by bit.
const BUFFER: usize = 520;
/// Then the clock, and the stop, are looked at again.
const READS_IN_A_ROW: usize = 16;
/// On a line that babbles octets are not read one by one as they come: this rest between two looks keeps
/// the processor free.
const REST: Duration = Duration::from_millis(10);

/// The last question that was answered, to know a second answer by.
#[derive(Debug, Clone)]
struct Answered {
    unit: u8,
    ask: Ask,
    data: Vec<u8>,
    /// A second answer comes no later than this.
    until: Mono,
}

/// The line's conversation: silence kept, answers told from what is none.
#[derive(Debug)]
pub struct Conversation {
    tempo: Tempo,
    /// When the line was last heard or used.
    last_activity: Mono,
    /// The last device's own wish for silence after its reply.
    last_gap: Duration,
    suspects: Suspects,
    echo: EchoState,
    answered: Option<Answered>,
    /// Octets that nobody asked for, since the line was last silent, …
    overheard: Vec<u8>,
    /// … and when the first of them came.
    overheard_since: Mono,
    notes: Notes,
    tap: Tap,
}

impl Conversation {
    pub fn new(tempo: impl Into<Tempo>, now: Mono) -> Conversation {
        Conversation {
            tempo: tempo.into(),
            last_activity: now,
            last_gap: Duration::ZERO,
            suspects: Suspects::default(),
            echo: EchoState::Unknown,
            answered: None,
            overheard: Vec::new(),
            overheard_since: now,
            notes: Notes::default(),
            tap: Tap::none(),
        }
    }

    /// Puts what goes over the line on record.
    #[must_use]
    pub fn with_tap(self, tap: Tap) -> Conversation {
        Conversation { tap, ..self }
    }

    /// The port was opened anew: another adapter may have an echo or none. What may still be answered late
    /// is not forgotten.
    pub fn reopened(&mut self, now: Mono) {
        self.echo = EchoState::Unknown;
        self.answered = None;
        self.overheard.clear();
        self.last_activity = self.last_activity.max(now);
    }

    /// Until when this question must wait because a late answer to the same one may still come.
    pub fn blocked_until(&self, unit: u8, ask: impl Into<Ask>, now: Mono) -> Option<Mono> {
        self.suspects.blocked_until(unit, &ask.into(), now)
    }

    /// What was noticed since this was asked last.
    pub fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    fn record<L: Link>(&self, link: &L, hand_over: impl FnOnce(&Tap, i64)) {
        if self.tap.records() {
            hand_over(&self.tap, link.utc_nanos());
        }
    }

    /// Asks and waits for the answer. An error means that the port is gone.
    pub fn transact<L: Link>(
        &mut self,
        link: &mut L,
        unit: u8,
        ask: impl Into<Ask>,
        manners: Manners,
        counters: &mut BusCounters,
    ) -> io::Result<(Outcome, Trace)> {
        let ask = ask.into();
        if let Some(until) = self.suspects.blocked_until(unit, &ask, link.now()) {
            // The caller should have asked something else meanwhile; to be right comes first.
            self.listen_until(link, until, counters)?;
        }
        self.suspects.forget_old(link.now());
        self.wait_for_silence(link, manners.min_gap, counters)?;
        let came = self.put(link, unit, &ask, manners, counters);
        match &came {
            Ok((outcome, trace)) => {
                self.last_gap = manners.min_gap;
                self.draw_conclusions(unit, &ask, outcome, trace, manners);
                count(outcome, counters);
            }
            // The port is gone, the question may not be: its answer may come through the next one. Nor is it known
            // which of the two devices was heard last.
            Err(_) => {
                self.last_gap = self.last_gap.max(manners.min_gap);
                self.suspect(unit, &ask, link.now().max(self.last_activity), manners);
            }
        }
        came
    }

    /// Sends the question, now that the line is silent, and hears what comes.
    fn put<L: Link>(
        &mut self,
        link: &mut L,
        unit: u8,
        ask: &Ask,
        manners: Manners,
        counters: &mut BusCounters,
    ) -> io::Result<(Outcome, Trace)> {
        let frame = framed(unit, ask, self.tempo.framing);
        let sent = link.now();
        self.send(link, &frame)?;
        counters.requests += 1;
        // A driver that took the octets slowly has been sending them meanwhile.
        let left = sent.plus(self.tempo.pace.octets(frame.len())).max(link.now());
        self.last_activity = left;
        let mut trace = Trace { sent, last_octet_left: left, first_heard: None, ended: left };
        let in_doubt = self.suspects.refusal_in_doubt(unit, ask);
        let arrived = Arrived::new(unit, ask, &frame, self.tempo.framing, self.echo, in_doubt);
        let longest = left.plus(manners.longest);
        let outcome = self.await_answer(link, arrived, ask, &mut trace, manners, counters)?;
        let outcome = self.look_behind(link, unit, ask, outcome, longest, counters)?;
        trace.ended = link.now();
        Ok((outcome, trace))
    }

    fn suspect(&mut self, unit: u8, ask: &Ask, asked: Mono, manners: Manners) {
        let reply = self.tempo.pace.octets(match self.tempo.framing {
            Framing::Rtu => rtu::LONGEST,
            Framing::Ascii => ascii::LONGEST,
        });
        self.suspects.add(unit, ask, asked, manners.longest, reply);
    }

    fn draw_conclusions(&mut self, unit: u8, ask: &Ask, outcome: &Outcome, trace: &Trace, manners: Manners) {
        match outcome {
            Outcome::NoReply | Outcome::Garbled { whole: false } => {
                self.suspect(unit, ask, trace.last_octet_left, manners);
            }
            // A word of ours that came back stands behind all that was asked before.
            Outcome::Data(_) if matches!(ask, Ask::Echo(_)) => self.suspects.forgive(unit),
            Outcome::Data(_)
            | Outcome::Exception(_)
            | Outcome::TwoAnswers
            | Outcome::Garbled { whole: true } => {}
        }
    }

    /// Rule 1: silent for 3.5 characters, or as long as a meter asks for, and nothing left over.
    fn wait_for_silence<L: Link>(
        &mut self,
        link: &mut L,
        min_gap: Duration,
        counters: &mut BusCounters,
    ) -> io::Result<()> {
        let gap = self.tempo.silence.max(min_gap).max(self.last_gap);
        // A meter's own wish for silence, however long, is kept; only babble is not waited out.
        let give_up = link.now().max(self.last_activity).plus(gap).plus(LONGEST_WAIT_FOR_SILENCE);
        let mut heard = 0;
        loop {
            heard += self.drain(link, counters)?;
            let quiet = self.last_activity.plus(gap);
            if link.now() >= quiet || link.now() >= give_up {
                self.notes.babble |= link.now() < quiet;
                self.listen_in(link.now(), counters);
                return link.discard_input();
            }
            if heard > BUFFER {
                link.pause(link.now().plus(REST).min(give_up))?;
            } else {
                link.wait_readable(quiet.min(give_up))?;
            }
        }
    }

    fn send<L: Link>(&self, link: &mut L, frame: &[u8]) -> io::Result<()> {
        self.record(link, |tap, at| tap.sent(at, frame));
        let give_up = link.now().plus(self.tempo.pace.octets(frame.len())).plus(WRITE_PATIENCE);
        let mut rest = frame;
        while !rest.is_empty() {
            let taken = link.write(rest)?;
            rest = &rest[taken.min(rest.len())..];
            if taken == 0 {
                if link.now() >= give_up {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the port does not take octets"));
                }
                link.wait_writable(give_up)?;
            }
        }
        Ok(())
    }

    fn await_answer<L: Link>(
        &mut self,
        link: &mut L,
        mut arrived: Arrived<'_>,
        ask: &Ask,
        trace: &mut Trace,
        manners: Manners,
        counters: &mut BusCounters,
    ) -> io::Result<Outcome> {
        let mut buffer = [0; BUFFER];
        let mut all_left = link.output_is_empty();
        let first_by = trace.last_octet_left.plus(manners.timeout);
        let outcome = 'answer: loop {
            let heard = arrived.last_heard();
            let gap_ends = heard.map(|at| at.plus(self.tempo.frame_gap).plus(self.tempo.pace.octets(2)));
            let now = link.now();
            let whole_by = self.whole_by(ask, first_by, arrived.has_begun() && !arrived.is_babble());
            let frame_ended = gap_ends.is_none_or(|ends| now >= ends);
            if frame_ended && (arrived.is_broken() || now >= first_by) || now >= whole_by {
                break None;
            }
            let until = match gap_ends {
                Some(ends) if arrived.is_broken() => ends,
                Some(ends) => ends.max(first_by),
                None => first_by,
            };
            if arrived.is_babble() {
                link.pause(now.plus(REST).min(whole_by))?;
            } else if !link.wait_readable(until.min(whole_by))? {
                continue;
            }
            all_left = all_left || link.now() >= trace.last_octet_left || link.output_is_empty();
            for _ in 0..READS_IN_A_ROW {
                let Some(n) = link.read(&mut buffer)? else { break };
                self.record(link, |tap, at| tap.heard(at, &buffer[..n]));
                let now = link.now();
                self.last_activity = self.last_activity.max(now);
                match arrived.take(&buffer[..n], now, all_left, counters) {
                    Verdict::Data(data) => break 'answer Some(Outcome::Data(data)),
                    Verdict::Exception(code) => break 'answer Some(Outcome::Exception(code)),
                    Verdict::NotYet => {}
                }
            }
        };
        trace.first_heard = arrived.first_heard();
        self.take_over(&mut arrived, outcome.is_some(), link.now());
        match outcome {
            Some(outcome) => {
                (self.overheard, self.overheard_since) = (arrived.rest(), self.last_activity);
                Ok(outcome)
            }
            None => Ok(arrived.conclude(counters)),
        }
    }

    /// By when the reply must be complete.
    fn whole_by(&self, ask: &Ask, first_by: Mono, has_begun: bool) -> Mono {
        let reply = reply_octets(ask, self.tempo.framing);
        let octets = u32::try_from(reply).unwrap_or(u32::MAX);
        let longest = if has_begun { LONGEST_DRIBBLE_OF_THE_ANSWER } else { LONGEST_DRIBBLE };
        let dribble = DRIBBLE.saturating_mul(octets).min(longest);
        first_by.plus(self.tempo.pace.octets(reply)).plus(dribble)
    }

    /// What the wait for an answer has shown besides it.
    fn take_over(&mut self, arrived: &mut Arrived<'_>, answered: bool, now: Mono) {
        if answered && self.tempo.silence.is_zero() {
            // How long our octets take on a device server's wire is a guess: the answer shows that they have left.
            self.last_activity = now;
        }
        self.notes.babble |= arrived.is_babble();
        self.notes.echo |= arrived.echoed;
        self.echo = match (arrived.echoed, answered, self.echo) {
            (true, _, _) => EchoState::Heard,
            (false, true, EchoState::Unknown) if arrived.is_alone => EchoState::Absent,
            (false, _, before) => before,
        };
        for stray in std::mem::take(&mut arrived.strays) {
            self.judge(stray, None, now);
        }
    }
}

fn count(outcome: &Outcome, counters: &mut BusCounters) {
    match outcome {
        Outcome::Data(_) | Outcome::TwoAnswers => counters.replies += 1,
        Outcome::Exception(_) => {
            counters.replies += 1;
            counters.exceptions += 1;
        }
        Outcome::NoReply => counters.timeouts += 1,
        Outcome::Garbled { .. } => {}
    }
}
