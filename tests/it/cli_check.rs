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
    fs::write(folder.path().join("good.yaml"), PROFILE.replace("kind: energy-meter", "kind: other")).unwrap();
    let done = linesman(folder.path(), &["profiles", "check", "good.yaml", "bad.yaml", "acme-x1.yaml"]);
    assert_eq!(done.status.code(), Some(78));
    assert!(text(&done.stdout).starts_with("good.yaml: good: 8 points\n"));
    let said = text(&done.stderr);
    assert!(
        said.contains("acme-x1.yaml:11:3: `power` is not in the glossary of energy meters' points\n"),
        "{said}"
    );
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

#[test]
fn a_profile_is_made_from_a_table_checked_and_tested_against_its_cases() {
    let folder = folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "vendor.csv",
        "Register;Name;Function;Type;Unit;Factor\n0;Pressure;3;int16;mbar;0,1\n1;Status word;3;uint16;;\n",
    );
    let made = linesman(
        folder.path(),
        &["profiles", "new", "--from", "vendor.csv", "--vendor", "Acme", "--model", "P1"],
    );
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let profile = text(&made.stdout);
    assert!(
        profile.contains("pressure: { holding: 0, type: s16, quantity: pressure, unit: mbar, scale: 0.1 }"),
        "{profile}"
    );
    assert!(profile.contains("status_word: { holding: 1, type: u16 }   # TODO quantity"), "{profile}");
    write("p1.yaml", &profile);
    assert_eq!(linesman(folder.path(), &["profiles", "check", "p1.yaml"]).status.code(), Some(0));
    let tested = |folder: &Path| {
        let done = linesman(folder, &["profiles", "test", "p1.yaml"]);
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    assert_eq!(
        tested(folder.path()),
        (Some(78), "p1.yaml: no case: p1.wire and p1.json are looked for\n".to_owned())
    );
    write("p1.wire", "# as captured\nholding 0: 2710 0003\n");
    write("p1.json", r#"{"values":{"pressure":1.000,"status_word":3}}"#);
    assert_eq!(tested(folder.path()), (Some(0), "p1.yaml: good: 1 case of 2 points\n".to_owned()));
    write("p1.cold.wire", "holding 0: fff6\n");
    write("p1.cold.json", r#"{"values":{"pressure":-0.002,"statusword":0},"bad":{}}"#);
    let (code, said) = tested(folder.path());
    assert_eq!(code, Some(78));
    for wanted in [
        "p1.cold.json: `pressure`: -0.002 is told, -0.001 is what the registers stand for\n",
        "p1.cold.json: `status_word` is not told, and is (no-reply)\n",
        "p1.cold.json: the profile has no point `statusword`\n",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
    write("p1.cold.wire", "holdng 0: fff6\n");
    assert!(tested(folder.path()).1.contains("p1.cold.wire:1:1: expected a table, an address and registers"));
    let none = linesman(folder.path(), &["profiles", "new", "--from", "p1.json"]);
    assert_eq!(none.status.code(), Some(78));
    assert!(text(&none.stderr).contains("no header: a row has to name its columns"));
}

/// The table of counts in the page about profiles is what `profiles list --counts` prints.
#[test]
fn the_page_about_profiles_counts_them_as_the_program_does() {
    let folder = folder();
    let counts = text(&linesman(folder.path(), &["profiles", "list", "--counts"]).stdout);
    assert!(counts.lines().count() > 4 && counts.contains("| all |"), "{counts}");
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/README.md")).unwrap();
    assert!(readme.contains(&counts), "put this into profiles/README.md:\n{counts}");
}

/// Editors complete and explain by the schema beside the profiles, which their first line names.
#[test]
fn the_schema_beside_the_profiles_is_what_the_program_prints_and_every_profile_names_it() {
    let folder = folder();
    let printed = text(&linesman(folder.path(), &["schema", "profile"]).stdout);
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    let kept = fs::read_to_string(profiles.join("profile.schema.json")).unwrap_or_default();
    assert!(kept == printed, "linesman schema profile > profiles/profile.schema.json");
    let header = "# yaml-language-server: $schema=profile.schema.json\n";
    for entry in fs::read_dir(&profiles).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(header), "sed -i '1i{}' {}", header.trim(), path.display());
        }
    }
}
