//! The keys of how readings are written.

use crate::config::encodings::{SHARE, TOLERANCE};
use crate::profile::yaml::scalar::DURATION;
use crate::profile::yaml::table::{Key, Kind, Table, Word};

pub static ENCODINGS: &[Word] = &[
    Word::new("json", "one JSON object a reading"),
    Word::new("line", "InfluxDB line protocol"),
    Word::new("senml", "SenML (RFC 8428) as JSON"),
    Word::new("template", "what `template` says"),
    Word::new("batch", "compact batches, on the topic b"),
    Word::new("json-array", "").later("a message is one reading; `json` does"),
    Word::new("csv", "").later("a message has no header; the upstream `file` writes CSV"),
];

pub static FILE_ENCODINGS: &[Word] = &[
    Word::new("json", "one JSON object a reading"),
    Word::new("json-array", "one JSON array each time something is written"),
    Word::new("line", "InfluxDB line protocol"),
    Word::new("senml", "SenML (RFC 8428) as JSON, a pack each time something is written"),
    Word::new("csv", "a row a value, each file with its header"),
    Word::new("template", "what `template` says"),
    Word::new("batch", "").later("a file is text; the upstream `mqtt` sends batches"),
];

pub static HTTP_ENCODINGS: &[Word] = &[
    Word::new("json", "JSON objects, one a line"),
    Word::new("json-array", "one JSON array of objects"),
    Word::new("line", "InfluxDB line protocol"),
    Word::new("senml", "a SenML pack (RFC 8428) as JSON"),
    Word::new("csv", "a row a value, without a header"),
    Word::new("template", "what `template` says of each reading, a line each"),
    Word::new("batch", "").later("the upstream `mqtt` sends batches"),
];

pub static BATCH: Table = Table {
    what: "`batch`",
    doc: "Compact batches: how often, and how much may be lost to save octets.",
    keys: &[
        Key::new("every", Kind::Scalar(&DURATION), "a batch in this time, 10s to 1h; 5m unless given")
            .example(r#""5m""#),
        Key::new(
            "tolerance",
            Kind::Scalar(&SHARE),
            "values may be off by so much of the profile's range (0.25%); nothing unless given, counters never",
        ),
        Key::new(
            "tolerances",
            Kind::Named { what: "points or quantities", of: &Kind::Scalar(&TOLERANCE) },
            "the same for single points or quantities: in the unit in which they leave (0.5), or a share of the range",
        )
        .example(r#"{ "voltage": 0.5 }"#),
    ],
    exactly_one: &[],
};
