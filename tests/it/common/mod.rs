//! What several test modules share.

pub mod broker;
pub mod hours;
pub mod octets;
pub mod port;
pub mod running;
pub mod skipped;
pub mod sparkplug;
pub mod specimen;
pub mod station;
pub mod upstream;
pub mod web;
pub mod wire;

use std::time::Duration;

/// Whether tests take their time: `tests/run --long`.
pub fn is_long() -> bool {
    std::env::var_os("LINESMAN_LONG").is_some_and(|long| long == "1")
}

/// How often: ten times that in the long run.
pub fn many(count: usize) -> usize {
    if is_long() { 10 * count } else { count }
}

/// What was promised; a machine that has other work may take three times as long, but not in the long run, which is to
/// have it for itself.
pub fn within(promised: Duration) -> Duration {
    if is_long() { promised } else { 3 * promised }
}
