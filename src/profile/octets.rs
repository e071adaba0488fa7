//! How a point's octets stand for a raw value: its type, its codes, and the raw values that are none.

use super::format;
use super::read::scalar_of;
use super::yaml::{Entry, Node, Report, scalar};
use super::{BitField, Format, Sentinel, Table};
use crate::model::{Bad, Name};
use std::sync::Arc;

/// What is read of a register: all of it, one bit, some bits, or flags by their names.
pub(super) enum Pick<'n> {
    All,
    Bit(u8),
    Field(BitField),
    Flags(&'n [Entry]),
}

impl Pick<'_> {
    fn key(&self) -> &'static str {
        if matches!(self, Pick::Bit(_)) { "bit" } else { "bits" }
    }

    /// The highest bit, to be compared with the type's.
    fn highest(&self) -> u64 {
        match self {
            Pick::All => 0,
            Pick::Bit(bit) => u64::from(*bit),
            Pick::Field(field) => u64::from(field.shift) + u64::from(field.width) - 1,
            Pick::Flags(flags) => {
                flags.iter().filter_map(|flag| scalar::code(&flag.key).ok()).max().unwrap_or(0)
            }
        }
    }
}

pub(super) fn pick<'n>(node: &'n Node, name: &Name, report: &mut Report<'_>) -> Option<Pick<'n>> {
    match (node.entry("bit"), node.entry("bits")) {
        (Some(_), Some(bits)) => {
            report.at(&bits.at, format!("`{name}`: `bit` is one bit, `bits` are several: give one of them"));
            None
        }
        (Some(bit), None) => super::read::whole(&bit.value).map(Pick::Bit),
        (None, Some(bits)) => match bits.value.scalar() {
            Some(range) => {
                format::field(range).ok().map(|(shift, width)| Pick::Field(BitField { shift, width }))
            }
            None => Some(Pick::Flags(bits.value.entries())),
        },
        (None, None) => Some(Pick::All),
    }
}

pub(super) fn format(
    node: &Node,
    name: &Name,
    table: Table,
    pick: &Pick<'_>,
    report: &mut Report<'_>,
) -> Option<Format> {
    let picked = node.entry("bit").or_else(|| node.entry("bits"));
    if let (true, Some(picked)) = (table.is_bits(), picked) {
        let key = pick.key();
        report.at(
            &picked.at,
            format!("`{name}`: a coil or discrete input is one bit already; leave out `{key}`"),
        );
        return None;
    }
    let Some(given) = node.get("type") else {
        if table.is_bits() {
            return Some(Format::Bool);
        }
        if picked.is_some() {
            return within(Format::Bits, node, name, pick, report);
        }
        report.at(
            &node.place,
            format!("`type` is missing in `{name}`: how do the registers stand for a value (u16, f32 …)?"),
        );
        return None;
    };
    let format = format::format_of(given.scalar()?).ok()?;
    if table.is_bits() && format != Format::Bool {
        let message = format!("`{name}`: a coil or discrete input is `bool`, found {}", given.found());
        report.at(&given.place, message);
        return None;
    }
    match (pick, format) {
        (Pick::All, _) => Some(format),
        (Pick::Bit(_) | Pick::Flags(_), Format::U16 | Format::Bool) => {
            within(Format::Bits, node, name, pick, report)
        }
        (_, Format::Bits | Format::U16 | Format::U32 | Format::U64)
        | (Pick::Field(_), Format::S16 | Format::S32 | Format::S64) => {
            within(format, node, name, pick, report)
        }
        (_, _) => {
            let message = format!(
                "`{name}`: `{}` picks from a whole number (`type: u16`, `u32` …), found {}",
                pick.key(),
                given.found()
            );
            report.at(&given.place, message);
            None
        }
    }
}

/// The bits have to be there.
fn within(
    format: Format,
    node: &Node,
    name: &Name,
    pick: &Pick<'_>,
    report: &mut Report<'_>,
) -> Option<Format> {
    let (highest, width) = (pick.highest(), width(format));
    if highest < u64::from(width) {
        return Some(format);
    }
    let at = node.entry("bit").or_else(|| node.entry("bits")).map_or(&node.place, |entry| &entry.value.place);
    let message =
        format!("`{name}`: bit {highest} is not in `{}`, which has bits 0 to {}", format.word(), width - 1);
    report.at(at, message);
    None
}

/// How many bits a raw value of this format has.
pub(super) fn width(format: Format) -> u32 {
    match format {
        Format::Bool => 1,
        Format::U16 | Format::S16 | Format::Bcd16 | Format::Bits => 16,
        Format::U32 | Format::S32 | Format::F32 | Format::Bcd32 => 32,
        Format::IskraT5 | Format::IskraT6 | Format::IskraT7 => 32,
        Format::U64 | Format::S64 | Format::F64 | Format::Bcd64 => 64,
        Format::Text(_) | Format::Date(_) => 0,
    }
}

pub(super) fn sentinels(
    node: &Node,
    name: &Name,
    format: Format,
    field: Option<BitField>,
    report: &mut Report<'_>,
) -> Vec<(Sentinel, Bad)> {
    let Some(entry) = node.entry("invalid") else { return Vec::new() };
    if matches!(format, Format::Text(_) | Format::Bool | Format::Date(_)) || node.get("bit").is_some() {
        let what = if matches!(format, Format::Date(_)) {
            "a date, which is invalid when it is none"
        } else {
            "a flag or a text"
        };
        report.at(&entry.at, format!("`{name}`: `invalid` has no meaning for {what}"));
        return Vec::new();
    }
    let mut found = Vec::new();
    for item in entry.value.items() {
        let (raw, reason) = match item.get("raw") {
            Some(raw) => (raw, reason(item)),
            None => (item, Bad::Invalid),
        };
        match sentinel(raw, format, field) {
            Ok(sentinel) => found.extend(sentinel.map(|sentinel| (sentinel, reason))),
            Err(why) => report.at(&raw.place, format!("`{name}`: `invalid` value {} {why}", raw.found())),
        }
    }
    found
}

/// The words of reasons that a profile may give.
fn reason(item: &Node) -> Bad {
    match scalar_of(item, "reason").map(|word| word.text.as_str()) {
        Some("out-of-range") => Bad::OutOfRange,
        Some("not-yet") => Bad::NotYet,
        Some("sensor-fault") => Bad::SensorFault,
        Some(_) | None => Bad::Invalid,
    }
}

/// A raw value as bits: hexadecimal is bits already, decimal is a number of the point's type.
fn sentinel(item: &Node, format: Format, field: Option<BitField>) -> Result<Option<Sentinel>, String> {
    let Some(scalar) = item.scalar() else { return Ok(None) };
    let is_float = matches!(format, Format::F32 | Format::F64);
    if format::is_nan(scalar) {
        return if is_float { Ok(Some(Sentinel::Nan)) } else { Err("is for f32 and f64".to_owned()) };
    }
    let hexadecimal = scalar.text.to_ascii_lowercase().contains("0x");
    if is_float && !hexadecimal {
        return Ok(float_bits(&scalar.text, format).map(Sentinel::Bits));
    }
    let Ok(n) = scalar::whole(scalar) else {
        // The walk has refused what is no number at all.
        let is_number = scalar::decimal(scalar).is_ok();
        return if is_number { Err("is not a whole number".to_owned()) } else { Ok(None) };
    };
    let bits = field.map_or(width(format), |field| u32::from(field.width));
    let signed = matches!(format, Format::S16 | Format::S32 | Format::S64);
    let least = if signed && !hexadecimal { -(1i128 << (bits - 1)) } else { 0 };
    let most = if signed && !hexadecimal { (1i128 << (bits - 1)) - 1 } else { (1i128 << bits) - 1 };
    if !(least..=most).contains(&n) {
        return Err(format!("does not fit the type: {least} to {most}, or 0x… for the bits as they are"));
    }
    let raw = u64::try_from(n & ((1i128 << bits) - 1)).map_err(|_| String::new())?;
    let raw = if matches!(format, Format::Bcd16 | Format::Bcd32 | Format::Bcd64) && !hexadecimal {
        bcd(raw, bits)?
    } else {
        raw
    };
    Ok(Some(Sentinel::Bits(raw)))
}

fn float_bits(text: &str, format: Format) -> Option<u64> {
    if format == Format::F32 {
        text.parse::<f32>().ok().map(|x| u64::from(x.to_bits()))
    } else {
        text.parse::<f64>().ok().map(f64::to_bits)
    }
}

/// Decimal digits, four bits each.
fn bcd(mut n: u64, bits: u32) -> Result<u64, String> {
    let mut raw = 0;
    for shift in (0..bits).step_by(4) {
        raw |= (n % 10) << shift;
        n /= 10;
    }
    if n == 0 { Ok(raw) } else { Err("has more digits than the type".to_owned()) }
}

pub(super) fn words(
    node: &Node,
    name: &Name,
    format: Format,
    field: Option<BitField>,
    report: &mut Report<'_>,
) -> Vec<(u64, Arc<str>)> {
    let Some(entry) = node.entry("enum") else { return Vec::new() };
    let no_code =
        matches!(format, Format::F32 | Format::F64 | Format::Text(_) | Format::Bool | Format::Date(_));
    let packed = matches!(format, Format::IskraT5 | Format::IskraT6 | Format::IskraT7);
    let flags = node.get("bits").is_some() && field.is_none();
    if no_code || packed || flags || node.get("bit").is_some() {
        report.at(&entry.at, format!("`{name}`: `enum` is for whole numbers (u16, s16, u32 …)"));
        return Vec::new();
    }
    let mut words: Vec<(u64, Arc<str>)> = Vec::new();
    let width = field.map_or(width(format), |field| u32::from(field.width));
    for word in entry.value.entries() {
        let Ok(code) = scalar::code(&word.key) else { continue };
        if width < 64 && code >> width != 0 {
            report.at(&word.at, format!("`{name}`: code {} does not fit the type", word.key));
        } else if words.iter().any(|(known, _)| *known == code) {
            report.at(&word.at, format!("`{name}`: code {} is already given", word.key));
        } else if let Some(scalar) = word.value.scalar() {
            words.push((code, Arc::from(scalar.text.as_str())));
        }
    }
    words
}
