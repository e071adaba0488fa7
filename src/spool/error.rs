//! What can be wrong with a spool, as those who use it hear it.

use std::io;
use std::path::PathBuf;

/// Why the spool can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the spool {} is in use by {}", dir.display(), pid.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    Locked { dir: PathBuf, pid: Option<u32> },
    #[error("cannot open the spool {}", dir.display())]
    Folder { dir: PathBuf, source: io::Error },
}

/// The owner has ended: there is no spool any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the spool has ended")]
pub struct Closed;

/// Records are still in memory because the disk does not take them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("the disk does not take the records: {0}")]
    Disk(String),
    #[error(transparent)]
    Closed(#[from] Closed),
}
