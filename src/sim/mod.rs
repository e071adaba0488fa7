//! Meters and a paced wire made from profiles: for the demo, for tests, for training.
//!
//! # Promises
//! - A meter's values change only in steps of one second and follow from (profile, unit, seed, second): what
//!   it showed at any moment can be computed afterwards, so a gateway's readings can be compared digit by
//!   digit. [`Meter::truth`] shares no code with `normalize`.
//! - A [`wire`] is a real pseudo-terminal, with RTU or ASCII frames. Octets take as long as at the given
//!   pace, both ways: a request that was written at once has still to pass, and no octet of a reply is there
//!   before its time. Above some baud rate several are handed over together, as by a port with a FIFO, but
//!   the first alone; the last is as late as this thread wakes, which is some microseconds.
//! - It answers as a meter does: registers between its points read as 0, others are refused with exception
//!   02, more than `max_registers` with 03, a table it does not have with 01; other units are ignored. It
//!   says who it is (functions 17 and 43/14), and echoes (08) if its profile promises so.
//! - Meters that are set to a baud rate of their own ([`Meter::at_baud`]) are on one wire with others: at another
//!   rate than the terminal is set to they hear nothing that they could answer, and the wire's pace is that
//!   of whoever speaks. Parity a pseudo-terminal does not have.
//! - The same meters stand behind [`tcp`]: Modbus TCP, or serial frames as a device server passes them on.
//! - Faults are those of the field, by chance from a seed: see [`Fault`].

mod bench;
mod draw;
pub mod fault;
mod faults;
mod frames;
mod identity;
mod meter;
mod pause;
mod pty;
mod station;
pub mod tcp;
mod truth;
mod values;
pub mod wire;

pub use fault::Fault;
pub use faults::Faults;
pub use meter::Meter;
