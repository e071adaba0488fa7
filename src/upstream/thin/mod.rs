//! Less to send: which points, which changes, and what of a window. Pure: records in, in the order of a lane; records out,
//! and what has become of each that went in.
//!
//! # What it does, in this order
//! 1. `only`: points that are not wanted are left away.
//! 2. `aggregate`: a device that has a point to aggregate gives one reading a window instead of one a scan. Points
//!    without a word of their own give their `last` value in it.
//! 3. `deadband`, `max_silence`: a value that differs from the last one that was *sent* by no more than its deadband is left
//!    away, until so long after that one.
//!
//! A record in which nothing is left is left out; a record that has become part of a window's reading is left out as well,
//! all but the last, under whose (`epoch`, `seq`) the reading goes.
//!
//! # Promises
//! - The first value of each point goes, and each change of its quality: to bad, to another reason, to good. A change
//!   within a window closes the window and goes on its own, at once.
//! - Counters ([`is_counter`](crate::encode::batch::is_counter)), words, texts and flags lose nothing: of them a deadband
//!   leaves away only what has not changed, and a window keeps the last.
//! - **Nothing is settled before its time.** A record that waits in a window is settled when the far end has taken the
//!   window's reading, and nothing behind it in its lane is settled before it ([`Ledger`]). After a restart, or on the
//!   next connection, the same records are read again, with nothing remembered: what was sent and not acknowledged
//!   must not be what the next value is compared with. So each connection begins with every point's value.
//! - Each lane has a state of its own: what is late never mixes with what is live.
//! - Memory is bounded: [`MOST_IN_WINDOW`] records in a window, [`MOST_OPEN`] that wait in a lane.
//!
//! # Windows
//! They are aligned to 1970-01-01T00:00Z, and the end belongs to them: (k·w, (k+1)·w]. The reading of a window that came to
//! its end bears the end as stamp. One that was closed before (by a change of quality, the clock, the bound of memory, or the end of the
//! backlog) bears the stamp of the last record in it, so that stamps rise, and no two are the same. What comes after its window
//! was closed, and what was taken while the clock was unsure, goes as it is.
//!
//! # Why `%` is of the range
//! A share of the last value makes the deadband of a current near zero nothing and that of a night's voltage as large as a
//! day's; a share of the range is what a meter's class is given in. Only where the profile gives no range it is of the last
//! value sent.

mod ledger;
mod points;
mod rules;
mod sieve;
#[cfg(test)]
mod tests;
mod window;

pub use points::ByPoint;
pub use rules::{Aggregate, Amount, Rules};
pub(super) use sieve::{Around, Sieve};

use std::time::Duration;

/// Records in one window, at most; a device that is read faster than this has its window closed early.
pub const MOST_IN_WINDOW: usize = 4096;
/// Records of a lane that wait to be settled, at most: beyond it all windows are closed early.
pub const MOST_OPEN: usize = 1 << 16;
/// A record may come so long after its window's end, and still be in it.
pub const GRACE: Duration = Duration::from_secs(5);
/// A quiet value still shows that it lives.
pub const MAX_SILENCE: Duration = Duration::from_secs(15 * 60);
