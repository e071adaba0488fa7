//! Which records go next: pure. History from the cursor up to a bound, and live ones behind it, in turns; one lane where
//! the order is strict, or where there is no backlog.

use crate::uplink::Link;
use crate::upstream::config::Order;
use crate::upstream::pace::Pace;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// What the path does not allow now is looked at again after this.
const ALLOWED_AGAIN: Duration = Duration::from_secs(1);

/// In which order and how fast.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct Ways {
    pub(in crate::upstream) order: Order,
    /// Records of history a second.
    pub(in crate::upstream) history_rate: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    History,
    Live,
}

#[derive(Debug)]
pub(super) struct Lanes {
    ways: Ways,
    pace: Pace,
    held: Option<Instant>,
    /// Everything up to here is settled; of live records, from the bound on.
    history: u64,
    /// Where history ends and up to where live has come.
    live: Option<(u64, u64)>,
    last: Lane,
}

impl Lanes {
    pub(super) fn new(ways: Ways, cursor: u64, head: u64) -> Lanes {
        let pace = Pace::new(ways.history_rate);
        let mut lanes = Lanes { ways, pace, held: None, history: 0, live: None, last: Lane::History };
        lanes.cut(cursor, head);
        lanes
    }

    /// What waits now is history, and live begins behind it.
    pub(super) fn cut(&mut self, cursor: u64, head: u64) {
        (self.history, self.held) = (cursor, None);
        self.live = (self.ways.order == Order::LiveFirst && head > cursor).then_some((head, head));
    }

    /// The lanes that may send now, the one first whose turn it is; and else until when they may not.
    pub(super) fn turn(&self, now: Instant) -> (Vec<Lane>, Option<Instant>) {
        if self.live.is_none() {
            return (vec![Lane::History], None);
        }
        let until = self.pace.not_before(now).max(self.held.filter(|until| *until > now));
        match (until, self.last) {
            (Some(_), _) => (vec![Lane::Live], until),
            (None, Lane::Live) => (vec![Lane::History, Lane::Live], None),
            (None, Lane::History) => (vec![Lane::Live, Lane::History], None),
        }
    }

    /// Of these, those that the path allows. One lane of everything is live unless it has a backlog.
    pub(super) fn turn_on(&self, link: &Link, now: Instant) -> (Vec<Lane>, Option<Instant>) {
        let (mut may, until) = self.turn(now);
        let (live, history) = (link.policy().allow.live, link.history_waits(now));
        let waits = |lane: &Lane| match lane {
            Lane::History if self.has_backlog() => history,
            Lane::History | Lane::Live => (!live).then(|| now + ALLOWED_AGAIN),
        };
        let until = may.iter().filter_map(waits).chain(until).min();
        may.retain(|lane| waits(lane).is_none());
        (may, until)
    }

    /// Records of this lane lie behind the first position and not behind the second.
    pub(super) fn span(&self, lane: Lane) -> (u64, u64) {
        match (lane, self.live) {
            (Lane::Live, Some((_, live))) => (live, u64::MAX),
            (Lane::History, Some((bound, _))) => (self.history, bound),
            (_, None) => (self.history, u64::MAX),
        }
    }

    /// So many at once, of so many that would fit: a second's worth of history.
    pub(super) fn at_most(&self, lane: Lane, most: usize) -> usize {
        match (lane, self.live, self.ways.history_rate) {
            (Lane::History, Some(_), Some(rate)) => {
                most.min(usize::try_from(rate.get()).unwrap_or(usize::MAX))
            }
            _ => most,
        }
    }

    /// Of this lane all is settled up to here, with so many records.
    pub(super) fn settled(&mut self, lane: Lane, upto: u64, records: usize, now: Instant) {
        self.last = lane;
        match (lane, &mut self.live) {
            (Lane::Live, Some((_, live))) => *live = upto,
            (Lane::History, Some(_)) => {
                self.history = upto;
                (0..records).for_each(|_| self.pace.take(now));
            }
            (_, None) => self.history = upto,
        }
    }

    /// History waits until then, whatever its pace; for as long as there is a lane beside it.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held = Some(until);
    }

    /// History has come to its end: one lane is left.
    pub(super) fn join(&mut self) {
        if let Some((_, live)) = self.live.take() {
            self.history = live;
        }
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.live.is_some()
    }

    /// Where the newest record is that was settled.
    pub(super) fn newest(&self) -> u64 {
        self.live.map_or(self.history, |(_, live)| live)
    }

    /// Of the settled positions of this lane, the first one.
    pub(super) fn first(&self, lane: Lane) -> u64 {
        match (lane, self.live) {
            (Lane::Live, Some((bound, _))) => bound + 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(order: Order, rate: Option<u32>) -> Lanes {
        Lanes::new(Ways { order, history_rate: rate.and_then(NonZeroU32::new) }, 10, 100)
    }

    #[test]
    fn live_and_history_take_turns_until_history_is_over() {
        let (mut lanes, now) = (lanes(Order::LiveFirst, None), Instant::now());
        assert_eq!(lanes.turn(now).0, [Lane::Live, Lane::History]);
        assert_eq!((lanes.span(Lane::Live), lanes.span(Lane::History)), ((100, u64::MAX), (10, 100)));
        lanes.settled(Lane::Live, 105, 5, now);
        assert_eq!(lanes.turn(now).0, [Lane::History, Lane::Live]);
        assert_eq!(lanes.first(Lane::Live), 101);
        lanes.settled(Lane::History, 100, 90, now);
        lanes.join();
        assert_eq!((lanes.turn(now).0, lanes.span(Lane::History)), (vec![Lane::History], (105, u64::MAX)));
    }

    #[test]
    fn history_keeps_to_its_rate_and_live_does_not_wait_for_it() {
        let (mut lanes, now) = (lanes(Order::LiveFirst, Some(10)), Instant::now());
        assert_eq!((lanes.at_most(Lane::History, 256), lanes.at_most(Lane::Live, 256)), (10, 256));
        lanes.settled(Lane::History, 20, 10, now);
        let (may, until) = lanes.turn(now);
        assert_eq!(may, [Lane::Live]);
        assert!(until.is_some_and(|until| until > now));
    }

    #[test]
    fn in_strict_order_there_is_one_lane() {
        let lanes = lanes(Order::Strict, Some(1));
        assert_eq!(lanes.turn(Instant::now()).0, [Lane::History]);
        assert_eq!(lanes.span(Lane::History), (10, u64::MAX));
        assert_eq!(lanes.at_most(Lane::History, 256), 256);
    }
}
