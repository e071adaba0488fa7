//! What the owner of a line decides, whatever the line is made of: whom to ask, what the answer means for
//! the device, and which scan goes out. The two kinds of line bring only the wire.
//!
//! Whoever has the earliest deadline is asked next, question by question: a scan of many questions does not
//! hold up one that must be done sooner. Devices that are read back to back take what is left, one whole
//! scan after the other. Devices that do not answer get a fixed share of the line, and no more.

mod away;
mod choose;
mod exchange;

use crate::bus::capture::Tap;
use crate::bus::device::{Device, Done, turns};
use crate::bus::diagnose::{Case, Doctor};
use crate::bus::health::{Loss, ProbeShare};
use crate::bus::job::{Health, Item};
use crate::bus::ledger::{Asked, Ledger};
use crate::bus::plan::{Block, WireCost};
use crate::bus::schedule::Periods;
use crate::bus::transact::{Manners, Notes, Outcome, Trace};
use crate::bus::{DeviceConfig, DeviceMemory, LineConfig, Memory, PortConfig, Running, Scan, Surroundings};
use crate::modbus::Ask;
use crate::model::status::{BusCounters, DeviceState};
use crate::model::{Bad, Clock, Mono};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The owner looks at the stop token, and shows a sign of life, at least this often.
pub(in crate::bus) const LOOK: Duration = Duration::from_millis(100);
/// How soon a port or connection that is away is tried again; each failure doubles it.
pub(in crate::bus) const FIRST_RETRY: Duration = Duration::from_millis(250);

/// A device of which nothing could be asked is looked at again after this.
const NOTHING_TO_ASK: Duration = Duration::from_secs(1);
/// A device that is read back to back and has not had its turn for so long gets none.
const STARVED: Duration = Duration::from_secs(60);

/// What to do next.
pub(in crate::bus) enum Next {
    Ask(Question),
    /// Nothing may be asked before this.
    Wait(Mono),
    /// Nothing is ever due, or answers are under way.
    Nothing,
}

/// A question handed out: it must come back by `heard` or `lost`.
pub(in crate::bus) struct Question {
    pub index: usize,
    pub unit: u8,
    pub ask: Ask,
    pub manners: Manners,
    /// None for a word that clears the line.
    item: Option<Item>,
    /// So long nobody else has anything to ask.
    idle: Duration,
}

/// What a question came to.
pub(in crate::bus) struct Heard {
    pub outcome: Outcome,
    pub trace: Trace,
    pub counted: BusCounters,
    pub notes: Notes,
}

/// Orders that a line has not looked at yet: there is one for each reload, and the last one counts.
const ORDERS: usize = 4;

/// What the line asks of each of its devices.
struct Terms {
    cost: WireCost,
    max_probe: Duration,
}

/// A device as it begins, with what is remembered of it.
fn born(
    config: &DeviceConfig,
    kept: Option<&DeviceMemory>,
    terms: &Terms,
    (index, count): (usize, usize),
    now: Mono,
) -> Device {
    let chain = kept.and_then(|kept| kept.chain_of(config.unit));
    let config = chain.map_or_else(|| config.clone(), |chain| config.with_chain(chain));
    let periods = Periods::new(&turns(&config), now, index, count);
    Device::new(Arc::new(config), periods, terms.cost, terms.max_probe, kept, now)
}

pub(in crate::bus) struct Owner {
    devices: Vec<Device>,
    /// The same devices as they are configured.
    configs: Vec<DeviceConfig>,
    terms: Terms,
    orders: mpsc::Receiver<Vec<DeviceConfig>>,
    /// Devices that are to be read once nothing is under way.
    ordered: Option<Vec<DeviceConfig>>,
    share: ProbeShare,
    loss: Loss,
    /// A serial line, on which answers after their time are heard.
    hears_late: bool,
    doctor: Doctor,
    pub ledger: Ledger,
    scans: mpsc::Sender<Scan>,
    memory: watch::Sender<Memory>,
    pub clock: Arc<dyn Clock>,
    pub tap: Tap,
    pub stop: CancellationToken,
}

impl Owner {
    pub(in crate::bus) fn new(
        config: &LineConfig,
        around: Surroundings,
        ended: oneshot::Receiver<()>,
    ) -> (Owner, Running) {
        let Surroundings { clock, scans, events, memory, tap, stop } = around;
        let now = clock.mono();
        let configs: Vec<_> = config.devices.iter().filter(|device| device.enabled).cloned().collect();
        let (count, terms) =
            (configs.len(), Terms { cost: config.port.wire_cost(), max_probe: config.max_probe });
        let devices = configs.iter().enumerate().map(|(index, device)| {
            born(device, memory.get(device.name.as_str()), &terms, (index, count), now)
        });
        let devices: Vec<Device> = devices.collect();
        let (ledger, status) = Ledger::new(config, Arc::clone(&clock), events);
        // Of other lines' devices this one knows nothing.
        let own = devices.iter().filter(|device| !device.knows_nothing());
        let memory = own.map(|device| (device.config.name.to_string(), device.memory())).collect();
        let memory = watch::Sender::new(memory);
        let (devices_tx, orders) = mpsc::channel(ORDERS);
        let running = Running {
            name: config.name.clone(),
            status,
            memory: memory.subscribe(),
            devices: devices_tx,
            ended,
        };
        let hears_late = !matches!(config.port, PortConfig::Tcp { .. });
        let (share, doctor) =
            (ProbeShare::new(now), Doctor::new(devices.len(), matches!(config.port, PortConfig::Serial(_))));
        (
            Owner {
                devices,
                configs,
                terms,
                orders,
                ordered: None,
                share,
                loss: Loss::default(),
                hears_late,
                doctor,
                ledger,
                scans,
                memory,
                clock,
                tap,
                stop,
            },
            running,
        )
    }

    pub(in crate::bus) fn stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A word of chance, so that its answer can't be that to an older one.
    fn clear(&mut self, index: usize, now: Mono) -> Option<Question> {
        let device = self.devices.get_mut(index)?;
        let (manners, unit, ask) = (device.clear(now), device.config.unit, Ask::Echo(fastrand::u16(..)));
        Some(Question { index, unit, ask, manners, item: None, idle: Duration::ZERO })
    }

    /// Where nobody answered before, the power is back, or the cable: the others are asked at once.
    fn first_answer(&mut self, nobody_answered: bool, now: Mono) {
        if nobody_answered {
            self.share = ProbeShare::new(now);
            self.devices.iter_mut().for_each(|device| device.health.not_before = now);
        }
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
            device.begin(self.loss.is_high(), now, utc);
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
        Some(Question { index, unit, ask, manners, item: Some(item), idle: line.idle })
    }

    /// What a question came to.
    pub(in crate::bus) fn heard(&mut self, question: Question, heard: Heard) {
        let Heard { mut outcome, trace, counted, notes } = heard;
        let Question { index, item, idle, .. } = question;
        let (now, utc) = (self.clock.mono(), self.clock.utc());
        self.ledger.add(Some(index), &counted);
        self.ledger.used(trace.sent, trace.ended);
        let latency = trace.first_heard.map(|first| first.since(trace.last_octet_left));
        self.doctor.saw(&Case { device: index, outcome: &outcome, latency, utc });
        self.noticed(&notes);
        if self.doctor.is_doubtful(index) && matches!(outcome, Outcome::Data(_)) {
            outcome = Outcome::TwoAnswers;
        }
        let spare = self.has_time_for(index, trace.sent.plus(idle), now);
        let Some(device) = self.devices.get_mut(index) else { return };
        if device.health.is_good() {
            self.loss.add(matches!(outcome, Outcome::NoReply | Outcome::Garbled { .. }));
        }
        if let Some(item) = item
            && device.heard(item, outcome, &trace, spare, (utc, now))
        {
            self.keep_memory(index);
        }
        self.count_silence(index, idle, &trace);
        self.finish(index, true);
    }

    /// Whoever has not answered this scan yet, be it with a gateway's word for silence, has cost the line this.
    /// A newcomer that was waited for while nobody else had anything to ask, only what it took beyond that.
    fn count_silence(&mut self, index: usize, idle: Duration, trace: &Trace) {
        let Some(device) = self.devices.get(index) else { return };
        let newcomer = !device.health.is_probed();
        // Where answers get lost it may well be there: its next chance is not to wait for that.
        let may_be_there = self.loss.is_high() && newcomer;
        let from = if newcomer { trace.sent.plus(idle) } else { trace.sent };
        if device.is_unanswered() && !may_be_there && from < trace.ended {
            self.share.spent(from, trace.ended);
        }
    }

    /// What was noticed besides answers.
    pub(in crate::bus) fn noticed(&mut self, notes: &Notes) {
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
    pub(in crate::bus) fn lost(&mut self, question: &Question, counted: &BusCounters) {
        self.ledger.add(Some(question.index), counted);
        let bad = Bad::LineDown;
        if let Some(device) = self.devices.get_mut(question.index) {
            question.item.iter().for_each(|item| device.lost(item, bad));
        }
    }

    /// The stop came while this was asked.
    pub(in crate::bus) fn cut_short(&mut self, question: &Question) {
        if let (Some(device), true) = (self.devices.get_mut(question.index), question.item.is_some()) {
            device.cut_short();
        }
    }

    /// So long the device wants to be let alone after an answer.
    pub(in crate::bus) fn let_rest(&mut self, index: usize, now: Mono) {
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
        let nobody_answered = !self.anybody_answers();
        let Some(device) = self.devices.get_mut(index) else { return };
        let was_there = device.health.is_good();
        let Done { scan, is_empty, health, reason, answered, asked, lateness, missed, news, says } = done;
        match health {
            // A line that is away says so ever more rarely, like a device that is silent: a record each
            // second that nothing can be read would crowd out the readings of others. All is forgiven when
            // it is back.
            _ if !line_is_up => device.health.silent(now),
            // Nothing was asked, so nothing was learned. Not at once again, or the owner would go round
            // and round.
            _ if !asked => device.rest_until = now.plus(NOTHING_TO_ASK),
            Health::Answers => {
                device.health.answered();
                self.first_answer(nobody_answered, now);
            }
            Health::Garbled => device.health.garbled(now),
            Health::Silent => device.health.silent(now),
        }
        if news {
            self.keep_memory(index);
        }
        self.count_missed(missed, was_there && line_is_up, now);
        if let Some(says) = says {
            self.doctor.offers(index, &says, self.clock.utc());
            self.say_what_changed();
        }
        let Some(device) = self.devices.get(index).filter(|_| !is_empty) else { return };
        let state = match reason {
            _ if !line_is_up => DeviceState::LineDown,
            None => DeviceState::Ok,
            Some(_) if device.health.is_lost() => DeviceState::Quarantined,
            Some(_) => DeviceState::Degraded,
        };
        let answered = scan.as_ref().filter(|_| answered).map(|scan| scan.ts);
        let (latency, refused) = (device.health.latency.mean(), device.refused());
        if let Some(scan) = scan {
            self.hand_on(index, scan);
        }
        self.ledger.asked(index, Asked { state, reason, lateness, missed, answered, latency, refused });
    }

    fn count_missed(&mut self, missed: u64, was_there: bool, now: Mono) {
        let starved = |device: &Device| device.starves(STARVED, now);
        if missed > 0 && was_there || self.devices.iter().any(starved) {
            self.doctor.missed_turns(now, self.clock.utc());
            self.say_what_changed();
        }
    }

    /// The bus never waits for the spool: a queue that is full costs this scan, and that is counted.
    fn hand_on(&mut self, index: usize, scan: Scan) {
        if self.scans.try_send(scan).is_err() {
            self.ledger.scan_lost(index);
        }
    }
}
