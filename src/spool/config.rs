//! How the spool is configured; the defaults stand here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

/// What to keep, where, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub dir: PathBuf,
    /// Octets on disk, all files together; never exceeded.
    pub max_size: u64,
    /// Older segments go, acknowledged or not; `None` keeps them until the room is needed.
    pub max_age: Option<Duration>,
    /// The most that a power cut may cost.
    pub commit_every: Duration,
    pub when_full: WhenFull,
}

/// What gives way when the spool has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    #[default]
    DropOldest,
    /// What an upstream still needs stays; new records are counted as lost instead.
    RefuseNew,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            dir: PathBuf::from("/var/lib/linesman/spool"),
            max_size: 1 << 30,
            max_age: Some(Duration::from_secs(30 * 86_400)),
            commit_every: Duration::from_secs(5),
            when_full: WhenFull::DropOldest,
        }
    }
}
