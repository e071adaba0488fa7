//! Modbus TCP: one question in flight, told apart by its transaction number.
//!
//! A number is not used again while an answer to it may still come: they run through all 65 536 before
//! one comes back. An answer with another number is late; it is counted and dropped. A stream whose
//! headers are not Modbus can't be followed: the connection is closed and made anew.

use super::transact::Outcome;
use crate::modbus::mbap;
use crate::modbus::{ReadRequest, ReplyPdu, decode_reply};
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a connection may take to be made, name resolution included.
const CONNECT: Duration = Duration::from_secs(5);
/// Octets that the far end's kernel has not acknowledged after this end the connection.
const UNACKNOWLEDGED_MS: u32 = 10_000;
/// One read takes at most this; an ADU has 260 octets.
const BUFFER: usize = 512;

#[derive(Debug)]
pub struct TcpLink {
    stream: TcpStream,
    arrived: Vec<u8>,
    transaction: u16,
}

impl TcpLink {
    pub async fn open(address: &str) -> io::Result<TcpLink> {
        let connecting = timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = connecting
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection"))??;
        stream.set_nodelay(true)?;
        // A far end that has lost its power says nothing: without this the kernel would go on for a
        // quarter of an hour before it gave the connection up.
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS)?;
        // Where to begin does not matter, but a device that answers an old connection's question late
        // must not hit the new one's.
        Ok(TcpLink { stream, arrived: Vec::new(), transaction: fastrand::u16(..) })
    }

    /// Asks and waits for the answer. An error means that the connection is no more.
    pub async fn transact(
        &mut self,
        unit: u8,
        request: &ReadRequest,
        patience: Duration,
        counters: &mut BusCounters,
    ) -> io::Result<Outcome> {
        self.transaction = self.transaction.wrapping_add(1);
        let adu = mbap::encode(self.transaction, unit, &request.pdu());
        let deadline = Instant::now() + patience;
        timeout(patience, self.stream.write_all(&adu))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the connection does not take octets"))??;
        counters.requests += 1;
        let mut buffer = [0; BUFFER];
        loop {
            if let Some(outcome) = self.next_answer(unit, request, counters)? {
                return Ok(outcome);
            }
            // Octets that keep coming would be read for ever: a time limit only ends a wait.
            if Instant::now() >= deadline {
                counters.timeouts += 1;
                return Ok(Outcome::NoReply);
            }
            match timeout_at(deadline, self.stream.read(&mut buffer)).await {
                Ok(Ok(0)) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the far end closed the connection",
                    ));
                }
                Ok(Ok(n)) => self.arrived.extend_from_slice(&buffer[..n]),
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    counters.timeouts += 1;
                    return Ok(Outcome::NoReply);
                }
            }
        }
    }

    fn next_answer(
        &mut self,
        unit: u8,
        request: &ReadRequest,
        counters: &mut BusCounters,
    ) -> io::Result<Option<Outcome>> {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(adu) = mbap::take(&mut self.arrived).map_err(broken)? {
            if adu.transaction != self.transaction || adu.unit != unit {
                counters.foreign_frames += 1;
                continue;
            }
            return Ok(Some(match decode_reply(request, &adu.pdu) {
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
            }));
        }
        Ok(None)
    }
}
