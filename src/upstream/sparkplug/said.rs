//! What a session says of the node beside its births: events, losses, what waits.

use super::births::{SPARE, number, text};
use super::flight::What;
use super::session::Session;
use super::topics::Verb;
use super::values::datatype;
use super::wire::Metric;
use crate::encode::json;
use crate::model::{Bad, Event, EventKind, Form, Sample, Timestamp};
use crate::upstream::mqtt::walk::Ended;
use std::time::Duration;
use tokio::time::Instant;

/// How much waits is said again after this, if it has changed, and at once when nothing does any more.
pub(super) const PENDING_EVERY: Duration = Duration::from_secs(60);

const SOFTWARE: &str = "Node Info/Software";
const VERSION: &str = "Node Info/Version";
const PENDING: &str = "Queue/Pending";
const LOST: &str = "Losses/Records";
const LAST_LOSS: &str = "Losses/Last";
const LAST_EVENT: &str = "Events/Last";

impl Session<'_> {
    /// All but those that every node has.
    pub(super) fn node_metrics(&mut self, now: Timestamp) -> Vec<Metric> {
        let nothing = || (now, Err(Bad::NotYet));
        let last = |told: &Option<(Timestamp, String)>| {
            told.as_ref().map_or_else(nothing, |(at, said)| (*at, text(said)))
        };
        let (event, loss) = (last(&self.node.event), last(&self.node.loss));
        let (version, lost) = (text(self.work.version), number(self.lost()));
        let pending = number(self.pending_told);
        vec![
            self.of_node(SOFTWARE, Form::Text, now, &text("linesman")),
            self.of_node(VERSION, Form::Text, now, &version),
            self.of_node(PENDING, Form::Whole, now, &pending),
            self.of_node(LOST, Form::Whole, now, &lost),
            self.of_node(LAST_LOSS, Form::Text, loss.0, &loss.1),
            self.of_node(LAST_EVENT, Form::Text, event.0, &event.1),
        ]
    }

    fn lost(&self) -> u64 {
        self.work.reader.account().borrow().dropped.values().sum()
    }

    /// What is new of the node, as data says it.
    fn node_data(&mut self, metrics: &[(&str, Form, &Sample)], at: Timestamp) -> Result<(), Ended> {
        let mut said = Vec::new();
        for (name, form, sample) in metrics {
            let (alias, datatype) = (self.node.kept.alias(None, name), datatype(*form));
            let Some(mut metric) = self.node_said.news(alias, at, datatype, sample) else { continue };
            metric.datatype = self.config.include_datatype.then_some(datatype.number());
            said.push(metric);
        }
        if said.is_empty() { Ok(()) } else { self.say(Verb::NodeData, None, said) }
    }

    /// Events go before records: they are few, and somebody waits for them. A device that is lost dies by one of them.
    pub(super) fn tell_events(&mut self) -> Result<(), Ended> {
        while self.pipe.room() > SPARE {
            let Some((number, event)) = self.work.events.borrow().after(self.told) else { break };
            self.told = number;
            self.note_the_lost(&event);
            let said = json::event(&event);
            self.node_data(&[(LAST_EVENT, Form::Text, &text(&said))], event.ts)?;
            self.node.event = Some((event.ts, said));
            self.flight.handed(What::Event(number));
        }
        Ok(())
    }

    /// That one is found is left to its readings, which say so at once: others of before may still be on their way.
    fn note_the_lost(&mut self, event: &Event) {
        match (event.kind, &event.device) {
            (EventKind::DeviceLost, Some(device)) => self.node.known.lost(device),
            (EventKind::LineDown, _) => {
                let site = self.work.site.borrow();
                for device in site.devices.iter().filter(|device| device.line == event.line) {
                    self.node.known.lost(&device.name);
                }
            }
            _ => {}
        }
    }

    /// Every loss is announced until the broker has read it.
    pub(super) async fn tell_gaps(&mut self) -> Result<(), Ended> {
        for gap in self.work.gaps_after(self.gap_told).await? {
            // The one behind it must not go first, for then this one would count as told.
            if self.pipe.room() <= SPARE {
                break;
            }
            let loss = json::Loss { from: gap.from, to: gap.to, count: gap.count, reason: &gap.reason };
            let now = self.work.clock.utc();
            let (said, lost) = (json::gap(now, &loss, None), number(self.lost()));
            self.node_data(&[(LOST, Form::Whole, &lost), (LAST_LOSS, Form::Text, &text(&said))], now)?;
            self.node.loss = Some((now, said));
            self.flight.handed(What::Gap(gap.id));
            self.gap_told = Some(gap.id);
        }
        Ok(())
    }

    pub(super) fn tell_pending(&mut self) -> Result<(), Ended> {
        let pending = self.work.reader.account().borrow().pending;
        let is_due = Instant::now() >= self.pending_due || pending == 0 && self.pending_told > BACKLOG;
        if pending == self.pending_told || !is_due || self.pipe.room() <= SPARE {
            return Ok(());
        }
        (self.pending_told, self.pending_due) = (pending, Instant::now() + PENDING_EVERY);
        self.node_data(&[(PENDING, Form::Whole, &number(pending))], self.work.clock.utc())
    }
}

/// So few are on their way and no backlog: worth no word of their own when they have arrived.
const BACKLOG: u64 = 32;
