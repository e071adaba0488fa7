//! Reading back: from memory where the records are still there, else from the segment that holds them.

use super::Stored;
use super::disk::Disk;
use super::format;
use super::log::Log;
use super::owner::Question;
use std::io;

/// After so many failures to read a segment, a second apart, its records count as damaged: a bad block
/// must not hold up what comes after it for ever.
const TRIES: u32 = 5;

impl<D: Disk> Log<D> {
    /// What the upstream has not settled yet, from memory where it is there, else from the segment that holds it.
    /// An error is for now only: the same question may be answered later.
    pub(super) fn read(&mut self, question: &Question) -> io::Result<Vec<Stored>> {
        let mut after = question.after;
        loop {
            let cursor = self.cursors.get(&question.name).map(|named| &named.cursor);
            after = cursor.map_or(after, |cursor| cursor.settled_from(after));
            if after >= question.upto {
                return Ok(Vec::new());
            }
            let mut found = self.read_any(after, question.at_most, question.octets)?;
            let Some(end) = found.last().map(|record| record.position) else { return Ok(found) };
            let cursor = self.cursors.get(&question.name).map(|named| &named.cursor);
            let settled = |position| cursor.is_some_and(|cursor| cursor.is_settled(position));
            found.retain(|record| record.position <= question.upto && !settled(record.position));
            if !found.is_empty() || end >= question.upto {
                return Ok(found);
            }
            after = end;
        }
    }

    fn read_any(&mut self, after: u64, at_most: usize, octets: usize) -> io::Result<Vec<Stored>> {
        let mut from = after.saturating_add(1);
        while from <= self.head {
            if self.tail.front().is_some_and(|oldest| oldest.position <= from) {
                return Ok(bite(self.tail.iter(), from, at_most, octets));
            }
            let Some(index) = self.segment_of(from) else {
                return Ok(bite(self.tail.iter(), from, at_most, octets));
            };
            let (first, last) = self.span(index);
            let records = self.load(index, first, last)?;
            let found = bite(records.iter().filter(|record| record.position <= last), from, at_most, octets);
            if !found.is_empty() {
                return Ok(found);
            }
            // Nothing of this segment is left at or after `from`: on to the next one, or to memory.
            if last < from || last >= self.committed {
                return Ok(bite(self.tail.iter(), from, at_most, octets));
            }
            from = last + 1;
        }
        Ok(Vec::new())
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
    fn load(&mut self, index: usize, first: u64, last: u64) -> io::Result<&[Stored]> {
        let known = |(from, to, _): &(u64, u64, Vec<Stored>)| *from == first && *to == last;
        let cached = self.loaded.as_ref().is_some_and(known);
        if !cached {
            let octets = self.octets_of(index)?;
            let records = format::scan(&octets, first).records;
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
        Ok(self.loaded.as_ref().map_or(&[], |(_, _, records)| records))
    }

    /// A segment that is gone, or that the medium refuses again and again, holds nothing; one that can't be
    /// read for another reason (no descriptor free, no memory, no permission) is still there.
    fn octets_of(&mut self, index: usize) -> io::Result<Vec<u8>> {
        let Some(segment) = self.segments.get(index) else { return Ok(Vec::new()) };
        let error = match self.disk.read(&segment.path) {
            Ok(octets) => {
                self.unread = 0;
                return Ok(octets);
            }
            Err(error) => error,
        };
        self.unread += 1;
        let medium = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        if error.kind() == io::ErrorKind::NotFound || (medium && self.unread >= TRIES) {
            tracing::error!(segment = %segment.path.display(), %error, "a segment is lost; its records are counted");
            self.unread = 0;
            return Ok(Vec::new());
        }
        if self.unread == 1 {
            tracing::warn!(segment = %segment.path.display(), %error, "a segment can't be read now; trying again");
        }
        Err(error)
    }
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
