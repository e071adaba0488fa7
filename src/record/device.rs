//! What packing and unpacking both remember of a device, and the few numbers that they share.

use crate::model::{BootStamp, Decimal, Mono, Name, Sample, Value};

/// Kinds of packed records, and their flags.
pub(super) const AS_IT_IS: u8 = 1;
pub(super) const KEY: u8 = 2;
pub(super) const DIFFERENCE: u8 = 3;
pub(super) const KIND: u8 = 0x0F;
pub(super) const UNSURE: u8 = 0x10;
pub(super) const SAME_SHAPE: u8 = 0x20;
pub(super) const BOOT_STAMP: u8 = 0x40;

/// How a sample stands in a difference.
pub(super) const RUN: u128 = 0;
pub(super) const WHOLE: u128 = 1;
pub(super) const STEPS: u128 = 2;

/// A key frame after so many records of a device.
pub(super) const KEY_EVERY: u32 = 64;
pub(super) const MOST_POINTS: usize = 4096;
pub(super) const MOST_SHAPES: usize = 64;
pub(super) const MOST_DEVICES: u64 = 1 << 16;

/// What a point last was: a number as steps of a power of ten, or something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Last {
    Number { mantissa: i128, exponent: i32 },
    Other(Sample),
}

impl Last {
    pub(super) fn sample(&self) -> Sample {
        match self {
            Last::Number { mantissa, exponent } => Ok(Value::Number(Decimal::new(*mantissa, *exponent))),
            Last::Other(sample) => sample.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Point {
    pub name: Name,
    pub last: Last,
}

#[derive(Debug, Clone)]
pub(super) struct Device {
    pub number: u64,
    pub points: Vec<Point>,
    /// Lists of points by number, in the order in which they came.
    pub shapes: Vec<Vec<usize>>,
    /// The shape of its last record.
    pub shape: usize,
    pub position: u64,
    pub ts: i64,
    /// The last step from one ts to the next, or zero.
    pub step: i128,
    pub took: u64,
    /// Of its last record, if that had one.
    pub boot: Option<BootStamp>,
}

impl Device {
    /// Meters of one model have the same points: of a thousand of them each name is kept once.
    pub(super) fn share_names(&mut self, other: &Device) {
        for (own, other) in self.points.iter_mut().zip(&other.points) {
            if own.name == other.name {
                own.name = other.name.clone();
            }
        }
    }

    /// When the next record was by its boot's clock if both clocks have gone on alike, in ns; after `step` ms.
    pub(super) fn boot_time_after(&self, step: i128) -> Option<i128> {
        let at = i128::from(self.boot?.at.0);
        step.checked_mul(1_000_000)?.checked_add(at)
    }

    /// The stamp that is `off` by so many ns.
    pub(super) fn boot_stamp_after(&self, step: i128, off: i128) -> Option<BootStamp> {
        let at = self.boot_time_after(step)?.checked_add(off)?;
        Some(BootStamp { at: Mono(u64::try_from(at).ok()?), ..self.boot? })
    }
}

/// Octets at the beginning that two names have in common.
pub(super) fn shared(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
