//! ThingsBoard's gateway API (thingsboard.io, "MQTT Gateway API" and "MQTT Device API").
//!
//! The gateway is a device of the server's, known by its access token. Meters are connected by name with their profile as the
//! type, which creates them; their make, model and address are client attributes. Status is attributes of the gateway's
//! own, and so is what happens (`event`) and what was lost (`gap`), as telemetry. A meter that is lost is disconnected,
//! so that the server's own inactivity says so. Nothing is retained, and the server has no use for a Will: it sees connections.

use super::{Meta, Said, Speaker, Standing};
use crate::encode::json::{self, Loss};
use crate::model::{DeviceInfo, Event, EventKind, Name, Timestamp};
use serde_json::{Map, Value, json as object};

const TELEMETRY: &str = "v1/devices/me/telemetry";
/// Attributes of so many octets are said at once; the server hangs up above 64 KiB.
const AT_ONCE: usize = 32_000;

pub(super) fn attributes(speaker: &Speaker<'_>, standing: Standing<'_>) -> String {
    let Standing { version, backlog, uplink } = standing;
    let config = &speaker.site.config_hash;
    let mut attributes = object!({ "version": version, "config": config, "backlog": backlog });
    if let (Some(uplink), Some(attributes)) = (uplink, attributes.as_object_mut()) {
        attributes.insert("uplink".to_owned(), uplink.into());
    }
    attributes.to_string()
}

pub(super) fn meta(speaker: &Speaker<'_>) -> Meta {
    // All of them, for that makes those that are new; then those that are away.
    let mut said: Vec<Said> = speaker.site.devices.iter().map(connected).collect();
    said.extend(speaker.lost.iter().filter_map(|device| presence(EventKind::DeviceLost, device)));
    let mut attributes = Map::new();
    let mut octets = 0;
    for device in &speaker.site.devices {
        let of = describe(device);
        let more = of.to_string().len() + device.name.as_str().len() + 4;
        if octets + more > AT_ONCE {
            said.push(attributes_of(std::mem::take(&mut attributes)));
            octets = 0;
        }
        octets += more;
        attributes.insert(device.name.to_string(), of);
    }
    if !attributes.is_empty() {
        said.push(attributes_of(attributes));
    }
    Meta { said, ..Meta::default() }
}

fn attributes_of(devices: Map<String, Value>) -> Said {
    Said::once("v1/gateway/attributes".to_owned(), Value::Object(devices).to_string())
}

fn connected(device: &DeviceInfo) -> Said {
    let payload = object!({ "device": device.name.as_str(), "type": device.profile });
    Said::once("v1/gateway/connect".to_owned(), payload.to_string())
}

fn describe(device: &DeviceInfo) -> Value {
    let units = device.points.iter().filter(|point| !point.unit.is_empty());
    let units: Map<String, Value> =
        units.map(|point| (point.name.to_string(), Value::from(point.unit.as_str()))).collect();
    let mut of = object!({
        "profile": device.profile, "vendor": device.vendor, "model": device.model,
        "line": device.line.as_str(), "unit": device.unit, "units": units,
    });
    if let (Some(identity), Some(of)) = (&device.identity, of.as_object_mut()) {
        of.insert("serial_number".to_owned(), Value::from(identity.as_str()));
    }
    of
}

/// As telemetry of the gateway; a meter that is lost or back is disconnected or connected too.
pub(super) fn event(event: &Event) -> Vec<Said> {
    let presence = event.device.as_ref().and_then(|device| presence(event.kind, device));
    presence.into_iter().chain([telemetry(event.ts, "event", &json::event(event))]).collect()
}

fn presence(kind: EventKind, device: &Name) -> Option<Said> {
    let words = [(EventKind::DeviceLost, "disconnect"), (EventKind::DeviceFound, "connect")];
    let (_, verb) = words.into_iter().find(|(of, _)| *of == kind)?;
    Some(Said::once(format!("v1/gateway/{verb}"), object!({ "device": device.as_str() }).to_string()))
}

pub(super) fn gap(now: Timestamp, loss: &Loss<'_>) -> Said {
    telemetry(now, "gap", &json::gap(now, loss, None))
}

/// `object` is JSON already.
fn telemetry(at: Timestamp, key: &str, object: &str) -> Said {
    let payload = format!("{{\"ts\":{},\"values\":{{\"{key}\":{object}}}}}", at.0);
    Said::once(TELEMETRY.to_owned(), payload)
}
