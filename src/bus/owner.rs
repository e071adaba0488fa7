//! What the owner of a line decides, whatever the line is made of: whom to ask, what the answer means for
//! the device, and which scan goes out. The two kinds of line bring only the wire.
//!
//! Whoever has the earliest deadline is asked next, question by question: a scan of many questions does not
//! hold up one that must be done sooner. Devices that are read back to back take what is left, one whole
//! scan after the other. Devices that do not answer get a fixed share of the line, and no more.

use super::capture::Tap;
use super::device::{Device, Done, Rank, Ready};
use super::diagnose::{Case, Doctor};
use super::health::{Line, ProbeShare};
use super::job::{Health, Item};
use super::ledger::{Asked, Ledger};
use super::plan::Block;
use super::schedule::Periods;
use super::transact::{Manners, Notes, Outcome, Trace};
use super::{LineConfig, Memory, Running, Scan, Surroundings};
use crate::modbus::Ask;
use crate::model::status::{BusCounters, DeviceState};
use crate::model::{Bad, Clock, FindingKind, Mono};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The owner looks at the stop token, and shows a sign of life, at least this often.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// How soon a port or connection that is away is tried again; each failure doubles it.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(250);

/// A device of which nothing could be asked is looked at again after this.
const NOTHING_TO_ASK: Duration = Duration::from_secs(1);

/// What a device is chosen for. Among equals a scan that has begun goes before one that has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    Begin,
    /// This item of its scan.
    Ask(usize),
    /// A word that shows that no late answer is under way any more.
    Clear,
}

/// What to do next.
pub(super) enum Next {
    Ask(Question),
    /// Nothing may be asked before this.
    Wait(Mono),
    /// Nothing is ever due, or answers are under way.
    Nothing,
}

/// A question handed out: it must come back by `heard` or `lost`.
pub(super) struct Question {
    pub index: usize,
    pub unit: u8,
    pub ask: Ask,
    pub manners: Manners,
    /// None for a word that clears the line.
    item: Option<Item>,
}

/// What a question came to.
pub(super) struct Heard {
    pub outcome: Outcome,
    pub trace: Trace,
    pub counted: BusCounters,
    pub notes: Notes,
}

pub(super) struct Owner {
    devices: Vec<Device>,
    share: ProbeShare,
    doctor: Doctor,
    pub ledger: Ledger,
    scans: mpsc::Sender<Scan>,
    memory: watch::Sender<Memory>,
    pub clock: Arc<dyn Clock>,
    pub tap: Tap,
    pub stop: CancellationToken,
}

impl Owner {
    pub(super) fn new(
        config: &LineConfig,
        around: Surroundings,
        ended: oneshot::Receiver<()>,
    ) -> (Owner, Running) {
        let Surroundings { clock, scans, events, memory, tap, stop } = around;
        let now = clock.mono();
        let enabled: Vec<_> = config.devices.iter().filter(|device| device.enabled).collect();
        let count = enabled.len();
        let devices = enabled.into_iter().enumerate().map(|(index, device)| {
            let periods = Periods::new(&device.every, now, index, count);
            let kept = memory.get(device.name.as_str());
            let cost = config.port.wire_cost();
            Device::new(Arc::new(device.clone()), periods, cost, config.max_probe, kept, now)
        });
        let devices: Vec<Device> = devices.collect();
        let (ledger, status) = Ledger::new(config, Arc::clone(&clock), events);
        // Of other lines' devices this one knows nothing.
        let own = devices.iter().filter(|device| !device.knows_nothing());
        let memory = own.map(|device| (device.config.name.to_string(), device.memory())).collect();
        let memory = watch::Sender::new(memory);
        let running = Running { name: config.name.clone(), status, memory: memory.subscribe(), ended };
        let (share, doctor) = (ProbeShare::new(now), Doctor::new(devices.len()));
        (Owner { devices, share, doctor, ledger, scans, memory, clock, tap, stop }, running)
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whom to ask now. `blocked` tells until when a block may not be asked.
    pub(super) fn next(&mut self, blocked: &dyn Fn(u8, &Block) -> Option<Mono>) -> Next {
        loop {
            let now = self.clock.mono();
            let mut best: Option<(Rank, usize, Move)> = None;
            let mut wait: Option<Mono> = None;
            let mut too_late = None;
            for (index, device) in self.devices.iter().enumerate() {
                let (rank, chosen) = match device.ready(now, &self.share, blocked) {
                    Ready::Ask(rank, item) => (rank, Move::Ask(item)),
                    Ready::Begin(rank) => (rank, Move::Begin),
                    Ready::Clear(rank) => (rank, Move::Clear),
                    Ready::GiveUp => {
                        too_late = Some(index);
                        continue;
                    }
                    Ready::Wait(until) => {
                        wait = Some(wait.map_or(until, |before| before.min(until)));
                        continue;
                    }
                    Ready::Nothing => continue,
                };
                let begun = |other: Move| chosen != Move::Begin && other == Move::Begin;
                if best.is_none_or(|(than, _, other)| rank < than || rank == than && begun(other)) {
                    best = Some((rank, index, chosen));
                }
            }
            if let Some(index) = too_late {
                self.give_up(index);
                continue;
            }
            let Some((_, index, chosen)) = best else { return wait.map_or(Next::Nothing, Next::Wait) };
            let question = match chosen {
                Move::Begin => {
                    self.begin(index, now);
                    continue;
                }
                Move::Ask(item) => self.take(index, item, blocked),
                Move::Clear => self.clear(index, now),
            };
            return question.map_or(Next::Nothing, Next::Ask);
        }
    }

    /// A word of chance, so that its answer can't be that to an older one.
    fn clear(&mut self, index: usize, now: Mono) -> Option<Question> {
        let device = self.devices.get_mut(index)?;
        let (manners, unit, ask) = (device.clear(now), device.config.unit, Ask::Echo(fastrand::u16(..)));
        Some(Question { index, unit, ask, manners, item: None })
    }

    fn give_up(&mut self, index: usize) {
        if let Some(device) = self.devices.get_mut(index) {
            device.give_up();
        }
        self.finish(index, true);
    }

    fn begin(&mut self, index: usize, now: Mono) {
        let utc = self.clock.utc();
        if let Some(device) = self.devices.get_mut(index) {
            device.begin(now, utc);
        }
        self.finish(index, true);
    }

    fn take(
        &mut self,
        index: usize,
        item: usize,
        blocked: &dyn Fn(u8, &Block) -> Option<Mono>,
    ) -> Option<Question> {
        let line = self.line_for(index, blocked);
        let device = self.devices.get_mut(index)?;
        let (item, manners) = device.take(item, blocked, &line)?;
        let (unit, ask) = (device.config.unit, Ask::Read(item.block.request));
        Some(Question { index, unit, ask, manners, item: Some(item) })
    }

    /// What decides how long a device is waited for whose pace nobody knows.
    fn line_for(&self, index: usize, blocked: &dyn Fn(u8, &Block) -> Option<Mono>) -> Line {
        if self.devices.get(index).is_none_or(|device| device.health.latency.mean().is_some()) {
            return Line::default();
        }
        let now = self.clock.mono();
        let neighbours = self.devices.iter().filter_map(|device| device.health.latency.patience()).max();
        let others = self.devices.iter().enumerate().filter(|(other, _)| *other != index);
        let free_until = others.filter_map(|(_, device)| match device.ready(now, &self.share, blocked) {
            Ready::Wait(until) => Some(until),
            Ready::Ask(..) | Ready::Begin(_) | Ready::Clear(_) | Ready::GiveUp => Some(now),
            Ready::Nothing => None,
        });
        let idle = free_until.min().map_or(super::TIMEOUT, |until| until.since(now));
        Line { neighbours, idle }
    }

    /// What a question came to.
    pub(super) fn heard(&mut self, question: Question, heard: Heard) {
        let Heard { mut outcome, trace, counted, notes } = heard;
        let Question { index, item, .. } = question;
        let (now, utc) = (self.clock.mono(), self.clock.utc());
        self.ledger.add(Some(index), &counted);
        self.ledger.used(trace.sent, trace.ended);
        let latency = trace.first_heard.map(|first| first.since(trace.last_octet_left));
        self.doctor.saw(&Case { device: index, outcome: &outcome, latency, utc });
        self.noticed(&notes);
        if self.doctor.is_doubtful(index) && matches!(outcome, Outcome::Data(_)) {
            outcome = Outcome::TwoAnswers;
        }
        let Some(device) = self.devices.get_mut(index) else { return };
        if let Some(item) = item
            && device.heard(item, outcome, &trace, utc, now)
        {
            self.keep_memory(index);
        }
        self.count_silence(index, &trace);
        self.finish(index, true);
    }

    /// Whoever has not answered this scan yet, be it with a gateway's word for silence, has cost the line this.
    fn count_silence(&mut self, index: usize, trace: &Trace) {
        let Some(device) = self.devices.get(index) else { return };
        if device.is_unanswered_probe() {
            self.share.spent(trace.sent, trace.ended);
        } else if device.is_newcomer() && device.is_unanswered() {
            self.share.newcomer_was_silent(trace.sent, trace.ended);
        }
    }

    /// What was noticed besides answers.
    pub(super) fn noticed(&mut self, notes: &Notes) {
        let (now, utc) = (self.clock.mono(), self.clock.utc());
        let devices = &self.devices;
        let of_unit = |unit: u8| devices.iter().position(|device| device.config.unit == unit);
        self.doctor.noticed(notes, of_unit, now, utc);
        for (unit, after) in &notes.late {
            for device in self.devices.iter_mut().filter(|device| device.config.unit == *unit) {
                device.health.late(*after, now);
            }
        }
        self.say_what_changed();
    }

    fn say_what_changed(&mut self) {
        let changes = self.doctor.take_changes();
        for change in &changes {
            let (of_line, of_device) = (self.doctor.findings(None), self.doctor.findings(change.device));
            self.ledger.found(change, if change.device.is_none() { of_line } else { of_device });
        }
    }

    fn keep_memory(&mut self, index: usize) {
        let Some(device) = self.devices.get(index) else { return };
        let (name, knows, memory) =
            (device.config.name.to_string(), !device.knows_nothing(), device.memory());
        self.memory.send_modify(|all| {
            if knows {
                all.insert(name, memory);
            } else {
                all.remove(&name);
            }
        });
    }

    /// The port went while this was asked.
    pub(super) fn lost(&mut self, question: &Question, counted: &BusCounters) {
        self.ledger.add(Some(question.index), counted);
        let bad = Bad::LineDown;
        if let Some(device) = self.devices.get_mut(question.index) {
            question.item.iter().for_each(|item| device.lost(item, bad));
        }
    }

    /// The stop came while this was asked.
    pub(super) fn cut_short(&mut self, question: &Question) {
        if let (Some(device), true) = (self.devices.get_mut(question.index), question.item.is_some()) {
            device.cut_short();
        }
    }

    /// So long the device wants to be let alone after an answer.
    pub(super) fn let_rest(&mut self, index: usize, now: Mono) {
        if let Some(device) = self.devices.get_mut(index) {
            device.rest_until = now.plus(device.config.min_gap);
        }
    }

    /// Hands the scan on if it is over.
    fn finish(&mut self, index: usize, line_is_up: bool) {
        let (now, utc) = (self.clock.mono(), self.clock.utc());
        let Some(done) = self.devices.get_mut(index).and_then(|device| device.finished(now, utc)) else {
            return;
        };
        self.conclude(index, done, line_is_up, now);
    }

    /// Says what the device is now, and hands the scan on.
    fn conclude(&mut self, index: usize, done: Done, line_is_up: bool, now: Mono) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let Done { scan, health, reason, answered, asked, lateness, missed, news } = done;
        match health {
            // A line that is away says so ever more rarely, like a device that is silent: a record each
            // second that nothing can be read would crowd out the readings of others. All is forgiven when
            // it is back.
            _ if !line_is_up => device.health.silent(now),
            // Nothing was asked, so nothing was learned. Not at once again, or the owner would go round
            // and round.
            _ if !asked => device.rest_until = now.plus(NOTHING_TO_ASK),
            Health::Answers => device.health.answered(),
            Health::Garbled => device.health.garbled(now),
            Health::Silent => device.health.silent(now),
        }
        if news {
            self.keep_memory(index);
        }
        let (Some(scan), Some(device)) = (scan, self.devices.get(index)) else { return };
        let state = match reason {
            _ if !line_is_up => DeviceState::LineDown,
            None => DeviceState::Ok,
            Some(_) if device.health.is_lost() => DeviceState::Quarantined,
            Some(_) => DeviceState::Degraded,
        };
        let answered = answered.then_some(scan.ts);
        let (latency, refused) = (device.health.latency.mean(), device.refused());
        self.hand_on(index, scan);
        self.ledger.asked(index, Asked { state, reason, lateness, missed, answered, latency, refused });
    }

    /// The bus never waits for the spool: a queue that is full costs this scan, and that is counted.
    fn hand_on(&mut self, index: usize, scan: Scan) {
        if self.scans.try_send(scan).is_err() {
            self.ledger.scan_lost(index);
        }
    }

    /// The port or connection is there, with what its adapter says of itself.
    pub(super) fn up(&mut self, hints: &[(FindingKind, String)]) {
        let now = self.clock.mono();
        self.devices.iter_mut().for_each(|device| device.health.forgive(now));
        self.doctor.opened(self.clock.utc(), hints);
        self.ledger.up();
        self.say_what_changed();
    }

    /// The port or connection has gone: scans under way end here.
    pub(super) fn down(&mut self, why: &str) {
        self.ledger.down(why);
        for index in 0..self.devices.len() {
            if let Some(device) = self.devices.get_mut(index) {
                device.abandon(Bad::LineDown);
            }
            self.finish(index, false);
        }
    }

    /// The line stops: what was read so far is handed on, what was not asked is not in it.
    pub(super) fn stop_all(&mut self) {
        for index in 0..self.devices.len() {
            if let Some(device) = self.devices.get_mut(index) {
                device.cut_off();
            }
            self.finish(index, true);
        }
    }

    /// While the port or connection is away: what is due says so. Returns until when there is nothing to do.
    pub(super) fn say_that_the_line_is_down(&mut self, until: Mono) -> Mono {
        self.ledger.beat();
        let mut next = until;
        for index in 0..self.devices.len() {
            let (now, utc) = (self.clock.mono(), self.clock.utc());
            let Some(device) = self.devices.get_mut(index) else { continue };
            match device.ready(now, &ProbeShare::new(now), &|_, _| None) {
                Ready::Wait(at) => next = next.min(at),
                Ready::Nothing => {}
                Ready::Ask(..) | Ready::Begin(_) | Ready::Clear(_) | Ready::GiveUp => {
                    device.begin(now, utc);
                    device.abandon(Bad::LineDown);
                    device.rest_until = until;
                    self.finish(index, false);
                }
            }
        }
        next
    }
}
