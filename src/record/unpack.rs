//! The octets of a segment → readings. The layout stands on the room's page.

use super::DecodeError;
use super::cursor::{Input, unzigzag};
use super::device::{
    AS_IT_IS, BOOT_STAMP, DIFFERENCE, Device, KEY, KIND, Last, MOST_DEVICES, MOST_POINTS, MOST_SHAPES, Point,
    RUN, SAME_SHAPE, STEPS, UNSURE, WHOLE,
};
use super::{NUMBER, take_name, take_sample_of};
use crate::model::{BootId, BootStamp, Mono, Name, Reading, Sample, Timestamp, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Why packed octets give no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    #[error("a record before it, on which it builds, is missing")]
    Unfounded,
    #[error(transparent)]
    Damaged(#[from] DecodeError),
}

/// Unpacks the records of one segment, front to back.
#[derive(Debug, Default)]
pub struct Unpacker {
    devices: BTreeMap<u64, (Name, Device)>,
}

impl Unpacker {
    /// The record's time and its octets in the loose layout, as they were packed. Records may be left out
    /// between, but then the devices they are of can't be read up to their next key frame.
    pub fn unpack(&mut self, position: u64, packed: &[u8]) -> Result<(i64, Vec<u8>), UnpackError> {
        let mut input = Input::new(packed);
        let first = input.octet()?;
        let reading = match first & KIND {
            AS_IT_IS => {
                let ts = i64::try_from(input.signed()?).map_err(|_| DecodeError::Number)?;
                return Ok((ts, input.take(input.left())?.to_vec()));
            }
            KEY => self.key(position, first, &mut input)?,
            DIFFERENCE => self.difference(position, first, &mut input)?,
            other => return Err(DecodeError::Version(other).into()),
        };
        match input.left() {
            0 => Ok((reading.ts.0, super::encode(&reading))),
            n => Err(DecodeError::Trailing(n).into()),
        }
    }

    fn key(&mut self, position: u64, first: u8, input: &mut Input<'_>) -> Result<Reading, UnpackError> {
        let number = input.unsigned_64()?;
        self.devices.remove(&number);
        let name = take_name(input)?;
        let ts = i64::try_from(input.signed()?).map_err(|_| DecodeError::Number)?;
        let boot = match first & BOOT_STAMP {
            0 => None,
            _ => {
                let boot = BootId(u128::from_le_bytes(input.array()?));
                Some(BootStamp { boot, at: Mono(input.unsigned_64()?) })
            }
        };
        let took = input.unsigned_64()?;
        let count = input.count(MOST_POINTS)?;
        if number >= MOST_DEVICES {
            return Err(DecodeError::Number.into());
        }
        let mut points: Vec<Point> = Vec::new();
        for _ in 0..count {
            let name = front_coded(input, points.last().map_or("", |point| point.name.as_str()))?;
            points.push(Point { name, last: whole(input)? });
        }
        let shapes = vec![(0..points.len()).collect()];
        let mut device = Device { number, points, shapes, shape: 0, position, ts, step: 0, took, boot };
        let samples = device.points.iter().map(|point| (point.name.clone(), point.last.sample())).collect();
        let reading = reading_of(&name, &device, first, samples);
        if let Some((_, other)) = self.devices.values().next() {
            device.share_names(other);
        }
        self.devices.insert(number, (name, device));
        Ok(reading)
    }

    fn difference(
        &mut self,
        position: u64,
        first: u8,
        input: &mut Input<'_>,
    ) -> Result<Reading, UnpackError> {
        let (number, back) = (input.unsigned_64()?, input.unsigned_64()?);
        // Taken out: what fails half-way must not be built upon.
        let (name, mut device) = self.devices.remove(&number).ok_or(UnpackError::Unfounded)?;
        if back == 0 || device.position.checked_add(back) != Some(position) {
            return Err(UnpackError::Unfounded);
        }
        let step = input.signed()?.checked_add(device.step).ok_or(DecodeError::Number)?;
        let ts = step.checked_add(i128::from(device.ts)).and_then(|ts| i64::try_from(ts).ok());
        device.boot = match first & BOOT_STAMP {
            0 => None,
            _ => Some(device.boot_stamp_after(step, input.signed()?).ok_or(DecodeError::Number)?),
        };
        let took = input.signed()?.checked_add(i128::from(device.took));
        device.took = took.and_then(|took| u64::try_from(took).ok()).ok_or(DecodeError::Number)?;
        (device.position, device.step, device.ts) = (position, step, ts.ok_or(DecodeError::Number)?);
        let known = device.points.len();
        if first & SAME_SHAPE == 0 {
            take_shape(&mut device, input)?;
        }
        let samples = take_samples(&mut device, known, input)?;
        let reading = reading_of(&name, &device, first, samples);
        self.devices.insert(number, (name, device));
        Ok(reading)
    }
}

fn reading_of(name: &Name, device: &Device, first: u8, samples: Vec<(Name, Sample)>) -> Reading {
    Reading {
        device: name.clone(),
        ts: Timestamp(device.ts),
        took: Duration::from_millis(device.took),
        clock_unsure: first & UNSURE != 0,
        boot: device.boot,
        samples,
    }
}

fn front_coded(input: &mut Input<'_>, before: &str) -> Result<Name, DecodeError> {
    let (same, length) = (usize::from(input.octet()?), usize::from(input.octet()?));
    let rest = std::str::from_utf8(input.take(length)?).map_err(|_| DecodeError::Text)?;
    let same = before.get(..same).ok_or(DecodeError::Text)?;
    if same.is_empty() { rest.parse() } else { format!("{same}{rest}").parse() }
        .map_err(|_| DecodeError::Text)
}

fn whole(input: &mut Input<'_>) -> Result<Last, DecodeError> {
    let kind = input.octet()?;
    if kind == NUMBER {
        let mantissa = input.signed()?;
        let exponent = i32::try_from(input.signed()?).map_err(|_| DecodeError::Number)?;
        return Ok(Last::Number { mantissa, exponent });
    }
    Ok(Last::Other(take_sample_of(kind, input)?))
}

fn take_shape(device: &mut Device, input: &mut Input<'_>) -> Result<(), DecodeError> {
    let which = input.count(MOST_SHAPES)?;
    if let Some(number) = which.checked_sub(1) {
        device.shape = number;
        return if number < device.shapes.len() { Ok(()) } else { Err(DecodeError::Number) };
    }
    if device.shapes.len() >= MOST_SHAPES {
        return Err(DecodeError::Number);
    }
    let mut shape = Vec::new();
    for _ in 0..input.count(MOST_POINTS)? {
        let number = input.count(MOST_POINTS)?;
        if number == device.points.len() && number < MOST_POINTS {
            let name = front_coded(input, device.points.last().map_or("", |point| point.name.as_str()))?;
            device.points.push(Point { name, last: Last::Other(Ok(Value::Bool(false))) });
        } else if number > device.points.len() {
            return Err(DecodeError::Number);
        }
        shape.push(number);
    }
    device.shape = device.shapes.len();
    device.shapes.push(shape);
    Ok(())
}

/// Points from `known` on are new: their first sample stands whole.
fn take_samples(
    device: &mut Device,
    mut known: usize,
    input: &mut Input<'_>,
) -> Result<Vec<(Name, Sample)>, DecodeError> {
    let Device { points, shapes, shape, .. } = device;
    let shape = shapes.get(*shape).ok_or(DecodeError::Number)?;
    let (mut unchanged, mut samples) = (0, Vec::with_capacity(shape.len()));
    for number in shape {
        let point = points.get_mut(*number).ok_or(DecodeError::Number)?;
        let is_new = *number == known;
        if is_new {
            known += 1;
        }
        if unchanged > 0 && is_new {
            return Err(DecodeError::Number);
        } else if unchanged > 0 {
            unchanged -= 1;
        } else {
            unchanged = take_sample_after(&mut point.last, is_new, input)?;
        }
        samples.push((point.name.clone(), point.last.sample()));
    }
    if unchanged == 0 { Ok(samples) } else { Err(DecodeError::Number) }
}

/// Brings one sample up to date; returns how many after it are as they were.
fn take_sample_after(last: &mut Last, is_new: bool, input: &mut Input<'_>) -> Result<usize, DecodeError> {
    match input.unsigned()? {
        WHOLE => {
            *last = whole(input)?;
            Ok(0)
        }
        _ if is_new => Err(DecodeError::Number),
        RUN => Ok(input.count(MOST_POINTS)? + 1),
        steps => take_steps(last, unzigzag(steps - STEPS)).map(|()| 0),
    }
}

fn take_steps(last: &mut Last, steps: i128) -> Result<(), DecodeError> {
    match last {
        Last::Number { mantissa, .. } => {
            *mantissa = mantissa.checked_add(steps).ok_or(DecodeError::Number)?;
            Ok(())
        }
        Last::Other(_) if steps == 0 => Ok(()),
        Last::Other(_) => Err(DecodeError::Number),
    }
}
