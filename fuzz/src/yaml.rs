//! Profiles and configurations: whatever stands in a file, reading it ends with a value or with problems that
//! name places in it.

use linesman::config::{self, Overlays};
use linesman::profile::{self, Problems, yaml::node};
use std::path::Path;

pub fn profile(octets: &[u8]) {
    let Some(text) = text(octets) else { return };
    match profile::parse("fuzzed", "fuzzed.yaml", &text) {
        Ok(read) => {
            let again = profile::parse("fuzzed", "fuzzed.yaml", &text);
            assert!(again.is_ok_and(|again| again == read), "another profile the second time");
        }
        Err(problems) => problems_are_told(&problems),
    }
}

pub fn config(octets: &[u8]) {
    let Some(text) = text(octets) else { return };
    // A profile that is named by a path would be read from this machine.
    if text.contains('/') && text.contains("profile") {
        return;
    }
    match config::parse("fuzzed.yaml", &text, &Overlays::default(), Path::new(""), &[]) {
        Ok(read) => {
            let again = config::parse("fuzzed.yaml", &text, &Overlays::default(), Path::new(""), &[]);
            assert!(again.is_ok_and(|again| again.hash == read.hash), "another hash the second time");
            assert_eq!(read.hash.len(), 8);
        }
        Err(problems) => problems_are_told(&problems),
    }
}

fn text(octets: &[u8]) -> Option<String> {
    match node::decode("fuzzed.yaml", octets.to_vec()) {
        Ok(text) => Some(text),
        Err(problems) => {
            problems_are_told(&problems);
            None
        }
    }
}

fn problems_are_told(problems: &Problems) {
    assert!(!problems.is_empty());
    let told = problems.to_string();
    assert!(told.contains("fuzzed.yaml"), "{told}");
}
