//! A small site and readings with everything in them that a payload can say.

use linesman::encode::{Number, Numbered};
use linesman::model::{Bad, Decimal, DeviceInfo, PointInfo, Reading, Sample, Site, Timestamp, Value};
use std::time::Duration;

/// An energy meter and a tank; `odd` stands in readings below and in no device.
pub fn site() -> Site {
    let point =
        |(name, quantity, unit, resolution, index): (&str, &str, &str, Option<&str>, bool)| PointInfo {
            name: name.parse().unwrap(),
            unit: unit.into(),
            quantity: quantity.into(),
            phase: None,
            direction: None,
            resolution: resolution.map(|step| step.parse().unwrap()),
            range: (quantity == "voltage").then(|| ("0".parse().unwrap(), "400".parse().unwrap())),
            index,
            form: Default::default(),
        };
    let device = |name: &str, points: &[(&str, &str, &str, Option<&str>, bool)]| DeviceInfo {
        name: name.parse().unwrap(),
        line: "rs485-1".parse().unwrap(),
        unit: 1,
        profile: "specimen".into(),
        vendor: "none".into(),
        model: "none".into(),
        identity: None,
        every: Duration::from_secs(10),
        points: points.iter().copied().map(point).collect(),
    };
    let meter = [
        ("voltage_l1", "voltage", "V", Some("0.1"), false),
        ("current_l1", "current", "A", Some("0.001"), false),
        ("energy_import", "active-energy", "kWh", Some("0.01"), true),
    ];
    let tank = [
        ("pressure", "pressure", "bar", None, false),
        ("humidity", "humidity", "%", Some("0.5"), false),
        ("state", "other", "", None, false),
        ("valve_open", "other", "", None, false),
        ("serial", "other", "", None, false),
    ];
    Site {
        gateway: "plant-7".parse().unwrap(),
        config_hash: "01234567".into(),
        devices: vec![device("incomer", &meter), device("tank", &tank)],
    }
}

fn number(text: &str) -> Sample {
    Ok(Value::Number(text.parse::<Decimal>().unwrap()))
}

fn text(text: &str) -> Sample {
    Ok(Value::Text(text.into()))
}

fn reading(device: &str, ts: i64, samples: Vec<(&str, Sample)>) -> Reading {
    let samples = samples.into_iter().map(|(name, sample)| (name.parse().unwrap(), sample)).collect();
    let (device, took) = (device.parse().unwrap(), Duration::from_millis(300));
    Reading { device, ts: Timestamp(ts), took, clock_unsure: false, boot: None, samples }
}

/// In the order of their numbers: some steady, some with reasons, a slow scan, points that were not due, a device and
/// a point that the site does not know.
pub fn readings() -> Vec<(Reading, Number)> {
    let start = 1_763_766_000_000;
    let mut list = Vec::new();
    for n in 0..6i64 {
        let mut meter = vec![
            ("voltage_l1", number(&format!("23{}.{}", n % 2, n))),
            ("current_l1", if n == 2 { Err(Bad::NoReply) } else { number(&format!("4.00{n}")) }),
        ];
        if n % 3 == 0 {
            meter.push(("energy_import", number(&format!("12368.7{n}"))));
        }
        list.push(reading("incomer", start + n * 10_000 + n % 2, meter));
        let tank = vec![
            (
                "pressure",
                number(["1.01325", "1.0132", "-0.00001", "0", "1e-9", "2"][usize::try_from(n).unwrap()]),
            ),
            ("humidity", if n > 3 { Err(Bad::Exception(2)) } else { number("45.5") }),
            ("state", if n < 4 { text("idle") } else { text("pumping, \"fast\"") }),
            ("valve_open", Ok(Value::Bool(n == 3))),
            ("serial", if n == 0 { number("18446744073709551615") } else { Err(Bad::TwoAnswers) }),
        ];
        list.push(reading("tank", start + n * 10_000 + 600, tank));
    }
    list.push(reading("odd", start + 61_000, vec![("level", number("3.25")), ("serial", text("007"))]));
    let mut slow =
        reading("incomer", start + 62_000, vec![("voltage_l1", Err(Bad::Garbled)), ("odd", number("-7"))]);
    slow.took = Duration::from_millis(1500);
    list.push(slow);
    list.push(reading("incomer", start + 63_000, vec![]));
    let number = |n: usize| Number { epoch: 0x6f1c_02ab, seq: 81_234 + n as u64 };
    list.into_iter().enumerate().map(|(n, reading)| (reading, number(n))).collect()
}

pub fn numbered(readings: &[(Reading, Number)]) -> Vec<Numbered<'_>> {
    readings.iter().map(|(reading, number)| Numbered { reading, number: *number }).collect()
}
