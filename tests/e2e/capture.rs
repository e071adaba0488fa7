//! The wire on record: what a capture holds is what arrived, for linesman and for a reader with nothing of its own.

use crate::gateway::{Gateway, Kept, PATIENCE, linesman, until};
use crate::meter::{profile, small_profile};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Meters whose values change by the second.
struct Simulated {
    _child: Kept,
    place: String,
}

fn simulate(place: &[&str], profile: &Path, units: &[u8], faults: &[&str]) -> Simulated {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.arg("simulate").args(place).stdout(Stdio::piped());
    for unit in units {
        command.arg("--profile").arg(format!("{}@{unit}", profile.display()));
    }
    for fault in faults {
        command.args(["--fault", fault]);
    }
    let mut child = Kept::spawn(&mut command).unwrap();
    let line = child.output().recv_timeout(PATIENCE).expect("the meters did not start");
    let place = line.split([' ', '\t']).next().unwrap().trim_start_matches("tcp://").trim_end_matches(':');
    Simulated { _child: child, place: place.to_owned() }
}

/// Two lines, a meter without a fault on the one, two with faults on the other; all that is read goes into a file.
fn config(profile: &Path, port: &str, lan: &str) -> String {
    let profile = profile.display();
    format!(
        r#"gateway: {{ id: plant-7 }}
lines:
  - name: rs485-1
    serial: {{ port: {port}, baud: 9600 }}
    devices:
      - {{ name: rs485-1-1, profile: {profile}, unit: 1, every: continuous, retries: 0 }}
      - {{ name: rs485-1-2, profile: {profile}, unit: 2, every: continuous, retries: 0 }}
  - name: lan
    tcp: {{ address: "{lan}" }}
    devices:
      - {{ name: lan-7, profile: {profile}, unit: 7, every: 100ms }}
spool: {{ dir: spool }}
upstreams: [ {{ name: out, file: {{ path: out.jsonl }} }} ]
"#
    )
}

/// Values and reasons by device, in order.
type Readings = BTreeMap<String, Vec<(Value, Value)>>;

fn readings(text: &str, device: impl Fn(&Value) -> String) -> Readings {
    let mut readings = Readings::new();
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let said = (object["values"].clone(), object["bad"].clone());
        readings.entry(device(&object)).or_default().push(said);
    }
    readings
}

fn replayed(folder: &Path, profile: &Path) -> Readings {
    let file = folder.join("wire.pcapng");
    let arguments = ["replay", file.to_str().unwrap(), "--profile", profile.to_str().unwrap(), "--json"];
    let (status, out) = linesman(&arguments);
    assert!(status.success());
    readings(&out, |object| {
        format!("{}-{}", object["line"].as_str().unwrap(), object["device"].as_str().unwrap())
    })
}

/// The values by a reader that knows nothing of linesman: ten registers from 0 on.
fn read_by_others(folder: &Path) -> Readings {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/run once", python.display());
    let mut command = Command::new(python);
    let done =
        command.arg(root.join("tests/e2e/pcapng.py")).arg(folder.join("wire.pcapng")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut found = Readings::new();
    for line in String::from_utf8(done.stdout).unwrap().lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["address"], 0);
        let values = answer["values"].as_array().unwrap().iter().enumerate();
        let values: BTreeMap<String, Value> =
            values.map(|(n, value)| (format!("value_{n}"), value.clone())).collect();
        let device = format!("{}-{}", answer["line"].as_str().unwrap(), answer["unit"]);
        found.entry(device).or_default().push((serde_json::to_value(values).unwrap(), Value::Null));
    }
    found
}

/// All of these, in this order, are among those.
fn contains(those: &[(Value, Value)], these: &[(Value, Value)]) -> bool {
    let mut those = those.iter();
    these.iter().all(|this| those.any(|that| that == this))
}

fn good(readings: Readings) -> Readings {
    let only_good = |all: Vec<(Value, Value)>| all.into_iter().filter(|(_, bad)| bad.is_null()).collect();
    readings.into_iter().map(|(device, all)| (device, only_good(all))).collect()
}

#[test]
fn what_is_on_record_is_what_arrived_for_us_and_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let port = folder.path().join("rs485-1");
    let on_serial =
        simulate(&["--pty", port.to_str().unwrap()], &profile, &[1, 2], &["2:crc=0.3", "1:noise=0.3"]);
    let on_lan = simulate(&["--tcp", "127.0.0.1:0"], &profile, &[7], &[]);
    let yaml = config(&profile, port.to_str().unwrap(), &on_lan.place);
    let gateway = Gateway::start_with(folder.path(), &yaml, &["--capture", "wire.pcapng"], &[]);
    let out = folder.path().join("out.jsonl");
    until("two hundred readings", || {
        (fs::read_to_string(&out).unwrap_or_default().lines().count() > 200).then_some(())
    });
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().0.code(), Some(0));
    let arrived =
        readings(&fs::read_to_string(&out).unwrap(), |object| object["device"].as_str().unwrap().to_owned());
    assert_eq!(arrived.len(), 3);
    let on_record = replayed(folder.path(), &profile);
    let good_on_record = good(on_record.clone());
    for (device, readings) in good(arrived.clone()) {
        let recorded = &good_on_record[&device];
        assert!(contains(recorded, &readings), "{device}:\n{readings:?}\n{recorded:?}");
        // The stop may cut off a scan whose answer is on record, and an answer may come too late for the engine.
        let bad = arrived[&device].len() - readings.len();
        assert!(recorded.len() <= readings.len() + bad + 1, "{device}");
    }
    let damaged = arrived["rs485-1-2"].iter().filter(|(_, bad)| !bad.is_null()).count();
    assert!(damaged > 3, "the faults did not show");
    drop(on_serial);
    let by_others = read_by_others(folder.path());
    for (device, ours) in good(on_record) {
        let theirs = by_others.get(&device).cloned().unwrap_or_default();
        let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        assert_eq!((differs, ours.len()), (None, theirs.len()), "{device}");
    }
}

#[test]
fn a_capture_that_fails_ends_and_polling_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = simulate(&["--tcp", "127.0.0.1:0"], &profile, &[7], &[]);
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let yaml = format!(
        r#"lines:
  - name: lan
    tcp: {{ address: "{}" }}
    devices:
      - {{ name: meter, profile: {}, unit: 7, every: continuous }}
spool: {{ dir: spool }}
upstreams: [ {{ name: out, file: {{ path: out.jsonl }} }} ]
"#,
        meters.place,
        profile.display()
    );
    let capture = ["--capture", "inside/wire.pcapng", "--capture-size", "64KiB"];
    let mut gateway = Gateway::start_with(folder.path(), &yaml, &capture, &[]);
    let count = || fs::read_to_string(folder.path().join("out.jsonl")).unwrap_or_default().lines().count();
    until("a reading", || (count() > 0).then_some(()));
    // Nowhere to put the next file: what a full disk is to the capture.
    fs::remove_dir_all(&inside).unwrap();
    until("the end of the capture", || gateway.log().contains("the capture ends").then_some(()));
    let before = count();
    until("more readings", || (count() > before + 20).then_some(()));
    assert!(gateway.alive());
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().0.code(), Some(0));
}

#[test]
fn a_disk_that_takes_no_more_costs_the_capture_and_not_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let profile = profile("eastron-sdm120");
    let meters = simulate(&["--tcp", "127.0.0.1:0"], &profile, &[1], &[]);
    let read = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} read tcp://{} --unit 1 --profile {} --json --capture wire.pcapng",
        env!("CARGO_BIN_EXE_linesman"),
        meters.place,
        profile.display()
    );
    let done = Command::new("sh").current_dir(folder.path()).args(["-c", &read]).output().unwrap();
    let (out, said) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert!(out.contains("voltage_l1"), "{out}{said}");
    assert!(said.contains("the capture is not whole: wire.pcapng: "), "{said}");
    assert_eq!(done.status.code(), Some(74));
    // What is in the file ends with a whole block.
    let file = folder.path().join("wire.pcapng");
    let (contents, result) = linesman::bus::capture::read(&file, None, |_, _| ());
    result.unwrap();
    assert_eq!(contents.cut_off_at, None);
    assert!(fs::metadata(&file).unwrap().len() > 0);
}

#[test]
fn one_question_of_read_is_on_record_too() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let port = folder.path().join("rs485-1");
    let _meters = simulate(&["--pty", port.to_str().unwrap()], &profile, &[5], &[]);
    let (file, port) = (folder.path().join("wire.pcapng"), port.to_str().unwrap().to_owned());
    let (file, profile) = (file.to_str().unwrap(), profile.to_str().unwrap());
    let (status, read) =
        linesman(&["read", &port, "--unit", "5", "--profile", profile, "--json", "--capture", file]);
    assert!(status.success());
    let (status, replayed) = linesman(&["replay", file, "--profile", profile, "--json"]);
    assert!(status.success());
    let (read, replayed): (Value, Value) =
        (serde_json::from_str(&read).unwrap(), serde_json::from_str(&replayed).unwrap());
    assert_eq!(replayed["values"], read["values"]);
    assert_eq!((replayed["line"].as_str(), replayed["device"].as_str()), (Some("rs485-1"), Some("5")));
}
