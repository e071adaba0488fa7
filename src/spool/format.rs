//! Segment headers and records as octets: pure. The tables stand on the room's page.

use super::Stored;
use std::sync::Arc;

pub(super) const HEADER: usize = 32;
pub(super) const RECORD_HEADER: usize = 36;
const MAGIC: &[u8; 8] = b"LMSPOOL1";
/// How far a record may reach ahead of its predecessor and still be believed when resynchronising:
/// a random pattern must not carry the position away. (A checksum guards it too.)
const PLAUSIBLE_LEAP: u64 = 1 << 40;
/// No folder comes so far: whatever names a later position is damaged, and must not make numbers overflow.
pub(super) const LAST_POSITION: u64 = 1 << 60;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub first: u64,
    pub first_ts: i64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        octets[..8].copy_from_slice(MAGIC);
        octets[8..16].copy_from_slice(&self.first.to_le_bytes());
        octets[16..24].copy_from_slice(&self.first_ts.to_le_bytes());
        let crc = crc32c::crc32c(&octets[..28]);
        octets[28..].copy_from_slice(&crc.to_le_bytes());
        octets
    }

    pub(super) fn decode(octets: &[u8]) -> Option<SegmentHeader> {
        let header = octets.get(..HEADER)?;
        let valid = &header[..8] == MAGIC && crc32c::crc32c(&header[..28]).to_le_bytes() == header[28..];
        valid.then(|| SegmentHeader { first: u64_at(header, 8), first_ts: i64_at(header, 16) })
    }
}

/// How many octets the record takes on disk.
pub(super) fn record_octets(payload: usize) -> usize {
    RECORD_HEADER.saturating_add(payload)
}

/// Puts a record at the end of `out`. An empty payload becomes one zero octet: a length of zero ends a segment.
pub(super) fn encode_record(record: &Stored, out: &mut Vec<u8>) {
    let payload: &[u8] = if record.octets.is_empty() { &[0] } else { &record.octets };
    let start = out.len();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&record.position.to_le_bytes());
    out.extend_from_slice(&record.epoch.to_le_bytes());
    out.extend_from_slice(&record.seq.to_le_bytes());
    out.extend_from_slice(&record.ts_ms.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = record_crc(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The record that begins here, and its whole length; `None` where none does.
pub(super) fn decode_record(octets: &[u8]) -> Option<(Stored, usize)> {
    let header = octets.get(..RECORD_HEADER)?;
    let length = usize::try_from(u32_at(header, 0)).ok()?;
    if length == 0 {
        return None;
    }
    let whole = octets.get(..RECORD_HEADER.checked_add(length)?)?;
    if record_crc(whole) != u32_at(header, 4) {
        return None;
    }
    let record = Stored {
        position: u64_at(header, 8),
        epoch: u32_at(header, 16),
        seq: u64_at(header, 20),
        ts_ms: i64_at(header, 28),
        octets: Arc::from(&whole[RECORD_HEADER..]),
    };
    Some((record, whole.len()))
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub records: Vec<Stored>,
    /// Where the last valid record ends.
    pub used: usize,
    /// Where octets stood, before a valid record, that are none: (from, to).
    pub damage: Vec<(usize, usize)>,
    /// Octets after the last valid record that are not zeros: a torn write.
    pub torn: bool,
}

/// Reads all valid records of a segment, over whatever damage there is between them.
pub(super) fn scan(octets: &[u8], first: u64) -> Contents {
    let mut contents = Contents { used: HEADER.min(octets.len()), ..Contents::default() };
    let (mut at, mut next) = (contents.used, first);
    while at < octets.len() {
        if let Some((record, length)) = believable(&octets[at..], next) {
            if at > contents.used {
                contents.damage.push((contents.used, at));
            }
            at += length;
            next = record.position + 1;
            contents.used = at;
            contents.records.push(record);
            continue;
        }
        match octets[at..].iter().position(|octet| *octet != 0) {
            None => break,
            // Zeros lead to nothing valid: a length of zero is no record, so skip to what follows them,
            // but leave room for the zeros that a length's upper octets may be.
            Some(zeros) if zeros > RECORD_HEADER => at += zeros - 3,
            Some(_) => at += 1,
        }
    }
    contents.torn = octets[contents.used.min(octets.len())..].iter().any(|octet| *octet != 0);
    contents
}

fn believable(octets: &[u8], next: u64) -> Option<(Stored, usize)> {
    let position = u64_at(octets.get(..RECORD_HEADER)?, 8);
    if position < next || position - next > PLAUSIBLE_LEAP {
        return None;
    }
    decode_record(octets)
}

fn record_crc(whole: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&whole[..4]), &whole[8..])
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

pub(super) fn i64_at(octets: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array_at(octets, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(position: u64, payload: &[u8]) -> Stored {
        Stored {
            position,
            epoch: 7,
            seq: position,
            ts_ms: 1_000 + position as i64,
            octets: Arc::from(payload),
        }
    }

    fn segment(records: &[Stored]) -> Vec<u8> {
        let mut octets = SegmentHeader { first: 1, first_ts: 1_001 }.encode().to_vec();
        records.iter().for_each(|record| encode_record(record, &mut octets));
        octets
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_damaged_record_costs_itself_only() {
        let records: Vec<Stored> = (1..=5).map(|n| record(n, &[n as u8; 20])).collect();
        let whole = segment(&records);
        let one = record_octets(20);
        for at in 0..one {
            let mut octets = whole.clone();
            octets[HEADER + 2 * one + at] ^= 0x55;
            let contents = scan(&octets, 1);
            let positions: Vec<u64> = contents.records.iter().map(|record| record.position).collect();
            assert_eq!(positions, [1, 2, 4, 5], "octet {at}");
        }
    }

    #[test]
    fn every_cut_leaves_the_records_before_it() {
        let records: Vec<Stored> = (1..=4).map(|n| record(n, &[n as u8; 11])).collect();
        let whole = segment(&records);
        let one = record_octets(11);
        for cut in HEADER..=whole.len() {
            let mut octets = whole[..cut].to_vec();
            octets.resize(whole.len() + 100, 0);
            assert_eq!(scan(&octets, 1).records, records[..(cut - HEADER) / one], "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back(position: u64, epoch: u32, seq: u64, ts_ms: i64, payload in proptest::collection::vec(any::<u8>(), 1..400)) {
            let record = Stored { position, epoch, seq, ts_ms, octets: payload.into() };
            let mut octets = Vec::new();
            encode_record(&record, &mut octets);
            let length = octets.len();
            prop_assert_eq!(decode_record(&octets), Some((record, length)));
        }

        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..2000), first: u64) {
            let _ = SegmentHeader::decode(&octets);
            let _ = scan(&octets, first);
        }
    }
}
