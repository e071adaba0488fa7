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
//! - No octets and no profile make it panic.
//!
//! # Order
//! `raw` → its sign (`negative_from`) → × `scale` × `scale_by` → `sign_by` → + `offset` → the canonical unit →
//! + `plus` → `resolution` → `range`.

mod date;
mod decode;
mod value;

use crate::bus::{Field, Scan};
use crate::model::{Bad, Name, Reading, Sample};
use crate::profile::{Point, Profile};
use std::collections::BTreeMap;
use std::sync::Arc;
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

/// Reads scans one after the other, and knows what scales values between the scans it is read in.
#[derive(Debug, Default)]
pub struct Normalizer {
    devices: BTreeMap<Name, Known>,
}

/// What is known of one device.
#[derive(Debug)]
struct Known {
    /// Another profile is another meter.
    profile: Arc<Profile>,
    /// By point: those that others need.
    factors: BTreeMap<usize, Vec<u8>>,
}

impl Normalizer {
    pub fn reading(&mut self, scan: &Scan, clock_unsure: bool) -> Reading {
        let needed = needed(&scan.profile);
        if needed.is_empty() {
            return reading(scan, clock_unsure);
        }
        let fresh = || Known { profile: Arc::clone(&scan.profile), factors: BTreeMap::new() };
        let known = self.devices.entry(scan.device.clone()).or_insert_with(fresh);
        if !Arc::ptr_eq(&known.profile, &scan.profile)
            || scan.fields.iter().all(|field| field.octets.is_err())
        {
            *known = fresh();
        }
        for field in scan.fields.iter().filter(|field| needed.contains(&field.point)) {
            match &field.octets {
                Ok(octets) => known.factors.insert(field.point, octets.clone()),
                Err(_) => known.factors.remove(&field.point),
            };
        }
        read(scan, Some(&known.factors), clock_unsure)
    }
}

/// The points that may scale others from another scan.
fn needed(profile: &Profile) -> Vec<usize> {
    profile
        .points
        .iter()
        .filter(|point| !point.stands_alone())
        .flat_map(|point| point.needs().cached)
        .collect()
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
mod tests;
