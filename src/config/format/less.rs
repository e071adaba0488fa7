//! The words of the configuration: less to send, the same for every upstream.

use crate::config::less::{AMOUNT, WANTED};
use crate::profile::yaml::scalar::DURATION;
use crate::profile::yaml::table::{Key, Kind, Word};

static NAMED: Kind = Kind::Scalar(&WANTED);
static AMOUNTS: &[Kind] = &[Kind::Scalar(&AMOUNT), Kind::ByPoint { of: &Kind::Scalar(&AMOUNT) }];
static TIMES: &[Kind] = &[Kind::Scalar(&DURATION), Kind::ByPoint { of: &Kind::Scalar(&DURATION) }];
static WORDS: &[Kind] = &[Kind::Word(AGGREGATES), Kind::ByPoint { of: &Kind::Word(AGGREGATES) }];

pub(super) const ONLY_KEY: Key = Key::new(
    "only",
    Kind::List { of: &NAMED, least: 1, most: usize::MAX },
    "the points that are sent: quantities, points, devices, device.point; all unless given",
)
.example(r#"["voltage", "energy_import", "boiler.temperature"]"#);
pub(super) const DEADBAND_KEY: Key = Key::new(
    "deadband",
    Kind::OneOf(AMOUNTS),
    "a value goes when it differs from the one sent last by more than this: in the unit in which it leaves (0.5), or a share of the profile's range (0.5%); counters lose nothing",
)
.example(r#"{ "voltage": "0.5%", "active_power": 10 }"#);
pub(super) const MAX_SILENCE_KEY: Key = Key::new(
    "max_silence",
    Kind::OneOf(TIMES),
    "after so long a value goes although it is within its deadband; 15m unless given",
)
.example(r#""15m""#);
pub(super) const AGGREGATE_KEY: Key = Key::new(
    "aggregate",
    Kind::OneOf(WORDS),
    "one reading a `window` of each device that has such a point; counters give their last value",
)
.example(r#"{ "active_power": "mean" }"#);
pub(super) const WINDOW_KEY: Key =
    Key::new("window", Kind::Scalar(&DURATION), "what `aggregate` spans, 1s to 1d; aligned to UTC")
        .example(r#""1m""#);

static AGGREGATES: &[Word] = &[
    Word::new("last", "the last value in the window"),
    Word::new("mean", "the mean, rounded to the point's resolution"),
    Word::new("min", "the least value"),
    Word::new("max", "the greatest value"),
];
