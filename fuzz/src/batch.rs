//! A compact batch from anywhere: decoding ends within bounds; what decodes is kept digit for digit by another batch.

use linesman::encode::batch::{self, Names, Options, Schema};
use linesman::encode::json::{self, Number};
use linesman::encode::{Numbered, batch::Decoded};
use linesman::model::{Reading, Site};
use std::collections::{BTreeMap, BTreeSet};

const META: &str = include_str!("../../tests/it/golden/encode/meta.json");

/// Octets as they come, and as what a frame holds: compression would hide the message from the fuzzer.
pub fn run(octets: &[u8]) {
    let names = Names::from_meta(META.trim_end()).unwrap();
    for frame in batch::frames(octets) {
        let _ = frame.map(|frame| batch::decode(frame, Some(&names)));
    }
    match batch::decode_message(octets, Some(&names)) {
        Ok(decoded) => survives(decoded),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn survives(decoded: Decoded) {
    let cells: usize = decoded.readings.iter().map(|(reading, _)| reading.samples.len() + 1).sum();
    assert!(cells <= batch::MOST_DECODED, "{cells}");
    if decoded.readings.iter().any(|(reading, _)| names_a_point_twice(reading)) {
        return;
    }
    let site = Site { gateway: "g".parse().unwrap(), config_hash: String::new(), devices: Vec::new() };
    let schema = Schema::unpublished(&site, &Options::default());
    let all: Vec<Numbered<'_>> =
        decoded.readings.iter().map(|(reading, number)| Numbered { reading, number: *number }).collect();
    let (mut rest, mut back) = (all.as_slice(), Vec::new());
    while !rest.is_empty() {
        let payload = batch::encode(rest, &schema, false, usize::MAX).unwrap();
        rest = &rest[payload.taken..];
        back.extend(batch::decode(&payload.octets, None).unwrap().readings);
    }
    assert_eq!(told(&back), told(&decoded.readings));
}

fn names_a_point_twice(reading: &Reading) -> bool {
    let mut seen = BTreeSet::new();
    !reading.samples.iter().all(|(name, _)| seen.insert(name))
}

/// As JSON, in whatever order.
fn told(readings: &[(Reading, Number)]) -> Vec<String> {
    let told = |(reading, number): &(Reading, Number)| {
        let samples: BTreeMap<_, _> = reading.samples.iter().cloned().collect();
        let mut reading = reading.clone();
        reading.samples = samples.into_iter().collect();
        json::reading(&reading, *number, Some("g"))
    };
    let mut told: Vec<String> = readings.iter().map(told).collect();
    told.sort();
    told
}
