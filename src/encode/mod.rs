//! Readings → payloads. Knows what is said, not where it goes.
//!
//! # What an encoding is given, and what it promises
//! It is given readings in the order of their numbers, each with its (`epoch`, `seq`), the [`Site`] for units and
//! names, and the most octets that a payload may have. It gives back one payload and how many readings are in it:
//! as many as fit, from the first on. A single reading that does not fit is refused by name, never cut.
//! - **Exact.** Numbers are written digit by digit from the decimal; nothing passes through a float.
//! - **Absence is a value with a reason.** A point that was due and has no value is never left out silently: the
//!   reason (`bad`) travels wherever the format has room for it, and everywhere it has some.
//! - **Pure.** The same readings give the same octets; nothing here waits, reads a clock or opens anything.
//! - **Frozen.** `tests/it/golden/encode/` holds what each encoding makes of one specimen. Of a released encoding
//!   these files are never changed.
//!
//! # The encodings
//! | word | a payload is | `bad` | `seq`, `epoch` | unsure clock | told apart by a consumer by |
//! | --- | --- | --- | --- | --- | --- |
//! | `json` | an object a reading, one a line | yes | yes | yes | (`epoch`, `seq`) |
//! | `json-array` | one array of these | yes | yes | yes | (`epoch`, `seq`) |
//! | `line` | InfluxDB line protocol, a line a reading | `point.bad="…"` | no | `clock.unsure=true` | tags and stamp |
//! | `senml` | one SenML pack (RFC 8428, JSON) | `point.bad` | no | `clock.unsure` | name and time |
//! | `csv` | a row a value (RFC 4180) | a column | columns | a column | (`epoch`, `seq`, `point`) |
//! | `template` | what the owner's template says, a line a reading | if it asks | if it asks | if it asks | – |
//! | `batch` | columns of differences, compressed ([`batch`]) | yes | yes | yes | (`epoch`, `seq`) |
//!
//! A loss ([`Loss`]) stands in a file as the encoding has room for it: an object, a line `linesman_gap`, a pack of names
//! `gap.…`, two rows whose point is `gap` and `gap_end`. A template is asked for readings only. By MQTT it is an event.
//!
//! A point's name has no `.` in it, so `current_l2.bad` can't be another point.
//!
//! # To add one
//! A file here, a variant of [`Encoding`] with its row in [`ROWS`], and its file in the golden folder.

pub mod batch;
mod csv;
pub mod json;
mod line;
mod senml;
mod template;
pub mod thin_edge;
pub mod thingsboard;

pub use json::{Loss, Number};
pub use template::{Template, TemplateError};

use crate::model::{DeviceInfo, PointInfo, Reading, Site, Timestamp};

/// One reading and its number.
#[derive(Debug, Clone, Copy)]
pub struct Numbered<'a> {
    pub reading: &'a Reading,
    pub number: Number,
}

/// How readings are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    Json,
    JsonArray,
    Line,
    Senml,
    Csv,
    Template(Template),
    Batch(batch::Options),
}

/// What is true of an encoding whatever it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its word in the configuration.
    pub word: &'static str,
    pub doc: &'static str,
    /// For upstreams that tell what they send.
    pub content_type: &'static str,
    /// Payloads end in a line feed and can be put one behind the other in a file.
    pub lines: bool,
    /// The first line of a file.
    pub header: &'static str,
}

/// Every encoding, in the order of [`Encoding`].
pub const ROWS: &[Row] = &[
    Row {
        word: "json",
        doc: "one JSON object a reading",
        content_type: "application/x-ndjson",
        lines: true,
        header: "",
    },
    Row {
        word: "json-array",
        doc: "one JSON array of readings",
        content_type: "application/json",
        lines: true,
        header: "",
    },
    Row {
        word: "line",
        doc: "InfluxDB line protocol",
        content_type: "text/plain; charset=utf-8",
        lines: true,
        header: "",
    },
    Row {
        word: "senml",
        doc: "SenML (RFC 8428) as JSON",
        content_type: "application/senml+json",
        lines: true,
        header: "",
    },
    Row {
        word: "csv",
        doc: "a row a value (RFC 4180)",
        content_type: "text/csv; charset=utf-8; header=absent",
        lines: true,
        header: csv::HEADER,
    },
    Row {
        word: "template",
        doc: "what a template says",
        content_type: "text/plain; charset=utf-8",
        lines: true,
        header: "",
    },
    Row {
        word: "batch",
        doc: "compact batches",
        content_type: "application/vnd.linesman.batch+zstd",
        lines: false,
        header: "",
    },
];

/// A payload, and how many of the readings given are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub octets: Vec<u8>,
    pub taken: usize,
}

/// Why the first of the readings can't be written: it is given up, and the next one goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the reading alone needs {octets} octets, {at_most} are allowed")]
    TooLarge { octets: usize, at_most: usize },
    #[error("template: {0}")]
    Template(String),
}

impl Refused {
    /// The word under which such readings are counted.
    pub fn word(&self) -> &'static str {
        match self {
            Refused::TooLarge { .. } => "too-large",
            Refused::Template(_) => "template",
        }
    }
}

impl Encoding {
    pub fn row(&self) -> &'static Row {
        &ROWS[match self {
            Encoding::Json => 0,
            Encoding::JsonArray => 1,
            Encoding::Line => 2,
            Encoding::Senml => 3,
            Encoding::Csv => 4,
            Encoding::Template(_) => 5,
            Encoding::Batch(_) => 6,
        }]
    }

    /// As many of the readings as fit into one payload of so many octets, from the first on. A batch also ends
    /// where its readings cease to have the same epoch or the same trust in the clock. None from none.
    pub fn encode(&self, readings: &[Numbered<'_>], site: &Site, at_most: usize) -> Result<Payload, Refused> {
        match self {
            Encoding::Json => Text::LINES.fill(readings, at_most, |out, one| {
                out.push_str(&json::reading(one.reading, one.number, Some(site.gateway.as_str())));
                Ok(())
            }),
            Encoding::JsonArray => Text::ARRAY.fill(readings, at_most, |out, one| {
                out.push_str(&json::reading(one.reading, one.number, Some(site.gateway.as_str())));
                Ok(())
            }),
            Encoding::Line => Text::LINES.fill(readings, at_most, |out, one| {
                line::reading(out, one.reading, site);
                Ok(())
            }),
            Encoding::Senml => Text::ARRAY.fill(readings, at_most, |out, one| {
                senml::reading(out, one.reading, site);
                Ok(())
            }),
            Encoding::Csv => Text::WHOLE_LINES.fill(readings, at_most, |out, one| {
                csv::reading(out, one, site);
                Ok(())
            }),
            Encoding::Template(template) => Text::LINES.fill(readings, at_most, |out, one| {
                template.reading(out, one, site).map_err(Refused::Template)
            }),
            Encoding::Batch(options) => {
                batch::encode(readings, &batch::Schema::of(site, options), false, at_most)
            }
        }
    }

    /// The announcement of a loss in a file of this encoding, with its line end; `None` where nothing can say it.
    pub fn gap(&self, now: Timestamp, loss: &Loss<'_>, site: &Site) -> Option<String> {
        let object = || json::gap(now, loss, Some(site.gateway.as_str()));
        match self {
            Encoding::Json => Some(object() + "\n"),
            Encoding::JsonArray => Some(format!("[{}]\n", object())),
            Encoding::Line => Some(line::gap(loss, site)),
            Encoding::Senml => Some(senml::gap(loss, site)),
            Encoding::Csv => Some(csv::gap(loss, site)),
            Encoding::Template(_) | Encoding::Batch(_) => None,
        }
    }
}

/// What stands before, between and behind the readings of a payload of text.
struct Text {
    open: &'static str,
    between: &'static str,
    close: &'static str,
}

impl Text {
    const LINES: Text = Text { open: "", between: "\n", close: "\n" };
    /// Each reading brings its own line ends.
    const WHOLE_LINES: Text = Text { open: "", between: "", close: "" };
    const ARRAY: Text = Text { open: "[", between: ",", close: "]\n" };

    fn fill(
        &self,
        readings: &[Numbered<'_>],
        at_most: usize,
        mut write: impl FnMut(&mut String, Numbered<'_>) -> Result<(), Refused>,
    ) -> Result<Payload, Refused> {
        let mut out = String::from(self.open);
        let mut taken = 0;
        for one in readings {
            let before = out.len();
            if before > self.open.len() {
                out.push_str(self.between);
            }
            let begun = out.len();
            let written = write(&mut out, *one);
            let octets = out.len() + self.close.len();
            if octets > at_most || written.is_err() {
                out.truncate(before);
                if taken == 0 {
                    written?;
                    return Err(Refused::TooLarge { octets, at_most });
                }
                break;
            }
            if out.len() == begun {
                // A reading without any point says nothing here.
                out.truncate(before);
            }
            taken += 1;
        }
        let says_something = out.len() > self.open.len();
        let octets = if says_something { (out + self.close).into_bytes() } else { Vec::new() };
        Ok(Payload { octets, taken })
    }
}

/// Looks points up in the order in which readings bring them, which is the profile's: a step each, not a search.
struct Points<'a> {
    points: &'a [PointInfo],
    at: usize,
}

impl<'a> Points<'a> {
    fn of(device: Option<&'a DeviceInfo>) -> Points<'a> {
        Points { points: device.map_or(&[], |device| &device.points), at: 0 }
    }

    fn find(&mut self, name: &str) -> Option<&'a PointInfo> {
        let (before, rest) = self.points.split_at(self.at.min(self.points.len()));
        let index = rest.iter().position(|point| point.name.as_str() == name).map(|n| n + before.len());
        let index = index.or_else(|| before.iter().position(|point| point.name.as_str() == name))?;
        self.at = index + 1;
        self.points.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bad;
    use crate::model::{Name, Timestamp, Value};
    use std::time::Duration;

    pub(super) fn reading(device: &str, samples: &[(&str, Result<&str, Bad>)]) -> Reading {
        let sample = |(name, sample): &(&str, Result<&str, Bad>)| {
            let name: Name = name.parse().unwrap();
            (name, sample.map(|number| Value::Number(number.parse().unwrap())))
        };
        Reading {
            device: device.parse().unwrap(),
            ts: Timestamp(1_763_766_000_123),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: samples.iter().map(sample).collect(),
        }
    }

    pub(super) fn site() -> Site {
        let point = |name: &str, unit: &str, quantity: &str| PointInfo {
            name: name.parse().unwrap(),
            unit: unit.into(),
            quantity: quantity.into(),
            phase: None,
            direction: None,
            resolution: None,
            range: None,
            index: false,
            form: Default::default(),
        };
        let points = [point("u", "V", "voltage"), point("p", "bar", "pressure"), point("h", "%", "humidity")];
        let device = |name: &str| DeviceInfo {
            name: name.parse().unwrap(),
            line: "l".parse().unwrap(),
            unit: 1,
            profile: "x".into(),
            vendor: "v".into(),
            model: "m".into(),
            identity: None,
            every: Duration::from_secs(1),
            points: points.clone().into(),
        };
        Site {
            gateway: "g".parse().unwrap(),
            config_hash: "0".into(),
            devices: vec![device("a"), device("b")],
        }
    }

    fn numbered(readings: &[Reading]) -> Vec<Numbered<'_>> {
        let number = |seq: usize| Number { epoch: 7, seq: seq as u64 + 1 };
        readings.iter().enumerate().map(|(n, reading)| Numbered { reading, number: number(n) }).collect()
    }

    fn all() -> Vec<Encoding> {
        let template = Template::new("{{ device }} {{ ts }} {{ seq }}").unwrap();
        let batch = Encoding::Batch(batch::Options::default());
        let plain = [Encoding::Json, Encoding::JsonArray, Encoding::Line, Encoding::Senml, Encoding::Csv];
        plain.into_iter().chain([Encoding::Template(template), batch]).collect()
    }

    #[test]
    fn every_encoding_has_its_row() {
        let words: Vec<&str> = all().iter().map(|encoding| encoding.row().word).collect();
        assert_eq!(words, ROWS.iter().map(|row| row.word).collect::<Vec<_>>());
    }

    #[test]
    fn a_payload_holds_as_many_readings_as_fit_and_never_a_piece_of_one() {
        let readings: Vec<Reading> = (0..50)
            .map(|n| reading("a", &[("u", Ok(&format!("{n}.5"))), ("p", Err(Bad::NoReply))]))
            .collect();
        let (readings, site) = (numbered(&readings), site());
        for encoding in all() {
            let word = encoding.row().word;
            let whole = encoding.encode(&readings, &site, usize::MAX).unwrap();
            assert_eq!(whole.taken, 50, "{word}");
            let one = encoding.encode(&readings[..1], &site, usize::MAX).unwrap().octets.len();
            for at_most in [one, one + 1, whole.octets.len() - 1, whole.octets.len()] {
                let part = encoding.encode(&readings, &site, at_most).unwrap();
                assert!(part.octets.len() <= at_most && part.taken >= 1, "{word} {at_most}");
                let again = encoding.encode(&readings[..part.taken], &site, usize::MAX).unwrap();
                assert_eq!(again.octets, part.octets, "{word}");
                assert_eq!(part.taken == 50, at_most == whole.octets.len(), "{word} {at_most}");
            }
            let refused = encoding.encode(&readings, &site, one - 1).unwrap_err();
            assert_eq!(refused, Refused::TooLarge { octets: one, at_most: one - 1 }, "{word}");
        }
    }

    #[test]
    fn nothing_to_say_is_an_empty_payload_that_settles_its_readings() {
        let readings = [reading("a", &[]), reading("a", &[])];
        let (readings, site) = (numbered(&readings), site());
        for encoding in [Encoding::Line, Encoding::Senml, Encoding::Csv] {
            let payload = encoding.encode(&readings, &site, 1000).unwrap();
            assert_eq!(payload, Payload { octets: Vec::new(), taken: 2 }, "{}", encoding.row().word);
        }
        for encoding in all() {
            assert_eq!(encoding.encode(&[], &site, 1000).unwrap().taken, 0, "{}", encoding.row().word);
        }
    }

    #[test]
    fn a_loss_is_announced_in_the_shape_of_its_encoding() {
        let known = Loss { from: 1000, to: 2500, count: Some(3), reason: "too old" };
        let unknown = Loss { count: None, ..known };
        let told = |encoding: &Encoding, loss| encoding.gap(Timestamp(9), loss, &site());
        let object = json::gap(Timestamp(9), &known, Some("g"));
        assert_eq!(told(&Encoding::Json, &known), Some(format!("{object}\n")));
        assert_eq!(told(&Encoding::JsonArray, &known), Some(format!("[{object}]\n")));
        assert_eq!(
            told(&Encoding::Line, &known).unwrap(),
            "linesman_gap,gateway=g count=3,to=2500,reason=\"too old\" 1000000000\n"
        );
        assert_eq!(
            told(&Encoding::Line, &unknown).unwrap(),
            "linesman_gap,gateway=g to=2500,reason=\"too old\" 1000000000\n"
        );
        assert_eq!(
            told(&Encoding::Senml, &known).unwrap(),
            "[{\"bn\":\"g/gap.\",\"bt\":1,\"n\":\"reason\",\"vs\":\"too old\"},{\"n\":\"lasted\",\"u\":\"s\",\"v\":1.5},\
             {\"n\":\"count\",\"v\":3}]\n"
        );
        assert!(!told(&Encoding::Senml, &unknown).unwrap().contains("count"));
        assert_eq!(
            told(&Encoding::Csv, &known).unwrap(),
            "1000,g,,gap,3,,too old,,,\r\n2500,g,,gap_end,,,too old,,,\r\n"
        );
        for encoding in all() {
            let is_text = !matches!(encoding, Encoding::Template(_) | Encoding::Batch(_));
            assert_eq!(told(&encoding, &unknown).is_some(), is_text, "{}", encoding.row().word);
        }
    }

    #[test]
    fn points_are_found_in_any_order() {
        let site = site();
        let mut points = Points::of(site.devices.first());
        for name in ["u", "h", "p", "u", "u"] {
            assert_eq!(points.find(name).unwrap().name.as_str(), name);
        }
        assert!(points.find("x").is_none() && points.find("u").is_some());
    }
}
