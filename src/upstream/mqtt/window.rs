//! What is in flight: which publish stands for which record, and how far the unbroken run reaches.

use std::collections::VecDeque;
use tokio::time::Instant;

/// Records in flight at most, counted from the oldest that is not acknowledged: so packet identifiers,
/// which the client takes in a circle of a hundred, can't meet one that is still in use.
pub const WINDOW: usize = 32;
/// Packet identifiers that the client goes through.
pub(super) const PACKET_IDS: u16 = 100;

/// How a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    GivenUp(&'static str),
}

/// What a publish stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A record, by its position.
    Record(u64),
    /// An event, by its number.
    Event(u64),
    /// Status or meta: said anew in every session anyway.
    Word,
}

#[derive(Debug)]
struct Entry {
    what: What,
    packet: Option<u16>,
    fate: Option<Fate>,
    since: Instant,
}

/// Publishes in the order in which they were handed to the client.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
}

impl Window {
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < WINDOW
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Handed to the client.
    pub(super) fn handed(&mut self, what: What, now: Instant) {
        self.entries.push_back(Entry { what, packet: None, fate: None, since: now });
    }

    /// Never handed to the client, but must not be overtaken by what was.
    pub(super) fn given_up(&mut self, position: u64, reason: &'static str, now: Instant) {
        let fate = Some(Fate::GivenUp(reason));
        self.entries.push_back(Entry { what: What::Record(position), packet: None, fate, since: now });
    }

    /// The client has sent its next publish, under this identifier. `false` when none was due: a fault.
    pub(super) fn sent(&mut self, packet: u16) -> bool {
        let next = self.entries.iter_mut().find(|entry| entry.packet.is_none() && entry.fate.is_none());
        next.map(|entry| entry.packet = Some(packet)).is_some()
    }

    /// The broker has acknowledged. `false` for an identifier that is not in flight.
    pub(super) fn acknowledged(&mut self, packet: u16) -> bool {
        let entry =
            self.entries.iter_mut().find(|entry| entry.packet == Some(packet) && entry.fate.is_none());
        entry.map(|entry| entry.fate = Some(Fate::Delivered)).is_some()
    }

    /// Takes the unbroken run of ended publishes off the front, in order.
    pub(super) fn take_run(&mut self) -> Vec<(What, Fate)> {
        let mut run = Vec::new();
        while let Some(fate) = self.entries.front().and_then(|entry| entry.fate) {
            run.extend(self.entries.pop_front().map(|entry| (entry.what, fate)));
        }
        run
    }

    /// Since when the oldest publish waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fate::{Delivered, GivenUp};
    use What::{Event, Record, Word};

    fn window(positions: std::ops::RangeInclusive<u64>) -> Window {
        let mut window = Window::default();
        for position in positions {
            window.handed(Record(position), Instant::now());
            assert!(window.sent(u16::try_from(position).unwrap()));
        }
        window
    }

    #[test]
    fn the_run_ends_at_the_first_that_is_not_acknowledged() {
        let mut window = window(1..=4);
        assert!(window.acknowledged(2));
        assert!(window.acknowledged(1));
        assert!(window.acknowledged(4));
        assert_eq!(window.take_run(), [(Record(1), Delivered), (Record(2), Delivered)]);
        assert!(window.acknowledged(3));
        assert_eq!(window.take_run(), [(Record(3), Delivered), (Record(4), Delivered)]);
        assert!(window.is_empty());
    }

    #[test]
    fn what_is_given_up_waits_for_its_turn() {
        let mut window = window(1..=1);
        window.given_up(2, "too-large", Instant::now());
        assert_eq!(window.take_run(), []);
        window.acknowledged(1);
        assert_eq!(window.take_run(), [(Record(1), Delivered), (Record(2), GivenUp("too-large"))]);
    }

    #[test]
    fn status_and_meta_take_identifiers_but_move_no_cursor() {
        let mut window = Window::default();
        window.handed(Word, Instant::now());
        window.handed(Record(7), Instant::now());
        assert!(window.sent(1) && window.sent(2) && !window.sent(3));
        assert!(window.acknowledged(2) && !window.acknowledged(2));
        assert_eq!(window.take_run(), []);
        assert!(window.acknowledged(1));
        assert_eq!(window.take_run(), [(Word, Delivered), (Record(7), Delivered)]);
        window.handed(Event(3), Instant::now());
        assert!(window.sent(3) && window.acknowledged(3));
        assert_eq!(window.take_run(), [(Event(3), Delivered)]);
    }
}
