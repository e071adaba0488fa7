//! The commands that look at files, as a person runs them: what they print where, and their exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROFILE: &str = include_str!("golden/config/profiles/acme-x1.yaml");
const CONFIG: &str = "\
gateway: { id: plant-7 }
lines:
  - name: rs485-1
    serial: { port: /dev/ttyUSB0, baud: 9600 }
    devices:
      - { name: incomer, profile: ./acme-x1.yaml, unit: 1, every: 1s }
upstreams:
  - { name: out, stdout: {} }
";

fn linesman(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder).env_clear().args(arguments).output().unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("linesman.yaml"), CONFIG).unwrap();
    fs::write(folder.path().join("acme-x1.yaml"), PROFILE).unwrap();
    folder
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn a_good_configuration_is_summed_up_on_standard_output() {
    let folder = folder();
    let done = linesman(folder.path(), &["check", "--config", "linesman.yaml"]);
    let out = text(&done.stdout);
    assert_eq!((done.status.code(), text(&done.stderr).as_str()), (Some(0), ""));
    for wanted in [
        "line rs485-1: /dev/ttyUSB0, 9600 8N1\n",
        "  incomer: unit 1, acme-x1, 8 points every 1s\n",
        "  acme-x1.yaml: temperature: register 40011 is holding 10\n",
        "http: no listener\n",
        "good: 1 line, 1 device, 8 points\n",
    ] {
        assert!(out.contains(wanted), "{wanted} is not in\n{out}");
    }
}

#[test]
fn a_broken_one_is_told_on_standard_error_and_ends_with_78() {
    let folder = folder();
    let arguments =
        ["check", "--config", "linesman.yaml", "--set", "lines.0.devices.0.unit=0", "--set", "htp.listen=x"];
    let done = linesman(folder.path(), &arguments);
    let said = text(&done.stderr);
    assert_eq!((done.status.code(), text(&done.stdout).as_str()), (Some(78), ""));
    assert!(
        said.contains("--set lines.0.devices.0.unit=0: `unit`: expected a unit id from 1 to 247"),
        "{said}"
    );
    assert!(said.contains("did you mean `http`?") && said.ends_with("2 problems\n"), "{said}");
    assert_eq!(linesman(folder.path(), &["check", "--config", "not-there.yaml"]).status.code(), Some(78));
    assert_eq!(linesman(folder.path(), &["check", "--confg", "x"]).status.code(), Some(64));
}

#[test]
fn an_environment_variable_is_named_when_it_is_wrong() {
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder.path()).env_clear().env("LINESMAN__LINES__0__SERIAL__BAUD", "fast");
    let done = command.args(["check", "--config", "linesman.yaml"]).output().unwrap();
    assert!(
        text(&done.stderr).starts_with("LINESMAN__LINES__0__SERIAL__BAUD: `baud`: expected a whole number")
    );
}

#[test]
fn profiles_are_checked_and_shown() {
    let folder = folder();
    fs::write(folder.path().join("bad.yaml"), PROFILE.replace("type: s32", "type: s33")).unwrap();
    let done = linesman(folder.path(), &["profiles", "check", "acme-x1.yaml", "bad.yaml"]);
    assert_eq!(done.status.code(), Some(78));
    assert!(text(&done.stdout).starts_with("acme-x1.yaml: good: 8 points\n"));
    assert!(text(&done.stderr).starts_with("bad.yaml:11:29: `type`: expected one of bool, u16"));
    let shown = linesman(folder.path(), &["profiles", "show", "./acme-x1.yaml"]);
    let out = text(&shown.stdout);
    assert_eq!(shown.status.code(), Some(0));
    assert!(out.starts_with("acme-x1: Acme X1 (energy-meter)\nfactory: 9600 8E1, unit 1\n"), "{out}");
    assert!(
        out.lines().any(|line| line.contains("energy") && line.contains("input 72") && line.contains("kWh"))
    );
    assert_eq!(linesman(folder.path(), &["profiles", "show", "nothing-like-it"]).status.code(), Some(78));
    assert_eq!(linesman(folder.path(), &["profiles", "list"]).status.code(), Some(0));
}

#[test]
fn the_schemas_are_json() {
    let folder = folder();
    for of in ["config", "profile"] {
        let done = linesman(folder.path(), &["schema", of]);
        let schema: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}
