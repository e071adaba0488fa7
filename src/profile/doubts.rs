//! What is allowed and yet most often a mistake: told by `check` and `profiles check` as a warning.
//!
//! Each of these has made wrong numbers in the field: an address of the manual's notation sent as it stands, a sentinel
//! half as wide as its registers, an order given to a single register, a counter said to end where it never comes.

use super::yaml::{Entry, Node, Problems, Report, node};
use super::{Format, Point, Profile, Sentinel, Table};
use crate::model::Decimal;

/// Where the 5-digit notation of a table begins, and how far beyond it most meters' registers are.
const NOTATIONS: [(Table, u16); 2] = [(Table::HoldingRegister, 40_001), (Table::InputRegister, 30_001)];
const FAR: u16 = 999;

/// The doubts about a profile that reads, at their places in its text.
pub fn doubts(file: &str, text: &str, profile: &Profile) -> Problems {
    let mut report = Report::new(file, text);
    let Some(root) = node::parse(text, &mut Report::new(file, text)) else { return report.finish() };
    let points = root.get("points").map(Node::entries).unwrap_or_default();
    manuals_notation(points, profile, &mut report);
    for entry in points {
        if let Some(point) = profile.points.iter().find(|point| point.name.as_str() == entry.key) {
            order_of_one(entry, point, &mut report);
            half_wide(entry, point, &mut report);
            end_beyond_type(entry, point, &mut report);
        }
    }
    report.finish()
}

/// All registers of a table where the notation of manuals has them: then they are meant so.
fn manuals_notation(points: &[Entry], profile: &Profile, report: &mut Report<'_>) {
    for (table, first) in NOTATIONS {
        let here: Vec<&Point> = profile.points.iter().filter(|point| point.table == table).collect();
        let is_so = |point: &&Point| (first..=first + FAR).contains(&point.address);
        if here.is_empty() || !here.iter().all(is_so) {
            continue;
        }
        let word = table.word();
        // Where `register:` led here, it was meant.
        let given = here.iter().find_map(|point| {
            let entry = points.iter().find(|entry| entry.key == point.name.as_str())?;
            Some((point.address, entry.value.get(word)?))
        });
        if let Some((address, at)) = given {
            let message = format!("`{word}: {address}` goes on the wire as it stands, counted from 0");
            let help = format!(
                "where the manual means its {address}, write `register: {address}`: that is {word} {} on the wire",
                address - first
            );
            report.at_with_help(&at.place, message, help);
        }
    }
}

fn order_of_one(entry: &Entry, point: &Point, report: &mut Report<'_>) {
    let has_one = point.format.count() == 1 || point.table.is_bits();
    if let (true, Some(at)) = (has_one, entry.value.get("word_order")) {
        report.at_with_help(
            &at.place,
            format!("`{}`: `word_order` says nothing of a single register", point.name),
            "the octets within one are `byte_order`; is the type of two registers meant?",
        );
    }
}

/// What a meter says for "no value" is as wide as the value: all ones, or the lowest or highest number.
fn half_wide(entry: &Entry, point: &Point, report: &mut Report<'_>) {
    let bits = 16 * u32::from(point.format.count());
    let is_number = !matches!(point.format, Format::Text(_) | Format::Date(_));
    let Some(at) = entry.value.get("invalid").filter(|_| is_number && matches!(bits, 32 | 64)) else {
        return;
    };
    let narrow: &[u64] = if bits == 32 {
        &[0xFFFF, 0x7FFF, 0x8000]
    } else {
        &[0xFFFF, 0x7FFF, 0x8000, 0xFFFF_FFFF, 0x7FFF_FFFF, 0x8000_0000]
    };
    for (sentinel, _) in &point.invalid {
        if let Sentinel::Bits(raw) = sentinel
            && narrow.contains(raw)
        {
            let message =
                format!("`{}`: {raw:#x} is half as wide as the {bits} bits of its registers", point.name);
            let wide = match raw.count_ones() {
                1 => 1 << (bits - 1),
                15 | 31 => u64::MAX >> (65 - bits),
                _ => u64::MAX >> (64 - bits),
            };
            report.at_with_help(
                &at.place,
                message,
                format!("is {wide:#x} meant? It is compared with all of the bits"),
            );
        }
    }
}

/// A counter begins again at the end of its type, if not before.
fn end_beyond_type(entry: &Entry, point: &Point, report: &mut Report<'_>) {
    let is = |formats: [Format; 2]| formats.contains(&point.format);
    let codes = match (is([Format::U16, Format::S16]), is([Format::U32, Format::S32])) {
        (true, _) => 1u64 << 16,
        (_, true) => 1 << 32,
        (false, false) => return,
    };
    let (Some(rollover), Some(at), true) =
        (point.rollover, entry.value.get("rollover"), point.scale_by.is_empty() && point.unit_by.is_none())
    else {
        return;
    };
    if Decimal::from(codes).scaled(point.scale).is_ok_and(|end| end < rollover) {
        let message = format!("`{}`: its type begins again before this `rollover`", point.name);
        report.at_with_help(&at.place, message, "leave it out, or is the type of two registers meant?");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{builtin, builtin_text, parse};

    #[test]
    fn no_shipped_profile_is_doubted() {
        for name in builtin() {
            let text = builtin_text(name).unwrap();
            let doubts = doubts(name, text, &parse(name, name, text).unwrap());
            assert!(doubts.is_empty(), "{doubts}");
        }
    }
}
