//! The gateway as it runs: all parts, started, watched, changed by a reload, and stopped in the data's order.

use super::bill::Uplinks;
use super::memory::Keeper;
use super::meters::{self, Known, Meters, Rules};
use super::parts::{Part, PartId, Parts};
use super::reload::patience;
use super::time::{self, Boots, Timeline};
use super::watch_over::{PumpSign, Watchdog};
use super::{Loader, Order, RunError, VERSION, chronicle, pump};
use crate::bus;
use crate::bus::capture::{Capture, Tap};
use crate::config::Config;
use crate::model::{Chronicle, Clock, Event, Reading, Site, Timestamp};
use crate::serve::{self, Sources};
use crate::spool::{self, Spool};
use crate::{record, upstream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Scans between the lines and the pump: a minute of ten meters each second, so that a disk that
/// stalls for a while costs no reading.
const SCANS: usize = 1024;
/// Events between the lines and the chronicle: a line never waits, and the log has them all.
const EVENTS: usize = 256;
/// How long the lines may take to finish their transactions at the end.
const LINES_STOP: Duration = Duration::from_millis(1500);
/// How long the pump may take to hand on what the lines left.
const PUMP_STOP: Duration = Duration::from_millis(500);
/// How long the upstreams may take to drain and disconnect.
const UPSTREAMS_STOP: Duration = Duration::from_millis(2500);
/// In the spool's folder: what upstreams refused for good.
const REFUSED: &str = "refused";
/// How often the supervisor looks around.
const LOOK_AROUND: Duration = Duration::from_secs(1);

pub(super) struct Gateway {
    pub(super) config: Config,
    pub(super) time: Timeline,
    pub(super) spool: Spool,
    pub(super) parts: Parts,
    /// Kept so that a reload can start lines; dropped at the end so that the pump can end.
    scans: Option<mpsc::Sender<bus::Scan>>,
    /// How many batches the pump has handed on.
    batches: watch::Sender<u64>,
    events: mpsc::Sender<Event>,
    chronicle: watch::Receiver<Chronicle>,
    pub(super) memory: Keeper,
    uplinks: Uplinks,
    pub(super) rules: watch::Sender<Arc<Rules>>,
    pub(super) meters: watch::Receiver<Known>,
    pub(super) site: watch::Sender<Arc<Site>>,
    pub(super) sources: watch::Sender<Arc<Sources>>,
    pub(super) watchdog: Watchdog,
    pub(super) http: Option<SocketAddr>,
    capture: Option<Capture>,
}

impl Gateway {
    pub(super) async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        onlooker: Option<mpsc::Sender<Reading>>,
        capture: Option<Capture>,
    ) -> Result<Gateway, RunError> {
        let names: Vec<String> = config.upstreams.iter().map(|u| u.name.to_string()).collect();
        // First of all: its lock tells a second gateway that there is one already.
        let spool = spool::start(config.spool.clone(), &names)?;
        let listener = match &config.http {
            Some(http) => Some(listen(http.listen).await?),
            None => None,
        };
        let newest = newest(&spool, &names).await;
        let boots = Boots::in_folder(&config.spool.dir);
        let keeper = time::Keeper::start(clock, config.clock.clone(), boots, newest).await;
        let time = keeper.timeline();
        let (scans, scans_in) = mpsc::channel(SCANS);
        let (events, events_in) = mpsc::channel(EVENTS);
        let chronicle = watch::Sender::new(Chronicle::default());
        let memory = Keeper::open(&config.spool.dir);
        let rules = watch::Sender::new(Arc::new(meters::rules(&config)));
        let shown = watch::Sender::default();
        let seen = shown.subscribe();
        let meters = Meters::open(&config.spool.dir, rules.subscribe(), events.clone(), shown);
        let watchdog = Watchdog::new(spool.status());
        let (uplinks, keeper_of_uplinks) = Uplinks::start(&config.uplinks, &config.spool.dir, &time, &events);
        let sources = Sources {
            gateway: config.gateway.to_string(),
            version: VERSION,
            config: config.hash.clone(),
            epoch: spool.epoch(),
            lines: Vec::new(),
            stuck: watchdog.stuck(),
            spool: spool.status(),
            upstreams: Vec::new(),
            meters: seen.clone(),
            progress: watchdog.progress(),
            clock: time.status(),
            uplinks: uplinks.paths.status(),
        };
        let mut gateway = Gateway {
            site: watch::Sender::new(Arc::new(config.site())),
            sources: watch::Sender::new(Arc::new(sources)),
            parts: Parts::default(),
            scans: Some(scans),
            batches: watch::Sender::new(0),
            events,
            chronicle: chronicle.subscribe(),
            memory,
            uplinks,
            rules,
            meters: seen,
            http: listener.as_ref().and_then(|l| l.local_addr().ok()),
            watchdog,
            time,
            spool,
            config,
            capture,
        };
        let telling = chronicle::run(events_in, chronicle, gateway.time.clone());
        gateway.add_keepers(keeper, telling, keeper_of_uplinks);
        gateway.name_the_meters();
        gateway.start_parts(scans_in, onlooker, meters, listener)?;
        Ok(gateway)
    }

    /// Those that run as long as the process does.
    fn add_keepers(
        &mut self,
        time: time::Keeper,
        telling: impl Future<Output = ()> + Send + 'static,
        uplinks: Option<Part>,
    ) {
        let stop = CancellationToken::new();
        self.parts.add(PartId::Clock, Part::task(stop.clone(), time.run(stop)));
        self.parts.add(PartId::Chronicle, Part::task(CancellationToken::new(), telling));
        self.parts.add(PartId::Spool, Part::task(CancellationToken::new(), ended(self.spool.status())));
        if let Some(part) = uplinks {
            self.parts.add(PartId::Uplinks, part);
        }
    }

    fn start_parts(
        &mut self,
        scans: mpsc::Receiver<bus::Scan>,
        onlooker: Option<mpsc::Sender<Reading>>,
        meters: Meters,
        listener: Option<TcpListener>,
    ) -> Result<(), RunError> {
        let stop = CancellationToken::new();
        let (writer, batches) = (self.spool.writer(), self.batches.clone());
        let pump = pump::run(scans, writer, self.time.clone(), onlooker, batches, meters, stop.clone());
        self.parts.add(PartId::Pump, Part::task(stop, pump));
        if let Some(listener) = listener {
            let stop = CancellationToken::new();
            let serving = serve::run(listener, self.sources.subscribe(), stop.clone());
            self.parts.add(PartId::Http, Part::task(stop, serving));
        }
        self.start_missing()?;
        self.publish_sources();
        Ok(())
    }

    pub(super) fn start_line(&mut self, config: bus::LineConfig) -> Result<(), RunError> {
        let Some(scans) = self.scans.clone() else { return Ok(()) };
        let name = config.name.clone();
        let patience = patience(&config);
        let stop = CancellationToken::new();
        let tap = self.capture.as_ref().map_or_else(Tap::none, |capture| capture.tap(&config));
        let around = bus::Surroundings {
            clock: self.time.for_lines(),
            scans,
            events: Some(self.events.clone()),
            memory: self.memory.kept().clone(),
            tap,
            stop: stop.clone(),
        };
        let running =
            bus::start_in(config, around).map_err(|source| RunError::Line { line: name.clone(), source })?;
        self.watchdog.watch_line(running.status.clone(), patience);
        self.parts.add(PartId::Line(name), Part::line(stop, running));
        Ok(())
    }

    pub(super) fn start_upstream(&mut self, config: upstream::Config) {
        let name = config.name.clone();
        let Some(reader) = self.spool.reader(name.as_str()) else {
            tracing::error!(upstream = %name, "the spool keeps no cursor for this upstream");
            return;
        };
        let stop = CancellationToken::new();
        let around = upstream::Surroundings {
            site: self.site.subscribe(),
            events: self.chronicle.clone(),
            version: VERSION,
            refused: self.config.spool.dir.join(REFUSED),
            folder: self.config.spool.dir.clone(),
            clock: Arc::new(self.time.clone()),
            dating: self.time.dating(),
            link: self.uplinks.paths.link(config.wired_only),
            stop: stop.clone(),
        };
        let running = upstream::start(config, reader, around);
        self.parts.add(PartId::Upstream(name), Part::upstream(stop, running));
    }

    fn pump_sign(&self) -> PumpSign {
        let waited_for = self.scans.as_ref().is_some_and(|scans| scans.capacity() < scans.max_capacity());
        PumpSign { batches: *self.batches.borrow(), waited_for }
    }

    pub(super) fn publish_sources(&mut self) {
        let (lines, upstreams) = (self.parts.line_statuses(), self.parts.upstream_statuses());
        self.watchdog.watch_upstreams(upstreams.clone());
        let (gateway, config) = (self.config.gateway.to_string(), self.config.hash.clone());
        self.sources.send_modify(|sources| {
            *sources = Arc::new(Sources { gateway, config, lines, upstreams, ..Sources::clone(sources) });
        });
    }

    pub(super) async fn supervise(
        &mut self,
        stop: &CancellationToken,
        orders: &mut mpsc::Receiver<Order>,
        loader: &Loader,
    ) -> Result<(), RunError> {
        let mut looks = tokio::time::interval(LOOK_AROUND);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = self.parts.unexpected_end() => {
                    tracing::error!(part = %ended, "ended unexpectedly");
                    return Err(RunError::PartEnded(ended));
                }
                Some(Order::Reload) = orders.recv() => self.reload(loader).await?,
                _ = looks.tick() => {
                    self.watchdog.look(self.time.mono(), self.pump_sign());
                    self.keep_memory();
                    self.uplinks.keep();
                    if self.parts.take_ended() {
                        self.start_missing()?;
                        self.publish_sources();
                    }
                    if self.meters.has_changed().unwrap_or(false) {
                        self.name_the_meters();
                    }
                }
            }
        }
    }

    /// Stops everything in the data's order. What does not end in time is named and left.
    pub(super) async fn finish(mut self) {
        self.keep_memory();
        let lines = self.parts.ids(|id| matches!(id, PartId::Line(_)));
        self.stop_and_name(&lines, LINES_STOP).await;
        self.scans = None;
        self.parts.wait(&PartId::Pump, Instant::now() + PUMP_STOP).await;
        self.stop_and_name(&[PartId::Pump], PUMP_STOP).await;
        if let Err(error) = self.spool.commit().await {
            tracing::error!(%error, "the last readings could not be committed");
        }
        let upstreams = self.parts.ids(|id| matches!(id, PartId::Upstream(_)));
        self.stop_and_name(&upstreams, UPSTREAMS_STOP).await;
        self.stop_and_name(&[PartId::Http, PartId::Uplinks], Duration::from_millis(100)).await;
        self.uplinks.close().await;
        if let Err(error) = self.spool.close().await {
            tracing::error!(%error, "the spool could not be closed cleanly");
        }
    }

    async fn stop_and_name(&mut self, ids: &[PartId], within: Duration) {
        for part in self.parts.stop(ids, Instant::now() + within).await {
            tracing::warn!(%part, "did not end in time and is left behind");
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

/// When the newest reading in the spool was taken, if its clock was known to be right.
async fn newest(spool: &Spool, upstreams: &[String]) -> Option<Timestamp> {
    let reader = spool.reader(upstreams.first()?)?;
    let newest = reader.read(reader.head().checked_sub(1)?, 1, usize::MAX).await.ok()?;
    let reading = record::decode(&newest.first()?.octets).ok()?;
    (!reading.clock_unsure).then_some(reading.ts)
}

/// Returns when the spool's owner is no more.
async fn ended(mut status: watch::Receiver<spool::Status>) {
    while status.changed().await.is_ok() {}
}
