//! What has been handed over and is not known to have arrived: pure.
//!
//! Nobody acknowledges a publish with QoS 0. So what is handed over is closed off by a barrier: the question how far the
//! broker has read. When that is answered, all before it is settled. One barrier is under way at a time; what comes
//! meanwhile waits for the next.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use tokio::time::Instant;

/// Records in flight at most: what is sent twice after a connection was lost.
pub(super) const MOST: usize = 256;

/// How a record ends, once the broker has read so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    /// Nothing in it was new.
    LeftOut,
    GivenUp(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A record of a lane, with the position before it in that lane: what lies between is lost.
    Record {
        after: u64,
        position: u64,
        fate: Fate,
    },
    Event(u64),
    Gap(u64),
}

#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Closed off by this barrier, at this time.
    closed: VecDeque<(u64, Instant, Vec<What>)>,
    open: Vec<What>,
    /// Something was handed over since the last barrier.
    is_open: bool,
}

impl Flight {
    pub(super) fn handed(&mut self, what: What) {
        self.is_open = true;
        self.open.push(what);
    }

    /// A message that stands for no record.
    pub(super) fn said(&mut self) {
        self.is_open = true;
    }

    /// Whether a barrier is worth its octets: something is open, and none is under way.
    pub(super) fn wants_barrier(&self) -> bool {
        self.is_open && self.closed.is_empty()
    }

    pub(super) fn closed_off(&mut self, barrier: u64, now: Instant) {
        self.is_open = false;
        self.closed.push_back((barrier, now, std::mem::take(&mut self.open)));
    }

    /// The broker has read all before this barrier.
    pub(super) fn passed(&mut self, barrier: u64) -> Vec<What> {
        let mut all = Vec::new();
        while self.closed.front().is_some_and(|(number, ..)| *number <= barrier) {
            all.extend(self.closed.pop_front().map(|(_, _, what)| what).unwrap_or_default());
        }
        all
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.len() + self.closed.iter().map(|(_, _, what)| what.len()).sum::<usize>() < MOST
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_open && self.closed.is_empty()
    }

    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.closed.front().map(|(_, since, _)| *since)
    }

    /// The positions of all records, in order.
    pub(super) fn positions(&self) -> Vec<u64> {
        let all = self.closed.iter().flat_map(|(_, _, what)| what).chain(&self.open);
        let mut positions: Vec<u64> = all
            .filter_map(|what| if let What::Record { position, .. } = what { Some(*position) } else { None })
            .collect();
        positions.sort_unstable();
        positions
    }
}

/// What has ended the same way, as ranges.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub delivered: Vec<RangeInclusive<u64>>,
    pub left_out: Vec<RangeInclusive<u64>>,
    pub given_up: Vec<(RangeInclusive<u64>, &'static str)>,
    pub events: Vec<u64>,
    pub gaps: Vec<u64>,
}

impl Ended {
    pub(super) fn of(all: Vec<What>) -> Ended {
        let mut ended = Ended::default();
        for what in all {
            match what {
                What::Record { after, position, fate } => {
                    let range = after.saturating_add(1).min(position)..=position;
                    match fate {
                        Fate::Delivered => grow(&mut ended.delivered, range),
                        Fate::LeftOut => grow(&mut ended.left_out, range),
                        Fate::GivenUp(why) => ended.given_up.push((range, why)),
                    }
                }
                What::Event(number) => ended.events.push(number),
                What::Gap(id) => ended.gaps.push(id),
            }
        }
        ended
    }
}

fn grow(ranges: &mut Vec<RangeInclusive<u64>>, range: RangeInclusive<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end() + 1 == *range.start() => *last = *last.start()..=*range.end(),
        Some(_) | None => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(after: u64, position: u64, fate: Fate) -> What {
        What::Record { after, position, fate }
    }

    #[test]
    fn nothing_ends_before_the_broker_has_read_so_far() {
        let (mut flight, now) = (Flight::default(), Instant::now());
        assert!(!flight.wants_barrier() && flight.is_empty());
        flight.handed(record(0, 1, Fate::Delivered));
        assert!(flight.wants_barrier());
        flight.closed_off(1, now);
        flight.handed(record(1, 2, Fate::Delivered));
        assert!(!flight.wants_barrier(), "one at a time");
        assert_eq!(flight.positions(), [1, 2]);
        assert_eq!(flight.passed(0), []);
        assert_eq!(flight.passed(1), [record(0, 1, Fate::Delivered)]);
        assert!(flight.wants_barrier() && !flight.is_empty());
        flight.closed_off(2, now);
        assert_eq!(flight.passed(2).len(), 1);
        assert!(flight.is_empty());
    }

    #[test]
    fn a_birth_that_stands_for_no_record_is_waited_for_all_the_same() {
        let mut flight = Flight::default();
        flight.said();
        assert!(flight.wants_barrier() && !flight.is_empty());
        flight.closed_off(1, Instant::now());
        assert!(!flight.is_empty() && flight.passed(1).is_empty() && flight.is_empty());
    }

    #[test]
    fn what_is_lost_between_two_records_is_settled_with_the_second() {
        let all = vec![
            record(0, 3, Fate::Delivered),
            record(90, 91, Fate::Delivered),
            record(3, 7, Fate::Delivered),
            record(7, 8, Fate::LeftOut),
            record(8, 9, Fate::GivenUp("undecodable")),
            What::Event(4),
            What::Gap(2),
        ];
        let ended = Ended::of(all);
        assert_eq!(ended.delivered, [1..=3, 91..=91, 4..=7]);
        assert_eq!((ended.left_out, ended.given_up), (vec![8..=8], vec![(9..=9, "undecodable")]));
        assert_eq!((ended.events, ended.gaps), (vec![4], vec![2]));
    }
}
