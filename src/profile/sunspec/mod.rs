//! Devices that say themselves what they offer: SunSpec's chain of models, walked, becomes a profile. Pure.
//!
//! ```text
//! Walk ──Read──► (whoever can ask) ──registers | refusal──► Walk … ──► Chain ──► Profile
//! ```
//!
//! A SunSpec device has a map of holding registers (function 03) that begins with `SunS` (0x5375 0x6E53) at 40000,
//! 50000 or 0. Behind it stand models one after the other, each with its id and its length L before it; 0xFFFF is the
//! end. (SunSpec Device Information Model Specification V1.1, sections 4 and 6; "Common Models" for model 1.)
//!
//! # Promises
//! - [`Walk`] decides what is read next and never asks by itself. Whatever it is told, it ends: [`MOST_READS`] reads
//!   at the most, none beyond address 65535. A model that is not known is skipped by its L alone.
//! - A [`Chain`] is what was found. It is kept over a restart; [`Walk::again`] looks whether it still holds by reading
//!   the marker, the headers of those models that are read, and the end, and walks anew where it does not.
//! - In a chain's [`Profile`] no read leaves a model's own registers: everything else, the headers too, is a hole.
//!   A model may be longer than the table (a newer revision): what the table knows is read. It may be shorter: points
//!   beyond its own L do not exist.
//! - A scale factor is read with what it scales, for it may change at run time.
//!
//! # What is read of a chain
//! The first model of an inverter or meter has the plain names of the glossary. Of others the kind stands before
//! the name, and the number from the second of that kind on: an inverter with three meters behind it has
//! `active_power_export`, `meter_active_power`, `meter2_active_power`, `meter3_active_power`; of two meters the second
//! is `meter2_…`. A model of floats right behind its twin of integers (103 and 113 with no common model between them) is
//! the same device once more, and is left out. The common model (1) is who the device is; one further down is that of
//! the meter behind it: `meter_serial_number`.
//!
//! # What a device lacks
//! SunSpec's points are mostly optional, and one that a device has not shows a value that means so. It is not mentioned
//! in the readings ([`Point::optional`](super::Point::optional)) until it has had a value. What a model must have is
//! `invalid` then, as everywhere. A counter that must be there may be 0, another is absent then. Models of one phase
//! have no points of the others.
//!
//! # What is forgiven
//! Where a chain breaks off behind a model that can be read (a refusal, a length of 0, an address beyond the end), what
//! stands before the break is read: each model before it was reached by whole links. The break is told, and such a chain
//! is walked anew whenever it is looked at: its device may have been about to start.
//!
//! # The table
//! `models.csv`, in the program: `M,layout,ids,length` a model, `W,layout,point,code,word` the words of a code, and a
//! point a line that begins with `P`. Within each of the five layouts all ids have the same offsets, types and
//! scale factors (compared with sunspec/models); they differ only in what is mandatory, which is the 12th column.

mod chain;
mod points;
mod table;
mod walk;

pub use chain::{Chain, Model};
pub use walk::{BASES, Broken, MOST_READS, Read, Walk, text};

use super::Profile;

/// What the configuration calls such a device's profile.
pub const NAME: &str = "sunspec";

/// Before a device was walked: no points yet.
pub fn unwalked() -> Profile {
    Profile {
        name: NAME.to_owned(),
        vendor: "SunSpec Alliance".to_owned(),
        model: "what the device says".to_owned(),
        kind: "other".to_owned(),
        sources: vec![SOURCE.to_owned()],
        walks: true,
        ..Profile::default()
    }
}

const SOURCE: &str = "SunSpec Device Information Model Specification V1.1; sunspec/models, models 1, 101-103, 111-113, 201-204, 211-214";

/// Whether some chain could have a point of this name.
pub fn may_have(name: &str) -> bool {
    let plain = ["inverter", "meter"].iter().find_map(|kind| {
        let (number, plain) = name.strip_prefix(kind)?.split_once('_')?;
        (number.is_empty() || number.parse::<u8>().is_ok_and(|n| n >= 2)).then_some(plain)
    });
    names().any(|known| known == name || plain == Some(known))
}

/// The names of all points, without what stands before them where a chain has several devices.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::rows().iter().filter(|row| row.kind != table::Kind::Exponent).map(|row| row.name)
}

#[cfg(test)]
mod tests;
