//! `linesman plan` as a person runs it, word by word and number by number.
//!
//! A case is a folder in `golden/plan/`: `linesman.yaml` (with `arguments.txt`, one a line), `plan.txt`, `plan.json`
//! and `exit.txt`. Nothing is ever rewritten: `GOLDEN=print cargo test --test it cli_plan -- --nocapture`
//! prints what would be right now, and a person pastes it.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/plan")
}

fn cases() -> Vec<PathBuf> {
    let folders = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = folders.filter(|path| !path.ends_with("profiles")).collect();
    cases.sort();
    cases
}

fn linesman(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.current_dir(folder).env_clear().args(arguments).output().unwrap()
}

fn plan(case: &Path, more: &[&str]) -> (String, String) {
    let given = fs::read_to_string(case.join("arguments.txt")).unwrap_or_default();
    let arguments: Vec<&str> = ["plan", "--config", "linesman.yaml"]
        .into_iter()
        .chain(given.lines())
        .chain(more.iter().copied())
        .collect();
    let done = linesman(case, &arguments);
    assert_eq!(text(&done.stderr), "", "{}", case.display());
    (text(&done.stdout), format!("{}\n", done.status.code().unwrap()))
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn every_line_gets_its_golden_plan_and_exit_code() {
    let print = std::env::var_os("GOLDEN").is_some_and(|v| v == "print");
    let mut wrong = Vec::new();
    for case in cases() {
        let ((page, exit), (json, exit_json)) = (plan(&case, &[]), plan(&case, &["--json"]));
        assert_eq!(exit, exit_json, "{}", case.display());
        for (file, said) in [("plan.txt", page), ("plan.json", json), ("exit.txt", exit)] {
            let name = case.join(file);
            if print {
                println!("=== {}\n{said}", name.display());
            } else if fs::read_to_string(&name).unwrap_or_default() != said {
                wrong.push(format!("=== {}\n{said}", name.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these differ; now it is:\n{}", wrong.concat());
    assert!(cases().len() >= 7);
}

#[test]
fn the_page_fits_a_terminal_of_eighty_columns() {
    for case in cases() {
        for line in plan(&case, &[]).0.lines() {
            assert!(line.chars().count() <= 80, "{}: {line}", case.display());
        }
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_document_has_the_keys_of_the_contract_and_adds_up() {
    for case in cases() {
        let (json, exit) = plan(&case, &["--json"]);
        let document: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(keys(&document), ["lines"]);
        let lines = document["lines"].as_array().unwrap();
        for line in lines {
            assert_eq!(keys(line), ["load_pct", "name", "requests", "unmet"]);
            for request in line["requests"].as_array().unwrap() {
                let wanted =
                    ["address", "count", "device", "every_ms", "function", "points", "unit", "wire_ms"];
                assert_eq!(keys(request), wanted);
                assert!(!request["points"].as_array().unwrap().is_empty());
            }
            for unmet in line["unmet"].as_array().unwrap() {
                assert_eq!(keys(unmet), ["advice", "device", "every_ms", "point", "possible_ms"]);
                assert!(unmet["possible_ms"].as_u64() > unmet["every_ms"].as_u64());
                assert!(!unmet["advice"].as_str().unwrap().is_empty());
            }
        }
        let kept = lines.iter().all(|line| line["unmet"].as_array().unwrap().is_empty());
        assert_eq!(exit, if kept { "0\n" } else { "78\n" });
    }
}

#[test]
fn a_broken_configuration_is_told_as_check_tells_it() {
    let case = &cases()[0];
    let set = ["--config", "linesman.yaml", "--set", "lines.0.devices.0.unit=0"];
    let run = |command: &str| linesman(case, &[&[command], &set[..]].concat());
    let (planned, checked) = (run("plan"), run("check"));
    assert_eq!((planned.status.code(), text(&planned.stdout)), (Some(78), String::new()));
    assert_eq!(text(&planned.stderr), text(&checked.stderr));
    assert_eq!(linesman(case, &["plan", "--turnaround", "soon"]).status.code(), Some(64));
}

#[test]
fn a_value_that_is_overridden_counts() {
    let case = golden().join("too-much-on-9600-baud");
    let done = linesman(&case, &["plan", "--config", "linesman.yaml", "--set", "lines.0.serial.baud=115200"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stdout));
}

#[test]
fn check_gives_each_lines_load_and_warns_of_a_full_one() {
    let check = |case: &str, set: &[&str]| {
        let arguments = [&["check", "--config", "linesman.yaml"], set].concat();
        let done = linesman(&golden().join(case), &arguments);
        assert_eq!(done.status.code(), Some(0));
        (text(&done.stdout), text(&done.stderr))
    };
    let (said, warned) = check("too-much-on-9600-baud", &[]);
    assert!(said.contains("  load 116 %\n"), "{said}");
    assert_eq!(
        warned,
        "warning: line rs485-1: load 116 %, and some periods cannot be kept: `linesman plan` says what would help\n"
    );
    let (said, warned) = check("too-much-on-9600-baud", &["--set", "lines.0.serial.baud=115200"]);
    assert!(said.contains("  load 50 %\n") && warned.is_empty(), "{said}{warned}");
    let (said, warned) = check("a-line-that-is-nearly-full", &["--set", "lines.0.devices.0.every=165ms"]);
    assert!(said.contains("  load 93 %\n"), "{said}");
    assert!(warned.contains("which leaves little for retries and another meter"), "{warned}");
    let (said, warned) = check("continuous-beside-periodic", &[]);
    assert!(
        said.contains("  load 100 % by design, 11 % of it periodic\n") && warned.is_empty(),
        "{said}{warned}"
    );
}
