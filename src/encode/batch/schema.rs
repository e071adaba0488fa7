//! The names that a batch leaves out: which devices and points there are, in order.

use super::Options;
use super::column::Fineness;
use crate::encode::json;
use crate::model::{Name, Site};
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
        let described = |device: &crate::model::DeviceInfo| Described {
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
    pub gateway: String,
    pub schema: u32,
    pub devices: Vec<(Name, Vec<Name>)>,
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
}

impl Names {
    /// Reads a meta document, and computes its schema's number rather than believe it.
    pub fn from_meta(text: &str) -> Result<Names, String> {
        let meta: Meta = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let schema = crc32fast::hash(meta.devices.get().as_bytes());
        if format!("{schema:08x}") != meta.schema {
            return Err(format!(
                "`schema` is {}, but `devices` have {schema:08x}: was it reformatted?",
                meta.schema
            ));
        }
        let devices: Vec<Device> =
            serde_json::from_str(meta.devices.get()).map_err(|error| error.to_string())?;
        let name = |name: &str| name.parse::<Name>().map_err(|error| format!("`{name}`: {error}"));
        let device = |device: &Device| {
            let points = device.points.iter().map(|point| name(&point.name)).collect::<Result<_, _>>()?;
            Ok::<_, String>((name(&device.name)?, points))
        };
        let devices = devices.iter().map(device).collect::<Result<_, _>>()?;
        Ok(Names { gateway: meta.gateway, schema, devices })
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
        assert_eq!((names.gateway.as_str(), names.schema), ("g", Schema::of(&site, &Options::default()).id));
        assert_eq!(names.devices[1].0.as_str(), "b");
        assert_eq!(names.devices[0].1.len(), 3);
        let changed = meta.replace("\"voltage\"", "\"current\"");
        assert!(Names::from_meta(&changed).unwrap_err().contains("reformatted"));
        assert!(Names::from_meta("{}").is_err());
    }
}
