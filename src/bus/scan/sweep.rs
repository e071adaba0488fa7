//! Through the agenda, question by question: who answers, and how sure that is.

use super::agenda::first_register;
use super::lane::{Lane, Ports, Probe};
use super::{Agenda, Candidate, Settings, Wishes};
use crate::bus::Failure;
use crate::bus::transact::Outcome;
use crate::modbus::{Ask, ReadFunction, ReadRequest};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A device that answered late, or seemed to, is waited for so long.
const PATIENT: Duration = Duration::from_millis(500);
/// The longest that everybody is waited for, because one was late.
const MOST_PATIENT: Duration = Duration::from_secs(1);
/// What the library says of the factory is worth a longer wait: so many times.
const LIKELY: u32 = 2;
/// A first octet that comes from the wire takes this long beside what the device takes.
const CHARACTERS: usize = 5;
/// Late octets pass in this time, before a device in doubt is asked again.
const LET_PASS: Duration = Duration::from_millis(300);
/// Where octets come again and again and nobody is behind them, it is noise, and no longer looked into.
const FRUITLESS: u32 = 6;

/// How a device was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Answered,
    /// Two different answers came: two devices have this unit id.
    TwoAnswers,
    /// Octets each time this unit was asked, and never a valid frame.
    Damaged,
}

/// Somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// None on a network.
    pub settings: Option<Settings>,
    pub unit: u8,
    pub how: How,
    /// How long it took to answer.
    pub latency: Duration,
}

/// How far the sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub asked: usize,
    pub left: usize,
    /// What the questions that are left take, if nobody answers.
    pub time_left: Duration,
    pub settings: Option<Settings>,
    pub unit: u8,
}

/// The time of a sweep, without what was asked of the devices that were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pastime {
    pub questions: u64,
    /// The questions on the wire, and for each the wait that it was given, or its answer.
    pub least: Duration,
    pub took: Duration,
}

/// How a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everybody has been asked.
    Done,
    Stopped,
    /// Somebody else is asking here.
    AnotherMaster(Settings),
}

/// What a sweep is to do.
#[derive(Debug, Clone)]
pub struct Sweep {
    pub wishes: Wishes,
    /// How long an answer's first octet is waited for, beside its time on the wire.
    pub patience: Duration,
    /// Another master is no reason to be silent.
    pub talk_anyway: bool,
    pub stop: CancellationToken,
}

/// What is told while it goes on.
pub trait Watch<P: Ports> {
    /// The line is at the device's settings, and may be used.
    fn found(&mut self, lane: &mut Lane<P>, found: Found) -> Result<(), Failure>;
    fn progress(&mut self, progress: &Progress);
    fn left_out(&mut self, settings: Settings);
    /// Everybody has been asked where somebody has answered; other settings are left.
    fn seen_through(&mut self, _settings: Settings) {}
}

/// Asks everybody. A failure is one of the port.
pub fn sweep<P: Ports, W: Watch<P>>(
    lane: &mut Lane<P>,
    task: &Sweep,
    watch: &mut W,
) -> Result<(End, Pastime), Failure> {
    let agenda = Agenda::new(&task.wishes);
    let mut walk = Walk {
        lane,
        task,
        watch,
        agenda,
        patience: task.patience,
        found: Vec::new(),
        previous: None,
        fruitless: Vec::new(),
        damaged: Vec::new(),
        pastime: Pastime::default(),
        others: 0,
    };
    let end = walk.walk()?;
    walk.tell_damaged()?;
    Ok((end, walk.pastime))
}

struct Walk<'a, P: Ports, W: Watch<P>> {
    lane: &'a mut Lane<P>,
    task: &'a Sweep,
    watch: &'a mut W,
    agenda: Agenda,
    patience: Duration,
    found: Vec<u8>,
    previous: Option<(Settings, u8)>,
    /// How often octets came from nobody, at each of the settings.
    fruitless: Vec<(Settings, u32)>,
    /// Octets came from these each time, and no answer.
    damaged: Vec<Found>,
    pastime: Pastime,
    /// Questions of another master's.
    others: u32,
}

impl<P: Ports, W: Watch<P>> Walk<'_, P, W> {
    fn walk(&mut self) -> Result<End, Failure> {
        while let Some(candidate) = self.agenda.take_next() {
            if self.task.stop.is_cancelled() {
                return Ok(End::Stopped);
            }
            if !self.lane.switch(candidate.settings)? {
                self.agenda.leave_out(candidate.settings);
                self.watch.left_out(candidate.settings);
                continue;
            }
            self.watch.progress(&self.progress(&candidate));
            match self.ask(&candidate) {
                Ok(()) => {}
                Err(_) if self.task.stop.is_cancelled() => return Ok(End::Stopped),
                Err(failure) => return Err(failure),
            }
            // One question alone may be something else, and two are none.
            if self.others > 1 && !self.task.talk_anyway {
                return Ok(End::AnotherMaster(candidate.settings));
            }
            self.previous = Some((candidate.settings, candidate.unit));
            if self.agenda.has_seen_through(candidate.settings) {
                self.watch.seen_through(candidate.settings);
            }
        }
        Ok(End::Done)
    }

    fn ask(&mut self, candidate: &Candidate) -> Result<(), Failure> {
        let Candidate { settings, unit, ask, .. } = *candidate;
        let probe = self.probe(settings, unit, ask, patience(candidate, self.patience))?;
        for (late, after) in &probe.late {
            self.patience = self.patience.max((*after * 2).min(MOST_PATIENT));
            self.look_into(settings, *late)?;
        }
        if let Some(how) = how(&probe) {
            return self.tell(Found { settings: Some(settings), unit, how, latency: probe.latency });
        }
        if probe.heard && probe.late.is_empty() && !self.is_noisy(settings) {
            self.lane.rest(LET_PASS)?;
            let before = self.previous.filter(|(at, _)| *at == settings).map(|(_, unit)| unit);
            let mut anybody = self.look_into(settings, unit)?;
            if let Some(before) = before {
                anybody |= self.look_into(settings, before)?;
            }
            self.count_noise(settings, anybody);
        }
        Ok(())
    }

    fn probe(
        &mut self,
        settings: Settings,
        unit: u8,
        ask: Ask,
        patience: Duration,
    ) -> Result<Probe, Failure> {
        let probe = self.lane.probe(unit, ask, patience)?;
        self.others += u32::from(probe.another_master);
        self.pastime.questions += 1;
        self.pastime.took += probe.took;
        self.pastime.least += match probe.outcome {
            Outcome::NoReply => silence(settings, ask, patience),
            Outcome::Data(_) | Outcome::Exception(_) | Outcome::TwoAnswers | Outcome::Garbled { .. } => {
                probe.took
            }
        };
        Ok(probe)
    }

    /// Asks a unit again that may have answered: with patience, and for something else, so that the late answer to
    /// the first question is not taken for this one's.
    fn look_into(&mut self, settings: Settings, unit: u8) -> Result<bool, Failure> {
        if self.found.contains(&unit) {
            return Ok(true);
        }
        let (mut damaged, mut latency) = (0, PATIENT);
        let again = [
            ReadRequest::new(ReadFunction::HoldingRegisters, 0, 2).ok().map(Ask::Read),
            first_register(ReadFunction::InputRegisters),
            first_register(ReadFunction::Coils),
        ];
        for ask in again.into_iter().flatten() {
            let probe = self.probe(settings, unit, ask, PATIENT.max(self.patience))?;
            latency = probe.latency;
            if let Some(how) = how(&probe) {
                self.patience = self.patience.max((latency * 2).min(MOST_PATIENT));
                self.tell(Found { settings: Some(settings), unit, how, latency })?;
                return Ok(true);
            }
            damaged += u32::from(probe.heard);
        }
        if damaged == 3 {
            self.damaged.push(Found { settings: Some(settings), unit, how: How::Damaged, latency });
        }
        Ok(false)
    }

    /// Where it is noisy octets say nothing; elsewhere somebody is behind them.
    fn tell_damaged(&mut self) -> Result<(), Failure> {
        for found in std::mem::take(&mut self.damaged) {
            if let Some(settings) = found.settings
                && !self.is_noisy(settings)
                && self.lane.switch(settings)?
            {
                self.tell(found)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, found: Found) -> Result<(), Failure> {
        if self.found.contains(&found.unit) {
            return Ok(());
        }
        self.found.push(found.unit);
        if let Some(settings) = found.settings {
            self.agenda.found(settings, found.unit);
        }
        self.watch.found(self.lane, found)
    }

    fn is_noisy(&self, settings: Settings) -> bool {
        self.fruitless.iter().any(|(at, count)| *at == settings && *count >= FRUITLESS)
    }

    fn count_noise(&mut self, settings: Settings, anybody: bool) {
        let known = self.fruitless.iter_mut().find(|(at, _)| *at == settings);
        match known {
            Some((_, count)) => *count = if anybody { 0 } else { *count + 1 },
            None => self.fruitless.push((settings, u32::from(!anybody))),
        }
    }

    fn progress(&self, candidate: &Candidate) -> Progress {
        let each = |left: &Candidate| silence(left.settings, left.ask, patience(left, self.patience));
        Progress {
            asked: self.agenda.asked(),
            left: self.agenda.left().len(),
            time_left: self.agenda.left().iter().map(each).sum(),
            settings: Some(candidate.settings),
            unit: candidate.unit,
        }
    }
}

fn patience(candidate: &Candidate, usual: Duration) -> Duration {
    let device = if candidate.likely { usual * LIKELY } else { usual };
    device + candidate.settings.pace().octets(CHARACTERS)
}

/// What a question takes that nobody answers.
fn silence(settings: Settings, ask: Ask, patience: Duration) -> Duration {
    settings.pace().octets(ask.pdu().len() + crate::modbus::rtu::OVERHEAD) + patience
}

fn how(probe: &Probe) -> Option<How> {
    match probe.outcome {
        Outcome::Data(_) | Outcome::Exception(_) => Some(How::Answered),
        Outcome::TwoAnswers => Some(How::TwoAnswers),
        Outcome::NoReply | Outcome::Garbled { .. } => None,
    }
}
