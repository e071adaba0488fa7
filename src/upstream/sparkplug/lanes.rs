//! The records of a session, by lane: live and history, or, oldest first, history alone.

use crate::spool::{Outcome, Stored};
use crate::upstream::mqtt::lane::Lane;
use crate::upstream::thin::Sieve;
use crate::upstream::{Order, Work};
use std::ops::RangeInclusive;

pub(super) struct Lanes {
    /// From the cursor on: all of it in strict order, else up to where live begins.
    pub(super) history: Lane,
    pub(super) live: Option<Lane>,
    /// The newest position when they were cut: what is older is backlog.
    pub(super) backlog_upto: u64,
    /// The position before the next one of each, for what is lost between two records.
    after_history: u64,
    after_live: u64,
}

impl Lanes {
    pub(super) fn cut(work: &Work, order: Order) -> Lanes {
        let (cursor, head) = (work.reader.cursor(), work.reader.head());
        let bound = match order {
            Order::LiveFirst => Some(head),
            Order::Strict => None,
        };
        Lanes {
            history: Lane::start(work, cursor, bound),
            live: bound.map(|head| Lane::start(work, head, None)),
            backlog_upto: head,
            after_history: cursor,
            after_live: head,
        }
    }

    pub(super) fn take_live(&mut self) -> Option<(u64, Stored)> {
        let live = self.live.as_mut()?;
        live.front()?;
        let stored = live.take()?;
        Some((std::mem::replace(&mut self.after_live, stored.position), stored))
    }

    pub(super) fn take_history(&mut self) -> Option<(u64, Stored)> {
        let stored = self.history.take()?;
        Some((std::mem::replace(&mut self.after_history, stored.position), stored))
    }

    /// Where not everything goes: this has ended, and what is part of it.
    pub(super) fn ended(&mut self, position: u64, outcome: &Outcome) {
        let is_live = position > self.backlog_upto;
        let lane = self.live.as_mut().filter(|_| is_live).unwrap_or(&mut self.history);
        if let Some(sieve) = lane.sieve() {
            sieve.ended(position, outcome);
        }
    }

    /// What can be settled by now where not everything goes.
    pub(super) fn settled(&mut self) -> Vec<(RangeInclusive<u64>, Outcome)> {
        let lanes = [Some(&mut self.history), self.live.as_mut()].into_iter().flatten();
        lanes.flat_map(|lane| lane.sieve().map(Sieve::settle).unwrap_or_default()).collect()
    }

    /// All that was backlog when they were cut has been taken.
    pub(super) fn is_backlog_done(&self) -> bool {
        self.history.has_taken(self.backlog_upto)
    }

    pub(super) fn has_taken(&self, upto: u64) -> bool {
        match &self.live {
            Some(live) => self.history.is_over() && live.has_taken(upto),
            None => self.history.has_taken(upto),
        }
    }

    /// Nothing more will come: the lane that has no bound ends only with the spool.
    pub(super) fn is_over(&self) -> bool {
        self.history.is_over() && self.live.as_ref().is_none_or(Lane::is_over)
    }

    /// Waits until one of them has more.
    pub(super) async fn more(&mut self) {
        match &mut self.live {
            Some(live) => {
                tokio::select! {
                    () = live.more() => {}
                    () = self.history.more() => {}
                }
            }
            None => self.history.more().await,
        }
    }
}
