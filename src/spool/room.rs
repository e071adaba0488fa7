//! Making room: what gives way when disk or memory is full, or records are too old; and counting it.

use super::disk::Disk;
use super::format;
use super::log::Log;
use std::io;

/// Octets kept in memory while the disk takes none: hours of a small site, minutes of a large one.
const IN_MEMORY: usize = 4 << 20;
/// Committed records kept in memory for upstreams that keep up, in octets.
const RECENT: usize = 128 << 10;

impl<D: Disk> Log<D> {
    pub(super) fn make_room(&mut self, for_octets: u64) -> io::Result<()> {
        while self.octets() + for_octets > self.config.max_size && !self.segments.is_empty() {
            self.drop_oldest("spool-full")?;
        }
        Ok(())
    }

    /// With `refuse-new`: room in the current segment, for another one, or in one that nobody needs.
    pub(super) fn has_room_for_one_more(&self) -> bool {
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
