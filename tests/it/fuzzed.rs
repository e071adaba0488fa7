//! What the fuzzer runs by coverage, run by chance, and from what it has saved: its findings stay regression
//! tests, and its corpus stays true, on every run of the suite.

#[path = "../../fuzz/src/lib.rs"]
#[allow(missing_debug_implementations)] // nobody prints them
mod harness;

use harness::{TARGETS, Target};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fs;
use std::path::{Path, PathBuf};

fn target(wanted: &str) -> Target {
    *TARGETS.iter().find(|(name, _)| *name == wanted).unwrap()
}

/// The files in `fuzz/{folder}/{target}`, in order.
fn saved(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Octets by chance, and saved inputs with something else in them.
fn inputs(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let chance = proptest::collection::vec(any::<u8>(), 0..200);
    let piece = proptest::collection::vec(any::<u8>(), 0..6);
    let changed = (any::<Index>(), any::<Index>(), 0..6usize, piece, any::<Index>(), any::<Index>());
    let changed = changed.prop_map(move |(one, at, cut, piece, other, from)| {
        let (mut octets, other) = (one.get(&corpus).clone(), other.get(&corpus));
        let at = at.index(octets.len() + 1);
        octets.splice(at..(at + cut).min(octets.len()), piece);
        // Every second time the end of another one follows.
        if cut.is_multiple_of(2) {
            octets.truncate(at);
            octets.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
        octets
    });
    prop_oneof![1 => chance, 4 => changed]
}

/// Replays what is saved of a target, then tries so many inputs.
fn try_out(name: &str, cases: u32) {
    let (_, run) = target(name);
    let paths = [saved("findings", name), saved("corpus", name)].concat();
    assert!(!paths.is_empty(), "nothing is saved in fuzz/corpus/{name}");
    let mut corpus = Vec::new();
    for path in paths {
        println!("{}", path.display());
        corpus.push(fs::read(path).unwrap());
        run(corpus.last().unwrap());
    }
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    // The same inputs on every run: what is new is the fuzzer's to find.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let tried = TestRunner::new_with_rng(config, rng).run(&inputs(corpus), |octets| {
        run(&octets);
        Ok(())
    });
    // What fails here belongs into fuzz/findings, as a file of these octets.
    tried.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn whatever_comes_for_a_question_only_what_answers_it_is_believed() {
    try_out("frames", 4000);
}

#[test]
fn what_a_pdu_says_is_what_the_specification_says() {
    try_out("pdu", 4000);
}

#[test]
fn adus_are_the_same_however_the_stream_is_cut() {
    try_out("mbap", 4000);
}

#[test]
fn a_bystander_sees_the_frames_that_are_there() {
    try_out("overheard", 4000);
}

#[test]
fn a_profile_of_any_text_is_read_or_its_problems_are_told() {
    try_out("profile_yaml", 500);
}

#[test]
fn a_configuration_of_any_text_is_read_or_its_problems_are_told() {
    try_out("config_yaml", 1000);
}

#[test]
fn a_record_of_any_octets_is_read_or_refused() {
    try_out("record", 4000);
}

#[test]
fn a_batch_of_any_octets_is_read_or_refused() {
    try_out("batch", 4000);
}

#[test]
fn whatever_stands_in_a_spool_the_whole_records_are_found() {
    try_out("spool", 1000);
}

#[test]
fn every_folder_of_saved_inputs_is_a_targets() {
    for folder in ["corpus", "findings"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        for entry in fs::read_dir(root).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(TARGETS.iter().any(|(target, _)| *target == name), "fuzz/{folder}/{name} is nobody's");
        }
    }
}
