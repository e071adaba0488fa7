//! linesman: from wired meters to IP, nothing lost unsaid. (The architecture page; being written.)

// Tests make their data as they need it.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        clippy::float_cmp
    )
)]

pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod encode;
pub mod modbus;
pub mod model;
pub mod normalize;
pub mod profile;
pub mod record;
pub mod serve;
pub mod sim;
pub mod spool;
pub mod uplink;
pub mod upstream;
