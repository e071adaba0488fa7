//! Readings → the octets of a segment. The layout stands on the room's page.

use super::cursor::{put_signed, put_unsigned, zigzag};
use super::device::{
    AS_IT_IS, BOOT_STAMP, DIFFERENCE, Device, KEY, KEY_EVERY, Last, MOST_DEVICES, MOST_POINTS, MOST_SHAPES,
    Point, RUN, SAME_SHAPE, STEPS, UNSURE, WHOLE, shared,
};
use super::{put_name, put_sample};
use crate::model::{Decimal, Name, Reading, Sample, Value};
use std::collections::BTreeMap;

/// Zeros that a number may be given so that all of a point's numbers have the same steps.
const MOST_ZEROS: u32 = 18;

/// Packs the records of one segment, front to back.
#[derive(Debug, Default)]
pub struct Packer {
    devices: BTreeMap<Name, Known>,
    numbers: u64,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Known {
    device: Device,
    /// Records since its key frame.
    since_key: u32,
}

impl Packer {
    /// Appends a record to `out`, at most 11 octets more than its own. What is no reading in the loose layout, or
    /// was sampled at another time than `ts_ms`, is kept as it is.
    pub fn pack(&mut self, position: u64, ts_ms: i64, octets: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let reading = super::decode(octets).ok().filter(|reading| {
            let fits = reading.ts.0 == ts_ms && reading.samples.len() <= MOST_POINTS;
            fits && super::encode(reading) == octets
        });
        if let Some(reading) = &reading {
            self.pack_reading(position, reading, out);
            if out.len() > start && out.len() - start <= octets.len() + 11 {
                return;
            }
            // Not smaller: the device begins anew with its next record.
            self.devices.remove(&reading.device);
            out.truncate(start);
        }
        out.push(AS_IT_IS);
        put_signed(out, i128::from(ts_ms));
        out.extend_from_slice(octets);
    }

    /// Nothing is appended where there are more devices than can be numbered.
    fn pack_reading(&mut self, position: u64, reading: &Reading, out: &mut Vec<u8>) {
        if let Some(known) = self.devices.get_mut(&reading.device)
            && known.since_key < KEY_EVERY - 1
            && is_of_the_same_boot(&known.device, reading)
            && let Some(shape) = shape_of(&mut known.device, reading)
        {
            known.since_key += 1;
            self.scratch.clear();
            put_difference(&mut known.device, position, reading, shape, &mut self.scratch);
            out.extend_from_slice(&self.scratch);
            return;
        }
        let before = self.devices.remove(&reading.device);
        let number = before.as_ref().map_or(self.numbers, |known| known.device.number);
        if number >= MOST_DEVICES {
            return;
        }
        self.numbers = self.numbers.max(number + 1);
        let mut device = put_key(number, before.as_ref().map(|known| &known.device), position, reading, out);
        if let Some(other) = self.devices.values().next() {
            device.share_names(&other.device);
        }
        self.devices.insert(reading.device.clone(), Known { device, since_key: 0 });
    }
}

/// A difference has no room for another boot's id; a reading that has none needs none.
fn is_of_the_same_boot(device: &Device, reading: &Reading) -> bool {
    reading.boot.is_none_or(|stamp| device.boot.is_some_and(|before| before.boot == stamp.boot))
}

fn flags(reading: &Reading) -> u8 {
    let unsure = if reading.clock_unsure { UNSURE } else { 0 };
    unsure | if reading.boot.is_some() { BOOT_STAMP } else { 0 }
}

/// Which shape a reading has.
enum Shape {
    Same,
    Known(usize),
    /// A new one, whose points are those that were known and, from this number on, new ones.
    New {
        known: usize,
    },
}

/// Finds the shape of a reading or adds it; `None` where the device has no room for another one.
fn shape_of(device: &mut Device, reading: &Reading) -> Option<Shape> {
    let is = |shape: &Vec<usize>| {
        let names = shape.iter().filter_map(|number| device.points.get(*number)).map(|point| &point.name);
        shape.len() == reading.samples.len() && names.eq(reading.samples.iter().map(|(name, _)| name))
    };
    if device.shapes.get(device.shape).is_some_and(is) {
        return Some(Shape::Same);
    }
    if let Some(found) = device.shapes.iter().position(is) {
        device.shape = found;
        return Some(Shape::Known(found));
    }
    let known = device.points.len();
    if device.shapes.len() >= MOST_SHAPES || known + reading.samples.len() > MOST_POINTS {
        return None;
    }
    let mut shape = Vec::with_capacity(reading.samples.len());
    for (name, _) in &reading.samples {
        let number = device.points.iter().position(|point| point.name == *name);
        shape.push(number.unwrap_or(device.points.len()));
        if number.is_none() {
            // Nothing yet: its first sample is written whole.
            device.points.push(Point { name: name.clone(), last: Last::Other(Ok(Value::Bool(false))) });
        }
    }
    device.shape = device.shapes.len();
    device.shapes.push(shape);
    Some(Shape::New { known })
}

fn put_key(
    number: u64,
    before: Option<&Device>,
    position: u64,
    reading: &Reading,
    out: &mut Vec<u8>,
) -> Device {
    out.push(KEY | flags(reading));
    put_unsigned(out, u128::from(number));
    put_name(out, &reading.device);
    put_signed(out, i128::from(reading.ts.0));
    if let Some(stamp) = reading.boot {
        out.extend_from_slice(&stamp.boot.0.to_le_bytes());
        put_unsigned(out, u128::from(stamp.at.0));
    }
    let took = u64::try_from(reading.took.as_millis()).unwrap_or(u64::MAX);
    put_unsigned(out, u128::from(took));
    put_unsigned(out, reading.samples.len() as u128);
    let mut points: Vec<Point> = Vec::with_capacity(reading.samples.len());
    for (name, sample) in &reading.samples {
        put_front_coded(out, points.last().map_or("", |point| point.name.as_str()), name.as_str());
        let finest = before.and_then(|device| finest(device, name));
        let last = put_whole(out, sample, finest);
        points.push(Point { name: name.clone(), last });
    }
    Device {
        number,
        shapes: vec![(0..points.len()).collect()],
        points,
        shape: 0,
        position,
        ts: reading.ts.0,
        step: 0,
        took,
        boot: reading.boot,
    }
}

/// The finest exponent that a point of this device has had.
fn finest(device: &Device, name: &Name) -> Option<i32> {
    device.points.iter().filter(|point| point.name == *name).find_map(|point| match point.last {
        Last::Number { exponent, .. } => Some(exponent),
        Last::Other(_) => None,
    })
}

fn put_front_coded(out: &mut Vec<u8>, before: &str, name: &str) {
    // A name has at most 64 characters, all of them ASCII.
    let same = shared(before, name);
    out.push(u8::try_from(same).unwrap_or(0));
    out.push(u8::try_from(name.len() - same).unwrap_or(0));
    out.extend_from_slice(&name.as_bytes()[same..]);
}

/// A whole sample, a number as fine as the point was before, if that can be.
fn put_whole(out: &mut Vec<u8>, sample: &Sample, finest: Option<i32>) -> Last {
    let Ok(Value::Number(number)) = sample else {
        put_sample(out, sample);
        return Last::Other(sample.clone());
    };
    let lifted = finest.and_then(|exponent| Some((lifted(*number, exponent)?, exponent)));
    let (mantissa, exponent) = lifted.unwrap_or((number.mantissa(), number.exponent()));
    out.push(super::NUMBER);
    put_signed(out, mantissa);
    put_signed(out, i128::from(exponent));
    Last::Number { mantissa, exponent }
}

/// The number in steps of this power of ten, where it is a multiple of it and of a usual size.
fn lifted(number: Decimal, exponent: i32) -> Option<i128> {
    if number.mantissa() == 0 {
        return Some(0);
    }
    let zeros = u32::try_from(number.exponent().checked_sub(exponent)?).ok()?;
    if zeros > MOST_ZEROS {
        return None;
    }
    number.mantissa().checked_mul(10i128.checked_pow(zeros)?)
}

fn put_difference(device: &mut Device, position: u64, reading: &Reading, shape: Shape, out: &mut Vec<u8>) {
    let same = if matches!(shape, Shape::Same) { SAME_SHAPE } else { 0 };
    out.push(DIFFERENCE | same | flags(reading));
    put_unsigned(out, u128::from(device.number));
    put_unsigned(out, u128::from(position.saturating_sub(device.position)));
    let step = i128::from(reading.ts.0) - i128::from(device.ts);
    put_signed(out, step - device.step);
    if let Some(stamp) = reading.boot {
        let foreseen = device.boot_time_after(step).unwrap_or_default();
        put_signed(out, i128::from(stamp.at.0).saturating_sub(foreseen));
    }
    let took = u64::try_from(reading.took.as_millis()).unwrap_or(u64::MAX);
    put_signed(out, i128::from(took) - i128::from(device.took));
    let mut first_new = device.points.len();
    match shape {
        Shape::Same => {}
        Shape::Known(number) => put_unsigned(out, number as u128 + 1),
        Shape::New { known } => {
            put_unsigned(out, 0);
            put_new_shape(device, known, out);
            first_new = known;
        }
    }
    put_samples(device, reading, first_new, out);
    (device.position, device.ts, device.step, device.took) = (position, reading.ts.0, step, took);
    device.boot = reading.boot;
}

fn put_new_shape(device: &Device, mut known: usize, out: &mut Vec<u8>) {
    let Some(shape) = device.shapes.get(device.shape) else { return };
    put_unsigned(out, shape.len() as u128);
    for number in shape {
        put_unsigned(out, *number as u128);
        if *number == known
            && let Some(point) = device.points.get(*number)
        {
            let before = known.checked_sub(1).and_then(|newest| device.points.get(newest));
            put_front_coded(out, before.map_or("", |point| point.name.as_str()), point.name.as_str());
            known += 1;
        }
    }
}

/// The samples in the shape's order; points from `first_new` on have no last sample yet.
fn put_samples(device: &mut Device, reading: &Reading, mut first_new: usize, out: &mut Vec<u8>) {
    let Device { points, shapes, shape, .. } = device;
    let Some(shape) = shapes.get(*shape) else { return };
    let mut unchanged = 0;
    for (number, (_, sample)) in shape.iter().zip(&reading.samples) {
        let Some(point) = points.get_mut(*number) else { return };
        let is_new = *number == first_new;
        if is_new {
            first_new += 1;
        }
        let steps = if is_new { None } else { steps(&point.last, sample) };
        if steps == Some(0) {
            unchanged += 1;
            continue;
        }
        put_run(out, &mut unchanged);
        match (steps, &mut point.last) {
            (Some(steps), Last::Number { mantissa, .. }) => {
                put_unsigned(out, zigzag(steps) + STEPS);
                *mantissa += steps;
            }
            (_, last) => {
                put_unsigned(out, WHOLE);
                let finest = match last {
                    Last::Number { exponent, .. } if !is_new => Some(*exponent),
                    Last::Number { .. } | Last::Other(_) => None,
                };
                *last = put_whole(out, sample, finest);
            }
        }
    }
    put_run(out, &mut unchanged);
}

fn put_run(out: &mut Vec<u8>, unchanged: &mut u128) {
    match *unchanged {
        0 => {}
        1 => put_unsigned(out, STEPS),
        n => {
            put_unsigned(out, RUN);
            put_unsigned(out, n - 2);
        }
    }
    *unchanged = 0;
}

/// From the last sample to this one; `None` where this one has to be written whole.
fn steps(last: &Last, sample: &Sample) -> Option<i128> {
    match (last, sample) {
        (Last::Number { mantissa, exponent }, Ok(Value::Number(number))) => {
            let steps = lifted(*number, *exponent)?.checked_sub(*mantissa)?;
            // Room for the codes that stand below the differences.
            (zigzag(steps) < u128::MAX - STEPS).then_some(steps)
        }
        (Last::Other(last), sample) if last == sample => Some(0),
        _ => None,
    }
}

/// Whether a packed record can begin with this octet: what is searched for one can tell with a glance.
pub fn begins_packed(octet: u8) -> bool {
    matches!(octet & super::device::KIND, AS_IT_IS | KEY | DIFFERENCE) && octet & 0x80 == 0
}
