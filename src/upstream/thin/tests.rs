//! What must hold whatever comes, and the rules one by one.

use super::sieve::{Around, Sieve};
use super::{Aggregate, Amount, ByPoint, MOST_IN_WINDOW, Rules};
use crate::model::{Bad, Dating, DeviceInfo, PointInfo, Reading, Sample, Site, Timestamp, Value};
use crate::record;
use crate::spool::{Outcome, Stored};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn point(name: &str, quantity: &str, index: bool) -> PointInfo {
    PointInfo {
        name: name.parse().unwrap(),
        unit: String::new(),
        quantity: quantity.to_owned(),
        phase: None,
        direction: None,
        resolution: Some("0.1".parse().unwrap()),
        range: (name == "u").then(|| ("0".parse().unwrap(), "500".parse().unwrap())),
        index,
        form: Default::default(),
    }
}

fn site() -> Arc<Site> {
    let device = |name: &str| DeviceInfo {
        name: name.parse().unwrap(),
        line: "l".parse().unwrap(),
        unit: 1,
        profile: String::new(),
        vendor: String::new(),
        model: String::new(),
        identity: None,
        every: Duration::from_secs(1),
        points: vec![
            point("p", "active-power", false),
            point("u", "voltage", false),
            point("e", "active-energy", true),
        ]
        .into(),
    };
    Arc::new(Site {
        gateway: "g".parse().unwrap(),
        config_hash: String::new(),
        devices: vec![device("a"), device("b")],
    })
}

fn number(text: &str) -> Sample {
    Ok(Value::Number(text.parse().unwrap()))
}

fn reading(device: &str, ts: i64, samples: &[(&str, Sample)]) -> Reading {
    Reading {
        device: device.parse().unwrap(),
        ts: Timestamp(ts),
        took: Duration::ZERO,
        clock_unsure: false,
        boot: None,
        samples: samples.iter().map(|(name, sample)| (name.parse().unwrap(), sample.clone())).collect(),
    }
}

fn all<T>(value: T) -> ByPoint<T> {
    ByPoint { all: Some(value), ..ByPoint::default() }
}

fn amount(text: &str) -> Amount {
    match text.strip_suffix('%') {
        Some(share) => Amount::Percent(share.parse().unwrap()),
        None => Amount::Absolute(text.parse().unwrap()),
    }
}

struct Lane {
    sieve: Sieve,
    site: Arc<Site>,
    next: u64,
}

impl Lane {
    fn of(rules: Rules) -> Lane {
        Lane { sieve: Sieve::new(Arc::new(rules)), site: site(), next: 1 }
    }

    fn feed(&mut self, reading: &Reading) {
        let (position, octets) = (self.next, record::encode(reading).into());
        self.next += 1;
        let stored = Stored { position, epoch: 1, seq: position, ts_ms: reading.ts.0, octets };
        self.sieve.feed(stored, &Around { site: &self.site, dating: &Dating::default() });
    }

    /// What goes now, taken by the far end.
    fn gone(&mut self) -> Vec<(u64, Reading)> {
        let mut gone = Vec::new();
        while let Some(stored) = self.sieve.take_ready() {
            self.sieve.ended(stored.position, &Outcome::Delivered);
            gone.push((stored.position, record::decode(&stored.octets).unwrap()));
        }
        gone
    }

    fn settled(&mut self) -> (u64, u64) {
        let (mut delivered, mut left_out) = (0, 0);
        for (range, outcome) in self.sieve.settle() {
            let count = range.end() - range.start() + 1;
            match outcome {
                Outcome::Delivered => delivered += count,
                Outcome::LeftOut => left_out += count,
                Outcome::Dropped(_) => panic!("nothing is lost here"),
            }
        }
        (delivered, left_out)
    }
}

/// Of a series of values of one point, those that go, at a second's distance.
fn series(rules: Rules, point: &str, values: &[&str]) -> Vec<String> {
    let mut lane = Lane::of(rules);
    for (at, value) in values.iter().enumerate() {
        let sample = if *value == "bad" { Err(Bad::NoReply) } else { number(value) };
        lane.feed(&reading("a", i64::try_from(at).unwrap() * 1000, &[(point, sample)]));
    }
    let said = |(_, reading): (u64, Reading)| match &reading.samples[0].1 {
        Ok(Value::Number(number)) => number.to_string(),
        _ => "bad".to_owned(),
    };
    lane.gone().into_iter().map(said).collect()
}

fn deadband(text: &str) -> Rules {
    Rules { deadband: all(amount(text)), ..Rules::default() }
}

#[test]
fn a_deadband_compares_with_what_was_sent_last_and_not_with_what_was_seen() {
    assert_eq!(
        series(deadband("10"), "p", &["100", "106", "110", "110.1", "101", "100"]),
        ["100", "110.1", "100"]
    );
}

#[test]
fn a_share_is_of_the_range_or_else_of_the_last_value_sent() {
    assert_eq!(series(deadband("1%"), "u", &["230", "235", "225", "235.1"]), ["230", "235.1"]);
    assert_eq!(
        series(deadband("1%"), "p", &["100", "101", "101.1", "0", "0.1"]),
        ["100", "101.1", "0", "0.1"]
    );
}

#[test]
fn counters_send_every_change_and_a_change_of_quality_goes_at_once() {
    assert_eq!(series(deadband("10"), "e", &["1", "1", "1.1", "1.1", "1.2"]), ["1", "1.1", "1.2"]);
    assert_eq!(series(deadband("10"), "p", &["1", "bad", "bad", "1", "1"]), ["1", "bad", "1"]);
}

#[test]
fn silence_is_measured_by_stamps_also_where_polls_are_rarer() {
    let rules = Rules { max_silence: all(Duration::from_secs(60)), ..deadband("10") };
    let mut lane = Lane::of(rules);
    for ts in [0, 30_000, 59_999, 60_000, 61_000, 500_000, 900_000] {
        lane.feed(&reading("a", ts, &[("p", number("1"))]));
    }
    let stamps: Vec<i64> = lane.gone().iter().map(|(_, reading)| reading.ts.0).collect();
    assert_eq!(stamps, [0, 60_000, 500_000, 900_000]);
    assert_eq!(lane.settled(), (4, 3));
}

#[test]
fn the_most_specific_name_wins_and_only_what_is_wanted_goes() {
    let named = [("active-power", 1), ("a", 2), ("p", 3), ("a.p", 4)];
    let by_point =
        ByPoint { all: Some(0), named: named.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect() };
    let of = |device: &str, point: &str, quantity: &str| *by_point.of(device, point, quantity).unwrap();
    assert_eq!(of("a", "p", "active-power"), 4);
    assert_eq!(of("b", "p", "active-power"), 3);
    assert_eq!(of("a", "x", "active-power"), 2);
    assert_eq!((of("b", "x", "active-power"), of("b", "x", "")), (1, 0));
    let named = BTreeMap::from([("a.p".to_owned(), ())]);
    let mut lane = Lane::of(Rules { only: ByPoint { all: None, named }, ..Rules::default() });
    lane.feed(&reading("a", 1, &[("p", number("1")), ("u", number("2"))]));
    lane.feed(&reading("b", 1, &[("p", number("1"))]));
    assert_eq!(lane.gone(), [(1, reading("a", 1, &[("p", number("1"))]))]);
    assert_eq!(lane.settled(), (1, 1));
}

fn by_the_minute(word: Aggregate) -> Rules {
    Rules { aggregate: all(word), window: Duration::from_secs(60), ..Rules::default() }
}

#[test]
fn a_window_gives_one_reading_at_its_end_under_its_last_records_number_and_nothing_is_settled_before() {
    let mut lane = Lane::of(by_the_minute(Aggregate::Mean));
    for (ts, p, e) in [(1, "1", "7"), (30_000, "2", "8"), (60_000, "2", "9"), (60_001, "5", "10")] {
        lane.feed(&reading("a", ts, &[("p", number(p)), ("e", number(e))]));
    }
    assert_eq!(lane.settled(), (0, 0));
    assert_eq!(lane.gone(), [(3, reading("a", 60_000, &[("p", number("1.7")), ("e", number("9"))]))]);
    assert_eq!(lane.settled(), (1, 2));
    // The time of the second is over when no more has come by then, and not before.
    lane.sieve.pause(125_000);
    assert!(lane.sieve.ready().is_empty() && lane.sieve.is_gathering());
    lane.sieve.pause(125_001);
    assert_eq!(lane.gone(), [(4, reading("a", 120_000, &[("p", number("5")), ("e", number("10"))]))]);
    // What comes after that goes as it is.
    lane.feed(&reading("a", 119_000, &[("p", number("6"))]));
    assert_eq!(lane.gone(), [(5, reading("a", 119_000, &[("p", number("6"))]))]);
    assert_eq!(lane.settled(), (2, 0));
}

#[test]
fn a_change_of_quality_closes_the_window_and_goes_on_its_own() {
    let mut lane = Lane::of(by_the_minute(Aggregate::Max));
    for (ts, sample) in
        [(1, number("3")), (2, number("1")), (3, Err(Bad::NoReply)), (4, Err(Bad::NoReply)), (5, number("2"))]
    {
        lane.feed(&reading("a", ts, &[("p", sample)]));
    }
    let expected = [
        (2, reading("a", 2, &[("p", number("3"))])),
        (3, reading("a", 3, &[("p", Err(Bad::NoReply))])),
        (4, reading("a", 4, &[("p", Err(Bad::NoReply))])),
        (5, reading("a", 5, &[("p", number("2"))])),
    ];
    assert_eq!(lane.gone(), expected);
    assert_eq!(lane.settled(), (4, 1));
}

#[test]
fn a_window_holds_so_many_records_and_no_more() {
    let mut lane = Lane::of(by_the_minute(Aggregate::Min));
    for at in 0..=MOST_IN_WINDOW {
        lane.feed(&reading("a", i64::try_from(at).unwrap() + 1, &[("p", number("1"))]));
    }
    let gone = lane.gone();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].1.ts.0, i64::try_from(MOST_IN_WINDOW).unwrap());
    lane.sieve.end();
    assert_eq!((lane.gone().len(), lane.sieve.is_gathering()), (1, false));
}

#[test]
fn what_the_far_end_has_not_is_nothing_to_compare_with() {
    let mut lane = Lane::of(deadband("10"));
    lane.feed(&reading("a", 1, &[("p", number("1"))]));
    let refused = lane.sieve.take_ready().unwrap();
    lane.sieve.ended(refused.position, &Outcome::Dropped("refused".to_owned()));
    lane.feed(&reading("a", 2, &[("p", number("1"))]));
    assert_eq!(lane.gone().len(), 1);
}

fn samples() -> impl Strategy<Value = Vec<(&'static str, Sample)>> {
    let value = prop_oneof![
        4 => (-300i64..300).prop_map(|n| number(&format!("{}.{}", n / 10, (n % 10).abs()))),
        1 => Just(Err(Bad::NoReply)),
        1 => Just(Err(Bad::Invalid)),
    ];
    let names = proptest::sample::subsequence(vec!["p", "u", "e"], 1..=3);
    (names, proptest::collection::vec(value, 3))
        .prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let one = (any::<bool>(), 0i64..40_000, samples());
    proptest::collection::vec(one, 1..60).prop_map(|steps| {
        let mut ts = 0;
        let made = steps.into_iter().map(|(first, step, samples)| {
            ts += step;
            reading(if first { "a" } else { "b" }, ts, &samples)
        });
        made.collect()
    })
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let word =
        prop_oneof![Just(Aggregate::Last), Just(Aggregate::Mean), Just(Aggregate::Min), Just(Aggregate::Max)];
    let amount = prop_oneof![Just("0"), Just("2"), Just("5%")].prop_map(amount);
    (any::<bool>(), proptest::option::of(amount), proptest::option::of(word)).prop_map(
        |(only, deadband, aggregate)| {
            let named = if only {
                BTreeMap::from([("p".to_owned(), ()), ("b".to_owned(), ())])
            } else {
                BTreeMap::new()
            };
            Rules {
                only: ByPoint { all: None, named },
                deadband: ByPoint { all: deadband, ..ByPoint::default() },
                max_silence: all(Duration::from_secs(120)),
                aggregate: ByPoint { all: aggregate, ..ByPoint::default() },
                window: Duration::from_secs(60),
            }
        },
    )
}

proptest! {
    /// Each record is delivered or left out, once, whatever the rules; and stamps of a device never repeat or fall.
    #[test]
    fn the_account_adds_up(rules in some_rules(), readings in readings()) {
        let mut lane = Lane::of(rules);
        let (mut delivered, mut left_out, mut gone) = (0, 0, Vec::new());
        for reading in &readings {
            lane.feed(reading);
            gone.extend(lane.gone());
            let (more, less) = lane.settled();
            (delivered, left_out) = (delivered + more, left_out + less);
            prop_assert!(delivered + left_out <= readings.len() as u64);
        }
        lane.sieve.end();
        gone.extend(lane.gone());
        let (more, less) = lane.settled();
        prop_assert_eq!(delivered + more, gone.len() as u64);
        prop_assert_eq!(delivered + more + left_out + less, readings.len() as u64);
        let mut numbers: Vec<u64> = gone.iter().map(|(position, _)| *position).collect();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), gone.len(), "a number is given once");
        let mut last = BTreeMap::new();
        for (_, reading) in gone {
            let before = last.insert(reading.device.clone(), reading.ts.0).unwrap_or(i64::MIN);
            prop_assert!(reading.ts.0 >= before);
        }
    }

    /// Whoever holds the value sent last is never further off than the deadband, and knows every change of quality.
    #[test]
    fn nothing_outside_of_the_deadband_is_left_out(readings in readings()) {
        let mut lane = Lane::of(deadband("2"));
        let mut held: BTreeMap<(String, String), Sample> = BTreeMap::new();
        for reading in &readings {
            lane.feed(reading);
            for (_, sent) in lane.gone() {
                for (point, sample) in sent.samples {
                    held.insert((sent.device.to_string(), point.to_string()), sample);
                }
            }
            for (point, sample) in &reading.samples {
                let has = &held[&(reading.device.to_string(), point.to_string())];
                match (has, sample) {
                    (Ok(Value::Number(has)), Ok(Value::Number(is))) => {
                        let off = (has.to_f64() - is.to_f64()).abs();
                        let most = if point.as_str() == "e" { 0.0 } else { 2.000_000_1 };
                        prop_assert!(off <= most);
                    }
                    (has, is) => prop_assert_eq!(has, is),
                }
            }
        }
    }

    /// What a deadband of nothing lets go, it lets go again.
    #[test]
    fn exact_change_detection_is_idempotent(readings in readings()) {
        let thinned = |readings: &[Reading]| {
            let mut lane = Lane::of(deadband("0"));
            readings.iter().for_each(|reading| lane.feed(reading));
            lane.gone().into_iter().map(|(_, reading)| reading).collect::<Vec<_>>()
        };
        let once = thinned(&readings);
        prop_assert_eq!(thinned(&once), once);
    }
}
