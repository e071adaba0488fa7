//! libFuzzer's main, for the target that `TARGET` names: one binary for all, so that it is built once.

#![no_main]

use harness::{TARGETS, Target};
use std::sync::LazyLock;

static RUN: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    *found.unwrap_or_else(|| panic!("TARGET={wanted}: one of {:?}", TARGETS.map(|(name, _)| name)))
});

libfuzzer_sys::fuzz_target!(|octets: &[u8]| (RUN.1)(octets));
