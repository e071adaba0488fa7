//! Who still turns: flags lines that hang in their driver, and feeds systemd's watchdog while everything else
//! makes progress: the spool, the pump while scans wait for it, the sessions that are connected (that this code runs
//! at all shows that the supervisor does). A far end that can't be reached is no reason to start again, and a
//! port's driver that hangs would hang again: neither counts.

use super::PartId;
use crate::model::status::{LineStatus, UpstreamState, UpstreamStatus};
use crate::model::{Mono, Name};
use crate::spool;
use std::time::Duration;
use tokio::sync::watch;

/// An owner of a line turns its loop at least once a second while nothing is asked; after this long, and
/// the time that the most patient device is waited for, it hangs in a call.
const STUCK_AFTER: Duration = Duration::from_secs(8);
/// The spool may wait on a slow card for some seconds; longer is no progress.
const SPOOL_STALLED_AFTER: Duration = Duration::from_secs(20);

/// The pump hands on in no time but for the spool, and a session turns each second.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// A count that should rise, and when it last did.
struct Pulse {
    last: u64,
    rose: Option<Mono>,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse { last: 0, rose: None }
    }

    /// How long the count has stood still.
    fn still_for(&mut self, count: u64, now: Mono) -> Duration {
        if self.rose.is_none() || count != self.last {
            self.last = count;
            self.rose = Some(now);
        }
        self.rose.map_or(Duration::ZERO, |rose| now.since(rose))
    }
}

/// A line, and how long its owner may stand still.
struct Watched {
    status: watch::Receiver<LineStatus>,
    pulse: Pulse,
    stuck_after: Duration,
}

/// How the pump does.
#[derive(Debug, Clone, Copy)]
pub(super) struct PumpSign {
    /// Rises with each batch that it has handed on.
    pub batches: u64,
    /// Scans wait for it.
    pub waited_for: bool,
}

pub(super) struct Watchdog {
    lines: Vec<Watched>,
    spool: (watch::Receiver<spool::Status>, Pulse),
    pump: Pulse,
    upstreams: Vec<(watch::Receiver<UpstreamStatus>, Pulse)>,
    stuck: watch::Sender<Vec<String>>,
    progress: watch::Sender<bool>,
}

impl Watchdog {
    pub(super) fn new(spool: watch::Receiver<spool::Status>) -> Watchdog {
        Watchdog {
            lines: Vec::new(),
            spool: (spool, Pulse::new()),
            pump: Pulse::new(),
            upstreams: Vec::new(),
            stuck: watch::Sender::new(Vec::new()),
            progress: watch::Sender::new(true),
        }
    }

    pub(super) fn stuck(&self) -> watch::Receiver<Vec<String>> {
        self.stuck.subscribe()
    }

    pub(super) fn progress(&self) -> watch::Receiver<bool> {
        self.progress.subscribe()
    }

    /// `patience` is the longest that one question on this line may take.
    pub(super) fn watch_line(&mut self, status: watch::Receiver<LineStatus>, patience: Duration) {
        let stuck_after = STUCK_AFTER + patience * 2;
        self.lines.push(Watched { status, pulse: Pulse::new(), stuck_after });
    }

    /// The same for a line of which other devices are read from now on.
    pub(super) fn bear_with(&mut self, line: &Name, patience: Duration) {
        for watched in self.lines.iter_mut().filter(|watched| watched.status.borrow().name == *line) {
            watched.stuck_after = STUCK_AFTER + patience * 2;
        }
    }

    pub(super) fn forget(&mut self, parts: &[PartId]) {
        self.lines.retain(|line| !parts.contains(&PartId::Line(line.status.borrow().name.clone())));
    }

    pub(super) fn watch_upstreams(&mut self, statuses: Vec<watch::Receiver<UpstreamStatus>>) {
        self.upstreams = statuses.into_iter().map(|status| (status, Pulse::new())).collect();
    }

    /// One look around; feeds the watchdog if everything still turns.
    pub(super) fn look(&mut self, now: Mono, pump: PumpSign) {
        let stuck: Vec<String> = self.lines.iter_mut().filter_map(|line| stuck_name(line, now)).collect();
        self.stuck.send_if_modified(|before| {
            for line in stuck.iter().filter(|line| !before.contains(line)) {
                tracing::error!(%line, "the driver of the port does not return: line flagged stuck");
            }
            for line in before.iter().filter(|line| !stuck.contains(line)) {
                tracing::info!(%line, "the driver has returned: line no longer stuck");
            }
            let changed = *before != stuck;
            *before = stuck;
            changed
        });
        let standing = self.standing(now, pump);
        let progress = standing.is_none();
        let changed =
            self.progress.send_if_modified(|before| std::mem::replace(before, progress) != progress);
        match standing {
            None => super::notify(&[sd_notify::NotifyState::Watchdog]),
            Some(part) if changed => tracing::error!(%part, "makes no progress: the watchdog is fed no more"),
            Some(_) => {}
        }
    }

    /// The part that makes no progress although it could.
    fn standing(&mut self, now: Mono, pump: PumpSign) -> Option<PartId> {
        let (spool, pulse) = &mut self.spool;
        let heartbeat = spool.borrow().heartbeat;
        if pulse.still_for(heartbeat, now) >= SPOOL_STALLED_AFTER {
            return Some(PartId::Spool);
        }
        if !pump.waited_for {
            self.pump = Pulse::new();
        } else if self.pump.still_for(pump.batches, now) >= STALLED_AFTER {
            return Some(PartId::Pump);
        }
        self.upstreams.iter_mut().find_map(|(status, pulse)| {
            let status = status.borrow();
            if status.state != UpstreamState::Connected || status.heartbeat == 0 {
                *pulse = Pulse::new();
                return None;
            }
            let stands = pulse.still_for(status.heartbeat, now) >= STALLED_AFTER;
            stands.then(|| PartId::Upstream(status.name.clone()))
        })
    }
}

fn stuck_name(line: &mut Watched, now: Mono) -> Option<String> {
    let status = line.status.borrow();
    let still = line.pulse.still_for(status.heartbeat, now);
    (still >= line.stuck_after).then(|| status.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::{BusCounters, LineState};

    fn line(heartbeat: u64) -> LineStatus {
        LineStatus {
            name: "a".parse().unwrap(),
            state: LineState::Up,
            detail: None,
            load_permille: 0,
            counters: BusCounters::default(),
            findings: Vec::new(),
            heartbeat,
            devices: Vec::new(),
        }
    }

    const IDLE: PumpSign = PumpSign { batches: 0, waited_for: false };

    fn upstream(state: UpstreamState, heartbeat: u64) -> UpstreamStatus {
        UpstreamStatus {
            name: "scada".parse().unwrap(),
            kind: "mqtt",
            state,
            detail: None,
            sampled: 0,
            delivered: 0,
            pending: 0,
            left_out: 0,
            dropped: std::collections::BTreeMap::new(),
            last_delivery: None,
            reconnects: 0,
            heartbeat,
            warnings: Vec::new(),
        }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn a_line_that_stops_turning_is_flagged_and_does_not_stop_the_feed() {
        let (spool_tx, spool) = watch::channel(spool::Status::default());
        let (line_tx, line_rx) = watch::channel(line(1));
        let mut watchdog = Watchdog::new(spool);
        watchdog.watch_line(line_rx, Duration::from_secs(1));
        for second in 0..30 {
            spool_tx.send_modify(|status| status.heartbeat += 1);
            watchdog.look(at(second), IDLE);
        }
        assert_eq!(*watchdog.stuck().borrow(), ["a"]);
        assert!(*watchdog.progress().borrow());
        line_tx.send_modify(|status| status.heartbeat += 1);
        watchdog.look(at(31), IDLE);
        assert!(watchdog.stuck().borrow().is_empty());
    }

    #[test]
    fn a_spool_that_stops_turning_stops_the_feed() {
        let (_spool_tx, spool) = watch::channel(spool::Status::default());
        let mut watchdog = Watchdog::new(spool);
        watchdog.look(at(0), IDLE);
        assert!(*watchdog.progress().borrow());
        watchdog.look(at(25), IDLE);
        assert!(!*watchdog.progress().borrow());
    }

    /// Looks once a second for half a minute; whether the watchdog is fed at the end.
    fn fed_after(
        mut each: impl FnMut(u64) -> PumpSign,
        upstream: Option<watch::Receiver<UpstreamStatus>>,
    ) -> bool {
        let (spool_tx, spool) = watch::channel(spool::Status::default());
        let mut watchdog = Watchdog::new(spool);
        watchdog.watch_upstreams(upstream.into_iter().collect());
        for second in 0..30 {
            spool_tx.send_modify(|status| status.heartbeat += 1);
            let pump = each(second);
            watchdog.look(at(second), pump);
        }
        *watchdog.progress().borrow()
    }

    #[test]
    fn a_pump_that_hands_nothing_on_although_scans_wait_stops_the_feed() {
        assert!(!fed_after(|_| PumpSign { batches: 7, waited_for: true }, None));
        assert!(fed_after(|second| PumpSign { batches: second, waited_for: true }, None), "busy is no fault");
        assert!(fed_after(|_| IDLE, None), "idle is no fault");
    }

    #[test]
    fn a_session_that_stands_still_stops_the_feed_and_a_far_end_that_is_away_does_not() {
        let fed = |state, heartbeat: fn(u64) -> u64| {
            let (tx, rx) = watch::channel(upstream(state, 1));
            let each = |second| {
                tx.send_modify(|status| status.heartbeat = heartbeat(second));
                IDLE
            };
            fed_after(each, Some(rx))
        };
        assert!(!fed(UpstreamState::Connected, |_| 5));
        assert!(fed(UpstreamState::Connected, |second| second + 1));
        assert!(fed(UpstreamState::BackingOff, |_| 5) && fed(UpstreamState::Connecting, |_| 5));
        assert!(fed(UpstreamState::Connected, |_| 0), "a file has no sessions");
    }
}
