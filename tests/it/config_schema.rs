//! The schema, the reader and the defaults say the same.

use linesman::config::{self, CONFIG, Overlays};
use linesman::profile;
use linesman::profile::format::PROFILE;
use linesman::profile::yaml::table::{Key, Table};
use linesman::profile::yaml::{Report, node, schema, walk};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn keys(table: &'static Table) -> Vec<(&'static Table, &'static Key)> {
    let own = table.keys.iter().map(|key| (table, key));
    own.chain(table.keys.iter().flat_map(|key| key.kind.tables()).flat_map(keys)).collect()
}

/// Every object with properties in a schema, in whatever depth.
fn objects(schema: &Value, found: &mut Vec<Value>) {
    if schema.get("properties").is_some() {
        found.push(schema.clone());
    }
    match schema {
        Value::Object(map) => map.values().for_each(|value| objects(value, found)),
        Value::Array(list) => list.iter().for_each(|value| objects(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_schema_has_the_readers_keys_and_no_others() {
    for table in [&CONFIG, &PROFILE] {
        let schema = schema::document("x", table);
        let mut found = Vec::new();
        objects(&schema, &mut found);
        for (table, key) in keys(table) {
            let object = found.iter().find(|object| object["description"] == table.doc).unwrap();
            assert_eq!(object["additionalProperties"], false, "{}", table.what);
            let property = object["properties"].get(key.name);
            assert_eq!(property.is_some(), key.acts(), "{} in {}", key.name, table.what);
            if let Some(property) = property {
                assert!(
                    !property["description"].as_str().unwrap().is_empty(),
                    "{} in {}",
                    key.name,
                    table.what
                );
                let required = object["required"].as_array().unwrap().iter().any(|name| name == key.name);
                assert_eq!(required, key.required, "{} in {}", key.name, table.what);
            }
        }
    }
}

/// What an editor offers is right where it is offered: every key has an example, and the reader takes it.
#[test]
fn every_key_has_an_example_that_the_reader_takes() {
    for table in [&CONFIG, &PROFILE] {
        for (table, key) in keys(table).into_iter().filter(|(_, key)| key.acts()) {
            let place = format!("{} in {}", key.name, table.what);
            let example = schema::example(key);
            assert!(!example.is_null(), "{place}");
            let mut whole = schema::least_of(table);
            let map = whole.as_object_mut().unwrap();
            let rivals =
                table.exactly_one.iter().filter(|group| group.contains(&key.name)).copied().flatten();
            rivals.for_each(|rival| drop(map.remove(*rival)));
            map.insert(key.name.to_owned(), example);
            let text = whole.to_string();
            let mut report = Report::new("example", &text);
            let root = node::parse(&text, &mut report).unwrap();
            walk::check(&root, table, &mut report);
            let problems = report.finish();
            assert!(problems.is_empty(), "{place}\n{problems}");
        }
    }
    // What the least of it all comes to is a file that runs.
    let config = schema::least_of(&CONFIG).to_string();
    let config = config::parse("least", &config, &Overlays::default(), Path::new(""), &[]);
    assert!(config.is_ok(), "{}", config.unwrap_err());
    let profile = schema::least_of(&PROFILE).to_string();
    assert!(profile::parse("least", "least", &profile).is_ok(), "{profile}");
}

/// A key that is in the table and that nobody asks for would be accepted and do nothing.
#[test]
fn every_key_that_is_accepted_is_asked_for() {
    for (folder, table) in [("src/config", &CONFIG), ("src/profile", &PROFILE)] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let sources: String = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("format.rs"))
            .map(|path| fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap().to_owned())
            .collect();
        // These have one value that is accepted, so that there is nothing to ask.
        let only_one = ["profile", "framing", "when_full", "order"];
        for (table, key) in
            keys(table).into_iter().filter(|(_, key)| key.acts() && !only_one.contains(&key.name))
        {
            assert!(sources.contains(&format!("\"{}\"", key.name)), "{} in {}", key.name, table.what);
        }
    }
}

/// What a key's description says happens "unless given".
fn told(table: &str, name: &str) -> String {
    let (_, key) = keys(&CONFIG).into_iter().find(|(t, key)| t.what == table && key.name == name).unwrap();
    let before = key.doc.strip_suffix(" unless given").unwrap();
    before.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn the_defaults_that_are_told_are_the_ones_that_act() {
    let dirs = [PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/config/profiles")];
    let load = |text: String| {
        config::parse("c", &text, &Overlays::default(), Path::new(""), &dirs)
            .map_err(|p| p.to_string())
            .unwrap()
    };
    let plain = load(
        "gateway: { id: g }\nlines:\n  - { name: l, serial: { port: /dev/x }, devices: [ { name: d, profile: acme-x1, unit: 1 } ] }\n\
         upstreams:\n  - { name: m, mqtt: { url: 'mqtts://b' } }\n  - { name: f, file: { path: x } }\n"
            .to_owned(),
    );
    let all = |table: &str, names: &[&str]| {
        names
            .iter()
            .map(|name| format!(", {name}: {}", told(table, name)))
            .collect::<String>()
            .replace("{gateway}", "g")
    };
    let told = load(format!(
        "gateway: {{ id: g }}\nlines:\n  - {{ name: l, every: {}, serial: {{ port: /dev/x{} }}, devices: [ {{ name: d, profile: acme-x1, unit: 1{} }} ] }}\n\
         upstreams:\n  - {{ name: m{}, mqtt: {{ url: 'mqtts://b:{}'{} }} }}\n  - {{ name: f, file: {{ path: x{} }} }}\nspool: {{ {} }}\n",
        told("a line", "every"),
        all("`serial`", &["baud", "parity", "stop_bits", "framing", "low_latency"]),
        all("a device", &["enabled", "timeout", "retries"]),
        all("an upstream", &["order"]),
        told("`mqtt`", "url"),
        all("`mqtt`", &["topic", "encoding", "keep_alive"]),
        all("`file`", &["encoding", "max_size", "keep"]),
        all("`spool`", &["dir", "max_size", "max_age", "commit_every", "when_full"]).trim_start_matches(", "),
    ));
    assert_eq!((&plain.lines, &plain.spool, &plain.upstreams), (&told.lines, &told.spool, &told.upstreams));
}
