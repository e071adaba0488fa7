//! What the configuration says exists, for meta, pages and payloads.

use super::Config;
use crate::bus::{DeviceConfig, LineConfig};
use crate::model::{Decimal, DeviceInfo, Form, Name, PointInfo, Ratio, Site};
use crate::profile::sunspec::Chain;
use crate::profile::{Every, Format, Point, Profile};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What devices have said that they offer, by their names.
pub type Chains = BTreeMap<Name, Chain>;

impl Config {
    /// The site as the far end is told of it.
    pub fn site(&self) -> Site {
        self.site_with(&Chains::new())
    }

    /// The same where some devices have said themselves what they offer.
    pub fn site_with(&self, chains: &Chains) -> Site {
        let mut known = Known::new();
        let mut devices = Vec::new();
        for line in &self.lines {
            devices.extend(line.devices.iter().map(|one| match chains.get(&one.name) {
                Some(chain) => device(line, &one.with_chain(chain), &mut known),
                None => device(line, one, &mut known),
            }));
        }
        Site { gateway: self.gateway.clone(), config_hash: self.hash.clone(), devices }
    }
}

/// The points of each profile so far: few profiles, many devices.
type Known = Vec<(Arc<Profile>, Arc<[PointInfo]>)>;

fn points(profile: &Arc<Profile>, known: &mut Known) -> Arc<[PointInfo]> {
    if let Some((_, points)) = known.iter().find(|(other, _)| Arc::ptr_eq(other, profile)) {
        return Arc::clone(points);
    }
    let points: Arc<[PointInfo]> =
        profile.points.iter().filter(|point| !point.internal).flat_map(with_total).collect();
    known.push((Arc::clone(profile), Arc::clone(&points)));
    points
}

fn device(line: &LineConfig, device: &DeviceConfig, known: &mut Known) -> DeviceInfo {
    let period = |every: &Every| match every {
        Every::Period(period) => *period,
        Every::Continuous => Duration::ZERO,
    };
    // Of a device that was not walked yet there is no point.
    let usual = device.wishes.as_ref().filter(|_| device.every.is_empty()).map(|wishes| wishes.usual());
    DeviceInfo {
        name: device.name.clone(),
        line: line.name.clone(),
        unit: device.unit,
        profile: device.profile.name.clone(),
        vendor: device.profile.vendor.clone(),
        model: device.profile.model.clone(),
        identity: None,
        every: device.every.iter().chain(usual.as_ref()).map(period).min().unwrap_or_default(),
        points: points(&device.profile, known),
    }
}

/// A counter's total stands beside it in the readings.
fn with_total(of: &Point) -> Vec<PointInfo> {
    let total = of.total_name().filter(|_| of.total).map(|name| PointInfo { name, ..point(of) });
    std::iter::once(point(of)).chain(total).collect()
}

fn point(point: &Point) -> PointInfo {
    PointInfo {
        name: point.name.clone(),
        unit: point.unit.clone(),
        quantity: point.quantity.clone(),
        phase: point.phase.clone(),
        direction: point.direction.clone(),
        resolution: point.resolution,
        range: point.range,
        index: point.index,
        form: form(point),
    }
}

/// What its good values are.
fn form(point: &Point) -> Form {
    if point.bit.is_some() {
        return Form::Flag;
    }
    if !point.words.is_empty() || matches!(point.format, Format::Text(_) | Format::Date(_)) {
        return Form::Text;
    }
    if point.format == Format::Bool {
        return Form::Flag;
    }
    // As it stands in the registers: whatever changes it might give it decimals.
    let is_changed = point.scale != Ratio::ONE
        || point.offset != Decimal::ZERO
        || !point.scale_by.is_empty()
        || point.unit_by.is_some()
        || !point.plus.is_empty()
        || point.resolution.is_some_and(|step| step.exponent() < 0);
    match point.format {
        _ if is_changed => Form::Number,
        Format::U64 if point.sign_by.is_none() && point.negative_from.is_none() => Form::Unsigned,
        Format::U16 | Format::S16 | Format::U32 | Format::S32 | Format::S64 | Format::Bits => Form::Whole,
        Format::Bcd16 | Format::Bcd32 | Format::Bcd64 => Form::Whole,
        Format::U64 | Format::F32 | Format::F64 | Format::Bool | Format::Date(_) | Format::Text(_) => {
            Form::Number
        }
        Format::IskraT5 | Format::IskraT6 | Format::IskraT7 => Form::Number,
    }
}
