//! The log itself: append, commit, read, settle, make room. Synchronous, one owner, no clock of its own.

use super::cursor::{Account, Cursor, Outcome, SLOT, slot_offset};
use super::disk::Disk;
use super::format::{self, HEADER, SegmentHeader};
use super::gaps::Gap;
use super::recover;
use super::{Config, OpenError, Status, Stored, WhenFull};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Uncommitted octets that bring the next commit forward.
pub(super) const GROUP: usize = 64 << 10;
const LARGEST_SEGMENT: u64 = 1 << 20;
/// The cap is divided into at least so many segments, so that making room costs an eighth at most.
const SEGMENTS: u64 = 8;
/// A cursor file's allocation, counted against the cap.
const CURSOR_ALLOCATION: u64 = 2 * SLOT as u64;

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
pub(super) struct Current {
    pub file: File,
    pub used: u64,
    pub allocated: u64,
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
    pub(super) current: Option<Current>,
    /// The newest records: all that are not committed, and some that are.
    pub(super) tail: VecDeque<Stored>,
    pub(super) tail_octets: usize,
    /// Newest position given, newest position durable.
    pub(super) head: u64,
    pub(super) committed: u64,
    seq: u64,
    pub(super) uncommitted_octets: usize,
    pub(super) cursors: BTreeMap<String, NamedCursor>,
    trouble: Option<String>,
    pub(super) newest_ts: i64,
    /// The segment read last, and up to where: a backlog is read in many small bites.
    pub(super) loaded: Option<(u64, u64, Vec<Stored>)>,
    /// Octets of damaged pieces kept aside; they count against the cap.
    pub(super) aside: u64,
    /// How often in a row a segment could not be read.
    pub(super) unread: u32,
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
            unread: 0,
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
        self.newest_ts = ts_ms;
        let record =
            Stored { position: self.head, epoch: self.epoch, seq: self.seq, ts_ms, octets: octets.into() };
        let size = format::record_octets(record.octets.len());
        if size as u64 + HEADER as u64 > self.segment_size() {
            self.lose(self.head, self.head, "too-large");
            return;
        }
        if self.config.when_full == WhenFull::RefuseNew && !self.has_room_for(size) {
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
                self.abandon();
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
        let path = self.folder.join(format!("{first:020}.seg"));
        // A segment of this name can only be one whose first commit failed: it holds nothing durable.
        self.segments.retain(|segment| segment.first != first);
        let file = self.allocate(&path, length)?;
        self.segments.push_back(Segment { first, first_ts, path, allocated: length });
        self.current = Some(Current { file, used: HEADER as u64, allocated: length });
        self.loaded = None;
        let Some(current) = &self.current else { return Ok(()) };
        self.disk.write_at(&current.file, &SegmentHeader { first, first_ts }.encode(), 0)?;
        self.disk.sync(&current.file)?;
        self.disk.sync_folder(&self.folder)
    }

    /// After a failed write or sync nobody knows what the file holds: it is never written again. A segment
    /// that took no record yet goes at once, or every further try would cost an old one its place.
    fn abandon(&mut self) {
        let Some(current) = self.current.take() else { return };
        if current.used > HEADER as u64 {
            return;
        }
        if let Some(segment) = self.segments.back()
            && self.disk.remove(&segment.path).is_ok()
        {
            self.segments.pop_back();
        }
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

    pub(super) fn segment_size(&self) -> u64 {
        (self.config.max_size / SEGMENTS).clamp(16 << 10, LARGEST_SEGMENT)
    }

    pub(super) fn octets(&self) -> u64 {
        let cursors = self.cursors.len() as u64 * CURSOR_ALLOCATION;
        self.segments.iter().map(|segment| segment.allocated).sum::<u64>() + cursors + self.aside
    }

    pub(super) fn lose(&mut self, from: u64, to: u64, reason: &str) {
        let span = self.sampled_between(from, to);
        for named in self.cursors.values_mut() {
            named.cursor.lose(from, to, reason, span);
        }
    }

    /// What of these positions is not settled yet is settled this way.
    pub(super) fn settle(&mut self, name: &str, from: u64, to: u64, outcome: &Outcome) {
        let to = to.min(self.head);
        let span = self.sampled_between(from, to);
        if let Some(named) = self.cursors.get_mut(name) {
            named.cursor.settle_range(from, to, outcome, span);
        }
    }

    pub(super) fn tell_gaps(&mut self, name: &str) -> Vec<Gap> {
        self.cursors.get_mut(name).map_or_else(Vec::new, |named| named.cursor.gaps.tell())
    }

    pub(super) fn announced(&mut self, name: &str, gap: u64) {
        if let Some(named) = self.cursors.get_mut(name) {
            named.cursor.gaps.announced(gap);
        }
    }

    /// When these were sampled, as narrowly as is known without reading: to the record in memory, to the
    /// segment on disk.
    fn sampled_between(&self, from: u64, to: u64) -> (i64, i64) {
        let in_memory = |position: u64| {
            let at = self.tail.partition_point(|record| record.position < position);
            self.tail.get(at).filter(|record| record.position == position).map(|record| record.ts_ms)
        };
        let after = |position: u64| self.segments.partition_point(|segment| segment.first <= position);
        let begins = |index: usize| self.segments.get(index).map(|segment| segment.first_ts);
        let first =
            in_memory(from).or_else(|| begins(after(from).saturating_sub(1))).unwrap_or(self.newest_ts);
        let last = in_memory(to).or_else(|| begins(after(to))).unwrap_or(self.newest_ts);
        (first.min(last), last)
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
}

fn first_octets(tail: &VecDeque<Stored>, position: u64) -> usize {
    tail.iter().find(|record| record.position == position).map_or(0, |record| record.octets.len())
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "sick_tests.rs"]
mod sick_tests;
