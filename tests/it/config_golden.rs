//! Broken configurations and profiles, and word by word what is said of them.
//!
//! A case is a folder in `golden/config/`: `linesman.yaml` (with `set.txt`, one `--set` a line) or
//! `profile.yaml` (with the glossary and the doubts, as `profiles check` has them), and `error.txt`. Nothing is ever rewritten: `GOLDEN=print cargo test --test it
//! config_golden -- --nocapture` prints what would be right now, and a person pastes it.

use linesman::config::{self, Overlays};
use linesman::profile::yaml::node;
use linesman::profile::{self, Problems, glossary};
use std::fs;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/config")
}

fn cases() -> Vec<PathBuf> {
    let folders = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        folders.filter(|path| path.is_dir() && !path.ends_with("profiles")).collect();
    cases.sort();
    cases
}

fn problems_of(case: &Path) -> Result<(), Problems> {
    let file = if case.join("profile.yaml").exists() { "profile.yaml" } else { "linesman.yaml" };
    let text = node::decode(file, fs::read(case.join(file)).unwrap())?;
    if file == "profile.yaml" {
        let profile = profile::parse("profile", file, &text)?;
        let rest = [glossary::check(file, &text), profile::doubts(file, &text, &profile)];
        return rest.into_iter().find(|problems| !problems.is_empty()).map_or(Ok(()), Err);
    }
    let set = fs::read_to_string(case.join("set.txt")).unwrap_or_default();
    let overlays = Overlays::new([], set.lines().map(str::to_owned).collect());
    config::parse(file, &text, &overlays, case, &[golden().join("profiles")]).map(|_| ())
}

fn said_of(case: &Path) -> String {
    let Err(problems) = problems_of(case) else { return "(nothing is wrong)\n".to_owned() };
    format!("{problems}\n").replace(&format!("{}/", case.display()), "")
}

#[test]
fn every_broken_file_gets_its_golden_words() {
    let print = std::env::var_os("GOLDEN").is_some_and(|v| v == "print");
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let said = said_of(&case);
        if print {
            println!("=== {name}\n{said}");
        } else if fs::read_to_string(case.join("error.txt")).unwrap_or_default() != said {
            wrong.push(format!("=== {name}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "these differ from their error.txt; now it is:\n{}", wrong.concat());
}

#[test]
fn there_are_at_least_eighty_cases_and_many_have_several_errors() {
    let counts: Vec<usize> =
        cases().iter().map(|case| problems_of(case).map_or_else(|p| p.len(), |()| 0)).collect();
    assert!(counts.len() >= 80, "{}", counts.len());
    assert!(counts.iter().all(|count| *count > 0), "a case is not broken");
    assert!(counts.iter().filter(|count| **count > 1).count() >= 40);
}

#[test]
fn every_problem_in_a_file_names_its_line_and_column() {
    for case in cases().iter().filter(|case| !case.join("set.txt").exists()) {
        for problem in problems_of(case).unwrap_err().iter() {
            assert!(problem.line > 0 && problem.column > 0, "{}: {problem}", case.display());
        }
    }
}
