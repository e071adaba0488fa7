//! Questions that may still be answered late, and what must wait for that. Pure.

use super::overheard::{Stray, StrayKind};
use crate::modbus::Ask;
use crate::model::Mono;
use std::time::Duration;

/// After no answer the same question waits at least this long for a late one to pass.
const SHORTEST: Duration = Duration::from_secs(1);
/// … or so many times the response timeout, whichever is longer.
const TIMEOUTS: u32 = 3;

/// What tells one answer from another: unit id, function, octets of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    unit: u8,
    function: u8,
    data_octets: usize,
}

impl Shape {
    fn of(unit: u8, ask: &Ask) -> Shape {
        let data_octets = match ask {
            Ask::Read(request) => request.reply_data_octets(),
            // Of no length that is known beforehand, or told apart by their content.
            Ask::Echo(_) | Ask::ServerId | Ask::Identification { .. } => 0,
        };
        Shape { unit, function: ask.function(), data_octets }
    }

    fn is_of(&self, stray: &Stray) -> bool {
        let same = self.unit == stray.unit && self.function == stray.function;
        match stray.kind {
            StrayKind::Reply => same && self.data_octets == stray.data_octets,
            StrayKind::Refusal => same,
            StrayKind::Request => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspect {
    shape: Shape,
    /// When our last octet had left.
    asked: Mono,
    until: Mono,
    /// A refusal came meanwhile that nobody can tell whose it is.
    refused: bool,
}

impl Suspect {
    fn is_of(&self, unit: u8, function: u8) -> bool {
        self.shape.unit == unit && self.shape.function == function
    }
}

/// The questions of one line that may still be answered late.
#[derive(Debug, Default)]
pub(super) struct Suspects(Vec<Suspect>);

impl Suspects {
    /// Until when this question must wait because a late answer to one like it may still come. Where the unit
    /// refuses, that is any of its function: refusals of two lengths would else keep each other in doubt for
    /// ever.
    pub(super) fn blocked_until(&self, unit: u8, ask: &Ask, now: Mono) -> Option<Mono> {
        let shape = Shape::of(unit, ask);
        let same = self.0.iter().filter(|suspect| {
            suspect.shape == shape || suspect.refused && suspect.is_of(unit, shape.function)
        });
        same.map(|suspect| suspect.until).max().filter(|until| *until > now)
    }

    /// Whether a refusal that comes now may be the late one of an older question, of whatever length.
    pub(super) fn refusal_in_doubt(&self, unit: u8, ask: &Ask) -> bool {
        let function = ask.function();
        self.0.iter().any(|suspect| suspect.is_of(unit, function))
    }

    /// A question went unanswered; `timeout` is the longest that the device may take, `reply` how long its
    /// answer takes on the wire.
    pub(super) fn add(&mut self, unit: u8, ask: &Ask, asked: Mono, timeout: Duration, reply: Duration) {
        let wait = SHORTEST.max(timeout.saturating_mul(TIMEOUTS));
        let refused = self.0.iter().any(|suspect| suspect.refused && suspect.is_of(unit, ask.function()));
        let until = asked.plus(wait).plus(reply);
        self.0.push(Suspect { shape: Shape::of(unit, ask), asked, until, refused });
    }

    pub(super) fn forget_old(&mut self, now: Mono) {
        self.0.retain(|suspect| suspect.until > now);
    }

    /// The unit has answered a question that came later than all of these: theirs will not come any more,
    /// for a device answers in the order in which it is asked.
    pub(super) fn forgive(&mut self, unit: u8) {
        self.0.retain(|suspect| suspect.shape.unit != unit);
    }

    /// Whose late answer this may be: its unit, and how long it took. The suspicion stays: another
    /// question of the same shape may have gone unanswered too.
    pub(super) fn late(&mut self, stray: &Stray, now: Mono) -> Option<(u8, Duration)> {
        let fits = |suspect: &&mut Suspect| suspect.until > now && suspect.shape.is_of(stray);
        let oldest = self.0.iter_mut().filter(fits).min_by_key(|suspect| suspect.asked)?;
        let after = now.since(oldest.asked);
        if stray.kind == StrayKind::Refusal {
            // Nor is it known how late it is.
            let of_these = |suspect: &&mut Suspect| suspect.is_of(stray.unit, stray.function);
            self.0.iter_mut().filter(of_these).for_each(|suspect| suspect.refused = true);
            return None;
        }
        Some((stray.unit, after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{ReadFunction, ReadRequest};

    fn ask(count: u16) -> Ask {
        Ask::Read(ReadRequest::new(ReadFunction::HoldingRegisters, 0, count).unwrap())
    }

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn only_a_question_of_the_same_shape_waits() {
        let mut suspects = Suspects::default();
        suspects.add(1, &ask(2), at(0), Duration::from_millis(100), Duration::from_millis(5));
        assert_eq!(suspects.blocked_until(1, &ask(2), at(10)), Some(at(1005)));
        assert_eq!(suspects.blocked_until(1, &ask(3), at(10)), None);
        assert_eq!(suspects.blocked_until(2, &ask(2), at(10)), None);
        assert!(suspects.refusal_in_doubt(1, &ask(3)) && !suspects.refusal_in_doubt(2, &ask(2)));
        assert_eq!(suspects.blocked_until(1, &ask(2), at(1005)), None);
        suspects.add(1, &ask(2), at(0), Duration::from_secs(1), Duration::ZERO);
        assert_eq!(suspects.blocked_until(1, &ask(2), at(10)), Some(at(3000)));
        suspects.forgive(1);
        assert_eq!(suspects.blocked_until(1, &ask(2), at(10)), None);
    }

    #[test]
    fn a_late_answer_tells_how_slow_its_device_is() {
        let mut suspects = Suspects::default();
        suspects.add(1, &ask(2), at(100), Duration::from_millis(100), Duration::ZERO);
        let stray = |unit, data_octets| Stray { kind: StrayKind::Reply, unit, function: 3, data_octets };
        assert_eq!(suspects.late(&stray(1, 4), at(400)), Some((1, Duration::from_millis(300))));
        assert_eq!(suspects.late(&stray(1, 6), at(400)), None);
        assert_eq!(suspects.late(&stray(2, 4), at(400)), None);
        assert_eq!(suspects.late(&stray(1, 4), at(1100)), None, "its time is over");
    }
}
