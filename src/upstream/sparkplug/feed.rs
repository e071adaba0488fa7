//! Which records go next, and what is said of them.

use super::births::octets;
use super::flight::{Fate, What};
use super::known::is_silent;
use super::lanes::Lanes;
use super::session::Session;
use super::topics::Verb;
use super::values::Said;
use super::wire::Metric;
use crate::model::{Name, Reading};
use crate::record;
use crate::spool::Stored;
use crate::upstream::mqtt::lane::Lane;
use crate::upstream::mqtt::walk::Ended;
use std::time::Duration;
use tokio::time::Instant;

/// Younger than this is live, or younger than three periods if those are longer.
const LIVE: Duration = Duration::from_secs(30);
/// Metrics in a message at most.
const METRICS: usize = 500;
/// Records of history that are put together by device.
const RECORDS: usize = 16;
/// Messages that may be handed over at once: what those make, and as many births.
const ROOM: usize = 2 * RECORDS + super::births::SPARE;

/// What becomes of a record whose device cannot be born.
const TOO_LARGE: Fate = Fate::GivenUp("too-large");

/// A device's metrics that go in one message, and the records they are of.
type Told = Vec<(Name, Vec<Metric>)>;

impl Session<'_> {
    pub(super) fn start_lanes(&mut self) {
        self.lanes = Some(Lanes::cut(self.work, self.node.ways.order));
        self.history_said.forget();
    }

    /// Hands records over while there is room. When history has to wait: until when.
    pub(super) async fn fill_records(&mut self) -> Result<Option<Instant>, Ended> {
        while self.flight.has_room() && self.pipe.room() >= ROOM && !self.recut {
            let live = self.work.link.policy().allow.live;
            if let Some((after, stored)) = self.lanes.as_mut().filter(|_| live).and_then(Lanes::take_live) {
                self.hand_live(after, &stored).await?;
                continue;
            }
            let (chunk, wait) = self.next_of_history();
            if chunk.is_empty() {
                let Some(wait) = wait else { return Ok(None) };
                return Ok(Some(wait));
            }
            let before = self.octets;
            self.hand_history(chunk).await?;
            self.work.link.history_went(self.octets - before, Instant::now());
        }
        Ok(None)
    }

    /// Some of history; where there is none to be had now: until when, if that is known.
    fn next_of_history(&mut self) -> (Vec<(u64, Stored)>, Option<Instant>) {
        let now = Instant::now();
        let mut chunk = Vec::new();
        while chunk.len() < RECORDS {
            let hold = self.hold();
            let Some(lanes) = &mut self.lanes else { break };
            let Some(front) = lanes.history.front() else { break };
            let is_backlog = front.position <= lanes.backlog_upto;
            // In strict order what follows the backlog is live, and goes as it comes.
            if !is_backlog && !chunk.is_empty() {
                break;
            }
            if is_backlog
                && let Some(until) = self.pace.not_before(now).max(self.work.link.history_waits(now))
            {
                return (chunk, Some(until));
            }
            if !is_backlog && !self.work.link.policy().allow.live {
                return (chunk, Some(now + Duration::from_secs(1)));
            }
            if let Some(until) = hold {
                return (chunk, Some(until));
            }
            if is_backlog {
                self.pace.take(now);
            }
            chunk.extend(lanes.take_history());
            if !is_backlog {
                break;
            }
        }
        (chunk, None)
    }

    /// Until when the next record of history waits, if it may yet be dated. In strict order waiting would hold up what is
    /// sampled now.
    fn hold(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.is_strict() || now >= self.hold_until || !self.work.dating.borrow().is_waiting() {
            return None;
        }
        let front = self.lanes.as_mut()?.history.front()?;
        let reading = record::decode(&front.octets).ok()?;
        let waits = self.work.dating.borrow().may_yet_date(&reading);
        waits.then(|| self.hold_until.min(now + Duration::from_secs(1)))
    }

    fn decode(&self, stored: &Stored) -> Option<Reading> {
        match record::decode(&stored.octets) {
            Ok(mut reading) => {
                self.work.dating.borrow().date(&mut reading);
                Some(reading)
            }
            Err(error) => {
                tracing::warn!(upstream = %self.work.name, position = stored.position, %error, "record given up");
                None
            }
        }
    }

    fn ended(&mut self, after: u64, stored: &Stored, device: Option<&Name>, fate: Fate) {
        self.whose.extend(device.map(|device| (stored.position, device.clone())));
        self.flight.handed(What::Record { after, position: stored.position, fate });
    }

    async fn hand_live(&mut self, after: u64, stored: &Stored) -> Result<(), Ended> {
        let Some(reading) = self.decode(stored) else {
            self.ended(after, stored, None, Fate::GivenUp("undecodable"));
            return Ok(());
        };
        if self.age(reading.ts.0) > self.longest(&reading.device) {
            return self.hand_history(vec![(after, stored.clone())]).await;
        }
        let met = self.meet(&reading).await;
        self.node.known.take(&reading);
        self.node.known.listen(&reading);
        let fate = self.say_live(&reading, &met)?;
        self.ended(after, stored, Some(&reading.device), fate);
        Ok(())
    }

    fn say_live(&mut self, reading: &Reading, met: &[Name]) -> Result<Fate, Ended> {
        let device = &reading.device;
        let is_born = self.born.contains(device);
        if self.node.known.is_lost(device) {
            self.mourn()?;
            // What its death has said needs no words of its own.
            let died = is_born && !self.born.contains(device);
            return Ok(if died { Fate::Delivered } else { Fate::LeftOut });
        }
        self.lent.remove(device);
        if !met.is_empty() || !is_born {
            // With all that the reading says.
            return Ok(if self.bear_with(device, met)? { Fate::Delivered } else { TOO_LARGE });
        }
        let mut said = std::mem::take(&mut self.live_said);
        let metrics = self.news(reading, &mut said, false);
        self.live_said = said;
        if metrics.is_empty() {
            return Ok(Fate::LeftOut);
        }
        self.say_data(device, metrics)?;
        Ok(Fate::Delivered)
    }

    /// Records of the backlog, and of it those of a device in one message.
    pub(super) async fn hand_history(&mut self, records: Vec<(u64, Stored)>) -> Result<(), Ended> {
        let mut told: Told = Vec::new();
        for (after, stored) in records {
            let Some(reading) = self.decode(&stored) else {
                self.ended(after, &stored, None, Fate::GivenUp("undecodable"));
                continue;
            };
            // In strict order: sampled since the backlog was.
            let is_now = self
                .lanes
                .as_ref()
                .is_some_and(|lanes| lanes.live.is_none() && stored.position > lanes.backlog_upto);
            if is_now && self.age(reading.ts.0) <= self.longest(&reading.device) {
                let met = self.meet(&reading).await;
                self.node.known.take(&reading);
                self.node.known.listen(&reading);
                let fate = self.say_live(&reading, &met)?;
                self.ended(after, &stored, Some(&reading.device), fate);
                continue;
            }
            let fate = self.tell_history(&reading, &mut told).await?;
            self.ended(after, &stored, Some(&reading.device), fate);
        }
        for (device, metrics) in told {
            self.say_data(&device, metrics)?;
        }
        Ok(())
    }

    async fn tell_history(&mut self, reading: &Reading, told: &mut Told) -> Result<Fate, Ended> {
        let device = &reading.device;
        let met = self.meet(reading).await;
        // A silent device says nothing that it could be born for.
        if !self.born.contains(device) && is_silent(reading) {
            return Ok(Fate::LeftOut);
        }
        if !met.is_empty() || !self.born.contains(device) {
            if self.node.known.is_lost(device) {
                self.lent.insert(device.clone());
            }
            if !self.bear_with(device, &met)? {
                return Ok(TOO_LARGE);
            }
        }
        let mut said = std::mem::take(&mut self.history_said);
        let metrics = self.news(reading, &mut said, true);
        self.history_said = said;
        if metrics.is_empty() {
            return Ok(Fate::LeftOut);
        }
        match told.iter_mut().find(|(of, _)| of == device) {
            Some((_, all)) => all.extend(metrics),
            None => told.push((device.clone(), metrics)),
        }
        Ok(Fate::Delivered)
    }

    /// Points that nobody has mentioned: their aliases are written down before they are said.
    async fn meet(&mut self, reading: &Reading) -> Vec<Name> {
        let met = self.node.known.meet(reading, &mut self.node.kept);
        if !met.is_empty() {
            self.node.kept.save().await;
        }
        met
    }

    /// A birth with what was met. Where that makes it too large, the record that has brought it goes, and not the device.
    fn bear_with(&mut self, device: &Name, met: &[Name]) -> Result<bool, Ended> {
        let is_born = self.bear_device(device)?;
        if !is_born {
            self.node.known.unmeet(device, met);
        }
        Ok(is_born)
    }

    /// What is new in a reading, by aliases.
    fn news(&self, reading: &Reading, said: &mut Said, is_historical: bool) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for (name, sample) in &reading.samples {
            let Some(point) = self.node.known.point(&reading.device, name) else { continue };
            let Some(mut metric) = said.news(point.alias, reading.ts, point.datatype, sample) else {
                continue;
            };
            metric.is_historical = is_historical.then_some(true);
            metric.datatype = self.config.include_datatype.then_some(point.datatype.number());
            metrics.push(metric);
        }
        metrics
    }

    /// In messages of at most so many metrics, and of as many octets as the broker takes.
    fn say_data(&mut self, device: &Name, metrics: Vec<Metric>) -> Result<(), Ended> {
        let topic = self.config.of_device(Verb::DeviceData, device.as_str());
        let room = self.greeting.room(&topic);
        let mut left = metrics.as_slice();
        while !left.is_empty() {
            let mut count = left.len().min(METRICS);
            while count > 1 && octets(left.get(..count).unwrap_or_default()) > room {
                count = count.div_ceil(2);
            }
            let (now, later) = left.split_at(count);
            self.say(Verb::DeviceData, Some(device), now.to_vec())?;
            left = later;
        }
        Ok(())
    }

    fn age(&self, ts: i64) -> i64 {
        self.work.clock.utc().0.saturating_sub(ts)
    }

    /// Older than this is no longer live.
    fn longest(&self, device: &Name) -> i64 {
        let every = self.every.get(device).copied().unwrap_or_default();
        i64::try_from(LIVE.max(every * 3).as_millis()).unwrap_or(i64::MAX)
    }

    /// Where live records have grown old in their lane, because the far end does not take them as fast as they come, the
    /// lanes are cut anew as soon as nothing is in flight: then no record can be in both.
    pub(super) fn cut_anew(&mut self) {
        let live = self.lanes.as_mut().and_then(|lanes| lanes.live.as_mut());
        let oldest = live.and_then(Lane::front).map(|stored| stored.ts_ms);
        let longest = i64::try_from(LIVE.as_millis()).unwrap_or(i64::MAX);
        self.recut |= self.stopping.is_none() && oldest.is_some_and(|ts| self.age(ts) > longest);
        if self.recut && self.flight.is_empty() {
            self.start_lanes();
            self.recut = false;
        }
    }
}
