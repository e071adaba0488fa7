//! Meters on one pseudo-terminal, at the pace of a real line.

use super::bench::Bench;
use super::faults::Faults;
use super::meter::Meter;
use super::pty::Pty;
use crate::modbus::Framing;
use crate::modbus::rtu::Pace;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What to simulate.
#[derive(Debug, Clone)]
pub struct WireConfig {
    pub meters: Vec<Meter>,
    /// Baud rate and bits of a character. A pseudo-terminal itself has neither, nor parity.
    pub pace: Pace,
    pub framing: Framing,
    /// A symlink to the terminal is put here.
    pub path: Option<PathBuf>,
    /// From a request's last octet to the reply's first.
    pub turnaround: Duration,
    pub faults: Faults,
}

impl WireConfig {
    /// RTU, 8N1, with nothing wrong, meters that answer at once, and no name of its own.
    pub fn new(meters: Vec<Meter>, baud: u32) -> WireConfig {
        WireConfig {
            meters,
            pace: Pace::new(baud, false, 1),
            framing: Framing::Rtu,
            path: None,
            turnaround: Duration::ZERO,
            faults: Faults::none(),
        }
    }
}

/// What the wire has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub requests: u64,
    /// Requests that were answered, refusals among them.
    pub replies: u64,
    /// The shortest silence before a request, from the second one on.
    pub shortest_silence: Option<Duration>,
    /// Requests that certainly began less than 3.5 characters after the last octet on the wire, whoever
    /// sent that (RTU only).
    pub too_soon: u64,
    /// How much later than on a wire the replies' last octets were on the line, in all: this machine's own
    /// part of a cycle that is longer than it should be.
    pub lateness: Duration,
    /// Frames that were no request of a function we know.
    pub not_understood: u64,
}

/// A running wire; it ends when this is dropped.
#[derive(Debug)]
pub struct Wire {
    path: PathBuf,
    stop: CancellationToken,
    statistics: watch::Receiver<Statistics>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Opens the terminal and starts the meters' thread.
pub fn start(config: WireConfig) -> io::Result<Wire> {
    let pty = Pty::open(config.path.as_deref())?;
    let path = config.path.clone().unwrap_or_else(|| pty.name.clone());
    let stop = CancellationToken::new();
    let (publish, statistics) = watch::channel(Statistics::default());
    let mut bench = Bench::new(config, pty, publish, stop.clone());
    let thread = std::thread::Builder::new().name("wire".to_owned()).spawn(move || bench.run())?;
    Ok(Wire { path, stop, statistics, thread: Some(thread) })
}

impl Wire {
    /// Where the gateway opens it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn statistics(&self) -> Statistics {
        *self.statistics.borrow()
    }

    /// Hangs up, and says whether the meters had trouble.
    pub fn stop(mut self) -> io::Result<()> {
        self.stop.cancel();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the meters' thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
