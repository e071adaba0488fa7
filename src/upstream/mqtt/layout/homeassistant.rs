//! Home Assistant's MQTT discovery, the form for whole devices (home-assistant.io, "MQTT": device discovery payload).
//!
//! Beside our own topics each meter gets a retained `PREFIX/device/OBJECT/config`: what it is, and a component a point with
//! unit, device class and state class, all on the same state topic `P/d/{device}`. The gateway is a device too, with
//! its backlog and whether it is connected; the meters are behind it (`via_device`).
//!
//! - A scan holds the points that were due. One that was not keeps its state; one that was bad becomes unknown.
//! - A meter is available while the gateway is and its scans are not all silence.
//! - Counters are `total_increasing`; a device class is given only where Home Assistant allows our unit for it, for it
//!   refuses the component otherwise.
//! - Discovery is said anew when Home Assistant says that it has started, and taken back (an empty payload) for a
//!   meter that is no longer configured. Only what this gateway has announced itself is taken back.

use super::{Meta, Said, Speaker};
use crate::model::{DeviceInfo, Name, PointInfo, Site};
use serde_json::{Map, Value, json as object};

/// Where Home Assistant looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    pub prefix: String,
}

impl Default for Discovery {
    fn default() -> Discovery {
        Discovery { prefix: "homeassistant".to_owned() }
    }
}

/// What a message from Home Assistant asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::upstream) enum Heard {
    /// It has started: everything is said again.
    Started,
    /// A meter of ours that is not here any more was announced under this topic.
    Gone(String),
    Nothing,
}

impl Discovery {
    pub(super) fn subscriptions(&self) -> Vec<String> {
        vec![format!("{}/status", self.prefix), format!("{}/device/+/config", self.prefix)]
    }

    pub(in crate::upstream) fn hear(&self, topic: &str, payload: &[u8], speaker: &Speaker<'_>) -> Heard {
        let Some(rest) = topic.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('/')) else {
            return Heard::Nothing;
        };
        if rest == "status" {
            return if payload == b"online" { Heard::Started } else { Heard::Nothing };
        }
        let is_gone =
            is_ours(payload, speaker) && !objects(speaker.site).any(|object| topic == self.topic(&object));
        if is_gone { Heard::Gone(topic.to_owned()) } else { Heard::Nothing }
    }

    fn topic(&self, object: &str) -> String {
        format!("{}/device/{object}/config", self.prefix)
    }

    /// A device that is more than fits is named, and the others are announced.
    pub(super) fn announce(
        &self,
        speaker: &Speaker<'_>,
        version: &str,
        room: impl Fn(&str) -> usize,
        meta: &mut Meta,
    ) {
        let gateway = object_of(&speaker.site.gateway, None);
        let devices = speaker.site.devices.iter();
        let devices = devices.map(|device| {
            (object_of(&speaker.site.gateway, Some(&device.name)), meter(speaker, device, version))
        });
        for (object, config) in std::iter::once((gateway, gateway_of(speaker, version))).chain(devices) {
            let (topic, payload) = (self.topic(&object), config.to_string());
            let most = room(&topic);
            if payload.len() > most {
                meta.left_out.push(format!("the discovery of {object} has more than {most} octets"));
            } else {
                meta.said.push(Said::kept(topic, payload));
            }
        }
    }
}

/// Gateway and meters, by the ids under which they are announced.
fn objects(site: &Site) -> impl Iterator<Item = String> {
    let meters = site.devices.iter().map(|device| object_of(&site.gateway, Some(&device.name)));
    std::iter::once(object_of(&site.gateway, None)).chain(meters)
}

fn object_of(gateway: &Name, device: Option<&Name>) -> String {
    device.map_or_else(|| format!("linesman_{gateway}"), |device| format!("linesman_{gateway}_{device}"))
}

/// By its origin, the device that it is behind, and where its readings are: names alone do not tell `a` with `b_c` from `a_b`
/// with `c`, nor two gateways of one name with topics of their own.
fn is_ours(payload: &[u8], speaker: &Speaker<'_>) -> bool {
    let Ok(config) = serde_json::from_slice::<Value>(payload) else { return false };
    let gateway = object_of(&speaker.site.gateway, None);
    let below = |state: &str| state.strip_prefix(speaker.topic).is_some_and(|rest| rest.starts_with("/d/"));
    config["o"]["name"] == "linesman"
        && config["dev"]["via_device"] == gateway.as_str()
        && config["state_topic"].as_str().is_some_and(below)
}

fn origin(version: &str) -> Value {
    object!({ "name": "linesman", "sw": version })
}

fn gateway_of(speaker: &Speaker<'_>, version: &str) -> Value {
    let object = object_of(&speaker.site.gateway, None);
    object!({
        "dev": { "ids": [object], "name": speaker.site.gateway.as_str(), "mf": "linesman", "mdl": "telemetry gateway", "sw": version },
        "o": origin(version),
        "state_topic": format!("{}/status", speaker.topic),
        "cmps": {
            "connected": {
                "p": "binary_sensor", "unique_id": format!("{object}_connected"), "name": "Connected",
                "device_class": "connectivity", "entity_category": "diagnostic",
                "value_template": "{{ 'ON' if value_json.online else 'OFF' }}",
            },
            "backlog": {
                "p": "sensor", "unique_id": format!("{object}_backlog"), "name": "Backlog",
                "state_class": "measurement", "entity_category": "diagnostic",
                "value_template": "{{ value_json.backlog | default('') }}",
            },
        },
    })
}

fn meter(speaker: &Speaker<'_>, device: &DeviceInfo, version: &str) -> Value {
    let object = object_of(&speaker.site.gateway, Some(&device.name));
    let state = format!("{}/d/{}", speaker.topic, device.name);
    let components: Map<String, Value> = device
        .points
        .iter()
        .map(|point| (point.name.to_string(), component(&object, device, point)))
        .collect();
    let mut dev = object!({
        "ids": [object], "name": device.name.as_str(), "mf": device.vendor, "mdl": device.model,
        "via_device": object_of(&speaker.site.gateway, None),
    });
    if let (Some(serial), Some(dev)) = (&device.identity, dev.as_object_mut()) {
        dev.insert("sn".to_owned(), Value::from(serial.as_str()));
    }
    object!({
        "dev": dev,
        "o": origin(version),
        "state_topic": state,
        "availability_mode": "all",
        "availability": [
            { "topic": format!("{}/status", speaker.topic),
              "value_template": "{{ 'online' if value_json.online else 'offline' }}" },
            { "topic": state,
              "value_template": "{{ 'offline' if not value_json['values'] and value_json.bad and value_json.bad.values() | reject('in', ['device-lost', 'no-reply', 'line-down', 'line-stuck', 'two-answers']) | list == [] else 'online' }}" },
        ],
        "cmps": components,
    })
}

fn component(object: &str, device: &DeviceInfo, point: &PointInfo) -> Value {
    let name = &point.name;
    let (class, state) = classes(point);
    // An empty state is ignored where a number is expected, and is a state where none is.
    let as_before = if state.is_some() { "''" } else { "this.state" };
    let template = format!(
        "{{% set v = value_json['values'] %}}{{{{ v.{name} if '{name}' in v else (None if '{name}' in (value_json.bad or {{}}) else {as_before}) }}}}"
    );
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    put("p", "sensor".into());
    put("unique_id", format!("{object}_{name}").into());
    put("name", words(name.as_str()).into());
    put("value_template", template.into());
    if let Some(class) = class {
        put("device_class", class.into());
    }
    if let Some(state) = state {
        put("state_class", state.into());
    }
    // A power factor and a pH have no unit there, and nothing else is counted in ones.
    if !matches!(point.unit.as_str(), "" | "1" | "pH") {
        put("unit_of_measurement", point.unit.as_str().into());
    }
    if let Some(resolution) = point.resolution {
        put("suggested_display_precision", resolution.exponent().min(0).unsigned_abs().into());
    }
    put("expire_after", expire_after(device).into());
    Value::Object(out)
}

/// Seconds: two and a half periods, and not less than a minute, for batches of requests and for links that hiccup.
fn expire_after(device: &DeviceInfo) -> u64 {
    let seconds = device.every.as_millis().saturating_mul(5).div_ceil(2000);
    u64::try_from(seconds).unwrap_or(u64::MAX).max(60)
}

/// `voltage_l1` → `Voltage l1`.
fn words(name: &str) -> String {
    let text = name.replace(['_', '-'], " ");
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// Device class and state class (home-assistant.io, "Sensor": the tables of device classes with their units; developers.
/// home-assistant.io, "Sensor entity": which state classes go with them). Texts have neither.
fn classes(point: &PointInfo) -> (Option<&'static str>, Option<&'static str>) {
    if point.unit.is_empty() {
        return (None, None);
    }
    let rises = if point.index { "total_increasing" } else { "total" };
    let plain = if point.index { "total_increasing" } else { "measurement" };
    match (point.quantity.as_str(), point.unit.as_str()) {
        (
            "active-energy" | "dc-energy" | "heat-energy",
            "kWh" | "Wh" | "MWh" | "GWh" | "MJ" | "GJ" | "kJ" | "J" | "Gcal" | "Mcal",
        ) => (Some("energy"), Some(rises)),
        // Its class came half a year after the discovery of devices.
        ("reactive-energy" | "apparent-energy", _) => (None, Some(rises)),
        ("volume", "m³" | "L" | "mL" | "ft³") if point.index => (Some("volume"), Some("total_increasing")),
        ("volume", "m³" | "L" | "mL" | "ft³") => (Some("volume_storage"), Some("measurement")),
        // Angles have no mean; the state class for them is younger than the discovery of devices.
        ("wind-direction", "°") => (Some("wind_direction"), None),
        (quantity, unit) => {
            let class =
                GAUGES.iter().find(|row| row.quantities.contains(&quantity) && row.units.contains(&unit));
            // Most classes take measurements only.
            let state = if class.is_none_or(|row| row.class == "duration") { plain } else { "measurement" };
            (class.map(|row| row.class), Some(state))
        }
    }
}

struct Gauge {
    class: &'static str,
    quantities: &'static [&'static str],
    /// Which of the units that we may have are allowed for it.
    units: &'static [&'static str],
}

const fn gauge(
    class: &'static str,
    quantities: &'static [&'static str],
    units: &'static [&'static str],
) -> Gauge {
    Gauge { class, quantities, units }
}

const GAUGES: &[Gauge] = &[
    gauge("voltage", &["voltage", "dc-voltage", "redox-potential"], &["V", "mV", "µV"]),
    gauge("current", &["current", "dc-current", "residual-current", "loop-current"], &["A", "mA"]),
    gauge("power", &["active-power", "dc-power", "heat-power"], &["W", "kW", "MW", "GW"]),
    gauge("reactive_power", &["reactive-power"], &["var"]),
    gauge("apparent_power", &["apparent-power"], &["VA"]),
    gauge("power_factor", &["power-factor"], &["1", "%"]),
    gauge("frequency", &["frequency"], &["Hz", "kHz"]),
    gauge("temperature", &["temperature", "dew-point"], &["°C", "°F", "K"]),
    gauge("humidity", &["humidity"], &["%"]),
    gauge("moisture", &["soil-moisture", "moisture"], &["%"]),
    gauge("battery", &["state-of-charge"], &["%"]),
    gauge("pressure", &["pressure"], &["bar", "mbar", "Pa", "hPa", "kPa", "psi", "mmHg"]),
    gauge("distance", &["level", "length"], &["m", "mm", "cm", "km", "in", "ft"]),
    gauge("volume_flow_rate", &["flow-rate"], &["m³/h", "L/min"]),
    gauge("speed", &["velocity"], &["m/s", "km/h", "kn", "mph", "ft/s"]),
    gauge("wind_speed", &["wind-speed"], &["m/s", "km/h", "kn", "mph", "ft/s"]),
    gauge("weight", &["mass"], &["kg", "g", "mg"]),
    gauge("carbon_dioxide", &["co2"], &["ppm"]),
    gauge("conductivity", &["conductivity"], &["µS/cm", "mS/cm", "S/cm"]),
    gauge("ph", &["ph"], &["pH"]),
    gauge("illuminance", &["illuminance"], &["lx"]),
    gauge("irradiance", &["irradiance"], &["W/m²"]),
    gauge("sound_pressure", &["sound"], &["dB"]),
    gauge("duration", &["time", "operating-time"], &["h", "min", "s", "ms", "d"]),
];
