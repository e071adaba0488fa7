//! One point of a profile: address, format, and how its number becomes a value in the canonical unit.

use super::address;
use super::format;
use super::octets::{self, Pick};
use super::read::{given_orders, scalar_of, text, whole};
use super::yaml::{Entry, Node, Place, Report, nearest, scalar};
use super::{DateForm, Format, Order, Point, Table, Write};
use crate::model::quantity::{self, Conversion, Quantity};
use crate::model::{Decimal, Name, Ratio};

/// What a flag, a text or a code has no use for.
const NUMBERS_ONLY: &[&str] = &[
    "scale",
    "scale_by",
    "sign_by",
    "unit_by",
    "plus",
    "negative_from",
    "offset",
    "resolution",
    "range",
    "index",
    "rollover",
    "total",
];

/// The points of one entry: one, or as many as it has flags; none where the walk or this function has reported
/// why not. What they owe to others is left to [`links`](super::links).
pub(super) fn build(entry: &Entry, orders: (Order, Order), report: &mut Report<'_>) -> Vec<Point> {
    let Some(name) = entry.key.parse::<Name>().ok() else { return Vec::new() };
    let Some(pick) = octets::pick(&entry.value, &name, report) else { return Vec::new() };
    let Some(point) = one(&entry.value, &name, &pick, orders, report) else { return Vec::new() };
    let Pick::Flags(flags) = pick else { return vec![point] };
    let flag = |flag: &Entry| {
        let bit = scalar::code(&flag.key).ok().and_then(|bit| u8::try_from(bit).ok())?;
        let name = format!("{name}_{}", flag.value.scalar()?.text).parse().ok()?;
        Some(Point { name, bit: Some(bit), ..point.clone() })
    };
    flags.iter().filter_map(flag).collect()
}

fn one(
    node: &Node,
    name: &Name,
    pick: &Pick<'_>,
    orders: (Order, Order),
    report: &mut Report<'_>,
) -> Option<Point> {
    let (table, address) = location(node)?;
    let format = octets::format(node, name, table, pick, report)?;
    let (bit, bits) = match pick {
        Pick::All | Pick::Flags(_) => (None, None),
        Pick::Bit(bit) => (Some(*bit), None),
        Pick::Field(field) => (None, Some(*field)),
    };
    let (word_order, byte_order) = given_orders(Some(node));
    let words = octets::words(node, name, format, bits, report);
    let is_number = matches!(pick, Pick::Field(_)) || matches!(pick, Pick::All) && is_number(format);
    let is_number = is_number && node.get("enum").is_none();
    if !is_number {
        refuse_number_keys(node, name, report);
    }
    let meaning = meaning(node, name, is_number, report)?;
    let values = Values::read(node, name, &meaning, report)?;
    Some(Point {
        // A meter's rule for numbers is none for text, which stands in reading order everywhere.
        word_order: word_order.unwrap_or(if in_reading_order(format) { Order::Big } else { orders.0 }),
        byte_order: byte_order.unwrap_or(orders.1),
        scale: values.scale,
        offset: values.offset,
        resolution: values.resolution,
        quantity: meaning.quantity.name.to_owned(),
        unit: meaning.unit,
        phase: text(node, "phase"),
        direction: text(node, "direction"),
        range: values.range,
        invalid: octets::sentinels(node, name, format, bits, report),
        words,
        bit,
        bits,
        negative_from: negative_from(node, name, format, bits.is_some(), report),
        index: flag(node, "index"),
        rollover: values.rollover,
        total: total(node, name, report),
        internal: flag(node, "internal"),
        write: write(node, name, table, is_number, &meaning.conversion, report),
        every: scalar_of(node, "every").and_then(|s| format::every(s).ok()),
        unverified: flag(node, "unverified"),
        ..Point::new(name.clone(), table, address, format)
    })
}

fn in_reading_order(format: Format) -> bool {
    matches!(format, Format::Text(_)) || matches!(format, Format::Date(form) if form != DateForm::Unix)
}

fn negative_from(
    node: &Node,
    name: &Name,
    format: Format,
    field: bool,
    report: &mut Report<'_>,
) -> Option<u64> {
    let given = node.entry("negative_from")?;
    let unsigned = matches!(
        format,
        Format::U16 | Format::U32 | Format::U64 | Format::Bcd16 | Format::Bcd32 | Format::Bcd64
    );
    if !(unsigned || field && format == Format::Bits) {
        report.at(&given.at, format!("`{name}`: `negative_from` is for unsigned whole numbers (u16, u32 …)"));
        return None;
    }
    whole(&given.value)
}

fn total(node: &Node, name: &Name, report: &mut Report<'_>) -> bool {
    for key in ["total", "rollover"] {
        if let (Some(given), false) = (node.entry(key), flag(node, "index")) {
            report.at(&given.at, format!("`{name}`: `{key}` is for counters: add `index: true`"));
        }
    }
    flag(node, "total")
}

fn write(
    node: &Node,
    name: &Name,
    table: Table,
    is_number: bool,
    conversion: &Conversion,
    report: &mut Report<'_>,
) -> Option<Write> {
    let given = node.entry("write")?;
    if matches!(table, Table::InputRegister | Table::DiscreteInput) {
        let message = format!(
            "`{name}`: nothing can be written to an `{}`; it is for `holding` and `coil`",
            table.word()
        );
        report.at(&given.at, message);
        return None;
    }
    let node = &given.value;
    let numbers = node.entries().iter().find(|entry| ["min", "max", "step"].contains(&entry.key.as_str()));
    if let (Some(entry), false) = (numbers, is_number) {
        report
            .at(&entry.at, format!("`{name}`: `{}` has no meaning for a flag, a text or a code", entry.key));
        return None;
    }
    let number = |key: &str| scalar_of(node, key).and_then(|s| scalar::decimal(s).ok());
    let bound = |key: &str| number(key).and_then(|n| canonical(n, conversion).ok());
    if let (Some(least), Some(most), Some(at)) = (number("min"), number("max"), node.entry("max"))
        && least >= most
    {
        report.at(&at.value.place, format!("`{name}`: `max` is above `min`, found {most} after {least}"));
    }
    if let (Some(step), Some(at)) = (number("step"), node.entry("step"))
        && step <= Decimal::ZERO
    {
        report.at(&at.value.place, format!("`{name}`: `step` is above zero, found {step}"));
    }
    let multiple = scalar_of(node, "function").is_some_and(|word| word.text == "multiple");
    let step = number("step").and_then(|step| step.scaled(conversion.ratio).ok());
    Some(Write { least: bound("min"), most: bound("max"), step, multiple })
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

pub(super) fn is_number(format: Format) -> bool {
    !matches!(format, Format::Bool | Format::Text(_) | Format::Bits | Format::Date(_))
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
    if let (true, Some(by)) = (quantity.is_other(), node.entry("unit_by")) {
        report.at(&by.at, format!("`{name}`: `unit_by` needs a `quantity`, whose units are known"));
        return None;
    }
    if quantity.is_other() {
        return Some(Meaning {
            quantity,
            unit: spelled.unwrap_or_default().to_owned(),
            conversion: AS_IT_IS,
        });
    }
    let unit = quantity.unit.to_owned();
    if let Some(by) = node.entry("unit_by") {
        if given.is_some() {
            let message = format!("`{name}`: both `unit` and `unit_by`: which of them says the unit?");
            report.at(&by.at, message);
        }
        return Some(Meaning { quantity, unit, conversion: AS_IT_IS });
    }
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
    rollover: Option<Decimal>,
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
            rollover: rollover(node, name, conversion, report),
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

/// A counter has no offset: its span is scaled alone.
fn rollover(node: &Node, name: &Name, conversion: &Conversion, report: &mut Report<'_>) -> Option<Decimal> {
    let given = node.get("rollover")?;
    let span = scalar::decimal(given.scalar()?).ok()?;
    if span <= Decimal::ZERO {
        report.at(&given.place, format!("`{name}`: `rollover` is above zero, found {}", given.found()));
        return None;
    }
    span.scaled(conversion.ratio).ok()
}

pub(super) fn power_of_ten_below(step: Decimal) -> Decimal {
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
