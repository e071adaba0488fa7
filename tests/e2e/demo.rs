//! The demo, as a new user runs it: readings that are what the meters showed, and one meter that dies.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const METERS: [&str; 6] = ["incomer", "workshop", "office", "boiler", "hall", "cooling"];
/// The simulated meters change their values once a second.
const STEP_MS: i64 = 1000;
/// A meter had answered at most so long before its answer had come in whole.
const ANSWERED_BEFORE_MS: i64 = 1000;

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_demo_shows_six_meters_names_the_dead_one_and_its_readings_are_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_linesman"));
    let output = demo.args(["demo", "--for", "16s", "--dir"]).arg(dir.path()).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    let readings_path = dir.path().join("readings.jsonl");
    assert_eq!(shown.lines().last().unwrap(), format!("readings: {}", readings_path.display()));
    assert!(shown.contains("boiler fell silent on purpose"), "{shown}");
    assert!(shown.contains("boiler is now silent: quarantined"), "{shown}");

    let mut truth: BTreeMap<(String, i64), Value> = BTreeMap::new();
    for line in lines(&dir.path().join("truth.jsonl")) {
        let step = line["ts"].as_i64().unwrap() / STEP_MS;
        truth.insert((line["device"].as_str().unwrap().to_owned(), step), line["values"].clone());
    }
    let readings = lines(&readings_path);
    for meter in METERS {
        let good =
            readings.iter().filter(|r| r["device"] == meter && !r["values"].as_object().unwrap().is_empty());
        assert!(good.count() >= 3, "{meter}: {shown}");
    }
    let mut compared = 0;
    for reading in &readings {
        let (device, ts) = (reading["device"].as_str().unwrap(), reading["ts"].as_i64().unwrap());
        let took = reading["took"].as_i64().unwrap_or(1000);
        for (point, value) in reading["values"].as_object().unwrap() {
            let steps = (ts - ANSWERED_BEFORE_MS) / STEP_MS..=(ts + took) / STEP_MS;
            let was = steps.map(|step| truth.get(&(device.to_owned(), step)).map(|values| &values[point]));
            assert!(
                was.clone().flatten().any(|shown| shown == value),
                "{device} {point} {value}: {:?}",
                was.collect::<Vec<_>>()
            );
            compared += 1;
        }
    }
    assert!(compared > 500, "only {compared} values");
    let silent =
        readings.iter().filter(|r| r["device"] == "boiler" && r["bad"]["pressure_1"] == "no-reply").count();
    assert!((1..=5).contains(&silent), "{silent} questions to the dead meter");
    let numbers: Vec<u64> = readings.iter().map(|reading| reading["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}
