//! Debian's strace on a process that runs: calls that fail, hang, or are its last.

use crate::gateway::{Kept, PATIENCE};
use crate::skipped::skipped;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Lets go of the process, with everything that was seen written down. strace may wait for ever for a thread that had only
/// just begun when its process ended: then it is killed, and the kernel lets go.
pub fn detach(mut strace: Kept) {
    strace.signal(rustix::process::Signal::INT);
    let end = Instant::now() + LETS_GO;
    while strace.ended().is_none() && Instant::now() < end {
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// How long strace may take to let go.
const LETS_GO: Duration = Duration::from_secs(2);

/// Traces all threads of a process from now on, as long as what is returned lives; counts of calls begin now, for each
/// thread. `None`, and said why, where that is not possible here.
pub fn attach(process: u32, arguments: &[&str], log: &Path) -> Option<Kept> {
    let mut command = Command::new("strace");
    command.args(["-f", "-ttt", "-p", &process.to_string(), "-o"]).arg(log).args(arguments);
    let started = Kept::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut strace = match started {
        Ok(strace) => strace,
        Err(error) => {
            skipped(&format!("strace does not start: {error}"));
            return None;
        }
    };
    let first = strace.errors().recv_timeout(PATIENCE).unwrap_or_default();
    assert!(!first.contains("invalid"), "{first}");
    if !first.contains("attached") {
        skipped(&format!("strace says {first:?}"));
        return None;
    }
    Some(strace)
}
