//! Looks into a spool folder from outside: read-only, without the lock, beside a running owner.

use super::cursor::Account;
use super::recover::{VERSION_FOLDER, saved_cursors, segments_of};
use super::{Stored, format};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What stands in a folder.
#[derive(Debug, Default)]
pub struct Inspection {
    pub segments: usize,
    pub octets: u64,
    pub records: u64,
    pub oldest_ts: Option<i64>,
    pub newest_ts: Option<i64>,
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub cursors: Vec<(String, Account)>,
    pub damage: Vec<Damage>,
}

/// One place where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    pub what: String,
}

/// Reads every record, hands each to `each` in order of position, and notes what is wrong.
/// A folder that is not there is an error; an empty one is an empty spool.
pub fn inspect(dir: &Path, mut each: impl FnMut(&Stored)) -> io::Result<Inspection> {
    let mut seen = Inspection::default();
    fs::read_dir(dir)?;
    let folder = dir.join(VERSION_FOLDER);
    if !folder.exists() {
        return Ok(seen);
    }
    note_strangers(&folder, &mut seen)?;
    let segments = segments_of(&folder, false)?;
    seen.segments = segments.len();
    for (index, segment) in segments.iter().enumerate() {
        // A segment that the owner drops while we look is no damage.
        let Ok(octets) = fs::read(&segment.path) else { continue };
        seen.octets += octets.len() as u64;
        let contents = format::scan(&octets, segment.first);
        let next = segments.get(index + 1).map_or(u64::MAX, |next| next.first);
        for (from, to) in &contents.damage {
            let what = format!("octets {from} to {to} are no record");
            seen.damage.push(Damage { file: segment.path.clone(), what });
        }
        if contents.torn && next != u64::MAX {
            let what = format!("octets after {} are no record", contents.used);
            seen.damage.push(Damage { file: segment.path.clone(), what });
        }
        for record in contents.records.iter().filter(|record| record.position < next) {
            seen.note(record);
            each(record);
        }
    }
    let head = seen.last.unwrap_or(0);
    for (name, _, cursor) in saved_cursors(&folder)? {
        seen.cursors.push((name, cursor.account(head.max(cursor.position()))));
    }
    Ok(seen)
}

impl Inspection {
    fn note(&mut self, record: &Stored) {
        self.records += 1;
        self.first.get_or_insert(record.position);
        self.last = Some(record.position);
        self.oldest_ts = Some(self.oldest_ts.map_or(record.ts_ms, |oldest| oldest.min(record.ts_ms)));
        self.newest_ts = Some(self.newest_ts.map_or(record.ts_ms, |newest| newest.max(record.ts_ms)));
    }
}

fn note_strangers(folder: &Path, seen: &mut Inspection) -> io::Result<()> {
    let known = segments_of(folder, false)?;
    let cursors = saved_cursors(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let what = match extension {
            "seg" if !known.iter().any(|segment| segment.path == path) => "no valid segment header",
            "cursor" if !cursors.iter().any(|(name, _, _)| name == stem) => "no valid slot in this cursor",
            _ => continue,
        };
        seen.damage.push(Damage { file: path.clone(), what: what.to_owned() });
    }
    Ok(())
}
