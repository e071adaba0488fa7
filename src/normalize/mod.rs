//! Octets + profile → reading.
//!
//! # Promises
//! - Exact: what leaves is the decimal that the register holds, scaled by an exact ratio and, where the
//!   profile gives a `resolution`, rounded to it. No floating-point arithmetic is done on the way; an
//!   `f32` becomes the shortest decimal that reads back as the same `f32`.
//! - A bad point has a reason: a not-a-number is `invalid`, a sentinel what the profile says it stands for;
//!   outside the profile's `range`, or a code its `enum` does not list, is `out-of-range`; digits that are no
//!   BCD are `garbled`; a value whose factor, sign, unit or second part is bad or missing is `factor`.
//! - A value and what scales it are of one scan, or the factor is the last answer of the same meter: what was
//!   known of a device is forgotten with the first scan that nothing answered, and with a failed answer.
//! - A counter never steps down: rollover and reset are understood (`counter`), and where the profile wants a
//!   total it goes on over both, and over the exchange of a meter. It is never above what was counted.
//! - Where a meter says its serial number, values of another one are held with the reason `identity` until the
//!   owner has accepted it; after a silence also until it has been said again (`meters`). That is news, once.
//! - Another profile for a device: what it reads otherwise than the one before (another register, type, scale) begins
//!   anew, and the rest goes on.
//! - No octets and no profile make it panic.
//!
//! # Order
//! `raw` → its sign (`negative_from`) → × `scale` × `scale_by` → `sign_by` → + `offset` → the canonical unit →
//! + `plus` → `resolution` → `range`.

mod counter;
mod date;
mod decode;
mod kept;
mod meters;
mod value;

pub use kept::{Kept, KeptCounter, KeptDevice, KeptFallen};
pub use meters::{Changed, News, Normalizer};

use crate::bus::{Field, Scan};
use crate::model::{Bad, Reading, Sample};
use crate::profile::{Point, Profile};
use std::collections::BTreeMap;
use value::Others;

/// The reading of a scan that is all there is: what a point needs has to be in it.
pub fn reading(scan: &Scan, clock_unsure: bool) -> Reading {
    read(scan, None, clock_unsure)
}

/// One point's value from its octets as they stood on the wire; what needs other points is `factor`.
pub fn sample(point: &Point, octets: &[u8]) -> Sample {
    if !point.stands_alone() {
        return Err(Bad::Factor);
    }
    Others { profile: &Profile::default(), scan: &[], known: None }.sample(point, octets)
}

/// The samples of a profile's points, where these are all the octets there are.
pub fn samples(profile: &Profile, fields: &[Field]) -> Vec<(usize, Sample)> {
    let others = Others { profile, scan: fields, known: None };
    let sample = |field: &Field| {
        let point = profile.points.get(field.point)?;
        let octets = field.octets.as_ref().map_err(|bad| *bad);
        Some((field.point, octets.and_then(|octets| others.sample(point, octets))))
    };
    fields.iter().filter_map(sample).collect()
}

fn read(scan: &Scan, known: Option<&BTreeMap<usize, Vec<u8>>>, clock_unsure: bool) -> Reading {
    let others = Others { profile: &scan.profile, scan: &scan.fields, known };
    let named = |field: &Field| {
        let point = scan.profile.points.get(field.point)?;
        let sample = match &field.octets {
            Ok(octets) => others.sample(point, octets),
            Err(bad) => Err(*bad),
        };
        if point.internal && sample.is_ok() { None } else { Some((point.name.clone(), sample)) }
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

#[cfg(test)]
mod meters_tests;
#[cfg(test)]
mod tests;
