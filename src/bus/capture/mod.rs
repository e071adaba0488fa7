//! The wire on record: every frame with its time and direction, as pcap-ng, and back.
//!
//! # Promises
//! - **A capture never holds a line up.** A [`Tap`] hands over what was said and heard without waiting;
//!   what the queue has no room for is counted, and the count stands in the file.
//! - **Octets stay as they were.** Noise is in the capture as it came; nothing is corrected.
//! - **Bounded.** FILE and FILE.1 together never exceed the limit, and each can be read by itself.
//! - **Nothing of anybody else's is overwritten**; an earlier capture of ours goes on in a new section.
//! - **A full disk ends the capture**, with an error in the log, and nothing else.
//! - Reading: no octets make it panic; what can't be followed is refused with its place in the file.
//!
//! # The format
//! pcap-ng (draft-ietf-opsawg-pcapng), little-endian, microseconds. An interface for each line: `if_name` is
//! the line's name, `if_description` its port and settings. `epb_flags` say outbound for what we sent. Serial
//! frames are exported PDUs of Wireshark's (link type 252), Modbus TCP is IPv4 (link type 101): see
//! `envelope`. Losses stand in Interface Statistics Blocks (`isb_ifdrop`). `docs/capture.md` tells how to
//! look at it.
//!
//! # How it is cut
//! `pcapng` (blocks → octets), `decode` and `fields` (octets → blocks), `envelope` and `stream` (frames in
//! packets) and `exchange` (which answer belongs to which question) are pure. `tap` is the lines' side,
//! `scribe` the thread, `ring` its files, `read` the other way.

mod decode;
mod envelope;
mod exchange;
mod fields;
mod pcapng;
mod read;
mod ring;
mod scribe;
mod stream;
mod tap;

pub use decode::{Decoder, Interface, Item, Packet, Unreadable, Why};
pub use exchange::{Exchange, Tally};
pub use pcapng::Direction;
pub use read::{Contents, ReadError, Source, read};
pub use ring::{SMALLEST, StartError};
pub use tap::Tap;

use super::LineConfig;
use ring::Ring;
use scribe::{Message, Scribe};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a capture and the one before it may have together, if nothing else is said.
pub const LIMIT: u64 = 64 << 20;
/// How a file of ours says whose it is.
const APPLICATION: &str = "linesman";
/// Pieces between the lines and the file: two seconds of a thousand TCP devices, so that a disk that
/// stalls for a moment costs none.
const QUEUE: usize = 4096;
/// How long the end of a capture is waited for: a disk that hangs must not keep the process.
const LONGEST_END: Duration = Duration::from_secs(2);

/// A capture that is being written: makes a [`Tap`] for each line.
#[derive(Debug, Clone)]
pub struct Capture {
    queue: SyncSender<Message>,
    lines: Arc<AtomicU32>,
}

impl Capture {
    /// The line's way into the capture.
    pub fn tap(&self, line: &LineConfig) -> Tap {
        let number = self.lines.fetch_add(1, Ordering::Relaxed);
        Tap::new(tap::Line::new(number, line), self.queue.clone())
    }
}

/// The thread that writes a capture; to be finished once the lines have stopped.
#[derive(Debug)]
pub struct Recording {
    queue: SyncSender<Message>,
    end: Arc<AtomicBool>,
    ended: Receiver<()>,
    thread: JoinHandle<io::Result<()>>,
}

/// Begins a capture into FILE, of which FILE.1 is the older half; `limit` is for both together, in octets.
pub fn start(path: &Path, limit: u64) -> Result<(Capture, Recording), StartError> {
    let scribe = Scribe::new(Ring::open(path, limit)?);
    let (queue, messages) = sync_channel(QUEUE);
    let (ended_tx, ended) = sync_channel::<()>(0);
    let end = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&end);
    let thread = std::thread::Builder::new()
        .name("capture".to_owned())
        .spawn(move || {
            let _ended = ended_tx;
            scribe.run(&messages, &told)
        })
        .map_err(|source| StartError::Io { path: path.to_owned(), source })?;
    let capture = Capture { queue: queue.clone(), lines: Arc::new(AtomicU32::new(0)) };
    Ok((capture, Recording { queue, end, ended, thread }))
}

impl Recording {
    /// Writes what is queued and ends; tells of the error that ended it before, if one did.
    pub fn finish(self) -> io::Result<()> {
        self.end.store(true, Ordering::Relaxed);
        // A queue that is full wakes it as well.
        let _ = self.queue.try_send(Message::Wake);
        if self.ended.recv_timeout(LONGEST_END) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the capture's file does not take octets"));
        }
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the capture's thread panicked")))
    }
}

/// Now, as taps are told it: nanoseconds since 1970 UTC.
pub fn utc_nanos() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}
