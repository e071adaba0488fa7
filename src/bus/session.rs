//! One conversation for `linesman read`: opens the port, asks, closes. Blocking.

use super::capture::Tap;
use super::port::advice;
use super::serial::SerialLink;
use super::socket::SocketLink;
use super::tcp::TcpLink;
use super::transact::{Conversation, Manners, Outcome, Tempo};
use super::{PortConfig, SerialConfig};
use crate::modbus::{Ask, exception_sentence};
use crate::model::status::BusCounters;
use crate::model::{Clock, SystemClock};
use std::io;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{port}: {why}")]
    Port { port: String, why: String },
    #[error("no reply from unit {unit} within {} ms{hint}", patience.as_millis())]
    Silence { unit: u8, patience: Duration, hint: &'static str },
    #[error("two different answers of unit {unit}: two devices have this unit id")]
    TwoAnswers { unit: u8 },
    #[error("octets came, but no valid answer of unit {unit}: {hint}")]
    Garbled { unit: u8, hint: &'static str },
    #[error("unit {unit} refuses with exception {code}, {}", exception_sentence(*code))]
    Exception { unit: u8, code: u8 },
}

/// Damaged answers are asked for again so many times.
const RETRIES: u32 = 2;
const NOBODY: &str =
    ": is the unit id right, the meter powered, A and B the right way round, the baud rate its own?";
const NOISE: &str = "baud rate or parity may be others, A and B swapped, or two devices have this unit id";

#[derive(Debug)]
enum Wire {
    Serial { link: Box<SerialLink>, talk: Conversation },
    RtuOverTcp { link: SocketLink, talk: Conversation },
    Tcp { link: TcpLink, runtime: tokio::runtime::Runtime },
}

/// An open port.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
    name: String,
    /// What the conversation counted so far.
    pub counters: BusCounters,
}

impl Session {
    pub fn open(port: &PortConfig) -> Result<Session, Failure> {
        let (name, wire) = match port {
            PortConfig::Serial(config) => (config.port.display().to_string(), open_serial(config)),
            PortConfig::Tcp { address, .. } => (address.clone(), open_tcp(address)),
            PortConfig::RtuOverTcp { address } => (address.clone(), open_rtu_over_tcp(address)),
        };
        match wire {
            Ok(wire) => Ok(Session { wire, name, counters: BusCounters::default() }),
            Err(error) => Err(Failure::Port { port: name, why: advice(&error) }),
        }
    }

    /// Puts what goes over the wire on record.
    #[must_use]
    pub fn with_tap(self, tap: Tap) -> Session {
        let wire = match self.wire {
            Wire::Serial { link, talk } => Wire::Serial { link, talk: talk.with_tap(tap) },
            Wire::RtuOverTcp { link, talk } => Wire::RtuOverTcp { link, talk: talk.with_tap(tap) },
            Wire::Tcp { link, runtime } => Wire::Tcp { link: link.with_tap(tap), runtime },
        };
        Session { wire, ..self }
    }

    /// The data of the answer: register octets, packed coils, or what the question's answer has else.
    pub fn read(&mut self, unit: u8, ask: impl Into<Ask>, timeout: Duration) -> Result<Vec<u8>, Failure> {
        let ask = ask.into();
        for attempt in 0..=RETRIES {
            match self.ask(unit, ask, timeout) {
                Ok(Outcome::Data(data)) => return Ok(data),
                Ok(Outcome::Exception(code)) => return Err(Failure::Exception { unit, code }),
                Ok(Outcome::TwoAnswers) => return Err(Failure::TwoAnswers { unit }),
                Ok(Outcome::NoReply) => {
                    return Err(Failure::Silence { unit, patience: timeout, hint: NOBODY });
                }
                Ok(Outcome::Garbled { whole: true }) if attempt < RETRIES => {}
                Ok(Outcome::Garbled { .. }) => return Err(Failure::Garbled { unit, hint: NOISE }),
                Err(error) => return Err(Failure::Port { port: self.name.clone(), why: error.to_string() }),
            }
        }
        Err(Failure::Garbled { unit, hint: NOISE })
    }

    fn ask(&mut self, unit: u8, ask: Ask, timeout: Duration) -> io::Result<Outcome> {
        let (manners, counters) = (Manners::new(timeout), &mut self.counters);
        match &mut self.wire {
            Wire::Serial { link, talk } => {
                talk.transact(link.as_mut(), unit, ask, manners, counters).map(|(outcome, _)| outcome)
            }
            Wire::RtuOverTcp { link, talk } => {
                talk.transact(link, unit, ask, manners, counters).map(|(outcome, _)| outcome)
            }
            Wire::Tcp { link, runtime } => runtime.block_on(link.transact(unit, ask, timeout, counters)),
        }
    }
}

fn open_serial(config: &SerialConfig) -> io::Result<Wire> {
    let link = Box::new(SerialLink::open(config)?);
    let tempo = Tempo::serial(config.pace(), config.framing);
    Ok(Wire::Serial { talk: Conversation::new(tempo, SystemClock.mono()), link })
}

fn open_rtu_over_tcp(address: &str) -> io::Result<Wire> {
    let link = SocketLink::open(address, CancellationToken::new())?;
    Ok(Wire::RtuOverTcp { talk: Conversation::new(Tempo::rtu_over_tcp(), SystemClock.mono()), link })
}

fn open_tcp(address: &str) -> io::Result<Wire> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let link = runtime.block_on(TcpLink::open(address))?;
    Ok(Wire::Tcp { link, runtime })
}
