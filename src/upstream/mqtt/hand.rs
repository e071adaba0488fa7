//! Which record goes next, in which lane, and what becomes of it.

use super::batches::Batches;
use super::lane::Lane;
use super::layout::Layout;
use super::session::{Ended, Session};
use super::window::What;
use super::wire::LARGEST_PAYLOAD;
use crate::encode::{Encoding, Numbered, Refused, json, thin_edge};
use crate::model::{Dating, Reading};
use crate::record;
use crate::spool::Stored;
use crate::upstream::SAYS_NOTHING;
use crate::upstream::proof::Way;
use crate::upstream::witness::number_of;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Younger than this is live, or younger than three periods if those are longer. And what was stamped so much before
/// the connection stood may still be on its way to the spool.
const LIVE: Duration = Duration::from_secs(30);

impl Session<'_> {
    /// The record that goes next; or until when there is none, if that is known.
    pub(super) fn next_record(&mut self) -> Result<Stored, Option<Instant>> {
        let now = Instant::now();
        let live_waits = self.live_waits(now);
        if live_waits.is_none()
            && let Some(live) = &mut self.live
        {
            match live.take_front() {
                Some(stored) => return Ok(stored),
                None => self.live_has_gone(),
            }
        }
        self.next_of_history(now, live_waits)
    }

    fn next_of_history(
        &mut self,
        now: Instant,
        live_waits: Option<Instant>,
    ) -> Result<Stored, Option<Instant>> {
        let sooner = |until: Instant| Some(live_waits.map_or(until, |live| live.min(until)));
        if self.live.is_some() && !self.window.has_room_for_history() {
            return Err(live_waits);
        }
        if let Some((until, _)) = &self.held {
            return Err(sooner(*until));
        }
        let Some(front) = self.history.front().cloned() else {
            if self.live.is_none() {
                self.live_has_gone();
            }
            return Err(live_waits);
        };
        let is_backlog = front.position <= self.backlog_upto;
        if let Some(until) = self.backlog_waits(is_backlog, now) {
            return Err(sooner(until));
        }
        if !is_backlog && let Some(until) = live_waits {
            return Err(Some(until));
        }
        if let Some(until) = self.hold(|dating| may_yet_date(dating, &front)) {
            return Err(sooner(until));
        }
        if is_backlog {
            self.pace.take(now);
        }
        self.history.take().ok_or(None)
    }

    /// Until when a record of history waits, if it may yet be dated. In strict order waiting would hold up what is
    /// sampled now.
    pub(super) fn hold(&self, may_yet_date: impl FnOnce(&Dating) -> bool) -> Option<Instant> {
        let now = Instant::now();
        let waits = self.live.is_some() && now < self.hold_until && may_yet_date(&self.work.dating.borrow());
        waits.then(|| self.hold_until.min(now + Duration::from_secs(1)))
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
        let way = if self.is_live(stored.position, &reading) { Way::LIVE } else { Way::HISTORY };
        let site = Arc::clone(&self.work.site.borrow());
        let topic = self.speaker(&site).reading_topic(way, &reading.device);
        let room = self.room(&topic);
        let payload = match self.payload(Numbered { reading: &reading, number: number_of(stored) }, room) {
            Ok(payload) if payload.is_empty() => {
                self.window.given_up(stored.position, SAYS_NOTHING, Instant::now());
                return Ok(());
            }
            Ok(payload) => payload,
            Err(why) => {
                tracing::warn!(upstream = %self.work.name, device = %reading.device, %why, "record given up");
                self.window.given_up(stored.position, why.word(), Instant::now());
                return Ok(());
            }
        };
        self.under_way.insert(stored.position, (way, reading.device));
        self.publish(What::Record(stored.position), &topic, false, payload)
    }

    /// One reading, one message; the topic says whose it is. Its line end stays behind.
    fn payload(&self, one: Numbered<'_>, room: usize) -> Result<Vec<u8>, Refused> {
        let whole = match (&self.config.layout, &self.config.encoding) {
            (Layout::ThinEdge(_), _) => Some(thin_edge::measurement(one.reading).unwrap_or_default()),
            (_, Encoding::Json) => Some(json::reading(one.reading, one.number, None)),
            _ => None,
        };
        if let Some(octets) = whole.map(String::into_bytes) {
            let too_large = Refused::TooLarge { octets: octets.len(), at_most: room };
            return if octets.len() > room { Err(too_large) } else { Ok(octets) };
        }
        let site = Arc::clone(&self.work.site.borrow());
        let mut payload = self.config.encoding.encode(&[one], &site, room)?.octets;
        while payload.last() == Some(&b'\n') {
            payload.pop();
        }
        Ok(payload)
    }

    /// A reading as a person can read it: in its encoding, or as JSON where that is no text.
    pub(super) fn shown(&self, one: Numbered<'_>) -> String {
        let payload =
            if self.config.encoding.row().lines { self.payload(one, LARGEST_PAYLOAD).ok() } else { None };
        let text = payload.and_then(|octets| String::from_utf8(octets).ok());
        text.unwrap_or_else(|| json::reading(one.reading, one.number, None))
    }

    /// Live is what was sampled since the connection stands and has not aged since. What came into the spool before
    /// the connection is told by its position, because the wall clock may have been set since.
    pub(super) fn is_live(&self, position: u64, reading: &Reading) -> bool {
        let every = self.every.get(&reading.device).copied().unwrap_or_default();
        let before = self.connected.0.saturating_sub(reading.ts.0);
        // While a backlog drains, what comes in front of it must not stand among it: it would be out of order there.
        let among_history = self.live.is_none() || self.history.is_over();
        let on_its_way = among_history && before > 0 && before <= millis(LIVE);
        let longest = LIVE.max(every * 3) + self.batch_every();
        position > self.backlog_upto && !on_its_way && self.age(reading.ts.0) <= millis(longest)
    }

    /// What is live may wait so long for its batch.
    fn batch_every(&self) -> Duration {
        let every = self.batches.as_ref().map(Batches::every);
        every.max(self.policy().batch).unwrap_or_default()
    }

    fn age(&self, ts: i64) -> i64 {
        self.work.clock.utc().0.saturating_sub(ts)
    }

    /// Where live records have grown old in their lane, because the far end does not take them as fast as they come, the
    /// lanes are cut anew as soon as nothing is in flight: then no record can be in both.
    pub(super) fn cut_anew(&mut self) {
        let oldest = self.live.as_mut().and_then(Lane::front).map(|stored| stored.ts_ms);
        let oldest = self.batches.as_ref().and_then(Batches::oldest_live).or(oldest);
        let longest = millis(LIVE + self.batch_every());
        self.recut |= self.stopping.is_none() && oldest.is_some_and(|ts| self.age(ts) > longest);
        if !self.recut || !self.window.is_empty() {
            return;
        }
        let head = self.work.reader.head();
        self.start_lanes(Some(head));
        (self.backlog_upto, self.recut) = (head, false);
    }
}

fn may_yet_date(dating: &Dating, stored: &Stored) -> bool {
    dating.is_waiting() && record::decode(&stored.octets).is_ok_and(|reading| dating.may_yet_date(&reading))
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
