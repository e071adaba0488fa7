//! thin-edge.io's MQTT API (thin-edge.github.io, "MQTT API"), on the broker of the box that it runs on.
//!
//! Each meter is a child device, registered by a retained message; its scans are measurements of one type, with units beside
//! them; a lost meter is an alarm until it is back; the rest of what happens are events. The gateway is a service
//! of the main device, with the health that thin-edge looks at. What goes to the cloud, and how, is thin-edge's job.

use super::{Meta, Said, Speaker};
use crate::encode::json::Loss;
use crate::encode::thin_edge::telling;
use crate::model::{DeviceInfo, Event, EventKind, Name, Timestamp};
use serde_json::{Map, Value, json as object};

const MAIN: &str = "te/device/main//";

/// How meters are known to thin-edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinEdge {
    /// The type of the measurements.
    pub kind: String,
}

impl Default for ThinEdge {
    fn default() -> ThinEdge {
        ThinEdge { kind: "linesman".to_owned() }
    }
}

impl ThinEdge {
    pub(super) fn measurement_topic(&self, device: &Name) -> String {
        format!("{}/m/{}", entity(device), self.kind)
    }
}

/// `te/device/NAME//`: the last two levels are for services.
fn entity(device: &Name) -> String {
    format!("te/device/{device}//")
}

fn alarm(entity: &str) -> String {
    format!("{entity}/a/device-lost")
}

pub(super) fn health(speaker: &Speaker<'_>, up: bool, at: Option<Timestamp>) -> Said {
    let status = if up { "up" } else { "down" };
    let payload = match at {
        Some(at) => object!({ "status": status, "time": at.0.div_euclid(1000) }),
        None => object!({ "status": status }),
    };
    let gateway = &speaker.site.gateway;
    Said::kept(format!("te/device/main/service/linesman-{gateway}/status/health"), payload.to_string())
}

/// Registered before anything is said of them; the service first, then the meters, then what their numbers mean.
pub(super) fn meta(edge: &ThinEdge, speaker: &Speaker<'_>) -> Meta {
    let gateway = &speaker.site.gateway;
    let service = object!({ "@type": "service", "name": format!("linesman-{gateway}"), "type": "service" });
    let mut said =
        vec![Said::kept(format!("te/device/main/service/linesman-{gateway}"), service.to_string())];
    for device in &speaker.site.devices {
        let child =
            object!({ "@type": "child-device", "name": device.name.as_str(), "type": device.profile });
        said.push(Said::kept(entity(&device.name), child.to_string()));
        let topic = format!("{}/meta", edge.measurement_topic(&device.name));
        said.push(Said::kept(topic, units(device).to_string()));
        if !speaker.lost.contains(&device.name) {
            // One of an earlier process, or of a meter that was exchanged.
            said.push(Said::kept(alarm(&entity(&device.name)), Vec::new()));
        }
    }
    Meta { said, ..Meta::default() }
}

fn units(device: &DeviceInfo) -> Value {
    let units = device.points.iter().filter(|point| !point.unit.is_empty());
    let units: Map<String, Value> =
        units.map(|point| (point.name.to_string(), object!({ "unit": point.unit }))).collect();
    Value::Object(units)
}

pub(super) fn event(event: &Event) -> Vec<Said> {
    let of = event.device.as_ref().map_or_else(|| MAIN.to_owned(), entity);
    let alarm = alarm(&of);
    vec![if event.kind == EventKind::DeviceLost {
        Said::kept(alarm, telling(&event.text, event.ts, Some("major")))
    } else if event.kind == EventKind::DeviceFound {
        // An alarm is over when there is nothing there.
        Said::kept(alarm, Vec::new())
    } else {
        Said::once(format!("{of}/e/{}", event.kind.word()), telling(&event.text, event.ts, None))
    }]
}

pub(super) fn gap(now: Timestamp, loss: &Loss<'_>) -> Said {
    let count = loss.count.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
    let (from, to) = (Timestamp(loss.from).rfc3339(), Timestamp(loss.to).rfc3339());
    let text = format!("{count} readings between {from} and {to} were lost: {}", loss.reason);
    Said::once(format!("{MAIN}/e/gap"), telling(&text, now, None))
}
