//! Carries out polls on one line: ports, timing, attribution, planning, scheduling, device health.
//!
//! # Promises
//! - **Never a wrong value.** The rules by which an answer is known to belong to its question stand on the
//!   page of [`transact`]; whatever does not fit them is counted and thrown away.
//! - **A dead device costs one question.** It is asked with its smallest block, after intervals that double
//!   up to 25 s, while the others keep their periods; it is back in turn with its first answer.
//! - **A refusal costs its own points.** A block refused with exception 02 or 03 is asked again point by
//!   point, once; the point that is to blame is asked alone from then on.
//! - **A port that vanishes is let go at once** and opened again when its path is back.
//! - **Polling waits for nobody.** A scan that the queue behind has no room for is dropped and counted.
//!
//! # How it is cut
//! [`plan_points`] (points → blocks) and `schedule` (who is next) are pure. `job` is one scan of one device
//! as a state without I/O. `transact` is one question and its answer over a [`Link`](link::Link), which tests
//! replace by a wire and a clock of their own. `serial_line` is the thread of a serial line, `tcp_line` the
//! task of a TCP line; `owner` is what both decide alike; `ledger` is what they publish.
//!
//! # Why a thread per serial line
//! A runtime's timers have a millisecond; 3.5 characters at 19 200 baud are 1.8. `ppoll` on a thread of its
//! own is later by some hundredths. A TCP line has no such times and is a task, of which there may be many.

pub mod capture;
mod frames;
mod job;
mod ledger;
pub mod link;
mod owner;
mod plan;
mod schedule;
mod serial;
mod serial_line;
mod session;
mod tcp;
mod tcp_line;
pub mod transact;

pub use plan::{Block, function_of, plan_points};
pub use session::{Failure, Session};

use crate::modbus::Framing;
use crate::model::status::LineStatus;
use crate::model::{Bad, Clock, Name, Timestamp};
use crate::profile::{Every, Parity, Profile};
use capture::Tap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The longest wait for a reply that nobody has said anything about, …
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// … and the shortest: meters answer in 5 to 500 ms, USB adapters add 16.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(100);
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
}

impl SerialConfig {
    /// RTU, 8N1.
    pub fn new(port: impl Into<PathBuf>, baud: u32) -> SerialConfig {
        SerialConfig {
            port: port.into(),
            baud,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            framing: Framing::Rtu,
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
            profile,
        }
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

/// A running line.
#[derive(Debug)]
pub struct Running {
    pub name: Name,
    pub status: watch::Receiver<LineStatus>,
    /// Closes when the line's owner has ended, however it ended.
    pub ended: oneshot::Receiver<()>,
}

/// Starts a line's owner: a named thread for a serial line, a task for a TCP line. What goes over the wire
/// goes into `tap` as well.
pub fn start(
    config: LineConfig,
    tap: Tap,
    clock: Arc<dyn Clock>,
    scans: mpsc::Sender<Scan>,
    stop: CancellationToken,
) -> io::Result<Running> {
    drop(tap); // the line engine is joined to it in the commit after this one
    let (owner, status) = owner::Owner::new(&config, clock, scans, stop);
    let (ended_tx, ended) = oneshot::channel::<()>();
    match config.port {
        PortConfig::Serial(serial) => {
            std::thread::Builder::new().name(format!("line-{}", config.name)).spawn(move || {
                let _ended = ended_tx;
                serial_line::run(owner, &serial);
            })?;
        }
        PortConfig::Tcp { address, .. } | PortConfig::RtuOverTcp { address } => {
            tokio::spawn(async move {
                let _ended = ended_tx;
                tcp_line::run(owner, &address).await;
            });
        }
    }
    Ok(Running { name: config.name, status, ended })
}
