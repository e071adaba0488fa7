//! Making room: what gives way when disk or memory is full, or records are too old; and counting it.

use super::WhenFull;
use super::aside;
use super::disk::Disk;
use super::log::{Log, most_on_disk, weight};
use std::io;
use std::path::Path;

/// Octets kept in memory while the disk takes none: hours of a small site, minutes of a large one.
pub(super) const IN_MEMORY: usize = 4 << 20;
/// Committed records kept in memory for upstreams that keep up, in octets.
const RECENT: usize = 128 << 10;

impl<D: Disk> Log<D> {
    /// A new file within the cap; where the disk is full before the cap is reached, the oldest gives way too,
    /// as far as that can help.
    pub(super) fn allocate(&mut self, path: &Path, length: u64) -> io::Result<D::File> {
        self.make_room(length)?;
        let mut folder_made = false;
        loop {
            match self.disk.create(path, length) {
                Err(error) if is_full(&error) && self.could_free(length) => self.give_way()?,
                // Somebody has taken the folder away.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !folder_made => {
                    self.disk.make_folder(&self.folder)?;
                    folder_made = true;
                }
                result => return result,
            }
        }
    }

    fn make_room(&mut self, for_octets: u64) -> io::Result<()> {
        while self.octets() + for_octets > self.config.max_size && self.could_free(0) {
            self.give_way()?;
        }
        Ok(())
    }

    /// Whether as much can be freed without the newest segment: it says at the next start what came before it.
    fn could_free(&self, octets: u64) -> bool {
        let older = self.segments.iter().rev().skip(1).map(|segment| segment.allocated).sum::<u64>();
        (self.aside > 0 || self.segments.len() > 1) && self.aside + older >= octets
    }

    /// Damaged pieces first, then the oldest segment; with `refuse-new` only one that nobody needs.
    fn give_way(&mut self) -> io::Result<()> {
        if self.aside > 0 {
            aside::forget_damaged(&self.disk, &self.folder)?;
            self.aside = 0;
            return Ok(());
        }
        if self.config.when_full == WhenFull::RefuseNew && !self.oldest_is_settled() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "what is kept is still needed"));
        }
        self.drop_oldest("spool-full")
    }

    /// With `refuse-new`: room in the current segment, for another one, or in one that nobody needs.
    pub(super) fn has_room_for(&self, octets: usize) -> bool {
        // Not packed yet: packed it is rarely a tenth, but it may be no reading at all.
        let waiting = self.uncommitted_octets as u64 + most_on_disk(octets);
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
        aside::gone(self.disk.remove(&path))?;
        // Holes between segments were counted when they came to be: counting is by position, once.
        self.lose(first, last, reason);
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.current = None;
        }
        self.reader.take_if(|reader| reader.first == first);
        Ok(())
    }

    /// Drops what is older than `max_age`; never the segment in use. Age is measured from the newest record
    /// or the newest segment's first, whichever is earlier: a clock that is wrong for a moment costs nothing.
    pub(super) fn expire(&mut self) {
        let Some(age) = self.config.max_age else { return };
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let newest = self.segments.back().and_then(|segment| segment.first_ts);
        let Some(limit) = self.newest_ts.into_iter().chain(newest).min() else { return };
        let limit = limit.saturating_sub(age);
        while let Some(next) = self.segments.get(1) {
            if next.first_ts.is_none_or(|ts| ts >= limit) || self.drop_oldest("too-old").is_err() {
                return;
            }
        }
    }

    /// While the disk is ill: the oldest uncommitted records give way.
    pub(super) fn bound_memory(&mut self) {
        while self.uncommitted_octets > IN_MEMORY {
            let at = self.tail.partition_point(|record| record.position <= self.committed);
            let Some(gone) = self.tail.remove(at) else { return };
            let size = weight(&gone);
            self.tail_octets -= size;
            self.uncommitted_octets -= size;
            self.committed = self.committed.max(gone.position);
            self.lose_one(gone.position, gone.ts_ms, "disk-ill");
        }
        self.trim_tail();
    }

    pub(super) fn trim_tail(&mut self) {
        while self.tail_octets > RECENT {
            match self.tail.front() {
                Some(oldest) if oldest.position <= self.committed => {
                    self.tail_octets -= weight(oldest);
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
