//! What a line knows of itself and its devices, and how it is published.

use super::LineConfig;
use crate::model::status::{BusCounters, DeviceState, DeviceStatus, LineState, LineStatus};
use crate::model::{Bad, Mono, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;

/// The load is that of the last minute, kept by the second.
const LOAD_SECONDS: usize = 60;

pub(super) struct Ledger {
    status: LineStatus,
    publish: watch::Sender<LineStatus>,
    load: Load,
}

impl Ledger {
    pub(super) fn new(config: &LineConfig, now: Mono) -> (Ledger, watch::Receiver<LineStatus>) {
        let devices = config.devices.iter().filter(|device| device.enabled).map(|device| DeviceStatus {
            name: device.name.clone(),
            unit: device.unit,
            state: DeviceState::NotYet,
            reason: None,
            last_ok: None,
            lateness: Duration::ZERO,
            counters: BusCounters::default(),
        });
        let status = LineStatus {
            name: config.name.clone(),
            state: LineState::Starting,
            detail: None,
            load_permille: 0,
            counters: BusCounters::default(),
            heartbeat: 0,
            devices: devices.collect(),
        };
        let publish = watch::Sender::new(status.clone());
        let receiver = publish.subscribe();
        (Ledger { status, publish, load: Load::new(now) }, receiver)
    }

    /// A sign of life: the owner has gone round its loop.
    pub(super) fn beat(&mut self) {
        self.status.heartbeat += 1;
        let beat = self.status.heartbeat;
        self.publish.send_if_modified(|published| {
            published.heartbeat = beat;
            // Nobody needs waking for a heartbeat: whoever watches it looks by the clock.
            false
        });
    }

    pub(super) fn up(&mut self) {
        if self.status.state != LineState::Up {
            tracing::info!(line = %self.status.name, "line is up");
            self.status.state = LineState::Up;
            self.status.detail = None;
            self.publish();
        }
    }

    pub(super) fn down(&mut self, why: &str) {
        if self.status.state != LineState::Down || self.status.detail.as_deref() != Some(why) {
            tracing::warn!(line = %self.status.name, why, "line is down");
            self.status.state = LineState::Down;
            self.status.detail = Some(why.to_owned());
            for device in &mut self.status.devices {
                device.state = DeviceState::LineDown;
                device.reason = Some(Bad::LineDown);
            }
            self.publish();
        }
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
        self.status.load_permille = self.load.permille(to);
    }

    /// A device has been asked: what it is now, said once when it changes.
    pub(super) fn asked(
        &mut self,
        index: usize,
        state: DeviceState,
        reason: Option<Bad>,
        lateness: Duration,
        answered: Option<Timestamp>,
    ) {
        let line = self.status.name.clone();
        let Some(device) = self.status.devices.get_mut(index) else { return };
        if device.state != state {
            let (name, unit) = (&device.name, device.unit);
            match (state, reason) {
                (DeviceState::Ok, _) => tracing::info!(%line, device = %name, unit, "device answers"),
                (_, Some(reason)) => {
                    tracing::warn!(%line, device = %name, unit, %reason, "device is {}", word(state))
                }
                (_, None) => tracing::warn!(%line, device = %name, unit, "device is {}", word(state)),
            }
        }
        device.state = state;
        device.reason = reason;
        device.lateness = lateness;
        device.last_ok = answered.or(device.last_ok);
        self.publish();
    }

    pub(super) fn scan_lost(&mut self, index: usize) {
        self.add(Some(index), &BusCounters { scans_lost: 1, ..BusCounters::default() });
    }

    fn publish(&self) {
        self.publish.send_replace(self.status.clone());
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
        let used: u64 = self.seconds.iter().map(|(_, used)| used).sum();
        u32::try_from((used.saturating_mul(1000) / window).min(1000)).unwrap_or(1000)
    }
}
