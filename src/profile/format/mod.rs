//! The table of a profile's keys: what the reader checks and what the JSON Schema says.

mod point;
mod rules;
mod types;

use super::yaml::scalar::{DECIMAL, DURATION, NAME, TEXT};
use super::yaml::table::{Key, Kind, Table, Word};
use point::POINT;
use rules::{HOLE, TIMEOUT};

pub use rules::{EVERY, TIMEOUTS, every};
pub(super) use rules::{field, is_nan};
pub(super) use types::format_of;
pub use types::{TYPES, type_word};

const ADDRESS: Kind = Kind::Whole { least: 0, most: 65_535 };

/// A whole profile file.
pub static PROFILE: Table = Table {
    what: "a profile",
    doc: "What one meter model offers: its registers, and how it wants to be asked.",
    keys: &[
        Key::new("profile", Kind::Whole { least: 1, most: 1 }, "version of this format: 1").required(),
        Key::new("vendor", Kind::Scalar(&TEXT), "who makes it").example(r#""Eastron""#).required(),
        Key::new("model", Kind::Scalar(&TEXT), "the model's name as on its label")
            .example(r#""SDM630-Modbus V2""#)
            .required(),
        Key::new("kind", Kind::Word(KINDS), "what sort of meter it is").required(),
        Key::new(
            "sources",
            Kind::List { of: &Kind::Scalar(&TEXT), least: 1, most: 64 },
            "where the facts come from: manuals with version and section",
        )
        .example(r#"["Eastron SDM630-Modbus V2 manual v2.0, section 5"]"#),
        Key::new("serial", Kind::Table(&SERIAL), "serial settings as they leave the factory"),
        Key::new("unit_id", Kind::Whole { least: 1, most: 247 }, "unit id as it leaves the factory"),
        Key::new("modbus", Kind::Table(&MODBUS), "how this model wants to be asked"),
        Key::new(
            "identify",
            Kind::List { of: &Kind::Table(&FINGERPRINT), least: 1, most: 16 },
            "registers that tell this model from others; all must hold",
        ),
        Key::new(
            "parameters",
            Kind::Named { what: "parameters", of: &Kind::Table(&PARAMETER) },
            "what the installation adds and the meter does not say (a current transformer's ratio); the \
             configuration's device gives them their values",
        )
        .example(r#"{"ct_ratio":{"default":1,"min":1,"max":10000,"about":"primary by secondary current"}}"#),
        Key::new(
            "identity",
            Kind::Scalar(&NAME),
            "the point that tells one meter of this model from another; `serial_number` where there is one",
        )
        .example(r#""serial_number""#),
        Key::new(
            "points",
            Kind::Named { what: "points", of: &Kind::Table(&POINT) },
            "what can be read, by name",
        )
        .example(r#"{"voltage_l1":{"input":0,"type":"f32","quantity":"voltage","unit":"V","phase":"l1"}}"#)
        .required(),
    ],
    exactly_one: &[],
};

static SERIAL: Table = Table {
    what: "`serial`",
    doc: "Serial settings as they leave the factory.",
    keys: &[
        Key::new("baud", BAUD, "bits per second").example(r#"9600"#).required(),
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
        )
        .example(r#"80"#),
        Key::new("align", Kind::Whole { least: 1, most: 125 }, "reads begin at a multiple of this")
            .example(r#"2"#),
        Key::new(
            "holes",
            Kind::List { of: &Kind::Scalar(&HOLE), least: 0, most: 1000 },
            "addresses that must not be read, not even in passing",
        )
        .example(r#"["108-199",300]"#),
        Key::new("min_gap", Kind::Scalar(&DURATION), "silence that the meter needs before the next request")
            .example(r#""20ms""#),
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
        )
        .example(r#""400ms""#),
    ],
    exactly_one: &[],
};

static FINGERPRINT: Table = Table {
    what: "a fingerprint",
    doc: "A register and what it holds on this model.",
    keys: &[
        Key::new("holding", ADDRESS, "holding register, zero-based"),
        Key::new("input", ADDRESS, "input register, zero-based"),
        Key::new("equals", Kind::Whole { least: 0, most: 65_535 }, "what the register holds")
            .example(r#"341"#)
            .required(),
    ],
    exactly_one: &[&["holding", "input"]],
};

static PARAMETER: Table = Table {
    what: "a parameter",
    doc: "A number that the installation adds: a transformer's ratio, litres a pulse.",
    keys: &[
        Key::new(
            "default",
            Kind::Scalar(&DECIMAL),
            "its value unless the configuration gives another; without \
             one the configuration has to",
        )
        .example(r#"1"#),
        Key::new("min", Kind::Scalar(&DECIMAL), "the least that makes sense").example(r#"1"#),
        Key::new("max", Kind::Scalar(&DECIMAL), "the most that makes sense").example(r#"10000"#),
        Key::new("about", Kind::Scalar(&TEXT), "what it is and where it is found, in a sentence")
            .example(r#""primary by secondary current, on the transformer's label""#),
    ],
    exactly_one: &[],
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
