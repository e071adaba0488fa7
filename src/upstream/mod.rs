//! Delivers records, and reports what the far end has acknowledged.
//!
//! # Promises
//! - **At least once, in order.** Records leave in the order of their positions, within the lane that they travel
//!   in: all in one (`order: strict`, and whatever writes lines), or live ones beside the backlog (`live-first`, the
//!   default of MQTT). Settled is only what the far end has taken responsibility for: an MQTT PUBACK, an `fdatasync`
//!   of a file, a flushed standard output. A live record goes out before it is committed; the cursor on disk moves over what is
//!   committed *and* acknowledged.
//! - **The spool is the only queue.** Whatever breaks, the next connection begins again after the cursor.
//!   What had been sent and not acknowledged is sent again, with the same (`epoch`, `seq`): at most one
//!   window of [`mqtt::WINDOW`] records, or one batch (of compact ones a window of batches). After a crash of this process so is what was
//!   acknowledged since the last commit, for the cursor on disk never runs ahead of the records on disk.
//! - **Nothing blocks for ever.** A record that can't be read back or is too large to send is given up by
//!   name (`undecodable`, `too-large`), counted, and the next one goes on. What a far end refuses for good is halved
//!   until the record is found, set aside under `refused/` with the reason, counted (`refused`), and the rest goes on.
//! - **Every loss is announced**: whatever the spool or an upstream had to drop goes out as a gap (an event by MQTT, a line
//!   in a file) until it is acknowledged.
//! - **A sick upstream costs its own backlog.** It backs off with jitter; polling and the other upstreams do
//!   not notice.
//!
//! # Why MQTT keeps no queue
//! What waits, waits in the spool: a second queue would be lost with its connection, and nobody would know what was in
//! it. So each connection is a clean session that the broker forgets; each publish has an identifier of ours, by which its
//! acknowledgement is known, and no more than a window of them is in flight.

mod aside;
mod backoff;
mod bodies;
mod coding;
mod config;
pub mod file;
pub mod mqtt;
mod pace;
pub mod postgres;
mod proof;
mod report;
mod secret;
pub mod sparkplug;
mod standing;
mod stdout;
pub mod thin;
pub mod web;
mod witness;

pub use coding::percent;
pub use config::{Config, Kind, Order};
pub use secret::Secret;

use crate::encode::Encoding;
use crate::model::status::UpstreamStatus;
use crate::model::{Chronicle, Clock, Dating, Name, Site};
use crate::record;
use crate::spool::{self, Closed, Outcome, Stored};
use crate::uplink::Link;
use aside::Aside;
use bodies::{TextSink, Ways};
use report::Report;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Why a record was not sent for which a format has no words: a text where only numbers are known.
const SAYS_NOTHING: &str = "says-nothing";

/// How a record ends that was not sent for this reason.
fn unsent(reason: &str) -> spool::Outcome {
    match reason {
        // Nothing of it was wanted there.
        SAYS_NOTHING => spool::Outcome::LeftOut,
        reason => spool::Outcome::Dropped(reason.to_owned()),
    }
}

/// A running upstream.
#[derive(Debug)]
pub struct Running {
    pub name: Name,
    pub status: watch::Receiver<UpstreamStatus>,
    /// Closes when the task has ended, however it ended.
    pub ended: oneshot::Receiver<()>,
}

/// What every kind of upstream works with.
struct Work {
    name: Name,
    reader: spool::Reader,
    site: watch::Receiver<Arc<Site>>,
    version: &'static str,
    clock: Arc<dyn Clock>,
    dating: watch::Receiver<Arc<Dating>>,
    events: watch::Receiver<Chronicle>,
    /// The meters that the events told of are away.
    lost: BTreeSet<Name>,
    /// The number of the last event that the far end has acknowledged.
    told: u64,
    /// Where what is refused for good is put.
    aside: Aside,
    /// Where a kind keeps what it has to know again after a restart.
    folder: PathBuf,
    /// Over which path, and what that allows.
    link: Link,
    stop: CancellationToken,
    report: Report,
    /// What is left out; `None` where everything goes.
    thin: Option<Arc<thin::Rules>>,
}

impl Work {
    /// Of records that go past all filters, because they are tried alone: the points that are wanted. Those that have none
    /// are left out.
    async fn choose(&self, found: Vec<Stored>) -> Result<Vec<Stored>, Closed> {
        let Some(rules) = &self.thin else { return Ok(found) };
        let mut chosen = Vec::with_capacity(found.len());
        for stored in found {
            let Ok(mut reading) = record::decode(&stored.octets) else {
                chosen.push(stored);
                continue;
            };
            rules.choose(&mut reading, &self.site.borrow());
            if reading.samples.is_empty() {
                self.reader.settle([stored.position..=stored.position], Outcome::LeftOut).await?;
            } else {
                chosen.push(Stored { octets: record::encode(&reading).into(), ..stored });
            }
        }
        Ok(chosen)
    }

    /// Waits before the next attempt, but not for a path that is given up: what failed on one may work on the next.
    async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => {}
            () = self.link.another_way() => {}
        }
    }
}

impl Work {
    /// Losses that are still to be announced, behind the one that was told last. The spool is asked only where there are any.
    async fn gaps_after(&self, told: Option<u64>) -> Result<Vec<spool::Gap>, spool::Closed> {
        let is_new = |gap: &spool::Gap| told.is_none_or(|told| gap.id > told);
        if !self.reader.account().borrow().gaps.iter().any(is_new) {
            return Ok(Vec::new());
        }
        let gaps = self.reader.gaps().await?;
        Ok(gaps.into_iter().filter(is_new).collect())
    }
}

/// What every upstream needs from outside.
pub struct Surroundings {
    pub site: watch::Receiver<Arc<Site>>,
    pub events: watch::Receiver<Chronicle>,
    pub version: &'static str,
    /// The folder for what an upstream refuses for good.
    pub refused: PathBuf,
    /// The spool's folder, for what a kind of upstream has to know again after a restart.
    pub folder: PathBuf,
    pub clock: Arc<dyn Clock>,
    /// Dates readings that were taken while the clock was unsure.
    pub dating: watch::Receiver<Arc<Dating>>,
    /// Its part in the uplinks, if there are any.
    pub link: Link,
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Starts the task of an upstream. When told to stop it delivers what was there by then, for a moment,
/// says good-bye, and ends.
pub fn start(config: Config, reader: spool::Reader, around: Surroundings) -> Running {
    let Config { name, kind, order, history_rate, thin, wired_only: _ } = config;
    let Surroundings { site, events, version, refused, folder, clock, dating, link, stop } = around;
    // What never leaves the machine has no part in them.
    let link = if matches!(kind, Kind::File(_) | Kind::Stdout) { Link::default() } else { link };
    // For whoever makes its connections.
    let dials = link.another();
    let aside = Aside::new(&refused, &name);
    let (report, status) = Report::new(&name, kind.word(), reader.account());
    let (ended_tx, ended) = oneshot::channel::<()>();
    let work = Work {
        name: name.clone(),
        reader,
        site,
        version,
        clock,
        dating,
        events,
        lost: BTreeSet::new(),
        told: 0,
        aside,
        folder,
        link,
        stop,
        report,
        thin: (!thin.is_plain()).then(|| Arc::new(thin)),
    };
    let order = if kind.has_lanes() { order } else { Order::Strict };
    let ways = Ways { order, history_rate };
    tokio::spawn(async move {
        let _ended = ended_tx;
        match kind {
            Kind::Mqtt(config) => mqtt::run(config, ways, work).await,
            Kind::Sparkplug(config) => sparkplug::run(config, ways, work).await,
            Kind::File(config) => {
                let encoding = config.encoding.clone();
                bodies::run(TextSink::new(file::FileSink::new(config), encoding), ways, work).await;
            }
            Kind::Postgres(config) => {
                bodies::run(postgres::PostgresSink::new(config, dials), ways, work).await;
            }
            Kind::Stdout => {
                bodies::run(TextSink::new(stdout::StdoutSink, Encoding::Json), ways, work).await;
            }
            Kind::Influx(config) | Kind::Http(config) | Kind::Prometheus(config) => {
                bodies::run(web::WebSink::new(config, dials), ways, work).await;
            }
        }
    });
    Running { name, status, ended }
}
