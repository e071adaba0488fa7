//! A serial line whose settings change: one conversation for each of them, over ports that can be opened anew.

use super::{Asks, Eavesdropper, Exchanged, Settings};
use crate::bus::capture::Tap;
use crate::bus::link::Link;
use crate::bus::overheard::StrayKind;
use crate::bus::port::advice;
use crate::bus::serial::SerialLink;
use crate::bus::transact::{Conversation, Manners, Notes, Outcome, Tempo};
use crate::bus::{Failure, SerialConfig};
use crate::modbus::{Ask, Framing};
use crate::model::Mono;
use crate::model::status::BusCounters;
use crate::profile::Parity;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A damaged answer is asked for again so often.
const RETRIES: u32 = 2;
/// The stop is looked at this often while nothing is asked.
const LOOK: Duration = Duration::from_millis(100);
const BUFFER: usize = 256;
/// UARTs read each other up to some 2 % apart.
const BAUD_PERCENT: u64 = 2;

/// Where lines come from: the port, or a test's wire.
pub trait Ports {
    type Link: Link;

    /// The line at these settings; `None` where they are not to be had, and others are.
    fn open(&mut self, settings: Settings) -> Result<Option<Self::Link>, Failure>;

    /// Where what goes over the line is put on record.
    fn tap(&mut self, _settings: Settings) -> Tap {
        Tap::none()
    }
}

/// A serial port, opened anew for each change of settings.
pub struct SerialPorts {
    path: PathBuf,
    taps: Box<dyn FnMut(&SerialConfig) -> Tap>,
    stop: CancellationToken,
    /// It could be opened before: what fails now is about the settings.
    is_there: bool,
}

impl fmt::Debug for SerialPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialPorts").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SerialPorts {
    /// `taps` gives each of the settings its place in a capture.
    pub fn new(
        path: &Path,
        taps: Box<dyn FnMut(&SerialConfig) -> Tap>,
        stop: CancellationToken,
    ) -> SerialPorts {
        SerialPorts { path: path.to_owned(), taps, stop, is_there: false }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::Port { port: self.path.display().to_string(), why: advice(error) }
    }
}

impl Ports for SerialPorts {
    type Link = SerialLink;

    fn open(&mut self, settings: Settings) -> Result<Option<SerialLink>, Failure> {
        let link = match SerialLink::open(&settings.of_port(&self.path)) {
            Ok(link) => link.until(self.stop.clone()),
            // A rate that this driver does not have.
            Err(error) if self.is_there && error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
            Err(error) => return Err(self.failure(&error)),
        };
        self.is_there = true;
        let (baud, has_parity) = link.reads_back().map_err(|error| self.failure(&error))?;
        let off = u64::from(baud.abs_diff(settings.baud)) * 100;
        let kept = (baud == 0 || off <= u64::from(settings.baud) * BAUD_PERCENT)
            && has_parity == (settings.parity != Parity::None);
        Ok(kept.then_some(link))
    }

    fn tap(&mut self, settings: Settings) -> Tap {
        (self.taps)(&settings.of_port(&self.path))
    }
}

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub outcome: Outcome,
    /// From our last octet to the answer's first.
    pub latency: Duration,
    pub took: Duration,
    /// Octets came, whatever they were.
    pub heard: bool,
    /// Units that have answered after their time, and after how long.
    pub late: Vec<(u8, Duration)>,
    /// Somebody else has asked a unit that we did not ask.
    pub another_master: bool,
}

/// The line.
#[derive(Debug)]
pub struct Lane<P: Ports> {
    ports: P,
    open: Option<(Settings, P::Link)>,
    talks: Vec<(Settings, Conversation, Tap)>,
    name: String,
    pub counters: BusCounters,
}

impl<P: Ports> Lane<P> {
    /// `name` is what failures call the port.
    pub fn new(name: &str, ports: P) -> Lane<P> {
        Lane { ports, open: None, talks: Vec::new(), name: name.to_owned(), counters: BusCounters::default() }
    }

    pub fn settings(&self) -> Option<Settings> {
        self.open.as_ref().map(|(settings, _)| *settings)
    }

    /// Whether these settings are to be had, and now are.
    pub fn switch(&mut self, settings: Settings) -> Result<bool, Failure> {
        if self.settings() == Some(settings) {
            return Ok(true);
        }
        // The port is locked against others, ourselves among them.
        self.open = None;
        let Some(link) = self.ports.open(settings)? else { return Ok(false) };
        let now = link.now();
        match self.talks.iter_mut().find(|(known, _, _)| *known == settings) {
            Some((_, talk, _)) => talk.reopened(now),
            None => {
                let tempo = Tempo::serial(settings.pace(), Framing::Rtu);
                let tap = self.ports.tap(settings);
                self.talks.push((settings, Conversation::new(tempo, now).with_tap(tap.clone()), tap));
            }
        }
        self.open = Some((settings, link));
        Ok(true)
    }

    fn parts(&mut self) -> Result<(&mut P::Link, &mut Conversation, &Tap, &mut BusCounters), Failure> {
        let (settings, link) = self
            .open
            .as_mut()
            .ok_or_else(|| Failure::Port { port: self.name.clone(), why: "not open".to_owned() })?;
        let talk = self.talks.iter_mut().find(|(known, _, _)| known == settings);
        let (_, talk, tap) =
            talk.ok_or_else(|| Failure::Port { port: self.name.clone(), why: "not open".to_owned() })?;
        Ok((link, talk, tap, &mut self.counters))
    }

    fn gone(&self, error: &io::Error) -> Failure {
        Failure::Port { port: self.name.clone(), why: advice(error) }
    }

    pub fn now(&self) -> Option<Mono> {
        self.open.as_ref().map(|(_, link)| link.now())
    }

    /// One question, and all that was noticed beside its answer.
    pub(super) fn probe(&mut self, unit: u8, ask: Ask, patience: Duration) -> Result<Probe, Failure> {
        let before = self.counters;
        let (link, talk, _, counters) = self.parts()?;
        let began = link.now();
        let came = talk.transact(link, unit, ask, Manners::new(patience), counters);
        let (took, notes) = (link.now().since(began), talk.take_notes());
        let (outcome, trace) = came.map_err(|error| self.gone(&error))?;
        let now = &self.counters;
        let octets = |c: &BusCounters| {
            c.noise_octets + c.unsolicited_octets + c.foreign_frames + c.crc_errors + c.short_frames
        };
        let heard = octets(now) > octets(&before) || trace.first_heard.is_some();
        let latency = trace.first_heard.map_or(patience, |at| at.since(trace.last_octet_left));
        let another_master = asks_others(&notes, unit);
        Ok(Probe { outcome, latency, took, heard, late: notes.late, another_master })
    }

    /// Lets pass what may still come.
    pub(super) fn rest(&mut self, span: Duration) -> Result<(), Failure> {
        let (link, talk, _, counters) = self.parts()?;
        let until = link.now().plus(span);
        let rested = talk.listen_until(link, until, counters);
        rested.map_err(|error| self.gone(&error))
    }

    /// Listens, and hands on what others say to one another. Ends after this time, or with the stop.
    pub fn overhear(
        &mut self,
        span: Duration,
        ear: &mut Eavesdropper,
        stop: &CancellationToken,
        heard: &mut dyn FnMut(&Exchanged),
    ) -> Result<(), Failure> {
        let (link, talk, tap, _) = self.parts()?;
        let listened = listen(link, tap, span, ear, stop, heard);
        let now = link.now();
        talk.reopened(now);
        listened.map_err(|error| self.gone(&error))
    }
}

fn listen<L: Link>(
    link: &mut L,
    tap: &Tap,
    span: Duration,
    ear: &mut Eavesdropper,
    stop: &CancellationToken,
    heard: &mut dyn FnMut(&Exchanged),
) -> io::Result<()> {
    let (end, mut buffer) = (link.now().plus(span), [0; BUFFER]);
    while link.now() < end && !stop.is_cancelled() {
        if !link.wait_readable(end.min(link.now().plus(LOOK)))? {
            continue;
        }
        while let Some(n) = link.read(&mut buffer)? {
            let octets = buffer.get(..n).unwrap_or_default();
            if tap.records() {
                tap.heard(link.utc_nanos(), octets);
            }
            ear.hear(octets).iter().for_each(&mut *heard);
            if link.now() >= end {
                break;
            }
        }
    }
    Ok(())
}

/// What comes back of our own question is no other's.
fn asks_others(notes: &Notes, unit: u8) -> bool {
    notes.strays.iter().any(|stray| stray.kind == StrayKind::Request && stray.unit != unit)
}

impl<P: Ports> Asks for Lane<P> {
    fn ask(&mut self, unit: u8, ask: Ask, patience: Duration) -> Result<Vec<u8>, Failure> {
        let garbled = Failure::Garbled { unit, hint: "noise, or two devices have this unit id" };
        for _ in 0..=RETRIES {
            return match self.probe(unit, ask, patience)?.outcome {
                Outcome::Data(data) => Ok(data),
                Outcome::Exception(code) => Err(Failure::Exception { unit, code }),
                Outcome::NoReply => Err(Failure::Silence { unit, patience, hint: "" }),
                Outcome::TwoAnswers => Err(Failure::TwoAnswers { unit }),
                Outcome::Garbled { whole: true } => continue,
                Outcome::Garbled { whole: false } => Err(garbled),
            };
        }
        Err(garbled)
    }
}
