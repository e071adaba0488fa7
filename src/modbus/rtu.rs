//! RTU frames: unit id, PDU, CRC-16; and how long octets take on the wire (Serial Line V1.02, 2.5.1).

use std::time::Duration;

/// Unit id and CRC around a PDU.
pub const OVERHEAD: usize = 3;
/// The longest frame (2.5.1.2): unit id, 253 octets of PDU, CRC.
pub const LONGEST: usize = 256;
/// The highest baud rate at which the silence is counted in characters (2.5.1.1).
const FASTEST_COUNTED: u32 = 19_200;
/// Above it the silence is fixed, or it would be too short to measure (2.5.1.1).
const FIXED_SILENCE: Duration = Duration::from_micros(1750);

/// Why octets are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("{0} octets are too few for a frame")]
    Short(usize),
    #[error("checksum {computed:#06x} where the frame says {received:#06x}")]
    Crc { received: u16, computed: u16 },
}

/// CRC-16/MODBUS: polynomial 0xA001 reflected, start 0xFFFF (Serial Line V1.02, 6.2.2).
pub fn crc16(octets: &[u8]) -> u16 {
    octets.iter().fold(0xFFFF, |crc, octet| {
        let index = usize::from((crc ^ u16::from(*octet)) & 0xFF);
        (crc >> 8) ^ CRC_TABLE[index]
    })
}

const CRC_TABLE: [u16; 256] = crc_table();

const fn crc_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = low_octet(i);
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[expect(clippy::cast_possible_truncation, reason = "an index below 256")]
const fn low_octet(i: usize) -> u16 {
    i as u16
}

/// The frame around a PDU; the CRC's low octet goes first.
pub fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(pdu.len() + OVERHEAD);
    octets.push(unit);
    octets.extend_from_slice(pdu);
    let crc = crc16(&octets);
    octets.extend_from_slice(&crc.to_le_bytes());
    octets
}

/// Unit id and PDU of a whole frame whose checksum is right.
pub fn unframe(octets: &[u8]) -> Result<(u8, &[u8]), FrameError> {
    let [unit, pdu @ .., low, high] = octets else { return Err(FrameError::Short(octets.len())) };
    if pdu.is_empty() {
        return Err(FrameError::Short(octets.len()));
    }
    let received = u16::from_le_bytes([*low, *high]);
    let computed = crc16(&octets[..octets.len() - 2]);
    if received == computed { Ok((*unit, pdu)) } else { Err(FrameError::Crc { received, computed }) }
}

/// How long octets take at a baud rate and framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    baud: u32,
    bits: u32,
}

impl Pace {
    /// One start bit, eight data bits, a parity bit or none, one or two stop bits.
    pub const fn new(baud: u32, parity_bit: bool, stop_bits: u8) -> Pace {
        // `as` widens here: a bool is 0 or 1, a u8 fits a u32.
        Pace { baud: if baud == 0 { 1 } else { baud }, bits: 9 + parity_bit as u32 + stop_bits as u32 }
    }

    /// The same with another number of data bits: ASCII framing is mostly spoken with seven.
    #[must_use]
    pub const fn with_data_bits(self, data_bits: u8) -> Pace {
        Pace { baud: self.baud, bits: (self.bits - 8) + data_bits as u32 }
    }

    /// The same characters at another speed.
    #[must_use]
    pub const fn at_baud(self, baud: u32) -> Pace {
        Pace { baud: if baud == 0 { 1 } else { baud }, bits: self.bits }
    }

    pub const fn baud(self) -> u32 {
        self.baud
    }

    /// Octets in a row.
    pub fn octets(self, n: usize) -> Duration {
        let bits = u64::try_from(n).unwrap_or(u64::MAX).saturating_mul(u64::from(self.bits));
        Duration::from_nanos(bits.saturating_mul(1_000_000_000) / u64::from(self.baud))
    }

    pub fn character(self) -> Duration {
        self.octets(1)
    }

    /// The silence between frames: 3.5 characters, fixed above 19 200 baud.
    pub fn silence(self) -> Duration {
        if self.baud > FASTEST_COUNTED { FIXED_SILENCE } else { self.octets(7) / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc16(b"123456789"), 0x4B37);
    }

    #[test]
    fn times_are_those_of_the_specification() {
        let pace = Pace::new(9600, false, 1);
        assert_eq!(pace.character(), Duration::from_nanos(1_041_666));
        assert_eq!(pace.silence(), Duration::from_nanos(3_645_833));
        assert_eq!(Pace::new(19_200, true, 1).silence(), Duration::from_nanos(2_005_208));
        assert_eq!(Pace::new(38_400, false, 1).silence(), FIXED_SILENCE);
    }

    #[test]
    fn a_frame_with_a_flipped_bit_is_refused() {
        let frame = frame(1, &[4, 0, 0, 0, 2]);
        assert_eq!(frame, [1, 4, 0, 0, 0, 2, 0x71, 0xCB]);
        for bit in 0..frame.len() * 8 {
            let mut broken = frame.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(unframe(&broken).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(unit: u8, pdu in proptest::collection::vec(any::<u8>(), 1..253)) {
            let octets = frame(unit, &pdu);
            prop_assert_eq!(unframe(&octets), Ok((unit, pdu.as_slice())));
        }

        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>) {
            let _ = unframe(&octets);
        }
    }
}
