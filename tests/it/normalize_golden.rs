//! The table of decodings in `golden/decode`: what octets of each format and order stand for.

use linesman::model::Value;
use linesman::{normalize, profile};
use std::fs;
use std::path::Path;

fn octets(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decoded(line: &str) -> (String, String) {
    let [format, orders, wire, keys, expected] =
        line.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
    let (words, bytes) = orders.split_once(", ").unwrap();
    let more = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    let text = format!(
        "profile: 1\nvendor: A\nmodel: B\nkind: other\nmodbus: {{ word_order: {words}, byte_order: {bytes} }}\n\
         points:\n  p: {{ holding: 0, type: {format}, quantity: other{more} }}\n"
    )
    .replace("type: string:", "type: 'string:")
    .replacen(", quantity: other", if format.starts_with("string") { "', quantity: identity" } else { ", quantity: other" }, 1);
    let profile =
        profile::parse("p", "p.yaml", &text).unwrap_or_else(|problems| panic!("{line}\n{problems}"));
    let found = match normalize::sample(&profile.points[0], &octets(wire)) {
        Ok(Value::Number(number)) => number.to_string(),
        Ok(Value::Bool(flag)) => flag.to_string(),
        Ok(Value::Text(text)) => text.to_string(),
        Err(bad) => bad.word().into_owned(),
    };
    (found, expected.to_owned())
}

#[test]
fn octets_of_every_format_and_order_become_what_the_table_says() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/decode/points.txt");
    let text = fs::read_to_string(table).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (found, expected) = decoded(line);
        assert_eq!(found, expected, "{line}");
    }
}
