//! Builds the tasks, joins them, and stops them in the data's order.
//!
//! ```text
//! lines ──Scan──► pump (normalize, record) ──octets──► spool ──► upstreams
//! ```
//!
//! # Promises
//! - Nothing half alive: any part that ends unasked ends the process with an error; systemd starts it
//!   again, and power cut, panic and `kill -9` are one recovery path.
//! - A stop follows the data: lines finish their transaction, the pump empties, the spool commits,
//!   the upstreams drain for a moment and say good-bye. At most five seconds in all.
//! - A reload touches what changed: lines and upstreams whose configuration differs are restarted,
//!   the others never notice. A configuration that does not check is refused whole.
//! - The watchdog is fed only while the spool, the pump, the connected sessions and this supervisor make progress.
//!   A line whose owner stops turning is flagged *stuck* and no longer counts: one hung driver must not restart the
//!   rest. Whether a far end can be reached never counts.
//! - Memory is bounded: every queue has a length that is a constant with a sentence (a test holds us to it).

mod bill;
mod chronicle;
mod gateway;
pub mod logging;
mod memory;
mod meters;
mod parts;
mod pump;
mod reload;
pub mod time;
mod watch_over;

use crate::bus::capture::Capture;
use crate::config::Config;
use crate::model::{Clock, Name, Reading};
use crate::profile::Problems;
use crate::serve::Sources;
use crate::spool;
use gateway::Gateway;
use parts::PartId;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The version that status and metrics name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the process is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Reload,
}

/// Why the gateway could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Spool(#[from] spool::OpenError),
    #[error("line {line}: cannot start")]
    Line { line: Name, source: io::Error },
    #[error("http: cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{0} ended unexpectedly; the process ends too, so that it is started again whole")]
    PartEnded(PartId),
}

/// How to load the configuration again, for a reload.
pub type Loader = Box<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// What `run` needs from outside besides the configuration.
pub struct Outside {
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
    pub orders: mpsc::Receiver<Order>,
    pub loader: Loader,
    /// Somebody who looks on (the demo's table); what it does not take in time passes it by.
    pub onlooker: Option<mpsc::Sender<Reading>>,
    /// Where the lines put what goes over the wire, if it is to be on record.
    pub capture: Option<Capture>,
    /// Told once all is started: where HTTP listens, and what to ask for a snapshot.
    pub started: Box<dyn FnOnce(Started) + Send>,
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// The gateway runs.
#[derive(Debug, Clone)]
pub struct Started {
    pub http: Option<SocketAddr>,
    pub sources: watch::Receiver<Arc<Sources>>,
}

/// Runs the gateway until it is told to stop.
pub async fn run(config: Config, outside: Outside) -> Result<(), RunError> {
    let Outside { clock, stop, mut orders, loader, onlooker, capture, started } = outside;
    let mut gateway = Gateway::start(config, clock, onlooker, capture).await?;
    started(Started { http: gateway.http, sources: gateway.sources.subscribe() });
    notify(&[sd_notify::NotifyState::Ready]);
    let result = gateway.supervise(&stop, &mut orders, &loader).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    gateway.finish().await;
    result
}

/// systemd is told where there is one; where there is none this does nothing.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
