//! Reading back: from memory where the records are still there, else from the segment that holds them.

use super::Stored;
use super::disk::Disk;
use super::format;
use super::log::Log;
use std::fs;

impl<D: Disk> Log<D> {
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
