//! Segment headers and frames as octets: pure. The tables stand on the room's page.

use crate::record;

pub(super) const HEADER: usize = 64;
const MAGIC: &[u8; 7] = b"LMSPOOL";
const VERSION: u8 = b'1';
/// The first octet of an anchor; packed records never begin with one above 127.
const ANCHOR: u8 = 0xFF;
const ANCHOR_BODY: usize = 29;
/// So many records after an anchor comes the next one.
pub(super) const ANCHOR_EVERY: u32 = 64;
/// Positions in one segment: fewer than the two octets of a frame can tell apart.
pub(super) const MOST_POSITIONS: u64 = 60_000;
/// The longest record; it holds a few thousand points. What a packed one may take beyond its own octets.
pub(super) const LARGEST_RECORD: usize = 128 << 10;
const LARGEST_BODY: usize = LARGEST_RECORD + 16;
/// Length, position and checksum of a frame take at most this.
pub(super) const FRAME_OVERHEAD: usize = 9;
/// No folder comes so far: whatever names a later position is damaged, and must not make numbers overflow.
pub(super) const LAST_POSITION: u64 = 1 << 60;
/// Octets that are checked in search of the next frame of a damaged segment: ten times what chance takes. Who
/// has made octets so that each could begin a long frame gets no more of our time.
const SEARCH: usize = 2 << 30;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub first: u64,
    pub first_ts: i64,
    pub numbers: Numbers,
}

/// Which (epoch, seq) a position has: the same difference throughout a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub epoch: u32,
    pub position: u64,
    pub seq: u64,
}

impl Numbers {
    pub(super) fn seq_of(&self, position: u64) -> u64 {
        self.seq.wrapping_add(position).wrapping_sub(self.position)
    }

    /// Whether a record with these numbers belongs to the same segment.
    pub(super) fn go_on(&self, epoch: u32, position: u64, seq: u64) -> bool {
        self.epoch == epoch && self.seq_of(position) == seq
    }
}

/// What the first octets of a segment are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    Ours(SegmentHeader),
    /// Of a version that this program does not know.
    Foreign,
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        octets[..7].copy_from_slice(MAGIC);
        octets[7] = VERSION;
        octets[8..16].copy_from_slice(&self.first.to_le_bytes());
        octets[16..20].copy_from_slice(&self.numbers.epoch.to_le_bytes());
        octets[24..32].copy_from_slice(&self.numbers.seq_of(self.first).to_le_bytes());
        octets[32..40].copy_from_slice(&self.first_ts.to_le_bytes());
        let crc = crc32c::crc32c(&octets[..60]);
        octets[60..].copy_from_slice(&crc.to_le_bytes());
        octets
    }
}

pub(super) fn read_head(octets: &[u8]) -> Head {
    let Some(header) = octets.get(..HEADER) else { return Head::Damaged };
    // Of any version: one flipped bit must not make a segment somebody else's.
    if &header[..7] != MAGIC || crc32c::crc32c(&header[..60]) != u32_at(header, 60) {
        return Head::Damaged;
    }
    if header[7] != VERSION {
        return Head::Foreign;
    }
    let first = u64_at(header, 8);
    let numbers = Numbers { epoch: u32_at(header, 16), position: first, seq: u64_at(header, 24) };
    Head::Ours(SegmentHeader { first, first_ts: u64_at(header, 32).cast_signed(), numbers })
}

/// Puts a frame at the end of `out`, whose body `body` writes.
pub(super) fn put_frame(first: u64, position: u64, body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut length = body.len();
    while length > 0x7F {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(&position.to_le_bytes()[..2]);
    let crc = checksum(first, &out[start..], body);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
}

/// An anchor: the whole numbers of the record that follows, for who can't read the header any more.
pub(super) fn put_anchor(first: u64, numbers: Numbers, ts_ms: i64, out: &mut Vec<u8>) {
    let mut body = vec![ANCHOR];
    body.extend_from_slice(&numbers.epoch.to_le_bytes());
    body.extend_from_slice(&numbers.seq.to_le_bytes());
    body.extend_from_slice(&numbers.position.to_le_bytes());
    body.extend_from_slice(&ts_ms.to_le_bytes());
    put_frame(first, numbers.position, &body, out);
}

fn checksum(first: u64, head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&first.to_le_bytes()), head), body)
}

/// A frame where one begins.
struct Frame {
    position: u64,
    body: (usize, usize),
}

/// What stands in a segment, piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A packed record, from octet to octet.
    Record {
        position: u64,
        body: (usize, usize),
    },
    Anchor {
        numbers: Numbers,
        ts_ms: i64,
    },
    /// Octets that are no frame, before one that is.
    Damage(usize, usize),
}

/// Reads frames front to back, over whatever damage there is between them.
#[derive(Debug)]
pub(super) struct Frames {
    first: u64,
    at: usize,
    /// The least position that the next record may have.
    next: u64,
    /// Where the last valid frame ends.
    pub(super) used: usize,
    search: usize,
}

impl Frames {
    pub(super) fn new(first: u64) -> Frames {
        Frames { first, at: HEADER, next: first, used: HEADER, search: SEARCH }
    }

    /// The next piece of these octets; `None` at their end, or where nothing valid follows. Asked again when
    /// the segment has grown, it goes on after the last valid frame.
    pub(super) fn next(&mut self, octets: &[u8]) -> Option<Piece> {
        let mut at = self.at;
        while at < octets.len() {
            if let Some(frame) = self.frame_at(octets, at) {
                if at > self.used {
                    // The frame itself comes with the next call.
                    let from = std::mem::replace(&mut self.used, at);
                    self.at = at;
                    return Some(Piece::Damage(from, at));
                }
                return Some(self.take(octets, &frame));
            }
            let zeros = octets[at..].iter().position(|octet| *octet != 0)?;
            // Zeros lead to nothing valid: a length of zero is no frame.
            at += zeros.max(1);
        }
        None
    }

    fn take(&mut self, octets: &[u8], frame: &Frame) -> Piece {
        let (from, to) = frame.body;
        (self.at, self.used) = (to, to);
        let body = &octets[from..to];
        if body[0] == ANCHOR && body.len() == ANCHOR_BODY {
            let numbers =
                Numbers { epoch: u32_at(body, 1), seq: u64_at(body, 5), position: u64_at(body, 13) };
            return Piece::Anchor { numbers, ts_ms: u64_at(body, 21).cast_signed() };
        }
        self.next = frame.position + 1;
        Piece::Record { position: frame.position, body: frame.body }
    }

    fn frame_at(&mut self, octets: &[u8], at: usize) -> Option<Frame> {
        let (length, digits) = length_at(octets.get(at..)?)?;
        let head = octets.get(at..at + digits + 2)?;
        let from = at + digits + 6;
        let body = octets.get(from..from.checked_add(length)?)?;
        if body[0] != ANCHOR && !record::begins_packed(body[0]) {
            return None;
        }
        let low = u16::from_le_bytes([head[digits], head[digits + 1]]);
        let [a, b, ..] = self.first.to_le_bytes();
        let position = self.first + u64::from(low.wrapping_sub(u16::from_le_bytes([a, b])));
        if position < self.next || position - self.first >= MOST_POSITIONS {
            return None;
        }
        // Only what is searched is limited: a segment that is whole is read to its end.
        if at > self.used {
            self.search = self.search.checked_sub(length)?;
        }
        let whole = checksum(self.first, head, body) == u32_at(octets, at + digits + 2);
        whole.then_some(Frame { position, body: (from, from + length) })
    }
}

/// A body's length and how many octets it is written in; `None` for zero and for what no frame has.
fn length_at(octets: &[u8]) -> Option<(usize, usize)> {
    let (mut length, mut shift) = (0, 0);
    for (index, octet) in octets.iter().take(3).enumerate() {
        length |= usize::from(octet & 0x7F) << shift;
        shift += 7;
        if octet & 0x80 == 0 {
            return (1..=LARGEST_BODY).contains(&length).then_some((length, index + 1));
        }
    }
    None
}

/// `octets` must reach to `at + N`: every caller has cut a header of known length first.
fn array_at<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&octets[at..at + N]);
    array
}

pub(super) fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(octets, at))
}

pub(super) fn u64_at(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(octets, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NUMBERS: Numbers = Numbers { epoch: 7, position: 65_500, seq: 1 };

    /// A segment of records at these positions, each with a body of this size.
    fn segment(records: &[(u64, usize)]) -> Vec<u8> {
        let mut octets = SegmentHeader { first: 65_500, first_ts: 1, numbers: NUMBERS }.encode().to_vec();
        put_anchor(65_500, NUMBERS, 1, &mut octets);
        for (position, size) in records {
            let mut body = vec![1];
            body.resize(*size, position.to_le_bytes()[0]);
            put_frame(65_500, *position, &body, &mut octets);
        }
        octets
    }

    fn positions(octets: &[u8]) -> Vec<u64> {
        let mut frames = Frames::new(65_500);
        let pieces = std::iter::from_fn(|| frames.next(octets));
        pieces
            .filter_map(|piece| match piece {
                Piece::Record { position, .. } => Some(position),
                Piece::Anchor { .. } | Piece::Damage(..) => None,
            })
            .collect()
    }

    #[test]
    fn a_header_reads_back_and_a_newer_version_is_told_from_damage() {
        let header =
            SegmentHeader { first: 9, first_ts: -5, numbers: Numbers { epoch: 3, position: 9, seq: 2 } };
        let mut octets = header.encode();
        assert_eq!(read_head(&octets), Head::Ours(header));
        octets[30] ^= 1;
        assert_eq!(read_head(&octets), Head::Damaged);
        octets[30] ^= 1;
        octets[7] = b'2';
        assert_eq!(read_head(&octets), Head::Damaged);
        let crc = crc32c::crc32c(&octets[..60]);
        octets[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_head(&octets), Head::Foreign);
    }

    #[test]
    fn a_lone_frame_takes_seven_octets_more_than_its_body() {
        let before = segment(&[]).len();
        assert_eq!(segment(&[(65_500, 100)]).len(), before + 107);
    }

    #[test]
    fn positions_go_on_over_the_end_of_their_two_octets() {
        let records: Vec<_> = (65_500..65_700).map(|position| (position, 20)).collect();
        assert_eq!(positions(&segment(&records)), (65_500..65_700).collect::<Vec<_>>());
    }

    #[test]
    fn damage_is_named_and_costs_only_the_frames_that_it_touches() {
        let records: Vec<_> = (65_500..65_600).map(|position| (position, 20)).collect();
        let whole = segment(&records);
        for at in HEADER..whole.len() {
            let mut octets = whole.clone();
            octets[at] ^= 0x10;
            assert!(positions(&octets).len() >= 99, "octet {at}");
        }
        let mut octets = whole;
        octets[500..600].fill(0xAA);
        let mut frames = Frames::new(65_500);
        let damage: Vec<_> = std::iter::from_fn(|| frames.next(&octets))
            .filter(|piece| matches!(piece, Piece::Damage(..)))
            .collect();
        assert!(matches!(damage[..], [Piece::Damage(from, to)] if from <= 500 && to >= 600), "{damage:?}");
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..2000), at in 0usize..3000) {
            positions(&octets);
            read_head(&octets);
            let mut whole = segment(&[(65_500, 300), (65_501, 30), (65_900, 500)]);
            let end = whole.len();
            for (n, octet) in octets.iter().take(40).enumerate() { whole[(at + n) % end] = *octet; }
            positions(&whole);
        }

        #[test]
        fn any_cut_leaves_the_frames_before_it(cut in 0usize..3000) {
            let records: Vec<_> = (0..100).map(|n| (65_500 + n, 20)).collect();
            let whole = segment(&records);
            let cut = cut.min(whole.len());
            let expected = cut.saturating_sub(HEADER + 36) / 27;
            prop_assert_eq!(positions(&whole[..cut]).len(), expected);
        }
    }
}
