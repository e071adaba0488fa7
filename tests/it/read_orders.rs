//! `linesman read --all-orders` as a person runs it.

use crate::common::station::{Station, frame_of, says};
use linesman::profile;
use linesman::sim::Meter;
use linesman::sim::wire::{self, Wire, WireConfig};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

fn meter(port: &Path, name: &str) -> Wire {
    let profile = profile::find(name, Path::new("."), &[]).unwrap();
    let config = WireConfig::new(vec![Meter::new(profile, 1, 1)], 115_200);
    wire::start(WireConfig { path: Some(port.to_owned()), turnaround: Duration::from_millis(2), ..config })
        .unwrap()
}

fn read(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder).env_clear().args([
        "read",
        "tty",
        "--unit",
        "1",
        "--baud",
        "115200",
        "--all-orders",
    ]);
    command.args(arguments).output().unwrap()
}

#[test]
fn the_right_type_and_order_comes_first_with_both_notations_and_the_line_for_a_profile() {
    let folder = tempfile::tempdir().unwrap();
    let _wire = meter(&folder.path().join("tty"), "eastron-sdm120");
    // Input 0 is a voltage as a float, the high word first; of four registers the meter has two.
    let done = read(folder.path(), &["--input", "0+2", "--range", "80..300", "--moment", "1ms"]);
    let out = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{out}");
    assert!(
        out.starts_with("input 0 (0x0000) on the wire, counted from 0; 30001 or 300001 in manuals"),
        "{out}"
    );
    assert!(out.contains("  value: { input: 0, type: f32, quantity: other }"), "{out}");
    // What is not shown is not forgotten: without a range there are 29 meanings, as the document below has them.
    let done = read(folder.path(), &["--input", "0+2", "--moment", "1ms"]);
    let out = String::from_utf8(done.stdout).unwrap();
    let rows = out.lines().filter(|line| line.contains(" = 3000")).count();
    assert!(out.contains(&format!("\n{} more types and orders make no sense here", 29 - rows)), "{out}");

    let done = read(folder.path(), &["--input", "0+2", "--moment", "1ms", "--json"]);
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    let first = &document["meanings"][0];
    let words = (&first["type"], &first["word_order"], &first["byte_order"]);
    assert_eq!(words, (&Value::from("f32"), &Value::from("big"), &Value::from("big")), "{document}");
    assert!((80.0..300.0).contains(&first["value"].as_f64().unwrap()));
    // Two registers: three types of one register at two places, four of two, in all their orders, and text.
    assert_eq!(document["meanings"].as_array().unwrap().len(), 3 * 2 * 2 + 4 * 4 + 1);
    assert_eq!(document["reference"], "30001 or 300001");
}

#[test]
fn a_word_order_that_is_the_other_way_round_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    // 231.7 volts, the low word first.
    let [high, low] = [0x4367u16, 0xB333];
    let registers = move |at: u16| if at.is_multiple_of(2) { low } else { high };
    let _meter =
        Station::start(&folder.path().join("tty"), move |unit, ask| says(frame_of(unit, ask, registers)));
    let done = read(folder.path(), &["--holding", "4+2", "--moment", "1ms", "--json"]);
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    let first = &document["meanings"][0];
    assert_eq!(
        (&first["type"], &first["word_order"]),
        (&Value::from("f32"), &Value::from("little")),
        "{document}"
    );
}

#[test]
fn fewer_registers_are_taken_where_nobody_said_how_many_and_nonsense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _wire = meter(&folder.path().join("tty"), "xy-md02-sht20");
    // The sensor has the inputs 1 and 2, and two registers are its limit.
    let done = read(folder.path(), &["--input", "1", "--moment", "1ms", "--json"]);
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(document["registers"].as_str().unwrap().split(' ').count(), 2, "{document}");
    for (arguments, code) in [
        (&["--input", "1", "--range", "5"][..], 64),
        (&["--input", "1", "--type", "u16"], 64),
        (&["--coil", "1"], 64),
        (&["--input", "1+126"], 64),
    ] {
        assert_eq!(read(folder.path(), arguments).status.code(), Some(code), "{arguments:?}");
    }
}
