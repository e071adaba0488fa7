//! What is in flight: which publish stands for which record, and how far the unbroken run reaches.

use std::collections::{BTreeSet, VecDeque};
use tokio::time::Instant;

/// Publishes in flight at most, counted from the oldest that is not acknowledged: what a broker may be asked to hold, and
/// what is sent twice after a connection was lost.
pub const WINDOW: usize = 32;
/// Of these, the part that history never takes: so a live record never waits for an acknowledgement to history.
const LIVE_SHARE: usize = 4;

/// How a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    GivenUp(&'static str),
    /// By the broker, for good, in its words.
    Refused(&'static str),
}

/// What a publish stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A record, by its position.
    Record(u64),
    /// An event, by its number.
    Event(u64),
    /// The announcement of a gap, by its number.
    Gap(u64),
    /// Status or meta: said anew in every session anyway.
    Word,
}

#[derive(Debug)]
struct Entry {
    what: What,
    packet: Option<u16>,
    fate: Option<Fate>,
    /// It has been looked at, and stays only to keep its place.
    taken: bool,
    since: Instant,
}

/// Publishes in the order in which they were handed over.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    most: usize,
}

impl Default for Window {
    fn default() -> Window {
        Window::of(WINDOW)
    }
}

impl Window {
    /// For a broker that takes so many at once.
    pub(super) fn of(most: usize) -> Window {
        Window { entries: VecDeque::new(), most: most.clamp(1, WINDOW) }
    }

    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < self.most
    }

    /// Whether history may take another place: some are kept free for live records.
    pub(super) fn has_room_for_history(&self) -> bool {
        self.entries.len() < self.most - self.most / LIVE_SHARE
    }

    /// The records that were handed over and have not ended, in that order.
    pub(super) fn records(&self) -> Vec<u64> {
        let open = self.entries.iter().filter(|entry| entry.fate.is_none());
        open.filter_map(|entry| if let What::Record(position) = entry.what { Some(position) } else { None })
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Handed to the connection, under this identifier.
    pub(super) fn handed(&mut self, what: What, packet: u16, now: Instant) {
        self.entries.push_back(Entry { what, packet: Some(packet), fate: None, taken: false, since: now });
    }

    /// Never handed to the connection, but must not be overtaken by what was.
    pub(super) fn given_up(&mut self, position: u64, reason: &'static str, now: Instant) {
        let fate = Some(Fate::GivenUp(reason));
        self.entries.push_back(Entry {
            what: What::Record(position),
            packet: None,
            fate,
            taken: false,
            since: now,
        });
    }

    /// The broker has acknowledged. `false` for an identifier that is not in flight.
    pub(super) fn acknowledged(&mut self, packet: u16) -> bool {
        self.ended(packet, Fate::Delivered)
    }

    /// The broker has answered. `false` for an identifier that is not in flight.
    pub(super) fn ended(&mut self, packet: u16, fate: Fate) -> bool {
        let entry =
            self.entries.iter_mut().find(|entry| entry.packet == Some(packet) && entry.fate.is_none());
        entry.map(|entry| entry.fate = Some(fate)).is_some()
    }

    /// Takes what has ended and is not overtaken by anything before it in its own lane, in order. `lane_of` says where a
    /// record travels; events are a lane, words and gaps each their own.
    ///
    /// Only an unbroken run from the front gives room again: see [`WINDOW`].
    pub(super) fn take_run(&mut self, lane_of: impl Fn(u64) -> u64) -> Vec<(What, Fate)> {
        let (mut run, mut records, mut events) = (Vec::new(), BTreeSet::new(), false);
        for entry in &mut self.entries {
            let open = match (entry.what, entry.fate) {
                (What::Record(position), None) => {
                    records.insert(lane_of(position));
                    false
                }
                (What::Record(position), Some(_)) => !records.contains(&lane_of(position)),
                (What::Event(_), None) => {
                    events = true;
                    false
                }
                (What::Event(_), Some(_)) => !events,
                (What::Gap(_) | What::Word, fate) => fate.is_some(),
            };
            if let Some(fate) = entry.fate.filter(|_| open && !entry.taken) {
                entry.taken = true;
                run.push((entry.what, fate));
            }
        }
        while self.entries.front().is_some_and(|entry| entry.taken) {
            self.entries.pop_front();
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
            window.handed(Record(position), u16::try_from(position).unwrap(), Instant::now());
        }
        window
    }

    #[test]
    fn the_run_ends_at_the_first_that_is_not_acknowledged() {
        let mut window = window(1..=4);
        assert!(window.acknowledged(2));
        assert!(window.acknowledged(1));
        assert!(window.acknowledged(4));
        assert_eq!(window.take_run(|_| 0), [(Record(1), Delivered), (Record(2), Delivered)]);
        assert!(window.acknowledged(3));
        assert_eq!(window.take_run(|_| 0), [(Record(3), Delivered), (Record(4), Delivered)]);
        assert!(window.is_empty());
    }

    #[test]
    fn what_is_given_up_waits_for_its_turn() {
        let mut window = window(1..=1);
        window.given_up(2, "too-large", Instant::now());
        assert_eq!(window.take_run(|_| 0), []);
        window.acknowledged(1);
        assert_eq!(window.take_run(|_| 0), [(Record(1), Delivered), (Record(2), GivenUp("too-large"))]);
    }

    #[test]
    fn status_and_meta_take_identifiers_but_move_no_cursor() {
        let mut window = Window::default();
        window.handed(Word, 1, Instant::now());
        window.handed(Record(7), 2, Instant::now());
        assert!(window.acknowledged(2) && !window.acknowledged(2));
        assert_eq!(window.take_run(|_| 0), [(Record(7), Delivered)]);
        assert!(window.acknowledged(1));
        assert_eq!(window.take_run(|_| 0), [(Word, Delivered)]);
        window.handed(Event(3), 3, Instant::now());
        assert!(window.acknowledged(3));
        assert_eq!(window.take_run(|_| 0), [(Event(3), Delivered)]);
    }

    #[test]
    fn a_lane_does_not_wait_for_the_other_but_its_places_do() {
        let mut window = window(1..=4);
        let lane_of = |position: u64| if position >= 3 { 3 } else { 0 };
        window.acknowledged(3);
        window.acknowledged(2);
        assert_eq!(window.take_run(lane_of), [(Record(3), Delivered)], "2 waits for 1");
        assert_eq!(window.take_run(lane_of), [], "once");
        assert_eq!(window.records(), [1, 4]);
        assert_eq!(window.entries.len(), 4, "identifiers in use");
        window.acknowledged(1);
        assert_eq!(window.take_run(lane_of), [(Record(1), Delivered), (Record(2), Delivered)]);
        assert_eq!(window.entries.len(), 1);
    }
}
