//! ASCII frames: a colon, unit id, PDU and LRC as hexadecimal digits, CR LF (Serial Line V1.02, 2.5.2).

/// Characters around a PDU's digits: colon, two of the unit id, two of the LRC, CR, LF.
pub const OVERHEAD: usize = 7;
/// The longest frame (2.5.2.1): the digits of unit id, 253 octets of PDU and LRC between colon and CR LF.
pub const LONGEST: usize = octets_for(MOST_PDU);
/// The longest PDU (V1.1b3, 4.1).
const MOST_PDU: usize = 253;
const COLON: u8 = b':';
const END: &[u8] = b"\r\n";

/// Why characters are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("{0} characters are too few for a frame")]
    Short(usize),
    #[error("{0} characters are more than the {LONGEST} of the longest frame")]
    Long(usize),
    #[error("the frame begins with {0:#04x}, not with a colon")]
    Begin(u8),
    #[error("the frame does not end with CR LF")]
    End,
    #[error("{0} digits make no whole octets")]
    Odd(usize),
    #[error("{0:#04x} is no hexadecimal digit")]
    Digit(u8),
    #[error("checksum {computed:#04x} where the frame says {received:#04x}")]
    Lrc { received: u8, computed: u8 },
}

/// Characters on the wire for a PDU of so many octets.
pub const fn octets_for(pdu_octets: usize) -> usize {
    OVERHEAD + 2 * pdu_octets
}

/// The sum of the octets without carries, as its two's complement (6.2.1).
pub fn lrc(octets: &[u8]) -> u8 {
    octets.iter().fold(0u8, |sum, octet| sum.wrapping_add(*octet)).wrapping_neg()
}

/// The frame around a PDU. A PDU longer than the specification allows is cut.
pub fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(pdu.len() + 2);
    octets.push(unit);
    octets.extend_from_slice(&pdu[..pdu.len().min(MOST_PDU)]);
    octets.push(lrc(&octets));
    let mut characters = Vec::with_capacity(OVERHEAD + 2 * octets.len());
    characters.push(COLON);
    for octet in octets {
        characters.extend([digit(octet >> 4), digit(octet & 0xF)]);
    }
    characters.extend_from_slice(END);
    characters
}

/// Unit id and PDU of one whole frame, from its colon to its line feed, whose checksum is right.
/// Lower-case digits are read too: not every meter keeps to the capitals of the specification.
pub fn unframe(characters: &[u8]) -> Result<(u8, Vec<u8>), FrameError> {
    let length = characters.len();
    if length > LONGEST {
        return Err(FrameError::Long(length));
    }
    let [begin, rest @ ..] = characters else { return Err(FrameError::Short(0)) };
    if *begin != COLON {
        return Err(FrameError::Begin(*begin));
    }
    let digits = rest.strip_suffix(END).ok_or(FrameError::End)?;
    let octets = octets_of(digits)?;
    let [unit, pdu @ .., received] = octets.as_slice() else { return Err(FrameError::Short(length)) };
    if pdu.is_empty() {
        return Err(FrameError::Short(length));
    }
    let computed = lrc(&octets[..octets.len() - 1]);
    if *received == computed {
        Ok((*unit, pdu.to_vec()))
    } else {
        Err(FrameError::Lrc { received: *received, computed })
    }
}

/// The octets that these digits stand for.
pub fn octets_of(digits: &[u8]) -> Result<Vec<u8>, FrameError> {
    let values = digits.iter().map(|character| value(*character)).collect::<Result<Vec<u8>, FrameError>>()?;
    if values.len().is_multiple_of(2) {
        Ok(values.chunks_exact(2).map(|pair| (pair[0] << 4) | pair[1]).collect())
    } else {
        Err(FrameError::Odd(values.len()))
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + (nibble - 10) }
}

const fn value(character: u8) -> Result<u8, FrameError> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'A'..=b'F' => Ok(character - b'A' + 10),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        _ => Err(FrameError::Digit(character)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_the_published_one() {
        // The LRC's worked example: 02 07 sums up to 9, so F7.
        assert_eq!(frame(2, &[7]), b":0207F7\r\n");
        assert_eq!(unframe(b":0207F7\r\n"), Ok((2, vec![7])));
        assert_eq!(frame(1, &[4, 0, 0, 0, 2]), b":010400000002F9\r\n");
        assert_eq!(unframe(b":0207f7\r\n"), Ok((2, vec![7])));
    }

    #[test]
    fn what_is_no_frame_is_said_to_be_why() {
        assert_eq!(unframe(b""), Err(FrameError::Short(0)));
        assert_eq!(unframe(b":\r\n"), Err(FrameError::Short(3)));
        assert_eq!(unframe(b":01FF\r\n"), Err(FrameError::Short(7)));
        assert_eq!(unframe(b"0207F7\r\n"), Err(FrameError::Begin(b'0')));
        assert_eq!(unframe(b":0207F7\n"), Err(FrameError::End));
        assert_eq!(unframe(b":0207F\r\n"), Err(FrameError::Odd(5)));
        assert_eq!(unframe(b":02:7F7\r\n"), Err(FrameError::Digit(b':')));
        assert_eq!(unframe(b":0207F6\r\n"), Err(FrameError::Lrc { received: 0xF6, computed: 0xF7 }));
        let longest = frame(1, &[0xA5; 253]);
        assert_eq!((longest.len(), LONGEST), (513, 513));
        assert!(unframe(&longest).is_ok());
        assert_eq!(frame(1, &[0xA5; 254]), longest);
        assert_eq!(unframe(&[b'0'; 514]), Err(FrameError::Long(514)));
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(unit: u8, pdu in proptest::collection::vec(any::<u8>(), 1..=253)) {
            let characters = frame(unit, &pdu);
            prop_assert_eq!(characters.len(), octets_for(pdu.len()));
            prop_assert_eq!(unframe(&characters.to_ascii_lowercase()), Ok((unit, pdu.clone())));
            prop_assert_eq!(unframe(&characters), Ok((unit, pdu)));
        }

        #[test]
        fn a_frame_with_a_changed_character_is_refused_or_the_same(
            pdu in proptest::collection::vec(any::<u8>(), 1..20), at: prop::sample::Index, other: u8,
        ) {
            let mut characters = frame(1, &pdu);
            let at = at.index(characters.len());
            characters[at] = other;
            if let Ok(read) = unframe(&characters) {
                prop_assert_eq!(read, (1, pdu));
            }
        }

        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>) {
            let _ = unframe(&octets);
        }

        #[test]
        fn no_characters_make_it_panic(text in ":[0-9a-fA-F]{0,20}\r\n") {
            let _ = unframe(text.as_bytes());
        }
    }
}
