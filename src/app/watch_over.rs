//! Who still turns: flags lines that hang in their driver, and feeds systemd's watchdog while the
//! spool makes progress (that this code runs at all shows that the supervisor does).

use super::PartId;
use crate::model::Mono;
use crate::model::status::LineStatus;
use crate::spool;
use std::time::Duration;
use tokio::sync::watch;

/// An owner of a line turns its loop at least once a second while nothing is asked; after this long, and
/// the time that the most patient device is waited for, it hangs in a call.
const STUCK_AFTER: Duration = Duration::from_secs(8);
/// The spool may wait on a slow card for some seconds; longer is no progress.
const SPOOL_STALLED_AFTER: Duration = Duration::from_secs(20);

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

pub(super) struct Watchdog {
    lines: Vec<Watched>,
    spool: (watch::Receiver<spool::Status>, Pulse),
    stuck: watch::Sender<Vec<String>>,
    progress: watch::Sender<bool>,
}

impl Watchdog {
    pub(super) fn new(spool: watch::Receiver<spool::Status>) -> Watchdog {
        Watchdog {
            lines: Vec::new(),
            spool: (spool, Pulse::new()),
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

    pub(super) fn forget(&mut self, parts: &[PartId]) {
        self.lines.retain(|line| !parts.contains(&PartId::Line(line.status.borrow().name.clone())));
    }

    /// One look around; feeds the watchdog if the spool still turns.
    pub(super) fn look(&mut self, now: Mono) {
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
        let (spool, pulse) = &mut self.spool;
        let heartbeat = spool.borrow().heartbeat;
        let progress = pulse.still_for(heartbeat, now) < SPOOL_STALLED_AFTER;
        self.progress.send_if_modified(|before| std::mem::replace(before, progress) != progress);
        if progress {
            super::notify(&[sd_notify::NotifyState::Watchdog]);
        }
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
            watchdog.look(at(second));
        }
        assert_eq!(*watchdog.stuck().borrow(), ["a"]);
        assert!(*watchdog.progress().borrow());
        line_tx.send_modify(|status| status.heartbeat += 1);
        watchdog.look(at(31));
        assert!(watchdog.stuck().borrow().is_empty());
    }

    #[test]
    fn a_spool_that_stops_turning_stops_the_feed() {
        let (_spool_tx, spool) = watch::channel(spool::Status::default());
        let mut watchdog = Watchdog::new(spool);
        watchdog.look(at(0));
        assert!(*watchdog.progress().borrow());
        watchdog.look(at(25));
        assert!(!*watchdog.progress().borrow());
    }
}
