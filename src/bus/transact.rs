//! One question, one answer: the rules by which a reply is known to belong to the request.
//!
//! A Modbus RTU reply carries no transaction number. These rules take its place:
//! 1. Before sending, the line is silent for 3.5 characters and what lies there is thrown away.
//! 2. What arrives before our own last octet has left can't be the answer: it is our echo, or noise. It
//!    has left at the earlier of *written + n characters* and an empty output queue (a peer on an unpaced
//!    pseudo-terminal answers sooner than a wire could).
//! 3. Unit, function, byte count and checksum must be those of the answer to exactly this request.
//! 4. After silence, or a frame that did not come whole, an answer may still be on its way. The same
//!    unit, function and length are not asked again until it can't come any more; other questions are,
//!    for rule 3 tells their answers apart. A refusal has no length to tell it by: none of this unit and
//!    function is believed in that time.
//! 5. The answer counts as soon as it is complete.

use super::frames::{Arrived, Verdict};
use super::link::Link;
use crate::modbus::ReadRequest;
use crate::modbus::rtu::{self, Pace};
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;

/// Octets of one frame may come so far apart: USB adapters deliver every 16 ms, slow meters pause.
const FRAME_GAP: Duration = Duration::from_millis(50);
/// A whole reply may take so much longer than the wire needs, per octet, …
const DRIBBLE: Duration = Duration::from_millis(25);
/// … and in all: a line that babbles must not hold up the others, nor the stop.
const LONGEST_DRIBBLE: Duration = Duration::from_secs(1);
/// After no answer the same question waits at least this long for a late one to pass.
const SHORTEST_SUSPICION: Duration = Duration::from_secs(1);
/// … or so many times the response timeout, whichever is longer.
const SUSPICION_TIMEOUTS: u32 = 3;
/// A line on which it is never silent is spoken on all the same after this.
const LONGEST_WAIT_FOR_SILENCE: Duration = Duration::from_secs(1);
/// How much longer than the wire needs the driver may take to accept a request.
const WRITE_PATIENCE: Duration = Duration::from_millis(500);
/// No frame is longer; what is more is read bit by bit.
const BUFFER: usize = 512;
/// Then the clock, and the stop, are looked at again.
const READS_IN_A_ROW: usize = 64;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The data of the reply.
    Data(Vec<u8>),
    Exception(u8),
    NoReply,
    /// Octets came, but not the answer; `whole` when they were as many as an answer has, so that
    /// nothing more is on its way and the question may be asked again at once.
    Garbled {
        whole: bool,
    },
}

/// When what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trace {
    pub sent: Mono,
    pub last_octet_left: Mono,
    pub ended: Mono,
}

/// How patiently a device is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// From our last octet to the reply's first.
    pub timeout: Duration,
    /// Silence before the request, beyond 3.5 characters.
    pub min_gap: Duration,
}

/// A question that may still be answered late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspect {
    unit: u8,
    request: (u8, usize),
    until: Mono,
}

/// The line's conversation: silence kept, answers told from what is none.
#[derive(Debug)]
pub struct Conversation {
    pace: Pace,
    /// When the line was last heard or used.
    last_activity: Mono,
    /// The last device's own wish for silence after its reply.
    last_gap: Duration,
    suspects: Vec<Suspect>,
}

impl Conversation {
    pub fn new(pace: Pace, now: Mono) -> Conversation {
        Conversation { pace, last_activity: now, last_gap: Duration::ZERO, suspects: Vec::new() }
    }

    /// Until when this question must wait because a late answer to the same one may still come.
    pub fn blocked_until(&self, unit: u8, request: &ReadRequest, now: Mono) -> Option<Mono> {
        let key = triple(request);
        let same = self.suspects.iter().filter(|suspect| suspect.unit == unit && suspect.request == key);
        same.map(|suspect| suspect.until).max().filter(|until| *until > now)
    }

    /// Whether a refusal that comes now may be the late one of an older question, of whatever length.
    fn refusal_in_doubt(&self, unit: u8, request: &ReadRequest) -> bool {
        let function = request.function().code();
        self.suspects.iter().any(|suspect| suspect.unit == unit && suspect.request.0 == function)
    }

    /// Asks and waits for the answer. An error means that the port is gone.
    pub fn transact<L: Link>(
        &mut self,
        link: &mut L,
        unit: u8,
        request: &ReadRequest,
        manners: Manners,
        counters: &mut BusCounters,
    ) -> io::Result<(Outcome, Trace)> {
        if let Some(until) = self.blocked_until(unit, request, link.now()) {
            // The caller should have asked something else meanwhile; to be right comes first.
            self.listen_until(link, until, counters)?;
        }
        self.suspects.retain(|suspect| suspect.until > link.now());
        self.wait_for_silence(link, manners.min_gap, counters)?;
        let frame = rtu::frame(unit, &request.pdu());
        let sent = link.now();
        self.send(link, &frame)?;
        counters.requests += 1;
        // A driver that took the octets slowly has been sending them meanwhile.
        let left = sent.plus(self.pace.octets(frame.len())).max(link.now());
        self.last_activity = left;
        let mut trace = Trace { sent, last_octet_left: left, ended: left };
        let outcome = self.await_answer(link, unit, request, &frame, &trace, manners, counters)?;
        trace.ended = link.now();
        self.last_gap = manners.min_gap;
        self.suspect(unit, request, &outcome, trace, manners.timeout);
        count(&outcome, counters);
        Ok((outcome, trace))
    }

    fn suspect(
        &mut self,
        unit: u8,
        request: &ReadRequest,
        outcome: &Outcome,
        trace: Trace,
        timeout: Duration,
    ) {
        let may_still_come = matches!(outcome, Outcome::NoReply | Outcome::Garbled { whole: false });
        if may_still_come {
            let wait = SHORTEST_SUSPICION.max(timeout.saturating_mul(SUSPICION_TIMEOUTS));
            let reply = self.pace.octets(rtu::LONGEST);
            let until = trace.last_octet_left.plus(wait).plus(reply);
            self.suspects.push(Suspect { unit, request: triple(request), until });
        }
    }

    /// Rule 1: silent for 3.5 characters, or as long as a meter asks for, and nothing left over.
    fn wait_for_silence<L: Link>(
        &mut self,
        link: &mut L,
        min_gap: Duration,
        counters: &mut BusCounters,
    ) -> io::Result<()> {
        let gap = self.pace.silence().max(min_gap).max(self.last_gap);
        // A meter's own wish for silence, however long, is kept; only babble is not waited out.
        let give_up = link.now().max(self.last_activity).plus(gap).plus(LONGEST_WAIT_FOR_SILENCE);
        loop {
            self.drain(link, counters)?;
            let quiet = self.last_activity.plus(gap);
            if link.now() >= quiet || link.now() >= give_up {
                link.discard_input()?;
                return Ok(());
            }
            link.wait_readable(quiet.min(give_up))?;
        }
    }

    /// Reads what nobody asked for.
    fn drain<L: Link>(&mut self, link: &mut L, counters: &mut BusCounters) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        // Not for ever: a peer that is not paced can write faster than we read.
        for _ in 0..READS_IN_A_ROW {
            let Some(n) = link.read(&mut buffer)? else { break };
            counters.unsolicited_octets += n as u64;
            self.last_activity = self.last_activity.max(link.now());
        }
        Ok(())
    }

    /// Listens while there is nothing to ask, so that a port that vanishes is noticed at once.
    pub fn listen_until<L: Link>(
        &mut self,
        link: &mut L,
        until: Mono,
        counters: &mut BusCounters,
    ) -> io::Result<()> {
        while link.now() < until {
            if link.wait_readable(until)? {
                self.drain(link, counters)?;
            }
        }
        Ok(())
    }

    fn send<L: Link>(&self, link: &mut L, frame: &[u8]) -> io::Result<()> {
        let give_up = link.now().plus(self.pace.octets(frame.len())).plus(WRITE_PATIENCE);
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

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one transaction; they live no longer than this call"
    )]
    fn await_answer<L: Link>(
        &mut self,
        link: &mut L,
        unit: u8,
        request: &ReadRequest,
        frame: &[u8],
        trace: &Trace,
        manners: Manners,
        counters: &mut BusCounters,
    ) -> io::Result<Outcome> {
        let mut arrived = Arrived::new(unit, request, frame, self.refusal_in_doubt(unit, request));
        let mut buffer = [0; BUFFER];
        let mut all_left = link.output_is_empty();
        let first_by = trace.last_octet_left.plus(manners.timeout);
        let reply = rtu::OVERHEAD + request.reply_pdu_octets();
        let octets = u32::try_from(reply + frame.len()).unwrap_or(u32::MAX);
        let whole_by =
            first_by.plus(self.pace.octets(reply)).plus(DRIBBLE.saturating_mul(octets).min(LONGEST_DRIBBLE));
        loop {
            let heard = arrived.last_heard();
            let gap_ends = heard.map(|at| at.plus(FRAME_GAP).plus(self.pace.octets(2)));
            let now = link.now();
            let frame_ended = gap_ends.is_none_or(|ends| now >= ends);
            if frame_ended && (arrived.is_broken() || now >= first_by) || now >= whole_by {
                return Ok(arrived.conclude(counters));
            }
            let until = if arrived.is_broken() {
                gap_ends.unwrap_or(first_by)
            } else {
                gap_ends.map_or(first_by, |ends| ends.max(first_by))
            };
            if !link.wait_readable(until.min(whole_by))? {
                continue;
            }
            all_left = all_left || link.now() >= trace.last_octet_left || link.output_is_empty();
            while let Some(n) = link.read(&mut buffer)? {
                let now = link.now();
                self.last_activity = self.last_activity.max(now);
                match arrived.take(&buffer[..n], now, all_left, counters) {
                    Verdict::Data(data) => return Ok(Outcome::Data(data)),
                    Verdict::Exception(code) => return Ok(Outcome::Exception(code)),
                    Verdict::NotYet => {}
                }
                if now >= whole_by {
                    break;
                }
            }
        }
    }
}

fn triple(request: &ReadRequest) -> (u8, usize) {
    (request.function().code(), request.reply_data_octets())
}

fn count(outcome: &Outcome, counters: &mut BusCounters) {
    match outcome {
        Outcome::Data(_) => counters.replies += 1,
        Outcome::Exception(_) => {
            counters.replies += 1;
            counters.exceptions += 1;
        }
        Outcome::NoReply => counters.timeouts += 1,
        Outcome::Garbled { .. } => {}
    }
}
