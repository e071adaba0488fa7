//! Which record goes next, in which lane, and what becomes of it.

use super::lane::Lane;
use super::session::{Ended, Session};
use super::window::What;
use crate::encode::json::{self, Number};
use crate::model::{Dating, Reading};
use crate::record;
use crate::spool::Stored;
use std::time::Duration;
use tokio::time::Instant;

/// Younger than this is live, or younger than three periods if those are longer. And what was stamped so much before
/// the connection stood may still be on its way to the spool.
const LIVE: Duration = Duration::from_secs(30);

impl Session<'_> {
    /// The record that goes next; or until when there is none, if that is known.
    pub(super) fn next_record(&mut self) -> Result<Stored, Option<Instant>> {
        if let Some(live) = &mut self.live
            && live.front().is_some()
            && let Some(stored) = live.take()
        {
            return Ok(stored);
        }
        if self.live.is_some() && !self.window.has_room_for_history() {
            return Err(None);
        }
        let now = Instant::now();
        let Some(front) = self.history.front() else { return Err(None) };
        let is_backlog = front.position <= self.backlog_upto;
        if is_backlog && let Some(until) = self.pace.not_before(now) {
            return Err(Some(until));
        }
        // In strict order waiting would hold up what is sampled now.
        if self.live.is_some() && now < self.hold_until && may_yet_date(&self.work.dating.borrow(), front) {
            return Err(Some(self.hold_until.min(now + Duration::from_secs(1))));
        }
        if is_backlog {
            self.pace.take(now);
        }
        self.history.take().ok_or(None)
    }

    pub(super) fn hand_over(&mut self, stored: &Stored) -> Result<(), Ended> {
        let mut reading = match record::decode(&stored.octets) {
            Ok(reading) => reading,
            Err(error) => {
                tracing::warn!(upstream = %self.work.name, position = stored.position, %error, "record given up");
                self.window.given_up(stored.position, "undecodable", Instant::now());
                return Ok(());
            }
        };
        self.work.dating.borrow().date(&mut reading);
        let payload = json::reading(&reading, number_of(stored), None);
        let lane = if self.is_live(stored.position, &reading) { "d" } else { "h" };
        let topic = format!("{}/{lane}/{}", self.config.topic, reading.device);
        if payload.len() > self.greeting.room(&topic) {
            tracing::warn!(upstream = %self.work.name, device = %reading.device, octets = payload.len(), "record too large to send");
            self.window.given_up(stored.position, "too-large", Instant::now());
            return Ok(());
        }
        self.under_way.insert(stored.position, reading.device);
        self.publish(What::Record(stored.position), &topic, false, payload)
    }

    /// Live is what was sampled since the connection stands and has not aged since. What came into the spool before
    /// the connection is told by its position, because the wall clock may have been set since.
    fn is_live(&self, position: u64, reading: &Reading) -> bool {
        let every = self.every.get(&reading.device).copied().unwrap_or_default();
        let before = self.connected.0.saturating_sub(reading.ts.0);
        // While a backlog drains, what comes in front of it must not stand among it: it would be out of order there.
        let among_history = self.live.is_none() || self.history.is_over();
        let on_its_way = among_history && before > 0 && before <= millis(LIVE);
        position > self.backlog_upto && !on_its_way && self.age(reading.ts.0) <= millis(LIVE.max(every * 3))
    }

    fn age(&self, ts: i64) -> i64 {
        self.work.clock.utc().0.saturating_sub(ts)
    }

    /// Where live records have grown old in their lane, because the far end does not take them as fast as they come, the
    /// lanes are cut anew as soon as nothing is in flight: then no record can be in both.
    pub(super) fn cut_anew(&mut self) {
        let oldest = self.live.as_mut().and_then(Lane::front).map(|stored| stored.ts_ms);
        self.recut |= self.stopping.is_none() && oldest.is_some_and(|ts| self.age(ts) > millis(LIVE));
        if !self.recut || !self.window.is_empty() {
            return;
        }
        let head = self.work.reader.head();
        self.start_lanes(Some(head));
        (self.backlog_upto, self.recut) = (head, false);
    }
}

pub(super) fn number_of(stored: &Stored) -> Number {
    Number { epoch: stored.epoch, seq: stored.seq }
}

fn may_yet_date(dating: &Dating, stored: &Stored) -> bool {
    dating.is_waiting() && record::decode(&stored.octets).is_ok_and(|reading| dating.may_yet_date(&reading))
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
