//! What is in flight where one publish stands for many records, in the order in which it was handed to the client.

use super::window::WINDOW;
use std::collections::VecDeque;
use tokio::time::Instant;

/// What a publish stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// All records up to this position that are not settled yet.
    Batch(u64),
    /// No publish: this record has ended otherwise, and waits for its turn.
    GivenUp(u64, &'static str),
    /// An event, by its number.
    Event(u64),
    /// Status or meta.
    Word,
}

#[derive(Debug)]
struct Entry {
    what: What,
    packet: Option<u16>,
    ended: bool,
    since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Flying(VecDeque<Entry>);

impl Flying {
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < WINDOW
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn handed(&mut self, what: What, now: Instant) {
        self.0.push_back(Entry { what, packet: None, ended: false, since: now });
    }

    pub(super) fn given_up(&mut self, position: u64, reason: &'static str, now: Instant) {
        self.0.push_back(Entry {
            what: What::GivenUp(position, reason),
            packet: None,
            ended: true,
            since: now,
        });
    }

    /// The client has sent its next publish, under this identifier. `false` when none was due: a fault.
    pub(super) fn sent(&mut self, packet: u16) -> bool {
        let next = self.0.iter_mut().find(|entry| entry.packet.is_none() && !entry.ended);
        next.map(|entry| entry.packet = Some(packet)).is_some()
    }

    /// `false` for an identifier that is not in flight.
    pub(super) fn acknowledged(&mut self, packet: u16) -> bool {
        let entry = self.0.iter_mut().find(|entry| entry.packet == Some(packet) && !entry.ended);
        entry.map(|entry| entry.ended = true).is_some()
    }

    /// The oldest, if it has ended: a batch never settles before what was handed over before it.
    pub(super) fn take_ended(&mut self) -> Option<What> {
        if self.0.front()?.ended { self.0.pop_front().map(|entry| entry.what) } else { None }
    }

    /// Since when the oldest publish waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.0.front().map(|entry| entry.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_early_waits_for_what_was_handed_over_before_it() {
        let (mut flying, now) = (Flying::default(), Instant::now());
        flying.handed(What::Batch(30), now);
        flying.given_up(31, "undecodable", now);
        flying.handed(What::Batch(60), now);
        assert!(flying.sent(1) && flying.sent(2) && !flying.sent(3));
        assert!(flying.acknowledged(2) && !flying.acknowledged(2));
        assert_eq!(flying.take_ended(), None);
        assert!(flying.acknowledged(1));
        let ended: Vec<What> = std::iter::from_fn(|| flying.take_ended()).collect();
        assert_eq!(ended, [What::Batch(30), What::GivenUp(31, "undecodable"), What::Batch(60)]);
        assert!(flying.is_empty());
    }
}
