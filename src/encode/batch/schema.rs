//! The names that a batch leaves out: which devices and points there are, in order.

use super::Options;
use super::column::Fineness;
use crate::encode::json;
use crate::model::{DeviceInfo, Name, PointInfo, Site};
use std::collections::BTreeMap;

/// What the writer knows of the site.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(super) id: u32,
    pub(super) devices: Vec<Described>,
    by_name: BTreeMap<Name, usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Described {
    pub points: Vec<(Name, Fineness)>,
}

impl Schema {
    /// The schema that `P/meta` publishes of this site.
    pub fn of(site: &Site, options: &Options) -> Schema {
        let id = json::schema(site, usize::MAX).map_or(0, |(_, id)| id);
        Schema { id, ..Schema::unpublished(site, options) }
    }

    /// For a site whose meta is not published: each batch brings its names.
    pub fn unpublished(site: &Site, options: &Options) -> Schema {
        let described = |device: &DeviceInfo| Described {
            points: device
                .points
                .iter()
                .map(|point| {
                    let tolerance = options.tolerances.of(point);
                    (point.name.clone(), Fineness { resolution: point.resolution, tolerance })
                })
                .collect(),
        };
        let by_name = site.devices.iter().enumerate().map(|(index, device)| (device.name.clone(), index));
        Schema { id: 0, devices: site.devices.iter().map(described).collect(), by_name: by_name.collect() }
    }

    pub(super) fn find(&self, device: &Name) -> Option<(usize, &Described)> {
        let index = *self.by_name.get(device)?;
        Some((index, self.devices.get(index)?))
    }
}

/// What the reader knows of a site, from its `P/meta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub schema: u32,
    /// Gateway, devices and points with their units and quantities; of the rest only what meta tells.
    pub site: Site,
}

#[derive(serde::Deserialize)]
struct Meta {
    gateway: String,
    schema: String,
    devices: Box<serde_json::value::RawValue>,
}

#[derive(serde::Deserialize)]
struct Device {
    name: String,
    points: Vec<Point>,
}

#[derive(serde::Deserialize)]
struct Point {
    name: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    quantity: String,
}

impl Names {
    /// Reads a meta document, and computes its schema's number rather than believe it.
    pub fn from_meta(text: &str) -> Result<Names, String> {
        let meta: Meta = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let schema = crc32fast::hash(meta.devices.get().as_bytes());
        if format!("{schema:08x}") != meta.schema {
            let found = meta.schema;
            return Err(format!("`schema` is {found}, but `devices` have {schema:08x}: was it reformatted?"));
        }
        let devices: Vec<Device> =
            serde_json::from_str(meta.devices.get()).map_err(|error| error.to_string())?;
        let devices = devices.iter().map(Device::info).collect::<Result<_, _>>()?;
        let site = Site { gateway: name(&meta.gateway)?, config_hash: String::new(), devices };
        Ok(Names { schema, site })
    }

    pub(super) fn device(&self, id: u32) -> Option<&DeviceInfo> {
        self.site.devices.get(usize::try_from(id).ok()?)
    }
}

fn name(text: &str) -> Result<Name, String> {
    text.parse::<Name>().map_err(|error| format!("`{}`: {error}", text.escape_debug()))
}

impl Device {
    fn info(&self) -> Result<DeviceInfo, String> {
        let point = |point: &Point| {
            Ok::<_, String>(PointInfo {
                name: name(&point.name)?,
                unit: point.unit.clone(),
                quantity: point.quantity.clone(),
                phase: None,
                direction: None,
                resolution: None,
                range: None,
                index: false,
                form: Default::default(),
            })
        };
        let name = name(&self.name)?;
        Ok(DeviceInfo {
            line: name.clone(),
            name,
            unit: 0,
            profile: String::new(),
            vendor: String::new(),
            model: String::new(),
            identity: None,
            every: std::time::Duration::ZERO,
            points: self.points.iter().map(point).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::site;

    #[test]
    fn meta_gives_the_names_by_which_the_batch_was_made() {
        let site = site();
        let meta = json::meta(&site, usize::MAX).unwrap().unwrap();
        let names = Names::from_meta(&meta).unwrap();
        assert_eq!(
            (names.site.gateway.as_str(), names.schema),
            ("g", Schema::of(&site, &Options::default()).id)
        );
        assert_eq!(names.site.devices[1].name.as_str(), "b");
        assert_eq!(names.site.devices[0].points[1].unit, "bar");
        let changed = meta.replace("\"voltage\"", "\"current\"");
        assert!(Names::from_meta(&changed).unwrap_err().contains("reformatted"));
        assert!(Names::from_meta("{}").is_err());
    }
}
