//! What an upstream is not sent, and the grammar of all that is said by point.

use super::build::{Ground, duration};
use crate::model::{Decimal, quantity};
use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Node, Place, Report, Scalar, nearest, scalar};
use crate::upstream::thin::{Aggregate, Amount, ByPoint, Rules};
use std::time::Duration;

/// Below a second nothing is saved; beyond a day nobody would wait.
const WINDOWS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

pub static AMOUNT: ScalarRule = ScalarRule {
    expected: "an amount (0.5), a share of the range (0.5%), or 0 for every change",
    check: |scalar| amount(scalar).map(|_| ()),
    types: &["string", "number"],
    pattern: None,
    words: None,
    limits: None,
    example: r#"0.5"#,
};
pub static WANTED: ScalarRule = ScalarRule {
    expected: "a quantity, a point, a device, or device.point",
    check: |_| Ok(()),
    types: &["string"],
    pattern: Some("^[A-Za-z0-9_-]{1,64}([.][A-Za-z0-9_-]{1,64})?$"),
    words: None,
    limits: None,
    example: r#""voltage""#,
};

fn amount(scalar: &Scalar) -> Result<Amount, String> {
    let (text, share) = match scalar.text.strip_suffix('%') {
        Some(text) => (text, true),
        None => (scalar.text.as_str(), false),
    };
    let number: Decimal = text.trim().parse().map_err(|_| String::new())?;
    match share {
        _ if number < Decimal::ZERO => Err("± is meant: write it without a sign".to_owned()),
        true if number > Decimal::new(100, 0) => {
            Err("more than the whole range is never exceeded".to_owned())
        }
        true => Ok(Amount::Percent(number)),
        false => Ok(Amount::Absolute(number)),
    }
}

/// Which names may stand where something is said by point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Points and quantities.
    Points,
    /// Devices and `device.point` too.
    Devices,
}

/// A name that stands for nothing here is an error.
pub(super) fn known(key: &str, place: &Place, names: Names, ground: &Ground<'_>, report: &mut Report<'_>) {
    let with_devices = names == Names::Devices;
    let is_point = |key: &str| ground.points.iter().any(|point| point.as_str() == key);
    if is_point(key) || quantity::find(key).is_some() || (with_devices && ground.has(key)) {
        return;
    }
    let points = ground.points.iter().map(|point| point.as_str());
    let rest = points.chain(quantity::all().map(|quantity| quantity.name));
    let devices = ground.devices.keys().map(|device| device.as_str()).filter(|_| with_devices);
    let near = match key.split_once('.').filter(|_| with_devices) {
        Some((device, point)) => ground.nearest_of(device, point),
        None => nearest(key, devices.chain(rest)).map(str::to_owned),
    };
    let what = match names {
        Names::Points => "neither a quantity nor a point of any device here",
        Names::Devices => "neither a quantity nor a point, device or device.point here",
    };
    let message = format!("`{}` is {what}", key.escape_debug());
    report.at_with(place, &message, near.map(|near| format!("did you mean `{near}`?")));
}

/// One value for all, or by name.
pub(super) fn by_point<T>(
    node: Option<&Node>,
    names: Names,
    read: impl Fn(&Scalar) -> Option<T>,
    ground: &Ground<'_>,
    report: &mut Report<'_>,
) -> ByPoint<T> {
    let mut by_point = ByPoint::default();
    let Some(node) = node else { return by_point };
    by_point.all = node.scalar().and_then(&read);
    for entry in node.entries() {
        known(&entry.key, &entry.at, names, ground, report);
        if let Some(value) = entry.value.scalar().and_then(&read) {
            by_point.named.insert(entry.key.clone(), value);
        }
    }
    by_point
}

/// Of one upstream. What the walk has refused is left out here without another word.
pub(super) fn rules(node: &Node, ground: &Ground<'_>, report: &mut Report<'_>) -> Rules {
    for (key, other) in [("max_silence", "deadband"), ("window", "aggregate"), ("aggregate", "window")] {
        if let (Some(at), None) = (node.entry(key), node.get(other)) {
            let message = match key {
                "aggregate" => "`aggregate` needs `window`: what it spans (1m)".to_owned(),
                _ => format!("`{key}` says nothing without `{other}`"),
            };
            report.at(&at.at, message);
        }
    }
    let mut only = ByPoint::default();
    for item in node.get("only").map(Node::items).unwrap_or_default() {
        if let Some(scalar) = item.scalar() {
            known(&scalar.text, &item.place, Names::Devices, ground, report);
            only.named.insert(scalar.text.clone(), ());
        }
    }
    let word = |scalar: &Scalar| match scalar.text.as_str() {
        "last" => Some(Aggregate::Last),
        "mean" => Some(Aggregate::Mean),
        "min" => Some(Aggregate::Min),
        "max" => Some(Aggregate::Max),
        _ => None,
    };
    let time = |scalar: &Scalar| scalar::duration(scalar).ok();
    let amount = |scalar: &Scalar| amount(scalar).ok();
    Rules {
        only,
        deadband: by_point(node.get("deadband"), Names::Devices, amount, ground, report),
        max_silence: by_point(node.get("max_silence"), Names::Devices, time, ground, report),
        aggregate: by_point(node.get("aggregate"), Names::Devices, word, ground, report),
        window: window(node, report).unwrap_or_default(),
    }
}

fn window(node: &Node, report: &mut Report<'_>) -> Option<Duration> {
    let (window, at) = (duration(node, "window")?, node.get("window")?);
    if WINDOWS.contains(&window) {
        return Some(window);
    }
    report.at(&at.place, format!("`window`: expected 1s to 1d, found {}", at.found()));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadband_is_an_amount_or_a_share() {
        let read = |text: &str| amount(&Scalar { text: text.to_owned(), plain: true });
        assert_eq!(read("10"), Ok(Amount::Absolute(Decimal::new(10, 0))));
        assert_eq!(read("0.5%"), Ok(Amount::Percent(Decimal::new(5, -1))));
        assert_eq!(read("0"), Ok(Amount::Absolute(Decimal::ZERO)));
        for wrong in ["-1", "101%", "x", "%", "1 V"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
