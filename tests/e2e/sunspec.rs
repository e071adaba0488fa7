//! SunSpec devices that are not ours, of which the configuration says nothing but that they are some: pymodbus serves
//! chains of models, and every point's right value arrives at mosquitto.

use crate::broker::{Broker, Gate};
use crate::gateway::{Gateway, linesman, until};
use crate::inbox::Inbox;
use crate::meter::Meters;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// By unit id: an inverter, a vendor's own model and a meter; one phase and the older common model; floats, the meter
/// with a common model of its own.
const CHAINS: [(&str, u8); 3] =
    [("40000:1,103,64120,203", 1), ("50000:1/65,101", 2), ("0:1,113,1,213,203", 3)];

fn chains(chains: &[(&str, u8)]) -> Vec<(PathBuf, u8)> {
    chains.iter().map(|(chain, unit)| (PathBuf::from(format!("sunspec:{chain}")), *unit)).collect()
}

fn config(broker: u16, lan: &str, more: &str) -> String {
    format!(
        r#"gateway: {{ id: plant-7 }}
lines:
  - name: lan
    tcp: {{ address: "{lan}" }}
    devices: [ {{ name: d1, profile: sunspec, unit: 1 }}, {{ name: d2, profile: sunspec, unit: 2 }}, {{ name: d3, profile: sunspec, unit: 3 }} ]
{more}spool: {{ dir: spool }}
upstreams:
  - name: scada
    mqtt: {{ url: "mqtt://127.0.0.1:{broker}" }}
"#
    )
}

/// Waits until the device has said as much as it should, and holds that against what it holds.
fn assert_arrives(inbox: &mut Inbox, device: &str, truth: &BTreeMap<String, String>, from: usize) {
    let (values, bad) = inbox.until(&format!("every point of {device}"), |records| {
        let mut seen = BTreeMap::new();
        let mut bad = BTreeMap::new();
        for record in records[from..].iter().filter(|record| record.device == device) {
            seen.extend(record.values());
            bad.extend(record.bad());
        }
        (seen.len() + bad.len() >= truth.len()).then_some((seen, bad))
    });
    assert!(bad.is_empty(), "{device}: {bad:?}");
    assert_eq!(&values, truth, "{device}");
}

/// The latest word of what exists.
fn meta(inbox: &Inbox) -> Option<Value> {
    let (_, meta) = inbox.others.iter().rev().find(|(topic, _)| topic == "meta")?;
    serde_json::from_str(meta).ok()
}

/// What it says of one device.
fn of(meta: &Value, name: &str) -> String {
    let device = meta["devices"].as_array().unwrap().iter().find(|device| device["name"] == name);
    device.unwrap().to_string()
}

fn has_points(meta: &Value, device: &str, truth: &BTreeMap<String, String>) -> bool {
    let text = of(meta, device);
    truth.keys().all(|name| text.contains(&format!("\"{name}\"")))
}

#[test]
fn every_point_of_foreign_sunspec_devices_arrives_with_no_address_configured() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Meters::tcp(&chains(&CHAINS));
    let serial = Meters::rtu(&folder.path().join("rs485-1"), &chains(&[("40000:1,103", 126)]));
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let more = format!(
        "  - name: rs485-1\n    serial: {{ port: {}, baud: 9600 }}\n    devices: [ {{ name: d126, profile: sunspec, unit: 126 }} ]\n",
        serial.place
    );
    let gateway = Gateway::start(folder.path(), &config(broker.port(), &lan.place, &more));
    for (unit, truth) in lan.truth.iter().chain(&serial.truth) {
        assert_arrives(&mut inbox, &format!("d{unit}"), truth, 0);
    }
    assert!(lan.truth[&1].len() > 60 && lan.truth[&1].contains_key("meter_active_power"));
    assert!(lan.truth[&3].contains_key("meter_serial_number"));
    let said = until("what was found to be told", || {
        inbox.take();
        meta(&inbox)
            .filter(|meta| lan.truth.iter().all(|(unit, truth)| has_points(meta, &format!("d{unit}"), truth)))
    });
    let d1 = of(&said, "d1");
    for word in ["pymodbus", "chain 100", "PM00100"] {
        assert!(d1.contains(word), "{word}: {d1}");
    }
    assert!(gateway.log().contains("SunSpec, pymodbus chain 100: models 1, 103, 64120, 203 at 40000"));
}

#[test]
fn what_was_found_is_there_at_once_after_a_kill_and_only_headers_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Meters::tcp(&chains(&CHAINS));
    let gate = Gate::before(lan.place.rsplit(':').next().unwrap().parse().unwrap());
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let config = config(broker.port(), &format!("127.0.0.1:{}", gate.port()), "");
    let gateway = Gateway::start(folder.path(), &config);
    for (unit, truth) in &lan.truth {
        assert_arrives(&mut inbox, &format!("d{unit}"), truth, 0);
    }
    let learned = folder.path().join("spool/learned.json");
    until("what was found to be kept", || {
        let kept = std::fs::read_to_string(&learned).ok()?;
        ["64120", "\"base\": 50000", "\"base\": 0"].iter().all(|word| kept.contains(word)).then_some(())
    });
    // A connection that was cut may lead to another device.
    let heard = gate.heard().len();
    gate.shut();
    gate.open();
    until("the headers to be looked at after the cut", || {
        let headers = reads_of_two(&gate.heard()[heard..]);
        (1..=3).all(|unit| headers.iter().any(|(of, _)| *of == unit)).then_some(())
    });
    gateway.kill();
    let heard = gate.heard().len();
    let seen = inbox.until("all to have come", |records| Some(records.len()));
    let _again = Gateway::start(folder.path(), &config);
    for (unit, truth) in &lan.truth {
        assert_arrives(&mut inbox, &format!("d{unit}"), truth, seen);
    }
    let headers = reads_of_two(&gate.heard()[heard..]);
    assert!(headers.contains(&(1, 40_000)) && headers.contains(&(1, 40_070)), "{headers:?}");
    assert!(!headers.contains(&(1, 40_122)), "the vendor's model is not looked at: {headers:?}");
    assert!(!headers.contains(&(2, 40_000)), "nor are bases where nothing is: {headers:?}");
}

/// Unit id and address of the questions for two registers.
fn reads_of_two(mut heard: &[u8]) -> Vec<(u8, u16)> {
    let mut reads = Vec::new();
    while let [_, _, 0, 0, 0, 6, unit, 3, high, low, 0, count, rest @ ..] = heard {
        if *count == 2 {
            reads.push((*unit, u16::from_be_bytes([*high, *low])));
        }
        heard = rest;
    }
    reads
}

#[test]
fn scan_finds_foreign_sunspec_devices_and_its_configuration_runs() {
    let folder = tempfile::tempdir().unwrap();
    let lan = Meters::tcp(&chains(&[CHAINS[1]]));
    let file = folder.path().join("found.yaml");
    let port = format!("tcp://{}", lan.place);
    let (status, said) =
        linesman(&["scan", &port, "--units", "2", "--json", "--write", file.to_str().unwrap()]);
    assert!(status.success(), "{said}");
    let found: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&found["profile"], &found["unit"]), (&Value::from("sunspec"), &Value::from(2)), "{said}");
    assert_eq!(found["identity"]["vendor"], "pymodbus", "{said}");
    assert!(Path::new(&file).exists());
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("profile: sunspec, unit: 2"), "{written}");
    let (status, said) = linesman(&["check", "--config", file.to_str().unwrap()]);
    assert!(status.success() && said.contains("points are found when the device answers"), "{said}");
    let capture = folder.path().join("wire.pcapng");
    let capture = capture.to_str().unwrap();
    let asked = ["read", &port, "--unit", "2", "--profile", "sunspec", "--json", "--capture", capture];
    let (status, said) = linesman(&asked);
    assert!(status.success());
    let (status, replayed) = linesman(&["replay", capture, "--profile", "sunspec", "--json"]);
    assert!(status.success() && replayed.contains(r#""serial_number":"PM00200""#), "{replayed}");
    let read: Value = serde_json::from_str(&said).unwrap();
    for (name, value) in &lan.truth[&2] {
        assert_eq!(
            read["values"][name].to_string(),
            serde_json::from_str::<Value>(value).unwrap().to_string()
        );
    }
}
