//! One lane's state: records in, records out, and the ledger of both.

use super::ledger::Ledger;
use super::rules::{Rule, Rules};
use super::window::{Window, end_of, millis};
use super::{GRACE, MOST_IN_WINDOW, MOST_OPEN};
use crate::model::{Bad, Dating, Name, Reading, Sample, Site};
use crate::record;
use crate::spool::{Outcome, Stored};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What a sieve must know of the world when a record comes.
pub(in crate::upstream) struct Around<'a> {
    pub(in crate::upstream) site: &'a Arc<Site>,
    pub(in crate::upstream) dating: &'a Dating,
}

#[derive(Debug)]
pub(in crate::upstream) struct Sieve {
    rules: Arc<Rules>,
    /// Of which the rules below were made.
    site: Option<Arc<Site>>,
    devices: HashMap<Name, Device>,
    ledger: Ledger,
    /// What goes, oldest first.
    ready: VecDeque<Stored>,
    /// The records that one publish stands for, by the position under which it goes.
    together: BTreeMap<u64, Vec<u64>>,
}

#[derive(Debug, Default)]
struct Device {
    windowed: bool,
    rules: HashMap<Name, Rule>,
    sent: HashMap<Name, (Sample, i64)>,
    /// The quality of each point when it was last seen: `None` is good.
    seen: HashMap<Name, Option<Bad>>,
    window: Option<Window>,
    /// The stamp of the last window that was closed.
    closed: Option<i64>,
}

/// Why a window is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    AtItsEnd,
    Early,
}

impl Sieve {
    pub(in crate::upstream) fn new(rules: Arc<Rules>) -> Sieve {
        Sieve {
            rules,
            site: None,
            devices: HashMap::new(),
            ledger: Ledger::default(),
            ready: VecDeque::new(),
            together: BTreeMap::new(),
        }
    }

    /// The next record of the lane.
    pub(in crate::upstream) fn feed(&mut self, stored: Stored, around: &Around<'_>) {
        self.ledger.open(stored.position);
        // Whoever sends it gives it up by name.
        let Ok(mut reading) = record::decode(&stored.octets) else { return self.ready.push_back(stored) };
        around.dating.date(&mut reading);
        self.know(around.site);
        let rules = Arc::clone(&self.rules);
        let device = self.devices.entry(reading.device.clone()).or_default();
        device.learn(&rules, &reading, around.site);
        reading.samples.retain(|(point, _)| device.rules.get(point).is_some_and(|rule| rule.wanted));
        if reading.samples.is_empty() {
            return self.ledger.left_out(stored.position);
        }
        if device.windowed {
            self.gather(stored, reading)
        } else {
            self.pass(stored, reading, Vec::new())
        }
        if self.ledger.len() > MOST_OPEN {
            self.close_all();
        }
    }

    /// Rules are made anew when what exists is another.
    fn know(&mut self, site: &Arc<Site>) {
        if !self.site.as_ref().is_some_and(|known| Arc::ptr_eq(known, site)) {
            self.devices.values_mut().for_each(|device| device.rules.clear());
            self.site = Some(Arc::clone(site));
        }
    }

    /// Into the device's window, or past it.
    fn gather(&mut self, stored: Stored, reading: Reading) {
        let (width, ts, name) = (millis(self.rules.window), reading.ts.0, reading.device.clone());
        let Some(device) = self.devices.get_mut(&name) else { return };
        let changed = device.notices_change(&reading);
        let late = device.closed.is_some_and(|closed| ts <= closed && closed.saturating_sub(ts) <= width);
        if late || reading.clock_unsure {
            return self.pass(stored, reading, Vec::new());
        }
        let end = end_of(ts, width);
        if let Some(window) = device.window.as_ref() {
            match (window.end < end, changed || window.end > end) {
                (true, _) => self.close(&name, Closing::AtItsEnd),
                (false, true) => self.close(&name, Closing::Early),
                (false, false) => {}
            }
        }
        let Some(device) = self.devices.get_mut(&name) else { return };
        if changed {
            device.closed = Some(ts);
            return self.pass(stored, reading, Vec::new());
        }
        let window = match device.window.take() {
            Some(mut window) => {
                window.carried_on(stored, ts);
                window
            }
            None => Window::of(stored, ts, end),
        };
        let window = device.window.insert(window);
        for (point, sample) in reading.samples {
            if let Some(rule) = device.rules.get(&point) {
                window.put(point, sample, rule);
            }
        }
        if window.before.len() + 1 >= MOST_IN_WINDOW {
            self.close(&name, Closing::Early);
        }
    }

    fn close(&mut self, name: &Name, why: Closing) {
        let Some(device) = self.devices.get_mut(name) else { return };
        let Some(mut window) = device.window.take() else { return };
        let whole = why == Closing::AtItsEnd;
        device.closed = Some(window.stamp(whole));
        let (carrier, before) = (window.carrier.clone(), std::mem::take(&mut window.before));
        self.pass(carrier, window.reading(name.clone(), whole), before);
    }

    fn close_all(&mut self) {
        let open: Vec<Name> = self.open_windows().map(|(name, _)| name.clone()).collect();
        open.iter().for_each(|name| self.close(name, Closing::Early));
    }

    fn open_windows(&self) -> impl Iterator<Item = (&Name, &Window)> {
        self.devices.iter().filter_map(|(name, device)| Some((name, device.window.as_ref()?)))
    }

    /// What of a reading is news goes, under this record's number; the others are parts of it.
    fn pass(&mut self, stored: Stored, mut reading: Reading, parts: Vec<u64>) {
        let Some(device) = self.devices.get_mut(&reading.device) else { return };
        let at = reading.ts.0;
        reading.samples.retain(|(point, sample)| {
            let rule = device.rules.get(point);
            let goes = rule.is_none_or(|rule| rule.lets_go(sample, at, device.sent.get(point)));
            if goes {
                device.sent.insert(point.clone(), (sample.clone(), at));
            }
            goes
        });
        if reading.samples.is_empty() {
            parts.into_iter().for_each(|part| self.ledger.end(part, Outcome::LeftOut));
            return self.ledger.left_out(stored.position);
        }
        self.ledger.carried(stored.position, parts);
        self.ready.push_back(Stored { ts_ms: at, octets: record::encode(&reading).into(), ..stored });
    }

    /// The lane has no more for now: windows whose time is over are closed.
    pub(in crate::upstream) fn pause(&mut self, now: i64) {
        let over = |window: &Window| now.saturating_sub(window.end) > millis(GRACE);
        let mut over: Vec<(i64, Name)> = self
            .open_windows()
            .filter(|(_, window)| over(window))
            .map(|(name, window)| (window.end, name.clone()))
            .collect();
        over.sort();
        over.iter().for_each(|(_, name)| self.close(name, Closing::AtItsEnd));
    }

    /// The lane has come to its end: nothing more is waited for.
    pub(in crate::upstream) fn end(&mut self) {
        self.close_all();
    }

    /// Whether records wait for their window's end.
    pub(in crate::upstream) fn is_gathering(&self) -> bool {
        self.open_windows().next().is_some()
    }

    pub(in crate::upstream) fn ready(&self) -> &VecDeque<Stored> {
        &self.ready
    }

    pub(in crate::upstream) fn take_ready(&mut self) -> Option<Stored> {
        self.ready.pop_front()
    }

    /// These go in one publish, under this position.
    pub(in crate::upstream) fn goes_together(&mut self, under: u64, positions: Vec<u64>) {
        self.together.insert(under, positions);
    }

    /// What went under this position has ended so.
    pub(in crate::upstream) fn ended(&mut self, under: u64, outcome: &Outcome) {
        let positions = self.together.remove(&under).unwrap_or_else(|| vec![under]);
        positions.into_iter().for_each(|position| self.ledger.end(position, outcome.clone()));
        // The far end does not have it: what comes next must not be compared with it.
        if *outcome != Outcome::Delivered {
            self.devices.values_mut().for_each(|device| device.sent.clear());
        }
    }

    /// Takes what can be settled, in this order.
    pub(in crate::upstream) fn settle(&mut self) -> Vec<(RangeInclusive<u64>, Outcome)> {
        self.ledger.take()
    }
}

impl Device {
    /// Finds the rules of points that are new here.
    fn learn(&mut self, rules: &Rules, reading: &Reading, site: &Site) {
        if reading.samples.iter().all(|(point, _)| self.rules.contains_key(point)) {
            return;
        }
        let info = site.device(reading.device.as_str());
        self.windowed = rules.is_windowed(&reading.device, info);
        for (point, _) in &reading.samples {
            self.rules.entry(point.clone()).or_insert_with(|| rules.rule(&reading.device, point, info));
        }
    }

    /// Whether the quality of a point is another than when it was last seen.
    fn notices_change(&mut self, reading: &Reading) -> bool {
        let mut changed = false;
        for (point, sample) in &reading.samples {
            let quality = sample.as_ref().err().copied();
            let before = self.seen.insert(point.clone(), quality);
            changed |= before.is_some_and(|before| before != quality);
        }
        changed
    }
}
