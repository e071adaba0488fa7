//! What a line's configuration asks of its wire: each request, the share of the time, and which periods can't be
//! kept. Pure arithmetic over the same plan that the line itself uses; opens nothing.
//!
//! # What is counted
//! The requests of each scan at the price of [`WireCost`], with the device's `min_gap` and one turnaround for all of
//! them ([`ASSUMED_TURNAROUND`] unless a better one is known). A healthy line: retries, probes of silent
//! devices and refusals cost extra. Points of one device whose periods coincide are planned together at those
//! instants: with points at 1 s and at 60 s every 60th scan is the larger one.
//!
//! A device that says itself what it offers is counted as an inverter of three phases with a meter behind it: nobody
//! knows more before it has answered.
//!
//! # Continuous points
//! They take what the periodic ones leave, so a line that has them is busy all the time by design and none of
//! them has a period to miss. What counts is how long one round of them takes.

mod demand;
mod fit;

use super::{DeviceConfig, LineConfig, PortConfig, WireCost};
use crate::modbus::ReadRequest;
use crate::model::Name;
use crate::profile::Every;
use crate::profile::sunspec::Chain;
use demand::Demand;
use fit::Line;
use std::time::Duration;

/// How long a device takes to answer, as long as nobody has measured it: most meters need 5 to 50 ms.
pub const ASSUMED_TURNAROUND: Duration = Duration::from_millis(20);

/// What one line is asked to carry.
#[derive(Debug, Clone, PartialEq)]
pub struct LineLoad {
    pub name: Name,
    /// The part of the line's time that periodic points need; above 1 they can't have it.
    pub periodic: f64,
    pub continuous: Option<Continuous>,
    /// The most that a scan may come late, when everything is due at once. `None` where that is not known: the line can't
    /// carry its load, or several questions are under way.
    pub late: Option<Duration>,
    /// By device in the configuration's order, then by function and address.
    pub requests: Vec<Asked>,
    /// Points whose period can't be kept, by device and period.
    pub unmet: Vec<Unmet>,
    /// What would carry all of them; there when something is unmet.
    pub remedy: Option<Remedy>,
}

/// The continuous points of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continuous {
    /// One scan of each device, if nothing else were asked.
    pub round: Duration,
    /// The time from a scan to the same device's next; `None` when the periodic points leave no time.
    pub cycle: Option<Duration>,
}

/// One request, as often as it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub device: Name,
    pub unit: u8,
    pub request: ReadRequest,
    /// How long the line is busy with it.
    pub wire: Duration,
    /// The shortest time from one to the next. Where periods coincide now and then, another request may
    /// take its place.
    pub every: Every,
    /// The part of the line's time that it takes.
    pub share: f64,
    pub points: Vec<Name>,
}

/// Points of one device whose period can't be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    pub device: Name,
    pub every: Duration,
    /// A period that could be.
    pub possible: Duration,
    pub points: Vec<Name>,
}

/// What would make a line carry what it is asked, each by itself, with some air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// No period shorter than this; longer ones stay.
    pub every: Duration,
    /// A standard baud rate, on the line and in its meters.
    pub baud: Option<u32>,
    /// So many questions under way at once, where the endpoint takes them.
    pub in_flight: Option<u16>,
    /// So many points a device, at most, of those whose period can't be kept.
    pub points: Option<usize>,
}

impl LineLoad {
    /// With this turnaround of every device.
    pub fn of(line: &LineConfig, turnaround: Duration) -> LineLoad {
        let enabled = line.devices.iter().filter(|device| device.enabled);
        let devices: Vec<DeviceConfig> = enabled.map(estimated).collect();
        let demands = |cost: WireCost| -> Vec<Demand<'_>> {
            devices.iter().map(|device| Demand::of(device, cost, turnaround)).collect()
        };
        let asked = Line { demands: demands(line.port.wire_cost()), lanes: lanes(&line.port) };
        let periodic = asked.load();
        let continuous = asked.continuous(periodic);
        let (unmet, remedy) = match asked.remedy(&line.port) {
            Some(remedy) => (asked.faster_than(remedy.every), Some(remedy)),
            None => (Vec::new(), None),
        };
        let requests = asked.requests(continuous);
        let late = asked.late();
        LineLoad { name: line.name.clone(), periodic, continuous, late, requests, unmet, remedy }
    }

    /// The part of its time that the line is busy: with continuous points, all of it.
    pub fn busy(&self) -> f64 {
        if self.continuous.is_some() { self.periodic.max(1.0) } else { self.periodic }
    }
}

/// A device whose points are found only when it answers, with those of an inverter of three phases and a meter.
fn estimated(device: &DeviceConfig) -> DeviceConfig {
    if device.is_unwalked() { device.with_chain(&Chain::usual()) } else { device.clone() }
}

/// How many questions may be under way at once.
fn lanes(port: &PortConfig) -> u16 {
    match port {
        PortConfig::Tcp { in_flight, .. } => (*in_flight).max(1),
        PortConfig::Serial(_) | PortConfig::RtuOverTcp { .. } => 1,
    }
}

#[cfg(test)]
mod tests;
