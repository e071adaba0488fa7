//! Rule 5: where two answers came, neither is believed.

use super::super::super::spec::{self, Reply};
use super::super::super::wire::{Heard, Wire};
use super::{Asked, Found, Judge, shown};
use linesman::bus::transact::Outcome;
use linesman::modbus::{Ask, Framing};
use std::time::Duration;

/// Octets of one frame may be so far apart.
const APART: Duration = Duration::from_millis(50);
/// A second answer with fewer octets before it is noticed.
const CLOSE_BEHIND: usize = 8;
/// … where no more than these came in all.
const MOST_BEHIND: usize = 512;

impl Judge {
    /// Rule 5: where a second, different answer was heard behind the one that is believed, neither is.
    pub(super) fn nobody_else_has_answered(
        &self,
        asked: &Asked,
        wanted: &Reply,
        found: &[Found],
        window: &[Heard],
        wire: &Wire,
    ) {
        if !matches!((wanted, asked.ask), (Reply::Data(_), Ask::Read(_))) || window.len() > MOST_BEHIND {
            return;
        }
        let Some(believed) = found.iter().rfind(|found| found.reply == *wanted) else { return };
        let close = believed.span.1..believed.span.1 + CLOSE_BEHIND;
        // Any of those that say the same may be the one that is believed: the other comes in time for the first.
        let first = found.iter().find(|found| found.reply == *wanted).map_or(0, |first| first.span.1);
        let behind = |other: &&Found| {
            let octets = &window[first - 1..other.span.1.max(first)];
            let flows = octets.windows(2).all(|pair| pair[1].read.since(pair[0].read) <= self.flowing());
            let is_data = matches!(other.reply, Reply::Data(_));
            close.contains(&other.span.0) && flows && is_data
        };
        // One after the other: what overlaps the one before is none.
        let mut at = believed.span.1;
        let mut follows = |other: &&Found| {
            let follows = other.span.0 >= at && behind(other);
            at = if follows { other.span.1 } else { at };
            follows
        };
        let other = found.iter().filter(|found| follows(found)).find(|other| other.reply != *wanted);
        // Where a frame of anybody's stands before it, be it by chance, that may be another master's question,
        // and this the answer to that.
        let other = other.filter(|other| !self.others_speak(window, first..other.span.0, found));
        let told = || format!("{:?}{}{}", asked.manners, self.story(), shown(window, wire));
        assert!(other.is_none(), "{wanted:?}, where another came too: {}", told());
    }

    /// A frame begins here that is no answer to the question.
    fn others_speak(&self, window: &[Heard], range: std::ops::Range<usize>, found: &[Found]) -> bool {
        let octets: Vec<u8> = window.iter().map(|heard| heard.octet).collect();
        let mut begins = range.filter(|at| found.iter().all(|found| found.span.0 != *at));
        begins.any(|at| match self.line.framing {
            Framing::Rtu => spec::ends(&octets[at..]).next().is_some(),
            Framing::Ascii => {
                let length = octets[at..].iter().position(|octet| *octet == b'\n').map_or(0, |end| end + 1);
                spec::unframe(Framing::Ascii, &octets[at..at + length]).is_some()
            }
        })
    }

    /// Octets that come closer than this are surely of one piece.
    fn flowing(&self) -> Duration {
        self.line.silence.min(APART) / 2
    }

    /// The question before has had a second answer since: two devices have this unit id, and this one's
    /// answer is not believed either.
    pub(super) fn has_second_answer(&self, unit: u8, wire: &Wire) -> bool {
        let Some(before) = self.history.last().filter(|before| before.unit == unit) else { return false };
        let since = wire.heard.get(before.heard_before..).unwrap_or_default();
        match &before.outcome {
            Some(Outcome::Data(data)) => {
                self.found(before, since).iter().any(|found| found.reply != Reply::Data(data.clone()))
            }
            Some(Outcome::TwoAnswers) => true,
            Some(Outcome::Exception(_) | Outcome::NoReply | Outcome::Garbled { .. }) | None => false,
        }
    }
}
