//! `linesman scan` against meters that are not ours: pymodbus on a pseudo-terminal, and a pymodbus master beside them.

use crate::broker::Broker;
use crate::gateway::Gateway;
use crate::inbox::Inbox;
use crate::meter::{Meters, profile};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn scan(port: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.arg("scan").arg(port).args(arguments).arg("--json").stdin(Stdio::null());
    command.output().unwrap()
}

fn devices(done: &Output) -> Vec<Value> {
    let lines = std::str::from_utf8(&done.stdout).unwrap().lines();
    let mut devices: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    devices.sort_by_key(|device| device["unit"].as_u64());
    devices
}

fn said(done: &Output) -> String {
    String::from_utf8(done.stderr.clone()).unwrap()
}

fn at(name: &str, unit: u8, baud: u32) -> (PathBuf, u8, u32) {
    (profile(name), unit, baud)
}

#[test]
fn ten_foreign_meters_at_two_baud_rates_are_all_found_with_their_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let site = [
        ("abb-b23-b24", 1, 9600),
        ("carlo-gavazzi-em330-em340", 2, 19_200),
        ("eastron-sdm120", 3, 9600),
        ("eastron-sdm630", 4, 19_200),
        ("eastron-sdm72d-m-v2", 5, 9600),
        ("janitza-umg96rm", 6, 19_200),
        ("keller-series-30-33x", 7, 9600),
        ("seeed-s-soil-mtec-02", 8, 19_200),
        ("siemens-pac2200", 9, 9600),
        ("xy-md02-sht20", 10, 19_200),
    ];
    let meters = site.map(|(name, unit, baud)| at(name, unit, baud));
    let meters = Meters::at_rates(&folder.path().join("tty"), &meters, &[]);
    let done = scan(
        Path::new(&meters.place),
        &["--units", "1-11", "--bauds", "19200,9600", "--listen", "100ms", "--timeout", "300ms"],
    );
    let found: Vec<(String, u64, u64)> = devices(&done)
        .iter()
        .map(|device| {
            let profile = device["profile"].as_str().unwrap_or("none").to_owned();
            (profile, device["unit"].as_u64().unwrap(), device["baud"].as_u64().unwrap())
        })
        .collect();
    let wanted = site.map(|(name, unit, baud)| (name.to_owned(), unit.into(), baud.into()));
    assert_eq!(found, wanted, "{}\n{}", said(&done), String::from_utf8_lossy(&done.stdout));
}

#[test]
fn one_foreign_meter_at_another_baud_rate_is_found_once_and_at_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let site =
        [at("eastron-sdm120", 1, 9600), at("eastron-sdm120", 2, 19_200), at("eastron-sdm120", 3, 9600)];
    let meters = Meters::at_rates(&folder.path().join("tty"), &site, &[]);
    // All three parities are asked for, of which a pseudo-terminal keeps none.
    let done = scan(
        Path::new(&meters.place),
        &["--units", "1-4", "--bauds", "9600,19200", "--listen", "100ms", "--timeout", "300ms"],
    );
    let found: Vec<_> = devices(&done)
        .iter()
        .map(|d| (d["profile"].clone(), d["unit"].as_u64().unwrap(), d["baud"].as_u64().unwrap()))
        .collect();
    let wanted =
        [(1, 9600), (2, 19_200), (3, 9600)].map(|(unit, baud)| (Value::from("eastron-sdm120"), unit, baud));
    assert_eq!(found, wanted, "{}", said(&done));
    assert!(said(&done).contains("left out, since the driver does not keep them"), "{}", said(&done));
}

#[test]
fn behind_a_foreign_device_server_the_meters_are_found_and_their_line_is_one_of_rtu_over_tcp() {
    let meters = Meters::rtu_over_tcp(&[(profile("eastron-sdm120"), 2), (profile("xy-md02-sht20"), 5)]);
    let place = format!("rtu+tcp://{}", meters.place);
    let done = scan(Path::new(&place), &["--units", "1-6", "--timeout", "200ms"]);
    let found: Vec<_> =
        devices(&done).iter().map(|d| (d["profile"].clone(), d["unit"].as_u64().unwrap())).collect();
    let wanted = [("eastron-sdm120", 2), ("xy-md02-sht20", 5)].map(|(name, unit)| (Value::from(name), unit));
    assert_eq!(found, wanted, "{}", said(&done));
}

/// The five minutes of the README, with meters and a broker that are not ours.
#[test]
fn from_scan_to_values_at_a_broker_no_yaml_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path());
    let site = [at("eastron-sdm630", 1, 9600), at("keller-series-30-33x", 5, 9600)];
    let meters = Meters::at_rates(&folder.path().join("tty"), &site, &[]);
    let file = folder.path().join("linesman.yaml");
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let done = scan(
        Path::new(&meters.place),
        &[
            &["--units", "1-5", "--bauds", "9600", "--parities", "none", "--listen", "100ms"][..],
            &["--timeout", "300ms", "--mqtt", &url, "--write", file.to_str().unwrap()],
        ]
        .concat(),
    );
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    // Nobody has typed anything; only the gateway's name is given to know the topic.
    let written = std::fs::read_to_string(&file).unwrap();
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let _gateway = Gateway::start_with(folder.path(), &written, &["--set", "gateway.id=plant-7"], &[]);
    for (unit, device) in [(1, "eastron-sdm630-1"), (5, "keller-series-30-33x-5")] {
        let truth = &meters.truth[&unit];
        let arrived = inbox.until(&format!("values of {device}"), |records| {
            let values = records.iter().filter(|record| record.device == device).map(|r| r.values());
            values.into_iter().find(|values| values.len() > 3)
        });
        for (point, value) in arrived {
            let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
            assert!(
                value == truth[&point] || number(&value) == number(&truth[&point]),
                "{device} {point}: {value} arrived, {} is what the meter holds",
                truth[&point]
            );
        }
    }
}

#[test]
fn two_foreign_meters_under_one_unit_id_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let meters = [at("eastron-sdm120", 1, 9600), at("eastron-sdm120", 2, 9600)];
    let meters = Meters::at_rates(&folder.path().join("tty"), &meters, &["--twin", "2"]);
    let done = scan(
        Path::new(&meters.place),
        &["--units", "1-3", "--bauds", "9600", "--listen", "100ms", "--timeout", "1s"],
    );
    let devices = devices(&done);
    assert_eq!(devices.len(), 2, "{}", said(&done));
    assert_eq!(devices[0]["profile"], "eastron-sdm120");
    assert!(devices[1]["profile"].is_null() && devices[1]["confidence"] == 0, "{}", devices[1]);
    assert!(devices[1]["notes"].to_string().contains("two devices answer under unit id 2"), "{}", devices[1]);
}

#[test]
fn beside_a_foreign_master_nothing_is_asked_and_the_meter_is_known_from_what_passes_by() {
    let folder = tempfile::tempdir().unwrap();
    let meters = [at("eastron-sdm120", 1, 9600), at("eastron-sdm120", 2, 9600)];
    let meters = Meters::at_rates(&folder.path().join("tty"), &meters, &["--master", "1"]);
    let port = Path::new(&meters.place);
    let done = scan(port, &["--units", "1-3", "--bauds", "9600", "--listen", "2s", "--for", "1s"]);
    assert!(
        said(&done).contains("another master is talking here at 9600 8N1; only listening"),
        "{}",
        said(&done)
    );
    assert!(said(&done).contains("overheard: unit 1, input 0+2"), "{}", said(&done));
    let devices = devices(&done);
    assert_eq!(
        (devices.len(), devices[0]["unit"].as_u64()),
        (1, Some(1)),
        "unit 2 was not asked: {devices:?}"
    );
    // Told to listen only, it finds the rate by itself and reads what passes by.
    let done = scan(port, &["--bauds", "19200,9600", "--parities", "none", "--listen-only", "--for", "4s"]);
    let devices = self::devices(&done);
    assert_eq!((devices.len(), devices[0]["baud"].as_u64()), (1, Some(9600)), "{}", said(&done));
    assert!(said(&done).contains("overheard: unit 1, input 0+2"), "{}", said(&done));
}
