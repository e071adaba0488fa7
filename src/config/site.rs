//! What the configuration says exists, for meta, pages and payloads.

use super::Config;
use crate::bus::{DeviceConfig, LineConfig};
use crate::model::{DeviceInfo, PointInfo, Site};
use crate::profile::{Every, Point};
use std::time::Duration;

impl Config {
    /// The site as the far end is told of it.
    pub fn site(&self) -> Site {
        let devices = self.lines.iter().flat_map(|line| line.devices.iter().map(|d| device(line, d)));
        Site { gateway: self.gateway.clone(), config_hash: self.hash.clone(), devices: devices.collect() }
    }
}

fn device(line: &LineConfig, device: &DeviceConfig) -> DeviceInfo {
    let period = |every: &Every| match every {
        Every::Period(period) => *period,
        Every::Continuous => Duration::ZERO,
    };
    DeviceInfo {
        name: device.name.clone(),
        line: line.name.clone(),
        unit: device.unit,
        profile: device.profile.name.clone(),
        vendor: device.profile.vendor.clone(),
        model: device.profile.model.clone(),
        every: device.every.iter().map(period).min().unwrap_or_default(),
        points: device.profile.points.iter().map(point).collect(),
    }
}

fn point(point: &Point) -> PointInfo {
    PointInfo {
        name: point.name.clone(),
        unit: point.unit.clone(),
        quantity: point.quantity.clone(),
        phase: point.phase.clone(),
        direction: point.direction.clone(),
        resolution: point.resolution,
        index: point.index,
    }
}
