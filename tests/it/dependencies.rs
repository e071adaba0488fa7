//! Holds the dependency tree against `deny.toml`, where cargo-deny may not be installed: licences, bans, sources.

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use toml_edit::{DocumentMut, Item};

/// What `deny.toml` says, so that there is one list and not two.
struct Policy {
    licences: Vec<String>,
    banned: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn policy() -> Policy {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let deny: DocumentMut = text.parse().unwrap();
    for rule in ["unknown-registry", "unknown-git"] {
        assert_eq!(deny["sources"][rule].as_str(), Some("deny"), "deny.toml: sources.{rule}");
    }
    let strings = |item: &Item| -> Vec<String> {
        item.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let banned = deny["bans"]["deny"].as_array().unwrap().iter();
    Policy {
        licences: strings(&deny["licenses"]["allow"]),
        banned: banned
            .map(|row| row.as_inline_table().unwrap().get("crate").unwrap().as_str().unwrap().to_owned())
            .collect(),
    }
}

/// `cargo metadata` of this target's tree: offline, for whoever runs this test has just built it.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be satisfied with the allowed licences alone.
/// Older crates write `/` for `OR`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let answer = either(&mut words, allowed);
    assert!(words.is_empty(), "cannot read the licence {expression:?}");
    answer
}

fn either(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut answer = both(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        answer |= both(words, allowed);
    }
    answer
}

fn both(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut answer = single(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        answer &= single(words, allowed);
    }
    answer
}

fn single(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let word = words.pop().unwrap_or_default();
    if word == "(" {
        let answer = either(words, allowed);
        assert_eq!(words.pop(), Some(")"), "an unclosed parenthesis");
        return answer;
    }
    let mut licence = word.to_owned();
    if words.last() == Some(&"WITH") {
        words.pop();
        licence = format!("{word} WITH {}", words.pop().unwrap_or_default());
    }
    allowed.contains(&licence)
}

#[test]
fn every_licence_in_the_tree_is_on_the_list() {
    let policy = policy();
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none given");
        assert!(
            satisfied(licence, &policy.licences),
            "{} {}: licence {licence} is not allowed by deny.toml",
            package["name"],
            package["version"]
        );
    }
}

#[test]
fn no_banned_crate_is_in_the_tree_or_in_the_lock_file() {
    let policy = policy();
    let lock: DocumentMut =
        std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().expect("Cargo.lock");
    let locked = lock["package"].as_array_of_tables().unwrap();
    let names = locked.iter().map(|package| package["name"].as_str().unwrap().to_owned());
    for name in names {
        assert!(!policy.banned.contains(&name), "{name} is banned by deny.toml and stands in Cargo.lock");
    }
}

#[test]
fn every_crate_comes_from_crates_io() {
    for package in packages() {
        let Some(source) = package["source"].as_str() else {
            assert_eq!(package["name"], "linesman", "a crate from a path");
            continue;
        };
        assert!(
            source.starts_with("registry+") && source.ends_with("/crates.io-index"),
            "{} comes from {source}",
            package["name"]
        );
    }
}

#[test]
fn a_licence_expression_is_read_as_spdx_means_it() {
    let allowed = ["MIT", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for good in [
        "MIT",
        "MIT/Unlicense",
        "GPL-3.0-only OR MIT",
        "(Apache-2.0 OR MIT) AND BSD-3-Clause",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
    ] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0", "(MIT OR ISC) AND ISC"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
