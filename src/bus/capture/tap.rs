//! Where a line hands over what it says and hears: never waits, whatever the disk does.

use super::pcapng::Direction;
use super::scribe::Message;
use crate::bus::{LineConfig, PortConfig, SerialConfig};
use crate::modbus::Framing;
use crate::modbus::rtu::Pace;
use crate::profile::Parity;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

/// A device server sends on what it hears in pieces; what follows within this belongs to the same frame.
const PIECES_OVER_TCP: Duration = Duration::from_millis(20);

const UNPACED: &str = " unpaced";

/// How a line's frames are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Rtu,
    Ascii,
    /// Host and port.
    Tcp(String),
}

/// What a capture knows of a line.
#[derive(Debug)]
pub(super) struct Line {
    /// One for each time a line is started.
    pub number: u32,
    pub name: String,
    pub description: String,
    pub speed: Option<u32>,
    pub kind: Kind,
    /// One octet on the wire, and the silence between two frames.
    pub character: Duration,
    pub silence: Duration,
    /// Pieces that the queue had no room for.
    pub lost: AtomicU64,
}

impl Line {
    pub(super) fn new(number: u32, config: &LineConfig) -> Line {
        let (description, speed, kind, character, silence) = match &config.port {
            PortConfig::Serial(serial) => {
                let kind = match serial.framing {
                    Framing::Rtu => Kind::Rtu,
                    Framing::Ascii => Kind::Ascii,
                };
                let pace = serial.pace();
                (settings(serial), Some(serial.baud), kind, pace.character(), pace.silence())
            }
            PortConfig::Tcp { address, .. } => {
                let kind = Kind::Tcp(address.clone());
                (format!("tcp {address}"), None, kind, Duration::ZERO, Duration::ZERO)
            }
            PortConfig::RtuOverTcp { address } => {
                (format!("RTU over tcp {address}"), None, Kind::Rtu, Duration::ZERO, PIECES_OVER_TCP)
            }
        };
        let name = config.name.to_string();
        Line { number, name, description, speed, kind, character, silence, lost: AtomicU64::new(0) }
    }
}

const ASCII: &str = " ASCII";

/// `/dev/ttyUSB0, 9600 8N1`, with `ASCII` where it is not RTU, and `unpaced` for a pseudo-terminal, on
/// which octets take no time.
fn settings(serial: &SerialConfig) -> String {
    let parity = match serial.parity {
        Parity::None => 'N',
        Parity::Even => 'E',
        Parity::Odd => 'O',
    };
    let framing = if serial.framing == Framing::Ascii { ASCII } else { "" };
    let terminal = std::fs::canonicalize(&serial.port).is_ok_and(|path| path.starts_with("/dev/pts"));
    let paced = if terminal { UNPACED } else { "" };
    let (port, baud, data, stop) = (serial.port.display(), serial.baud, serial.data_bits, serial.stop_bits);
    format!("{port}, {baud} {data}{parity}{stop}{framing}{paced}")
}

/// Whether octets take no time on a line, by its description.
pub(super) fn is_unpaced(description: &str) -> bool {
    description.ends_with(UNPACED)
}

/// Whether a line speaks ASCII, by its description.
pub(super) fn is_ascii(description: &str) -> bool {
    description.trim_end_matches(UNPACED).ends_with(ASCII)
}

/// The pace of a line by its description in a capture of ours.
pub(super) fn pace(description: &str) -> Option<Pace> {
    let (_, settings) = description.rsplit_once(", ")?;
    let (baud, format) = settings.trim_end_matches(UNPACED).trim_end_matches(ASCII).split_once(' ')?;
    let [data, parity, stop] = *format.as_bytes() else { return None };
    let digit = |octet: u8| octet.checked_sub(b'0').filter(|digit| *digit <= 9);
    let pace = Pace::new(baud.parse().ok()?, parity != b'N', digit(stop).filter(|stop| *stop <= 2)?);
    Some(pace.with_data_bits(digit(data).filter(|data| matches!(data, 7 | 8))?))
}

/// A piece of what went over a line.
pub(super) struct Piece {
    pub line: Arc<Line>,
    pub at: i64,
    pub direction: Direction,
    pub octets: Vec<u8>,
}

/// One line's way into the capture; without a capture, a way into nothing.
#[derive(Clone, Default)]
pub struct Tap(Option<(Arc<Line>, SyncSender<Message>)>);

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tap").field(&self.0.as_ref().map(|(line, _)| &line.name)).finish()
    }
}

impl Tap {
    /// Records nothing.
    pub fn none() -> Tap {
        Tap(None)
    }

    pub(super) fn new(line: Line, queue: SyncSender<Message>) -> Tap {
        Tap(Some((Arc::new(line), queue)))
    }

    /// Whether there is a capture: who has to make a stamp first may ask.
    pub fn records(&self) -> bool {
        self.0.is_some()
    }

    /// A frame that we sent; stamped when its first octet was handed to the driver.
    pub fn sent(&self, at_utc_nanos: i64, octets: &[u8]) {
        self.hand_over(at_utc_nanos, Direction::Sent, octets);
    }

    /// Octets as they were read; pieces of a serial frame are joined by the capture.
    pub fn heard(&self, at_utc_nanos: i64, octets: &[u8]) {
        self.hand_over(at_utc_nanos, Direction::Heard, octets);
    }

    fn hand_over(&self, at: i64, direction: Direction, octets: &[u8]) {
        let Some((line, queue)) = &self.0 else { return };
        if octets.is_empty() {
            return;
        }
        let piece = Piece { line: Arc::clone(line), at, direction, octets: octets.to_vec() };
        match queue.try_send(Message::Piece(piece)) {
            // A capture that has ended has said so; what comes after it is not missing from it.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                line.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_queue_has_no_room_for_is_counted_and_nobody_waits() {
        let (queue, messages) = std::sync::mpsc::sync_channel(2);
        let port = PortConfig::Serial(SerialConfig::new("/dev/ttyS0", 9600));
        let config = LineConfig {
            name: "a".parse().unwrap(),
            port,
            devices: vec![],
            max_probe: Duration::from_secs(1),
        };
        let tap = Tap::new(Line::new(0, &config), queue);
        tap.sent(1, &[]);
        for octet in 0..5 {
            tap.heard(1, &[octet]);
        }
        let Tap(Some((line, _))) = &tap else { panic!("a tap into nothing") };
        assert_eq!(line.lost.load(Ordering::Relaxed), 3);
        drop(messages);
        tap.heard(1, &[6]);
        assert_eq!(line.lost.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_description_gives_the_pace_back() {
        for (parity, stop_bits, data_bits) in
            [(Parity::None, 1, 8), (Parity::Even, 1, 8), (Parity::Odd, 2, 7), (Parity::None, 2, 8)]
        {
            let plain = SerialConfig::new("/dev/serial/by-id/a, b", 19_200);
            let serial = SerialConfig { parity, stop_bits, data_bits, ..plain };
            assert_eq!(pace(&settings(&serial)), Some(serial.pace()));
        }
        let ascii = SerialConfig { framing: Framing::Ascii, ..SerialConfig::new("/dev/ttyS0", 9600) };
        assert_eq!(pace(&settings(&ascii)), Some(ascii.pace()));
        for foreign in
            ["", "tcp 10.0.0.5:502", "eth0, 9600", "a, 9600 8N", "a, 9600 9N1", "a, x 8N1", "a, 9600 8N9"]
        {
            assert_eq!(pace(foreign), None, "{foreign}");
        }
    }
}
