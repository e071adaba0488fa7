//! JSON as people and ThingsBoard read it: `{"ts","values","bad","seq","epoch"}`.
//!
//! Numbers are written digit by digit from the exact decimal; nothing passes through a float. The order
//! of keys is fixed. `values` is always there; `bad`, `took` and `clock` only when they say something.

use crate::model::{Decimal, DeviceInfo, Event, EventKind, PointInfo, Reading, Site, Timestamp, Value};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt::Write;
use std::time::Duration;

/// Blocks read later than this after the first reply are worth telling.
const TOOK_WORTH_TELLING: Duration = Duration::from_millis(1000);

/// Where a record stands in the gateway's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    pub epoch: u32,
    pub seq: u64,
}

/// One reading. Where no topic says whose it is, `gateway` makes it say so itself.
pub fn reading(reading: &Reading, number: Number, gateway: Option<&str>) -> String {
    let mut out = String::with_capacity(64 + 32 * reading.samples.len());
    out.push('{');
    if let Some(gateway) = gateway {
        put(&mut out, format_args!("\"gateway\":{},\"device\":\"{}\",", quoted(gateway), reading.device));
    }
    put(&mut out, format_args!("\"ts\":{},\"values\":{{", reading.ts.0));
    let good = reading.samples.iter().filter_map(|(name, sample)| Some((name, sample.as_ref().ok()?)));
    for (index, (name, value)) in good.enumerate() {
        put_name(&mut out, comma(index), name.as_str());
        put_value(&mut out, value);
    }
    out.push('}');
    let mut bad =
        reading.samples.iter().filter_map(|(name, sample)| Some((name, sample.as_ref().err()?))).peekable();
    if bad.peek().is_some() {
        out.push_str(",\"bad\":{");
        for (index, (name, bad)) in bad.enumerate() {
            put_name(&mut out, comma(index), name.as_str());
            put(&mut out, format_args!("\"{bad}\""));
        }
        out.push('}');
    }
    if reading.took > TOOK_WORTH_TELLING {
        put(&mut out, format_args!(",\"took\":{}", reading.took.as_millis()));
    }
    if reading.clock_unsure {
        out.push_str(",\"clock\":\"unsure\"");
    }
    put(&mut out, format_args!(",\"seq\":{},\"epoch\":\"{:08x}\"}}", number.seq, number.epoch));
    out
}

/// What the gateway says of itself while it is connected.
pub fn online(ts: Timestamp, version: &str, config: &str, (backlog, uplink): (u64, Option<&str>)) -> String {
    let (version, config) = (quoted(version), quoted(config));
    let uplink = uplink.map(|name| format!("\"uplink\":{},", quoted(name))).unwrap_or_default();
    format!(
        "{{\"online\":true,\"ts\":{},\"version\":{version},\"config\":{config},{uplink}\"backlog\":{backlog}}}",
        ts.0
    )
}

/// A clean good-bye has a time; the Will, which the broker speaks for us, can't have one.
pub fn offline(ts: Option<Timestamp>) -> String {
    match ts {
        Some(ts) => format!("{{\"online\":false,\"ts\":{}}}", ts.0),
        None => "{\"online\":false}".to_owned(),
    }
}

/// Something that happened on a line: `{"type","ts","line","device",…}`. A finding has its own word, and whether
/// it begins or ends.
pub fn event(event: &Event) -> String {
    let mut out = format!("{{\"type\":\"{}\",\"ts\":{}", event.kind.word(), event.ts.0);
    put(&mut out, format_args!(",\"{}\":{}", event.kind.place(), quoted(event.line.as_str())));
    if let Some(device) = &event.device {
        put(&mut out, format_args!(",\"device\":{}", quoted(device.as_str())));
    }
    let finding = match event.kind {
        EventKind::Begins(finding) => Some((finding, "begins")),
        EventKind::Ends(finding) => Some((finding, "ends")),
        EventKind::LineDown
        | EventKind::LineUp
        | EventKind::DeviceLost
        | EventKind::DeviceFound
        | EventKind::OtherMeter
        | EventKind::NamelessMeter
        | EventKind::MeterExchanged
        | EventKind::CounterReset
        | EventKind::CounterBack
        | EventKind::UplinkChanged
        | EventKind::BudgetLow
        | EventKind::BudgetSpent => None,
    };
    if let Some((finding, state)) = finding {
        put(&mut out, format_args!(",\"finding\":\"{finding}\",\"state\":\"{state}\""));
    }
    put(&mut out, format_args!(",\"text\":{}}}", quoted(&event.text)));
    out
}

/// Records that an upstream will never see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss<'a> {
    /// Sampled not before and not after, ms since 1970 UTC.
    pub from: i64,
    pub to: i64,
    /// How many; `None` where a power cut took them.
    pub count: Option<u64>,
    pub reason: &'a str,
}

/// The announcement of a loss: `{"type":"gap","ts","from","to","count":N|null,"reason"}`. Where there is no topic,
/// `gateway` makes it say whose it is.
pub fn gap(ts: Timestamp, loss: &Loss<'_>, gateway: Option<&str>) -> String {
    let mut out = String::from("{");
    if let Some(gateway) = gateway {
        put(&mut out, format_args!("\"gateway\":{},", quoted(gateway)));
    }
    let count = loss.count.map_or_else(|| "null".to_owned(), |count| count.to_string());
    let Loss { from, to, reason, .. } = loss;
    put(&mut out, format_args!("\"type\":\"gap\",\"ts\":{},\"from\":{from},\"to\":{to},", ts.0));
    put(&mut out, format_args!("\"count\":{count},\"reason\":{}}}", quoted(reason)));
    out
}

/// What exists: devices and their points. `schema` is the CRC-32 (of zlib, as in IEEE 802.3), in eight
/// hexadecimal digits, over the text of the `devices` array as it stands in the payload.
///
/// `None` when that is more than `at_most` octets; then no more of it is made than shows it.
pub fn meta(site: &Site, at_most: usize) -> Result<Option<String>, serde_json::Error> {
    let (devices, schema) = match schema(site, at_most) {
        Ok(found) => found,
        Err(SchemaError::TooLarge) => return Ok(None),
        Err(SchemaError::Json(error)) => return Err(error),
    };
    let (gateway, config) = (quoted(site.gateway.as_str()), quoted(&site.config_hash));
    let text = format!(
        "{{\"gateway\":{gateway},\"config\":{config},\"schema\":\"{schema:08x}\",\"devices\":{devices}}}"
    );
    Ok((text.len() <= at_most).then_some(text))
}

/// Why there is no schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the list of devices is larger than allowed")]
    TooLarge,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The `devices` array of meta, and its CRC-32: what a batch names instead of repeating it.
pub fn schema(site: &Site, at_most: usize) -> Result<(String, u32), SchemaError> {
    let mut devices = String::from("[");
    for (index, device) in site.devices.iter().enumerate() {
        devices.push_str(comma(index));
        devices.push_str(&serde_json::to_string(&Device::of(device))?);
        if devices.len() > at_most {
            return Err(SchemaError::TooLarge);
        }
    }
    devices.push(']');
    let schema = crc32fast::hash(devices.as_bytes());
    Ok((devices, schema))
}

#[derive(Serialize)]
struct Device<'a> {
    name: &'a str,
    line: &'a str,
    unit: u8,
    profile: &'a str,
    vendor: &'a str,
    model: &'a str,
    /// Its serial number, once it has said one.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    every_ms: u128,
    points: Vec<Point<'a>>,
}

#[derive(Serialize)]
struct Point<'a> {
    name: &'a str,
    unit: &'a str,
    quantity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    index: bool,
}

impl Device<'_> {
    fn of(device: &DeviceInfo) -> Device<'_> {
        Device {
            name: device.name.as_str(),
            line: device.line.as_str(),
            unit: device.unit,
            profile: &device.profile,
            vendor: &device.vendor,
            model: &device.model,
            identity: device.identity.as_deref(),
            every_ms: device.every.as_millis(),
            points: device.points.iter().map(Point::of).collect(),
        }
    }
}

impl Point<'_> {
    fn of(point: &PointInfo) -> Point<'_> {
        Point {
            name: point.name.as_str(),
            unit: &point.unit,
            quantity: &point.quantity,
            phase: point.phase.as_deref(),
            direction: point.direction.as_deref(),
            resolution: point.resolution.and_then(exact),
            index: point.index,
        }
    }
}

fn exact(number: Decimal) -> Option<Box<RawValue>> {
    // A decimal prints as a JSON number, so this never fails.
    RawValue::from_string(number.to_string()).ok()
}

/// A key. A [`Name`](crate::model::Name) has no character that JSON would want escaped.
pub(super) fn put_name(out: &mut String, before: &str, name: &str) {
    for part in [before, "\"", name, "\":"] {
        out.push_str(part);
    }
}

pub(super) fn put_value(out: &mut String, value: &Value) {
    match value {
        Value::Number(number) => put(out, format_args!("{number}")),
        Value::Bool(flag) => put(out, format_args!("{flag}")),
        Value::Text(text) => out.push_str(&quoted(text)),
    }
}

pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = out.write_fmt(text);
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn comma(index: usize) -> &'static str {
    if index == 0 { "" } else { "," }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bad;

    fn sample() -> Reading {
        Reading {
            device: "incomer".parse().unwrap(),
            ts: Timestamp(1_763_766_000_000),
            took: Duration::from_millis(300),
            clock_unsure: false,
            boot: None,
            samples: vec![
                ("voltage_l1".parse().unwrap(), Ok(Value::Number("231.7".parse().unwrap()))),
                ("energy_import".parse().unwrap(), Ok(Value::Number("12368.72".parse().unwrap()))),
                ("current_l2".parse().unwrap(), Err(Bad::NoReply)),
            ],
        }
    }

    const NUMBER: Number = Number { epoch: 0x6f1c_02ab, seq: 81_234 };

    #[test]
    fn an_event_says_what_where_and_when() {
        use crate::model::FindingKind;
        let told = |kind, device: Option<&str>| {
            let device = device.map(|name| name.parse().unwrap());
            event(&Event {
                ts: Timestamp(7),
                kind,
                line: "rs485-1".parse().unwrap(),
                device,
                text: "a \"b\"".into(),
            })
        };
        assert_eq!(
            told(EventKind::Begins(FindingKind::TwoAnswers), Some("boiler")),
            r#"{"type":"finding","ts":7,"line":"rs485-1","device":"boiler","finding":"two-answers","state":"begins","text":"a \"b\""}"#
        );
        assert_eq!(
            told(EventKind::LineDown, None),
            r#"{"type":"line-down","ts":7,"line":"rs485-1","text":"a \"b\""}"#
        );
    }

    #[test]
    fn a_gap_says_from_when_to_when_how_many_and_why() {
        let loss = Loss { from: 1, to: 2, count: Some(3), reason: "spool-full" };
        assert_eq!(
            gap(Timestamp(9), &loss, None),
            r#"{"type":"gap","ts":9,"from":1,"to":2,"count":3,"reason":"spool-full"}"#
        );
        let cut = Loss { count: None, reason: "power-cut", ..loss };
        assert_eq!(
            gap(Timestamp(9), &cut, Some("g")),
            r#"{"gateway":"g","type":"gap","ts":9,"from":1,"to":2,"count":null,"reason":"power-cut"}"#
        );
    }

    #[test]
    fn a_reading_looks_as_the_contract_says() {
        let text = r#"{"ts":1763766000000,"values":{"voltage_l1":231.7,"energy_import":12368.72},"bad":{"current_l2":"no-reply"},"seq":81234,"epoch":"6f1c02ab"}"#;
        assert_eq!(reading(&sample(), NUMBER, None), text);
        let with_place = reading(&sample(), NUMBER, Some("plant-7"));
        assert!(with_place.starts_with(r#"{"gateway":"plant-7","device":"incomer","ts":1763766000000,"#));
    }

    #[test]
    fn what_says_nothing_is_not_there_and_values_always_is() {
        let mut r = sample();
        r.samples.clear();
        assert_eq!(
            reading(&r, NUMBER, None),
            r#"{"ts":1763766000000,"values":{},"seq":81234,"epoch":"6f1c02ab"}"#
        );
        r.took = Duration::from_millis(1500);
        r.clock_unsure = true;
        assert!(reading(&r, NUMBER, None).contains(r#""values":{},"took":1500,"clock":"unsure","seq""#));
    }

    #[test]
    fn meta_names_every_device_and_is_not_made_beyond_its_limit() {
        let device = |name: &str| DeviceInfo {
            name: name.parse().unwrap(),
            line: "l".parse().unwrap(),
            unit: 1,
            profile: "p".into(),
            vendor: "v".into(),
            model: "m".into(),
            identity: None,
            every: Duration::from_secs(1),
            points: [].into(),
        };
        let devices = vec![device("a"), device("b")];
        let site = Site { gateway: "g".parse().unwrap(), config_hash: "01234567".into(), devices };
        let one = |name: &str| {
            format!(
                r#"{{"name":"{name}","line":"l","unit":1,"profile":"p","vendor":"v","model":"m","every_ms":1000,"points":[]}}"#
            )
        };
        let devices = format!("[{},{}]", one("a"), one("b"));
        let schema = crc32fast::hash(devices.as_bytes());
        let whole =
            format!(r#"{{"gateway":"g","config":"01234567","schema":"{schema:08x}","devices":{devices}}}"#);
        assert_eq!(meta(&site, whole.len()).unwrap().as_ref(), Some(&whole));
        for less in [0, 10, devices.len(), whole.len() - 1] {
            assert_eq!(meta(&site, less).unwrap(), None, "{less}");
        }
    }

    #[test]
    fn texts_are_escaped_and_large_numbers_keep_their_digits() {
        let mut r = sample();
        r.samples = vec![
            ("t".parse().unwrap(), Ok(Value::Text("a\"b\\ü".into()))),
            ("n".parse().unwrap(), Ok(Value::Number("18446744073709551.615".parse().unwrap()))),
            ("on".parse().unwrap(), Ok(Value::Bool(true))),
        ];
        let text = reading(&r, NUMBER, None);
        assert!(text.contains(r#""t":"a\"b\\ü","n":18446744073709551.615,"on":true"#), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
