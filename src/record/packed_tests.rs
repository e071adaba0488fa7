//! Packing: exact, whatever the readings are; harmless, whatever the octets are; small, where meters change slowly.

use super::tests::{reading, sample};
use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

fn packed(readings: &[Reading]) -> Vec<Vec<u8>> {
    let mut packer = Packer::default();
    let pack = |(n, reading): (usize, &Reading)| {
        let mut out = Vec::new();
        packer.pack(n as u64 + 1, reading.ts.0, &encode(reading), &mut out);
        out
    };
    readings.iter().enumerate().map(pack).collect()
}

/// Readings of a few devices with a few points, now these, now those, whose values wander and jump.
fn history() -> impl Strategy<Value = Vec<Reading>> {
    let value = prop_oneof![
        6 => (-200i128..200, -3i32..3).prop_map(|(m, e)| Ok(Value::Number(Decimal::new(m + 23_000, e)))),
        1 => Just(Ok(Value::Number(Decimal::ZERO))),
        1 => sample(),
    ];
    let samples = proptest::collection::vec((0..8usize, value), 0..10);
    let one = prop_oneof![
        12 => (0..3usize, 0..20i64, 0..5u64, (any::<bool>(), proptest::option::of((0..2u128, any::<u32>()))), samples).prop_map(|(device, ts, took, (clock_unsure, boot), samples)| Reading {
            device: ["a", "meter-b", "meter-c"][device].parse().unwrap(),
            ts: Timestamp(1_763_766_000_000 + ts * 1000),
            took: Duration::from_millis(took),
            clock_unsure,
            boot: boot.map(|(boot, at)| BootStamp { boot: BootId(boot), at: Mono(u64::from(at) << 32) }),
            samples: samples.into_iter().map(|(n, value)| (["p", "voltage_l1", "voltage_l2", "voltage_l3", "v", "vo", "q", "energy"][n].parse().unwrap(), value)).collect(),
        }),
        1 => reading(),
    ];
    proptest::collection::vec(one, 0..200)
}

fn steady(n: i64, points: usize) -> Reading {
    let value = |point: usize| {
        let n = n as i128;
        Ok(Value::Number(Decimal::new(230_000 + (n * 7 + point as i128 * 13) % 50, -1)))
    };
    Reading {
        device: format!("meter-{}", n % 10).parse().unwrap(),
        ts: Timestamp(1_763_766_000_000 + n * 1000),
        took: Duration::from_millis(300),
        clock_unsure: false,
        boot: None,
        samples: (0..points)
            .map(|point| (format!("voltage_l{point}").parse().unwrap(), value(point)))
            .collect(),
    }
}

proptest! {
    #[test]
    fn readings_read_back_digit_for_digit(readings in history()) {
        let mut unpacker = Unpacker::default();
        for (n, (reading, octets)) in readings.iter().zip(packed(&readings)).enumerate() {
            let back = unpacker.unpack(n as u64 + 1, &octets);
            prop_assert_eq!(back, Ok((reading.ts.0, encode(reading))), "{:?}", reading);
            prop_assert!(octets[0] < 128 && octets.len() <= encode(reading).len() + 11);
        }
    }

    #[test]
    fn what_is_no_reading_is_kept_as_it_is(octets in proptest::collection::vec(any::<u8>(), 0..100), ts in any::<i64>(), reading in reading()) {
        let mut loose = encode(&reading);
        if let Some(last) = loose.last_mut() { *last ^= 1 }
        for octets in [octets, loose, encode(&reading)] {
            let mut out = Vec::new();
            Packer::default().pack(7, ts, &octets, &mut out);
            prop_assert_eq!(Unpacker::default().unpack(7, &out), Ok((ts, octets)));
        }
    }

    #[test]
    fn no_octets_make_the_unpacker_panic(readings in history(), pieces in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..40)) {
        let (mut octets, mut unpacker) = (packed(&readings), Unpacker::default());
        for (n, (at, of, to)) in pieces.into_iter().enumerate() {
            if octets.is_empty() { break }
            let which = of.index(octets.len());
            let record = &mut octets[which];
            let index = at.index(record.len());
            record[index] = to;
            let _ = unpacker.unpack(n as u64 + 1, record);
            let _ = unpacker.unpack(which as u64 + 1, record);
        }
    }

    #[test]
    fn octets_by_chance_are_refused(octets in proptest::collection::vec(any::<u8>(), 0..200), first in 0u8..0x80) {
        let _ = Unpacker::default().unpack(1, &octets);
        let _ = Unpacker::default().unpack(1, &[&[first], &octets[..]].concat());
    }

    #[test]
    fn a_missing_record_costs_its_device_up_to_the_next_key_frame(missing in 0..2000usize) {
        let readings: Vec<Reading> = (0..2000).map(|n| steady(n, 4)).collect();
        let (mut unpacker, mut lost) = (Unpacker::default(), 0);
        for (n, octets) in packed(&readings).iter().enumerate().filter(|(n, _)| *n != missing) {
            match unpacker.unpack(n as u64 + 1, octets) {
                Ok((_, loose)) => prop_assert_eq!(loose, encode(&readings[n])),
                Err(error) => {
                    prop_assert_eq!(error, UnpackError::Unfounded);
                    prop_assert_eq!(n % 10, missing % 10, "another device's record");
                    lost += 1;
                }
            }
        }
        prop_assert!(lost < 64, "{}", lost);
        let at = missing / 10 % 64;
        let left = (1999 - missing) / 10;
        prop_assert_eq!(lost, if at == 0 { 63.min(left) } else { (63 - at).min(left) }, "at {}", missing);
    }
}

#[test]
fn a_meter_that_changes_slowly_takes_less_than_two_octets_a_reading() {
    let readings: Vec<Reading> = (0..6400).map(|n| steady(n, 30)).collect();
    let octets: usize = packed(&readings).iter().map(Vec::len).sum();
    let each = octets as f64 / (6400.0 * 30.0);
    assert!(each < 1.6, "{each}");
}

#[test]
fn a_point_that_is_now_finer_now_coarser_keeps_its_steps_over_a_key_frame() {
    // 230, 230.1, 230.2 …: a whole number must not make the next tenth a whole sample again.
    let mut readings: Vec<Reading> = (0..256).map(|n| steady(n * 10, 30)).collect();
    for (n, reading) in readings.iter_mut().enumerate() {
        let value = Decimal::new(2_300 + (n as i128 % 3) * 5, -1);
        reading.samples.iter_mut().for_each(|(_, sample)| *sample = Ok(Value::Number(value)));
    }
    let octets: Vec<usize> = packed(&readings).iter().map(Vec::len).collect();
    assert!(
        octets[65..].iter().enumerate().filter(|(n, _)| (n + 65) % 64 != 0).all(|(_, n)| *n < 50),
        "{octets:?}"
    );
}

/// A gateway that never learns the time must not fill its disk ten times as fast.
#[test]
fn a_boot_stamp_costs_an_octet_and_a_boot_is_named_once() {
    let of = |n: i64| {
        let at = Mono(u64::try_from(n).unwrap() * 1_000_000_000 + 5_000_000);
        Reading { clock_unsure: true, boot: Some(BootStamp { boot: BootId(7), at }), ..steady(n, 30) }
    };
    let size = |readings: Vec<Reading>| packed(&readings).iter().map(Vec::len).sum::<usize>();
    let with = size((0..600).map(of).collect());
    let without = size((0..600).map(|n| steady(n, 30)).collect());
    // The stamps of the first two steps are not foreseen yet.
    assert!(with - without < 600 + 10 * 10 * 40, "{with} {without}");
}

/// *do not change*: segments of version 1 lie on disks in the field.
#[test]
fn packed_boot_stamps_of_version_1_stay_as_they_are() {
    let of = |n: i64, boot: u128, at: u64| {
        let boot = Some(BootStamp { boot: BootId(boot), at: Mono(at) });
        Reading { clock_unsure: true, boot, ..steady(n, 1) }
    };
    let hex = |octets: &Vec<u8>| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let readings = [of(0, 5, 9_000_000), of(10, 5, 10_009_000_001), of(20, 6, 1)];
    let found: Vec<String> = packed(&readings).iter().map(hex).collect();
    assert_eq!(found, STAMPED);
}

const STAMPED: [&str; 3] = [
    "5200076d657465722d3080e6aa8ad56605000000000000000000000000000000c0a8a504ac0201000a766f6c746167655f6c30002e06",
    "730001a09c0102000100b4e70200",
    "5200076d657465722d30c09ead8ad5660600000000000000000000000000000001ac0201000a766f6c746167655f6c3000b8e70200",
];

/// *do not change*: segments of version 1 lie on disks in the field.
#[test]
fn packed_version_1_stays_as_it_is() {
    let mut first = steady(0, 3);
    first.samples[2].1 = Err(Bad::Exception(2));
    let mut second = steady(10, 3);
    second.clock_unsure = true;
    second.samples.push(("on".parse().unwrap(), Ok(Value::Bool(true))));
    let (third, fourth) = (steady(20, 3), first.clone());
    let hex = |octets: &Vec<u8>| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let found: Vec<String> = packed(&[first, second, third, fourth]).iter().map(hex).collect();
    assert_eq!(found, GOLDEN);
}

const GOLDEN: [&str; 4] = [
    "0200076d657465722d3080e6aa8ad566ac0203000a766f6c746167655f6c30002e0609013100fa891c010901321102",
    "130001a09c010000040001020300026f6e0100b4e702002a0100bc8a1c010102",
    "030001000001063d3d",
    "230001dfd403000916011102",
];
