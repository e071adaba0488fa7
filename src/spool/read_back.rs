//! Reading back: from memory where the records are still there, else from the segment that holds them.

use super::Stored;
use super::cursor::Cursor;
use super::disk::Disk;
use super::log::{LARGEST_SEGMENT, Log};
use super::request::Question;
use super::segment::{Found, SegmentReader};
use super::{aside, home};
use std::collections::VecDeque;
use std::io;

/// After so many failures to read a segment, a second apart, its records count as damaged: a bad block
/// must not hold up what comes after it for ever.
const TRIES: u32 = 5;

/// What one question has brought so far.
pub(super) struct Bite {
    pub(super) records: Vec<Stored>,
    octets: usize,
    at_most: usize,
    octets_at_most: usize,
}

impl Bite {
    pub(super) fn of(question: &Question) -> Bite {
        let Question { at_most, octets, .. } = question;
        Bite { records: Vec::new(), octets: 0, at_most: *at_most, octets_at_most: *octets }
    }

    /// What of these is not settled, as far as there is room; `false` where that was not all.
    pub(super) fn take_from(
        &mut self,
        records: &VecDeque<Stored>,
        cursor: Option<&Cursor>,
        from: u64,
        upto: u64,
    ) -> bool {
        let start = records.partition_point(|record| record.position < from);
        let wanted = records.range(start..).take_while(|record| record.position <= upto);
        for record in wanted.filter(|record| !cursor.is_some_and(|cursor| cursor.is_settled(record.position)))
        {
            if !self.has_room_for(record) {
                return false;
            }
            self.take(record.clone());
        }
        true
    }

    fn has_room_for(&self, record: &Stored) -> bool {
        let room =
            self.octets + record.octets.len() <= self.octets_at_most && self.records.len() < self.at_most;
        room || (self.records.is_empty() && self.at_most > 0)
    }

    fn take(&mut self, record: Stored) {
        self.octets += record.octets.len();
        self.records.push(record);
    }
}

impl<D: Disk> Log<D> {
    /// Whether it can be answered without the disk.
    pub(super) fn is_in_memory(&self, question: &Question) -> bool {
        let cursor = self.cursors.get(&question.name).map(|named| &named.cursor);
        let from =
            cursor.map_or(question.after, |cursor| cursor.settled_from(question.after)).saturating_add(1);
        from > question.upto.min(self.head)
            || self.segments.is_empty()
            || self.tail.front().is_some_and(|oldest| oldest.position <= from)
    }

    /// What the upstream has not settled yet, from memory where it is there, else from the segments that hold
    /// it. An error is for now only: the same question may be answered later.
    pub(super) fn read(&mut self, question: &Question) -> io::Result<Vec<Stored>> {
        let Question { name, after, upto, .. } = question;
        let mut bite = Bite::of(question);
        let (mut from, upto) = (after.saturating_add(1), (*upto).min(self.head));
        loop {
            if let Some(named) = self.cursors.get(name) {
                from = named.cursor.settled_from(from - 1) + 1;
            }
            if from > upto {
                return Ok(bite.records);
            }
            let in_memory = self.tail.front().is_some_and(|oldest| oldest.position <= from);
            let index = self.segment_of(from).filter(|_| !in_memory);
            let Some(index) = index else {
                let cursor = self.cursors.get(name).map(|named| &named.cursor);
                bite.take_from(&self.tail, cursor, from, upto);
                return Ok(bite.records);
            };
            let (_, last) = self.span(index);
            let more_to_come =
                from > last || self.bite_of_segment(name, index, (from, upto.min(last)), &mut bite)?;
            if !more_to_come || last >= upto {
                return Ok(bite.records);
            }
            // Between the segments and what is in memory everything is lost.
            from = if last >= self.committed {
                self.tail.front().map_or(upto + 1, |oldest| oldest.position.max(last + 1))
            } else {
                last + 1
            };
        }
    }

    /// `true` when the segment has nothing more in this span.
    fn bite_of_segment(
        &mut self,
        name: &str,
        index: usize,
        (from, upto): (u64, u64),
        bite: &mut Bite,
    ) -> io::Result<bool> {
        let Some(mut reader) = self.reader_at(index, from)? else {
            self.lose(from, upto, "damaged");
            return Ok(true);
        };
        let (mut expected, mut lost, mut done) = (from, Vec::new(), true);
        while let Some(found) = reader.next() {
            let position = match &found {
                Found::Record(record) => record.position,
                Found::Unreadable { .. } => continue,
                Found::Damage(at, to) => {
                    self.keep_aside(&reader, *at, *to);
                    continue;
                }
            };
            if position < from {
                continue;
            }
            if position > upto {
                reader.put_back(found);
                break;
            }
            let settled = self.cursors.get(name).is_some_and(|named| named.cursor.is_settled(position));
            if let Found::Record(record) = &found
                && !settled
                && !bite.has_room_for(record)
            {
                reader.put_back(found);
                done = false;
                break;
            }
            if position > expected {
                lost.push((expected, position - 1));
            }
            expected = position + 1;
            match found {
                Found::Record(record) if !settled => bite.take(record),
                Found::Record(_) | Found::Unreadable { .. } | Found::Damage(..) => {}
            }
        }
        if done && expected <= upto {
            lost.push((expected, upto));
        }
        self.reader = Some(reader);
        lost.into_iter().for_each(|(from, to)| self.lose(from, to, "damaged"));
        Ok(done)
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

    /// Reads on where somebody has left off before this position, if that can be.
    fn reader_at(&mut self, index: usize, from: u64) -> io::Result<Option<SegmentReader>> {
        let (first, last) = self.span(index);
        if let Some(reader) = self.reader.take_if(|reader| reader.first == first && reader.passed < from) {
            if reader.known_to >= last {
                return Ok(Some(reader));
            }
            let octets = self.octets_of(index)?;
            return Ok(octets.map(|octets| reader.grown(octets, last)));
        }
        let octets = self.octets_of(index)?;
        Ok(octets.map(|octets| SegmentReader::new(first, octets).grown_to(last)))
    }

    /// A segment that is gone, or that the medium refuses again and again, holds nothing; one that can't be
    /// read for another reason (no descriptor free, no memory, no permission) is still there.
    fn octets_of(&mut self, index: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(segment) = self.segments.get(index) else { return Ok(None) };
        let error = match self.disk.read(&segment.path, LARGEST_SEGMENT) {
            Ok(octets) => {
                self.unread = 0;
                return Ok(Some(octets));
            }
            Err(error) => error,
        };
        self.unread += 1;
        if error.kind() == io::ErrorKind::NotFound || (home::is_medium(&error) && self.unread >= TRIES) {
            tracing::error!(segment = %segment.path.display(), %error, "a segment is lost; its records are counted");
            self.unread = 0;
            return Ok(None);
        }
        if self.unread == 1 {
            tracing::warn!(segment = %segment.path.display(), %error, "a segment can't be read now; trying again");
        }
        Err(error)
    }

    fn keep_aside(&mut self, reader: &SegmentReader, from: usize, to: usize) {
        let octets = reader.octets(from, to);
        let room = self.config.max_size.saturating_sub(self.octets());
        self.aside += aside::keep_aside(&self.disk, &self.folder, reader.first, from, octets, room);
    }
}
