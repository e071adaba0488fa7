//! The status document: what `GET /api/status` answers and `linesman status` prints.

use super::Sources;
use crate::model::status::{
    BusCounters, DeviceState, DeviceStatus, LineState, LineStatus, MeterStatus, UplinkState, UplinkStatus,
    UpstreamState, UpstreamStatus,
};
use crate::model::{Bad, Name};
use crate::{model, spool};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that the gateway says of itself at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    pub gateway: String,
    pub version: &'static str,
    pub config: String,
    pub epoch: String,
    /// `known`, or `unsure` while nobody has said that the wall clock is right.
    pub clock: &'static str,
    pub lines: Vec<Line>,
    pub devices: Vec<Device>,
    pub spool: Spool,
    pub upstreams: Vec<Upstream>,
    /// In order of preference; none where the system's default route is taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uplinks: Vec<Uplink>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub name: String,
    pub state: LineState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub load_pct: f64,
    pub findings: Vec<Finding>,
    pub counters: BusCounters,
}

#[derive(Debug, Clone, Serialize)]
pub struct Device {
    pub name: String,
    pub line: String,
    pub unit: u8,
    pub state: DeviceState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub last_ok: Option<i64>,
    pub lateness_ms: u64,
    /// From our last octet to its first, smoothed.
    pub latency_ms: Option<f64>,
    /// Points that it refuses, and the exception's code.
    pub refused: BTreeMap<String, u8>,
    /// The serial number that its meter has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    pub findings: Vec<Finding>,
    pub counters: BusCounters,
}

/// What is wrong, since when, and what to do.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub kind: &'static str,
    pub since: i64,
    pub text: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Spool {
    pub records: u64,
    pub octets: u64,
    pub oldest_ts: Option<i64>,
    pub healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub appended: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Upstream {
    pub name: String,
    pub kind: &'static str,
    pub state: UpstreamState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub sampled: u64,
    pub delivered: u64,
    pub pending: u64,
    pub left_out: u64,
    pub dropped: BTreeMap<String, u64>,
    pub last_delivery: Option<i64>,
    pub reconnects: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A network path, and what it has cost since the month began that is counted.
#[derive(Debug, Clone, Serialize)]
pub struct Uplink {
    pub name: String,
    pub interface: String,
    pub metered: bool,
    pub in_use: bool,
    pub state: UplinkState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// ms since 1970 UTC; not there while the date is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Both directions, with IP and TLS.
    pub octets: u64,
    /// Of these, the backlog.
    pub history_octets: u64,
    /// In all, since the account began.
    pub octets_ever: u64,
    /// Octets a month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// `free`, `stretched` from 80 % of the budget on, `spent` from 100 %.
    pub stage: &'static str,
    /// How often another one was taken, of all uplinks, since the start.
    pub changes: u64,
}

/// Reads every room's latest word; a line that the watchdog holds for stuck is shown as such.
pub fn snapshot(sources: &Sources) -> Snapshot {
    let stuck = sources.stuck.borrow().clone();
    let meters = Arc::clone(&sources.meters.borrow());
    let lines: Vec<LineStatus> = sources.lines.iter().map(|line| line.borrow().clone()).collect();
    let clock = *sources.clock.borrow();
    Snapshot {
        gateway: sources.gateway.clone(),
        version: sources.version,
        config: sources.config.clone(),
        epoch: format!("{:08x}", sources.epoch),
        clock: if clock.known { "known" } else { "unsure" },
        devices: lines
            .iter()
            .flat_map(|line| {
                line.devices.iter().map(|device| device_row(line, device, &meters, clock.shift_ms))
            })
            .collect(),
        lines: lines.into_iter().map(|line| line_row(line, &stuck, clock.shift_ms)).collect(),
        spool: spool_row(&sources.spool.borrow()),
        upstreams: sources.upstreams.iter().map(|upstream| upstream_row(&upstream.borrow())).collect(),
        uplinks: sources.uplinks.iter().flat_map(|all| all.borrow().clone()).map(uplink_row).collect(),
    }
}

fn line_row(line: LineStatus, stuck: &[String], shift: i64) -> Line {
    let is_stuck = stuck.iter().any(|name| name == line.name.as_str());
    let hung = "the driver of the port does not return; the other lines go on".to_owned();
    Line {
        name: line.name.to_string(),
        state: if is_stuck { LineState::Stuck } else { line.state },
        detail: if is_stuck { Some(hung) } else { line.detail },
        load_pct: f64::from(line.load_permille) / 10.0,
        findings: findings(&line.findings, shift),
        counters: line.counters,
    }
}

fn device_row(
    line: &LineStatus,
    device: &DeviceStatus,
    meters: &BTreeMap<Name, MeterStatus>,
    shift: i64,
) -> Device {
    let meter = meters.get(&device.name);
    let (state, reason) = state(device, meter.and_then(|meter| meter.withheld));
    Device {
        identity: meter.and_then(|meter| meter.identity.clone()),
        name: device.name.to_string(),
        line: line.name.to_string(),
        unit: device.unit,
        state,
        reason: reason.map(|reason| reason.to_string()),
        last_ok: device.last_ok.map(|at| at.0.saturating_add(shift)),
        lateness_ms: u64::try_from(device.lateness.as_millis()).unwrap_or(u64::MAX),
        latency_ms: device.latency.map(|latency| (latency.as_secs_f64() * 10_000.0).round() / 10.0),
        refused: device.refused.iter().map(|(point, code)| (point.to_string(), *code)).collect(),
        findings: findings(&device.findings, shift),
        counters: device.counters,
    }
}

/// A device whose answers are well, but whose values are held back, is not well. One that is held for another meter
/// gives no value at all: that comes before what else is wrong with an answer.
fn state(device: &DeviceStatus, withheld: Option<Bad>) -> (DeviceState, Option<Bad>) {
    match (device.state, withheld) {
        (DeviceState::Ok, Some(_)) | (DeviceState::Degraded, Some(Bad::Identity)) => {
            (DeviceState::Degraded, withheld)
        }
        (state, _) => (state, device.reason),
    }
}

fn findings(all: &[model::Finding], shift: i64) -> Vec<Finding> {
    let row = |f: &model::Finding| Finding {
        kind: f.kind.word(),
        since: f.since.0.saturating_add(shift),
        text: f.text.clone(),
    };
    all.iter().map(row).collect()
}

fn spool_row(status: &spool::Status) -> Spool {
    Spool {
        records: status.records,
        octets: status.octets,
        oldest_ts: status.oldest_ts,
        healthy: status.healthy,
        detail: status.detail.clone(),
        appended: status.appended,
    }
}

fn upstream_row(upstream: &UpstreamStatus) -> Upstream {
    Upstream {
        name: upstream.name.to_string(),
        kind: upstream.kind,
        state: upstream.state,
        detail: upstream.detail.clone(),
        sampled: upstream.sampled,
        delivered: upstream.delivered,
        pending: upstream.pending,
        left_out: upstream.left_out,
        dropped: upstream.dropped.clone(),
        last_delivery: upstream.last_delivery.map(|at| at.0),
        reconnects: upstream.reconnects,
        warnings: upstream.warnings.clone(),
    }
}

fn uplink_row(uplink: UplinkStatus) -> Uplink {
    Uplink {
        name: uplink.name.to_string(),
        interface: uplink.interface,
        metered: uplink.metered,
        in_use: uplink.in_use,
        state: uplink.state,
        detail: uplink.detail,
        since: Some(uplink.since.0).filter(|since| *since != 0),
        octets: uplink.octets,
        history_octets: uplink.history_octets,
        octets_ever: uplink.octets_ever,
        budget: uplink.budget,
        stage: uplink.stage,
        changes: uplink.changes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(state: DeviceState, reason: Option<Bad>) -> DeviceStatus {
        DeviceStatus {
            name: "m".parse().unwrap(),
            unit: 1,
            state,
            reason,
            last_ok: None,
            lateness: std::time::Duration::ZERO,
            latency: None,
            refused: Vec::new(),
            findings: Vec::new(),
            counters: BusCounters::default(),
        }
    }

    #[test]
    fn a_device_that_answers_well_and_whose_values_are_held_back_is_degraded() {
        let cases = [
            (DeviceState::Ok, None, None, DeviceState::Ok, None),
            (DeviceState::Ok, None, Some(Bad::Identity), DeviceState::Degraded, Some(Bad::Identity)),
            (DeviceState::Ok, None, Some(Bad::CounterFell), DeviceState::Degraded, Some(Bad::CounterFell)),
            (
                DeviceState::Degraded,
                Some(Bad::Exception(2)),
                Some(Bad::Identity),
                DeviceState::Degraded,
                Some(Bad::Identity),
            ),
            (
                DeviceState::Degraded,
                Some(Bad::Exception(2)),
                Some(Bad::CounterFell),
                DeviceState::Degraded,
                Some(Bad::Exception(2)),
            ),
            (
                DeviceState::Quarantined,
                Some(Bad::NoReply),
                Some(Bad::Identity),
                DeviceState::Quarantined,
                Some(Bad::NoReply),
            ),
        ];
        for (of, reason, withheld, shown, why) in cases {
            assert_eq!(state(&device(of, reason), withheld), (shown, why), "{of:?} {reason:?} {withheld:?}");
        }
    }
}
