//! Octets + profile → reading: a pure function.
//!
//! # Promises
//! - Exact: what leaves is the decimal that the register holds, scaled by an exact ratio and, where the
//!   profile gives a `resolution`, rounded to it. No floating-point arithmetic is done on the way; an
//!   `f32` becomes the shortest decimal that reads back as the same `f32`.
//! - A bad point has a reason: a sentinel or a not-a-number is `invalid`; outside the profile's `range`,
//!   or a code its `enum` does not list, is `out-of-range`; digits that are no BCD are `garbled`.
//! - No octets and no profile make it panic.

mod decode;

use crate::bus::{Field, Scan};
use crate::model::{Bad, Decimal, Reading, Sample, Value};
use crate::profile::{Format, Point, Sentinel};
use decode::Raw;

/// The reading of a scan.
pub fn reading(scan: &Scan, clock_unsure: bool) -> Reading {
    let named = |field: &Field| {
        let point = scan.profile.points.get(field.point)?;
        let sample = match &field.octets {
            Ok(octets) => sample(point, octets),
            Err(bad) => Err(*bad),
        };
        Some((point.name.clone(), sample))
    };
    Reading {
        device: scan.device.clone(),
        ts: scan.ts,
        took: scan.took,
        clock_unsure,
        boot: None,
        samples: scan.fields.iter().filter_map(named).collect(),
    }
}

/// One point's value from its octets as they stood on the wire.
pub fn sample(point: &Point, octets: &[u8]) -> Sample {
    match decode::raw(point, octets)? {
        Raw::Text(text) => Ok(Value::Text(text.into())),
        Raw::NotFinite => Err(Bad::Invalid),
        Raw::Float { bits, value } => {
            if is_sentinel(point, bits) {
                return Err(Bad::Invalid);
            }
            number(point, value)
        }
        Raw::Integer { bits, value } => {
            if is_sentinel(point, bits) {
                return Err(Bad::Invalid);
            }
            if let Some(bit) = point.bit {
                return Ok(Value::Bool(bits.checked_shr(u32::from(bit)).unwrap_or(0) & 1 == 1));
            }
            if !point.words.is_empty() {
                return word(point, bits);
            }
            if point.format == Format::Bool {
                return Ok(Value::Bool(bits != 0));
            }
            number(point, Decimal::new(value, 0))
        }
    }
}

fn is_sentinel(point: &Point, bits: u64) -> bool {
    point.invalid.contains(&Sentinel::Bits(bits))
}

fn word(point: &Point, code: u64) -> Sample {
    let word = point.words.iter().find(|(listed, _)| *listed == code);
    word.map(|(_, word)| Value::Text(word.clone())).ok_or(Bad::OutOfRange)
}

fn number(point: &Point, raw: Decimal) -> Sample {
    let scaled = raw.scaled(point.scale).and_then(|value| value.checked_add(point.offset));
    let value = scaled.and_then(|value| match point.resolution {
        Some(step) => value.rounded_to(step),
        None => Ok(value),
    });
    // What no decimal can hold is far outside anything a meter measures.
    let value = value.map_err(|_| Bad::OutOfRange)?;
    match point.range {
        Some((least, most)) if value < least || value > most => Err(Bad::OutOfRange),
        Some(_) | None => Ok(Value::Number(value)),
    }
}

#[cfg(test)]
mod tests;
