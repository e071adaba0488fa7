//! What a line knows of itself and its devices, and how it is published.

use super::diagnose::Change;
use super::{DeviceConfig, LineConfig};
use crate::model::status::{BusCounters, DeviceState, DeviceStatus, LineState, LineStatus};
use crate::model::{Bad, Clock, Event, EventKind, Finding, Mono, Name, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The load is that of the last minute, kept by the second.
const LOAD_SECONDS: usize = 60;

pub(super) struct Ledger {
    status: LineStatus,
    publish: watch::Sender<LineStatus>,
    events: Option<mpsc::Sender<Event>>,
    clock: Arc<dyn Clock>,
    load: Load,
    /// Devices that were told to be lost, and not yet to be found.
    lost: BTreeSet<usize>,
}

/// What a device is after its scan.
pub(super) struct Asked {
    pub state: DeviceState,
    pub reason: Option<Bad>,
    pub lateness: Duration,
    /// Periods that went by without a scan.
    pub missed: u64,
    pub answered: Option<Timestamp>,
    pub latency: Option<Duration>,
    pub refused: Vec<(Name, u8)>,
}

impl Ledger {
    pub(super) fn new(
        config: &LineConfig,
        clock: Arc<dyn Clock>,
        events: Option<mpsc::Sender<Event>>,
    ) -> (Ledger, watch::Receiver<LineStatus>) {
        let devices = config.devices.iter().filter(|device| device.enabled).map(not_asked_yet);
        let status = LineStatus {
            name: config.name.clone(),
            state: LineState::Starting,
            detail: None,
            load_permille: 0,
            counters: BusCounters::default(),
            findings: Vec::new(),
            heartbeat: 0,
            devices: devices.collect(),
        };
        let publish = watch::Sender::new(status.clone());
        let receiver = publish.subscribe();
        let load = Load::new(clock.mono());
        (Ledger { status, publish, events, clock, load, lost: BTreeSet::new() }, receiver)
    }

    /// The devices have other places: of each, the one it had, if it had one.
    pub(super) fn rearrange(&mut self, devices: &[DeviceConfig], from: &[Option<usize>]) {
        let was = |(device, from): (&DeviceConfig, &Option<usize>)| {
            from.and_then(|from| self.status.devices.get(from))
                .cloned()
                .unwrap_or_else(|| not_asked_yet(device))
        };
        self.status.devices = devices.iter().zip(from).map(was).collect();
        let lost = |from: &Option<usize>| from.is_some_and(|from| self.lost.contains(&from));
        self.lost = from.iter().enumerate().filter(|(_, from)| lost(from)).map(|(index, _)| index).collect();
        self.publish();
    }

    /// A sign of life: the owner has gone round its loop.
    pub(super) fn beat(&mut self) {
        self.status.heartbeat += 1;
        self.status.load_permille = self.load.permille(self.clock.mono());
        let (beat, load) = (self.status.heartbeat, self.status.load_permille);
        self.publish.send_if_modified(|published| {
            (published.heartbeat, published.load_permille) = (beat, load);
            // Nobody needs waking for a heartbeat: whoever watches it looks by the clock.
            false
        });
    }

    pub(super) fn up(&mut self) {
        if self.status.state != LineState::Up {
            tracing::info!(line = %self.status.name, "line is up");
            if self.status.state == LineState::Down {
                self.tell(EventKind::LineUp, None, "the port or connection is back");
            }
            self.status.state = LineState::Up;
            self.status.detail = None;
            self.publish();
        }
    }

    pub(super) fn down(&mut self, why: &str) {
        if self.status.state != LineState::Down || self.status.detail.as_deref() != Some(why) {
            tracing::warn!(line = %self.status.name, why, "line is down");
            if self.status.state != LineState::Down {
                self.tell(EventKind::LineDown, None, why);
            }
            self.status.state = LineState::Down;
            self.status.detail = Some(why.to_owned());
            for device in &mut self.status.devices {
                device.state = DeviceState::LineDown;
                device.reason = Some(Bad::LineDown);
            }
            self.publish();
        }
    }

    /// The bus waits for nobody: an event that there is no room for is in the log all the same.
    fn tell(&self, kind: EventKind, device: Option<&Name>, text: &str) {
        if let Some(events) = &self.events {
            let (ts, line, device) = (self.clock.utc(), self.status.name.clone(), device.cloned());
            let _ = events.try_send(Event { ts, kind, line, device, text: text.to_owned() });
        }
    }

    /// A finding began or ended: said once in the log, shown in the status, told as an event.
    pub(super) fn found(&mut self, change: &Change, findings: Vec<Finding>) {
        let line = self.status.name.clone();
        let device = change.device.and_then(|index| self.status.devices.get_mut(index));
        let name = device.as_ref().map(|device| device.name.clone());
        match device {
            Some(device) => device.findings = findings,
            None => self.status.findings = findings,
        }
        let (of, kind, text) = (name.as_ref().map_or("", Name::as_str), change.kind, &change.text);
        match (change.begins, kind.is_a_hint()) {
            (true, false) => tracing::warn!(%line, device = of, finding = %kind, "{text}"),
            (true, true) => tracing::info!(%line, device = of, finding = %kind, "{text}"),
            (false, _) => tracing::info!(%line, device = of, finding = %kind, "no longer: {text}"),
        }
        self.tell(
            if change.begins { EventKind::Begins(kind) } else { EventKind::Ends(kind) },
            name.as_ref(),
            text,
        );
        self.publish();
    }

    /// Where a transaction's counts go before they are shared out to line and device.
    pub(super) fn add(&mut self, device: Option<usize>, counted: &BusCounters) {
        sum(&mut self.status.counters, counted);
        if let Some(device) = device.and_then(|index| self.status.devices.get_mut(index)) {
            sum(&mut device.counters, counted);
        }
    }

    pub(super) fn used(&mut self, from: Mono, to: Mono) {
        self.load.add(from, to);
    }

    /// A device has been asked: what it is now, said once when it changes.
    pub(super) fn asked(&mut self, index: usize, asked: Asked) {
        let Asked { state, reason, lateness, missed, answered, latency, refused } = asked;
        self.add(Some(index), &BusCounters { periods_missed: missed, ..BusCounters::default() });
        let line = self.status.name.clone();
        let Some(device) = self.status.devices.get_mut(index) else { return };
        let before = std::mem::replace(&mut device.state, state);
        device.reason = reason;
        device.lateness = lateness;
        device.last_ok = answered.or(device.last_ok);
        device.latency = latency;
        device.refused = refused;
        if before != state {
            let (name, unit) = (device.name.clone(), device.unit);
            match (state, reason) {
                (DeviceState::Ok, _) => tracing::info!(%line, device = %name, unit, "device answers"),
                (_, Some(reason)) => {
                    tracing::warn!(%line, device = %name, unit, %reason, "device is {}", word(state));
                }
                (_, None) => tracing::warn!(%line, device = %name, unit, "device is {}", word(state)),
            }
        }
        self.tell_of_the_lost(index, state, answered.is_some());
        self.publish();
    }

    /// Once when it is lost, once when it is found, whatever became of the line in between.
    fn tell_of_the_lost(&mut self, index: usize, state: DeviceState, answered: bool) {
        let name = self.status.devices.get(index).map(|device| device.name.clone());
        if state == DeviceState::Quarantined {
            if self.lost.insert(index) {
                let text = "it no longer answers; it is asked rarely until it does";
                self.tell(EventKind::DeviceLost, name.as_ref(), text);
            }
        } else if answered && self.lost.remove(&index) {
            self.tell(EventKind::DeviceFound, name.as_ref(), "it answers again");
        }
    }

    pub(super) fn scan_lost(&mut self, index: usize) {
        self.add(Some(index), &BusCounters { scans_lost: 1, ..BusCounters::default() });
    }

    fn publish(&self) {
        self.publish.send_replace(self.status.clone());
    }
}

fn not_asked_yet(device: &DeviceConfig) -> DeviceStatus {
    DeviceStatus {
        name: device.name.clone(),
        unit: device.unit,
        state: DeviceState::NotYet,
        reason: None,
        last_ok: None,
        lateness: Duration::ZERO,
        latency: None,
        refused: Vec::new(),
        findings: Vec::new(),
        counters: BusCounters::default(),
    }
}

fn word(state: DeviceState) -> &'static str {
    match state {
        DeviceState::NotYet => "not asked yet",
        DeviceState::Ok => "fine",
        DeviceState::Degraded => "answering in part",
        DeviceState::Quarantined => "silent: quarantined, probed rarely",
        DeviceState::LineDown => "without a line",
    }
}

fn sum(into: &mut BusCounters, add: &BusCounters) {
    let BusCounters {
        requests,
        replies,
        timeouts,
        crc_errors,
        short_frames,
        foreign_frames,
        exceptions,
        echoes,
        noise_octets,
        unsolicited_octets,
        scans_lost,
        periods_missed,
    } = add;
    into.requests += requests;
    into.replies += replies;
    into.timeouts += timeouts;
    into.crc_errors += crc_errors;
    into.short_frames += short_frames;
    into.foreign_frames += foreign_frames;
    into.exceptions += exceptions;
    into.echoes += echoes;
    into.noise_octets += noise_octets;
    into.unsolicited_octets += unsolicited_octets;
    into.scans_lost += scans_lost;
    into.periods_missed += periods_missed;
}

/// Wire time used, second by second.
struct Load {
    began: Mono,
    seconds: VecDeque<(u64, u64)>,
}

impl Load {
    fn new(now: Mono) -> Load {
        Load { began: now, seconds: VecDeque::with_capacity(LOAD_SECONDS + 1) }
    }

    fn add(&mut self, from: Mono, to: Mono) {
        let (second, used) = (to.0 / 1_000_000_000, to.0.saturating_sub(from.0));
        match self.seconds.back_mut() {
            Some((last, sum)) if *last == second => *sum += used,
            Some(_) | None => self.seconds.push_back((second, used)),
        }
        while self.seconds.front().is_some_and(|(first, _)| second - first >= LOAD_SECONDS as u64) {
            self.seconds.pop_front();
        }
    }

    fn permille(&self, now: Mono) -> u32 {
        let window = now.0.saturating_sub(self.began.0).clamp(1, LOAD_SECONDS as u64 * 1_000_000_000);
        let second = now.0 / 1_000_000_000;
        let lately = self.seconds.iter().filter(|(at, _)| second.saturating_sub(*at) < LOAD_SECONDS as u64);
        let used: u64 = lately.map(|(_, used)| used).sum();
        u32::try_from((used.saturating_mul(1000) / window).min(1000)).unwrap_or(1000)
    }
}
