//! Compact batches: what a SIM card pays for. The format is `docs/batch.proto`, frozen by golden files.
//!
//! Readings of several minutes become a column a point: whole numbers at the register's resolution, as differences, in
//! protobuf, compressed by zstd. Each batch can be decoded alone; the names are in `P/meta`, which it names by CRC-32.
//!
//! # Promises
//! - **Lossless** unless a tolerance is set: the JSON made from a decoded batch is the JSON of the readings, digit for
//!   digit (and so `took` only where it is told there, above a second). Numbers, flags, texts, reasons and points that
//!   were not due all come back. The order of points within a reading is the schema's.
//! - **Bounded** with one: no value is off by more than its point's tolerance, and counters are exact all the same.
//! - **Any octets may come in.** [`decode`] never panics, and what it allocates is bounded by [`LARGEST_RAW`] and
//!   [`MOST_DECODED`], whatever the octets claim.
//!
//! # Why so
//! Most of what compression can find here is found by differences in whole numbers; XOR of floats finds less than half
//! of it, and JSON with gzip pays three times as much. Protobuf and zstd, because every language has both: a reader in
//! thirty lines of Python stands in `docs/batch.py`.

mod column;
mod read;
mod reason;
mod schema;
mod tolerance;
mod wire;
mod write;

pub use read::{Decoded, Unreadable, decode, decode_message, frames, schema_of};
pub use schema::{Names, Schema};
pub use tolerance::{Tolerance, Tolerances, is_counter};

use super::{Numbered, Payload, Refused};
use prost::Message;

/// Readings in a batch at most, and values: a batch is made in memory, and more of it compresses no better.
pub const MOST_READINGS: usize = 4096;
pub const MOST_VALUES: usize = 32_768;
/// What a batch may have before compression.
pub const LARGEST_RAW: usize = 2 << 20;
/// Samples that one batch may decode to.
pub const MOST_DECODED: usize = 1 << 18;
/// The best compression that still takes little memory at this size; a batch is made every few minutes.
const LEVEL: i32 = 19;

/// What the owner wants of batches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// How much may be lost; nothing unless given.
    pub tolerances: Tolerances,
}

/// As many readings as fit, from the first on, with one epoch and one trust in the clock.
pub fn encode(
    readings: &[Numbered<'_>],
    schema: &Schema,
    backlog: bool,
    at_most: usize,
) -> Result<Payload, Refused> {
    let mut taken = alike(readings);
    while taken > 0 {
        let batch = write::batch(&readings[..taken], schema, backlog).encode_to_vec();
        let octets = if batch.len() <= LARGEST_RAW { compressed(&batch) } else { None };
        match octets {
            Some(octets) if octets.len() <= at_most => return Ok(Payload { octets, taken }),
            Some(octets) if taken == 1 => {
                return Err(Refused::TooLarge { octets: octets.len(), at_most });
            }
            None if taken == 1 => {
                return Err(Refused::TooLarge { octets: batch.len(), at_most: LARGEST_RAW });
            }
            Some(_) | None => taken /= 2,
        }
    }
    Ok(Payload { octets: Vec::new(), taken: 0 })
}

/// How many from the first on can share a batch.
fn alike(readings: &[Numbered<'_>]) -> usize {
    let Some(first) = readings.first() else { return 0 };
    let mut values = 0;
    let alike = readings.iter().take(MOST_READINGS).take_while(|one| {
        let before = values;
        values += one.reading.samples.len();
        one.number.epoch == first.number.epoch
            && one.reading.clock_unsure == first.reading.clock_unsure
            && (before == 0 || values <= MOST_VALUES)
    });
    alike.count()
}

fn compressed(batch: &[u8]) -> Option<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).ok()?;
    compressor.include_checksum(true).ok()?;
    compressor.compress(batch).ok()
}

#[cfg(test)]
mod tests;
