//! Meters and a paced wire made from profiles: for the demo, for tests, for training.
//!
//! # Promises
//! - A meter's values change only in steps of one second and follow from (profile, unit, seed, second): what
//!   it showed at any moment can be computed afterwards, so a gateway's readings can be compared digit by
//!   digit. [`Meter::truth`] shares no code with `normalize`.
//! - A [`wire`] is a real pseudo-terminal. Octets take as long as at the given baud rate, both ways: a
//!   request that was written at once has still to pass, and a reply leaves octet by octet.
//! - It answers as a meter does: registers between its points read as 0, others are refused with exception
//!   02, more than `max_registers` with 03, a table it does not have with 01; other units are ignored.
//! - Faults are those of the field, by chance from a seed: see [`Fault`].

pub mod fault;
mod meter;
mod pty;
pub mod tcp;
mod values;
pub mod wire;

pub use fault::{Fault, Faults};
pub use meter::Meter;
