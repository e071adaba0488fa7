//! Readings ⇄ octets on disk.
//!
//! The room's one promise: what was encoded decodes to the same reading, digit for digit, in every later
//! version of the program; and no octets whatever make the decoders panic or allocate without bound.
//!
//! There are two layouts. The *loose* one is self-contained and is what the rooms hand each other; the *packed*
//! one is how a segment of the spool keeps them: a tenth of the size.
//!
//! Integers are little endian; *varint* is LEB128, *signed* is a varint that was zigzag-coded before.
//!
//! # Loose, version 1 ([`encode`], [`decode`])
//!
//! | octets | meaning |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | flags: bit 0, the clock was unsure; bit 1, a boot stamp follows |
//! | 8 | ts, ms since 1970 UTC |
//! | varint | took, ms |
//! | 16, 8 | with bit 1: boot id, ns on that boot's clock |
//! | 1 + n | device: length, octets |
//! | varint | number of samples, then for each: |
//! | 1 + n | point: length, octets |
//! | … | *sample* |
//!
//! *Sample*: one octet for its kind: 0 number, 1 false, 2 true, 3 text, from 16 on bad (16 no-reply, 17 exception,
//! 18 garbled, 19 invalid, 20 out-of-range, 21 device-lost, 22 line-down, 23 line-stuck, 24 identity, 25 stale,
//! 26 not-yet, 27 two-answers); then, of a number: mantissa signed, exponent signed; of a text: length varint,
//! octets; of an exception: its code, one octet.
//!
//! # Packed, version 1 ([`Packer`], [`Unpacker`])
//! A segment is packed front to back; both sides keep, for each device, its points by number, what each of them
//! last was, and the *shapes* (lists of points) in which its readings came. The first octet says what follows:
//! bits 0–3 its kind, bit 4 that the clock was unsure, bit 5 (of a difference) that the shape is that of the
//! device's previous record, bit 6 that there is a boot stamp. It is never above 127.
//!
//! **Kind 1, as it is**: for what is no reading, or would not become smaller: ts signed, then the octets.
//!
//! **Kind 2, key frame**: needs nothing before it, and what was known of the device is forgotten. Number of the
//! device varint; its name (length, octets); ts signed; with bit 6: boot id, 16 octets, and ns on its clock, varint; took varint; number of samples varint, then for each:
//! its point's name, front-coded (how many octets it shares with the name before, how many follow, those), and
//! the *sample*. Its points are numbered from 0 in this order, and are the device's shape 0. A number may have
//! trailing zeros: it is written as fine as the point ever was in this segment, which is its profile's
//! resolution.
//!
//! **Kind 3, difference**: number of the device varint; how many positions ago the device's previous record was,
//! varint: if that is not the one that was read last, something between is missing, and the device is unreadable
//! up to its next key frame. Then ts signed, as the difference to what the previous step would lead to; with bit 6
//! (then the previous record has a stamp of the same boot): ns on its clock signed, as the difference to as long after
//! the previous stamp as the ts are apart; took signed, as a difference. Unless bit 5 is set, a varint: 0, a new shape follows (number of points varint, for
//! each its number; the next number that is free stands for a new point, and its front-coded name follows, the
//! name before it being that of the newest point); *n*, the device's shape *n* − 1. Then the samples in the order
//! of the shape, each by a varint:
//!
//! | varint | meaning |
//! | --- | --- |
//! | 0 | a varint *n* follows: this sample and the next *n* + 1 are as they were |
//! | 1 | a *sample* follows |
//! | 2 + z | *z* zigzag-decoded is the difference in steps of the number's last exponent; of what is no number, only 2: as it was |
//!
//! A device gets a key frame at a segment's start, after 63 differences, and whenever it has more than 64 shapes
//! or 4096 points. So damage to a record costs at most the device's records up to the next key frame.
//!
//! # Why
//! Meters change slowly: at a profile's resolution most differences fit into one octet. Names are spelled out
//! in each key frame rather than once, because the place where they stood once might be the damaged one.

mod cursor;
mod device;
mod pack;
mod unpack;

pub use pack::{Packer, begins_packed};
pub use unpack::{UnpackError, Unpacker};

use crate::model::{Bad, BootId, BootStamp, Decimal, Mono, Name, Reading, Sample, Timestamp, Value};
use cursor::{Input, put_signed, put_text, put_unsigned};
use std::time::Duration;

const VERSION: u8 = 1;
const CLOCK_UNSURE: u8 = 1;
const BOOT_STAMP: u8 = 2;
const NUMBER: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const TEXT: u8 = 3;
/// The number of every exception; its code follows.
const EXCEPTION: u8 = Bad::Exception(0).number();

/// Why octets are no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends in the middle")]
    Short,
    #[error("record layout {0} is not known to this version")]
    Version(u8),
    #[error("a sample of kind {0} is not known to this version")]
    Kind(u8),
    #[error("a name or text in the record is not valid")]
    Text,
    #[error("a number in the record is too long")]
    Number,
    #[error("{0} octets follow the record's end")]
    Trailing(usize),
}

pub fn encode(reading: &Reading) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + 28 * reading.samples.len());
    out.push(VERSION);
    let unsure = if reading.clock_unsure { CLOCK_UNSURE } else { 0 };
    out.push(unsure | if reading.boot.is_some() { BOOT_STAMP } else { 0 });
    out.extend_from_slice(&reading.ts.0.to_le_bytes());
    put_unsigned(&mut out, reading.took.as_millis());
    if let Some(stamp) = reading.boot {
        out.extend_from_slice(&stamp.boot.0.to_le_bytes());
        out.extend_from_slice(&stamp.at.0.to_le_bytes());
    }
    put_name(&mut out, &reading.device);
    put_unsigned(&mut out, reading.samples.len() as u128);
    for (point, sample) in &reading.samples {
        put_name(&mut out, point);
        put_sample(&mut out, sample);
    }
    out
}

pub fn decode(octets: &[u8]) -> Result<Reading, DecodeError> {
    let mut input = Input::new(octets);
    match input.octet()? {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let flags = input.octet()?;
    let ts = Timestamp(i64::from_le_bytes(input.array()?));
    let took = Duration::from_millis(input.unsigned_64()?);
    let boot = if flags & BOOT_STAMP == 0 { None } else { Some(take_stamp(&mut input)?) };
    let device = take_name(&mut input)?;
    let count = input.unsigned_64()?;
    let mut samples = Vec::new();
    for _ in 0..count {
        let point = take_name(&mut input)?;
        samples.push((point, take_sample(&mut input)?));
    }
    match input.left() {
        0 => Ok(Reading { device, ts, took, clock_unsure: flags & CLOCK_UNSURE != 0, boot, samples }),
        n => Err(DecodeError::Trailing(n)),
    }
}

fn take_stamp(input: &mut Input<'_>) -> Result<BootStamp, DecodeError> {
    let boot = BootId(u128::from_le_bytes(input.array()?));
    Ok(BootStamp { boot, at: Mono(u64::from_le_bytes(input.array()?)) })
}

fn put_name(out: &mut Vec<u8>, name: &Name) {
    // A name has at most 64 characters, all of them ASCII.
    out.push(u8::try_from(name.as_str().len()).unwrap_or(0));
    out.extend_from_slice(name.as_str().as_bytes());
}

fn take_name(input: &mut Input<'_>) -> Result<Name, DecodeError> {
    let length = usize::from(input.octet()?);
    let text = std::str::from_utf8(input.take(length)?).map_err(|_| DecodeError::Text)?;
    text.parse().map_err(|_| DecodeError::Text)
}

fn put_sample(out: &mut Vec<u8>, sample: &Sample) {
    match sample {
        Ok(Value::Number(number)) => {
            out.push(NUMBER);
            put_signed(out, number.mantissa());
            put_signed(out, i128::from(number.exponent()));
        }
        Ok(Value::Bool(flag)) => out.push(if *flag { TRUE } else { FALSE }),
        Ok(Value::Text(text)) => {
            out.push(TEXT);
            put_text(out, text);
        }
        Err(bad) => put_bad(out, *bad),
    }
}

fn put_bad(out: &mut Vec<u8>, bad: Bad) {
    out.push(bad.number());
    if let Bad::Exception(code) = bad {
        out.push(code);
    }
}

fn take_sample(input: &mut Input<'_>) -> Result<Sample, DecodeError> {
    let kind = input.octet()?;
    take_sample_of(kind, input)
}

fn take_sample_of(kind: u8, input: &mut Input<'_>) -> Result<Sample, DecodeError> {
    Ok(match kind {
        NUMBER => {
            let mantissa = input.signed()?;
            let exponent = i32::try_from(input.signed()?).map_err(|_| DecodeError::Number)?;
            Ok(Value::Number(Decimal::new(mantissa, exponent)))
        }
        FALSE => Ok(Value::Bool(false)),
        TRUE => Ok(Value::Bool(true)),
        TEXT => {
            let length = usize::try_from(input.unsigned_64()?).map_err(|_| DecodeError::Short)?;
            let text = std::str::from_utf8(input.take(length)?).map_err(|_| DecodeError::Text)?;
            Ok(Value::Text(text.into()))
        }
        EXCEPTION => Err(Bad::Exception(input.octet()?)),
        other => Err(Bad::of_number(other).ok_or(DecodeError::Kind(other))?),
    })
}

/// A reading of this number, for the tests of rooms that know no readings.
#[cfg(test)]
pub(crate) fn for_tests(device: &str, ts: i64, number: u64, with_a_bad_one: bool) -> Vec<u8> {
    let name = |name: &str| name.parse().unwrap();
    let mut samples = vec![(name("n"), Ok(Value::Number(Decimal::new(i128::from(number), -1))))];
    if with_a_bad_one {
        samples.push((name("bad"), Err(Bad::NoReply)));
    }
    let (device, ts, took) = (name(device), Timestamp(ts), Duration::ZERO);
    encode(&Reading { device, ts, took, clock_unsure: false, boot: None, samples })
}

#[cfg(test)]
mod packed_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn sample() -> impl Strategy<Value = Sample> {
        prop_oneof![
            (any::<i128>(), -400i32..400).prop_map(|(m, e)| Ok(Value::Number(Decimal::new(m, e)))),
            any::<bool>().prop_map(|flag| Ok(Value::Bool(flag))),
            ".{0,40}".prop_map(|text| Ok(Value::Text(text.into()))),
            any::<u8>().prop_map(|code| Err(Bad::Exception(code))),
            prop_oneof![
                Just(Bad::NoReply),
                Just(Bad::Garbled),
                Just(Bad::Invalid),
                Just(Bad::OutOfRange),
                Just(Bad::DeviceLost),
                Just(Bad::LineDown),
                Just(Bad::LineStuck),
                Just(Bad::Identity),
                Just(Bad::Stale),
                Just(Bad::NotYet),
                Just(Bad::TwoAnswers),
                Just(Bad::Factor),
                Just(Bad::SensorFault),
                Just(Bad::CounterFell)
            ]
            .prop_map(Err),
        ]
    }

    pub(super) fn reading() -> impl Strategy<Value = Reading> {
        let samples = proptest::collection::vec(("[A-Za-z0-9_-]{1,64}", sample()), 0..12);
        let clock = (any::<bool>(), any::<Option<(u128, u64)>>());
        ("[A-Za-z0-9_-]{1,64}", any::<i64>(), any::<u32>(), clock, samples).prop_map(
            |(device, ts, took, (clock_unsure, boot), samples)| Reading {
                device: device.parse().unwrap(),
                ts: Timestamp(ts),
                took: Duration::from_millis(u64::from(took)),
                clock_unsure,
                boot: boot.map(|(boot, at)| BootStamp { boot: BootId(boot), at: Mono(at) }),
                samples: samples.into_iter().map(|(name, sample)| (name.parse().unwrap(), sample)).collect(),
            },
        )
    }

    proptest! {
        #[test]
        fn a_reading_reads_back(reading in reading()) {
            prop_assert_eq!(decode(&encode(&reading)), Ok(reading));
        }

        #[test]
        fn every_cut_is_noticed(reading in reading(), cut in any::<prop::sample::Index>()) {
            let octets = encode(&reading);
            prop_assert!(decode(&octets[..cut.index(octets.len())]).is_err());
        }

        #[test]
        fn no_octets_make_it_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&octets);
            if let Some(version) = octets.first_mut() {
                *version = VERSION;
            }
            let _ = decode(&octets);
        }
    }

    /// If this fails, do not change this test: records of version 1 lie on disks in the field.
    #[test]
    fn version_1_stays_as_it_is() {
        let reading = Reading {
            device: "boiler".parse().unwrap(),
            ts: Timestamp(1_763_766_000_000),
            took: Duration::from_millis(300),
            clock_unsure: true,
            boot: None,
            samples: vec![
                ("p".parse().unwrap(), Ok(Value::Number("-1.25".parse().unwrap()))),
                ("on".parse().unwrap(), Ok(Value::Bool(true))),
                ("t".parse().unwrap(), Ok(Value::Text("ok".into()))),
                ("e".parse().unwrap(), Err(Bad::Exception(2))),
                ("n".parse().unwrap(), Err(Bad::NoReply)),
            ],
        };
        let hex: String = encode(&reading).iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(
            hex,
            "01018059a5a89a010000ac0206626f696c657205017000f90103026f6e02017403026f6b01651102016e10"
        );
    }
}
