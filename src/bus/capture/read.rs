//! A capture's file, read from end to end: its exchanges one by one, and what it came to.

use super::decode::{Decoder, Interface, Item, Packet, Unreadable};
use super::envelope::{self, Content, MODBUS_PORT, Segment};
use super::exchange::{Exchange, Pairs, Tally, Timing};
use super::pcapng::Direction;
use super::stream::{Said, Streams};
use super::tap;
use crate::modbus::rtu::Pace;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const STRIDE: usize = 64 << 10;

/// Why a capture could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: Unreadable },
}

/// Where an exchange was heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The line's name; of a connection in somebody else's capture, the server's address.
    pub name: String,
    pub description: String,
    pub serial: bool,
    /// How fast the line is, where the capture says it.
    pub pace: Option<Pace>,
    /// A pseudo-terminal: octets take no time, whatever the pace.
    pub unpaced: bool,
    pub ascii: bool,
}

/// What a capture came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    pub tally: Tally,
    pub packets: u64,
    /// Packets that Modbus could not be in, and segments that are none.
    pub without_modbus: u64,
    /// Pieces that are missing because the capture could not be written fast enough.
    pub lost: u64,
    /// The file ends within a block: where that begins.
    pub cut_off_at: Option<u64>,
    /// Every line that was spoken on.
    pub sources: Vec<Source>,
}

/// Who is one line: an interface, or the two ends of a connection (the server first).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Serial(usize),
    Tcp(usize, SocketAddr, SocketAddr),
}

/// Reads a capture; each exchange is handed out once the next question, or the end, has settled it. With a
/// `timeout`, what came later than that after a question is no answer to it.
pub fn read(
    path: &Path,
    timeout: Option<Duration>,
    mut each: impl FnMut(&Source, Exchange),
) -> (Contents, Result<(), ReadError>) {
    let timeout_nanos = timeout.map(|timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX));
    let mut reading = Reading { timeout_nanos, pairs: Pairs::new(timeout_nanos), ..Reading::default() };
    let result = reading.file(path, &mut each);
    for (line, exchange) in reading.pairs.end() {
        reading.hand_out(line, exchange, &mut each);
    }
    reading.contents.tally = reading.pairs.tally;
    (reading.contents, result)
}

#[derive(Debug, Default)]
struct Reading {
    decoder: Decoder,
    streams: Streams,
    timeout_nanos: Option<i64>,
    pairs: Pairs,
    lines: BTreeMap<Key, usize>,
    lost: BTreeMap<usize, u64>,
    contents: Contents,
    /// For packets that have no stamp.
    last: i64,
}

impl Reading {
    fn file(&mut self, path: &Path, each: &mut impl FnMut(&Source, Exchange)) -> Result<(), ReadError> {
        let at = |source| ReadError::Io { path: path.to_owned(), source };
        let unreadable = |source| ReadError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(at)?;
        let mut octets = vec![0; STRIDE];
        loop {
            let n = file.read(&mut octets).map_err(at)?;
            if n == 0 {
                let rest = self.decoder.end().map_err(unreadable)?;
                self.contents.cut_off_at = (rest > 0).then_some(self.decoder.offset());
                return Ok(());
            }
            self.decoder.push(octets.get(..n).unwrap_or_default());
            while let Some(item) = self.decoder.next_item().map_err(unreadable)? {
                self.item(item, each);
            }
        }
    }

    fn item(&mut self, item: Item, each: &mut impl FnMut(&Source, Exchange)) {
        match item {
            // Each count contains those before it.
            Item::Lost { interface, packets } => {
                self.lost.insert(interface, packets);
                self.contents.lost = self.lost.values().sum();
            }
            Item::Packet(packet) => self.packet(&packet, each),
        }
    }

    fn packet(&mut self, packet: &Packet, each: &mut impl FnMut(&Source, Exchange)) {
        let Some(interface) = self.decoder.interfaces().get(packet.interface).cloned() else { return };
        self.contents.packets += 1;
        self.last = packet.utc_nanos.unwrap_or(self.last);
        match envelope::open(interface.link, &packet.octets) {
            Content::Serial(octets) => {
                let line = self.line(Key::Serial(packet.interface), &interface);
                let timing = self.timing(line);
                let done = self.pairs.serial(line, timing, self.last, packet.direction, octets);
                done.into_iter().for_each(|exchange| self.hand_out(line, exchange, each));
            }
            Content::Tcp(segment) => self.segment(packet, &interface, &segment, each),
            Content::Other => self.contents.without_modbus += 1,
        }
    }

    fn segment(
        &mut self,
        packet: &Packet,
        interface: &Interface,
        segment: &Segment<'_>,
        each: &mut impl FnMut(&Source, Exchange),
    ) {
        let direction = packet.direction.filter(|_| interface.ours).unwrap_or_else(|| direction_of(segment));
        let (server, client) = match direction {
            Direction::Sent => (segment.to, segment.from),
            Direction::Heard => (segment.from, segment.to),
        };
        let key = Key::Tcp(packet.interface, server, client);
        for said in self.streams.take(packet.interface, segment) {
            let done = match said {
                Said::Adu(adu) => {
                    let line = self.line(key, interface);
                    self.pairs.adu(line, self.last, direction, &adu).map(|done| (line, done))
                }
                Said::Rtu(octets) => {
                    let line = self.line(key, interface);
                    let done =
                        self.pairs.serial(line, self.timing(line), self.last, Some(direction), &octets);
                    done.into_iter().next().map(|done| (line, done))
                }
                Said::Strange => {
                    self.contents.without_modbus += 1;
                    None
                }
            };
            if let Some((line, exchange)) = done {
                self.hand_out(line, exchange, each);
            }
        }
    }

    fn timing(&self, line: usize) -> Timing {
        let source = self.contents.sources.get(line);
        let rtu = Timing { timeout_nanos: self.timeout_nanos, ..Timing::default() };
        source.map_or(rtu, |Source { pace, unpaced, ascii, .. }| Timing {
            pace: *pace,
            ascii: *ascii,
            unpaced: *unpaced,
            ..rtu
        })
    }

    fn line(&mut self, key: Key, interface: &Interface) -> usize {
        let sources = &mut self.contents.sources;
        *self.lines.entry(key).or_insert_with(|| {
            sources.push(source(key, interface));
            sources.len() - 1
        })
    }

    fn hand_out(&self, line: usize, exchange: Exchange, each: &mut impl FnMut(&Source, Exchange)) {
        if let Some(source) = self.contents.sources.get(line) {
            each(source, exchange);
        }
    }
}

fn source(key: Key, interface: &Interface) -> Source {
    let Interface { name, description, ours, .. } = interface;
    let (name, serial) = match key {
        Key::Tcp(_, server, _) if !ours => (server.to_string(), false),
        Key::Tcp(..) => (name.clone(), false),
        Key::Serial(number) if name.is_empty() => (format!("interface-{number}"), true),
        Key::Serial(_) => (name.clone(), true),
    };
    let pace = tap::pace(description).filter(|_| *ours && serial);
    let unpaced = *ours && tap::is_unpaced(description);
    let ascii = *ours && serial && tap::is_ascii(description);
    Source { name, description: description.clone(), serial, pace, unpaced, ascii }
}

/// Who asks, where nobody says it: whoever speaks to Modbus' own port, else to the lower one.
fn direction_of(segment: &Segment<'_>) -> Direction {
    let (from, to) = (segment.from.port(), segment.to.port());
    let asks = to == MODBUS_PORT || (from != MODBUS_PORT && to < from);
    if asks { Direction::Sent } else { Direction::Heard }
}
