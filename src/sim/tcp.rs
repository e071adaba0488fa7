//! Meters behind one TCP port: Modbus TCP, or serial frames over TCP as a device server passes them on.

use super::faults::Faults;
use super::frames::{Ear, Heard};
use super::meter::Meter;
use super::pause::LOOK;
use super::station::{Answer, Station};
use super::wire::Statistics;
use crate::modbus::{Framing, mbap};
use crate::model::{Clock, Mono, SystemClock};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the listener's queue.
const CONNECTIONS: usize = 2000;
const BUFFER: usize = 512;
/// Requests of a connection that are being answered; more wait in the socket.
const IN_FLIGHT: usize = 64;
/// Replies out of order leave within this time, by chance.
const SHUFFLED_WITHIN: Duration = Duration::from_millis(5);

/// What to serve.
#[derive(Debug)]
pub struct TcpConfig {
    pub meters: Vec<Meter>,
    pub faults: Faults,
    /// From a request to its reply.
    pub turnaround: Duration,
    /// Serial frames over TCP; `None` is Modbus TCP.
    pub framing: Option<Framing>,
    /// Works on all requests of a connection at once and answers in any order; otherwise on one after the
    /// other, as a gateway with one line does. Only Modbus TCP has numbers to tell the replies apart.
    pub shuffle: bool,
    /// Where all connections count together; there is no silence to measure.
    pub statistics: watch::Sender<Statistics>,
}

impl TcpConfig {
    /// Modbus TCP, with nothing wrong and meters that answer at once.
    pub fn new(meters: Vec<Meter>) -> TcpConfig {
        TcpConfig {
            meters,
            faults: Faults::none(),
            turnaround: Duration::ZERO,
            framing: None,
            shuffle: false,
            statistics: watch::Sender::new(Statistics::default()),
        }
    }
}

/// Serves Modbus TCP until the stop token says so.
pub async fn serve(
    listener: TcpListener,
    meters: Vec<Meter>,
    faults: Faults,
    turnaround: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_with(listener, TcpConfig { faults, turnaround, ..TcpConfig::new(meters) }, stop).await
}

/// Serves RTU frames over TCP until the stop token says so.
pub async fn serve_rtu(listener: TcpListener, config: TcpConfig, stop: CancellationToken) -> io::Result<()> {
    serve_with(listener, TcpConfig { framing: Some(Framing::Rtu), ..config }, stop).await
}

/// Serves until the stop token says so.
pub async fn serve_with(listener: TcpListener, config: TcpConfig, stop: CancellationToken) -> io::Result<()> {
    let mut connections = JoinSet::new();
    // Faults are counted from the start, and each connection throws dice of its own.
    let started = SystemClock.mono();
    let mut station = Station::new(config.meters, config.faults, config.turnaround);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                let (stream, _) = accepted?;
                let connection = Connection {
                    station: station.for_another(),
                    started,
                    shuffle: config.shuffle && config.framing.is_none(),
                    due: VecDeque::new(),
                    publish: config.statistics.clone(),
                };
                connections.spawn(connection.run(stream, config.framing));
            }
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

struct Connection {
    station: Station,
    started: Mono,
    shuffle: bool,
    /// Replies and when they leave, the next one first.
    due: VecDeque<(Instant, Vec<u8>)>,
    publish: watch::Sender<Statistics>,
}

/// Requests out of the stream.
enum Hearing {
    Tcp(Vec<u8>),
    Serial(Framing, Ear),
}

impl Connection {
    /// A connection that breaks concerns nobody else.
    async fn run(mut self, mut stream: TcpStream, framing: Option<Framing>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut hearing = match framing {
            None => Hearing::Tcp(Vec::new()),
            Some(framing) => Hearing::Serial(framing, Ear::new(framing)),
        };
        let mut buffer = [0; BUFFER];
        let mut heard_at = Instant::now();
        loop {
            let next = self.due.front().map(|(at, _)| *at);
            tokio::select! {
                n = stream.read(&mut buffer), if self.due.len() < IN_FLIGHT => {
                    let octets = buffer.get(..n?).unwrap_or_default();
                    if octets.is_empty() {
                        return Ok(());
                    }
                    if let (Hearing::Serial(_, ear), true) = (&mut hearing, heard_at.elapsed() > LOOK) {
                        ear.forget();
                    }
                    heard_at = Instant::now();
                    self.hear(&mut hearing, octets)?;
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some((_, octets)) = self.due.pop_front() {
                        stream.write_all(&octets).await?;
                    }
                }
            }
        }
    }

    fn hear(&mut self, hearing: &mut Hearing, octets: &[u8]) -> io::Result<()> {
        match hearing {
            Hearing::Tcp(arrived) => {
                arrived.extend_from_slice(octets);
                while let Some(adu) = mbap::take(arrived).map_err(io::Error::other)? {
                    if let Some(answer) = self.answer((adu.transaction, adu.unit), &adu.pdu) {
                        let (pause, said) = (answer.pause, answer.said.iter());
                        let adus = said.map(|s| mbap::encode(s.transaction, s.unit, &s.pdu));
                        self.reply_after(pause, adus.collect::<Vec<_>>().concat());
                    }
                }
            }
            Hearing::Serial(framing, ear) => {
                ear.hear(octets);
                while let Some(heard) = ear.take() {
                    let Heard::Request(request) = heard else {
                        self.publish.send_modify(|seen| seen.not_understood += 1);
                        continue;
                    };
                    if let Some(answer) = self.answer((0, request.unit), &request.pdu) {
                        let pause = answer.pause;
                        // The pauses between frames are lost on the way.
                        let parts = self.station.on_a_line(answer, *framing, Duration::ZERO);
                        let octets: Vec<u8> = parts.into_iter().flat_map(|part| part.octets).collect();
                        self.reply_after(pause, octets);
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, to: (u16, u8), pdu: &[u8]) -> Option<Answer> {
        let since_start = SystemClock.mono().since(self.started);
        let answer = self.station.answer(to, pdu, since_start, SystemClock.utc());
        self.publish.send_modify(|seen| {
            seen.requests += 1;
            seen.replies += u64::from(answer.is_some());
        });
        answer
    }

    fn reply_after(&mut self, pause: Duration, octets: Vec<u8>) {
        let now = Instant::now();
        let at = if self.shuffle {
            now + pause + self.station.faults.chance_up_to(SHUFFLED_WITHIN)
        } else {
            self.due.back().map_or(now, |(busy_until, _)| now.max(*busy_until)) + pause
        };
        let place = self.due.partition_point(|(due, _)| *due <= at);
        self.due.insert(place, (at, octets));
    }
}
