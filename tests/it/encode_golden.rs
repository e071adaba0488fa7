//! What each encoding makes of one specimen, frozen: `golden/encode`. Of a released encoding these never change.

use crate::common::specimen;
use linesman::encode::batch::{self, Names, Options, Schema, Tolerance, Tolerances};
use linesman::encode::{Encoding, ROWS, Template, json};
use std::fs;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/encode").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn bounded() -> Options {
    let mut tolerances =
        Tolerances { all: Some(Tolerance::Percent("0.25".parse().unwrap())), ..Tolerances::default() };
    tolerances.named.insert("current".into(), Tolerance::Absolute("0.005".parse().unwrap()));
    Options { tolerances }
}

fn meta() -> String {
    json::meta(&specimen::site(), usize::MAX).unwrap().unwrap()
}

/// Every batch of the folder, and by which schema it was made.
fn batches() -> Vec<(&'static str, Schema)> {
    let site = specimen::site();
    vec![
        ("batch", Schema::of(&site, &Options::default())),
        ("batch-bounded", Schema::of(&site, &bounded())),
        ("batch-nameless", Schema::unpublished(&site, &Options::default())),
    ]
}

#[test]
fn every_encoding_of_text_writes_the_specimen_as_it_always_did() {
    let template = text("template.jinja");
    let encodings = [
        Encoding::Json,
        Encoding::JsonArray,
        Encoding::Line,
        Encoding::Senml,
        Encoding::Csv,
        Encoding::Template(Template::new(&template).unwrap()),
    ];
    assert_eq!(encodings.len(), ROWS.len() - 1, "all but batch");
    let (readings, site) = (specimen::readings(), specimen::site());
    for encoding in encodings {
        let row = encoding.row();
        let payload = encoding.encode(&specimen::numbered(&readings), &site, usize::MAX).unwrap();
        assert_eq!(payload.taken, readings.len());
        let written = format!("{}{}", row.header, String::from_utf8(payload.octets).unwrap());
        assert_eq!(written, text(&format!("{}.txt", row.word)), "{}", row.word);
    }
    assert_eq!(meta(), text("meta.json").trim_end());
}

#[test]
fn json_of_every_kind_is_json() {
    let lines = text("json.txt");
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let array: serde_json::Value = serde_json::from_str(&text("json-array.txt")).unwrap();
    assert_eq!(array.as_array().unwrap().len(), lines.lines().count());
    let pack: serde_json::Value = serde_json::from_str(&text("senml.txt")).unwrap();
    let bases = pack.as_array().unwrap().iter().filter(|record| record.get("bn").is_some());
    // One reading has no point at all, and SenML has nothing to say of it.
    assert_eq!(bases.count(), lines.lines().count() - 1);
}

/// The octets between protobuf and zstd are the format; how well a release of zstd compresses them is not.
#[test]
fn batches_are_written_as_they_always_were() {
    let readings = specimen::readings();
    for (name, schema) in batches() {
        let payload =
            batch::encode(&specimen::numbered(&readings), &schema, name == "batch-bounded", 1 << 20).unwrap();
        assert_eq!(payload.taken, readings.len());
        let raw = |octets: &[u8]| zstd::bulk::decompress(octets, 1 << 20).unwrap();
        let stored =
            fs::read(golden(&format!("{name}.bin"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(raw(&payload.octets) == raw(&stored), "{name} is written otherwise");
    }
}

#[test]
fn batches_are_read_as_they_always_were() {
    let names = Names::from_meta(text("meta.json").trim_end()).unwrap();
    for (name, _) in batches() {
        let stored = fs::read(golden(&format!("{name}.bin"))).unwrap();
        let decoded = batch::decode(&stored, Some(&names)).unwrap();
        assert_eq!((decoded.bounded, decoded.backlog), (name == "batch-bounded", name == "batch-bounded"));
        let mut lines = String::new();
        for (reading, number) in &decoded.readings {
            lines += &json::reading(reading, *number, Some(names.site.gateway.as_str()));
            lines.push('\n');
        }
        let expected = if name == "batch-bounded" { "batch-bounded.txt" } else { "json.txt" };
        assert_eq!(lines, text(expected), "{name}");
    }
}
