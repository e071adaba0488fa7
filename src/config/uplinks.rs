//! The uplinks: which interfaces there are, in order, and what each may cost.

use super::build::{Once, duration, flag, name, text, whole};
use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Node, Report, Scalar};
use crate::uplink::{Allow, Budget, Config};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Shorter and one lost packet is a dead path; longer and an outage goes by unnoticed.
const USER_TIMEOUTS: RangeInclusive<Duration> = seconds(2, 300);
const STABLE_FOR: RangeInclusive<Duration> = seconds(1, 86_400);
const PROBES: RangeInclusive<Duration> = seconds(1, 86_400);
/// A network of operators is woken up by each: Verizon's guidelines have at most four attempts an hour by themselves.
const METERED_PROBES: RangeInclusive<Duration> = seconds(300, 86_400);
/// The field of MQTT is 16 bits of seconds (3.1.1, 3.1.2.10).
const KEEP_ALIVES: RangeInclusive<Duration> = seconds(5, 65_535);
const BATCHES: RangeInclusive<Duration> = seconds(1, 3600);
/// IFNAMSIZ, with its end.
const LONGEST_INTERFACE: usize = 15;

pub static INTERFACE: ScalarRule = ScalarRule {
    expected: "a network interface by its name in /sys/class/net (1 to 15 characters)",
    check: interface,
    types: &["string"],
    pattern: Some("^[^/ ]{1,15}$"),
    words: None,
    limits: None,
    example: r#""eth0""#,
};
pub static OCTETS: ScalarRule = ScalarRule {
    expected: "octets as bills have them (500kB, 50MB, 1GB)",
    check: |scalar| octets(scalar).map(|_| ()),
    types: &["string"],
    pattern: Some("^[0-9]+(kB|KB|MB|GB)$"),
    words: None,
    limits: None,
    example: r#""50MB""#,
};

const fn seconds(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(least)..=Duration::from_secs(most)
}

fn interface(scalar: &Scalar) -> Result<(), String> {
    let name = scalar.text.as_str();
    if name.starts_with('/') {
        return Err("the name of the interface, not a path".to_owned());
    }
    let fits = (1..=LONGEST_INTERFACE).contains(&name.len()) && !name.contains(['/', ' ', '\t']);
    if fits && name != "." && name != ".." { Ok(()) } else { Err(String::new()) }
}

/// `50MB`: powers of ten, as operators count.
fn octets(scalar: &Scalar) -> Result<u64, String> {
    let text = scalar.text.as_str();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: u64 = match unit {
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" | "k" | "K" => return Err(format!("a bill is in powers of ten: write {number}kB")),
        "MiB" | "M" => return Err(format!("a bill is in powers of ten: write {number}MB")),
        "GiB" | "G" => return Err(format!("a bill is in powers of ten: write {number}GB")),
        "" if !number.is_empty() => return Err("it has a unit: kB, MB or GB".to_owned()),
        _ => return Err(String::new()),
    };
    let number: u64 = number.parse().map_err(|_| String::new())?;
    number.checked_mul(factor).filter(|n| *n > 0).ok_or_else(|| "too large or zero".to_owned())
}

pub(super) fn build(list: Option<&Node>, report: &mut Report<'_>) -> Vec<Config> {
    let (mut names, mut interfaces) = (Once::default(), Once::default());
    let mut uplinks = Vec::new();
    for node in list.map(Node::items).unwrap_or_default() {
        let name = name(node);
        if let (Some(name), Some(at)) = (&name, node.get("name")) {
            names.enter("the uplink", name.as_str(), &at.place, report);
        }
        let interface = text(node, "interface");
        if let (Some(interface), Some(at)) = (interface, node.get("interface")) {
            interfaces.enter("the interface", interface, &at.place, report);
        }
        let metered = flag(node, "metered").unwrap_or(false);
        if let (Some(name), Some(interface)) = (name, interface) {
            uplinks.push(one(node, Config::new(name, interface.to_owned(), metered), report));
        }
    }
    uplinks
}

fn one(node: &Node, plain: Config, report: &mut Report<'_>) -> Config {
    let probes = if plain.metered { &METERED_PROBES } else { &PROBES };
    let mut within = |key: &str, range: &RangeInclusive<Duration>| within(node, key, range, report);
    let keep_alive = within("keep_alive", &KEEP_ALIVES).or(plain.keep_alive);
    let batch = within("batch", &BATCHES);
    let user_timeout = within("user_timeout", &USER_TIMEOUTS).unwrap_or(plain.user_timeout);
    let stable_for = within("stable_for", &STABLE_FOR).unwrap_or(plain.stable_for);
    let probe_every = within("probe_every", probes).unwrap_or(plain.probe_every);
    let rate = node.get("history_rate").and_then(|rate| octets(rate.scalar()?).ok());
    Config {
        keep_alive,
        batch,
        user_timeout,
        stable_for,
        probe_every,
        budget: node.get("budget").and_then(budget),
        allow: node.get("allow").map_or(plain.allow, allow),
        history_rate: rate.and_then(NonZeroU64::new).or(plain.history_rate),
        ..plain
    }
}

fn budget(node: &Node) -> Option<Budget> {
    let month = octets(node.get("month")?.scalar()?).ok()?;
    Some(Budget { month, reset_day: whole(node, "reset_day").unwrap_or(1) })
}

fn allow(list: &Node) -> Allow {
    let has = |word: &str| list.items().iter().any(|item| item.scalar().is_some_and(|s| s.text == word));
    Allow { alarm: has("alarm"), live: has("live"), history: has("history") }
}

fn within(
    node: &Node,
    key: &str,
    range: &RangeInclusive<Duration>,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let (given, at) = (duration(node, key)?, node.get(key)?);
    if range.contains(&given) {
        return Some(given);
    }
    let (least, most) = (range.start().as_secs(), range.end().as_secs());
    let of_class = if *range == METERED_PROBES { " on a metered uplink" } else { "" };
    report.at(&at.place, format!("`{key}`: expected {least}s to {most}s{of_class}, found {}", at.found()));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_in_powers_of_ten() {
        let read = |text: &str| octets(&Scalar { text: text.to_owned(), plain: true });
        assert_eq!((read("50MB"), read("1GB"), read("4kB")), (Ok(50_000_000), Ok(1_000_000_000), Ok(4000)));
        for wrong in ["50MiB", "50", "0MB", "1.5GB", "MB", "50 MB", "99999999999GB"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
