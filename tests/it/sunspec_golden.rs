//! Chains of SunSpec models as devices have them: what is read on the way, what is found, the reads that serve its points,
//! and what these are worth.
//!
//! `NAME.wire` holds the registers (`holding ADDRESS: hexadecimal …`; all others are refused) and `NAME.json` what the points
//! stand for; both were made without linesman, by `tests/e2e/sunspec.py`. `NAME.txt` is the walk and the plan.

use linesman::bus::{Field, Lessons, Terms, WireCost, plan_points};
use linesman::model::Value;
use linesman::normalize;
use linesman::profile::Profile;
use linesman::profile::sunspec::{Read, Walk};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Registers = BTreeMap<u16, u16>;

fn registers(text: &str) -> Registers {
    let mut all = Registers::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (address, words) = line.strip_prefix("holding ").unwrap().split_once(": ").unwrap();
        let address: u16 = address.parse().unwrap();
        let words = words.split(' ').map(|word| u16::from_str_radix(word, 16).unwrap());
        all.extend((address..).zip(words));
    }
    all
}

fn answer(device: &Registers, address: u16, count: u16) -> Option<Vec<u8>> {
    let words = (address..address + count).map(|at| device.get(&at).map(|word| word.to_be_bytes()));
    words.collect::<Option<Vec<_>>>().map(|words| words.concat())
}

/// The walk as text, and the profile that it found.
fn walk(device: &Registers) -> (String, Option<Profile>) {
    let (mut walk, mut text) = (Walk::new(0), String::new());
    while let Some(Read { address, count }) = walk.next() {
        let octets = answer(device, address, count);
        let what = if octets.is_some() { "" } else { ": refused" };
        writeln!(text, "walk {address}+{count}{what}").unwrap();
        match octets {
            Some(octets) => walk.answered(&octets),
            None => walk.refused(2),
        }
    }
    match walk.outcome().unwrap() {
        Ok(chain) => {
            writeln!(text, "found {chain}").unwrap();
            (text, Some(chain.profile()))
        }
        Err(broken) => {
            writeln!(text, "not found: {broken}").unwrap();
            (text, None)
        }
    }
}

/// The reads as text, and what they bring.
fn poll(profile: &Profile, device: &Registers) -> (String, Vec<Field>) {
    let lessons = Lessons::default();
    let terms = Terms { cost: WireCost::tcp(), turnaround: Duration::from_millis(20), lessons: &lessons };
    let all: Vec<usize> = (0..profile.points.len()).collect();
    let (mut text, mut fields) = (String::new(), Vec::new());
    for block in plan_points(profile, &all, &terms) {
        let (address, count) = (block.request.address(), block.request.count());
        writeln!(text, "read {address}+{count}: {} points", block.points.len()).unwrap();
        let data = answer(device, address, count).unwrap_or_else(|| panic!("{address}+{count} is refused"));
        for point in &block.points {
            let octets = block.octets_of(&profile.points[*point], &data).unwrap();
            fields.push(Field { point: *point, octets: Ok(octets) });
        }
    }
    (text, fields)
}

/// What is published, as JSON texts.
fn published(profile: &Profile, fields: &[Field]) -> BTreeMap<String, String> {
    let samples = normalize::samples(profile, fields).into_iter();
    let named = samples.map(|(index, sample)| (&profile.points[index], sample));
    let told = named.filter(|(point, sample)| {
        !(normalize::is_lacking(point, sample) || point.internal && sample.is_ok())
    });
    let text = |sample: Result<Value, _>| match sample {
        Ok(Value::Number(number)) => number.to_string(),
        Ok(Value::Text(text)) => Json::from(text.to_string()).to_string(),
        Ok(Value::Bool(flag)) => flag.to_string(),
        Err(bad) => format!("bad: {bad}"),
    };
    told.map(|(point, sample)| (point.name.to_string(), text(sample))).collect()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/sunspec");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "wire")).collect();
    cases.sort();
    cases
}

#[test]
fn every_chain_is_walked_read_and_worth_what_it_is() {
    let cases = cases();
    assert!(cases.len() >= 13, "{}", cases.len());
    for case in cases {
        let name = case.display();
        let device = registers(&fs::read_to_string(&case).unwrap());
        let (mut text, profile) = walk(&device);
        let mut seen = BTreeMap::new();
        if let Some(profile) = profile {
            let (reads, fields) = poll(&profile, &device);
            text.push_str(&reads);
            seen = published(&profile, &fields);
        }
        let expected = fs::read_to_string(case.with_extension("txt")).unwrap_or_default();
        assert_eq!(text, expected, "{name}");
        let worth: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&fs::read_to_string(case.with_extension("json")).unwrap()).unwrap();
        let worth: BTreeMap<String, String> =
            worth.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect();
        assert_eq!(seen, worth, "{name}");
    }
}
