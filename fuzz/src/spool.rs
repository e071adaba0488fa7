//! A spool's segment on a disk that has done anything to it: every record that stands whole is found, in
//! order, and nothing else is.

use super::choices::Choices;
use linesman::spool::{Stored, inspect};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As the page of the room `spool` describes them.
const SEGMENT_HEADER: usize = 32;
const RECORD_HEADER: usize = 36;
/// How far a position may be ahead and still be believed.
const LEAP: u64 = 1 << 40;
const FIRST: u64 = 1;
/// Octets of a cursor's slot.
const SLOT: usize = 2048;

pub fn run(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    let folder = tempfile::Builder::new().prefix("linesman-fuzz-").tempdir_in(shared()).expect("a folder");
    let v1 = folder.path().join("v1");
    fs::create_dir(&v1).expect("a folder in it");
    if choices.flag() {
        fs::write(v1.join("scada.cursor"), slots(&mut choices)).expect("a file in it");
    }
    let mut segment = header(&mut choices);
    while !choices.is_empty() {
        put_piece(&mut choices, &mut segment);
    }
    fs::write(v1.join(format!("{FIRST:020}.seg")), &segment).expect("a file in it");
    let mut found = Vec::new();
    let seen = inspect(folder.path(), |record| found.push(record.clone())).expect("the folder is there");
    assert_eq!(found, by_the_letter(&segment));
    assert_eq!(seen.records, found.len() as u64);
    for (name, account) in &seen.cursors {
        let dropped: u64 = account.dropped.values().sum();
        let settled = account.delivered.saturating_add(account.left_out).saturating_add(dropped);
        assert!(name == "scada" && settled < u64::MAX, "{account:?}");
    }
}

/// Memory, where there is such a place: what is fuzzed is no disk.
fn shared() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Every record that stands whole behind those before it.
fn by_the_letter(segment: &[u8]) -> Vec<Stored> {
    let (mut found, mut at, mut next) = (Vec::new(), SEGMENT_HEADER, FIRST);
    while at < segment.len() {
        match decode(&segment[at..]).filter(|record| (next..=next + LEAP).contains(&record.position)) {
            Some(record) => {
                at += RECORD_HEADER + record.octets.len();
                next = record.position + 1;
                found.push(record);
            }
            None => at += 1,
        }
    }
    found
}

fn decode(octets: &[u8]) -> Option<Stored> {
    let header = octets.get(..RECORD_HEADER)?;
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| header[at + n]));
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| header[at + n]));
    let payload = octets.get(RECORD_HEADER..)?.get(..usize::try_from(word(0)).ok()?)?;
    let record = Stored {
        position: number(8),
        epoch: word(16),
        seq: number(20),
        ts_ms: number(28).cast_signed(),
        octets: payload.into(),
    };
    (!payload.is_empty() && octets.starts_with(&encode(&record))).then_some(record)
}

/// A cursor's file: two slots whose checksums are right, whatever they hold.
fn slots(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..2 {
        let mut slot = b"LMCURSR1".to_vec();
        for _ in 0..5 {
            slot.extend(
                if choices.flag() { choices.number() } else { u64::from(choices.octet()) }.to_le_bytes(),
            );
        }
        let reasons = choices.up_to(3);
        slot.extend(u16::try_from(reasons).expect("three").to_le_bytes());
        for _ in 0..reasons {
            let reason = choices.some(4);
            slot.push(u8::try_from(reason.len()).expect("four"));
            slot.extend(reason);
            slot.extend(choices.number().to_le_bytes());
        }
        let ranges = choices.up_to(3);
        slot.extend(u16::try_from(ranges).expect("three").to_le_bytes());
        for _ in 0..2 * ranges {
            slot.extend(
                if choices.flag() { choices.number() } else { u64::from(choices.octet()) }.to_le_bytes(),
            );
        }
        slot.extend(choices.some(8));
        slot.resize(SLOT - 4, 0);
        let crc = castagnoli(&slot);
        slot.extend(crc.to_le_bytes());
        file.extend(slot);
    }
    file
}

/// CRC-32C, bit by bit.
fn castagnoli(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |crc, octet| {
        let mut crc = crc ^ u32::from(*octet);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
        crc
    })
}

/// A whole header, mostly.
fn header(choices: &mut Choices<'_>) -> Vec<u8> {
    if choices.octet() == 1 {
        return choices.some(40).to_vec();
    }
    let mut octets = b"LMSPOOL1".to_vec();
    octets.extend(FIRST.to_le_bytes());
    octets.extend(choices.number().to_le_bytes());
    octets.extend([0; 4]);
    let crc = castagnoli(&octets);
    octets.extend(crc.to_le_bytes());
    octets
}

fn put_piece(choices: &mut Choices<'_>, segment: &mut Vec<u8>) {
    match choices.up_to(7) {
        0 => segment.extend(choices.some(60)),
        1 => segment.extend(std::iter::repeat_n(0, usize::from(choices.octet()))),
        2 => {
            let at = usize::from(choices.word()) % segment.len().max(1);
            let other = choices.octet();
            if let Some(octet) = segment.get_mut(at).filter(|_| at >= SEGMENT_HEADER) {
                *octet ^= other;
            }
        }
        3 => segment.truncate(segment.len().saturating_sub(usize::from(choices.octet())).max(SEGMENT_HEADER)),
        _ => {
            let position = match choices.up_to(3) {
                3 => choices.number(),
                _ => u64::from(choices.octet()),
            };
            let octets: Arc<[u8]> = choices.some(60).into();
            let octets = if octets.is_empty() { Arc::from([0].as_slice()) } else { octets };
            let (epoch, seq) = (u32::from(choices.octet()), choices.number());
            segment.extend(encode(&Stored { position, epoch, seq, ts_ms: -1, octets }));
        }
    }
}

fn encode(record: &Stored) -> Vec<u8> {
    let mut body = record.position.to_le_bytes().to_vec();
    body.extend(record.epoch.to_le_bytes());
    body.extend(record.seq.to_le_bytes());
    body.extend(record.ts_ms.to_le_bytes());
    body.extend_from_slice(&record.octets);
    let length = u32::try_from(record.octets.len()).expect("a short record").to_le_bytes();
    let crc = castagnoli(&[&length[..], &body].concat());
    [&length[..], &crc.to_le_bytes(), &body].concat()
}
