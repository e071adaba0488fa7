//! Modbus TCP: questions and answers told apart by their transaction number.
//!
//! A number is not used again while an answer to it may still come: they run through all 65 536 before
//! one comes back. An answer with another number is late; it is counted and dropped. A stream whose
//! headers are not Modbus can't be followed: the connection is closed and made anew.

use super::capture::{self, Tap};
use super::resolve::Resolver;
use super::socket::settle;
use super::transact::Outcome;
use crate::modbus::{Ask, ReplyPdu, mbap};
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a connection may take to be made, name resolution included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the connection may take to accept a question of a dozen octets.
const WRITE: Duration = Duration::from_secs(5);
/// One read takes at most this; an ADU has 260 octets.
const BUFFER: usize = 512;

#[derive(Debug)]
pub struct TcpLink {
    stream: TcpStream,
    arrived: Vec<u8>,
    transaction: u16,
    tap: Tap,
}

impl TcpLink {
    pub async fn open(address: &str) -> io::Result<TcpLink> {
        TcpLink::open_found(&mut Resolver::new(address)).await
    }

    pub(super) async fn open_found(resolver: &mut Resolver) -> io::Result<TcpLink> {
        let connecting = async { TcpStream::connect(resolver.find().await?.as_slice()).await };
        let stream = timeout(CONNECT, connecting)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection"))??;
        settle(&stream)?;
        // Where to begin does not matter, but a device that answers an old connection's question late
        // must not hit the new one's.
        Ok(TcpLink { stream, arrived: Vec::new(), transaction: fastrand::u16(..), tap: Tap::none() })
    }

    /// Puts what goes over the connection on record.
    #[must_use]
    pub fn with_tap(self, tap: Tap) -> TcpLink {
        TcpLink { tap, ..self }
    }

    fn record(&self, hand_over: impl FnOnce(&Tap, i64)) {
        if self.tap.records() {
            hand_over(&self.tap, capture::utc_nanos());
        }
    }

    /// Sends a question, and says under which number.
    pub(super) async fn send(&mut self, unit: u8, ask: &Ask) -> io::Result<u16> {
        self.transaction = self.transaction.wrapping_add(1);
        let adu = mbap::encode(self.transaction, unit, &ask.pdu());
        self.record(|tap, at| tap.sent(at, &adu));
        timeout(WRITE, self.stream.write_all(&adu))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the connection does not take octets"))??;
        Ok(self.transaction)
    }

    /// Waits for octets and takes them in. Nothing is lost when this is given up.
    pub(super) async fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut buffer) {
                Ok(0) => {
                    let why = "the far end closed the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Ok(n) => {
                    self.arrived.extend_from_slice(&buffer[..n]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next whole ADU of what has arrived.
    pub(super) fn next(&mut self) -> io::Result<Option<mbap::Adu>> {
        let taken = mbap::take(&mut self.arrived);
        match &taken {
            Ok(Some(adu)) => {
                self.record(|tap, at| tap.heard(at, &mbap::encode(adu.transaction, adu.unit, &adu.pdu)));
            }
            Ok(None) => {}
            // What is no Modbus is on record as it came.
            Err(_) => self.record(|tap, at| tap.heard(at, &self.arrived)),
        }
        taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Asks and waits for the answer, one question at a time. An error means that the connection is no more.
    pub async fn transact(
        &mut self,
        unit: u8,
        ask: impl Into<Ask>,
        patience: Duration,
        counters: &mut BusCounters,
    ) -> io::Result<Outcome> {
        let ask = ask.into();
        let deadline = Instant::now() + patience;
        let transaction = self.send(unit, &ask).await?;
        counters.requests += 1;
        loop {
            while let Some(adu) = self.next()? {
                if (adu.transaction, adu.unit) == (transaction, unit) {
                    return Ok(outcome_of(&ask, &adu, counters));
                }
                counters.foreign_frames += 1;
            }
            // Octets that keep coming would be read for ever: a time limit only ends a wait.
            let in_time = Instant::now() < deadline;
            match if in_time { timeout_at(deadline, self.receive()).await.ok() } else { None } {
                Some(received) => received?,
                None => {
                    counters.timeouts += 1;
                    return Ok(Outcome::NoReply);
                }
            }
        }
    }
}

/// What an answer with the right number and unit id is.
pub(super) fn outcome_of(ask: &Ask, adu: &mbap::Adu, counters: &mut BusCounters) -> Outcome {
    match ask.read_reply(&adu.pdu) {
        Ok(ReplyPdu::Data(data)) => {
            counters.replies += 1;
            Outcome::Data(data.to_vec())
        }
        Ok(ReplyPdu::Exception(code)) => {
            counters.replies += 1;
            counters.exceptions += 1;
            Outcome::Exception(code)
        }
        Err(_) => {
            counters.foreign_frames += 1;
            Outcome::Garbled { whole: true }
        }
    }
}
