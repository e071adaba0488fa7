//! A spool's segment on a disk that has done anything to it: every record that stands whole is found, in
//! order, and nothing else is.

use super::choices::Choices;
use linesman::spool::{Stored, inspect};
use std::fs;
use std::path::{Path, PathBuf};

/// As the page of the room `spool` describes them.
const HEADER: usize = 64;
const LONGEST_BODY: usize = 131_088;
const POSITIONS: u64 = 60_000;
const FIRST: u64 = 65_000;
const EPOCH: u32 = 0xA1B2_C3D4;
/// Octets of a cursor's slot.
const SLOT: usize = 4096;
/// A packed record of kind 1, and an anchor.
const AS_IT_IS: u8 = 1;
const ANCHOR: u8 = 255;

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

/// Every frame that stands whole behind those before it, as a record where it is one.
fn by_the_letter(segment: &[u8]) -> Vec<Stored> {
    let (mut found, mut at, mut next) = (Vec::new(), HEADER, FIRST);
    while at < segment.len() {
        let Some((position, body)) = frame(&segment[at..]).filter(|(position, _)| *position >= next) else {
            at += 1;
            continue;
        };
        at += body.len() + if body.len() > 127 { 8 } else { 7 };
        if body[0] == ANCHOR {
            continue;
        }
        next = position + 1;
        found.push(Stored {
            position,
            epoch: EPOCH,
            seq: position - FIRST + 1,
            ts_ms: -1,
            octets: body[2..].into(),
        });
    }
    found
}

/// The frame that begins here: its position and body.
fn frame(octets: &[u8]) -> Option<(u64, &[u8])> {
    let length = match octets {
        [low @ 1..=127, ..] => usize::from(*low),
        [low, high @ 1..=127, ..] if *low > 127 => usize::from(low & 127) | usize::from(*high) << 7,
        _ => return None,
    };
    let digits = if length > 127 || octets[0] > 127 { 2 } else { 1 };
    let low = u16::from_le_bytes([*octets.get(digits)?, *octets.get(digits + 1)?]);
    let position = FIRST + u64::from(low.wrapping_sub(u16::try_from(FIRST).expect("two octets")));
    let body = octets.get(digits + 6..digits + 6 + length)?;
    let whole = octets.starts_with(&encode(position, body)) && length <= LONGEST_BODY;
    let known = body[0] == ANCHOR && body.len() == 29 || body.len() > 1 && body[..2] == [AS_IT_IS, 1];
    (whole && known && position - FIRST < POSITIONS).then_some((position, body))
}

/// A cursor's file: two slots whose checksums are right, whatever they hold.
fn slots(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..2 {
        let mut slot = b"LMCURSR1".to_vec();
        for _ in 0..6 {
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
        let gaps = choices.up_to(2);
        slot.extend(u16::try_from(gaps).expect("two").to_le_bytes());
        for _ in 0..gaps {
            (0..4).for_each(|_| slot.extend(u64::from(choices.octet()).to_le_bytes()));
            slot.push(choices.octet() & 1);
            let reason = choices.some(4);
            slot.push(u8::try_from(reason.len()).expect("four"));
            slot.extend(reason);
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

/// A whole header: without one the numbers of records would be those of any anchor.
fn header(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut octets = b"LMSPOOL1".to_vec();
    octets.extend(FIRST.to_le_bytes());
    octets.extend(EPOCH.to_le_bytes());
    octets.extend([0; 4]);
    octets.extend(1u64.to_le_bytes());
    octets.extend(choices.number().to_le_bytes());
    octets.extend([0; 20]);
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
            if let Some(octet) = segment.get_mut(at).filter(|_| at >= HEADER) {
                *octet ^= other;
            }
        }
        3 => segment.truncate(segment.len().saturating_sub(usize::from(choices.octet())).max(HEADER)),
        _ => {
            let position = match choices.up_to(3) {
                3 => choices.number() % (1 << 20),
                _ => FIRST + u64::from(choices.octet()),
            };
            let mut body = vec![AS_IT_IS, 1];
            if choices.octet() == 7 {
                // An anchor that says what is true already.
                body = vec![ANCHOR];
                body.extend(EPOCH.to_le_bytes());
                body.extend((position.wrapping_sub(FIRST).wrapping_add(1)).to_le_bytes());
                body.extend(position.to_le_bytes());
                body.extend(0u64.to_le_bytes());
            } else {
                body.extend(choices.some(200));
            }
            segment.extend(encode(position, &body));
        }
    }
}

fn encode(position: u64, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_le_bytes()[0];
    let mut octets =
        if body.len() > 127 { vec![length | 128, (body.len() >> 7).to_le_bytes()[0]] } else { vec![length] };
    octets.extend(&position.to_le_bytes()[..2]);
    let crc = castagnoli(&[&FIRST.to_le_bytes()[..], &octets, body].concat());
    octets.extend(crc.to_le_bytes());
    octets.extend(body);
    octets
}
