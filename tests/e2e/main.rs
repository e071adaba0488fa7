//! End to end: the real binary, meters and brokers that are not ours, and `kill -9`.
//! `tests/run` installs what these tests need.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop")]

mod backlog;
mod batches;
mod broker;
mod capture;
mod clock;
mod demo;
mod driver;
mod exchange;
mod foreign;
mod gateway;
mod inbox;
mod meter;
mod outage;
mod process;
mod scan;
mod service;
mod simulated;
mod sudden_death;
mod tls;
