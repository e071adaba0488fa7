//! What is known of each device: its metrics, their current values, and whether it is there. Pure.

use super::kept::Kept;
use super::values::{Said, born, datatype, form_of, metric};
use super::wire::{Datatype, Metric};
use crate::model::{Bad, Form, Name, Reading, Sample, Site, Timestamp};
use std::collections::BTreeMap;

/// Scans in a row without any answer after which a device counts as lost, if no event says so before.
const SILENT: u32 = 2;

/// A metric of a device.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub alias: u64,
    pub datatype: Datatype,
    unit: String,
    current: Option<(Timestamp, Sample)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Device {
    /// By name.
    points: BTreeMap<Name, Point>,
    silent: u32,
    lost: bool,
}

/// All devices that exist, or whose records were met.
#[derive(Debug, Default)]
pub(super) struct Known {
    devices: BTreeMap<Name, Device>,
}

impl Known {
    /// The site as it is now: what is no longer in it goes, and values stay with their points.
    pub(super) fn describe(&mut self, site: &Site, kept: &mut Kept) {
        let mut before = std::mem::take(&mut self.devices);
        for info in &site.devices {
            let mut old = before.remove(&info.name).unwrap_or_default();
            let mut device = Device { silent: old.silent, lost: old.lost, points: BTreeMap::new() };
            for point in info.points.iter() {
                let alias = kept.alias(Some(&info.name), point.name.as_str());
                let datatype = datatype(point.form);
                let old = old.points.remove(&point.name).filter(|old| old.datatype == datatype);
                let current = old.and_then(|old| old.current);
                device
                    .points
                    .insert(point.name.clone(), Point { alias, datatype, unit: point.unit.clone(), current });
            }
            self.devices.insert(info.name.clone(), device);
        }
    }

    /// All values: one of them may be what a broker does not take.
    pub(super) fn forget(&mut self) {
        for point in self.devices.values_mut().flat_map(|device| device.points.values_mut()) {
            point.current = None;
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.devices.keys()
    }

    pub(super) fn is_lost(&self, device: &Name) -> bool {
        self.devices.get(device).is_some_and(|device| device.lost)
    }

    pub(super) fn lost(&mut self, device: &Name) {
        if let Some(device) = self.devices.get_mut(device) {
            (device.lost, device.silent) = (true, 0);
        }
    }

    pub(super) fn point(&self, device: &Name, point: &Name) -> Option<&Point> {
        self.devices.get(device)?.points.get(point)
    }

    /// Adds what the site does not mention, and gives its names.
    pub(super) fn meet(&mut self, reading: &Reading, kept: &mut Kept) -> Vec<Name> {
        let device = self.devices.entry(reading.device.clone()).or_default();
        let mut met = Vec::new();
        for (name, sample) in &reading.samples {
            if let Ok(value) = sample
                && !device.points.contains_key(name)
            {
                let (alias, datatype) =
                    (kept.alias(Some(&reading.device), name.as_str()), datatype(form_of(value)));
                device
                    .points
                    .insert(name.clone(), Point { alias, datatype, unit: String::new(), current: None });
                met.push(name.clone());
            }
        }
        met
    }

    /// As if these had never been met.
    pub(super) fn unmeet(&mut self, device: &Name, points: &[Name]) {
        if let Some(device) = self.devices.get_mut(device) {
            device.points.retain(|name, _| !points.contains(name));
        }
    }

    /// Takes a reading for what is now, unless something newer is known.
    pub(super) fn take(&mut self, reading: &Reading) {
        let Some(device) = self.devices.get_mut(&reading.device) else { return };
        for (name, sample) in &reading.samples {
            if let Some(point) = device.points.get_mut(name)
                && point.current.as_ref().is_none_or(|(at, _)| *at <= reading.ts)
            {
                point.current = Some((reading.ts, sample.clone()));
            }
        }
    }

    /// What a reading says of whether the device is there.
    pub(super) fn listen(&mut self, reading: &Reading) {
        let Some(device) = self.devices.get_mut(&reading.device) else { return };
        if reading.samples.is_empty() {
            return;
        }
        match hears(reading) {
            Hears::Something => (device.silent, device.lost) = (0, false),
            Hears::Nothing => {
                device.silent = device.silent.saturating_add(1);
                device.lost |= device.silent >= SILENT;
            }
            Hears::Nobody => device.lost = true,
        }
    }

    /// The metrics of a device's birth, in the order of their times, and what they say noted.
    pub(super) fn birth(&self, device: &Name, now: Timestamp, said: &mut Said) -> Vec<Metric> {
        let Some(device) = self.devices.get(device) else { return Vec::new() };
        let mut metrics: Vec<Metric> = device
            .points
            .iter()
            .map(|(name, point)| {
                let unknown = (now, Err(Bad::NotYet));
                let (at, sample) = point.current.as_ref().unwrap_or(&unknown);
                said.note(point.alias, sample);
                born(
                    metric(point.alias, *at, point.datatype, sample),
                    name.as_str(),
                    point.datatype,
                    &point.unit,
                )
            })
            .collect();
        metrics.sort_by_key(|metric| metric.timestamp);
        metrics
    }
}

enum Hears {
    Something,
    Nothing,
    /// It was not even asked.
    Nobody,
}

fn hears(reading: &Reading) -> Hears {
    let mut all = Hears::Nobody;
    for (_, sample) in &reading.samples {
        match sample {
            Err(Bad::DeviceLost | Bad::LineDown | Bad::LineStuck) => {}
            Err(Bad::NoReply | Bad::NotYet) => all = Hears::Nothing,
            Ok(_) | Err(_) => return Hears::Something,
        }
    }
    all
}

/// Whether a reading says nothing but that nobody is there.
pub(super) fn is_silent(reading: &Reading) -> bool {
    !matches!(hears(reading), Hears::Something)
}

/// A metric of the node itself.
pub(super) fn node_metric(alias: u64, name: &str, form: Form, at: Timestamp, sample: &Sample) -> Metric {
    born(metric(alias, at, datatype(form), sample), name, datatype(form), "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceInfo, PointInfo, Value};
    use crate::upstream::sparkplug::wire::Is;
    use std::time::Duration;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn site(points: &[(&str, Form)]) -> Site {
        let point = |(name, form): &(&str, Form)| PointInfo {
            name: name.parse().unwrap(),
            unit: "V".into(),
            quantity: "voltage".into(),
            phase: None,
            direction: None,
            resolution: None,
            range: None,
            index: false,
            form: *form,
        };
        let device = DeviceInfo {
            name: name("m"),
            line: name("l"),
            unit: 1,
            profile: "p".into(),
            vendor: "v".into(),
            model: "m".into(),
            identity: None,
            every: Duration::from_secs(1),
            points: points.iter().map(point).collect(),
        };
        Site { gateway: name("g"), config_hash: String::new(), devices: vec![device] }
    }

    fn reading(ts: i64, samples: &[(&str, Sample)]) -> Reading {
        Reading {
            device: name("m"),
            ts: Timestamp(ts),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: samples.iter().map(|(point, sample)| (name(point), sample.clone())).collect(),
        }
    }

    fn number(n: u64) -> Sample {
        Ok(Value::Number(n.into()))
    }

    fn known(site: &Site) -> (Known, Kept, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (mut known, mut kept) = (Known::default(), Kept::load(dir.path(), &name("u")));
        known.describe(site, &mut kept);
        (known, kept, dir)
    }

    #[test]
    fn a_birth_has_every_point_with_its_value_in_the_order_of_time() {
        let (mut known, _, _dir) =
            known(&site(&[("a", Form::Number), ("b", Form::Number), ("c", Form::Text)]));
        known.take(&reading(200, &[("a", number(1))]));
        known.take(&reading(100, &[("b", number(2)), ("a", number(9))]));
        let metrics = known.birth(&name("m"), Timestamp(300), &mut Said::default());
        let seen: Vec<_> = metrics
            .iter()
            .map(|metric| (metric.name.clone().unwrap(), metric.timestamp.unwrap(), metric.is_null))
            .collect();
        assert_eq!(seen, [("b".into(), 100, None), ("a".into(), 200, None), ("c".into(), 300, Some(true))]);
        assert_eq!(metrics[1].value, Some(Is::Double(1.0)));
    }

    #[test]
    fn a_device_is_lost_after_two_silent_scans_or_when_it_is_not_asked_any_more() {
        let (mut known, ..) = known(&site(&[("a", Form::Number)]));
        let m = name("m");
        let mut after = |sample: Sample| {
            known.listen(&reading(1, &[("a", sample)]));
            known.is_lost(&m)
        };
        assert!(!after(Err(Bad::NoReply)));
        assert!(!after(Err(Bad::Garbled)));
        assert!(!after(Err(Bad::NoReply)));
        assert!(after(Err(Bad::NoReply)));
        assert!(!after(Err(Bad::Exception(2))));
        assert!(after(Err(Bad::DeviceLost)));
        assert!(!after(number(1)));
        assert!(after(Err(Bad::LineDown)));
    }

    #[test]
    fn what_the_site_does_not_mention_is_met_and_keeps_its_alias() {
        let (mut known, mut kept, _dir) = known(&site(&[("a", Form::Number)]));
        let strange = reading(1, &[("a", number(1)), ("x", Ok(Value::Bool(true))), ("y", Err(Bad::NoReply))]);
        assert_eq!(known.meet(&strange, &mut kept), [name("x")]);
        assert_eq!(known.meet(&strange, &mut kept), []);
        assert_eq!(known.point(&name("m"), &name("x")).unwrap().datatype, Datatype::Boolean);
        assert!(known.point(&name("m"), &name("y")).is_none());
        let alias = known.point(&name("m"), &name("a")).unwrap().alias;
        known.take(&strange);
        known.describe(&site(&[("a", Form::Number), ("b", Form::Number)]), &mut kept);
        let again = known.point(&name("m"), &name("a")).unwrap();
        assert_eq!((again.alias, again.current.is_some()), (alias, true));
        // A value of another datatype is none of the new point's.
        known.describe(&site(&[("a", Form::Text)]), &mut kept);
        assert!(known.point(&name("m"), &name("a")).unwrap().current.is_none());
    }
}
