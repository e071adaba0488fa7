//! What is fuzzed, and how it is known to be right. One function per target: any octets in, a panic where
//! something is wrong. The fuzzer feeds them by coverage (`fuzz/run`), the ordinary suite by proptest and from
//! the saved corpus (`tests/it/fuzzed.rs`), so this is compiled in both and names only what is public.

pub mod batch;
pub mod choices;
pub mod frames;
pub mod mbap;
pub mod overheard;
pub mod pdu;
pub mod record;
pub mod spec;
pub mod spool;
pub mod wire;
pub mod yaml;

/// A target: its name, which is also that of its corpus, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("frames", frames::run),
    ("pdu", pdu::run),
    ("mbap", mbap::run),
    ("overheard", overheard::run),
    ("profile_yaml", yaml::profile),
    ("config_yaml", yaml::config),
    ("record", record::run),
    ("spool", spool::run),
    ("batch", batch::run),
];
