//! The shipped profiles: read, named, documented, and decoded against registers that are not ours.

use linesman::bus::Field;
use linesman::model::{Decimal, Value, quantity};
use linesman::normalize;
use linesman::profile::format::{PROFILE, TYPES};
use linesman::profile::yaml::table::Table as Keys;
use linesman::profile::{self, Point, Profile, Table, glossary};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shipped() -> Vec<Profile> {
    let read = |name| {
        let text = profile::builtin_text(name).unwrap();
        profile::parse(name, name, text).unwrap_or_else(|problems| panic!("{problems}"))
    };
    profile::builtin().map(read).collect()
}

/// Registers by table and address, two octets each: `holding 17: 1234 abcd`; bits are one octet: `coil 3: 0 1 1`.
fn wire(text: &str) -> BTreeMap<(Table, u16), Vec<u8>> {
    let mut registers = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (place, octets) = line.split_once(": ").unwrap();
        let (table, address) = place.split_once(' ').unwrap();
        let table = match table {
            "holding" => Table::HoldingRegister,
            "input" => Table::InputRegister,
            "coil" => Table::Coil,
            "discrete" => Table::DiscreteInput,
            other => panic!("no table is called {other}"),
        };
        for (address, word) in (address.parse::<u16>().unwrap()..).zip(octets.split(' ')) {
            let word = u16::from_str_radix(word, 16).unwrap().to_be_bytes();
            let octets = if table.is_bits() { vec![word[1]] } else { word.to_vec() };
            registers.insert((table, address), octets);
        }
    }
    registers
}

#[test]
fn a_hundred_and_forty_profiles_and_more_are_shipped_and_each_is_good() {
    let profiles = shipped();
    assert!(profiles.len() >= 140, "{}", profiles.len());
    for profile in profiles {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(profile.name.chars().all(plain), "{}", profile.name);
        // The unit id is left out where no source states one (it is printed on the label, say).
        assert!(!profile.sources.is_empty(), "{}", profile.name);
    }
}

#[test]
fn a_capture_of_every_profile_becomes_the_values_that_it_stands_for() {
    for profile in shipped() {
        let read = |ending: &str| {
            let path = at("tests/it/golden/profiles").join(format!("{}.{ending}", profile.name));
            fs::read_to_string(&path).unwrap_or_else(|_| panic!("no golden case {}", path.display()))
        };
        let registers = wire(&read("wire"));
        let expected: serde_json::Value = serde_json::from_str(&read("json")).unwrap();
        let field = |(index, point): (usize, &Point)| {
            let octets = (point.address..point.address + point.format.count()).flat_map(|address| {
                let octets = registers.get(&(point.table, address));
                octets.unwrap_or_else(|| panic!("{}: {} not captured", profile.name, point.name)).clone()
            });
            Field { point: index, octets: Ok(octets.collect()) }
        };
        let fields: Vec<Field> = profile.points.iter().enumerate().map(field).collect();
        for (index, sample) in normalize::samples(&profile, &fields) {
            let name = profile.points[index].name.as_str();
            let place = format!("{}: {name}", profile.name);
            match sample {
                Ok(Value::Number(number)) => {
                    let wanted: Decimal = expected["values"][name].to_string().parse().expect(&place);
                    assert_eq!(number, wanted, "{place}");
                }
                Ok(Value::Bool(flag)) => assert_eq!(expected["values"][name], flag, "{place}"),
                Ok(Value::Text(text)) => assert_eq!(expected["values"][name], *text, "{place}"),
                Err(bad) => assert_eq!(expected["bad"][name], *bad.word(), "{place}"),
            }
        }
        let told = ["values", "bad"].map(|key| expected[key].as_object().unwrap().len());
        assert_eq!(told[0] + told[1], profile.points.len(), "{}", profile.name);
    }
}

#[test]
fn energy_meters_name_their_points_as_the_glossary_does() {
    assert!(glossary::names().len() > 100, "{}", glossary::names().len());
    for name in profile::builtin() {
        let problems = glossary::check(name, profile::builtin_text(name).unwrap());
        assert!(problems.is_empty(), "{problems}");
    }
}

#[test]
fn the_library_inside_is_the_folder() {
    let mut files: Vec<String> = fs::read_dir(at("profiles"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    files.sort();
    assert_eq!(profile::builtin().collect::<Vec<_>>(), files);
    for name in files {
        let text = fs::read_to_string(at("profiles").join(format!("{name}.yaml"))).unwrap();
        assert_eq!(profile::builtin_text(&name), Some(text.as_str()), "{name}");
    }
    assert_eq!(profile::library::readme(), readme());
}

#[test]
fn the_readme_lists_the_quantities_that_the_code_knows() {
    let readme = fs::read_to_string(at("profiles/README.md")).unwrap();
    let table = readme.split("## Quantities").nth(1).unwrap().split("\n## ").next().unwrap();
    let told: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let known: Vec<String> = quantity::all()
        .map(|q| format!("| `{}` | {} |", q.name, if q.is_other() { "any, never converted" } else { q.unit }))
        .collect();
    assert_eq!(told, known);
}

fn readme() -> String {
    fs::read_to_string(at("profiles/README.md")).unwrap()
}

#[test]
fn the_readme_explains_every_key_and_type_and_its_examples_are_right() {
    let readme = readme();
    fn keys(table: &'static Keys, found: &mut Vec<(&'static str, &'static str)>) {
        for key in table.keys.iter().filter(|key| key.acts()) {
            found.push((table.what, key.name));
            key.kind.tables().into_iter().for_each(|table| keys(table, found));
        }
    }
    let mut found = Vec::new();
    keys(&PROFILE, &mut found);
    for (table, key) in found {
        let told = [format!("`{key}`"), format!("`{key}:"), format!("{{ {key}:"), format!(", {key}:")];
        assert!(told.iter().any(|told| readme.contains(told)), "`{key}` of {table}");
    }
    for (word, _) in TYPES {
        assert!(readme.contains(&format!("`{word}`")), "the type {word}");
    }
    let blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut shown = 0;
    for block in blocks {
        profile::parse("x", "profiles/README.md", block).unwrap_or_else(|problems| panic!("{problems}"));
        shown += 1;
    }
    assert!(shown >= 3, "{shown}");
}
