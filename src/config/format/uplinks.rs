//! The words of the configuration: uplinks.

use crate::config::uplinks::{INTERFACE, OCTETS};
use crate::profile::yaml::scalar::{DURATION, NAME};
use crate::profile::yaml::table::{Key, Kind, Table, Word};

pub(super) static UPLINK: Table = Table {
    what: "an uplink",
    doc: "A network path to the far ends: an interface of this machine.",
    keys: &[
        Key::new("name", Kind::Scalar(&NAME), "its name in status and events").example(r#""lte""#).required(),
        Key::new("interface", Kind::Scalar(&INTERFACE), "the network interface").example(r#""wwan0""#).required(),
        Key::new("metered", Kind::Flag, "true: octets are paid; probed rarely; false unless given"),
        Key::new("budget", Kind::Table(&BUDGET), "what a month may cost"),
        Key::new(
            "keep_alive",
            Kind::Scalar(&DURATION),
            "longest silence on a connection; 10m on a metered one, else the upstream's, unless given",
        )
        .example(r#""10m""#),
        Key::new(
            "batch",
            Kind::Scalar(&DURATION),
            "how often live readings go together, 1s to 1h; as the upstream says unless given",
        )
        .example(r#""5m""#),
        Key::new(
            "allow",
            Kind::List { of: &Kind::Word(CLASSES), least: 1, most: 3 },
            "what may go over it; everything unless given",
        )
        .example(r#"["alarm", "live"]"#),
        Key::new(
            "user_timeout",
            Kind::Scalar(&DURATION),
            "how long what was sent may stay without an acknowledgement; 20s, on a metered one 30s, unless given",
        )
        .example(r#""30s""#),
        Key::new(
            "stable_for",
            Kind::Scalar(&DURATION),
            "how long it must have worked before connections return to it; 5m unless given",
        )
        .example(r#""5m""#),
        Key::new(
            "probe_every",
            Kind::Scalar(&DURATION),
            "how often it is tried while a later one is in use; 10s, on a metered one 15m (at least 5m), unless given",
        )
        .example(r#""15m""#),
        Key::new(
            "history_rate",
            Kind::Scalar(&OCTETS),
            "most octets of the backlog a second; 4kB on a metered one, else as many as go, unless given",
        )
        .example(r#""4kB""#),
    ],
    exactly_one: &[],
};

static BUDGET: Table = Table {
    what: "`budget`",
    doc: "What a month may cost: at 80 % batches stretch, at 100 % only alarms go.",
    keys: &[
        Key::new("month", Kind::Scalar(&OCTETS), "octets of a month, both directions, with IP and TLS")
            .required(),
        Key::new(
            "reset_day",
            Kind::Whole { least: 1, most: 31 },
            "the day on which the operator begins to count anew (UTC); 1 unless given",
        )
        .example("1"),
    ],
    exactly_one: &[],
};

static CLASSES: &[Word] = &[
    Word::new("alarm", "events and announcements of losses"),
    Word::new("live", "readings of now"),
    Word::new("history", "the backlog"),
];
