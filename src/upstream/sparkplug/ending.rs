//! How a session ends: as asked, step by step; for want of the primary host; for a broker that does not read; and whose fault
//! it was.

use super::births::death;
use super::session::Session;
use super::topics::Verb;
use crate::encode::json;
use crate::upstream::mqtt::walk::Ended;
use crate::upstream::proof::Way;
use crate::upstream::witness::device_of;
use std::time::Duration;
use tokio::time::Instant;

/// What the broker has not read within this time it will not on this connection.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for a record that goes alone.
const ALONE_PATIENCE: Duration = Duration::from_secs(10);
/// How long what was there at the stop may take to be delivered, and the death to go out.
const DRAIN: Duration = Duration::from_secs(2);

/// The end, step by step: deliver up to here, die, close.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    upto: u64,
    by: Instant,
    /// The death's packet, once it is out, and whether the broker has it.
    death: Option<u16>,
    is_dead: bool,
    pub(super) closing: bool,
    /// Not asked for: the primary host is gone.
    for_want_of_host: bool,
    /// Only this connection ends: another path is taken.
    pub(super) moving: bool,
}

impl Stopping {
    /// Nothing is said any more.
    pub(super) fn is_dying(&self) -> bool {
        self.death.is_some() || self.closing
    }

    fn upto(upto: u64) -> Stopping {
        let by = Instant::now() + DRAIN;
        Stopping {
            upto,
            by,
            death: None,
            is_dead: false,
            closing: false,
            for_want_of_host: false,
            moving: false,
        }
    }
}

impl Session<'_> {
    /// Once a second.
    pub(super) fn look(&mut self) -> Result<(), Ended> {
        self.work.report.turned();
        self.warn();
        let alone = self.alone.as_ref().is_some_and(|(_, sent)| *sent);
        let patience = if alone { ALONE_PATIENCE } else { PATIENCE };
        if self.flight.waiting_since().is_some_and(|since| since.elapsed() > patience) {
            let patience = patience.as_secs();
            self.work.link.unanswered();
            return Err(Ended::Trouble(format!("the broker has not read what was sent within {patience} s")));
        }
        self.look_for_host()
    }

    pub(super) fn begin_stop(&mut self) {
        self.stopping = Some(Stopping::upto(self.work.reader.head()));
    }

    /// Another path is taken: where this one still works, what was said is waited for, and the death is said; the next
    /// birth comes over the other one.
    pub(super) fn move_on(&mut self) -> Result<(), Ended> {
        if !self.work.link.leaves_in_order() {
            return Err(Ended::Moved);
        }
        self.stopping = Some(Stopping { moving: true, ..Stopping::upto(0) });
        Ok(())
    }

    /// Dies at once, and tries elsewhere.
    pub(super) fn die_for_want_of_host(&mut self) -> Result<(), Ended> {
        let death = Some(self.say_death()?);
        self.stopping = Some(Stopping { death, for_want_of_host: true, ..Stopping::upto(0) });
        Ok(())
    }

    /// With QoS 1, for the death is to be there before the connection ends.
    fn say_death(&mut self) -> Result<u16, Ended> {
        let topic = self.config.of_node(Verb::NodeDeath);
        let payload = death(self.number, self.work.clock.utc());
        self.pipe.publish(&topic, false, payload).map_err(Ended::Trouble)
    }

    pub(super) fn heard_of_death(&mut self, packet: u16) {
        if let Some(stopping) = &mut self.stopping
            && stopping.death == Some(packet)
        {
            stopping.is_dead = true;
        }
    }

    /// Goes on with the stop as far as it can; `true` when it took too long and is over all the same.
    pub(super) fn is_finished(&mut self) -> Result<bool, Ended> {
        let Some(mut stopping) = self.stopping else { return Ok(false) };
        if Instant::now() >= stopping.by + DRAIN {
            return self.is_asked_for();
        }
        let late = Instant::now() >= stopping.by;
        if stopping.death.is_none() {
            let is_born = self.birth.is_done() && self.alone.is_none();
            let all_handed =
                self.lanes.as_ref().is_none_or(|lanes| is_born && lanes.has_taken(stopping.upto));
            if late || (all_handed && self.flight.is_empty()) {
                stopping.death = Some(self.say_death()?);
            }
        }
        if stopping.death.is_some() && !stopping.closing && (late || stopping.is_dead) {
            stopping.closing = true;
            // MQTT 5 wants it said by the broker, whatever we have said; of 3.1.1 it cannot be asked.
            self.pipe.close_with_will();
        }
        self.stopping = Some(stopping);
        Ok(false)
    }

    /// The connection has ended, and we meant it to: whether everything is over.
    pub(super) fn is_asked_for(&self) -> Result<bool, Ended> {
        let host = self.config.primary_host.as_deref().unwrap_or_default();
        match self.stopping {
            Some(stopping) if stopping.for_want_of_host => {
                Err(Ended::Trouble(format!("the primary host {host} is not there")))
            }
            Some(_) | None => Ok(true),
        }
    }

    /// The session has failed: which record may be the reason, and whether that is proven now.
    pub(super) async fn convict(&mut self, why: &str) {
        if self.stopping.is_some_and(|stopping| stopping.for_want_of_host) {
            return;
        }
        if self.born_at.is_some() && !self.birth.is_done() {
            self.node.stillborn = self.node.stillborn.saturating_add(1);
        }
        let in_flight = self.flight.positions();
        match self.alone.take() {
            Some((stored, true)) if in_flight.contains(&stored.position) => {
                let device = device_of(&stored);
                let span = stored.position..=stored.position;
                if self.node.trials.failed_alone(&span, (Way::BODIES, device.as_ref()), Instant::now()) {
                    self.work
                        .set_aside(&stored, why, |one| json::reading(one.reading, one.number, None))
                        .await;
                }
            }
            // Broken before it could be tried, or by something else.
            Some(_) => {}
            None if in_flight.is_empty() || self.node.trials.suspect().is_some() => {}
            None => self.node.trials.failed(in_flight.into_iter().map(|at| at..=at).collect()),
        }
    }
}
