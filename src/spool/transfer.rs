//! Moves a backlog to another box: a file of records with their epochs and sequences, in and out.
//!
//! The file: `LMEXPRT1`, then for each record: length u32 (of all that follows but the checksum), CRC-32C u32 (of
//! that), epoch u32, sequence u64, time i64, the record in the loose layout of the room [`record`](crate::record).
//! It ends with a length of 0 and the number of records, u64. Little endian.

use super::cursor::Cursor;
use super::disk::RealDisk;
use super::format::{LARGEST_RECORD, u32_at, u64_at};
use super::home::saved_cursors;
use super::inspect::{inspect, newest_own};
use super::log::Log;
use super::ranges::Ranges;
use super::{Config, OpenError, Stored};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"LMEXPRT1";
/// Epoch, sequence and time.
const NUMBERS: usize = 20;

/// Why records could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no upstream {0} has a cursor here; those that have: {1}")]
    NoSuchUpstream(String, String),
    #[error("the spool does not take the records: {0}")]
    Disk(String),
    #[error("this is no export of a spool")]
    NoExport,
    #[error(
        "after {imported} records the file is damaged or ends early; they are in the spool, the others are not"
    )]
    Damaged { imported: u64 },
}

/// Writes what an upstream has still to deliver, or what any has where none is named; returns how many records.
/// Where there is no cursor at all, that is everything.
pub fn export(dir: &Path, upstream: Option<&str>, out: &mut impl Write) -> Result<u64, TransferError> {
    let cursors = cursors_of(dir, upstream)?;
    let wanted = |position| cursors.is_empty() || cursors.iter().any(|cursor| !cursor.is_settled(position));
    out.write_all(MAGIC)?;
    let (mut count, mut trouble) = (0u64, Ok(()));
    inspect(dir, |stored| {
        if trouble.is_ok() && wanted(stored.position) {
            trouble = put(stored, out);
            count += 1;
        }
    })?;
    trouble?;
    out.write_all(&0u32.to_le_bytes())?;
    out.write_all(&count.to_le_bytes())?;
    out.flush()?;
    Ok(count)
}

fn cursors_of(dir: &Path, upstream: Option<&str>) -> Result<Vec<Cursor>, TransferError> {
    let saved = match newest_own(dir) {
        Some(folder) => saved_cursors(&RealDisk, &folder)?,
        None => Vec::new(),
    };
    if let Some(name) = upstream
        && !saved.iter().any(|saved| saved.name == name)
    {
        let names: Vec<&str> = saved.iter().map(|saved| saved.name.as_str()).collect();
        return Err(TransferError::NoSuchUpstream(name.to_owned(), names.join(", ")));
    }
    let asked = saved.into_iter().filter(|saved| upstream.is_none_or(|name| saved.name == name));
    Ok(asked.filter_map(|saved| Some(saved.cursor?.1)).collect())
}

fn put(stored: &Stored, out: &mut impl Write) -> io::Result<()> {
    let mut body = Vec::with_capacity(NUMBERS + stored.octets.len());
    body.extend_from_slice(&stored.epoch.to_le_bytes());
    body.extend_from_slice(&stored.seq.to_le_bytes());
    body.extend_from_slice(&stored.ts_ms.to_le_bytes());
    body.extend_from_slice(&stored.octets);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
    out.write_all(&body)
}

/// Puts the records of an export behind those that are there, with their own epochs and sequences: every upstream
/// of the folder delivers them. What is there already is left out, so that it can be done again. The gateway must
/// not run. Returns how many were new, and how many there were.
pub fn import(config: Config, input: &mut impl Read) -> Result<(u64, u64), TransferError> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic).map_err(|_| TransferError::NoExport)?;
    if &magic != MAGIC {
        return Err(TransferError::NoExport);
    }
    let mut there = numbers_of(&config.dir)?;
    let names: Vec<String> = match newest_own(&config.dir) {
        Some(folder) => saved_cursors(&RealDisk, &folder)?.into_iter().map(|saved| saved.name).collect(),
        None => Vec::new(),
    };
    let mut log = Log::open(config, &names, RealDisk)?;
    if log.home.is_none() {
        return Err(TransferError::Disk(log.trouble.unwrap_or_default()));
    }
    // Whoever imports has not been taking readings: that the gateway ended without a word stays to be told.
    let cut = log.cut.take();
    let (mut new, mut count) = (0, 0);
    let end = loop {
        match take(input) {
            Taken::Record(epoch, seq, ts_ms, octets) => {
                count += 1;
                let known = there.entry(epoch).or_default();
                if !known.contains(seq) {
                    known.add(seq, seq);
                    log.append_as(epoch, seq, ts_ms, octets);
                    new += 1;
                }
            }
            Taken::End(said) => break said == count,
            Taken::Damaged => break false,
        }
        if log.wants_commit() {
            log.commit().map_err(TransferError::Disk)?;
        }
    };
    log.commit().map_err(TransferError::Disk)?;
    log.cut = cut;
    log.say_that_it_ends()?;
    if end { Ok((new, count)) } else { Err(TransferError::Damaged { imported: new }) }
}

/// Which sequences of which epochs are there.
fn numbers_of(dir: &Path) -> io::Result<BTreeMap<u32, Ranges>> {
    let mut there: BTreeMap<u32, Ranges> = BTreeMap::new();
    match inspect(dir, |stored| there.entry(stored.epoch).or_default().add(stored.seq, stored.seq)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(there),
    }
}

enum Taken {
    Record(u32, u64, i64, Vec<u8>),
    /// With the number of records that the file says it has.
    End(u64),
    Damaged,
}

fn take(input: &mut impl Read) -> Taken {
    let mut word = [0; 4];
    if input.read_exact(&mut word).is_err() {
        return Taken::Damaged;
    }
    let length = usize::try_from(u32::from_le_bytes(word)).unwrap_or(usize::MAX);
    if length == 0 {
        let mut count = [0; 8];
        let read = input.read_exact(&mut count);
        return read.map_or(Taken::Damaged, |()| Taken::End(u64::from_le_bytes(count)));
    }
    if !(NUMBERS..=NUMBERS + LARGEST_RECORD).contains(&length) || input.read_exact(&mut word).is_err() {
        return Taken::Damaged;
    }
    let mut body = vec![0; length];
    if input.read_exact(&mut body).is_err() || crc32c::crc32c(&body) != u32::from_le_bytes(word) {
        return Taken::Damaged;
    }
    let octets = body[NUMBERS..].to_vec();
    Taken::Record(u32_at(&body, 0), u64_at(&body, 4), u64_at(&body, 12).cast_signed(), octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Outcome;
    use std::path::PathBuf;

    fn config(dir: &Path) -> Config {
        Config { dir: dir.to_owned(), ..Config::default() }
    }

    /// A spool of 300 records, of which `a` has had the first hundred and some newer ones.
    fn source() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(config(dir.path()), &["a".to_owned(), "b".to_owned()], RealDisk).unwrap();
        (1..=300).for_each(|n: u64| log.append(n.cast_signed(), n.to_le_bytes().to_vec()));
        log.settle("a", 0, 100, &Outcome::Delivered);
        log.settle("a", 250, 299, &Outcome::Delivered);
        log.commit().unwrap();
        dir
    }

    fn times(dir: &Path) -> Vec<i64> {
        let mut times = Vec::new();
        inspect(dir, |stored| times.push(stored.ts_ms)).unwrap();
        times
    }

    fn target() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("spool");
        (parent, dir)
    }

    #[test]
    fn what_an_upstream_has_still_to_deliver_moves_with_its_numbers() {
        let source = source();
        let mut file = Vec::new();
        assert_eq!(export(source.path(), Some("a"), &mut file).unwrap(), 150);
        let (_parent, dir) = target();
        drop(Log::open(config(&dir), &["scada".to_owned()], RealDisk).unwrap());
        assert_eq!(import(config(&dir), &mut &file[..]).unwrap(), (150, 150));
        assert_eq!(import(config(&dir), &mut &file[..]).unwrap(), (0, 150), "done again");
        assert_eq!(times(&dir), (101..250).chain([300]).collect::<Vec<_>>());
        let (mut numbers, mut original) = (Vec::new(), Vec::new());
        inspect(&dir, |stored| numbers.push((stored.epoch, stored.seq))).unwrap();
        inspect(source.path(), |stored| original.push((stored.epoch, stored.seq))).unwrap();
        assert_eq!(numbers, [&original[100..249], &original[299..]].concat());
        let log = Log::open(config(&dir), &["scada".to_owned()], RealDisk).unwrap();
        assert_eq!(log.accounts().next().unwrap().1.pending, 150);
    }

    #[test]
    fn without_a_name_everything_moves_that_any_upstream_needs() {
        let mut file = Vec::new();
        assert_eq!(export(source().path(), None, &mut file).unwrap(), 300);
        let why = export(source().path(), Some("c"), &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(why, "no upstream c has a cursor here; those that have: a, b");
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_gives_what_is_whole_and_says_so() {
        let mut file = Vec::new();
        export(source().path(), None, &mut file).unwrap();
        for (cut, flip) in [(file.len() - 1, 0), (file.len() / 2, 0), (file.len(), file.len() / 2)] {
            let mut octets = file[..cut].to_vec();
            octets[flip.max(20)] ^= u8::from(flip > 0);
            let (_parent, dir) = target();
            let error = import(config(&dir), &mut &octets[..]).unwrap_err();
            let TransferError::Damaged { imported } = error else { panic!("{error}") };
            assert_eq!(times(&dir).len() as u64, imported);
            assert!(imported >= 140, "{imported}");
        }
        assert!(matches!(import(config(Path::new("/")), &mut &b"no"[..]), Err(TransferError::NoExport)));
    }
}
