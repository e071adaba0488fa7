//! The keys of a point.

use super::rules::{EVERY, FIELD, INVALID, QUANTITY, REGISTER, UNIT};
use super::types::TYPE;
use super::{DIRECTIONS, ORDERS, PHASES};
use crate::profile::yaml::scalar::{DECIMAL, NAME, RATIO, TEXT};
use crate::profile::yaml::table::{Key, Kind, Table, Word};

const ADDRESS: Kind = Kind::Whole { least: 0, most: 65_535 };
const ONE_PLACE: &[&str] = &["holding", "input", "coil", "discrete", "register"];

pub(super) static POINT: Table = Table {
    what: "a point",
    doc: "One thing to read.",
    keys: &[
        Key::new("holding", ADDRESS, "holding register, zero-based as on the wire").example(r#"4096"#),
        Key::new("input", ADDRESS, "input register, zero-based as on the wire"),
        Key::new("coil", ADDRESS, "coil, zero-based as on the wire"),
        Key::new("discrete", ADDRESS, "discrete input, zero-based as on the wire"),
        Key::new(
            "register",
            Kind::Scalar(&REGISTER),
            "5- or 6-digit notation of manuals, 1-based: 40001 is holding register 0",
        )
        .example(r#"40001"#),
        Key::new(
            "type",
            Kind::Scalar(&TYPE),
            "how the octets stand for a value; bool for coils and discrete inputs",
        )
        .example(r#""f32""#),
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
        )
        .example(r#"0.1"#),
        Key::new(
            "scale_by",
            Kind::OneOf(&[
                Kind::Scalar(&NAME),
                Kind::Table(&FACTOR),
                Kind::List {
                    of: &Kind::OneOf(&[Kind::Scalar(&NAME), Kind::Table(&FACTOR)]),
                    least: 1,
                    most: 8,
                },
            ]),
            "what scales it too: a parameter or another point by its name, or several",
        )
        .example(r#"{"point":"current_sf","as":"exponent"}"#),
        Key::new(
            "sign_by",
            Kind::OneOf(&[Kind::Scalar(&NAME), Kind::Table(&SIGN)]),
            "the point that says whether the value is negative: anything but zero says so",
        )
        .example(r#""flow_backward""#),
        Key::new(
            "unit_by",
            Kind::Table(&UNIT_BY),
            "the point whose code says which unit the meter is set to; instead of `unit`",
        )
        .example(r#"{"point":"unit_code","units":{"0":"Pa","1":"kPa"}}"#),
        Key::new(
            "plus",
            Kind::OneOf(&[Kind::Scalar(&NAME), Kind::List { of: &Kind::Scalar(&NAME), least: 1, most: 4 }]),
            "points whose values are added: the fraction of a counter in two parts",
        )
        .example(r#""volume_fraction""#),
        Key::new(
            "negative_from",
            Kind::Whole { least: 1, most: 4_294_967_295 },
            "raw values from this one on are negative: -(raw - this)",
        )
        .example(r#"10000"#),
        Key::new("offset", Kind::Scalar(&DECIMAL), "added after scale, in `unit`").example(r#"-40"#),
        Key::new(
            "unit",
            Kind::Scalar(&UNIT),
            "the engineering unit that the meter uses; readings leave in the quantity's canonical unit",
        )
        .example(r#""kWh""#),
        Key::new(
            "quantity",
            Kind::Scalar(&QUANTITY),
            "what is measured; `other` takes any unit and is never converted",
        )
        .example(r#""active-energy""#),
        Key::new("phase", Kind::Word(PHASES), "which conductor or pair of them"),
        Key::new("direction", Kind::Word(DIRECTIONS), "which way it flows"),
        Key::new(
            "resolution",
            Kind::Scalar(&DECIMAL),
            "the smallest step, in `unit`; readings are rounded to it",
        )
        .example(r#"0.1"#),
        Key::new(
            "range",
            Kind::List { of: &Kind::Scalar(&DECIMAL), least: 2, most: 2 },
            "what the meter can measure, in `unit`: [least, most]",
        )
        .example(r#"[-40, 85]"#),
        Key::new(
            "invalid",
            Kind::List {
                of: &Kind::OneOf(&[Kind::Scalar(&INVALID), Kind::Table(&SENTINEL)]),
                least: 1,
                most: 16,
            },
            "raw values that mean: no value here",
        )
        .example(r#"[32768, {"raw":32767,"reason":"sensor-fault"}]"#),
        Key::new("index", Kind::Flag, "a counter that only rises"),
        Key::new(
            "rollover",
            Kind::Scalar(&DECIMAL),
            "where the counter begins again at zero, in `unit`; the span of its type unless said otherwise",
        )
        .example(r#"1000000"#),
        Key::new(
            "total",
            Kind::Flag,
            "true: beside the counter, as `<point>_total`, one that goes on over rollover and reset",
        ),
        Key::new("enum", Kind::Codes { of: &Kind::Scalar(&TEXT) }, "the word for each raw code")
            .example(r#"{"0":"off","1":"heating"}"#),
        Key::new("bit", Kind::Whole { least: 0, most: 63 }, "one bit, as a flag; 0 is the lowest")
            .example(r#"3"#),
        Key::new(
            "bits",
            Kind::OneOf(&[Kind::Scalar(&FIELD), Kind::Codes { of: &Kind::Scalar(&NAME) }]),
            "several bits, as a number or a code: \"4-7\", 0 is the lowest; or flags by their bits, each a \
             point `<this>_<name>`",
        )
        .example(r#""4-7""#),
        Key::new(
            "every",
            Kind::Scalar(&EVERY),
            "how often to read it, unless the configuration says otherwise",
        )
        .example(r#""60s""#),
        Key::new(
            "internal",
            Kind::Flag,
            "true: read for other points only, not part of the readings unless it is bad",
        ),
        Key::new(
            "write",
            Kind::Table(&WRITE),
            "what could be written; nothing is, unless the owner allows it",
        )
        .example(r#"{"min":5,"max":30,"step":0.5}"#),
        Key::new("unverified", Kind::Flag, "not confirmed by a second source"),
    ],
    exactly_one: &[ONE_PLACE],
};

static FACTOR: Table = Table {
    what: "a factor",
    doc: "A parameter or another point that scales a value.",
    keys: &[
        Key::new("point", Kind::Scalar(&NAME), "a point of this profile, by its name")
            .example(r#""current_sf""#),
        Key::new("parameter", Kind::Scalar(&NAME), "a parameter of this profile, by its name")
            .example(r#""ct_ratio""#),
        Key::new("holding", Kind::Anything, "").never(NO_ADDRESS),
        Key::new("input", Kind::Anything, "").never(NO_ADDRESS),
        Key::new("as", Kind::Word(HOWS), "how it scales; `factor` unless said otherwise"),
    ],
    exactly_one: &[&["point", "parameter"]],
};

const NO_ADDRESS: &str =
    "give the register a point of its own (with `internal: true`) and name that: `point: …`";

pub static HOWS: &[Word] = &[
    Word::new("factor", "value = raw × it"),
    Word::new("divisor", "value = raw ÷ it"),
    Word::new("exponent", "value = raw × 10^it; it may be negative (SunSpec's scale factors)"),
    Word::new("decimals", "value = raw ÷ 10^it: how many digits stand behind the point"),
];

static SIGN: Table = Table {
    what: "`sign_by`",
    doc: "Another point that says which way it flows.",
    keys: &[
        Key::new("point", Kind::Scalar(&NAME), "a point of this profile, by its name")
            .example(r#""flow_backward""#)
            .required(),
        Key::new(
            "negative",
            Kind::List { of: &CODE, least: 1, most: 16 },
            "its values that mean negative; anything but zero unless said otherwise",
        )
        .example(r#"[2]"#),
    ],
    exactly_one: &[],
};

const CODE: Kind = Kind::Whole { least: -32_768, most: 65_535 };

static UNIT_BY: Table = Table {
    what: "`unit_by`",
    doc: "Another point whose code says which unit the meter is set to.",
    keys: &[
        Key::new("point", Kind::Scalar(&NAME), "a point of this profile, by its name")
            .example(r#""unit_code""#)
            .required(),
        Key::new("units", Kind::Codes { of: &Kind::Scalar(&UNIT) }, "the unit of each code")
            .example(r#"{"0":"Pa","1":"kPa"}"#)
            .required(),
    ],
    exactly_one: &[],
};

static SENTINEL: Table = Table {
    what: "a value of `invalid`",
    doc: "A raw value that means: no value here; and why.",
    keys: &[
        Key::new("raw", Kind::Scalar(&INVALID), "the raw value").required(),
        Key::new("reason", Kind::Word(REASONS), "why there is no value").required(),
    ],
    exactly_one: &[],
};

pub static REASONS: &[Word] = &[
    Word::new("invalid", "the meter says no more than that there is none"),
    Word::new("out-of-range", "above or below what it can measure"),
    Word::new("not-yet", "it has not measured yet"),
    Word::new("sensor-fault", "its sensor is missing, broken or short"),
];

static WRITE: Table = Table {
    what: "`write`",
    doc: "What could be written to the register. Nothing is, unless the owner allows it by name.",
    keys: &[
        Key::new("min", Kind::Scalar(&DECIMAL), "the least, in `unit`"),
        Key::new("max", Kind::Scalar(&DECIMAL), "the most, in `unit`"),
        Key::new("step", Kind::Scalar(&DECIMAL), "the smallest step, in `unit`"),
        Key::new(
            "function",
            Kind::Word(WRITES),
            "with which function; the one for a single value where it fits, unless said otherwise",
        ),
    ],
    exactly_one: &[],
};

pub static WRITES: &[Word] = &[
    Word::new("single", "05 or 06: one coil, one register"),
    Word::new("multiple", "15 or 16: several, or meters that know no other"),
];
