//! The running parts by name: who they are, how to stop them, and whether one ended unasked.

use crate::bus;
use crate::model::Name;
use crate::model::status::{LineStatus, UpstreamStatus};
use crate::upstream;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartId {
    Clock,
    Chronicle,
    Spool,
    Pump,
    Uplinks,
    Http,
    Line(Name),
    Upstream(Name),
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartId::Clock => f.write_str("the keeper of the time"),
            PartId::Chronicle => f.write_str("the chronicle of events"),
            PartId::Spool => f.write_str("the spool"),
            PartId::Pump => f.write_str("the pump"),
            PartId::Uplinks => f.write_str("the keeper of the uplinks"),
            PartId::Http => f.write_str("the HTTP server"),
            PartId::Line(name) => write!(f, "line {name}"),
            PartId::Upstream(name) => write!(f, "upstream {name}"),
        }
    }
}

pub(super) struct Part {
    stop: CancellationToken,
    /// Resolves, or closes, when the part has ended: a panic closes it too.
    ended: oneshot::Receiver<()>,
    line: Option<Line>,
    upstream: Option<watch::Receiver<UpstreamStatus>>,
}

/// What a line publishes.
#[derive(Clone)]
struct Line {
    status: watch::Receiver<LineStatus>,
    memory: watch::Receiver<bus::Memory>,
    devices: mpsc::Sender<Vec<bus::DeviceConfig>>,
}

impl Part {
    /// A task of our own; its result is not looked at: that it ended is the news.
    pub(super) fn task<F>(stop: CancellationToken, work: F) -> Part
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (ended_tx, ended) = oneshot::channel();
        tokio::spawn(async move {
            let _guard = ended_tx;
            work.await;
        });
        Part { stop, ended, line: None, upstream: None }
    }

    pub(super) fn line(stop: CancellationToken, running: bus::Running) -> Part {
        let line = Some(Line { status: running.status, memory: running.memory, devices: running.devices });
        Part { stop, ended: running.ended, line, upstream: None }
    }

    pub(super) fn upstream(stop: CancellationToken, running: upstream::Running) -> Part {
        Part { stop, ended: running.ended, line: None, upstream: Some(running.status) }
    }
}

struct Kept {
    stop: CancellationToken,
    asked_to_stop: bool,
    line: Option<Line>,
    upstream: Option<watch::Receiver<UpstreamStatus>>,
}

#[derive(Default)]
pub(super) struct Parts {
    running: BTreeMap<PartId, Kept>,
    ends: JoinSet<PartId>,
    /// A part that ended unasked while nobody was looking.
    unexpected: Option<PartId>,
    /// One that was asked to has ended since somebody last wanted to know.
    ended: bool,
}

impl Parts {
    pub(super) fn add(&mut self, id: PartId, part: Part) {
        let Part { stop, ended, line, upstream } = part;
        let name = id.clone();
        self.ends.spawn(async move {
            // Sent or dropped, both mean that the part is no more.
            let _ = ended.await;
            name
        });
        self.running.insert(id, Kept { stop, asked_to_stop: false, line, upstream });
    }

    pub(super) fn has(&self, id: &PartId) -> bool {
        self.running.contains_key(id)
    }

    pub(super) fn ids(&self, which: impl Fn(&PartId) -> bool) -> Vec<PartId> {
        self.running.keys().filter(|id| which(id)).cloned().collect()
    }

    /// Has a line read other devices from now on; `false` where it does not run, or does not listen.
    pub(super) fn exchange(&self, line: &PartId, devices: Vec<bus::DeviceConfig>) -> bool {
        let line = self.running.get(line).and_then(|part| part.line.as_ref());
        line.is_some_and(|line| line.devices.try_send(devices).is_ok())
    }

    pub(super) fn line_statuses(&self) -> Vec<watch::Receiver<LineStatus>> {
        self.running.values().filter_map(|part| Some(part.line.as_ref()?.status.clone())).collect()
    }

    pub(super) fn memories(&self) -> Vec<watch::Receiver<bus::Memory>> {
        self.running.values().filter_map(|part| Some(part.line.as_ref()?.memory.clone())).collect()
    }

    pub(super) fn upstream_statuses(&self) -> Vec<watch::Receiver<UpstreamStatus>> {
        self.running.values().filter_map(|part| part.upstream.clone()).collect()
    }

    /// Waits for a part to end that was not asked to.
    pub(super) async fn unexpected_end(&mut self) -> PartId {
        loop {
            if let Some(id) = self.unexpected.take() {
                return id;
            }
            if !self.one_end().await {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks these to stop and waits for them until the deadline; returns those that did not end.
    pub(super) async fn stop(&mut self, ids: &[PartId], deadline: Instant) -> Vec<PartId> {
        for id in ids {
            if let Some(part) = self.running.get_mut(id) {
                part.asked_to_stop = true;
                part.stop.cancel();
            }
        }
        self.wait_while(deadline, |running| ids.iter().any(|id| running.contains_key(id))).await;
        ids.iter().filter(|id| self.has(id)).cloned().collect()
    }

    /// Waits until the part has ended by itself, because its input did.
    pub(super) async fn wait(&mut self, id: &PartId, deadline: Instant) {
        if let Some(part) = self.running.get_mut(id) {
            part.asked_to_stop = true;
        }
        self.wait_while(deadline, |running| running.contains_key(id)).await;
    }

    /// Whether a part that was asked to has ended since this was last asked.
    pub(super) fn take_ended(&mut self) -> bool {
        std::mem::take(&mut self.ended)
    }

    async fn wait_while(&mut self, deadline: Instant, more: impl Fn(&BTreeMap<PartId, Kept>) -> bool) {
        while more(&self.running) {
            match tokio::time::timeout_at(deadline, self.one_end()).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Takes one end into account; `false` when no part is left to end.
    async fn one_end(&mut self) -> bool {
        let Some(ended) = self.ends.join_next().await else { return false };
        // A watcher only awaits a channel; should it fail all the same, there is no name to act on.
        let Ok(id) = ended else { return true };
        match self.running.remove(&id) {
            Some(part) if part.asked_to_stop => self.ended = true,
            Some(_) => self.unexpected = Some(id),
            None => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_ends_unasked_is_named() {
        let mut parts = Parts::default();
        parts.add(PartId::Pump, Part::task(CancellationToken::new(), std::future::pending::<()>()));
        let stop = CancellationToken::new();
        parts.add(PartId::Line(name("a")), Part::task(stop, async {}));
        assert_eq!(parts.unexpected_end().await, PartId::Line(name("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_panics_counts_as_ended() {
        let mut parts = Parts::default();
        parts.add(PartId::Http, Part::task(CancellationToken::new(), async { panic!("on purpose") }));
        assert_eq!(parts.unexpected_end().await, PartId::Http);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_stop_in_time_is_returned() {
        let mut parts = Parts::default();
        let (good, deaf) = (CancellationToken::new(), CancellationToken::new());
        parts.add(PartId::Line(name("good")), Part::task(good.clone(), good.cancelled_owned()));
        parts.add(PartId::Line(name("deaf")), Part::task(deaf, std::future::pending::<()>()));
        let all = parts.ids(|_| true);
        let left = parts.stop(&all, Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(left, [PartId::Line(name("deaf"))]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unasked_end_during_a_stop_is_not_forgotten() {
        let mut parts = Parts::default();
        let stop = CancellationToken::new();
        parts.add(PartId::Pump, Part::task(CancellationToken::new(), async {}));
        parts.add(PartId::Http, Part::task(stop.clone(), stop.cancelled_owned()));
        parts.stop(&[PartId::Http], Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(parts.unexpected_end().await, PartId::Pump);
    }
}
