//! What the rooms say of themselves. Each running part owns one of these behind a
//! `tokio::sync::watch` and `serve` reads it: nobody holds a lock across rooms.

use super::{Bad, Finding, Name, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Counts since the start, per line and per device. One field, one metric.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct BusCounters {
    pub requests: u64,
    pub replies: u64,
    /// Nothing came within the response timeout.
    pub timeouts: u64,
    /// A frame for us whose checksum was wrong.
    pub crc_errors: u64,
    /// A frame that began and did not end in time.
    pub short_frames: u64,
    /// Valid frames of another unit, function or length than was asked.
    pub foreign_frames: u64,
    pub exceptions: u64,
    /// Our own request heard again.
    pub echoes: u64,
    /// Octets that belonged to no frame, while an answer was awaited.
    pub noise_octets: u64,
    /// Octets that lay there before we asked.
    pub unsolicited_octets: u64,
    /// Scans that could not be handed on because the spool did not keep up.
    pub scans_lost: u64,
    /// Periods that went by without a scan because the line was too busy.
    pub periods_missed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineState {
    #[default]
    Starting,
    Up,
    /// The port or the connection is not there; opened again when it is back.
    Down,
    /// The driver does not return.
    Stuck,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Not asked yet.
    #[default]
    NotYet,
    Ok,
    /// Answers, but some points or blocks are bad.
    Degraded,
    /// Silent; probed rarely.
    Quarantined,
    LineDown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineStatus {
    pub name: Name,
    pub state: LineState,
    /// One sentence when the state is not `up`: what is wrong with which port.
    pub detail: Option<String>,
    /// Wire time used over the last minute, in tenths of a percent.
    pub load_permille: u32,
    pub counters: BusCounters,
    /// What is wrong with the line as a whole.
    pub findings: Vec<Finding>,
    /// Rises whenever the line's owner has gone round its loop: what the watchdog looks at.
    pub heartbeat: u64,
    pub devices: Vec<DeviceStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    pub name: Name,
    pub unit: u8,
    pub state: DeviceState,
    /// Why it is not `ok`.
    pub reason: Option<Bad>,
    pub last_ok: Option<Timestamp>,
    /// How late the last scan began against its deadline.
    pub lateness: Duration,
    /// How long it takes to answer, from our last octet to its first, smoothed.
    pub latency: Option<Duration>,
    /// Points that it refuses, and with which exception.
    pub refused: Vec<(Name, u8)>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    pub counters: BusCounters,
}

/// What the readings say of the meter behind a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeterStatus {
    /// The serial number that it has said.
    pub identity: Option<String>,
    /// Why values that came well are not given: `identity` or `counter-fell`.
    pub withheld: Option<Bad>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamState {
    #[default]
    Connecting,
    Connected,
    /// Waiting before the next attempt.
    BackingOff,
    Stopped,
}

/// One upstream's account, in records: `sampled = delivered + pending + left_out + Σ dropped`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    pub name: Name,
    pub kind: &'static str,
    pub state: UpstreamState,
    /// The last failure, in words.
    pub detail: Option<String>,
    pub sampled: u64,
    pub delivered: u64,
    pub pending: u64,
    pub left_out: u64,
    /// By reason: `spool-full`, `refused`, …
    pub dropped: BTreeMap<String, u64>,
    pub last_delivery: Option<Timestamp>,
    pub reconnects: u64,
    /// Rises at least once a second while a session turns; stays 0 where there are no sessions.
    pub heartbeat: u64,
    /// What does not stop anything and should not stay so: plain text over a network, a certificate that ends soon.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UplinkState {
    /// Its interface is up, and nothing has gone over it yet.
    #[default]
    Unproven,
    Up,
    /// Its interface is up, and nothing comes through.
    Failed,
    /// Its interface is down.
    Down,
    /// There is no such interface.
    Missing,
}

/// One network path, and what it has cost this month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkStatus {
    pub name: Name,
    pub interface: String,
    pub metered: bool,
    /// Connections are made over it.
    pub in_use: bool,
    pub state: UplinkState,
    /// Why it is not up.
    pub detail: Option<String>,
    /// When the month began that is counted; 0 while the date is not known.
    pub since: Timestamp,
    /// Of this month, both directions, with IP and TLS.
    pub octets: u64,
    /// Of these, the backlog.
    pub history_octets: u64,
    /// Since the account began.
    pub octets_ever: u64,
    /// Octets a month.
    pub budget: Option<u64>,
    /// `free`, `stretched` from 80 % of the budget on, `spent` from 100 %.
    pub stage: &'static str,
    /// How often another path was taken, since the start.
    pub changes: u64,
}

/// What is known of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockStatus {
    /// It is known to be right, or believed where nobody can tell.
    pub known: bool,
    /// What to add to the lines' stamps, which never step, for the best UTC that is known now.
    pub shift_ms: i64,
}
