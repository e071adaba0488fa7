//! What several test modules share.

pub mod broker;
pub mod hours;
pub mod port;
pub mod running;
pub mod specimen;
pub mod wire;

/// Whether tests take their time: `tests/run --long`.
pub fn is_long() -> bool {
    std::env::var_os("LINESMAN_LONG").is_some_and(|long| long == "1")
}
