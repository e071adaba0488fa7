//! The ends of every register's type, in every shipped profile: what they stand for by arithmetic that is not the program's.
//!
//! A raw number is put on the wire in the profile's word and octet order, and read by the real decoder. What is right is
//! reckoned here in whole numbers: raw × numerator ÷ denominator + offset, compared without rounding, or within half a step of
//! `resolution`.

use crate::common::octets::on_the_wire;
use linesman::model::{Bad, Decimal, Value};
use linesman::normalize;
use linesman::profile::{self, Format, Point, Sentinel};
use std::path::Path;

/// The ends of a whole-number type, its neighbours, and one whose octets all differ.
fn raws(format: Format) -> Vec<i128> {
    let all_differ = 0x1122_3344_5566_7788_i128;
    let types: [(Format, i128, i128, i128); 6] = [
        (Format::U16, 0, u16::MAX.into(), all_differ >> 48),
        (Format::S16, i16::MIN.into(), i16::MAX.into(), all_differ >> 48),
        (Format::U32, 0, u32::MAX.into(), all_differ >> 32),
        (Format::S32, i32::MIN.into(), i32::MAX.into(), all_differ >> 32),
        (Format::U64, 0, u64::MAX.into(), all_differ),
        (Format::S64, i64::MIN.into(), i64::MAX.into(), all_differ),
    ];
    let Some((_, least, most, some)) = types.into_iter().find(|(known, ..)| *known == format) else {
        return Vec::new();
    };
    let negative = if least < 0 { vec![least + 1, -1, -some] } else { vec![least + 1] };
    [&[least, 0, 1, some, most - 1, most], &negative[..]].concat()
}

fn bits_of(point: &Point, raw: i128) -> u64 {
    let all = u64::MAX >> (64 - 16 * u32::from(point.format.count()));
    u64::try_from(raw & i128::from(u64::MAX)).unwrap() & all
}

/// A fraction: numerator, and a denominator above zero.
type Exact = (i128, i128);

fn exact(decimal: Decimal) -> Exact {
    let power = 10_i128.pow(decimal.exponent().unsigned_abs());
    if decimal.exponent() < 0 { (decimal.mantissa(), power) } else { (decimal.mantissa() * power, 1) }
}

fn less((a, b): Exact, (c, d): Exact) -> bool {
    a * d < c * b
}

fn sum((a, b): Exact, (c, d): Exact) -> Exact {
    (a * d + c * b, b * d)
}

fn apart(a: Exact, b: Exact) -> Exact {
    let (n, d) = sum(a, (-b.0, b.1));
    (n.abs(), d)
}

/// What is wrong with what the decoder says of this raw number, if anything.
fn wrong(point: &Point, raw: i128) -> Option<String> {
    let bits = bits_of(point, raw);
    let said = normalize::sample(point, &on_the_wire(point, bits));
    let reason = point.invalid.iter().find(|(sentinel, _)| *sentinel == Sentinel::Bits(bits));
    if let Some((_, bad)) = reason {
        return (said != Err(*bad)).then(|| format!("{said:?}, and it is a sentinel"));
    }
    let scaled = (raw * point.scale.numerator(), point.scale.denominator());
    let right = sum(scaled, exact(point.offset));
    // Twice the distance is at most a step, where there are steps.
    let step = point.resolution.map_or((0, 1), exact);
    let beyond = point.range.is_some_and(|(least, most)| {
        less(sum(right, step), exact(least)) || less(exact(most), sum(right, (-step.0, step.1)))
    });
    let within = point.range.is_none_or(|(least, most)| {
        !less(sum(right, (-step.0, step.1)), exact(least)) && !less(exact(most), sum(right, step))
    });
    match said {
        Ok(Value::Number(number)) => {
            let (n, d) = apart(exact(number), right);
            let far = less(step, (2 * n, d));
            (far || beyond).then(|| format!("{number}, and {right:?} is right"))
        }
        Err(Bad::OutOfRange) if !within => None,
        other => Some(format!("{other:?}, and {right:?} is right")),
    }
}

#[test]
fn the_ends_of_every_whole_number_of_every_shipped_profile_are_exact() {
    let mut looked = 0;
    for name in profile::builtin() {
        let profile = profile::find(name, Path::new("."), &[]).unwrap();
        let plain = |point: &&Point| {
            point.stands_alone()
                && !point.table.is_bits()
                && point.words.is_empty()
                && point.bit.is_none()
                && point.bits.is_none()
                && point.negative_from.is_none()
        };
        for point in profile.points.iter().filter(plain) {
            for raw in raws(point.format) {
                looked += 1;
                if let Some(wrong) = wrong(point, raw) {
                    panic!("{name} {}: raw {raw}: {wrong}", point.name);
                }
            }
        }
    }
    assert!(looked > 10_000, "{looked}");
}

#[test]
fn the_ends_of_every_float_of_every_shipped_profile_are_exact() {
    let mut looked = 0;
    for name in profile::builtin() {
        let profile = profile::find(name, Path::new("."), &[]).unwrap();
        let plain = |point: &&Point| point.stands_alone() && point.format == Format::F32;
        for point in profile.points.iter().filter(plain) {
            for number in
                [0.0, 1.0, -1.0, 0.1, 231.7, -12_368.72, 16_777_216.0, 1e-9, f32::MAX, f32::MIN_POSITIVE]
            {
                looked += 1;
                let said = normalize::sample(point, &on_the_wire(point, u64::from(number.to_bits())));
                // The shortest decimal that reads back as this float, by the standard library.
                let shortest: Decimal = format!("{number:e}").parse().unwrap();
                let right = shortest.scaled(point.scale).and_then(|right| right.checked_add(point.offset));
                let right =
                    right.and_then(|right| point.resolution.map_or(Ok(right), |step| right.rounded_to(step)));
                match (said, right, point.range) {
                    (Ok(Value::Number(said)), Ok(right), _) => {
                        assert_eq!(said, right, "{name} {}: {number}", point.name)
                    }
                    (Err(Bad::OutOfRange), Ok(right), Some((least, most))) => {
                        assert!(right < least || right > most, "{name} {}: {number}", point.name);
                    }
                    // Digits that nobody can keep exactly are no number.
                    (Err(_), Err(_), _) => {}
                    (said, right, _) => panic!("{name} {}: {number}: {said:?}, {right:?}", point.name),
                }
            }
        }
    }
    assert!(looked > 10_000, "{looked}");
}
