//! Making room: what gives way when disk or memory is full, or records are too old; and counting it.

use super::WhenFull;
use super::disk::Disk;
use super::log::Log;
use super::{format, recover};
use std::fs::File;
use std::io;
use std::path::Path;

/// Octets kept in memory while the disk takes none: hours of a small site, minutes of a large one.
const IN_MEMORY: usize = 4 << 20;
/// Committed records kept in memory for upstreams that keep up, in octets.
const RECENT: usize = 128 << 10;

impl<D: Disk> Log<D> {
    /// A new file within the cap; where the disk is full before the cap is reached, the oldest gives way too.
    pub(super) fn allocate(&mut self, path: &Path, length: u64) -> io::Result<File> {
        self.make_room(length)?;
        loop {
            match self.disk.create(path, length) {
                Err(error) if is_full(&error) && !self.segments.is_empty() => self.give_way()?,
                result => return result,
            }
        }
    }

    fn make_room(&mut self, for_octets: u64) -> io::Result<()> {
        while self.octets() + for_octets > self.config.max_size && !self.segments.is_empty() {
            self.give_way()?;
        }
        Ok(())
    }

    /// Damaged pieces first, then the oldest segment; with `refuse-new` only one that nobody needs.
    fn give_way(&mut self) -> io::Result<()> {
        if self.aside > 0 {
            self.aside = 0;
            return recover::forget_damaged(&self.folder);
        }
        if self.config.when_full == WhenFull::RefuseNew && !self.oldest_is_settled() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "what is kept is still needed"));
        }
        self.drop_oldest("spool-full")
    }

    /// With `refuse-new`: room in the current segment, for another one, or in one that nobody needs.
    pub(super) fn has_room_for(&self, record_octets: usize) -> bool {
        let waiting = self.uncommitted_octets as u64 + record_octets as u64;
        let in_current =
            self.current.as_ref().is_some_and(|current| current.used + waiting <= current.allocated);
        if in_current || self.oldest_is_settled() {
            return true;
        }
        // Records don't split: a segment may end up half empty.
        let segments = 1 + waiting / (self.segment_size() / 2);
        self.octets() + segments * self.segment_size() <= self.config.max_size
    }

    fn oldest_is_settled(&self) -> bool {
        self.segments.get(1).is_some_and(|second| {
            self.cursors.values().all(|named| named.cursor.position() + 1 >= second.first)
        })
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

    /// Drops what is older than `max_age`; never the segment in use. Age is measured from the newest record
    /// or the newest segment's first, whichever is earlier: a clock that is wrong for a moment costs nothing.
    pub(super) fn expire(&mut self) {
        let Some(age) = self.config.max_age else { return };
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let Some(newest) = self.segments.back() else { return };
        let limit = self.newest_ts.min(newest.first_ts).saturating_sub(age);
        while let Some(next) = self.segments.get(1) {
            if next.first_ts >= limit || self.drop_oldest("too-old").is_err() {
                return;
            }
        }
    }

    /// While the disk is ill: the oldest uncommitted records give way.
    pub(super) fn bound_memory(&mut self) {
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

    pub(super) fn trim_tail(&mut self) {
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
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
