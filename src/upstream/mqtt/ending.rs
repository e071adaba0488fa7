//! How a session ends: as asked, step by step; for a broker that does not acknowledge; and whose fault it was.

use super::batches::Batches;
use super::layout::Said;
use super::session::{Ended, Session};
use super::trials::Span;
use super::window::What;
use crate::upstream::proof::Way;
use crate::upstream::witness::device_of;
use std::time::Duration;
use tokio::time::Instant;

/// A publish that is not acknowledged for so long will not be on this connection.
const ACK_PATIENCE: Duration = Duration::from_secs(20);
/// The same for a record that is sent alone: with two such tries and the one before them, what waits behind a record
/// that nobody wants waits less than a minute.
const ALONE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a backlog waits that the broker refuses, before it is tried on another connection.
const HELD: Duration = Duration::from_secs(60);
/// How long what was there at the stop may take to be delivered, and the good-bye to go out.
const DRAIN: Duration = Duration::from_secs(2);

/// The end, step by step: deliver up to here, say good-bye, close.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    pub(super) upto: u64,
    by: Instant,
    said_goodbye: bool,
    pub(super) closing: bool,
    /// Only this connection ends.
    pub(super) moving: bool,
}

impl Stopping {
    /// What is in flight is waited for, nothing else goes, and nobody says good-bye.
    pub(super) fn to_move() -> Stopping {
        let by = Instant::now() + DRAIN;
        Stopping { upto: 0, by, said_goodbye: true, closing: false, moving: true }
    }
}

impl Session<'_> {
    /// Once a second: a broker that does not acknowledge, and the status that is due.
    pub(super) fn look(&mut self) -> Result<(), Ended> {
        self.work.report.turned();
        self.warn();
        let alone = self.alone.as_ref().is_some_and(|(_, sent)| *sent);
        let patience = if alone { ALONE_PATIENCE } else { ACK_PATIENCE };
        // A slow link is no dead one as long as something is acknowledged.
        let waiting = self.window.waiting_since().map(|since| since.max(self.progress));
        if waiting.is_some_and(|since| since.elapsed() > patience) {
            let patience = patience.as_secs();
            self.work.link.unanswered();
            return Err(Ended::Trouble(format!("a publish was not acknowledged within {patience} s")));
        }
        if let Some((_, why)) = self.held.take_if(|(until, _)| Instant::now() >= *until) {
            return Err(Ended::Trouble(why));
        }
        let caught_up = self.had_backlog && self.work.reader.account().borrow().pending == 0;
        if self.stopping.is_none() && (caught_up || Instant::now() >= self.status_due) {
            self.say_status();
        }
        Ok(())
    }

    pub(super) fn begin_stop(&mut self) {
        let (upto, by) = (self.work.reader.head(), Instant::now() + DRAIN);
        self.stopping = Some(Stopping { upto, by, said_goodbye: false, closing: false, moving: false });
    }

    /// Goes on with the stop as far as it can; `true` when it took too long and is over all the same.
    pub(super) fn is_finished(&mut self) -> Result<bool, Ended> {
        let Some(mut stopping) = self.stopping else { return Ok(false) };
        if Instant::now() >= stopping.by + DRAIN {
            return Ok(true);
        }
        let late = Instant::now() >= stopping.by;
        let all_handed = self.alone.is_none() && self.has_handed(stopping.upto);
        if !stopping.said_goodbye && (late || (all_handed && self.has_said_all() && self.window.is_empty())) {
            stopping.said_goodbye = true;
            if !self.says_goodbye()? {
                // Without a DISCONNECT the broker says our Will, which is as true.
                return Ok(true);
            }
        }
        if stopping.said_goodbye && !stopping.closing && (late || self.window.is_empty()) {
            stopping.closing = true;
            self.pipe.close();
        }
        self.stopping = Some(stopping);
        Ok(false)
    }

    /// Whatever else was to be said, and however fast; `false` where there is no place for it.
    fn says_goodbye(&mut self) -> Result<bool, Ended> {
        self.forget_words();
        for Said { topic, retain, payload } in self.offline() {
            if !self.window.has_room() {
                return Ok(false);
            }
            self.publish(What::Word, &topic, retain, payload)?;
        }
        Ok(true)
    }

    fn has_handed(&self, upto: u64) -> bool {
        let taken = match &self.live {
            Some(live) => self.history.is_over() && live.has_taken(upto),
            None => self.history.has_taken(upto),
        };
        taken && self.batches.as_ref().is_none_or(Batches::is_empty)
    }

    /// The session has failed: which record may be the reason, and whether that is proven now.
    pub(super) async fn convict(&mut self, why: &str) {
        let in_flight: Vec<Span> =
            self.window.records().into_iter().map(|position| self.span_of(position)).collect();
        match self.alone.take() {
            Some((stored, true)) => {
                let Some(span) = in_flight.into_iter().next() else { return };
                let way = self.way_of(*span.end());
                let refused = stored.iter().find(|stored| *span.end() == stored.position);
                let device = refused.and_then(device_of);
                if self.trials.failed_alone(&span, (way, device.as_ref()), Instant::now()) {
                    if let Some(stored) = refused {
                        self.work.set_aside(stored, why, |one| self.shown(one)).await;
                    }
                } else if span.start() != span.end() {
                    // It comes to an end within a few tries, and what waits behind it should not wait for long.
                    self.backoff.worked();
                }
            }
            // Broken before it could be tried.
            Some(_) => {}
            // The broker has named a batch.
            None if in_flight.is_empty() || self.trials.suspect().is_some() => {}
            None => self.trials.failed(in_flight),
        }
    }

    /// The broker has refused this record for good and said so. Of a batch that is refused nobody knows yet which
    /// record it is for: it goes again by halves, alone.
    pub(super) async fn refuse(&mut self, position: u64, way: Way, why: &'static str) -> Result<bool, Ended> {
        let span = self.span_of(position);
        if span.start() != span.end() {
            self.trials.halve(&span);
            return match self.alone {
                Some(_) => Ok(false),
                None => {
                    Err(Ended::Trouble(format!("the broker refuses a batch, which goes by halves: {why}")))
                }
            };
        }
        let before = position.saturating_sub(1);
        let found = self.work.reader.read_until(before, position, 1, usize::MAX).await?;
        let Some(stored) = found.into_iter().next() else { return Ok(false) };
        let device = device_of(&stored);
        if !self.trials.proof.may_refuse((way, device.as_ref()), Instant::now()) {
            let device = device.map_or_else(String::new, |device| format!(" of {device}"));
            let why = format!(
                "the broker refuses records{device}, {why}, and has taken none of another device that way: all wait"
            );
            return self.doubt(way, why).map(|()| false);
        }
        self.unwanted.extend(device.map(|device| ((device, way), why)));
        self.work.set_aside(&stored, why, |one| self.shown(one)).await;
        Ok(true)
    }

    /// A refusal that is not believed. Where it is the backlog that is refused, only that waits: for a while in this session,
    /// and then for what the next one finds.
    fn doubt(&mut self, way: Way, why: String) -> Result<(), Ended> {
        if way != Way::HISTORY || self.live.is_none() {
            return Err(Ended::Trouble(why));
        }
        if self.alone.is_some() {
            self.trials.gone();
        }
        self.held.get_or_insert((Instant::now() + HELD, why));
        Ok(())
    }
}
