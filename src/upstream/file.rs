//! Upstream `file`: how it is configured. (The rest is being written.)

use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// JSON lines are appended here.
    pub path: PathBuf,
    /// Beyond this size the file is renamed and a new one begun.
    pub max_size: u64,
    /// Renamed files that are kept.
    pub keep: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { path: PathBuf::from("/var/lib/linesman/readings.jsonl"), max_size: 64 << 20, keep: 4 }
    }
}
