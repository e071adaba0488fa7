//! The two files of a capture: FILE, and FILE.1 before it, which together never exceed the limit.

use super::decode::Decoder;
use super::{APPLICATION, pcapng};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// So much is gathered before it is written, or a second's worth, whichever comes first.
const GATHERED: usize = 64 << 10;
/// A file of a capture is looked through in pieces of this.
const STRIDE: usize = 64 << 10;
/// The least that a capture may be limited to: two files, each with its beginning and some hundred frames.
pub const SMALLEST: u64 = 64 << 10;

/// Why a capture can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: this is no file that a capture could be written to", path.display())]
    NoFile { path: PathBuf },
    #[error("{}: exists and is no capture of linesman's: it stays as it is; name another file", path.display())]
    NotOurs { path: PathBuf },
    #[error("{}: another linesman writes its capture there", path.display())]
    InUse { path: PathBuf },
    #[error("{}: has {size} octets, more than half of the limit of {limit}: move it away, or allow more", path.display())]
    TooLarge { path: PathBuf, size: u64, limit: u64 },
    #[error("a capture needs at least {SMALLEST} octets, not {0}")]
    Limit(u64),
}

#[derive(Debug)]
pub(super) struct Ring {
    path: PathBuf,
    older: PathBuf,
    file: File,
    /// The most that each of the two files may have.
    half: u64,
    /// Octets in the file, …
    written: u64,
    /// … and those that are not there yet.
    gathered: Vec<u8>,
}

impl Ring {
    /// Opens FILE, or goes on where an earlier capture of ours has ended, with a new section.
    pub(super) fn open(path: &Path, limit: u64) -> Result<Ring, StartError> {
        if limit < SMALLEST {
            return Err(StartError::Limit(limit));
        }
        let half = limit / 2;
        let mut older = OsString::from(path);
        older.push(".1");
        let older = PathBuf::from(older);
        check_older(&older, half, limit)?;
        let at = |source| StartError::Io { path: path.to_owned(), source };
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(StartError::NoFile { path: path.to_owned() });
        }
        let mut file = open(path).map_err(at)?;
        lock(&file).map_err(|_| StartError::InUse { path: path.to_owned() })?;
        let size = file.metadata().map_err(at)?.len();
        if size > half {
            return Err(StartError::TooLarge { path: path.to_owned(), size, limit });
        }
        let whole = whole_blocks(&mut file).map_err(at)?;
        let Some(whole) = whole else { return Err(StartError::NotOurs { path: path.to_owned() }) };
        if whole < size {
            tracing::info!(file = %path.display(), "the last block of an earlier capture was not whole: cut off");
            file.set_len(whole).map_err(at)?;
        }
        file.seek(SeekFrom::Start(whole)).map_err(at)?;
        let mut ring =
            Ring { path: path.to_owned(), older, file, half, written: whole, gathered: Vec::new() };
        let section = pcapng::section(&application());
        if !ring.has_room(section.len()) {
            ring.turn_over().map_err(at)?;
        } else {
            ring.append(&section).and_then(|()| ring.flush()).map_err(at)?;
        }
        Ok(ring)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether so many octets more stay within half of the limit.
    pub(super) fn has_room(&self, octets: usize) -> bool {
        self.written + self.gathered.len() as u64 + octets as u64 <= self.half
    }

    /// FILE becomes FILE.1, and a new FILE is begun: from here on every line must be described anew.
    pub(super) fn turn_over(&mut self) -> io::Result<()> {
        self.flush()?;
        match fs::rename(&self.path, &self.older) {
            // Somebody has taken it away: all the better for them.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&self.path)?;
        // Nobody else has had it in hands yet; if the lock fails, only the warning to others is lost.
        let _ = lock(&file);
        (self.file, self.written) = (file, 0);
        self.append(&pcapng::section(&application()))
    }

    pub(super) fn append(&mut self, blocks: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(blocks);
        if self.gathered.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// What was gathered goes to the file. When it can't, the file ends with its last whole block.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&self.gathered) {
            let _ = self.file.set_len(self.written);
            return Err(error);
        }
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

/// Who wrote the file.
pub(super) fn application() -> String {
    format!("{APPLICATION} {}", env!("CARGO_PKG_VERSION"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn lock(file: &File) -> rustix::io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// FILE.1 will be given up one day: it must be ours, and fit.
fn check_older(older: &Path, half: u64, limit: u64) -> Result<(), StartError> {
    let path = || older.to_owned();
    let mut file = match File::open(older) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StartError::Io { path: path(), source }),
    };
    let at = |source| StartError::Io { path: path(), source };
    let size = file.metadata().map_err(at)?.len();
    if size > half {
        return Err(StartError::TooLarge { path: path(), size, limit });
    }
    whole_blocks(&mut file).map_err(at)?.map(drop).ok_or_else(|| StartError::NotOurs { path: path() })
}

/// Where the last whole block of a capture of ours ends; nothing when it is none of ours.
fn whole_blocks(file: &mut File) -> io::Result<Option<u64>> {
    let mut decoder = Decoder::default();
    let mut octets = vec![0; STRIDE];
    let mut empty = true;
    loop {
        let n = file.read(&mut octets)?;
        if n == 0 {
            return Ok((empty || decoder.is_ours()).then_some(decoder.offset()));
        }
        empty = false;
        decoder.push(octets.get(..n).unwrap_or_default());
        loop {
            match decoder.next_item() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return Ok(decoder.is_ours().then_some(decoder.offset())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::capture::pcapng::Direction;

    fn size(path: &Path) -> u64 {
        fs::metadata(path).map_or(0, |there| there.len())
    }

    /// Fills a capture with so many packets; after each step both files together are within the limit.
    fn fill(path: &Path, limit: u64, packets: usize) {
        let mut ring = Ring::open(path, limit).unwrap();
        let interface = pcapng::interface(252, "a", "", None);
        ring.append(&interface).unwrap();
        for n in 0..packets {
            let packet = pcapng::packet(0, n as i64 * 1_000_000, Direction::Sent, &[], &vec![7; n % 300]);
            if !ring.has_room(packet.len()) {
                ring.turn_over().unwrap();
                ring.append(&interface).unwrap();
            }
            ring.append(&packet).unwrap();
            let both = size(&ring.path) + size(&ring.older);
            assert!(both <= limit, "{both} octets where {limit} are allowed");
            if n % 7 == 0 {
                ring.flush().unwrap();
            }
        }
        ring.flush().unwrap();
    }

    fn count(path: &Path) -> usize {
        let mut decoder = Decoder::default();
        decoder.push(&fs::read(path).unwrap());
        let mut packets = 0;
        while decoder.next_item().unwrap().is_some() {
            packets += 1;
        }
        assert_eq!(decoder.end(), Ok(0));
        packets
    }

    #[test]
    fn both_files_together_never_exceed_the_limit_and_each_is_readable_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (path, older) = (folder.path().join("wire.pcapng"), folder.path().join("wire.pcapng.1"));
        fill(&path, SMALLEST, 2000);
        assert!(count(&path) > 0 && count(&older) > 100);
        assert!(size(&path) <= SMALLEST / 2 && size(&older) <= SMALLEST / 2);
    }

    #[test]
    fn an_earlier_capture_goes_on_and_what_was_not_whole_at_its_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wire.pcapng");
        fill(&path, SMALLEST, 10);
        let mut cut = fs::read(&path).unwrap();
        cut.extend_from_slice(&pcapng::packet(0, 0, Direction::Sent, &[], &[1; 50])[..30]);
        fs::write(&path, cut).unwrap();
        fill(&path, SMALLEST, 10);
        assert_eq!(count(&path), 20);
        // An empty file is nobody's.
        fs::write(&path, "").unwrap();
        fill(&path, SMALLEST, 1);
        assert_eq!(count(&path), 1);
    }

    #[test]
    fn nothing_of_anybody_elses_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wire.pcapng");
        let older = folder.path().join("wire.pcapng.1");
        let foreign = pcapng::section("Dumpcap (Wireshark) 4.0.17");
        for (file, text) in [(&path, &b"a letter"[..]), (&path, &foreign), (&older, b"another letter")] {
            fs::write(file, text).unwrap();
            let refused = Ring::open(&path, SMALLEST).unwrap_err();
            assert!(matches!(refused, StartError::NotOurs { .. }), "{refused}");
            assert!(refused.to_string().starts_with(&file.display().to_string()));
            assert_eq!(fs::read(file).unwrap(), text);
            fs::remove_file(file).unwrap();
        }
        assert!(matches!(Ring::open(folder.path(), SMALLEST), Err(StartError::NoFile { .. })));
        let missing = folder.path().join("no/such/wire.pcapng");
        assert!(matches!(Ring::open(&missing, SMALLEST), Err(StartError::Io { .. })));
        assert!(matches!(Ring::open(&path, SMALLEST - 1), Err(StartError::Limit(_))));
    }

    #[test]
    fn a_capture_that_another_writes_or_that_is_too_large_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wire.pcapng");
        let first = Ring::open(&path, 4 * SMALLEST).unwrap();
        assert!(matches!(Ring::open(&path, SMALLEST), Err(StartError::InUse { .. })));
        drop(first);
        fill(&path, 4 * SMALLEST, 500);
        let before = fs::read(&path).unwrap();
        let refused = Ring::open(&path, SMALLEST).unwrap_err();
        assert!(matches!(refused, StartError::TooLarge { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_was_taken_away_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wire.pcapng");
        let mut ring = Ring::open(&path, SMALLEST).unwrap();
        fs::remove_file(&path).unwrap();
        ring.turn_over().unwrap();
        ring.flush().unwrap();
        assert_eq!(count(&path), 0);
    }
}
