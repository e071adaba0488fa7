//! What ThingsBoard's gateway API takes (`v1/gateway/telemetry`): `{"DEVICE":[{"ts":…,"values":{…}},…],…}`.
//!
//! The server keeps a value per device, stamp and key, so what is sent twice stands there once, and `seq` and `epoch` have
//! nothing to do. It knows no quality: a point without a value gets the key `POINT.bad`, and its word as the value; what was
//! taken while the clock was unsure has `clock.unsure`.

use super::json::{comma, put, put_name, put_value};
use super::{Numbered, Payload, Refused};
use crate::model::Reading;

/// As many of the readings as fit, from the first on; those of a device stand together, in their order.
pub fn encode(readings: &[Numbered<'_>], at_most: usize) -> Result<Payload, Refused> {
    let mut devices: Vec<(&str, String)> = Vec::new();
    let (mut octets, mut taken) = ("{}".len(), 0);
    for one in readings {
        let (device, entry) = (one.reading.device.as_str(), entry(one.reading));
        let known = devices.iter_mut().find(|(name, _)| *name == device);
        // `"NAME":[` and `]`, and a comma in any case.
        let more = entry.len() + 1 + if known.is_some() { 0 } else { device.len() + 5 };
        if octets + more > at_most {
            if taken == 0 {
                return Err(Refused::TooLarge { octets: octets + more, at_most });
            }
            break;
        }
        match known {
            Some((_, entries)) => put(entries, format_args!(",{entry}")),
            None => devices.push((device, entry)),
        }
        (octets, taken) = (octets + more, taken + 1);
    }
    let mut out = String::with_capacity(octets);
    for (index, (device, entries)) in devices.iter().enumerate() {
        put(&mut out, format_args!("{}\"{device}\":[{entries}]", if index == 0 { "{" } else { "," }));
    }
    let octets = if taken == 0 { Vec::new() } else { (out + "}").into_bytes() };
    Ok(Payload { octets, taken })
}

fn entry(reading: &Reading) -> String {
    let mut out = format!("{{\"ts\":{},\"values\":{{", reading.ts.0);
    for (index, (name, sample)) in reading.samples.iter().enumerate() {
        match sample {
            Ok(value) => {
                put_name(&mut out, comma(index), name.as_str());
                put_value(&mut out, value);
            }
            Err(bad) => put(&mut out, format_args!("{}\"{name}.bad\":\"{bad}\"", comma(index))),
        }
    }
    if reading.clock_unsure {
        put(&mut out, format_args!("{}\"clock.unsure\":true", comma(reading.samples.len())));
    }
    out.push_str("}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::reading;
    use crate::encode::{Number, Numbered};
    use crate::model::Bad;

    #[test]
    fn the_payload_is_the_one_of_the_gateway_api() {
        let readings = [
            reading("a", &[("u", Ok("231.70")), ("p", Err(Bad::NoReply))]),
            reading("b", &[("u", Ok("1"))]),
            reading("a", &[("u", Ok("232"))]),
        ];
        let number = Number { epoch: 1, seq: 1 };
        let readings: Vec<Numbered<'_>> =
            readings.iter().map(|reading| Numbered { reading, number }).collect();
        let all = encode(&readings, usize::MAX).unwrap();
        let text = String::from_utf8(all.octets.clone()).unwrap();
        assert_eq!(
            text,
            r#"{"a":[{"ts":1763766000123,"values":{"u":231.7,"p.bad":"no-reply"}},{"ts":1763766000123,"values":{"u":232}}],"b":[{"ts":1763766000123,"values":{"u":1}}]}"#
        );
        for room in 40..=all.octets.len() + 10 {
            match encode(&readings, room) {
                Ok(part) => assert!(part.octets.len() <= room && part.taken >= 1),
                Err(_) => assert!(room < 75, "{room}"),
            }
        }
        assert_eq!(encode(&readings, all.octets.len() + 3).unwrap().taken, 3);
        assert!(encode(&[], 100).unwrap().octets.is_empty());
        let mut unsure = reading("a", &[("u", Ok("1"))]);
        unsure.clock_unsure = true;
        let octets = encode(&[Numbered { reading: &unsure, number }], 200).unwrap().octets;
        assert!(String::from_utf8(octets).unwrap().ends_with(r#"{"u":1,"clock.unsure":true}}]}"#));
    }
}
