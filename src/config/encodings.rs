//! How an upstream's readings are written: encoding, template, tolerances of batches.

use super::build::{Ground, duration, text};
use super::less::{Names, by_point};
use crate::encode::batch::{Options, Tolerance, Tolerances};
use crate::encode::{Encoding, Template};
use crate::model::Decimal;
use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Node, Report, Scalar};
use std::time::Duration;

/// Below this a batch saves little; beyond it nobody would call it telemetry.
const BATCHES: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(3600);

pub static SHARE: ScalarRule = ScalarRule {
    expected: "a share of the range, above 0% and at most 10% (0.25%)",
    check: |scalar| match tolerance(scalar)? {
        Tolerance::Percent(_) => Ok(()),
        Tolerance::Absolute(_) => Err(format!("write {}%; amounts stand under `tolerances`", scalar.text)),
    },
    types: &["string"],
    pattern: Some("^[0-9.]+%$"),
    words: None,
    limits: None,
    example: r#""0.25%""#,
};
pub static TOLERANCE: ScalarRule = ScalarRule {
    expected: "an amount (0.5), a share of the range (0.25%), or 0 for exact",
    check: |scalar| tolerance(scalar).map(|_| ()),
    types: &["string", "number"],
    pattern: None,
    words: None,
    limits: None,
    example: r#"0.5"#,
};

fn tolerance(scalar: &Scalar) -> Result<Tolerance, String> {
    let (text, share) = match scalar.text.strip_suffix('%') {
        Some(text) => (text, true),
        None => (scalar.text.as_str(), false),
    };
    let number: Decimal = text.trim().parse().map_err(|_| String::new())?;
    if number < Decimal::ZERO {
        return Err("± is meant: write it without a sign".to_owned());
    }
    match share {
        true if number == Decimal::ZERO => Err("write 0 for exact".to_owned()),
        true if number > Decimal::new(10, 0) => {
            Err("more than a tenth of the range is no measurement".to_owned())
        }
        true => Ok(Tolerance::Percent(number)),
        false => Ok(Tolerance::Absolute(number)),
    }
}

/// The encoding of an upstream. What the walk has refused is left out here without another word.
pub(super) fn of(node: &Node, ground: &Ground<'_>, report: &mut Report<'_>) -> Encoding {
    let word = text(node, "encoding").unwrap_or("json");
    for (key, wanted) in [("template", "template"), ("batch", "batch")] {
        if let Some(entry) = node.entry(key).filter(|_| word != wanted) {
            report.at(&entry.at, format!("`{key}` says nothing without `encoding: {wanted}`"));
        }
    }
    match word {
        "json-array" => Encoding::JsonArray,
        "line" => Encoding::Line,
        "senml" => Encoding::Senml,
        "csv" => Encoding::Csv,
        "batch" => Encoding::Batch(options(node.get("batch"), ground, report)),
        "template" => template(node, report).map_or(Encoding::Json, Encoding::Template),
        _ => Encoding::Json,
    }
}

fn template(node: &Node, report: &mut Report<'_>) -> Option<Template> {
    let Some(given) = node.get("template") else {
        if let Some(at) = node.get("encoding") {
            report.at(&at.place, "`encoding: template` needs `template`: what a reading becomes");
        }
        return None;
    };
    match Template::new(&given.scalar()?.text) {
        Ok(template) => Some(template),
        Err(error) => {
            report.at(&given.place, format!("`template`: {error}"));
            None
        }
    }
}

pub(super) fn batch_every(node: &Node, report: &mut Report<'_>) -> Option<Duration> {
    let batch = node.get("batch")?;
    let (every, at) = (duration(batch, "every")?, batch.get("every")?);
    if BATCHES.contains(&every) {
        return Some(every);
    }
    report.at(&at.place, format!("`every`: expected 10s to 1h, found {}", at.found()));
    None
}

fn options(node: Option<&Node>, ground: &Ground<'_>, report: &mut Report<'_>) -> Options {
    let mut tolerances = Tolerances::default();
    let Some(node) = node else { return Options::default() };
    let read = |scalar: &Scalar| tolerance(scalar).ok();
    tolerances.all = node.get("tolerance").and_then(Node::scalar).and_then(read);
    tolerances.named = by_point(node.get("tolerances"), Names::Points, read, ground, report).named;
    Options { tolerances }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tolerance, String> {
        tolerance(&Scalar { text: text.to_owned(), plain: true })
    }

    #[test]
    fn a_tolerance_is_an_amount_or_a_share() {
        assert_eq!(read("0.5"), Ok(Tolerance::Absolute("0.5".parse().unwrap())));
        assert_eq!(read("0.25%"), Ok(Tolerance::Percent("0.25".parse().unwrap())));
        assert_eq!(read("0"), Ok(Tolerance::Absolute(Decimal::ZERO)));
        for wrong in ["-1", "0%", "11%", "x", "%", "1 V"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
