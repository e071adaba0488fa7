//! The table of a profile's keys: what the reader checks and what the JSON Schema says.

use super::yaml::scalar::{self, DECIMAL, DURATION, RATIO, TEXT};
use super::yaml::table::{Key, Kind, ScalarRule, Table, Word};
use super::{Every, Format, address};
use crate::model::quantity;
use crate::profile::yaml::{Scalar, nearest};
use std::ops::RangeInclusive;
use std::time::Duration;

const ADDRESS: Kind = Kind::Whole { least: 0, most: 65_535 };
const ONE_PLACE: &[&str] = &["holding", "input", "coil", "discrete", "register"];

/// A whole profile file.
pub static PROFILE: Table = Table {
    what: "a profile",
    doc: "What one meter model offers: its registers, and how it wants to be asked.",
    keys: &[
        Key::new("profile", Kind::Whole { least: 1, most: 1 }, "version of this format: 1").required(),
        Key::new("vendor", Kind::Scalar(&TEXT), "who makes it").required(),
        Key::new("model", Kind::Scalar(&TEXT), "the model's name as on its label").required(),
        Key::new("kind", Kind::Word(KINDS), "what sort of meter it is").required(),
        Key::new(
            "sources",
            Kind::List { of: &Kind::Scalar(&TEXT), least: 1, most: 64 },
            "where the facts come from: manuals with version and section",
        ),
        Key::new("serial", Kind::Table(&SERIAL), "serial settings as they leave the factory"),
        Key::new("unit_id", Kind::Whole { least: 1, most: 247 }, "unit id as it leaves the factory"),
        Key::new("modbus", Kind::Table(&MODBUS), "how this model wants to be asked"),
        Key::new(
            "identify",
            Kind::List { of: &Kind::Table(&FINGERPRINT), least: 1, most: 16 },
            "registers that tell this model from others; all must hold",
        ),
        Key::new(
            "points",
            Kind::Named { what: "points", of: &Kind::Table(&POINT) },
            "what can be read, by name",
        )
        .required(),
    ],
    exactly_one: &[],
};

static SERIAL: Table = Table {
    what: "`serial`",
    doc: "Serial settings as they leave the factory.",
    keys: &[
        Key::new("baud", BAUD, "bits per second").required(),
        Key::new("parity", Kind::Word(PARITIES), "parity; none unless said otherwise"),
        Key::new("stop_bits", Kind::Whole { least: 1, most: 2 }, "stop bits; 1 unless said otherwise"),
    ],
    exactly_one: &[],
};

/// What serial ports of the field can do.
pub const BAUD: Kind = Kind::Whole { least: 300, most: 4_000_000 };

static MODBUS: Table = Table {
    what: "`modbus`",
    doc: "How this model wants to be asked.",
    keys: &[
        Key::new("word_order", Kind::Word(ORDERS), "which register of several comes first"),
        Key::new("byte_order", Kind::Word(ORDERS), "which octet within a register comes first"),
        Key::new(
            "max_registers",
            Kind::Whole { least: 1, most: 125 },
            "most registers in one read; 125 unless said otherwise",
        ),
        Key::new("align", Kind::Whole { least: 1, most: 125 }, "reads begin at a multiple of this"),
        Key::new(
            "holes",
            Kind::List { of: &Kind::Scalar(&HOLE), least: 0, most: 1000 },
            "addresses that must not be read, not even in passing",
        ),
        Key::new("min_gap", Kind::Scalar(&DURATION), "silence that the meter needs before the next request"),
        Key::new(
            "diagnostics",
            Kind::Flag,
            "true: it answers function 08, Return Query Data; false unless said otherwise",
        ),
        Key::new(
            "timeout",
            Kind::Scalar(&TIMEOUT),
            "longest wait for a reply, unless the configuration says otherwise",
        ),
        Key::new(
            "min_timeout",
            Kind::Scalar(&TIMEOUT),
            "shortest wait for a reply, unless the configuration says otherwise",
        ),
    ],
    exactly_one: &[],
};

static FINGERPRINT: Table = Table {
    what: "a fingerprint",
    doc: "A register and what it holds on this model.",
    keys: &[
        Key::new("holding", ADDRESS, "holding register, zero-based"),
        Key::new("input", ADDRESS, "input register, zero-based"),
        Key::new("equals", Kind::Whole { least: 0, most: 65_535 }, "what the register holds").required(),
    ],
    exactly_one: &[&["holding", "input"]],
};

static POINT: Table = Table {
    what: "a point",
    doc: "One thing to read.",
    keys: &[
        Key::new("holding", ADDRESS, "holding register, zero-based as on the wire"),
        Key::new("input", ADDRESS, "input register, zero-based as on the wire"),
        Key::new("coil", ADDRESS, "coil, zero-based as on the wire"),
        Key::new("discrete", ADDRESS, "discrete input, zero-based as on the wire"),
        Key::new(
            "register",
            Kind::Scalar(&REGISTER),
            "5- or 6-digit notation of manuals, 1-based: 40001 is holding register 0",
        ),
        Key::new(
            "type",
            Kind::Scalar(&TYPE),
            "how the octets stand for a value; bool for coils and discrete inputs",
        ),
        Key::new(
            "word_order",
            Kind::Word(ORDERS),
            "which register of several comes first, where it differs from the meter's rule",
        ),
        Key::new(
            "byte_order",
            Kind::Word(ORDERS),
            "which octet within a register comes first, where it differs",
        ),
        Key::new(
            "scale",
            Kind::Scalar(&RATIO),
            "value = raw × scale + offset, in `unit`; an exact decimal or fraction",
        ),
        Key::new("scale_by", Kind::Anything, "another register or a device parameter that scales too")
            .later("values are scaled by `scale` alone"),
        Key::new("offset", Kind::Scalar(&DECIMAL), "added after scale, in `unit`"),
        Key::new(
            "unit",
            Kind::Scalar(&UNIT),
            "the engineering unit that the meter uses; readings leave in the quantity's canonical unit",
        ),
        Key::new(
            "quantity",
            Kind::Scalar(&QUANTITY),
            "what is measured; `other` takes any unit and is never converted",
        ),
        Key::new("phase", Kind::Word(PHASES), "which conductor or pair of them"),
        Key::new("direction", Kind::Word(DIRECTIONS), "which way it flows"),
        Key::new(
            "resolution",
            Kind::Scalar(&DECIMAL),
            "the smallest step, in `unit`; readings are rounded to it",
        ),
        Key::new(
            "range",
            Kind::List { of: &Kind::Scalar(&DECIMAL), least: 2, most: 2 },
            "what the meter can measure, in `unit`: [least, most]",
        ),
        Key::new(
            "invalid",
            Kind::List { of: &Kind::Scalar(&INVALID), least: 1, most: 16 },
            "raw values that mean: no value here",
        ),
        Key::new("index", Kind::Flag, "a counter that only rises"),
        Key::new("enum", Kind::Codes { of: &Kind::Scalar(&TEXT) }, "the word for each raw code"),
        Key::new("bit", Kind::Whole { least: 0, most: 15 }, "one bit of a register, as a flag"),
        Key::new("bits", Kind::Anything, "several bits of a register")
            .later("read single bits with `bit`, or all sixteen with `type: bits`"),
        Key::new(
            "every",
            Kind::Scalar(&EVERY),
            "how often to read it, unless the configuration says otherwise",
        ),
        Key::new("write", Kind::Anything, "what could be written").later("nothing is written to meters"),
        Key::new("unverified", Kind::Flag, "not confirmed by a second source"),
    ],
    exactly_one: &[ONE_PLACE],
};

macro_rules! words {
    ($($word:literal),* $(,)?) => { &[$(Word::new($word, "")),*] };
}

static KINDS: &[Word] = words![
    "energy-meter",
    "pressure",
    "temperature",
    "humidity",
    "moisture",
    "flow",
    "level",
    "heat-meter",
    "water-meter",
    "gas-meter",
    "pulse",
    "water-quality",
    "weather",
    "air-quality",
    "inverter",
    "io",
    "other",
];
pub static PARITIES: &[Word] = words!["none", "even", "odd"];
static ORDERS: &[Word] = words!["big", "little"];
static PHASES: &[Word] = words!["l1", "l2", "l3", "n", "l1-n", "l2-n", "l3-n", "l1-l2", "l2-l3", "l3-l1"];
static DIRECTIONS: &[Word] =
    words!["import", "export", "total", "net", "inductive", "capacitive", "forward", "reverse"];

static TYPE: ScalarRule = ScalarRule {
    expected: "one of bool, u16, s16, u32, s32, u64, s64, f32, f64, bcd16, bcd32, bits, string:N",
    check: |s| format_of(s).map(|_| ()),
    types: &["string"],
    pattern: Some("^(bool|u16|s16|u32|s32|u64|s64|f32|f64|bcd16|bcd32|bits|string:[0-9]+)$"),
    words: None,
    limits: None,
};
static REGISTER: ScalarRule = ScalarRule {
    expected: "5 or 6 digits as in manuals (40001, 400001)",
    check: |s| address::register(s).map(|_| ()),
    types: &["integer", "string"],
    pattern: Some("^[0134][0-9]{4,5}$"),
    words: None,
    limits: None,
};
static HOLE: ScalarRule = ScalarRule {
    expected: "an address or a range of them (\"108-199\")",
    check: |s| address::hole(s).map(|_| ()),
    types: &["string", "integer"],
    pattern: Some("^[0-9]+( *- *[0-9]+)?$"),
    words: None,
    limits: None,
};
static UNIT: ScalarRule = ScalarRule {
    expected: "a unit",
    check: |_| Ok(()),
    types: &["string", "integer"],
    pattern: None,
    words: None,
    limits: None,
};
static QUANTITY: ScalarRule = ScalarRule {
    expected: "a quantity",
    check: quantity_known,
    types: &["string"],
    pattern: None,
    words: Some(|| quantity::all().map(|quantity| quantity.name).collect()),
    limits: None,
};
static INVALID: ScalarRule = ScalarRule {
    expected: "a raw value (0x8000, 65535) or nan",
    check: |s| {
        let number =
            scalar::whole(s).map(|_| ()).or_else(|why| scalar::decimal(s).map(|_| ()).map_err(|_| why));
        if is_nan(s) { Ok(()) } else { number }
    },
    types: &["integer", "number", "string"],
    pattern: Some("^([nN][aA][nN]|0x[0-9A-Fa-f]+)$"),
    words: None,
    limits: None,
};
/// Meters of the field answer in 5 to 500 ms; beyond this a line stands still.
pub const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
static TIMEOUT: ScalarRule = ScalarRule {
    expected: "a duration from 10ms to 60s",
    check: timeout,
    types: &["string"],
    pattern: Some("^[0-9]+([.][0-9]+)?(ms|s|m)$"),
    words: None,
    limits: None,
};
/// How often something is read.
pub static EVERY: ScalarRule = ScalarRule {
    expected: "a duration (500ms, 10s, 5m, 1h) or `continuous`",
    check: |s| every(s).map(|_| ()),
    types: &["string"],
    pattern: Some("^([0-9]+([.][0-9]+)?(ms|s|m|h|d)|continuous)$"),
    words: None,
    limits: None,
};

fn timeout(scalar: &Scalar) -> Result<(), String> {
    if TIMEOUTS.contains(&scalar::duration(scalar)?) { Ok(()) } else { Err(String::new()) }
}

/// YAML's own spelling is `.nan`; people write `nan`.
pub(super) fn is_nan(scalar: &Scalar) -> bool {
    matches!(scalar.text.to_ascii_lowercase().as_str(), "nan" | ".nan")
}

fn quantity_known(scalar: &Scalar) -> Result<(), String> {
    if quantity::find(&scalar.text).is_some() {
        return Ok(());
    }
    let near = nearest(&scalar.text, quantity::all().map(|q| q.name));
    let alike: Vec<_> = quantity::all().map(|q| q.name).filter(|name| name.contains(&*scalar.text)).collect();
    Err(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if !alike.is_empty() => format!("did you mean one of {}?", alike.join(", ")),
        None => "the quantities are listed by `linesman schema profile`; `other` takes any unit".to_owned(),
    })
}

/// The types of design 5.3.
pub(super) fn format_of(scalar: &Scalar) -> Result<Format, String> {
    let simple = SIMPLE.iter().find(|(word, _)| *word == scalar.text);
    if let Some((_, format)) = simple {
        return Ok(*format);
    }
    let lower = scalar.text.to_ascii_lowercase();
    if let Some(registers) = lower.strip_prefix("string:") {
        return match registers.parse::<u16>() {
            Ok(n @ 1..=125) => Ok(Format::Text(n)),
            Ok(_) | Err(_) => Err("string:N has 1 to 125 registers of two characters".to_owned()),
        };
    }
    let right = COMMON.iter().find(|(word, _)| *word == lower).map(|(_, right)| *right);
    match right.or_else(|| nearest(&lower, SIMPLE.iter().map(|(word, _)| *word))) {
        Some(near) => Err(format!("did you mean `{near}`?")),
        None => Err(String::new()),
    }
}

static SIMPLE: &[(&str, Format)] = &[
    ("bool", Format::Bool),
    ("u16", Format::U16),
    ("s16", Format::S16),
    ("u32", Format::U32),
    ("s32", Format::S32),
    ("u64", Format::U64),
    ("s64", Format::S64),
    ("f32", Format::F32),
    ("f64", Format::F64),
    ("bcd16", Format::Bcd16),
    ("bcd32", Format::Bcd32),
    ("bits", Format::Bits),
];

/// What manuals and other tools call them.
static COMMON: &[(&str, &str)] = &[
    ("int", "s16"),
    ("int16", "s16"),
    ("i16", "s16"),
    ("uint", "u16"),
    ("uint16", "u16"),
    ("word", "u16"),
    ("int32", "s32"),
    ("i32", "s32"),
    ("uint32", "u32"),
    ("dword", "u32"),
    ("int64", "s64"),
    ("i64", "s64"),
    ("uint64", "u64"),
    ("float", "f32"),
    ("float32", "f32"),
    ("real", "f32"),
    ("double", "f64"),
    ("float64", "f64"),
    ("boolean", "bool"),
    ("bit", "bool"),
    ("string", "string:8"),
    ("bcd", "bcd16"),
];

/// A period, or `continuous`.
pub fn every(scalar: &Scalar) -> Result<Every, String> {
    if scalar.text == "continuous" {
        return Ok(Every::Continuous);
    }
    let period = scalar::duration(scalar)?;
    if period.is_zero() {
        Err("write `continuous` to read without a pause".to_owned())
    } else {
        Ok(Every::Period(period))
    }
}
