//! Looks into a spool folder from outside: read-only, without the lock, beside a running owner, one segment in
//! memory at a time.

use super::Stored;
use super::cursor::Account;
use super::disk::{Disk, RealDisk};
use super::home::{folder_number, saved_cursors, segments_of};
use super::log::{LARGEST_SEGMENT, Segment};
use super::segment::{Found, SegmentReader};
use std::collections::VecDeque;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

/// Segments further away from the wanted span than this are not read: so far may a clock have stepped back
/// within one. In ms.
const CLOCK_STEP: i64 = 3_600_000;

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
    inspect_between(dir, i64::MIN..=i64::MAX, |stored| {
        each(stored);
        ControlFlow::Continue(())
    })
}

/// The same for what was sampled between these times (ms since 1970 UTC), until `each` has had enough. Segments
/// that can't hold anything of it are not read.
pub fn inspect_between(
    dir: &Path,
    span: RangeInclusive<i64>,
    mut each: impl FnMut(&Stored) -> ControlFlow<()>,
) -> io::Result<Inspection> {
    let mut seen = Inspection::default();
    RealDisk.list(dir)?;
    let Some(folder) = newest_own(dir) else { return Ok(seen) };
    let files = RealDisk.list(&folder)?;
    let segments = segments_of(&RealDisk, &folder, &files, false)?;
    note_strangers(&folder, &files, &segments, &mut seen)?;
    seen.segments = segments.len();
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1);
        let times = segment.first_ts.zip(next.and_then(|next| next.first_ts));
        if times.is_some_and(|(from, to)| is_apart(&span, from.min(to), from.max(to))) {
            continue;
        }
        // A segment that the owner drops while we look is no damage.
        let Ok(octets) = RealDisk.read(&segment.path, LARGEST_SEGMENT) else { continue };
        seen.octets += segment.allocated;
        let end = next.map_or(u64::MAX, |next| next.first);
        let reader = SegmentReader::new(segment.first, octets);
        if seen.read(reader, &segment.path, end, &span, &mut each).is_break() {
            break;
        }
    }
    let head = seen.last.unwrap_or(0);
    for saved in saved_cursors(&RealDisk, &folder)? {
        if let Some((_, cursor)) = saved.cursor {
            seen.cursors.push((saved.name, cursor.account(head.max(cursor.last()))));
        }
    }
    Ok(seen)
}

/// The folder that is written to: the last of this version.
pub(super) fn newest_own(dir: &Path) -> Option<PathBuf> {
    let there = (1..100).map(|number| folder_number(dir, number)).take_while(|folder| folder.is_dir());
    there.last()
}

fn is_apart(span: &RangeInclusive<i64>, from: i64, to: i64) -> bool {
    to.saturating_add(CLOCK_STEP) < *span.start() || from.saturating_sub(CLOCK_STEP) > *span.end()
}

impl Inspection {
    fn read(
        &mut self,
        mut reader: SegmentReader,
        file: &Path,
        end: u64,
        span: &RangeInclusive<i64>,
        each: &mut impl FnMut(&Stored) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !reader.header_is_whole {
            self.damaged(file, "its header is damaged; its records are read all the same".to_owned());
        }
        while let Some(found) = reader.next() {
            match found {
                Found::Damage(from, to) => self.damaged(file, format!("octets {from} to {to} are no record")),
                Found::Unreadable { position, why } if position < end => {
                    self.damaged(file, format!("position {position}: {why}"));
                }
                Found::Record(record) if record.position < end && span.contains(&record.ts_ms) => {
                    self.note(&record);
                    each(&record)?;
                }
                Found::Record(_) | Found::Unreadable { .. } => {}
            }
        }
        if end != u64::MAX && reader.is_torn() {
            self.damaged(file, format!("octets after {} are no record", reader.used()));
        }
        ControlFlow::Continue(())
    }

    fn damaged(&mut self, file: &Path, what: String) {
        self.damage.push(Damage { file: file.to_owned(), what });
    }

    fn note(&mut self, record: &Stored) {
        self.records += 1;
        self.first.get_or_insert(record.position);
        self.last = Some(record.position);
        self.oldest_ts = Some(self.oldest_ts.map_or(record.ts_ms, |oldest| oldest.min(record.ts_ms)));
        self.newest_ts = Some(self.newest_ts.map_or(record.ts_ms, |newest| newest.max(record.ts_ms)));
    }
}

fn note_strangers(
    folder: &Path,
    files: &[(String, u64)],
    known: &VecDeque<Segment>,
    seen: &mut Inspection,
) -> io::Result<()> {
    let cursors = saved_cursors(&RealDisk, folder)?;
    for (name, _) in files {
        let path = folder.join(name);
        let is_segment = known.iter().any(|segment| segment.path == path);
        let is_cursor = |stem: &str| cursors.iter().any(|saved| saved.name == stem && saved.cursor.is_some());
        // One that the owner has just made holds nothing yet.
        let is_blank =
            || RealDisk.read(&path, LARGEST_SEGMENT).is_ok_and(|octets| octets.iter().all(|o| *o == 0));
        if name.ends_with(".seg") && !is_segment && !is_blank() {
            seen.damaged(&path, "no segment of this spool".to_owned());
        } else if name.strip_suffix(".cursor").is_some_and(|stem| !is_cursor(stem)) {
            seen.damaged(&path, "no valid slot in this cursor".to_owned());
        }
    }
    Ok(())
}
