//! One point of a profile: address, format, and how its number becomes a value in the canonical unit.

use super::address;
use super::format;
use super::read::{given_orders, scalar_of, text, whole};
use super::yaml::{Entry, Node, Place, Report, nearest, scalar};
use super::{Format, Order, Point, Sentinel, Table};
use crate::model::quantity::{self, Conversion, Quantity};
use crate::model::{Decimal, Name, Ratio};
use std::sync::Arc;

/// What a flag, a text or a code has no use for.
const NUMBERS_ONLY: &[&str] = &["scale", "offset", "resolution", "range", "index"];

/// The point of one entry; `None` where the walk or this function has reported why not.
pub(super) fn build(entry: &Entry, orders: (Order, Order), report: &mut Report<'_>) -> Option<Point> {
    let node = &entry.value;
    let name: Name = entry.key.parse().ok()?;
    let (table, address) = location(node)?;
    let format = format(node, &name, table, report)?;
    let (word_order, byte_order) = given_orders(Some(node));
    let words = words(node, &name, format, report);
    let is_number = is_number(format) && words.is_empty() && node.get("bit").is_none();
    if !is_number {
        refuse_number_keys(node, &name, report);
    }
    let meaning = meaning(node, &name, is_number, report)?;
    let values = Values::read(node, &name, &meaning, report)?;
    Some(Point {
        table,
        address,
        format,
        // A meter's rule for numbers is none for text, which stands in reading order everywhere.
        word_order: word_order.unwrap_or(if matches!(format, Format::Text(_)) {
            Order::Big
        } else {
            orders.0
        }),
        byte_order: byte_order.unwrap_or(orders.1),
        scale: values.scale,
        offset: values.offset,
        resolution: values.resolution,
        quantity: meaning.quantity.name.to_owned(),
        unit: meaning.unit,
        phase: text(node, "phase"),
        direction: text(node, "direction"),
        range: values.range,
        invalid: sentinels(node, &name, format, report),
        words,
        bit: node.get("bit").and_then(whole),
        index: flag(node, "index"),
        every: scalar_of(node, "every").and_then(|s| format::every(s).ok()),
        unverified: flag(node, "unverified"),
        name,
    })
}

fn flag(node: &Node, key: &str) -> bool {
    scalar_of(node, key).and_then(scalar::flag).unwrap_or(false)
}

fn location(node: &Node) -> Option<(Table, u16)> {
    let tables = [
        ("holding", Table::HoldingRegister),
        ("input", Table::InputRegister),
        ("coil", Table::Coil),
        ("discrete", Table::DiscreteInput),
    ];
    if let Some(register) = scalar_of(node, "register") {
        return address::register(register).ok();
    }
    let (key, table) = tables.into_iter().find(|(key, _)| node.get(key).is_some())?;
    whole(node.get(key)?).map(|address| (table, address))
}

fn format(node: &Node, name: &Name, table: Table, report: &mut Report<'_>) -> Option<Format> {
    let bit = node.entry("bit");
    if let (true, Some(bit)) = (table.is_bits(), bit) {
        report.at(&bit.at, format!("`{name}`: a coil or discrete input is one bit already; leave out `bit`"));
        return None;
    }
    let Some(given) = node.get("type") else {
        if table.is_bits() {
            return Some(Format::Bool);
        }
        if bit.is_some() {
            return Some(Format::Bits);
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
    if bit.is_none() {
        return Some(format);
    }
    if matches!(format, Format::Bits | Format::U16 | Format::Bool) {
        return Some(Format::Bits);
    }
    report.at(
        &given.place,
        format!("`{name}`: `bit` picks from one register: `type: bits`, found {}", given.found()),
    );
    None
}

fn is_number(format: Format) -> bool {
    !matches!(format, Format::Bool | Format::Text(_) | Format::Bits)
}

fn refuse_number_keys(node: &Node, name: &Name, report: &mut Report<'_>) {
    for entry in node.entries().iter().filter(|entry| NUMBERS_ONLY.contains(&entry.key.as_str())) {
        report
            .at(&entry.at, format!("`{name}`: `{}` has no meaning for a flag, a text or a code", entry.key));
    }
}

/// What is measured and how its unit becomes the canonical one.
struct Meaning {
    quantity: &'static Quantity,
    unit: String,
    conversion: Conversion,
}

const AS_IT_IS: Conversion = Conversion { ratio: Ratio::ONE, offset: Decimal::ZERO, exact: true };

fn meaning(node: &Node, name: &Name, is_number: bool, report: &mut Report<'_>) -> Option<Meaning> {
    let word = scalar_of(node, "quantity").map_or(quantity::OTHER, |s| s.text.as_str());
    let quantity = quantity::find(word)?;
    let given = node.entry("unit").and_then(|entry| Some((entry, entry.value.scalar()?)));
    let spelled = given.map(|(_, scalar)| scalar.text.trim());
    if !is_number {
        if let (Some((entry, _)), false) = (given, spelled == Some("1")) {
            report.at(&entry.at, format!("`{name}`: a flag, a text or a code has no unit"));
        }
        return Some(Meaning { quantity, unit: String::new(), conversion: AS_IT_IS });
    }
    if quantity.is_other() {
        return Some(Meaning {
            quantity,
            unit: spelled.unwrap_or_default().to_owned(),
            conversion: AS_IT_IS,
        });
    }
    let unit = quantity.unit.to_owned();
    let Some(spelled) = spelled else {
        if quantity.is_plain() {
            return Some(Meaning { quantity, unit, conversion: AS_IT_IS });
        }
        let units: Vec<_> = quantity.units().collect();
        report.at_with_help(
            &node.place,
            format!("`unit` is missing in `{name}`: which unit does the meter use for {word}?"),
            format!("one of {}", units.join(", ")),
        );
        return None;
    };
    let Some(conversion) = quantity.conversion(spelled) else {
        if let Some((entry, _)) = given {
            wrong_unit(&entry.value.place, name, quantity, spelled, report);
        }
        return None;
    };
    Some(Meaning { quantity, unit, conversion })
}

fn wrong_unit(place: &Place, name: &Name, quantity: &Quantity, spelled: &str, report: &mut Report<'_>) {
    let units: Vec<_> = quantity.units().collect();
    let message = format!("`{name}`: `{}` is no unit of {}", spelled.escape_debug(), quantity.name);
    let near = units.iter().copied().find(|unit| unit.eq_ignore_ascii_case(spelled));
    let near = near.or_else(|| nearest(spelled, units.iter().copied()));
    let help = match near {
        Some(near) => format!("did you mean `{near}`? (one of {})", units.join(", ")),
        None => format!("one of {}; or `quantity: other`, which takes any unit", units.join(", ")),
    };
    report.at_with_help(place, message, help);
}

/// The numbers of a point, in the canonical unit.
struct Values {
    scale: Ratio,
    offset: Decimal,
    resolution: Option<Decimal>,
    range: Option<(Decimal, Decimal)>,
}

impl Values {
    fn read(node: &Node, name: &Name, meaning: &Meaning, report: &mut Report<'_>) -> Option<Values> {
        let conversion = &meaning.conversion;
        let too_large = |report: &mut Report<'_>, key: &str| {
            let place = node.get(key).map_or(&node.place, |n| &n.place);
            report.at(place, format!("`{name}`: `{key}` has more digits than can be kept exactly"));
        };
        let given = scalar_of(node, "scale").map_or(Ok(Ratio::ONE), scalar::ratio).ok()?;
        let Ok(scale) = given.checked_mul(conversion.ratio) else {
            too_large(report, "scale");
            return None;
        };
        let offset = scalar_of(node, "offset").map_or(Ok(Decimal::ZERO), scalar::decimal).ok()?;
        let Ok(offset) = canonical(offset, conversion) else {
            too_large(report, "offset");
            return None;
        };
        Some(Values {
            scale,
            offset,
            resolution: resolution(node, name, conversion, report),
            range: range(node, name, conversion, report),
        })
    }
}

fn canonical(value: Decimal, conversion: &Conversion) -> Result<Decimal, crate::model::decimal::NumberError> {
    value.scaled(conversion.ratio)?.checked_add(conversion.offset)
}

/// In the canonical unit. Where that has no finite decimal (0.1 °F is a repeating number of °C),
/// the next smaller power of ten, so that rounding can hide the conversion's own error.
fn resolution(node: &Node, name: &Name, conversion: &Conversion, report: &mut Report<'_>) -> Option<Decimal> {
    let Some(given) = node.get("resolution") else {
        return if conversion.exact { None } else { Some(Decimal::new(1, -9)) };
    };
    let step = scalar::decimal(given.scalar()?).ok()?;
    if step <= Decimal::ZERO {
        report.at(
            &given.place,
            format!("`{name}`: `resolution` is a step above zero, found {}", given.found()),
        );
        return None;
    }
    let step = step.scaled(conversion.ratio).ok()?;
    if conversion.exact { Some(step) } else { Some(power_of_ten_below(step)) }
}

fn power_of_ten_below(step: Decimal) -> Decimal {
    let digits = step.mantissa().unsigned_abs().checked_ilog10().unwrap_or(0);
    Decimal::new(1, step.exponent().saturating_add(i32::try_from(digits).unwrap_or(0)))
}

fn range(
    node: &Node,
    name: &Name,
    conversion: &Conversion,
    report: &mut Report<'_>,
) -> Option<(Decimal, Decimal)> {
    let given = node.get("range")?;
    let [least, most] = given.items() else { return None };
    let number = |node: &Node| scalar::decimal(node.scalar()?).ok();
    let (low, high) = (number(least)?, number(most)?);
    if low >= high {
        let message = format!("`{name}`: `range` is [least, most], found [{low}, {high}]");
        report.at(&given.place, message);
        return None;
    }
    Some((canonical(low, conversion).ok()?, canonical(high, conversion).ok()?))
}

/// How many bits a raw value of this format has.
fn width(format: Format) -> u32 {
    match format {
        Format::Bool => 1,
        Format::U16 | Format::S16 | Format::Bcd16 | Format::Bits => 16,
        Format::U32 | Format::S32 | Format::F32 | Format::Bcd32 => 32,
        Format::U64 | Format::S64 | Format::F64 => 64,
        Format::Text(_) => 0,
    }
}

fn sentinels(node: &Node, name: &Name, format: Format, report: &mut Report<'_>) -> Vec<Sentinel> {
    let Some(entry) = node.entry("invalid") else { return Vec::new() };
    if matches!(format, Format::Text(_) | Format::Bool) {
        report.at(&entry.at, format!("`{name}`: `invalid` has no meaning for a flag or a text"));
        return Vec::new();
    }
    let mut found = Vec::new();
    for item in entry.value.items() {
        match sentinel(item, format) {
            Ok(sentinel) => found.extend(sentinel),
            Err(why) => report.at(&item.place, format!("`{name}`: `invalid` value {} {why}", item.found())),
        }
    }
    found
}

/// A raw value as bits: hexadecimal is bits already, decimal is a number of the point's type.
fn sentinel(item: &Node, format: Format) -> Result<Option<Sentinel>, String> {
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
    let bits = width(format);
    let signed = matches!(format, Format::S16 | Format::S32 | Format::S64);
    let least = if signed && !hexadecimal { -(1i128 << (bits - 1)) } else { 0 };
    let most = if signed && !hexadecimal { (1i128 << (bits - 1)) - 1 } else { (1i128 << bits) - 1 };
    if !(least..=most).contains(&n) {
        return Err(format!("does not fit the type: {least} to {most}, or 0x… for the bits as they are"));
    }
    let raw = u64::try_from(n & ((1i128 << bits) - 1)).map_err(|_| String::new())?;
    let raw =
        if matches!(format, Format::Bcd16 | Format::Bcd32) && !hexadecimal { bcd(raw, bits)? } else { raw };
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

fn words(node: &Node, name: &Name, format: Format, report: &mut Report<'_>) -> Vec<(u64, Arc<str>)> {
    let Some(entry) = node.entry("enum") else { return Vec::new() };
    if matches!(format, Format::F32 | Format::F64 | Format::Text(_) | Format::Bool)
        || node.get("bit").is_some()
    {
        report.at(&entry.at, format!("`{name}`: `enum` is for whole numbers (u16, s16, u32 …)"));
        return Vec::new();
    }
    let mut words: Vec<(u64, Arc<str>)> = Vec::new();
    for word in entry.value.entries() {
        let Ok(code) = scalar::code(&word.key) else { continue };
        if width(format) < 64 && code >> width(format) != 0 {
            report.at(&word.at, format!("`{name}`: code {} does not fit the type", word.key));
        } else if words.iter().any(|(known, _)| *known == code) {
            report.at(&word.at, format!("`{name}`: code {} is already given", word.key));
        } else if let Some(scalar) = word.value.scalar() {
            words.push((code, Arc::from(scalar.text.as_str())));
        }
    }
    words
}
