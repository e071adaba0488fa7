//! Prometheus remote write 1.0: readings → a `WriteRequest`, before its compression. Pure.
//!
//! The message is written from the field numbers of the specification ("Prometheus Remote-Write 1.0", Protocol). What is
//! not numeric has no place in it:
//! - a point is the metric `linesman_<point>` with the labels `device` and `gateway` and those that are configured, which is
//!   what VictoriaMetrics makes of the same reading by line protocol. A `-` in the name becomes `_`, which metrics have
//!   instead, and the label `point` then has the name as it is;
//! - true and false are 1 and 0; text is left out;
//! - a point that was due and has no value is a **staleness marker** ("Stale Markers"): the line ends there, instead
//!   of going on for five minutes with the last value. So is a number that no double holds. The reason has no room;
//! - losses cannot be announced.
//!
//! Messages of protobuf that stand one behind the other are one message, so that bodies join.

use crate::encode::{Numbered, Payload, Refused};
use crate::model::{Reading, Site, Value};
use prost::Message;
use std::collections::BTreeMap;

/// The one NaN that says that a series has ended here.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Labels whose values are ours.
pub const OURS: [&str; 4] = ["__name__", "device", "gateway", "point"];

#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// As many readings as fit into so many octets, a series a point.
pub(super) fn encode(
    readings: &[Numbered<'_>],
    site: &Site,
    labels: &[(String, String)],
    at_most: usize,
) -> Result<Payload, Refused> {
    let mut taken = readings.len();
    loop {
        let request = request(readings.get(..taken).unwrap_or_default(), site, labels);
        let octets = request.encoded_len();
        if octets <= at_most {
            return Ok(Payload { octets: request.encode_to_vec(), taken });
        }
        if taken <= 1 {
            return Err(Refused::TooLarge { octets, at_most });
        }
        // About as many as will fit, and always fewer.
        let share = taken.saturating_mul(at_most) / octets;
        taken = share.clamp(1, taken - 1);
    }
}

fn request(readings: &[Numbered<'_>], site: &Site, labels: &[(String, String)]) -> WriteRequest {
    let mut series: BTreeMap<(&str, &str), Vec<Sample>> = BTreeMap::new();
    for Numbered { reading, .. } in readings {
        for (point, value) in values(reading) {
            let samples = series.entry((reading.device.as_str(), point)).or_default();
            samples.push(Sample { value, timestamp: reading.ts.0 });
        }
    }
    let series = series.into_iter().map(|((device, point), mut samples)| {
        // They must be in the order of their stamps, and a clock may have been set back.
        samples.sort_by_key(|sample| sample.timestamp);
        TimeSeries { labels: labels_of(point, device, site, labels), samples }
    });
    WriteRequest { series: series.collect() }
}

fn values(reading: &Reading) -> impl Iterator<Item = (&str, f64)> {
    reading.samples.iter().filter_map(|(name, sample)| {
        let value = match sample {
            Ok(Value::Number(number)) => Some(number.to_f64()).filter(|value| value.is_finite()),
            Ok(Value::Bool(flag)) => Some(f64::from(u8::from(*flag))),
            Ok(Value::Text(_)) => return None,
            Err(_) => None,
        };
        Some((name.as_str(), value.unwrap_or(f64::from_bits(STALE))))
    })
}

/// In the order of their names, as the specification wants them.
fn labels_of(point: &str, device: &str, site: &Site, more: &[(String, String)]) -> Vec<Label> {
    let metric = point.replace('-', "_");
    let mut labels = vec![
        ("__name__", format!("linesman_{metric}")),
        ("device", device.to_owned()),
        ("gateway", site.gateway.as_str().to_owned()),
    ];
    if metric != point {
        labels.push(("point", point.to_owned()));
    }
    labels.extend(more.iter().map(|(name, value)| (name.as_str(), value.clone())));
    labels.sort();
    labels.into_iter().map(|(name, value)| Label { name: name.to_owned(), value }).collect()
}

/// A body as text: a sample a line, as Prometheus writes them.
pub(super) fn legible(body: &[u8]) -> String {
    let Ok(request) = WriteRequest::decode(body) else { return String::from_utf8_lossy(body).into_owned() };
    let mut out = String::new();
    for TimeSeries { labels, samples } in request.series {
        let (name, rest) =
            labels.split_first().map_or(("", [].as_slice()), |(n, rest)| (n.value.as_str(), rest));
        let rest: Vec<String> =
            rest.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect();
        for Sample { value, timestamp } in samples {
            out.push_str(&format!("{name}{{{}}} {value} {timestamp}\n", rest.join(",")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Number;
    use crate::model::{Bad, Timestamp};
    use std::time::Duration;

    fn reading(ts: i64, samples: &[(&str, Result<Value, Bad>)]) -> Reading {
        Reading {
            device: "m-1".parse().unwrap(),
            ts: Timestamp(ts),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: samples.iter().map(|(name, sample)| (name.parse().unwrap(), sample.clone())).collect(),
        }
    }

    fn number(text: &str) -> Result<Value, Bad> {
        Ok(Value::Number(text.parse().unwrap()))
    }

    fn written(
        readings: &[Reading],
        labels: &[(String, String)],
        at_most: usize,
    ) -> Result<Payload, Refused> {
        let site = Site { gateway: "g".parse().unwrap(), config_hash: String::new(), devices: Vec::new() };
        let readings: Vec<Numbered<'_>> = readings
            .iter()
            .map(|reading| Numbered { reading, number: Number { epoch: 1, seq: 1 } })
            .collect();
        encode(&readings, &site, labels, at_most)
    }

    /// Octet by octet from the specification's field numbers.
    #[test]
    fn one_sample_is_these_octets() {
        let payload = written(&[reading(300, &[("u", number("1.5"))])], &[], 1000).unwrap();
        let mut series = Vec::new();
        for (name, value) in [("__name__", "linesman_u"), ("device", "m-1"), ("gateway", "g")] {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            let length = |octets: &[u8]| u8::try_from(octets.len()).unwrap();
            let mut label = vec![0x0A, length(name)];
            label.extend(name);
            label.extend([0x12, length(value)]);
            label.extend(value);
            series.extend([0x0A, length(&label)]);
            series.extend(label);
        }
        // value = 1: a double; timestamp = 2: the varint 300.
        series.extend([0x12, 12, 0x09, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F, 0x10, 0xAC, 0x02]);
        let mut golden = vec![0x0A, u8::try_from(series.len()).unwrap()];
        golden.extend(series);
        assert_eq!(payload.octets, golden);
    }

    #[test]
    fn a_series_a_point_with_its_samples_in_the_order_of_time() {
        let readings = [
            reading(
                2,
                &[("u", number("2")), ("t", Ok(Value::Text("x".into()))), ("on", Ok(Value::Bool(true)))],
            ),
            reading(1, &[("u", number("1")), ("p-q", Err(Bad::NoReply)), ("h", number("1e400"))]),
        ];
        let labels = [("site".to_owned(), "north".to_owned()), ("area".to_owned(), "a".to_owned())];
        let payload = written(&readings, &labels, 10_000).unwrap();
        assert_eq!(payload.taken, 2);
        let request = WriteRequest::decode(payload.octets.as_slice()).unwrap();
        let names: Vec<Vec<&str>> = request
            .series
            .iter()
            .map(|s| s.labels.iter().map(|label| label.name.as_str()).collect())
            .collect();
        assert!(names.iter().all(|names| names.is_sorted() && names.contains(&"site")), "{names:?}");
        let told: Vec<(&str, Vec<(u64, i64)>)> = request
            .series
            .iter()
            .map(|s| {
                let metric = s.labels.iter().find(|label| label.name == "__name__").unwrap().value.as_str();
                (metric, s.samples.iter().map(|one| (one.value.to_bits(), one.timestamp)).collect())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("linesman_h", vec![(STALE, 1)]),
                ("linesman_on", vec![(1f64.to_bits(), 2)]),
                ("linesman_p_q", vec![(STALE, 1)]),
                ("linesman_u", vec![(1f64.to_bits(), 1), (2f64.to_bits(), 2)]),
            ]
        );
        let point = request.series[2].labels.iter().find(|label| label.name == "point").unwrap();
        assert_eq!(point.value, "p-q", "two names must not become one series");
        assert!(legible(&payload.octets).contains("device=\"m-1\""), "{}", legible(&payload.octets));
    }

    #[test]
    fn as_many_readings_as_fit_and_never_a_piece_of_one() {
        let readings: Vec<Reading> = (0..100).map(|n| reading(n, &[("u", number("1"))])).collect();
        let whole = written(&readings, &[], usize::MAX).unwrap();
        assert_eq!(whole.taken, 100);
        let part = written(&readings, &[], whole.octets.len() / 2).unwrap();
        assert!(
            part.octets.len() <= whole.octets.len() / 2 && (30..60).contains(&part.taken),
            "{}",
            part.taken
        );
        assert!(matches!(written(&readings, &[], 20), Err(Refused::TooLarge { at_most: 20, .. })));
        let nothing = written(&[reading(1, &[("t", Ok(Value::Text("x".into())))])], &[], 100).unwrap();
        assert_eq!(nothing, Payload { octets: Vec::new(), taken: 1 }, "text alone says nothing here");
    }
}
