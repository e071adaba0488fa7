//! Batches there and back, and octets that are none.

use super::*;
use crate::encode::Number;
use crate::encode::json;
use crate::encode::tests::{reading, site};
use crate::model::{Bad, Decimal, Reading, Timestamp, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn sample() -> impl Strategy<Value = crate::model::Sample> {
    prop_oneof![
        6 => (-100_000i64..100_000, -3i32..3).prop_map(|(m, e)| Ok(Value::Number(Decimal::new(i128::from(m), e)))),
        1 => (any::<i64>(), -20i32..20).prop_map(|(m, e)| Ok(Value::Number(Decimal::new(i128::from(m), e)))),
        1 => (any::<i128>(), -400i32..400).prop_map(|(m, e)| Ok(Value::Number(Decimal::new(m, e)))),
        1 => any::<bool>().prop_map(|flag| Ok(Value::Bool(flag))),
        1 => ".{0,10}".prop_map(|text| Ok(Value::Text(text.into()))),
        1 => any::<u8>().prop_map(|code| Err(Bad::Exception(code))),
        1 => Just(Err(Bad::NoReply)),
        1 => Just(Err(Bad::TwoAnswers)),
    ]
}

/// Devices and points that the schema knows and some that it does not; a point at most once, in the schema's order.
fn readings() -> impl Strategy<Value = Vec<(Reading, Number)>> {
    let samples = proptest::collection::vec(proptest::option::of(sample()), 5);
    let took = prop_oneof![3 => Just(0u64), 1 => 1001..100_000u64];
    let one = ("[abz]", any::<bool>(), -20_000i64..20_000, took, samples, 1u64..20);
    (proptest::collection::vec(one, 1..30), any::<i64>(), any::<bool>(), any::<u32>()).prop_map(
        |(list, start, clock_unsure, epoch)| {
            let (mut ts, mut seq) = (start, 0u64);
            list.into_iter()
                .map(|(device, steady, jitter, took, samples, gap)| {
                    ts = ts.wrapping_add(10_000).wrapping_add(if steady { 0 } else { jitter });
                    seq += if steady { 1 } else { gap };
                    let samples = ["u", "p", "h", "x", "y"].into_iter().zip(samples);
                    let samples = samples.filter_map(|(name, sample)| Some((name.parse().unwrap(), sample?)));
                    let (device, took) = (device.parse().unwrap(), Duration::from_millis(took));
                    let samples = samples.collect();
                    let reading =
                        Reading { device, ts: Timestamp(ts), took, clock_unsure, boot: None, samples };
                    (reading, Number { epoch, seq })
                })
                .collect()
        },
    )
}

fn numbered(readings: &[(Reading, Number)]) -> Vec<Numbered<'_>> {
    readings.iter().map(|(reading, number)| Numbered { reading, number: *number }).collect()
}

/// As it is told: JSON, with its points by name, since their order is the schema's.
fn told(readings: &[(Reading, Number)]) -> Vec<String> {
    let sorted = |reading: &Reading| {
        let by_name: BTreeMap<_, _> = reading.samples.iter().cloned().collect();
        Reading { samples: by_name.into_iter().collect(), ..reading.clone() }
    };
    readings.iter().map(|(reading, number)| json::reading(&sorted(reading), *number, Some("g"))).collect()
}

fn names() -> Names {
    Names::from_meta(&json::meta(&site(), usize::MAX).unwrap().unwrap()).unwrap()
}

/// Encodes all of them, in as many batches as that takes, and decodes them again.
fn there_and_back(readings: &[(Reading, Number)], schema: &Schema, at_most: usize) -> Vec<(Reading, Number)> {
    let (numbered, names, mut at, mut back) = (numbered(readings), names(), 0, Vec::new());
    while at < numbered.len() {
        let payload = encode(&numbered[at..], schema, true, at_most).unwrap();
        assert!(payload.taken > 0 && payload.octets.len() <= at_most);
        at += payload.taken;
        let decoded = decode(&payload.octets, Some(&names)).unwrap();
        assert!(decoded.backlog);
        back.extend(decoded.readings);
    }
    back
}

proptest! {
    #[test]
    fn readings_come_back_digit_for_digit(readings in readings(), at_most in prop_oneof![Just(1000usize), Just(1 << 20)]) {
        let site = site();
        let options = Options::default();
        for schema in [Schema::of(&site, &options), Schema::unpublished(&site, &options)] {
            let back = there_and_back(&readings, &schema, at_most);
            prop_assert_eq!(told(&back), told(&readings));
        }
    }

    #[test]
    fn octets_of_any_kind_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&octets, Some(&names()));
        // What is compressed gets through to the messages.
        let _ = decode(&zstd::bulk::compress(&octets, 1).unwrap(), Some(&names()));
        for frame in frames(&octets) {
            let _ = frame;
        }
    }

    #[test]
    fn a_batch_with_octets_changed_never_panics(
        readings in readings(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let schema = Schema::of(&site(), &Options::default());
        let mut raw = write::batch(&numbered(&readings), &schema, false).encode_to_vec();
        for (place, octet) in changes {
            let place = place.index(raw.len());
            raw[place] = octet;
        }
        if let Ok(decoded) = decode(&zstd::bulk::compress(&raw, 1).unwrap(), Some(&names())) {
            let samples: usize = decoded.readings.iter().map(|(reading, _)| reading.samples.len() + 1).sum();
            prop_assert!(samples <= MOST_DECODED);
        }
    }
}

#[test]
fn a_batch_ends_where_the_epoch_or_the_trust_in_the_clock_does() {
    let one = |epoch, clock_unsure| {
        let number = Number { epoch, seq: 1 };
        (Reading { clock_unsure, ..reading("a", &[("u", Ok("1"))]) }, number)
    };
    let readings = [one(1, true), one(1, true), one(1, false), one(2, false)];
    let schema = Schema::of(&site(), &Options::default());
    let (numbered, mut at, mut taken) = (numbered(&readings), 0, Vec::new());
    while at < numbered.len() {
        let payload = encode(&numbered[at..], &schema, false, 10_000).unwrap();
        taken.push(payload.taken);
        at += payload.taken;
    }
    assert_eq!(taken, [2, 1, 1]);
    assert_eq!(told(&there_and_back(&readings, &schema, 10_000)), told(&readings));
}

#[test]
fn a_batch_holds_so_many_readings_and_values_and_no_more() {
    let row = reading("a", &[("u", Ok("1")), ("p", Ok("2"))]);
    let many = |count: usize, reading: &Reading| -> Vec<(Reading, Number)> {
        (0..count).map(|n| (reading.clone(), Number { epoch: 1, seq: n as u64 })).collect()
    };
    assert_eq!(alike(&numbered(&many(MOST_READINGS + 1, &row))), MOST_READINGS);
    let mut wide = row;
    wide.samples = vec![wide.samples[0].clone(); 10_000];
    assert_eq!(alike(&numbered(&many(5, &wide))), 3);
    wide.samples = vec![wide.samples[0].clone(); MOST_VALUES + 1];
    assert_eq!(alike(&numbered(&many(2, &wide))), 1);
}

#[test]
fn a_schema_that_is_not_at_hand_is_said_and_never_guessed() {
    let readings = [(reading("b", &[("u", Ok("1"))]), Number { epoch: 1, seq: 1 })];
    let schema = Schema::of(&site(), &Options::default());
    let payload = encode(&numbered(&readings), &schema, false, 1000).unwrap().octets;
    let other = Names { schema: 1, ..names() };
    for names in [None, Some(&other)] {
        assert_eq!(decode(&payload, names), Err(Unreadable::Schema { schema: schema.id }));
    }
    let mut fewer = names();
    fewer.site.devices.truncate(1);
    assert_eq!(decode(&payload, Some(&fewer)), Err(Unreadable::NoDevice(1)));
}

#[test]
fn what_claims_to_be_huge_is_refused_before_it_is_made() {
    let bomb = zstd::bulk::compress(&vec![0x1a; 100 << 20], 1).unwrap();
    assert!(bomb.len() < 20_000);
    assert_eq!(decode(&bomb, None), Err(Unreadable::TooMuch));
    let huge = |device: wire::Device| {
        let dev = vec![device.encode_to_vec()];
        let batch = wire::Batch { dev, ..Default::default() };
        decode(&compressed(&batch.encode_to_vec()).unwrap(), None)
    };
    let device = wire::Device { rows: u32::MAX, name: "a".into(), ..Default::default() };
    assert_eq!(huge(device.clone()), Err(Unreadable::TooMany));
    let columns = vec![Vec::new(); 1000];
    let wide = wire::Device { rows: 1000, col: columns, ..device.clone() };
    assert_eq!(huge(wide), Err(Unreadable::TooMany));
    let empty = wire::Device { rows: 0, col: vec![Vec::new(); MOST_DECODED], ..device.clone() };
    assert_eq!(huge(empty), Err(Unreadable::TooMany));
    let again = wire::Quality { col: vec![0, 0], run: vec![16, 2] };
    let twice = wire::Device {
        rows: 2,
        col: vec![vec![]],
        extra: vec!["u".into()],
        q: vec![again],
        ..device.clone()
    };
    assert!(matches!(
        huge(twice),
        Err(Unreadable::Device { what: "reasons for no column, or twice for one", .. })
    ));
    let run = wire::Quality { col: vec![0], run: vec![16, u32::MAX] };
    let long = wire::Device { rows: 2, col: vec![vec![]], extra: vec!["u".into()], q: vec![run], ..device };
    assert!(matches!(
        huge(long),
        Err(Unreadable::Device { what: "runs are longer than there are rows", .. })
    ));
}

#[test]
fn a_frame_that_was_damaged_on_the_way_is_noticed() {
    let readings = [(reading("a", &[("u", Ok("231.7"))]), Number { epoch: 1, seq: 1 })];
    let schema = Schema::of(&site(), &Options::default());
    let payload = encode(&numbered(&readings), &schema, false, 1000).unwrap().octets;
    for place in 0..payload.len() {
        let mut damaged = payload.clone();
        damaged[place] ^= 0x10;
        let back = decode(&damaged, Some(&names()));
        assert!(back.is_err() || back == decode(&payload, Some(&names())), "octet {place}");
        assert!(decode(&payload[..place], Some(&names())).is_err(), "cut at {place}");
    }
}

#[test]
fn frames_are_parted_whatever_stands_between_them() {
    let frame = zstd::bulk::compress(b"x", 1).unwrap();
    let file = [&frame[..], b"\n", &frame[..], &frame[..], b"\r\n"].concat();
    let parted: Vec<&[u8]> = frames(&file).map(Result::unwrap).collect();
    assert_eq!(parted, [frame.as_slice(); 3]);
    let cut: Vec<_> = frames(&file[..file.len() - 5]).collect();
    assert!(cut.len() == 3 && cut[2].is_err());
    assert!(matches!(frames(b"{\"ts\"").collect::<Vec<_>>().as_slice(), [Err(Unreadable::Frame(_))]));
}

#[test]
fn within_tolerances_values_are_near_and_counters_exact() {
    let mut site = site();
    let mut points = site.devices[0].points.to_vec();
    points[1].index = true;
    site.devices[0].points = points.into();
    let all = Some(Tolerance::Absolute("0.5".parse().unwrap()));
    let options = Options { tolerances: Tolerances { all, ..Tolerances::default() } };
    let schema = Schema::of(&site, &options);
    let readings: Vec<_> = (0..40)
        .map(|n| {
            let value = format!("23{}.{}", n % 4, n % 10);
            (reading("a", &[("u", Ok(&value)), ("p", Ok(&value))]), Number { epoch: 1, seq: n })
        })
        .collect();
    let payload = encode(&numbered(&readings), &schema, false, 10_000).unwrap();
    let names = Names::from_meta(&json::meta(&site, usize::MAX).unwrap().unwrap()).unwrap();
    let decoded = decode(&payload.octets, Some(&names)).unwrap();
    assert!(decoded.bounded && !decoded.backlog);
    for ((before, _), (after, _)) in readings.iter().zip(&decoded.readings) {
        let number = |reading: &Reading, point: usize| match &reading.samples[point].1 {
            Ok(Value::Number(number)) => *number,
            other => panic!("{other:?}"),
        };
        assert_eq!(number(before, 1), number(after, 1));
        let off = number(before, 0).checked_sub(number(after, 0)).unwrap().to_f64();
        assert!(off.abs() <= 0.5, "{off}");
    }
}
