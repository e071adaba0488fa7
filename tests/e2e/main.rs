//! End to end: the real binary, meters and brokers that are not ours, and `kill -9`.
//! `tests/run` installs what these tests need.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop"
)]

mod backlog;
mod bad_reloads;
mod batches;
mod big_spool;
mod broker;
mod capture;
mod clock;
mod day;
mod demo;
mod driver;
mod ear;
mod exchange;
mod foreign;
mod gateway;
mod homeassistant;
mod ill_disk;
mod inbox;
mod meter;
mod mounted;
mod nats;
mod netns;
mod outage;
mod passwords;
mod postgres;
mod power_cut;
mod presets;
mod process;
mod refusing;
mod rivals;
mod scan;
mod script;
mod service;
mod simulated;
#[path = "../it/common/skipped.rs"]
mod skipped;
mod sparkplug;
mod spool_calls;
mod stall;
mod strace;
mod sudden_death;
mod sunspec;
mod tls;
mod uplinks;
mod web;
