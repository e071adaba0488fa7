//! Carries out polls on one line: ports, timing, attribution, planning, scheduling, device health, diagnosis.
//!
//! # Promises
//! - **Never a wrong value.** The rules by which an answer is known to belong to its question stand on the
//!   page of [`transact`]; whatever does not fit them is counted and thrown away. Where two devices answer
//!   under one unit id, neither is believed.
//! - **A dead device costs one question.** All that do not answer take at most 3 % of the line together, each after
//!   intervals that double up to `max_probe`; each is back in turn with its first answer.
//! - **An idle line is used.** What alone went unanswered in a scan has a second chance before its next turn, and
//!   probes go ahead of their time, while nobody else needs the line.
//! - **A refusal costs its own points.** A block refused with exception 02 or 03 is asked again by halves
//!   (`search`); the register, hole or limit that is found is remembered, and tried again by and by.
//! - **Deadlines, not queues.** Whoever has the earliest deadline is asked next, question by question; a scan
//!   that is late is not made up for. Each device's lateness and missed periods are counted.
//! - **A device that says itself what it offers is walked** (`explorer`) when it is first heard, question by question like
//!   any scan; whether that still holds is looked at by a few registers after each silence, before a value is read.
//! - **A reload touches who changed.** Other devices on the same port are exchanged while the line goes on
//!   ([`Running::devices`]): the rest keep their turns, their counts, what they have taught.
//! - **A port that vanishes is let go at once** and opened again when its path, or its adapter under another
//!   name, is back.
//! - **What is wrong is said in words** that an electrician can act on (`diagnose`): in the status, once in the
//!   log, as an event.
//! - **A name server that hangs holds up nobody**: names are looked up on threads of their own (`resolve`).
//! - **Polling waits for nobody.** A scan that the queue behind has no room for is dropped and counted.
//!
//! # How it is cut
//! Without I/O, and given the time: `plan` (points → blocks), `schedule` (when they are due), `health`
//! (whether a device answers, and how patiently it is asked), `learned`, `job` (one scan of one device),
//! `device` (all of these for one device), `owner` (all devices of a line: whom to ask next), `load` (what a
//! line is asked to carry, for `linesman plan`).
//! [`transact`] is one question and its answer over a [`Link`](link::Link), which tests replace by a wire and a
//! clock of their own. `serial_line` is the thread of a serial line and of one through a device server,
//! `tcp_line` the task of a Modbus TCP line: they bring the wire. `ledger` is what a line publishes.
//!
//! # Why a thread per serial line
//! A runtime's timers have a millisecond; 3.5 characters at 19 200 baud are 1.8. `ppoll` on a thread of its
//! own is later by some hundredths. A TCP line has no such times and is a task, of which there may be many.

mod along;
pub mod capture;
mod device;
mod diagnose;
mod explorer;
mod frames;
#[cfg(test)]
mod hard_tests;
mod health;
mod job;
mod learned;
mod ledger;
pub mod link;
mod load;
mod overheard;
mod owner;
mod plan;
mod plans;
mod port;
mod resolve;
pub mod scan;
mod schedule;
mod search;
mod serial;
mod serial_line;
mod session;
mod socket;
mod suspects;
mod tcp;
mod tcp_line;
pub mod transact;

pub use learned::{DeviceMemory, HoleMemory, LimitMemory, RefusedMemory};
pub use load::{ASSUMED_TURNAROUND, Asked, Continuous, LineLoad, Remedy, Unmet};
pub use overheard::{Stray, StrayKind};
pub use plan::{Block, Lessons, Terms, WireCost, function_of, plan_points};
pub use port::Port;
pub use port::rs485::{LONGEST_DELAY, Rs485Config, Rs485Mode};
pub use port::tune::LowLatency;
pub use serial::SerialLink;
pub use session::{Failure, Session};

use crate::modbus::Framing;
use crate::model::status::LineStatus;
use crate::model::{Bad, Clock, Event, IdentityRule, Name, Timestamp};
use crate::profile::sunspec::Chain;
use crate::profile::{Every, Parity, Profile, Wishes};
use capture::Tap;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The longest wait for a reply that nobody has said anything about, …
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// … and the shortest: USB adapters add 16 ms to what a meter takes, and the driver and the scheduler some more.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(75);
/// How often a damaged answer is asked for again.
pub const RETRIES: u8 = 2;
/// A silent device that is back is found within this, and the time a probe takes.
pub const MAX_PROBE: Duration = Duration::from_secs(25);
/// Device servers of one serial line behind a gateway take one question at a time.
pub const IN_FLIGHT: u16 = 1;

/// One line as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct LineConfig {
    pub name: Name,
    pub port: PortConfig,
    pub devices: Vec<DeviceConfig>,
    /// A silent device is asked at least this often, as far as the share of the line for probes allows.
    pub max_probe: Duration,
}

/// What the line is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortConfig {
    Serial(SerialConfig),
    /// Modbus TCP (MBAP); host and port.
    Tcp {
        address: String,
        /// Questions that may be under way at once.
        in_flight: u16,
    },
    /// RTU frames through a serial device server; host and port.
    RtuOverTcp {
        address: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialConfig {
    pub port: PathBuf,
    pub baud: u32,
    /// 8, or 7 with ASCII framing.
    pub data_bits: u8,
    pub parity: Parity,
    pub stop_bits: u8,
    pub framing: Framing,
    /// How the transmitter is turned on and off, where the hardware does not do it by itself.
    pub rs485: Option<Rs485Config>,
    pub low_latency: LowLatency,
}

impl SerialConfig {
    /// RTU, 8N1; the driver's RS-485 mode as it is.
    pub fn new(port: impl Into<PathBuf>, baud: u32) -> SerialConfig {
        SerialConfig {
            port: port.into(),
            baud,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            framing: Framing::Rtu,
            rs485: None,
            low_latency: LowLatency::default(),
        }
    }
}

impl PortConfig {
    /// How long a read takes on this line.
    pub fn wire_cost(&self) -> WireCost {
        let serial = match self {
            PortConfig::Serial(serial) => serial,
            PortConfig::Tcp { .. } | PortConfig::RtuOverTcp { .. } => return WireCost::tcp(),
        };
        match serial.framing {
            Framing::Rtu => WireCost::rtu(serial.pace()),
            Framing::Ascii => WireCost::ascii(serial.pace()),
        }
    }
}

/// One installed meter, with everything about it resolved: profile loaded, periods decided.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    pub name: Name,
    pub unit: u8,
    pub enabled: bool,
    pub profile: Arc<Profile>,
    /// A period per point of the profile, in profile order: the configuration's point wins over
    /// its device, that over the profile's point, that over the line.
    pub every: Vec<Every>,
    /// Longest wait for a reply's first octet. What is waited adapts to the device between
    /// `min_timeout` and this.
    pub timeout: Duration,
    pub min_timeout: Duration,
    pub retries: u8,
    /// At least the profile's.
    pub min_gap: Duration,
    /// Whether another meter may take its place.
    pub identity: IdentityRule,
    /// Of a device that says itself what it offers: what its points will be fitted to, once they are found. The profile
    /// has none before that.
    pub wishes: Option<Arc<Wishes>>,
}

impl DeviceConfig {
    /// All points with the same period; the rest as when nothing is configured.
    pub fn new(name: Name, unit: u8, profile: Arc<Profile>, every: Every) -> DeviceConfig {
        DeviceConfig {
            name,
            unit,
            enabled: true,
            every: vec![every; profile.points.len()],
            timeout: TIMEOUT,
            min_timeout: MIN_TIMEOUT,
            retries: RETRIES,
            min_gap: profile.habits.min_gap,
            identity: IdentityRule::default(),
            wishes: profile.walks.then(|| Arc::new(Wishes::all(every))),
            profile,
        }
    }

    /// Its points are found when it answers.
    pub fn is_unwalked(&self) -> bool {
        self.wishes.is_some() && self.profile.points.is_empty()
    }

    /// The same with the points that a walk along the device's models has found; itself where it has a profile.
    #[must_use]
    pub fn with_chain(&self, chain: &Chain) -> DeviceConfig {
        let Some(wishes) = &self.wishes else { return self.clone() };
        let (profile, every) = wishes.fit(chain.profile());
        DeviceConfig { profile, every, ..self.clone() }
    }
}

/// One poll's octets, stamped, as they came.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub device: Name,
    pub profile: Arc<Profile>,
    pub ts: Timestamp,
    pub took: Duration,
    /// The points that were due, in profile order.
    pub fields: Vec<Field>,
}

/// One point's octets: 2 × registers as they stood on the wire, or one octet 0/1 for a coil.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Index into the profile's points.
    pub point: usize,
    pub octets: Result<Vec<u8>, Bad>,
}

/// What the devices of a line have taught, by their names.
pub type Memory = BTreeMap<String, DeviceMemory>;

/// What a line needs from outside.
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub scans: mpsc::Sender<Scan>,
    /// Told what changes; nobody, where nobody wants to know.
    pub events: Option<mpsc::Sender<Event>>,
    /// What was learned before, perhaps before a restart; it may know devices of other lines too.
    pub memory: Memory,
    /// Where what goes over the wire is put on record.
    pub tap: Tap,
    pub stop: CancellationToken,
}

impl Surroundings {
    pub fn new(clock: Arc<dyn Clock>, scans: mpsc::Sender<Scan>, stop: CancellationToken) -> Surroundings {
        Surroundings { clock, scans, events: None, memory: Memory::new(), tap: Tap::none(), stop }
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("memory", &self.memory).finish_non_exhaustive()
    }
}

/// A running line.
#[derive(Debug)]
pub struct Running {
    pub name: Name,
    pub status: watch::Receiver<LineStatus>,
    /// What the devices have taught so far.
    pub memory: watch::Receiver<Memory>,
    /// Takes the devices that are read from now on. Those that are configured as before go on as if nothing had happened.
    pub devices: mpsc::Sender<Vec<DeviceConfig>>,
    /// Closes when the line's owner has ended, however it ended.
    pub ended: oneshot::Receiver<()>,
}

/// Starts a line's owner, with nothing remembered and nobody to tell events to.
pub fn start(
    config: LineConfig,
    clock: Arc<dyn Clock>,
    scans: mpsc::Sender<Scan>,
    stop: CancellationToken,
) -> io::Result<Running> {
    start_in(config, Surroundings::new(clock, scans, stop))
}

/// Starts a line's owner: a named thread where frames are told apart by time or marks, a task for Modbus TCP.
pub fn start_in(config: LineConfig, around: Surroundings) -> io::Result<Running> {
    let (ended_tx, ended) = oneshot::channel::<()>();
    let (owner, running) = owner::Owner::new(&config, around, ended);
    let thread = std::thread::Builder::new().name(format!("line-{}", config.name));
    match config.port {
        PortConfig::Serial(serial) => {
            thread.spawn(move || {
                let _ended = ended_tx;
                serial_line::run(owner, &serial);
            })?;
        }
        PortConfig::RtuOverTcp { address } => {
            thread.spawn(move || {
                let _ended = ended_tx;
                serial_line::run_over_tcp(owner, &address);
            })?;
        }
        PortConfig::Tcp { address, in_flight } => {
            tokio::spawn(async move {
                let _ended = ended_tx;
                tcp_line::run(owner, &address, usize::from(in_flight.max(1))).await;
            });
        }
    }
    Ok(running)
}

/// A line over a wire of the caller's making, and what runs it on the caller's thread until the stop token says
/// so: for tests, whose clock moves only when the line waits, so that hours pass in milliseconds. The wire's
/// clock and that of `around` must be one. Where the wire fails it is not there again: stop then.
#[doc(hidden)]
pub fn line_over<L: link::Link>(
    config: &LineConfig,
    around: Surroundings,
    link: L,
) -> (Running, impl FnOnce()) {
    let (ended_tx, ended) = oneshot::channel::<()>();
    let (owner, running) = owner::Owner::new(config, around, ended);
    let port = config.port.clone();
    let run = move || {
        let _ended = ended_tx;
        serial_line::run_over(owner, &port, link);
    };
    (running, run)
}
