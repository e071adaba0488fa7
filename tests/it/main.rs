//! Every integration test in one binary: it links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on should stop"
)]

mod app_parts;
mod architecture;
mod bus_echo;
mod bus_faults;
mod bus_hours;
mod bus_meters;
mod bus_names;
mod bus_noise;
mod bus_patience;
mod bus_peers;
mod bus_pty;
mod bus_refusals;
mod bus_sunspec;
mod bus_wire;
mod capture;
mod cli_check;
mod cli_decode;
mod cli_init;
mod cli_plan;
mod cli_spool;
mod common;
mod config_golden;
mod config_mutations;
mod config_readme;
mod config_schema;
mod contract;
mod dependencies;
mod encode_golden;
mod extremes;
mod fuzzed;
mod normalize_golden;
mod port_found;
mod port_gone;
mod port_held;
mod port_settings;
mod profile_library;
mod profiles;
mod profiles_new;
mod read_orders;
mod readme;
mod replay_golden;
mod scan_pty;
mod scan_sweep;
mod sentinels;
mod sim_truth;
mod sim_wire;
mod spool_folder;
mod spool_golden;
mod sunspec_golden;
mod unit_file;
mod upstream_batches;
mod upstream_delivery;
mod upstream_less;
mod upstream_refusals;
mod upstream_sparkplug;
mod upstream_thingsboard;
mod upstream_web;
