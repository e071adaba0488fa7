//! Who is on a bus that nobody has written down: for `linesman scan`. Asks for reads and for names only.
//!
//! # Promises
//! - **It listens first.** Where another master talks, that is said, and nothing is asked ([`Lane::overhear`],
//!   [`Eavesdropper`]); where one turns up later, the sweep ends ([`End::AnotherMaster`]).
//! - **The likely first.** Factory settings and unit ids of the library, then small unit ids, then the rest; once
//!   somebody answers, all of that baud rate and parity before any other ([`Agenda`]).
//! - **Nobody is found twice.** A unit that has answered is not asked at other settings, and settings that the
//!   driver does not keep (a pseudo-terminal has no parity) are left out.
//! - **Short waits that lose no slow device.** An answer that comes when the next unit is asked already is known by
//!   its unit id: that unit is asked again with patience, and everybody is waited for longer from then on. Where
//!   octets come and no answer, the unit that was asked, and the one before it, are asked again with patience.
//! - **Any valid reply is an answer**, a refusal too.
//! - **No longer than it must take.** What the questions and the waits that they were given come to is counted beside
//!   the time that went by ([`Pastime`]).
//!
//! # How it is cut
//! `agenda` (whom to ask next), `eavesdrop` (what others say, from octets), `registers` (what is known of a device's)
//! are pure. `lane` is a line whose settings change, over ports that tests replace by a wire and a clock of their own;
//! `sweep` brings them together. `host` is the same for Modbus TCP, where there is nothing to try but unit ids.

mod agenda;
mod eavesdrop;
mod host;
mod lane;
mod registers;
mod sweep;

pub use agenda::{Agenda, Candidate, Wishes};
pub use eavesdrop::{Eavesdropper, Exchanged, Overheard};
pub use host::{Watch as WatchHost, sweep_host};
pub use lane::{Lane, Ports, SerialPorts};
pub use registers::{Known, Registers};
pub use sweep::{End, Found, How, Pastime, Progress, Sweep, Watch, sweep};

use super::{Failure, SerialConfig, Session};
use crate::modbus::Ask;
use crate::modbus::rtu::Pace;
use crate::profile::Parity;
use std::path::Path;
use std::time::Duration;

/// What all devices of a serial line must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub baud: u32,
    pub parity: Parity,
    pub stop_bits: u8,
}

impl Settings {
    pub fn pace(self) -> Pace {
        Pace::new(self.baud, self.parity != Parity::None, self.stop_bits)
    }

    pub fn of_port(self, port: &Path) -> SerialConfig {
        let Settings { baud, parity, stop_bits } = self;
        SerialConfig { parity, stop_bits, ..SerialConfig::new(port, baud) }
    }
}

impl std::fmt::Display for Settings {
    /// `9600 8N1`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} 8{parity}{}", self.baud, self.stop_bits)
    }
}

/// Whoever can put a question to a device and wait for its answer.
pub trait Asks {
    /// The data of the answer, or why there is none. Damaged answers are asked for again.
    fn ask(&mut self, unit: u8, ask: Ask, patience: Duration) -> Result<Vec<u8>, Failure>;
}

impl Asks for Session {
    fn ask(&mut self, unit: u8, ask: Ask, patience: Duration) -> Result<Vec<u8>, Failure> {
        self.read(unit, ask, patience)
    }
}
