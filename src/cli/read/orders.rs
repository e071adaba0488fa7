//! `read --all-orders`: what registers can mean, by every type and order side by side, the plausible ones first.
//!
//! # What is plausible
//! Each meaning starts with what its number is like: a float of some size is hardly one by chance, a huge one is hardly
//! a float; small whole numbers are likelier than large ones; ten to fifteen are no digits. A second reading a moment
//! later tells orders apart: what moves a little in the right order jumps in the others. `--range` says what the
//! meter's display shows: what is within it, perhaps after a decimal scale, comes first. The number behind it runs from 0
//! to 1 and is good for the order only.

use super::question::span;
use crate::bus::{Failure, Session};
use crate::cli::quoted;
use crate::modbus::{ReadFunction, ReadRequest};
use crate::model::{Sample, Value};
use crate::normalize;
use crate::profile::{self, Order, Point};
use std::fmt::Write as _;
use std::time::Duration;

/// Registers that are read where nobody says how many: as many as the widest number has.
const USUAL: u16 = 4;
/// One request asks for no more.
const MOST: u16 = 125;
/// What is known by scale too, where a range is given.
const SCALES: [&str; 7] = ["1", "0.1", "0.01", "0.001", "10", "100", "1000"];

/// What was read: twice, where the device answered twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Twice {
    pub table: &'static str,
    pub address: u16,
    pub first: Vec<u8>,
    pub second: Option<Vec<u8>>,
}

/// One meaning of some of the registers.
#[derive(Debug, Clone)]
pub(super) struct Meaning {
    pub point: Point,
    /// As the profile has to have it; `1` mostly.
    pub scale: &'static str,
    pub value: Sample,
    pub again: Option<Sample>,
    pub plausible: f64,
}

/// Which registers: the table, the first address, how many, and whether somebody has said so.
pub(super) fn registers(table: &str, given: &str) -> Result<(&'static str, u16, u16, bool), String> {
    let right = || {
        format!("--{table} {given}: expected ADDRESS or ADDRESS+N with 1 to {MOST} registers, as in 0x10+4")
    };
    let (first, count) = span(given, USUAL.into()).or_else(|| span(given, 1)).ok_or_else(right)?;
    let table = if table == "input" { "input" } else { "holding" };
    match (u16::try_from(first), u16::try_from(count)) {
        (Ok(first), Ok(count)) if count <= MOST => Ok((table, first, count, given.contains('+'))),
        _ => Err(right()),
    }
}

/// Reads the registers, and again after a moment. Where nobody has said how many, fewer are asked for if these are refused.
pub(super) fn read(
    session: &mut Session,
    unit: u8,
    (table, address, count, said): (&'static str, u16, u16, bool),
    timeout: Duration,
    moment: Duration,
) -> Result<Twice, Failure> {
    let function =
        if table == "input" { ReadFunction::InputRegisters } else { ReadFunction::HoldingRegisters };
    let mut count = count;
    loop {
        let Ok(request) = ReadRequest::new(function, address, count) else {
            return Err(Failure::Exception { unit, code: 2 });
        };
        match session.read(unit, request, timeout) {
            Ok(first) => {
                std::thread::park_timeout(moment);
                let second = session.read(unit, request, timeout).ok();
                return Ok(Twice { table, address, first, second });
            }
            Err(Failure::Exception { code: 2 | 3, .. }) if !said && count > 1 => count /= 2,
            Err(failure) => return Err(failure),
        }
    }
}

/// Every meaning of what was read, the plausible ones first.
pub(super) fn meanings(read: &Twice, range: Option<(f64, f64)>) -> Vec<Meaning> {
    let scales: &[&'static str] = if range.is_some() { &SCALES } else { &SCALES[..1] };
    let mut all = Vec::new();
    for scale in scales {
        for point in every_point(read, scale) {
            let value = sample(&point, read.address, &read.first);
            let again = read.second.as_ref().map(|octets| sample(&point, read.address, octets));
            let plausible = plausible(&point, &value, again.as_ref(), range);
            // Another scale is worth a line only where it brings the value into the range.
            if *scale == "1" || plausible >= IN_RANGE {
                all.push(Meaning { point, scale, value, again, plausible });
            }
        }
    }
    all.sort_by(|a, b| b.plausible.total_cmp(&a.plausible));
    all
}

const IN_RANGE: f64 = 0.7;

/// A point for each meaning, through the same reader as a profile's; each by itself, for they lie over one another.
fn every_point(read: &Twice, scale: &str) -> Vec<Point> {
    let count = u16::try_from(read.first.len() / 2).unwrap_or(0);
    let mut points = Vec::new();
    let mut add = |offset: u16, format: &str, more: &str| {
        let (table, address) = (read.table, read.address.saturating_add(offset));
        let line = format!("  p: {{ {table}: {address}, type: \"{format}\"{more}, quantity: other }}\n");
        points.extend(super::question::parse(&line).into_iter().flat_map(|profile| profile.points));
    };
    for (width, formats) in
        [(1, &["u16", "s16", "bcd16"][..]), (2, &["f32", "u32", "s32", "bcd32"]), (4, &["f64", "u64", "s64"])]
    {
        let orders: &[&str] = if width == 1 { &["big"] } else { &["big", "little"] };
        for offset in (0..count).step_by(width.into()).filter(|offset| offset + width <= count) {
            for format in formats {
                for (words, bytes) in orders.iter().flat_map(|words| ["big", "little"].map(|b| (*words, b))) {
                    add(
                        offset,
                        format,
                        &format!(", word_order: {words}, byte_order: {bytes}, scale: {scale}"),
                    );
                }
            }
        }
    }
    if scale == "1" {
        add(0, &format!("string:{count}"), "");
    }
    points
}

fn sample(point: &Point, address: u16, octets: &[u8]) -> Sample {
    let from = usize::from(point.address.saturating_sub(address)) * 2;
    let octets = octets.get(from..from + usize::from(point.format.count()) * 2);
    octets.map_or(Err(crate::model::Bad::Garbled), |octets| normalize::sample(point, octets))
}

fn plausible(point: &Point, value: &Sample, again: Option<&Sample>, range: Option<(f64, f64)>) -> f64 {
    let number = match value {
        Ok(Value::Number(number)) => number.to_f64(),
        Ok(Value::Text(text)) => return letters(text, point, range),
        Ok(Value::Bool(_)) | Err(_) => return 0.0,
    };
    let mut score = likeness(point, number) * habit(point);
    if let Some(Ok(Value::Number(again))) = again {
        score = (score * steadiness(number, again.to_f64())).min(0.69);
    }
    match range {
        Some((least, most)) if (least..=most).contains(&number) => IN_RANGE + score * 0.3,
        Some(_) => score * 0.1,
        None => score,
    }
}

/// Text is told by its letters; four of them happen by chance.
fn letters(text: &str, point: &Point, range: Option<(f64, f64)>) -> f64 {
    let length = usize::from(point.format.count()) * 2;
    let readable = text.chars().filter(char::is_ascii_graphic).count();
    let whole =
        text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && readable * 2 >= length && readable >= 5;
    match (whole, range) {
        (true, None) => 0.65,
        (true, Some(_)) => 0.1,
        (false, _) => 0.0,
    }
}

/// What a number of this type is like.
fn likeness(point: &Point, number: f64) -> f64 {
    use profile::Format::{Bcd16, Bcd32, F32, F64, S16, U16};
    let size = number.abs();
    if size == 0.0 {
        return 0.15;
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are whole numbers of two or four registers"
    )]
    match point.format {
        F32 | F64 if (1e-3..1e7).contains(&size) => 0.6,
        F32 | F64 if (1e-6..1e10).contains(&size) => 0.2,
        F32 | F64 => 0.01,
        // By chance so many digits are none at all.
        Bcd32 => 0.35,
        Bcd16 => 0.15,
        U16 | S16 if size < 10_000.0 => 0.4,
        U16 | S16 => 0.25,
        _ if size < 1e7 => 0.38,
        _ if size < 1e10 => 0.15,
        _ => 0.02,
    }
}

/// Some orders and types are rarer than others; a sign that is not needed is none.
fn habit(point: &Point) -> f64 {
    let bytes = if point.byte_order == Order::Little { 0.6 } else { 1.0 };
    let words = if point.word_order == Order::Little { 0.95 } else { 1.0 };
    let signed = matches!(point.format, profile::Format::S16 | profile::Format::S32 | profile::Format::S64);
    bytes * words * if signed { 0.97 } else { 1.0 }
}

/// How a second reading speaks for the first.
fn steadiness(first: f64, second: f64) -> f64 {
    let moved = (second - first).abs() / first.abs().max(second.abs()).max(1e-30);
    match moved {
        0.0 => 1.0,
        m if m < 0.05 => 1.3,
        m if m < 0.5 => 1.0,
        _ => 0.3,
    }
}

/// The 1-based notation of manuals: five and six digits.
pub(super) fn notation(table: &str, address: u16) -> String {
    let (digit, number) = (if table == "input" { 3 } else { 4 }, u32::from(address) + 1);
    let long = format!("{digit}{number:05}");
    if number <= 9999 { format!("{digit}{number:04} or {long}") } else { long }
}

/// The point as a profile has it.
pub(super) fn yaml(table: &str, meaning: &Meaning) -> String {
    let Meaning { point, scale, .. } = meaning;
    let mut text = format!("{{ {table}: {}, type: {}", point.address, quoted_if_needed(&point.format.word()));
    for (key, order, matters) in
        [("word_order", point.word_order, point.format.count() > 1), ("byte_order", point.byte_order, true)]
    {
        if order == Order::Little && matters {
            let _ = write!(text, ", {key}: little");
        }
    }
    if *scale != "1" {
        let _ = write!(text, ", scale: {scale}");
    }
    format!("{text}, quantity: other }}")
}

fn quoted_if_needed(word: &str) -> String {
    if word.contains(':') { quoted(word) } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(first: &[u16], second: &[u16]) -> Twice {
        let octets = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        Twice { table: "input", address: 342, first: octets(first), second: Some(octets(second)) }
    }

    fn words_of(value: f32) -> [u16; 2] {
        let [a, b, c, d] = value.to_be_bytes();
        [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
    }

    fn best(read: &Twice, range: Option<(f64, f64)>) -> String {
        let all = meanings(read, range);
        yaml(read.table, &all[0])
    }

    #[test]
    fn the_right_order_comes_first_whichever_it_is() {
        let ([a, b], [c, d]) = (words_of(231.43), words_of(231.58));
        let swap = u16::swap_bytes;
        for (first, second, wanted) in [
            ([a, b], [c, d], "{ input: 342, type: f32, quantity: other }"),
            ([b, a], [d, c], "{ input: 342, type: f32, word_order: little, quantity: other }"),
            (
                [swap(a), swap(b)],
                [swap(c), swap(d)],
                "{ input: 342, type: f32, byte_order: little, quantity: other }",
            ),
            (
                [swap(b), swap(a)],
                [swap(d), swap(c)],
                "{ input: 342, type: f32, word_order: little, byte_order: little, quantity: other }",
            ),
        ] {
            assert_eq!(best(&twice(&first, &second), None), wanted);
        }
    }

    #[test]
    fn a_counter_that_moves_on_tells_its_word_order() {
        // 1 234 567 and, a moment later, 1 234 601.
        let [high, low, later] = [18, 54_919, 54_953];
        assert_eq!(
            best(&twice(&[high, low], &[high, later]), Some((1_234_000.0, 1_235_000.0))),
            "{ input: 342, type: u32, quantity: other }"
        );
        let all = meanings(&twice(&[low, high], &[later, high]), None);
        let of = |order| {
            let so = |m: &&Meaning| {
                m.point.format == profile::Format::U32
                    && m.point.word_order == order
                    && m.point.byte_order == Order::Big
            };
            all.iter().find(so).unwrap().plausible
        };
        assert!(of(Order::Little) > of(Order::Big));
    }

    #[test]
    fn what_the_display_shows_is_found_with_its_scale() {
        let read = twice(&[2314, 0xFFFF], &[2316, 0xFFFF]);
        assert_eq!(
            best(&read, Some((225.0, 235.0))),
            "{ input: 342, type: u16, scale: 0.1, quantity: other }"
        );
    }

    #[test]
    fn text_is_told_by_its_letters() {
        let read = twice(&[0x5344, 0x4D31, 0x3230, 0], &[0x5344, 0x4D31, 0x3230, 0]);
        assert_eq!(best(&read, None), "{ input: 342, type: \"string:4\", quantity: other }");
    }

    #[test]
    fn both_notations_are_said() {
        assert_eq!(notation("holding", 0), "40001 or 400001");
        assert_eq!(notation("input", 342), "30343 or 300343");
        assert_eq!(notation("holding", 64_512), "464513");
        assert_eq!(registers("input", "342").unwrap(), ("input", 342, 4, false));
        assert_eq!(registers("holding", "65535").unwrap(), ("holding", 65_535, 1, false));
        assert!(registers("holding", "0+126").is_err() && registers("holding", "70000").is_err());
    }

    #[test]
    fn every_line_of_yaml_is_a_point() {
        let read = twice(&[0x5344, 0x4D31, 0x3230, 7], &[0x5344, 0x4D31, 0x3230, 7]);
        for meaning in meanings(&read, Some((0.0, 1e9))) {
            let line = format!("  p: {}\n", yaml(read.table, &meaning));
            let point = &crate::cli::read::question::parse(&line).unwrap().points[0];
            assert_eq!(sample(point, read.address, &read.first), meaning.value, "{line}");
        }
    }
}
