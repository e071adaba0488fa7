//! Births and deaths: of the node, and of its devices.

use super::known::node_metric;
use super::session::Session;
use super::topics::Verb;
use super::values::millis;
use super::wire::{Datatype, Is, Metric, Payload};
use crate::model::{Form, Name, PointInfo, Sample, Site, Timestamp, Value};
use crate::record;
use crate::upstream::mqtt::walk::Ended;
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const BDSEQ: &str = "bdSeq";
const REBIRTH: &str = "Node Control/Rebirth";
/// Whoever asks for births within this time after the last ones is answered at its end, together with all who ask meanwhile.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The newest records, in which a birth looks for current values.
const NEWEST: u64 = 512;
/// After so many sessions in a row that broke before all were born, the next births say no values.
const STILLBORN: u32 = 2;
/// Messages that may wait for the socket before the next births do: the rest of its queue is for what has to go out.
pub(super) const SPARE: usize = 16;

/// How far the births of this session are.
#[derive(Debug)]
pub(super) enum Birth {
    /// For the subscription, or the primary host.
    Waiting,
    /// Not before this.
    Due(Instant),
    /// The node is born; these devices are not yet.
    Underway(VecDeque<Name>),
    Done,
}

impl Birth {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Birth::Done)
    }
}

/// The node's death: nothing but the number of its session.
pub(super) fn death(number: u8, at: Timestamp) -> Vec<u8> {
    let metrics = vec![session_number(number, at)];
    Payload { timestamp: Some(millis(at)), metrics, seq: None }.encode_to_vec()
}

fn session_number(number: u8, at: Timestamp) -> Metric {
    Metric {
        name: Some(BDSEQ.to_owned()),
        timestamp: Some(millis(at)),
        datatype: Some(Datatype::Int64.number()),
        value: Some(Is::Long(number.into())),
        ..Metric::default()
    }
}

/// Of a payload with these metrics, at most.
pub(super) fn octets(metrics: &[Metric]) -> usize {
    let metrics = metrics.to_vec();
    Payload { timestamp: Some(u64::MAX), metrics, seq: Some(255) }.encoded_len()
}

/// Whether a command asks for births.
fn asks_for_births(payload: &[u8]) -> Option<bool> {
    let payload = Payload::decode(payload).ok()?;
    let asks =
        |metric: &Metric| metric.name.as_deref() == Some(REBIRTH) && metric.value == Some(Is::Boolean(true));
    Some(payload.metrics.iter().any(asks))
}

impl Session<'_> {
    pub(super) fn command(&mut self, payload: &[u8]) {
        match asks_for_births(payload) {
            Some(true) if matches!(self.birth, Birth::Waiting) => {}
            Some(true) => {
                let again = self.born_at.map_or_else(Instant::now, |at| at + AGAIN_AFTER);
                self.bear_again(again.max(Instant::now()));
            }
            Some(false) => {
                tracing::debug!(upstream = %self.work.name, "a command that asks for no births is passed over");
            }
            None => {
                tracing::debug!(upstream = %self.work.name, "a command that cannot be read is passed over")
            }
        }
    }

    /// Other devices or points are born; that a meter has said its serial number changes none of them.
    pub(super) fn look_at_the_site(&mut self) {
        let site = Arc::clone(&self.work.site.borrow_and_update());
        let what = |site: &Site| -> Vec<(Name, Arc<[PointInfo]>)> {
            site.devices.iter().map(|device| (device.name.clone(), Arc::clone(&device.points))).collect()
        };
        if what(&site) != what(&self.site) {
            self.bear_again(Instant::now());
        }
    }

    /// All births anew; until then no data.
    pub(super) fn bear_again(&mut self, at: Instant) {
        match self.birth {
            Birth::Waiting => {}
            Birth::Due(due) => self.birth = Birth::Due(due.min(at)),
            Birth::Underway(_) | Birth::Done => self.birth = Birth::Due(at),
        }
    }

    /// Goes on with the births; where they have to wait: until when.
    pub(super) async fn bear(&mut self) -> Result<Option<Instant>, Ended> {
        if let Birth::Due(at) = self.birth {
            if at > Instant::now() {
                return Ok(Some(at));
            }
            if self.pipe.room() < SPARE {
                return Ok(None);
            }
            self.bear_node().await?;
        }
        while let Birth::Underway(devices) = &mut self.birth {
            let Some(device) = devices.front().cloned() else {
                self.birth = Birth::Done;
                break;
            };
            if self.pipe.room() < SPARE {
                return Ok(None);
            }
            devices.pop_front();
            if !self.node.known.is_lost(&device) || self.lent.contains(&device) {
                self.bear_device(&device)?;
            }
        }
        Ok(None)
    }

    async fn bear_node(&mut self) -> Result<(), Ended> {
        let site = Arc::clone(&self.work.site.borrow_and_update());
        self.every = site.devices.iter().map(|device| (device.name.clone(), device.every)).collect();
        self.node.known.describe(&site, &mut self.node.kept);
        self.site = site;
        self.bury_who_is_no_more()?;
        if self.lanes.is_none() {
            if self.node.stillborn < STILLBORN {
                self.look_at_the_newest().await?;
            } else {
                self.node.known.forget();
            }
            self.summon().await?;
            self.start_lanes();
        }
        let metrics = self.node_birth();
        self.node.kept.save().await;
        self.seq = 0;
        self.say(Verb::NodeBirth, None, metrics)?;
        self.born_at = Some(Instant::now());
        self.born.clear();
        self.live_said.forget();
        self.history_said.forget();
        self.birth = Birth::Underway(self.node.known.names().cloned().collect());
        Ok(())
    }

    /// A device that the site no longer has does not stay alive at the host.
    fn bury_who_is_no_more(&mut self) -> Result<(), Ended> {
        let gone: Vec<Name> =
            self.born.iter().filter(|born| !self.every.contains_key(*born)).cloned().collect();
        for device in gone {
            self.say(Verb::DeviceDeath, Some(&device), Vec::new())?;
            self.born.remove(&device);
        }
        Ok(())
    }

    /// What was sampled while nobody listened is history; the newest of it is what is now.
    async fn look_at_the_newest(&mut self) -> Result<(), Ended> {
        let reader = &self.work.reader;
        let (head, most) = (reader.head(), usize::try_from(NEWEST).unwrap_or(usize::MAX));
        let after = head.saturating_sub(NEWEST).max(reader.cursor());
        for stored in reader.read_until(after, head, most, usize::MAX).await? {
            let Ok(mut reading) = record::decode(&stored.octets) else { continue };
            self.work.dating.borrow().date(&mut reading);
            self.node.known.take(&reading);
            self.node.known.listen(&reading);
        }
        Ok(())
    }

    /// Bears a device, for the first time or again.
    /// `false` where its birth is too large.
    pub(super) fn bear_device(&mut self, device: &Name) -> Result<bool, Ended> {
        let now = self.work.clock.utc();
        let metrics = self.node.known.birth(device, now, &mut self.live_said);
        let room = self.greeting.room(&self.config.of_device(Verb::DeviceBirth, device.as_str()));
        let octets = octets(&metrics);
        if octets > room {
            if self.unbearable.insert(device.clone()) {
                tracing::warn!(upstream = %self.work.name, %device, octets, at_most = room, "the birth of this device is larger than what is sent at once; its readings are given up");
            }
            return Ok(false);
        }
        self.unbearable.remove(device);
        self.born.insert(device.clone());
        self.say(Verb::DeviceBirth, Some(device), metrics)?;
        Ok(true)
    }

    /// Says of whom is lost that he is; whose backlog is not delivered yet lives as long as that takes.
    pub(super) fn mourn(&mut self) -> Result<(), Ended> {
        if self.lanes.as_ref().is_some_and(super::lanes::Lanes::is_backlog_done) {
            self.lent.clear();
        }
        let lost = |device: &&Name| self.node.known.is_lost(device) && !self.lent.contains(*device);
        let lost: Vec<Name> = self.born.iter().filter(lost).cloned().collect();
        for device in lost {
            if self.pipe.room() < SPARE {
                break;
            }
            self.say(Verb::DeviceDeath, Some(&device), Vec::new())?;
            self.born.remove(&device);
        }
        Ok(())
    }

    /// The node's metrics in the order of their times.
    fn node_birth(&mut self) -> Vec<Metric> {
        let now = self.work.clock.utc();
        let pending = self.work.reader.account().borrow().pending;
        (self.pending_told, self.pending_due) = (pending, Instant::now() + super::said::PENDING_EVERY);
        let rebirth = Metric {
            name: Some(REBIRTH.to_owned()),
            timestamp: Some(millis(now)),
            datatype: Some(Datatype::Boolean.number()),
            value: Some(Is::Boolean(false)),
            ..Metric::default()
        };
        let mut metrics = self.node_metrics(now);
        metrics.extend([session_number(self.number, now), rebirth]);
        metrics.sort_by_key(|metric| metric.timestamp);
        metrics
    }

    /// A metric of the node as its birth says it.
    pub(super) fn of_node(&mut self, name: &str, form: Form, at: Timestamp, sample: &Sample) -> Metric {
        let alias = self.node.kept.alias(None, name);
        self.node_said.note(alias, sample);
        node_metric(alias, name, form, at, sample)
    }
}

pub(super) fn number(number: u64) -> Sample {
    Ok(Value::Number(number.into()))
}

pub(super) fn text(text: &str) -> Sample {
    Ok(Value::Text(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_the_number_of_the_session_and_nothing_else() {
        let payload = Payload::decode(&death(255, Timestamp(5))[..]).unwrap();
        assert_eq!((payload.timestamp, payload.seq, payload.metrics.len()), (Some(5), None, 1));
        let metric = &payload.metrics[0];
        assert_eq!((metric.name.as_deref(), metric.datatype, metric.alias), (Some("bdSeq"), Some(4), None));
        assert_eq!(metric.value, Some(Is::Long(255)));
    }

    #[test]
    fn births_are_asked_for_by_name_and_true_alone() {
        let command = |name: &str, value: Is| {
            let metric = Metric { name: Some(name.to_owned()), value: Some(value), ..Metric::default() };
            asks_for_births(&Payload { metrics: vec![metric], ..Payload::default() }.encode_to_vec())
        };
        assert_eq!(command(REBIRTH, Is::Boolean(true)), Some(true));
        assert_eq!(command(REBIRTH, Is::Boolean(false)), Some(false));
        assert_eq!(command("Node Control/Reboot", Is::Boolean(true)), Some(false));
        assert_eq!(asks_for_births(b"\xff\xff\xff"), None);
    }
}
