//! What the owner of a line decides, whatever the line is made of: whom to ask, what the answer means for
//! the device, and which scan goes out. The two kinds of line bring only the wire.

use super::job::{Health, Job};
use super::ledger::Ledger;
use super::schedule::{Due, Next, Schedule};
use super::transact::Outcome;
use super::{DeviceConfig, LineConfig, Scan};
use crate::model::status::{DeviceState, LineStatus};
use crate::model::{Bad, Clock, Mono};
use crate::profile::Every;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The owner looks at the stop token, and shows a sign of life, at least this often.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// How soon a port or connection that is away is tried again; each failure doubles it up to the longest.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(250);
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// A device of which nothing could be asked is looked at again after this.
const NOTHING_TO_ASK: Duration = Duration::from_secs(1);

pub(super) struct Owner {
    pub devices: Vec<Arc<DeviceConfig>>,
    /// Points of each device that must be asked alone.
    alone: Vec<BTreeSet<usize>>,
    pub schedule: Schedule,
    pub ledger: Ledger,
    scans: mpsc::Sender<Scan>,
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
}

/// A scan under way.
pub(super) struct Asking {
    pub index: usize,
    pub device: Arc<DeviceConfig>,
    pub job: Job,
    lateness: Duration,
    retries: u8,
}

impl Owner {
    pub(super) fn new(
        config: &LineConfig,
        clock: Arc<dyn Clock>,
        scans: mpsc::Sender<Scan>,
        stop: CancellationToken,
    ) -> (Owner, watch::Receiver<LineStatus>) {
        let enabled = config.devices.iter().filter(|device| device.enabled);
        let devices: Vec<Arc<DeviceConfig>> = enabled.map(|device| Arc::new(device.clone())).collect();
        let every: Vec<Vec<Every>> = devices.iter().map(|device| device.every.clone()).collect();
        let (ledger, status) = Ledger::new(config, clock.mono());
        let schedule = Schedule::new(&every, clock.mono());
        let alone = vec![BTreeSet::new(); devices.len()];
        (Owner { devices, alone, schedule, ledger, scans, clock, stop }, status)
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// The scan that asking this device now would be, without taking its turn.
    pub(super) fn preview(&self, index: usize, now: Mono) -> Option<(Arc<DeviceConfig>, Job)> {
        let device = Arc::clone(self.devices.get(index)?);
        let job = self.job(index, &device, &self.schedule.peek(index, now));
        Some((device, job))
    }

    /// Takes the device's turn.
    pub(super) fn begin(&mut self, index: usize, now: Mono) -> Option<Asking> {
        let device = Arc::clone(self.devices.get(index)?);
        let due = self.schedule.take(index, now);
        let job = self.job(index, &device, &due);
        Some(Asking { index, job, lateness: due.lateness, retries: device.retries, device })
    }

    fn job(&self, index: usize, device: &DeviceConfig, due: &Due) -> Job {
        let none = BTreeSet::new();
        let alone = self.alone.get(index).unwrap_or(&none);
        Job::new(device.name.clone(), Arc::clone(&device.profile), &due.points, alone, due.probe)
    }

    /// What a question's outcome means for the scan.
    pub(super) fn heard(&self, asking: &mut Asking, outcome: Outcome) {
        let now = self.clock.utc();
        match outcome {
            Outcome::Data(data) => asking.job.reply(&data, now),
            Outcome::Exception(code) => asking.job.exception(code, now),
            Outcome::NoReply => asking.job.no_reply(),
            // Asked again only where that helps: the answer came, and was damaged on the way.
            Outcome::Garbled { whole: true } if asking.retries > 0 => asking.retries -= 1,
            Outcome::Garbled { .. } => asking.job.garbled(),
        }
    }

    /// Keeps what was learned, says what the device is now, and hands the scan on.
    pub(super) fn conclude(&mut self, asking: Asking, line_is_up: bool) {
        let Asking { index, mut job, lateness, .. } = asking;
        if !line_is_up {
            job.abandon(Bad::LineDown);
        }
        let now = self.clock.mono();
        if job.is_empty() {
            // The stop came before the first question, or there is none to ask: no reading, and nothing
            // learned. Not at once again, or the owner would go round and round.
            self.schedule.hold(index, now.plus(NOTHING_TO_ASK));
            return;
        }
        match job.verdict() {
            // A line that is away says so ever more rarely, like a device that is silent: a record each
            // second that nothing can be read would crowd out the readings of others. All is forgiven when
            // it is back.
            _ if !line_is_up => self.schedule.silent(index, now),
            Health::Answers => self.schedule.answered(index),
            Health::Garbled => self.schedule.garbled(index, now),
            Health::Silent => self.schedule.silent(index, now),
        }
        if let Some(alone) = self.alone.get_mut(index) {
            alone.append(&mut job.to_ask_alone);
        }
        let reason = job.reason();
        let state = match reason {
            _ if !line_is_up => DeviceState::LineDown,
            None => DeviceState::Ok,
            Some(_) if self.schedule.is_lost(index) => DeviceState::Quarantined,
            Some(_) => DeviceState::Degraded,
        };
        let answered = job.has_good();
        let scan = job.scan(self.clock.utc());
        let at = answered.then_some(scan.ts);
        self.hand_on(index, scan);
        self.ledger.asked(index, state, reason, lateness, at);
    }

    /// The bus never waits for the spool: a queue that is full costs this scan, and that is counted.
    fn hand_on(&mut self, index: usize, scan: Scan) {
        if self.scans.try_send(scan).is_err() {
            self.ledger.scan_lost(index);
        }
    }

    /// While the port or connection is away: what is due says so. Returns until when there is nothing to do.
    pub(super) fn say_that_the_line_is_down(&mut self, until: Mono) -> Mono {
        loop {
            self.ledger.beat();
            let now = self.clock.mono();
            let Next::Ask(index) = self.schedule.next(now) else { break };
            let Some(asking) = self.begin(index, now) else { break };
            let continuous = asking.device.every.contains(&Every::Continuous);
            self.conclude(asking, false);
            if continuous {
                self.schedule.hold(index, until);
            }
        }
        let now = self.clock.mono();
        match self.schedule.next(now) {
            Next::Wait(next) => next.min(until),
            Next::Ask(_) => now,
            Next::Nothing => until,
        }
    }
}
