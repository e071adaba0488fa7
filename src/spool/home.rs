//! What stands in a spool's folder: segments, cursors, how the last end was. Reads it; changes it only where octets
//! are no records of ours, and then puts them aside.

use super::aside::{DAMAGED, keep_aside, put_aside};
use super::cursor::{Cursor, SLOT};
use super::disk::{Disk, Lock};
use super::format::{self, HEADER, Head, LAST_POSITION, MOST_POSITIONS};
use super::log::{LARGEST_SEGMENT, Segment};
use super::segment::{Found, SegmentReader};
use super::{Config, OpenError};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of this format version.
pub(super) const VERSION_FOLDER: &str = "v1";
/// Says that the process before has ended cleanly, and at which position.
pub(super) const CLEAN: &str = "clean";
/// The longest position there is has twenty digits.
const DIGITS: usize = 20;
/// Segments whose header is damaged, and last ones without a record, that are read in full in search of records;
/// further ones stay where they are, unread.
const SEARCHED: usize = 64;

/// What stands in a folder.
pub(super) struct Home<F> {
    pub folder: PathBuf,
    pub lock: F,
    pub segments: VecDeque<Segment>,
    pub head: u64,
    /// The last position that is there; what the head is beyond it is lost.
    pub end: u64,
    pub newest_ts: Option<i64>,
    /// Octets of damaged pieces kept aside.
    pub aside: u64,
    /// Whether there is something, and no word that the process before has ended cleanly.
    pub is_cut: bool,
    pub says_clean: bool,
    pub saved: Vec<Saved>,
}

pub(super) fn enter<D: Disk>(disk: &D, config: &Config) -> Result<Home<D::File>, OpenError> {
    let dir = config.dir.clone();
    let failed = |source| OpenError::Folder { dir: dir.clone(), source };
    // A disk that is read-only can still be read: whether the folder is there is found out below.
    let made = disk.make_folder(&dir);
    let lock = match disk.lock(&dir.join("lock")) {
        Ok(Lock::Taken(lock)) => lock,
        Ok(Lock::InUse(pid)) => return Err(OpenError::Locked { dir, pid }),
        Err(error) => return Err(failed(made.err().unwrap_or(error))),
    };
    let (folder, files) = own_folder(disk, &config.dir).map_err(failed)?;
    let mut home = Home {
        segments: segments_of(disk, &folder, &files, true).map_err(failed)?,
        folder,
        lock,
        head: 0,
        end: 0,
        newest_ts: None,
        aside: 0,
        is_cut: false,
        says_clean: false,
        saved: Vec::new(),
    };
    let used = files.iter().map(|(_, size)| size).sum::<u64>();
    let aside = disk.list(&home.folder.join(DAMAGED)).unwrap_or_default();
    let used = used + aside.iter().map(|(_, size)| size).sum::<u64>();
    find_end(disk, &mut home, config.max_size.saturating_sub(used)).map_err(failed)?;
    home.saved = saved_cursors(disk, &home.folder).map_err(failed)?;
    // Never below a cursor: a position that an upstream has settled must not name another record.
    let cursors = home.saved.iter().filter_map(|saved| saved.cursor.as_ref());
    home.head = cursors.map(|(_, cursor)| cursor.last()).fold(home.head, u64::max);
    home.aside =
        disk.list(&home.folder.join(DAMAGED)).map_or(0, |files| files.iter().map(|(_, size)| size).sum());
    let clean = disk.read(&home.folder.join(CLEAN), DIGITS as u64).unwrap_or_default();
    home.says_clean = files.iter().any(|(name, _)| name == CLEAN);
    home.is_cut =
        clean != home.head.to_string().as_bytes() && !(home.segments.is_empty() && home.saved.is_empty());
    Ok(home)
}

/// The folder of this version; another one beside it where a newer version has begun to use that.
fn own_folder<D: Disk>(disk: &D, dir: &Path) -> io::Result<(PathBuf, Vec<(String, u64)>)> {
    for number in 1..100 {
        let folder = folder_number(dir, number);
        let _ = disk.make_folder(&folder);
        let files = disk.list(&folder)?;
        let foreign = |name: &String| {
            let start = name.ends_with(".seg").then(|| disk.read(&folder.join(name), HEADER as u64));
            start.is_some_and(|read| read.is_ok_and(|octets| format::read_head(&octets) == Head::Foreign))
        };
        if files.iter().any(|(name, _)| foreign(name)) {
            tracing::warn!(folder = %folder.display(), "a newer version has written here; left as it is");
            continue;
        }
        return Ok((folder, files));
    }
    Err(io::Error::other("newer versions have used all folders"))
}

pub(super) fn folder_number(dir: &Path, number: u32) -> PathBuf {
    if number == 1 { dir.join(VERSION_FOLDER) } else { dir.join(format!("{VERSION_FOLDER}-{number}")) }
}

/// All segments by first position. With `mend`, files that are no segments are put aside.
pub(super) fn segments_of<D: Disk>(
    disk: &D,
    folder: &Path,
    files: &[(String, u64)],
    mend: bool,
) -> io::Result<VecDeque<Segment>> {
    let (mut segments, mut searched) = (Vec::new(), 0);
    for (name, allocated) in files.iter().filter(|(name, _)| name.ends_with(".seg")) {
        let (path, allocated) = (folder.join(name), *allocated);
        let Some(first) = first_of(name) else {
            if mend {
                put_aside(disk, folder, name);
            }
            continue;
        };
        let first_ts = match disk.read(&path, HEADER as u64).map(|octets| format::read_head(&octets)) {
            Ok(Head::Ours(header)) if header.first == first => Some(header.first_ts),
            // A disk that can't read it now may do so later: that is no reason to take it away.
            Err(error) if error.kind() != io::ErrorKind::NotFound => None,
            // One that the owner dropped while somebody else looks is simply not there.
            Err(_) => continue,
            // The header is torn, but records may stand behind it: the name says where they begin.
            Ok(_) if searched >= SEARCHED => continue,
            Ok(_) => {
                searched += 1;
                let octets = match disk.read(&path, LARGEST_SEGMENT) {
                    Ok(octets) => octets,
                    Err(_) => continue,
                };
                let is_blank = octets.iter().all(|octet| *octet == 0);
                match salvaged(first, octets) {
                    Some(ts_ms) => Some(ts_ms),
                    None if mend && is_blank => {
                        // Made, and nothing written to it before the power went.
                        let _ = disk.remove(&path);
                        continue;
                    }
                    None if mend => {
                        put_aside(disk, folder, name);
                        continue;
                    }
                    None => continue,
                }
            }
        };
        segments.push(Segment { first, first_ts, path, allocated });
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments.into())
}

/// The first position in a segment's name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".seg").filter(|stem| stem.len() == DIGITS)?;
    stem.parse().ok().filter(|first| (1..LAST_POSITION).contains(first))
}

/// The time of the first record behind a torn header, if there is one.
fn salvaged(first: u64, octets: Vec<u8>) -> Option<i64> {
    let mut reader = SegmentReader::new(first, octets);
    std::iter::from_fn(|| reader.next()).find_map(|found| match found {
        Found::Record(record) => Some(record.ts_ms),
        Found::Unreadable { .. } | Found::Damage(..) => None,
    })
}

/// Reads the last segment in full, gives back what it did not use, and notes the last position. One that has no
/// record gives way to the one before it.
fn find_end<D: Disk>(disk: &D, home: &mut Home<D::File>, mut room: u64) -> io::Result<()> {
    for _ in 0..SEARCHED {
        let Some(last) = home.segments.back_mut() else { return Ok(()) };
        let octets = match disk.read(&last.path, LARGEST_SEGMENT) {
            Ok(octets) => octets,
            Err(error) if is_medium(&error) => {
                // Nobody knows how many records it holds: as many as there can be.
                home.end = last.first + MOST_POSITIONS - 1;
                home.head = home.head.max(home.end);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut reader = SegmentReader::new(last.first, octets);
        let (mut end, mut damage) = (None, Vec::new());
        while let Some(found) = reader.next() {
            match found {
                Found::Record(record) => end = Some((record.position, Some(record.ts_ms))),
                Found::Unreadable { position, .. } => end = Some((position, end.and_then(|(_, ts)| ts))),
                Found::Damage(from, to) => damage.push((from, to)),
            }
        }
        for (from, to) in &damage {
            let octets = reader.octets(*from, *to);
            room -= keep_aside(disk, &home.folder, last.first, *from, octets, room);
        }
        if !damage.is_empty() || reader.is_torn() {
            let (damaged, torn) = (damage.len(), reader.is_torn());
            tracing::warn!(
                segment = last.first,
                damaged,
                torn,
                "the last segment did not end cleanly; its valid records are kept"
            );
        }
        let Some((position, ts)) = end else {
            // Nothing was committed to it; where it can't be removed it is written over.
            let before = last.first - 1;
            home.head = home.head.max(before);
            if disk.remove(&last.path).is_ok() {
                home.segments.pop_back();
                continue;
            }
            return Ok(());
        };
        (home.end, home.head) = (position, home.head.max(position));
        home.newest_ts = ts.or(last.first_ts);
        trim(disk, last, reader.used() as u64);
        return Ok(());
    }
    Ok(())
}

/// What follows the last valid record was never committed; on a read-only disk it simply stays.
fn trim<D: Disk>(disk: &D, segment: &mut Segment, used: u64) {
    if used < segment.allocated
        && let Ok(file) = disk.open(&segment.path)
        && disk.truncate(&file, used).and_then(|()| disk.sync(&file)).is_ok()
    {
        segment.allocated = used;
    }
}

/// The medium itself has failed: to ask again will hardly help.
pub(super) fn is_medium(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// A cursor file; its newer valid slot, if it has one.
pub(super) struct Saved {
    pub name: String,
    pub cursor: Option<(u64, Cursor)>,
}

/// The cursors on disk, by name.
pub(super) fn saved_cursors<D: Disk>(disk: &D, folder: &Path) -> io::Result<Vec<Saved>> {
    let mut cursors = Vec::new();
    for (file, _) in disk.list(folder)? {
        let Some(name) = file.strip_suffix(".cursor") else { continue };
        let octets = match disk.read(&folder.join(&file), 2 * SLOT as u64) {
            Ok(octets) => octets,
            Err(error) if is_medium(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        cursors.push(Saved { name: name.to_owned(), cursor: Cursor::from_file(&octets) });
    }
    cursors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cursors)
}
