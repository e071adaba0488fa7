//! One segment read front to back: frames, unpacked, with their whole numbers.

use super::Stored;
use super::format::{self, Frames, Head, Numbers, Piece};
use crate::record::Unpacker;

/// What was found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Record(Stored),
    /// A whole frame that can't be read, because what it builds on is missing; and why.
    Unreadable {
        position: u64,
        why: String,
    },
    /// Octets that are no frame, from one to another.
    Damage(usize, usize),
}

impl Found {
    pub(super) fn position(&self) -> Option<u64> {
        match self {
            Found::Record(record) => Some(record.position),
            Found::Unreadable { position, .. } => Some(*position),
            Found::Damage(..) => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct SegmentReader {
    pub(super) first: u64,
    octets: Vec<u8>,
    frames: Frames,
    numbers: Option<Numbers>,
    unpacker: Unpacker,
    /// Found, but not asked for yet.
    waiting: Option<Found>,
    /// The last position that was handed out, read or not.
    pub(super) passed: u64,
    /// The octets hold all positions of the segment up to this one.
    pub(super) known_to: u64,
    pub(super) header_is_whole: bool,
}

impl SegmentReader {
    pub(super) fn new(first: u64, octets: Vec<u8>) -> SegmentReader {
        let header = match format::read_head(&octets) {
            Head::Ours(header) if header.first == first => Some(header.numbers),
            Head::Ours(_) | Head::Foreign | Head::Damaged => None,
        };
        SegmentReader {
            first,
            frames: Frames::new(first),
            numbers: header.or_else(|| first_anchor(first, &octets)),
            octets,
            unpacker: Unpacker::default(),
            waiting: None,
            passed: 0,
            known_to: first,
            header_is_whole: header.is_some(),
        }
    }

    /// The same segment, which has grown since: it holds what there is up to this position now.
    pub(super) fn grown(self, octets: Vec<u8>, known_to: u64) -> SegmentReader {
        SegmentReader { octets, known_to, ..self }
    }

    pub(super) fn grown_to(self, known_to: u64) -> SegmentReader {
        SegmentReader { known_to, ..self }
    }

    pub(super) fn next(&mut self) -> Option<Found> {
        let found = self.waiting.take().or_else(|| self.find())?;
        if let Some(position) = found.position() {
            self.passed = position;
        }
        Some(found)
    }

    /// Gives back what was taken too early.
    pub(super) fn put_back(&mut self, found: Found) {
        self.passed = found.position().map_or(self.passed, |position| position - 1);
        self.waiting = Some(found);
    }

    fn find(&mut self) -> Option<Found> {
        loop {
            match self.frames.next(&self.octets)? {
                Piece::Anchor { numbers, .. } => self.numbers = Some(numbers),
                Piece::Damage(from, to) => return Some(Found::Damage(from, to)),
                Piece::Record { position, body: (from, to) } => return Some(self.unpack(position, from, to)),
            }
        }
    }

    fn unpack(&mut self, position: u64, from: usize, to: usize) -> Found {
        let unpacked = self.unpacker.unpack(position, &self.octets[from..to]);
        match (unpacked, self.numbers) {
            (Ok((ts_ms, octets)), Some(numbers)) => Found::Record(Stored {
                position,
                epoch: numbers.epoch,
                seq: numbers.seq_of(position),
                ts_ms,
                octets: octets.into(),
            }),
            (Ok(_), None) => {
                Found::Unreadable { position, why: "its epoch and sequence are lost".to_owned() }
            }
            (Err(error), _) => Found::Unreadable { position, why: error.to_string() },
        }
    }

    /// Where the last valid frame ends.
    pub(super) fn used(&self) -> usize {
        self.frames.used
    }

    /// Whether anything but zeros follows the last valid frame: a write that was torn.
    pub(super) fn is_torn(&self) -> bool {
        self.octets.iter().skip(self.used()).any(|octet| *octet != 0)
    }

    pub(super) fn octets(&self, from: usize, to: usize) -> &[u8] {
        self.octets.get(from..to.min(self.octets.len())).unwrap_or_default()
    }
}

/// Where the header is damaged, any anchor says which numbers the segment's records have.
fn first_anchor(first: u64, octets: &[u8]) -> Option<Numbers> {
    let mut frames = Frames::new(first);
    std::iter::from_fn(|| frames.next(octets)).find_map(|piece| match piece {
        Piece::Anchor { numbers, .. } => Some(numbers),
        Piece::Record { .. } | Piece::Damage(..) => None,
    })
}
