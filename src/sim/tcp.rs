//! Meters behind one Modbus TCP port.

use super::fault::Faults;
use super::meter::Meter;
use crate::modbus::{ReadRequest, encode_exception, mbap};
use crate::model::{Clock, Mono, SystemClock};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the listener's queue.
const CONNECTIONS: usize = 2000;
const BUFFER: usize = 512;

/// Serves until the stop token says so.
pub async fn serve(
    listener: TcpListener,
    meters: Vec<Meter>,
    faults: Faults,
    turnaround: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    // Faults are counted from the start, and each connection throws dice of its own.
    let (started, mut dice) = (SystemClock.mono(), faults);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                let (stream, _) = accepted?;
                let faults = dice.for_another();
                connections.spawn(Connection { meters: meters.clone(), faults, turnaround, started }.run(stream));
            }
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

struct Connection {
    meters: Vec<Meter>,
    faults: Faults,
    turnaround: Duration,
    started: Mono,
}

impl Connection {
    /// A connection that breaks concerns nobody else.
    async fn run(mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut arrived, mut buffer) = (Vec::new(), [0; BUFFER]);
        loop {
            let n = stream.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            arrived.extend_from_slice(&buffer[..n]);
            while let Some(adu) = mbap::take(&mut arrived).map_err(io::Error::other)? {
                let since_start = SystemClock.mono().since(self.started);
                let Some((answer, late)) = self.answer(&adu, since_start) else { continue };
                tokio::time::sleep(self.turnaround + late).await;
                stream.write_all(&mbap::encode(adu.transaction, adu.unit, &answer)).await?;
            }
        }
    }

    fn answer(&mut self, adu: &mbap::Adu, since_start: Duration) -> Option<(Vec<u8>, Duration)> {
        let meter = self.meters.iter_mut().find(|meter| meter.unit() == adu.unit)?;
        if self.faults.is_silent(adu.unit, since_start) {
            return None;
        }
        let request = ReadRequest::decode(&adu.pdu).ok();
        let refused = request.and_then(|r| self.faults.refuses(adu.unit, r.address(), r.count()));
        let answer = match refused {
            Some(code) => encode_exception(adu.pdu.first().copied().unwrap_or(0), code).to_vec(),
            None => meter.answer(&adu.pdu, SystemClock.utc()),
        };
        Some((answer, self.faults.lateness(adu.unit)))
    }
}
