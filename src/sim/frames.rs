//! The meters' ear and mouth on a line: requests out of a stream of octets, and frames around replies.

use crate::modbus::{Ask, Framing, IdLevel, ascii, rtu};

/// More than this is no request.
pub(super) const MOST: usize = 512;

/// What an ear makes of what it has heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Request(Request),
    /// Octets that are no request, whatever follows.
    Nonsense,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub unit: u8,
    pub pdu: Vec<u8>,
    /// As it came.
    pub octets: Vec<u8>,
}

/// Octets that have come and are no whole request yet.
#[derive(Debug)]
pub(super) struct Ear {
    framing: Framing,
    heard: Vec<u8>,
}

impl Ear {
    pub(super) fn new(framing: Framing) -> Ear {
        Ear { framing, heard: Vec::new() }
    }

    pub(super) fn hear(&mut self, octets: &[u8]) {
        self.heard.extend_from_slice(octets);
        self.heard.truncate(MOST);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// Forgets what has come, as silence makes a server do; says whether there was something.
    pub(super) fn forget(&mut self) -> bool {
        let something = !self.heard.is_empty();
        self.heard.clear();
        something
    }

    /// The next request, as soon as it is whole.
    pub(super) fn take(&mut self) -> Option<Heard> {
        match self.framing {
            Framing::Rtu => self.take_rtu().map(Heard::Request),
            Framing::Ascii => self.take_ascii(),
        }
    }

    /// A request by its length and checksum, as a server on a wire knows it by the silence after it.
    fn take_rtu(&mut self) -> Option<Request> {
        let length = self.heard.get(1).and_then(|code| length_of(*code)).unwrap_or(self.heard.len());
        let (unit, pdu) = rtu::unframe(self.heard.get(..length)?).ok()?;
        let (unit, pdu) = (unit, pdu.to_vec());
        Some(Request { unit, pdu, octets: self.heard.drain(..length).collect() })
    }

    /// A colon begins a frame whatever came before it, a line feed ends it (Serial Line V1.02, 2.5.2).
    fn take_ascii(&mut self) -> Option<Heard> {
        let Some(end) = self.heard.iter().position(|octet| *octet == b'\n') else {
            let begun = self.heard.iter().rposition(|octet| *octet == b':');
            let lost = begun.unwrap_or(self.heard.len());
            self.heard.drain(..lost);
            return (lost > 0).then_some(Heard::Nonsense);
        };
        let line: Vec<u8> = self.heard.drain(..=end).collect();
        let begin = line.iter().rposition(|octet| *octet == b':');
        let read = begin.and_then(|begin| Some((begin, ascii::unframe(line.get(begin..)?).ok()?)));
        let Some((begin, (unit, pdu))) = read else { return Some(Heard::Nonsense) };
        Some(Heard::Request(Request { unit, pdu, octets: line[begin..].to_vec() }))
    }
}

/// Octets of an RTU request of this function, where it has one length only.
fn length_of(function: u8) -> Option<usize> {
    let pdu = match function {
        1..=4 | 8 => 5,
        0x11 => Ask::ServerId.pdu().len(),
        0x2B => Ask::Identification { level: IdLevel::Basic, object: 0 }.pdu().len(),
        _ => return None,
    };
    Some(pdu + rtu::OVERHEAD)
}

pub(super) fn frame(framing: Framing, unit: u8, pdu: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Rtu => rtu::frame(unit, pdu),
        Framing::Ascii => ascii::frame(unit, pdu),
    }
}

/// Makes a frame's checksum a wrong one; the frame keeps its form.
pub(super) fn break_checksum(framing: Framing, frame: &mut [u8]) {
    match (framing, frame) {
        (Framing::Rtu, [.., last]) => *last ^= 0x5A,
        (Framing::Ascii, [.., digit, _, _]) => *digit = if *digit == b'0' { b'1' } else { b'0' },
        (Framing::Rtu | Framing::Ascii, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(framing: Framing, unit: u8, pdu: &[u8]) -> Heard {
        Heard::Request(Request { unit, pdu: pdu.to_vec(), octets: frame(framing, unit, pdu) })
    }

    fn asks() -> Vec<Vec<u8>> {
        vec![
            vec![4, 0, 0, 0, 2],
            Ask::Echo(0xA5A5).pdu(),
            Ask::ServerId.pdu(),
            Ask::Identification { level: IdLevel::Regular, object: 0 }.pdu(),
        ]
    }

    #[test]
    fn requests_in_a_row_are_told_apart() {
        for framing in [Framing::Rtu, Framing::Ascii] {
            let mut ear = Ear::new(framing);
            ear.hear(&asks().iter().flat_map(|pdu| frame(framing, 7, pdu)).collect::<Vec<u8>>());
            for pdu in asks() {
                assert_eq!(ear.take(), Some(request(framing, 7, &pdu)), "{framing:?}");
            }
            assert_eq!((ear.take(), ear.forget()), (None, false));
        }
    }

    #[test]
    fn a_colon_begins_anew_and_what_was_before_is_nonsense() {
        let mut ear = Ear::new(Framing::Ascii);
        ear.hear(b"\x00\xFF");
        assert_eq!(ear.take(), Some(Heard::Nonsense));
        ear.hear(b":0104");
        assert_eq!(ear.take(), None);
        ear.hear(&frame(Framing::Ascii, 1, &[0x11]));
        assert_eq!(ear.take(), Some(request(Framing::Ascii, 1, &[0x11])));
        ear.hear(b":0104FF\r\n");
        assert_eq!(ear.take(), Some(Heard::Nonsense), "a wrong checksum");
    }

    #[test]
    fn a_broken_checksum_is_wrong() {
        for unit in 1..=247 {
            let mut rtu = frame(Framing::Rtu, unit, &[3, 2, 0, 1]);
            break_checksum(Framing::Rtu, &mut rtu);
            assert!(rtu::unframe(&rtu).is_err());
            let mut ascii = frame(Framing::Ascii, unit, &[3, 2, 0, 1]);
            break_checksum(Framing::Ascii, &mut ascii);
            assert!(matches!(ascii::unframe(&ascii), Err(ascii::FrameError::Lrc { .. })));
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_an_ear_panic_or_listen_for_ever(pieces: Vec<Vec<u8>>, is_ascii: bool) {
            let mut ear = Ear::new(if is_ascii { Framing::Ascii } else { Framing::Rtu });
            for piece in &pieces {
                ear.hear(piece);
                let mut times = 0;
                while ear.take().is_some() {
                    times += 1;
                    prop_assert!(times <= MOST);
                }
            }
        }
    }
}
