//! What the path of a session allows, and how a session ends because another path is taken.
//!
//! Where the old path still works, a connection over the new one stands before this one ends (see `uplink`). Then nothing more
//! is handed over, what is in flight is waited for as at a stop, and DISCONNECT goes out: without a good-bye in words,
//! for the next session begins at once. Whatever stays unacknowledged goes again there, with the same (`epoch`, `seq`).

use super::ending::Stopping;
use super::session::{Ended, Session};
use crate::uplink::Policy;
use std::time::Duration;
use tokio::time::Instant;

/// Live readings on a path where they go together every so often: when the next ones are due.
#[derive(Debug, Default)]
pub(super) struct Beat {
    due: Option<Instant>,
}

impl Session<'_> {
    /// What the path of this session allows now.
    pub(super) fn policy(&self) -> Policy {
        self.work.link.policy()
    }

    /// Another path is taken: in order if there is time, or at once.
    pub(super) fn move_on(&mut self) -> Result<(), Ended> {
        if !self.work.link.leaves_in_order() {
            return Err(Ended::Moved);
        }
        self.words.clear();
        self.stopping = Some(Stopping::to_move());
        Ok(())
    }

    /// Nothing more is handed over on this connection.
    pub(super) fn is_moving(&self) -> bool {
        self.stopping.is_some_and(|stopping| stopping.moving)
    }

    /// Until when live records have to wait, each a message of its own: for their beat, or for another path.
    pub(super) fn live_waits(&mut self, now: Instant) -> Option<Instant> {
        let policy = self.policy();
        if !policy.allow.live {
            return Some(now + Duration::from_secs(1));
        }
        // Where they go in batches, these have the beat.
        let every = policy.batch.filter(|_| self.batches.is_none() && self.stopping.is_none())?;
        let due = *self.beat.due.get_or_insert(now + every);
        (due > now).then_some(due)
    }

    /// All live records that there were have gone.
    pub(super) fn live_has_gone(&mut self) {
        if self.beat.due.is_some_and(|due| due <= Instant::now()) {
            self.beat.due = None;
        }
    }

    /// Until when the record at this position has to wait if it is one of the backlog.
    pub(super) fn backlog_waits(&self, is_backlog: bool, now: Instant) -> Option<Instant> {
        if !is_backlog {
            return None;
        }
        let link = self.work.link.history_waits(now);
        link.max(self.pace.not_before(now))
    }
}
