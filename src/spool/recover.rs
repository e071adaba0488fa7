//! Opening after anything: lock, headers, the last segment in full, cursors.

use super::cursor::Cursor;
use super::disk::Disk;
use super::format::{self, HEADER, LAST_POSITION, SegmentHeader};
use super::log::{Log, NamedCursor, Segment};
use super::{Config, OpenError};
use rustix::fs::FlockOperation;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The folder of this format version.
pub(super) const VERSION_FOLDER: &str = "v1";
/// Where octets are put that stand where records should, for somebody who wants to know.
const DAMAGED: &str = "damaged";
/// So many damaged pieces are kept; more would eat the room for records.
const MOST_DAMAGED: usize = 8;
/// The longest position there is has twenty digits.
const DIGITS: usize = 20;

pub(super) struct Recovered<D: Disk> {
    pub disk: D,
    pub config: Config,
    pub folder: PathBuf,
    pub lock: File,
    pub epoch: u32,
    pub segments: VecDeque<Segment>,
    pub head: u64,
    /// Octets of damaged pieces kept aside.
    pub aside: u64,
}

pub(super) fn open<D: Disk>(config: Config, upstreams: &[String], disk: D) -> Result<Log<D>, OpenError> {
    let dir = config.dir.clone();
    let failed = |source| OpenError::Folder { dir: dir.clone(), source };
    let folder = dir.join(VERSION_FOLDER);
    fs::create_dir_all(&folder).map_err(failed)?;
    let lock = lock(&dir)?;
    let mut segments = segments_of(&folder, true).map_err(failed)?;
    let last = match segments.back_mut() {
        Some(last) => close_last(&disk, &folder, last).map_err(failed)?,
        None => 0,
    };
    let saved = saved_cursors(&folder).map_err(failed)?;
    // Never below a cursor: a position that an upstream has settled must not name another record.
    let head = saved.iter().map(|(_, _, cursor)| cursor.last()).fold(last, u64::max);
    let epoch = random_epoch().map_err(failed)?;
    let aside = octets_in(&folder.join(DAMAGED));
    let parts = Recovered { disk, config, folder, lock, epoch, segments, head, aside };
    let mut log = Log::assemble(parts);
    log.add_upstreams(upstreams).map_err(failed)?;
    Ok(log)
}

impl<D: Disk> Log<D> {
    /// Cursors for exactly these names: loaded where they were saved, new where they weren't.
    pub(super) fn add_upstreams(&mut self, names: &[String]) -> io::Result<()> {
        self.cursors.retain(|name, _| names.contains(name));
        let saved = saved_cursors(&self.folder)?;
        let oldest = self.segments.front().map(|segment| segment.first);
        let start = match oldest {
            Some(first) if saved.is_empty() && self.cursors.is_empty() => first - 1,
            Some(_) | None => self.head(),
        };
        for name in names {
            if self.cursors.contains_key(name) {
                continue;
            }
            let named = match saved.iter().find(|(saved, _, _)| saved == name) {
                Some((_, generation, cursor)) => NamedCursor {
                    cursor: cursor.clone(),
                    generation: *generation,
                    saved: Some(cursor.clone()),
                },
                // A cursor that can't be read any more: rather twice than not at all.
                None if self.folder.join(format!("{name}.cursor")).exists() => {
                    tracing::warn!(upstream = %name, "the cursor is damaged; all that is kept is sent again");
                    let before = oldest.map_or(self.head(), |first| first - 1);
                    NamedCursor { cursor: Cursor::starting_after(before), generation: 0, saved: None }
                }
                None => NamedCursor { cursor: Cursor::starting_after(start), generation: 0, saved: None },
            };
            self.cursors.insert(name.clone(), named);
        }
        // What the caps took while an upstream was away is its loss too.
        let kept_from = oldest.unwrap_or(self.head() + 1);
        self.lose(1, kept_from - 1, "spool-full");
        // A new upstream's place is durable at once: a crash must not make it start later again.
        if !self.has_uncommitted()
            && let Err(error) = self.save_cursors()
        {
            tracing::warn!(%error, "the cursors could not be saved yet");
        }
        Ok(())
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let failed = |source| OpenError::Folder { dir: dir.to_owned(), source };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(error.into()));
        }
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        return Err(OpenError::Locked { dir: dir.to_owned(), pid: text.trim().parse().ok() });
    }
    let write = |file: &mut File| file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    write(&mut file).map_err(failed)?;
    Ok(file)
}

/// All segments by first position. With `mend`, files that are no segments are put aside.
pub(super) fn segments_of(folder: &Path, mend: bool) -> io::Result<VecDeque<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        // One that the owner dropped while somebody else looks is simply not there.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let allocated = metadata.len();
        let named = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == DIGITS);
        let first: Option<u64> =
            named.and_then(|stem| stem.parse().ok()).filter(|first| (1..LAST_POSITION).contains(first));
        let header = read_header(&path);
        match (first, header) {
            (Some(first), Ok(Some(header))) if header.first == first => {
                segments.push(Segment { first, first_ts: header.first_ts, path, allocated });
            }
            // A disk that can't read it now may do so later: that is no reason to take it away.
            (Some(first), Err(_)) if metadata.is_file() => {
                segments.push(Segment { first, first_ts: i64::MAX, path, allocated });
            }
            // The header is torn, but records may stand behind it: the name says where they begin.
            (Some(first), Ok(_)) => match salvaged(&path, first) {
                Some(first_ts) => segments.push(Segment { first, first_ts, path, allocated }),
                None if mend => put_aside(folder, &path),
                None => {}
            },
            _ if mend => put_aside(folder, &path),
            _ => {}
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments.into())
}

fn read_header(path: &Path) -> io::Result<Option<SegmentHeader>> {
    let mut octets = [0; HEADER];
    let mut file = File::open(path)?;
    match file.read_exact(&mut octets) {
        Ok(()) => Ok(SegmentHeader::decode(&octets)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The time of the first record behind a torn header, if there is one.
fn salvaged(path: &Path, first: u64) -> Option<i64> {
    let octets = fs::read(path).ok()?;
    format::scan(&octets, first).records.first().map(|record| record.ts_ms)
}

/// Reads the last segment, gives back what it did not use, and returns its last position.
fn close_last<D: Disk>(disk: &D, folder: &Path, segment: &mut Segment) -> io::Result<u64> {
    let octets = fs::read(&segment.path)?;
    let contents = format::scan(&octets, segment.first);
    if contents.torn || !contents.damage.is_empty() {
        keep_damage(folder, segment.first, &octets, &contents);
    }
    let used = u64::try_from(contents.used).unwrap_or(u64::MAX);
    if used < segment.allocated {
        // What follows the last valid record was never committed; on a read-only disk it simply stays.
        if let Ok(file) = disk.open(&segment.path)
            && disk.truncate(&file, used).is_ok()
        {
            segment.allocated = used;
        }
    }
    Ok(contents.records.last().map_or(segment.first - 1, |record| record.position))
}

fn keep_damage(folder: &Path, first: u64, octets: &[u8], contents: &format::Contents) {
    tracing::warn!(
        segment = first,
        records = contents.records.len(),
        damaged = contents.damage.len(),
        torn = contents.torn,
        "the last segment did not end cleanly; its valid records are kept"
    );
    // A torn tail is what a power cut leaves and tells nothing; damage before valid records does.
    if !contents.damage.is_empty() {
        let aside = folder.join(DAMAGED);
        let few = fs::read_dir(&aside).map_or(0, Iterator::count) < MOST_DAMAGED;
        if few && fs::create_dir_all(&aside).is_ok() {
            let _ = fs::write(aside.join(format!("{first:020}.octets")), octets);
        }
    }
}

fn put_aside(folder: &Path, path: &Path) {
    let aside = folder.join(DAMAGED);
    let Some(name) = path.file_name() else { return };
    tracing::warn!(file = %path.display(), "not a segment of this spool; put aside");
    if fs::create_dir_all(&aside).is_ok() {
        let _ = fs::rename(path, aside.join(name));
    }
}

/// Damaged pieces are only curious: they give way before any record does.
pub(super) fn forget_damaged(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder.join(DAMAGED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The cursors on disk: name, generation, account. A file without a valid slot counts as none.
pub(super) fn saved_cursors(folder: &Path) -> io::Result<Vec<(String, u64, Cursor)>> {
    let mut cursors = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "cursor") {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if let Some((generation, cursor)) = Cursor::from_file(&fs::read(&path)?) {
            cursors.push((name.to_owned(), generation, cursor));
        }
    }
    cursors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(cursors)
}

fn octets_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn random_epoch() -> io::Result<u32> {
    let mut octets = [0u8; 4];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())?;
    Ok(u32::from_le_bytes(octets))
}
