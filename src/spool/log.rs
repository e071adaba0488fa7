//! The log itself: append, commit, read, settle, make room. Synchronous, one owner, no clock of its own.

use super::cursor::{Account, Cursor, Outcome, SLOT, slot_offset};
use super::disk::Disk;
use super::format::{self, HEADER, SegmentHeader};
use super::recover;
use super::{Config, OpenError, Status, Stored, WhenFull};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

/// Uncommitted octets that bring the next commit forward.
pub(super) const GROUP: usize = 64 << 10;
/// Octets kept in memory while the disk takes none: hours of a small site, minutes of a large one.
const IN_MEMORY: usize = 4 << 20;
/// Committed records kept in memory for upstreams that keep up, in octets.
const RECENT: usize = 128 << 10;
const LARGEST_SEGMENT: u64 = 1 << 20;
/// The cap is divided into at least so many segments, so that making room costs an eighth at most.
const SEGMENTS: u64 = 8;
/// A cursor file's allocation, counted against the cap.
const CURSOR_ALLOCATION: u64 = 4096;

/// One file of records.
#[derive(Debug)]
pub(super) struct Segment {
    pub first: u64,
    pub first_ts: i64,
    pub path: PathBuf,
    /// Octets it takes on disk.
    pub allocated: u64,
}

/// The segment being written.
struct Current {
    file: File,
    used: u64,
    allocated: u64,
}

pub(super) struct NamedCursor {
    pub cursor: Cursor,
    pub generation: u64,
    pub saved: Option<Cursor>,
}

pub(super) struct Log<D: Disk> {
    pub(super) disk: D,
    pub(super) config: Config,
    pub(super) folder: PathBuf,
    /// Held as long as the log lives.
    pub(super) _lock: File,
    pub(super) epoch: u32,
    pub(super) segments: VecDeque<Segment>,
    current: Option<Current>,
    /// The newest records: all that are not committed, and some that are.
    tail: VecDeque<Stored>,
    tail_octets: usize,
    /// Newest position given, newest position durable.
    head: u64,
    committed: u64,
    seq: u64,
    uncommitted_octets: usize,
    pub(super) cursors: BTreeMap<String, NamedCursor>,
    trouble: Option<String>,
    newest_ts: i64,
    /// The segment read last, and up to where: a backlog is read in many small bites.
    loaded: Option<(u64, u64, Vec<Stored>)>,
    /// Octets of damaged pieces kept aside; they count against the cap.
    aside: u64,
}

impl<D: Disk> Log<D> {
    pub(super) fn open(config: Config, upstreams: &[String], disk: D) -> Result<Log<D>, OpenError> {
        recover::open(config, upstreams, disk)
    }

    pub(super) fn assemble(parts: recover::Recovered<D>) -> Log<D> {
        Log {
            disk: parts.disk,
            config: parts.config,
            folder: parts.folder,
            _lock: parts.lock,
            epoch: parts.epoch,
            segments: parts.segments,
            current: None,
            tail: VecDeque::new(),
            tail_octets: 0,
            head: parts.head,
            committed: parts.head,
            seq: 0,
            uncommitted_octets: 0,
            cursors: BTreeMap::new(),
            trouble: None,
            newest_ts: i64::MIN,
            loaded: None,
            aside: parts.aside,
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn has_uncommitted(&self) -> bool {
        self.committed < self.head
    }

    /// A group is full, or would not fit in memory much longer.
    pub(super) fn wants_commit(&self) -> bool {
        self.uncommitted_octets >= GROUP && self.trouble.is_none()
    }

    pub(super) fn append(&mut self, ts_ms: i64, octets: Vec<u8>) {
        self.head += 1;
        self.seq += 1;
        self.newest_ts = self.newest_ts.max(ts_ms);
        let record =
            Stored { position: self.head, epoch: self.epoch, seq: self.seq, ts_ms, octets: octets.into() };
        let size = format::record_octets(record.octets.len());
        if size as u64 + HEADER as u64 > self.segment_size() {
            self.lose(self.head, self.head, "too-large");
            return;
        }
        if self.config.when_full == WhenFull::RefuseNew && !self.has_room_for_one_more() {
            self.lose(self.head, self.head, "spool-full");
            return;
        }
        self.tail_octets += size;
        self.uncommitted_octets += size;
        self.tail.push_back(record);
        self.bound_memory();
    }

    /// Makes everything appended so far durable, cursors included.
    pub(super) fn commit(&mut self) -> Result<(), String> {
        match self.try_commit() {
            Ok(()) => {
                if let Some(trouble) = self.trouble.take() {
                    tracing::info!(%trouble, "the disk takes records again");
                }
                self.trim_tail();
                Ok(())
            }
            Err(error) => {
                // After a failed write or sync nobody knows what the file holds: never touch it again.
                self.current = None;
                let text = format!("{}: {error}", self.folder.display());
                if self.trouble.is_none() {
                    tracing::error!(%error, folder = %self.folder.display(), "the disk does not take records; they wait in memory");
                }
                self.trouble = Some(text.clone());
                Err(text)
            }
        }
    }

    fn try_commit(&mut self) -> io::Result<()> {
        while self.committed < self.head {
            let before = self.committed;
            self.commit_some()?;
            if self.committed == before {
                break;
            }
        }
        self.save_cursors()
    }

    /// Writes as many uncommitted records as fit into the current segment, and syncs.
    fn commit_some(&mut self) -> io::Result<()> {
        let mut waiting = self.tail.iter().filter(|record| record.position > self.committed).peekable();
        let Some(first) = waiting.peek() else {
            // All of them were lost to the bound: nothing is left to write.
            self.committed = self.head;
            self.uncommitted_octets = 0;
            return Ok(());
        };
        let (first, first_ts) = (first.position, first.ts_ms);
        let size = format::record_octets(first_octets(&self.tail, first)) as u64;
        if self.current.as_ref().is_none_or(|current| current.used + size > current.allocated) {
            self.begin_segment(first, first_ts)?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        let (mut group, mut last) = (Vec::new(), self.committed);
        for record in self.tail.iter().filter(|record| record.position > self.committed) {
            let size = format::record_octets(record.octets.len());
            if current.used + (group.len() + size) as u64 > current.allocated {
                break;
            }
            format::encode_record(record, &mut group);
            last = record.position;
        }
        self.disk.write_at(&current.file, &group, current.used)?;
        self.disk.sync(&current.file)?;
        current.used += group.len() as u64;
        self.committed =
            if self.tail.back().is_none_or(|newest| newest.position == last) { self.head } else { last };
        self.uncommitted_octets = self.uncommitted_octets.saturating_sub(group.len());
        Ok(())
    }

    fn begin_segment(&mut self, first: u64, first_ts: i64) -> io::Result<()> {
        self.seal();
        let length = self.segment_size();
        self.make_room(length)?;
        let path = self.folder.join(format!("{first:020}.seg"));
        let file = self.disk.create(&path, length)?;
        self.disk.write_at(&file, &SegmentHeader { first, first_ts }.encode(), 0)?;
        self.disk.sync(&file)?;
        self.disk.sync_folder(&self.folder)?;
        // A segment of this name can only be one whose first commit failed: it holds nothing durable.
        self.segments.retain(|segment| segment.first != first);
        self.segments.push_back(Segment { first, first_ts, path, allocated: length });
        self.current = Some(Current { file, used: HEADER as u64, allocated: length });
        self.loaded = None;
        Ok(())
    }

    /// Gives back what the current segment did not use; its records stay.
    fn seal(&mut self) {
        let Some(current) = self.current.take() else { return };
        if self.disk.truncate(&current.file, current.used).is_ok()
            && let Some(segment) = self.segments.back_mut()
        {
            segment.allocated = current.used;
        }
    }

    fn segment_size(&self) -> u64 {
        (self.config.max_size / SEGMENTS).clamp(16 << 10, LARGEST_SEGMENT)
    }

    pub(super) fn octets(&self) -> u64 {
        let cursors = self.cursors.len() as u64 * CURSOR_ALLOCATION;
        self.segments.iter().map(|segment| segment.allocated).sum::<u64>() + cursors + self.aside
    }

    fn make_room(&mut self, for_octets: u64) -> io::Result<()> {
        while self.octets() + for_octets > self.config.max_size && !self.segments.is_empty() {
            self.drop_oldest("spool-full")?;
        }
        Ok(())
    }

    /// With `refuse-new`: room in the current segment, for another one, or in one that nobody needs.
    fn has_room_for_one_more(&self) -> bool {
        let within = self.octets() + self.segment_size() <= self.config.max_size;
        let waiting = self.uncommitted_octets as u64 + format::record_octets(1 << 10) as u64;
        let in_current =
            self.current.as_ref().is_some_and(|current| current.used + waiting < current.allocated);
        let settled = self.segments.get(1).is_some_and(|second| {
            self.cursors.values().all(|named| named.cursor.position() + 1 >= second.first)
        });
        within || in_current || settled
    }

    fn drop_oldest(&mut self, reason: &str) -> io::Result<()> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        let (first, path) = (oldest.first, oldest.path.clone());
        let last = self.segments.get(1).map_or(self.committed, |next| next.first - 1);
        match self.disk.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.current = None;
        }
        self.loaded = None;
        // Holes between segments were counted when they came to be: counting is by position, once.
        self.lose(first, last, reason);
        Ok(())
    }

    /// Drops what is older than `max_age`, measured from the newest record; never the segment in use.
    pub(super) fn expire(&mut self) {
        let Some(age) = self.config.max_age else { return };
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let limit = self.newest_ts.saturating_sub(age);
        while let Some(next) = self.segments.get(1) {
            if next.first_ts >= limit || self.drop_oldest("too-old").is_err() {
                return;
            }
        }
    }

    fn lose(&mut self, from: u64, to: u64, reason: &str) {
        for named in self.cursors.values_mut() {
            named.cursor.lose(from, to, reason);
        }
    }

    /// While the disk is ill: the oldest uncommitted records give way.
    fn bound_memory(&mut self) {
        while self.uncommitted_octets > IN_MEMORY {
            let Some(at) = self.tail.iter().position(|record| record.position > self.committed) else {
                return;
            };
            let Some(gone) = self.tail.remove(at) else { return };
            let size = format::record_octets(gone.octets.len());
            self.tail_octets -= size;
            self.uncommitted_octets -= size;
            self.committed = self.committed.max(gone.position);
            self.lose(gone.position, gone.position, "disk-ill");
        }
        self.trim_tail();
    }

    fn trim_tail(&mut self) {
        while self.tail_octets > RECENT {
            match self.tail.front() {
                Some(oldest) if oldest.position <= self.committed => {
                    self.tail_octets -= format::record_octets(oldest.octets.len());
                    self.tail.pop_front();
                }
                Some(_) | None => return,
            }
        }
    }

    pub(super) fn settle(&mut self, name: &str, upto: u64, outcome: &Outcome) {
        let upto = upto.min(self.head);
        if let Some(named) = self.cursors.get_mut(name) {
            named.cursor.settle(upto, outcome);
        }
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = (&String, Account)> {
        self.cursors.iter().map(|(name, named)| (name, named.cursor.account(self.head)))
    }

    pub(super) fn status(&self, heartbeat: u64) -> Status {
        let oldest = self.segments.front();
        let first =
            oldest.map(|segment| segment.first).or_else(|| self.tail.front().map(|record| record.position));
        Status {
            records: first.map_or(0, |first| self.head + 1 - first),
            octets: self.octets(),
            oldest_ts: oldest
                .map(|segment| segment.first_ts)
                .or_else(|| self.tail.front().map(|record| record.ts_ms)),
            healthy: self.trouble.is_none(),
            detail: self.trouble.clone(),
            appended: self.head,
            heartbeat,
        }
    }

    /// Writes the cursors that moved. Called only when all records are durable, so none points beyond them.
    pub(super) fn save_cursors(&mut self) -> io::Result<()> {
        for (name, named) in &mut self.cursors {
            if named.saved.as_ref() == Some(&named.cursor) {
                continue;
            }
            let generation = named.generation + 1;
            let file = self.disk.open(&self.folder.join(format!("{name}.cursor")))?;
            if file.metadata()?.len() < 2 * SLOT as u64 {
                self.disk.truncate(&file, 2 * SLOT as u64)?;
                self.disk.sync_folder(&self.folder)?;
            }
            self.disk.write_at(&file, &named.cursor.encode(generation), slot_offset(generation))?;
            self.disk.sync(&file)?;
            named.generation = generation;
            named.saved = Some(named.cursor.clone());
        }
        Ok(())
    }

    /// Records after `after`, from memory where they are there, else from the segment that holds them.
    pub(super) fn read(&mut self, after: u64, at_most: usize, octets: usize) -> Vec<Stored> {
        let mut from = after + 1;
        while from <= self.head {
            if self.tail.front().is_some_and(|oldest| oldest.position <= from) {
                return bite(self.tail.iter(), from, at_most, octets);
            }
            let Some(index) = self.segment_of(from) else {
                let tail = bite(self.tail.iter(), from, at_most, octets);
                return tail;
            };
            let (first, last) = self.span(index);
            let records = self.load(index, first, last);
            let found = bite(records.iter().filter(|record| record.position <= last), from, at_most, octets);
            if !found.is_empty() {
                return found;
            }
            // Nothing of this segment is left at or after `from`: on to the next one, or to memory.
            if last < from || last >= self.committed {
                return bite(self.tail.iter(), from, at_most, octets);
            }
            from = last + 1;
        }
        Vec::new()
    }

    /// The segment that holds this position or the next ones.
    fn segment_of(&self, position: u64) -> Option<usize> {
        let after = self.segments.partition_point(|segment| segment.first <= position);
        if after > 0 {
            return Some(after - 1);
        }
        (!self.segments.is_empty()).then_some(0)
    }

    /// First and last position that may stand in this segment.
    fn span(&self, index: usize) -> (u64, u64) {
        let first = self.segments.get(index).map_or(1, |segment| segment.first);
        (first, self.segments.get(index + 1).map_or(self.committed, |next| next.first - 1))
    }

    /// The segment's records; positions that are not among them are counted as damaged.
    fn load(&mut self, index: usize, first: u64, last: u64) -> &[Stored] {
        let known = |(from, to, _): &(u64, u64, Vec<Stored>)| *from == first && *to == last;
        let cached = self.loaded.as_ref().is_some_and(known);
        if !cached {
            let octets = self.segments.get(index).and_then(|segment| fs::read(&segment.path).ok());
            let records = format::scan(&octets.unwrap_or_default(), first).records;
            let mut expected = first;
            for record in records.iter().filter(|record| record.position <= last) {
                if record.position > expected {
                    self.lose(expected, record.position - 1, "damaged");
                }
                expected = record.position + 1;
            }
            if expected <= last {
                self.lose(expected, last, "damaged");
            }
            self.loaded = Some((first, last, records));
        }
        self.loaded.as_ref().map_or(&[], |(_, _, records)| records)
    }
}

fn first_octets(tail: &VecDeque<Stored>, position: u64) -> usize {
    tail.iter().find(|record| record.position == position).map_or(0, |record| record.octets.len())
}

fn bite<'a>(
    records: impl Iterator<Item = &'a Stored>,
    from: u64,
    at_most: usize,
    octets: usize,
) -> Vec<Stored> {
    let (mut out, mut size) = (Vec::new(), 0);
    for record in records.filter(|record| record.position >= from) {
        size += record.octets.len();
        if out.len() == at_most || (size > octets && !out.is_empty()) {
            break;
        }
        out.push(record.clone());
    }
    out
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
