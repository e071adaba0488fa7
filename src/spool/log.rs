//! The log itself: append, commit, settle. Synchronous, one owner, no clock of its own.

use super::current::Current;
use super::cursor::{Account, Cursor, Outcome, SLOT, slot_offset};
use super::disk::Disk;
use super::format::{FRAME_OVERHEAD, HEADER, LARGEST_RECORD, Numbers, SegmentHeader};
use super::gaps::Gap;
use super::recover;
use super::segment::SegmentReader;
use super::{Config, OpenError, Status, Stored, WhenFull};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;

/// Uncommitted octets, not packed yet, that bring the next commit forward: packed, some 30 KiB.
pub(super) const GROUP: usize = 256 << 10;
pub(super) const LARGEST_SEGMENT: u64 = 512 << 10;
const SMALLEST_SEGMENT: u64 = 16 << 10;
/// The cap is divided into at least so many segments, so that making room costs an eighth at most.
const SEGMENTS: u64 = 8;
/// A cursor file's allocation, counted against the cap.
const CURSOR_ALLOCATION: u64 = 2 * SLOT as u64;
/// Positions of a log that has never seen its folder begin after this one; none on disk comes so far.
pub(super) const MEMORY_START: u64 = 1 << 61;
/// What a record takes in memory beyond its octets.
const IN_MEMORY_OVERHEAD: usize = 64;

/// One file of records.
#[derive(Debug)]
pub(super) struct Segment {
    pub first: u64,
    /// When its first record was sampled; `None` while that can't be read.
    pub first_ts: Option<i64>,
    pub path: PathBuf,
    /// Octets it takes on disk.
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
    /// The folder is open: its lock, held as long as the log lives. `None` while it can't be reached; then
    /// everything is in memory.
    pub(super) home: Option<D::File>,
    pub(super) epoch: u32,
    pub(super) segments: VecDeque<Segment>,
    pub(super) current: Option<Current<D::File>>,
    /// The newest records: all that are not committed, and some that are.
    pub(super) tail: VecDeque<Stored>,
    pub(super) tail_octets: usize,
    /// Newest position given, newest position durable.
    pub(super) head: u64,
    pub(super) committed: u64,
    pub(super) seq: u64,
    pub(super) uncommitted_octets: usize,
    pub(super) cursors: BTreeMap<String, NamedCursor>,
    pub(super) trouble: Option<String>,
    pub(super) newest_ts: Option<i64>,
    /// The segment read last, where it was left: a backlog is read in many small bites. Only one, for what a thousand
    /// devices said last takes some megabytes decoded; two upstreams that drain at once decode theirs in turn.
    pub(super) reader: Option<SegmentReader>,
    /// Octets of damaged pieces kept aside; they count against the cap.
    pub(super) aside: u64,
    /// How often in a row a segment could not be read.
    pub(super) unread: u32,
    /// What is to be added to a position for those outside: not zero once a folder was found late.
    pub(super) shift: u64,
    /// The process before this one ended without a word; up to when its records are known, if there were any.
    pub(super) cut: Option<Option<i64>>,
    /// The folder still says that the last end was a clean one.
    pub(super) says_clean: bool,
}

impl<D: Disk> Log<D> {
    pub(super) fn open(config: Config, upstreams: &[String], disk: D) -> Result<Log<D>, OpenError> {
        recover::open(config, upstreams, disk)
    }

    pub(super) fn has_uncommitted(&self) -> bool {
        self.committed < self.head
    }

    /// A group is full, or would not fit in memory much longer.
    pub(super) fn wants_commit(&self) -> bool {
        self.uncommitted_octets >= GROUP && self.trouble.is_none()
    }

    pub(super) fn append(&mut self, ts_ms: i64, octets: Vec<u8>) {
        self.seq += 1;
        self.append_as(self.epoch, self.seq, ts_ms, octets);
    }

    /// The same for a record that has its numbers already.
    pub(super) fn append_as(&mut self, epoch: u32, seq: u64, ts_ms: i64, octets: Vec<u8>) {
        if let Some(since) = self.cut.take() {
            self.note_power_cut(since.unwrap_or(ts_ms), ts_ms);
        }
        self.head += 1;
        self.newest_ts = Some(ts_ms);
        let record = Stored { position: self.head, epoch, seq, ts_ms, octets: octets.into() };
        match self.admit(record) {
            Ok(()) => self.bound_memory(),
            Err(reason) => self.lose_one(self.head, ts_ms, reason),
        }
    }

    /// Into memory, for the next commit; or why it is lost.
    pub(super) fn admit(&mut self, record: Stored) -> Result<(), &'static str> {
        if record.octets.len() > LARGEST_RECORD || most_on_disk(record.octets.len()) > self.segment_size() {
            return Err("too-large");
        }
        if self.config.when_full == WhenFull::RefuseNew && !self.has_room_for(record.octets.len()) {
            return Err("spool-full");
        }
        let size = weight(&record);
        self.tail_octets += size;
        self.uncommitted_octets += size;
        self.tail.push_back(record);
        Ok(())
    }

    pub(super) fn note_power_cut(&mut self, from: i64, to: i64) {
        for named in self.cursors.values_mut() {
            named.cursor.gaps.add((from, to), None, "power-cut");
        }
    }

    /// Makes everything appended so far durable, cursors included.
    pub(super) fn commit(&mut self) -> Result<(), String> {
        let written = self.try_commit();
        if written.is_err() {
            self.abandon();
        }
        match written.and_then(|()| self.save_cursors()) {
            Ok(()) => {
                if let Some(trouble) = self.trouble.take() {
                    tracing::info!(%trouble, "the disk takes records again");
                }
                self.trim_tail();
                Ok(())
            }
            Err(error) => Err(self.note_trouble(&error)),
        }
    }

    pub(super) fn note_trouble(&mut self, error: &io::Error) -> String {
        let text = format!("{}: {error}", self.folder.display());
        if self.trouble.as_ref() != Some(&text) {
            tracing::error!(%error, folder = %self.folder.display(), "the disk does not take records; they wait in memory");
        }
        self.trouble = Some(text.clone());
        text
    }

    fn try_commit(&mut self) -> io::Result<()> {
        if self.home.is_none() {
            self.come_home()?;
        }
        self.say_that_it_runs()?;
        while self.committed < self.head {
            self.commit_some()?;
        }
        Ok(())
    }

    /// Writes as many uncommitted records as fit into the current segment, and syncs.
    fn commit_some(&mut self) -> io::Result<()> {
        let from = self.tail.partition_point(|record| record.position <= self.committed);
        let Some(first) = self.tail.get(from) else {
            // All of them were lost to the bound: nothing is left to write.
            self.committed = self.head;
            self.uncommitted_octets = 0;
            return Ok(());
        };
        // Somebody may have taken the file away: what goes into it then is gone.
        let is_there = self.segments.back().is_some_and(|segment| self.disk.is_there(&segment.path));
        if self.current.as_ref().is_none_or(|current| !is_there || current.is_full || !current.takes(first)) {
            let (first, ts_ms) =
                (Numbers { epoch: first.epoch, position: first.position, seq: first.seq }, first.ts_ms);
            self.begin_segment(first, ts_ms)?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        let (mut group, mut last, mut size) = (Vec::new(), self.committed, 0);
        for record in self.tail.range(from..) {
            if !current.put(record, &mut group) {
                break;
            }
            last = record.position;
            size += weight(record);
        }
        if group.is_empty() {
            // Full, and the next turn begins another segment; but what even a new one has no room for is lost.
            if current.used == HEADER as u64 {
                let lost = self.tail.remove(from);
                return lost.map_or(Ok(()), |record| self.lose_uncommitted(&record));
            }
            return Ok(());
        }
        self.disk.write_at(&current.file, &group, current.used)?;
        self.disk.sync(&current.file)?;
        if std::mem::take(&mut current.is_new) {
            self.disk.sync_folder(&self.folder)?;
        }
        current.used += group.len() as u64;
        self.uncommitted_octets = self.uncommitted_octets.saturating_sub(size);
        let all = self.tail.back().is_none_or(|newest| newest.position == last);
        self.committed = if all { self.head } else { last };
        Ok(())
    }

    fn lose_uncommitted(&mut self, record: &Stored) -> io::Result<()> {
        let size = weight(record);
        self.tail_octets -= size;
        self.uncommitted_octets = self.uncommitted_octets.saturating_sub(size);
        self.committed = record.position;
        self.lose_one(record.position, record.ts_ms, "too-large");
        Ok(())
    }

    fn begin_segment(&mut self, numbers: Numbers, first_ts: i64) -> io::Result<()> {
        self.seal();
        let (first, length) = (numbers.position, self.segment_size());
        let path = self.folder.join(format!("{first:020}.seg"));
        // A segment of this name can only be one whose first commit failed: it holds nothing durable.
        self.segments.retain(|segment| segment.first != first);
        let file = self.allocate(&path, length)?;
        self.segments.push_back(Segment { first, first_ts: Some(first_ts), path, allocated: length });
        let current = Current::new(file, numbers, length);
        let current = self.current.insert(current);
        self.reader.take_if(|reader| reader.first == first);
        self.disk.write_at(&current.file, &SegmentHeader { first, first_ts, numbers }.encode(), 0)
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
        if self
            .disk
            .truncate(&current.file, current.used)
            .and_then(|()| self.disk.sync(&current.file))
            .is_ok()
            && let Some(segment) = self.segments.back_mut()
        {
            segment.allocated = current.used;
        }
    }

    pub(super) fn segment_size(&self) -> u64 {
        (self.config.max_size / SEGMENTS).clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT)
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

    pub(super) fn lose_one(&mut self, position: u64, ts_ms: i64, reason: &str) {
        for named in self.cursors.values_mut() {
            named.cursor.lose(position, position, reason, (ts_ms, ts_ms));
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
    pub(super) fn sampled_between(&self, from: u64, to: u64) -> (i64, i64) {
        let in_memory = |position: u64| {
            let at = self.tail.partition_point(|record| record.position < position);
            self.tail.get(at).filter(|record| record.position == position).map(|record| record.ts_ms)
        };
        let after = |position: u64| self.segments.partition_point(|segment| segment.first <= position);
        let begins = |index: usize| self.segments.get(index).and_then(|segment| segment.first_ts);
        let newest = self.newest_ts.unwrap_or(0);
        let first = in_memory(from).or_else(|| begins(after(from).saturating_sub(1))).unwrap_or(newest);
        let last = in_memory(to).or_else(|| begins(after(to))).unwrap_or(newest);
        (first.min(last), last)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = (&String, Account)> {
        self.cursors.iter().map(|(name, named)| (name, named.cursor.account(self.head)))
    }

    pub(super) fn status(&self, heartbeat: u64) -> Status {
        let (oldest, newest) = (self.segments.front(), self.tail.front());
        let first = oldest.map(|segment| segment.first).or_else(|| newest.map(|record| record.position));
        let start = if self.home.is_some() { 0 } else { MEMORY_START };
        Status {
            records: first.map_or(0, |first| self.head + 1 - first),
            octets: self.octets(),
            oldest_ts: oldest
                .and_then(|segment| segment.first_ts)
                .or_else(|| newest.map(|record| record.ts_ms)),
            healthy: self.trouble.is_none(),
            detail: self.trouble.clone(),
            appended: self.head - start,
            heartbeat,
        }
    }

    /// Writes the cursors that moved. Called only when all records are durable, so none points beyond them.
    pub(super) fn save_cursors(&mut self) -> io::Result<()> {
        if self.home.is_none() {
            return Ok(());
        }
        for (name, named) in &mut self.cursors {
            if named.saved.as_ref() == Some(&named.cursor) {
                continue;
            }
            let path = self.folder.join(format!("{name}.cursor"));
            // One that can't be read stays until another is whole: without a cursor its upstream would be a new one.
            let fresh = self.folder.join(format!("{name}.cursor.new"));
            let generation = named.generation + 1;
            let file = match named.saved {
                Some(_) => self.disk.open(&path)?,
                None => self.disk.create(&fresh, CURSOR_ALLOCATION)?,
            };
            self.disk.write_at(&file, &named.cursor.encode(generation), slot_offset(generation))?;
            self.disk.sync(&file)?;
            if named.saved.is_none() {
                self.disk.rename(&fresh, &path)?;
                self.disk.sync_folder(&self.folder)?;
            }
            named.generation = generation;
            named.saved = Some(named.cursor.clone());
        }
        Ok(())
    }
}

/// What a record takes in memory.
pub(super) fn weight(record: &Stored) -> usize {
    record.octets.len() + IN_MEMORY_OVERHEAD
}

/// What a segment with nothing but this record takes at most.
pub(super) fn most_on_disk(octets: usize) -> u64 {
    (HEADER + 2 * FRAME_OVERHEAD + 40 + 11 + octets) as u64
}
