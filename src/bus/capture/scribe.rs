//! The thread that owns the files: joins pieces to frames, numbers lines and connections, counts losses.

use super::envelope::{self, End};
use super::pcapng::{self, Direction};
use super::ring::Ring;
use super::tap::{Kind, Line, Piece};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What is gathered goes to the file at least this often.
const FLUSH: Duration = Duration::from_secs(1);
/// A frame that nothing follows for this long is whole: USB adapters deliver every 16 ms.
const SETTLED: Duration = Duration::from_millis(30);
/// A babbling line must not fill memory: so many octets make a packet, whatever follows them.
const LONGEST: usize = 1024;
/// We ourselves, in captures (a network for documentation, RFC 5737).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The first of the ports that are not given to services (RFC 6335): ours towards the first line.
const FIRST_PORT: u16 = 49_152;

pub(super) enum Message {
    Piece(Piece),
    /// Look whether there is an end.
    Wake,
}

/// A line as the capture knows it.
struct Seat {
    line: Arc<Line>,
    /// Its number in the file that is being written, once it is described there.
    interface: Option<u32>,
    /// The two ends of a connection, ours first, and how many packets it had.
    ends: [End; 2],
    packets: u16,
    told: u64,
}

/// A frame that may not be whole yet.
struct Waiting {
    piece: Piece,
    /// When its last octets were read.
    last: i64,
}

pub(super) struct Scribe {
    ring: Ring,
    seats: BTreeMap<u32, Seat>,
    waiting: BTreeMap<u32, Waiting>,
    interfaces: u32,
    flushed: Instant,
    warned: bool,
}

impl Scribe {
    pub(super) fn new(ring: Ring) -> Scribe {
        Scribe {
            ring,
            seats: BTreeMap::new(),
            waiting: BTreeMap::new(),
            interfaces: 0,
            flushed: Instant::now(),
            warned: false,
        }
    }

    /// Writes until it is told to end, all taps are gone, or the disk will not have any more.
    pub(super) fn run(mut self, queue: &Receiver<Message>, end: &AtomicBool) -> io::Result<()> {
        let path = self.ring.path().to_owned();
        let result = self.write_all(queue, end);
        if let Err(error) = &result {
            // Polling goes on: only the capture has come to its end.
            tracing::error!(file = %path.display(), %error, "the capture ends: it can't be written any more");
        }
        result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn write_all(&mut self, queue: &Receiver<Message>, end: &AtomicBool) -> io::Result<()> {
        loop {
            let next_flush = FLUSH.saturating_sub(self.flushed.elapsed());
            let patience = if self.waiting.is_empty() { next_flush } else { next_flush.min(SETTLED) };
            match queue.recv_timeout(patience) {
                Ok(Message::Piece(piece)) => self.take(piece)?,
                Ok(Message::Wake) => {}
                Err(RecvTimeoutError::Timeout) if patience == SETTLED => self.settle(None)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
            if end.load(Ordering::Relaxed) {
                while let Ok(message) = queue.try_recv() {
                    if let Message::Piece(piece) = message {
                        self.take(piece)?;
                    }
                }
                return self.close();
            }
            if self.flushed.elapsed() >= FLUSH {
                self.flush()?;
            }
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.settle(None)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tell_losses()?;
        // A line that was stopped, and all of whose taps are gone, says nothing any more.
        let waiting = &self.waiting;
        self.seats.retain(|number, seat| Arc::strong_count(&seat.line) > 1 || waiting.contains_key(number));
        self.flushed = Instant::now();
        self.ring.flush()
    }

    fn take(&mut self, piece: Piece) -> io::Result<()> {
        self.settle(Some(piece.at))?;
        let number = piece.line.number;
        if let Some(waiting) = self.waiting.get_mut(&number) {
            if waiting.goes_on_with(&piece) {
                waiting.piece.octets.extend_from_slice(&piece.octets);
                waiting.last = piece.at;
                return Ok(());
            }
            if let Some(whole) = self.waiting.remove(&number) {
                self.write(&whole.piece)?;
            }
        }
        if piece.direction == Direction::Heard && !matches!(piece.line.kind, Kind::Tcp(_)) {
            self.waiting.insert(number, Waiting { last: piece.at, piece });
            return Ok(());
        }
        self.write(&piece)
    }

    /// Writes what can't go on any more by this time, or all.
    fn settle(&mut self, now: Option<i64>) -> io::Result<()> {
        let whole = |waiting: &Waiting| now.is_none_or(|now| waiting.silent_by(now));
        let numbers: Vec<u32> =
            self.waiting.iter().filter(|(_, waiting)| whole(waiting)).map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(waiting) = self.waiting.remove(&number) {
                self.write(&waiting.piece)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        let seat = self.seats.entry(piece.line.number).or_insert_with(|| Seat::new(&piece.line));
        let head = seat.head(piece);
        let number = piece.line.number;
        self.put(number, |interface| {
            pcapng::packet(interface, piece.at, piece.direction, &head, &piece.octets)
        })
    }

    fn tell_losses(&mut self) -> io::Result<()> {
        let lossy = |seat: &Seat| seat.line.lost.load(Ordering::Relaxed) > seat.told;
        let numbers: Vec<u32> =
            self.seats.iter().filter(|(_, seat)| lossy(seat)).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(seat) = self.seats.get_mut(&number) else { continue };
            seat.told = seat.line.lost.load(Ordering::Relaxed);
            if !self.warned {
                self.warned = true;
                tracing::warn!(
                    line = %seat.line.name,
                    file = %self.ring.path().display(),
                    "the capture is not complete: it can't be written as fast as the lines speak"
                );
            }
            let (at, lost) = (super::utc_nanos(), seat.told);
            self.put(number, |interface| pcapng::losses(interface, at, lost))?;
        }
        Ok(())
    }

    /// Appends a block of a line, and the line's description before it where the file has none yet.
    fn put(&mut self, number: u32, block: impl Fn(u32) -> Vec<u8>) -> io::Result<()> {
        let Some(octets) = self.with_description(number, &block) else { return Ok(()) };
        if self.ring.has_room(octets.len()) {
            return self.ring.append(&octets);
        }
        self.ring.turn_over()?;
        self.interfaces = 0;
        self.seats.values_mut().for_each(|seat| seat.interface = None);
        let Some(octets) = self.with_description(number, &block) else { return Ok(()) };
        if self.ring.has_room(octets.len()) {
            return self.ring.append(&octets);
        }
        // Larger than a file may be: no frame is, but a tap takes whatever it is given.
        if let Some(seat) = self.seats.get_mut(&number) {
            seat.interface = None;
            seat.line.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.interfaces = 0;
        Ok(())
    }

    fn with_description(&mut self, number: u32, block: &impl Fn(u32) -> Vec<u8>) -> Option<Vec<u8>> {
        let seat = self.seats.get_mut(&number)?;
        if let Some(interface) = seat.interface {
            return Some(block(interface));
        }
        let interface = self.interfaces;
        self.interfaces += 1;
        seat.interface = Some(interface);
        let Line { name, description, speed, kind, .. } = seat.line.as_ref();
        let link = if matches!(kind, Kind::Tcp(_)) { envelope::RAW_IP } else { envelope::UPPER_PDU };
        let mut octets = pcapng::interface(link, name, description, *speed);
        octets.extend(block(interface));
        Some(octets)
    }
}

impl Seat {
    fn new(line: &Arc<Line>) -> Seat {
        let [_, _, high, low] = line.number.to_be_bytes();
        // A network for benchmarks (RFC 2544): whoever has no IPv4 address is given one of it.
        let stand_in = Ipv4Addr::new(198, 18, high, low);
        let address = match &line.kind {
            Kind::Tcp(address) => address.parse().map_or(stand_in, |address: SocketAddrV4| *address.ip()),
            Kind::Rtu | Kind::Ascii => stand_in,
        };
        let ours = FIRST_PORT | (u16::from_be_bytes([high, low]) & !FIRST_PORT);
        let ends = [
            End { address: GATEWAY, port: ours, sequence: 1 },
            End { address, port: envelope::MODBUS_PORT, sequence: 1 },
        ];
        Seat { line: Arc::clone(line), interface: None, ends, packets: 0, told: 0 }
    }

    /// What stands before the octets.
    fn head(&mut self, piece: &Piece) -> Vec<u8> {
        let (from, to) = if piece.direction == Direction::Sent { (0, 1) } else { (1, 0) };
        let [source, destination] = [self.ends[from], self.ends[to]];
        let dissector = match self.line.kind {
            Kind::Rtu => envelope::RTU,
            Kind::Ascii => envelope::PLAIN,
            Kind::Tcp(_) => {
                let head = envelope::ip_and_tcp(source, destination, self.packets, &piece.octets);
                let length = u32::try_from(piece.octets.len()).unwrap_or(u32::MAX);
                self.ends[from].sequence = source.sequence.wrapping_add(length);
                self.packets = self.packets.wrapping_add(1);
                return head;
            }
        };
        envelope::exported_pdu(dissector, source.address, destination.address)
    }
}

impl Waiting {
    /// The piece follows so soon that it belongs to the same frame. It was read when its last octet was
    /// there; its first had come as much earlier as the wire takes for it.
    fn goes_on_with(&self, piece: &Piece) -> bool {
        let line = &piece.line;
        let took =
            nanos(line.character).saturating_mul(i64::try_from(piece.octets.len()).unwrap_or(i64::MAX));
        let gap = piece.at.saturating_sub(took).saturating_sub(self.last);
        piece.direction == Direction::Heard
            && piece.at >= self.last
            && gap <= nanos(line.silence)
            && self.piece.octets.len() + piece.octets.len() <= LONGEST
    }

    /// Whatever of this line comes later than this belongs to another frame.
    fn silent_by(&self, now: i64) -> bool {
        let enough = nanos(SETTLED).max(nanos(self.piece.line.silence).saturating_mul(2));
        now.saturating_sub(self.last) > enough
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::capture::{Exchange, SMALLEST, read};
    use crate::bus::transact::Outcome;
    use crate::bus::{LineConfig, MAX_PROBE, PortConfig, SerialConfig};
    use crate::modbus::{mbap, rtu};
    use std::path::{Path, PathBuf};

    const MS: i64 = 1_000_000;

    fn line(number: u32, name: &str, port: PortConfig) -> Arc<Line> {
        let name = name.parse().unwrap();
        Arc::new(Line::new(number, &LineConfig { name, port, devices: vec![], max_probe: MAX_PROBE }))
    }

    fn serial(number: u32) -> Arc<Line> {
        line(number, &format!("rs485-{number}"), PortConfig::Serial(SerialConfig::new("/dev/ttyUSB0", 9600)))
    }

    struct Bench {
        _folder: tempfile::TempDir,
        path: PathBuf,
        scribe: Scribe,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("wire.pcapng");
            let scribe = Scribe::new(Ring::open(&path, SMALLEST).unwrap());
            Bench { _folder: folder, path, scribe }
        }

        fn take(&mut self, line: &Arc<Line>, at: i64, direction: Direction, octets: &[u8]) {
            let (line, octets) = (Arc::clone(line), octets.to_vec());
            self.scribe.take(Piece { line, at, direction, octets }).unwrap();
        }

        fn heard(&mut self, line: &Arc<Line>, at: i64, octets: &[u8]) {
            self.take(line, at, Direction::Heard, octets);
        }

        fn sent(&mut self, line: &Arc<Line>, at: i64, octets: &[u8]) {
            self.take(line, at, Direction::Sent, octets);
        }

        /// Packets as time in µs and octets behind their heads.
        fn packets(&mut self) -> Vec<(i64, Vec<u8>)> {
            self.scribe.close().unwrap();
            packets(&self.path)
        }

        fn exchanges(&mut self) -> Vec<(String, Exchange)> {
            self.scribe.close().unwrap();
            let mut all = Vec::new();
            read(&self.path, None, |source, exchange| all.push((source.name.clone(), exchange))).1.unwrap();
            all
        }
    }

    fn packets(path: &Path) -> Vec<(i64, Vec<u8>)> {
        use crate::bus::capture::{Decoder, Item};
        let mut decoder = Decoder::default();
        decoder.push(&std::fs::read(path).unwrap());
        let mut found = Vec::new();
        while let Some(item) = decoder.next_item().unwrap() {
            let Item::Packet(packet) = item else { continue };
            let link = decoder.interfaces()[packet.interface].link;
            let octets = match envelope::open(link, &packet.octets) {
                envelope::Content::Serial(octets) => octets,
                envelope::Content::Tcp(segment) => segment.payload,
                envelope::Content::Other => panic!("{link}: neither serial nor TCP"),
            };
            found.push((packet.utc_nanos.unwrap() / 1000, octets.to_vec()));
        }
        found
    }

    #[test]
    fn pieces_within_three_and_a_half_characters_are_one_packet_with_the_first_ones_stamp() {
        let (mut bench, a) = (Bench::new(), serial(0));
        // A character takes 1.04 ms, the silence is 3.65 ms: what is read so long after is another frame.
        bench.heard(&a, 1000 * MS, &[1, 4]);
        bench.heard(&a, 1004 * MS, &[2]);
        bench.heard(&a, 1020 * MS, &[3; 14]);
        bench.heard(&a, 1025 * MS, &[4]);
        assert_eq!(bench.packets(), [(1_000_000, [&[1, 4, 2][..], &[3; 14]].concat()), (1_025_000, vec![4])]);
    }

    #[test]
    fn noise_is_recorded_as_it_came_and_babble_is_cut_into_packets() {
        let (mut bench, a) = (Bench::new(), serial(0));
        bench.sent(&a, MS, &[9]);
        bench.heard(&a, 2 * MS, &[0xFF, 0, 0x55]);
        bench.sent(&a, 3 * MS, &[8]);
        for n in 0..300 {
            bench.heard(&a, (20 + n) * MS, &[7; 10]);
        }
        let packets = bench.packets();
        assert_eq!(packets[..3].iter().map(|(_, octets)| octets.len()).collect::<Vec<_>>(), [1, 3, 1]);
        assert_eq!(packets[1].1, [0xFF, 0, 0x55]);
        assert_eq!(packets[3..].iter().map(|(_, octets)| octets.len()).sum::<usize>(), 3000);
        assert!(packets.iter().all(|(_, octets)| octets.len() <= LONGEST) && packets.len() == 6);
    }

    #[test]
    fn a_frame_is_written_before_what_other_lines_say_later() {
        let (mut bench, a, b) = (Bench::new(), serial(0), serial(1));
        bench.heard(&a, 10 * MS, &[1]);
        bench.sent(&b, 60 * MS, &[2]);
        bench.heard(&a, 61 * MS, &[3]);
        // A clock that is set back begins a new frame.
        bench.heard(&a, 5 * MS, &[4]);
        let at: Vec<i64> = bench.packets().iter().map(|(at, _)| at / 1000).collect();
        assert_eq!(at, [10, 60, 61, 5]);
    }

    #[test]
    fn each_file_describes_the_lines_that_it_needs() {
        let (mut bench, a, b) = (Bench::new(), serial(0), serial(1));
        let mut frames = 0i64;
        while !bench.path.with_extension("pcapng.1").exists() {
            frames += 1;
            assert!(frames < 10_000, "the file is never full");
            let line = if frames % 2 == 0 { &a } else { &b };
            bench.sent(line, frames * 100 * MS, &rtu::frame(1, &[4, 0, 0, 0, 1]));
            bench.heard(line, (frames * 100 + 20) * MS, &rtu::frame(1, &[4, 2, 0, 42]));
        }
        let mut names = Vec::new();
        bench.scribe.close().unwrap();
        for path in [bench.path.with_extension("pcapng.1"), bench.path.clone()] {
            let (contents, result) = read(&path, None, |source, _| names.push(source.name.clone()));
            result.unwrap();
            assert_eq!((contents.cut_off_at, contents.without_modbus), (None, 0));
            assert!(contents.sources.iter().all(|source| source.pace.unwrap().baud() == 9600));
        }
        assert!(names.iter().any(|name| name == "rs485-0") && names.iter().any(|name| name == "rs485-1"));
        assert!(names.len() > 100);
    }

    #[test]
    fn a_tcp_line_is_a_connection_to_port_502_at_its_own_address() {
        let tcp = |address: &str| PortConfig::Tcp { address: address.to_owned(), in_flight: 1 };
        let (by_address, by_name) = (line(0, "lan", tcp("10.0.0.5:1502")), line(7, "far", tcp("meter:502")));
        let mut bench = Bench::new();
        for (at, line) in [(0, &by_address), (1000, &by_name)] {
            for n in 0..3u16 {
                let at = (at + i64::from(n) * 50) * MS;
                bench.sent(line, at, &mbap::encode(n, 1, &[4, 0, 0, 0, 1]));
                bench.heard(line, at + 20 * MS, &mbap::encode(n, 1, &[4, 2, 0, 42]));
            }
        }
        let exchanges = bench.exchanges();
        let answered = Outcome::Data(vec![0, 42]);
        assert!(exchanges.iter().all(|(_, exchange)| exchange.outcome == answered), "{exchanges:?}");
        let names: Vec<&str> = exchanges.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lan", "lan", "lan", "far", "far", "far"]);
        let [ours, far] = bench.scribe.seats[&0].ends;
        assert_eq!((far.address, far.port, ours.port), (Ipv4Addr::new(10, 0, 0, 5), 502, 49_152));
        // Three questions of 12 octets, three answers of 11.
        assert_eq!((ours.sequence, far.sequence), (37, 34));
        assert_eq!(bench.scribe.seats[&7].ends[1].address, Ipv4Addr::new(198, 18, 0, 7));
    }

    #[test]
    fn what_the_queue_had_no_room_for_is_counted_in_the_file() {
        let (mut bench, a) = (Bench::new(), serial(0));
        bench.sent(&a, MS, &[1]);
        a.lost.store(3, Ordering::Relaxed);
        bench.scribe.flush().unwrap();
        bench.scribe.flush().unwrap();
        a.lost.store(5, Ordering::Relaxed);
        bench.sent(&a, MS, &[2]);
        bench.scribe.close().unwrap();
        let (contents, _) = read(&bench.path, None, |_, _| ());
        assert_eq!((contents.lost, contents.packets), (5, 2));
    }

    #[test]
    fn what_is_larger_than_a_file_may_be_is_counted_as_lost() {
        let (mut bench, a) = (Bench::new(), serial(0));
        bench.sent(&a, MS, &vec![1; 40_000]);
        bench.sent(&a, MS, &[2]);
        assert_eq!(bench.packets(), [(1000, vec![2])]);
        assert_eq!(a.lost.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_line_that_is_gone_is_forgotten() {
        let mut bench = Bench::new();
        for number in 0..20 {
            bench.sent(&serial(number), MS, &[1]);
        }
        bench.scribe.flush().unwrap();
        assert!(bench.scribe.seats.is_empty());
    }
}
