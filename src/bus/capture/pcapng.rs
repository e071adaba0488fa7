//! pcap-ng, blocks → octets: what a capture is written as (draft-ietf-opsawg-pcapng; sections in brackets).
//!
//! Little-endian, microseconds since 1970 UTC, direction in `epb_flags`. The other way is `decode`.

/// Section Header Block [4.1]; the same octets in both orders.
pub(super) const SECTION: u32 = 0x0A0D_0D0A;
/// Interface Description Block [4.2].
pub(super) const INTERFACE: u32 = 1;
/// Interface Statistics Block [4.6].
pub(super) const STATISTICS: u32 = 5;
/// Enhanced Packet Block [4.3].
pub(super) const PACKET: u32 = 6;
/// The Byte-Order Magic: what it is read as tells the order of a section [4.1].
pub(super) const ORDER_MAGIC: u32 = 0x1A2B_3C4D;

/// Options: the codes are those of the block that they stand in [3.5, 4.1, 4.2, 4.3, 4.6].
pub(super) mod option {
    pub const END: u16 = 0;
    pub const COMMENT: u16 = 1;
    pub const SHB_USERAPPL: u16 = 4;
    pub const IF_NAME: u16 = 2;
    pub const IF_DESCRIPTION: u16 = 3;
    pub const IF_SPEED: u16 = 8;
    pub const IF_TSRESOL: u16 = 9;
    pub const IF_TSOFFSET: u16 = 14;
    pub const EPB_FLAGS: u16 = 2;
    pub const ISB_IFDROP: u16 = 5;
}

/// Timestamps are so many powers of ten below a second.
const MICROSECONDS: u8 = 6;
/// A text in an option is cut after so many characters: its length field has sixteen bits.
const LONGEST_TEXT: usize = 4096;

/// Which way a packet went, as seen from the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We said it: outbound.
    Sent,
    /// We heard it: inbound.
    Heard,
}

impl Direction {
    /// The two lowest bits of the flags word [4.3.1].
    pub(super) const fn bits(self) -> u32 {
        match self {
            Direction::Heard => 0b01,
            Direction::Sent => 0b10,
        }
    }

    pub(super) const fn from_bits(flags: u32) -> Option<Direction> {
        match flags & 0b11 {
            0b01 => Some(Direction::Heard),
            0b10 => Some(Direction::Sent),
            _ => None,
        }
    }
}

/// How a file, or a new section of one, begins.
pub(super) fn section(application: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    body.extend_from_slice(&ORDER_MAGIC.to_le_bytes());
    // Version 1.0; how long the section will be is not known.
    body.extend_from_slice(&1u16.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    body.extend_from_slice(&(-1i64).to_le_bytes());
    put_text(&mut body, option::SHB_USERAPPL, application);
    put_option(&mut body, option::END, &[]);
    block(SECTION, &body)
}

/// One line; `speed` in bits per second.
pub(super) fn interface(link: u16, name: &str, description: &str, speed: Option<u32>) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    body.extend_from_slice(&link.to_le_bytes());
    // Reserved, then the snapshot length: no limit.
    body.extend_from_slice(&[0; 6]);
    put_text(&mut body, option::IF_NAME, name);
    put_text(&mut body, option::IF_DESCRIPTION, description);
    if let Some(speed) = speed {
        put_option(&mut body, option::IF_SPEED, &u64::from(speed).to_le_bytes());
    }
    put_option(&mut body, option::IF_TSRESOL, &[MICROSECONDS]);
    put_option(&mut body, option::END, &[]);
    block(INTERFACE, &body)
}

/// One packet: what stands before the octets, and the octets themselves.
pub(super) fn packet(
    interface: u32,
    at_utc_nanos: i64,
    direction: Direction,
    head: &[u8],
    octets: &[u8],
) -> Vec<u8> {
    let length = u32_of(head.len() + octets.len());
    let mut body = Vec::with_capacity(48 + head.len() + octets.len());
    body.extend_from_slice(&interface.to_le_bytes());
    put_stamp(&mut body, at_utc_nanos);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(head);
    body.extend_from_slice(octets);
    pad(&mut body);
    put_option(&mut body, option::EPB_FLAGS, &direction.bits().to_le_bytes());
    put_option(&mut body, option::END, &[]);
    block(PACKET, &body)
}

/// How many packets of an interface are missing since its capture began.
pub(super) fn losses(interface: u32, at_utc_nanos: i64, lost: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(96);
    body.extend_from_slice(&interface.to_le_bytes());
    put_stamp(&mut body, at_utc_nanos);
    put_text(&mut body, option::COMMENT, &format!("{lost} pieces were not recorded: no room to queue them"));
    put_option(&mut body, option::ISB_IFDROP, &lost.to_le_bytes());
    put_option(&mut body, option::END, &[]);
    block(STATISTICS, &body)
}

/// The frame around every block [3.1]: type, length, body, length once more.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32_of(body.len() + 12).to_le_bytes();
    let mut octets = Vec::with_capacity(body.len() + 12);
    octets.extend_from_slice(&kind.to_le_bytes());
    octets.extend_from_slice(&length);
    octets.extend_from_slice(body);
    octets.extend_from_slice(&length);
    octets
}

fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend(value.iter().take(usize::from(length)));
    pad(body);
}

fn put_text(body: &mut Vec<u8>, code: u16, text: &str) {
    let cut: String = text.chars().take(LONGEST_TEXT).collect();
    put_option(body, code, cut.as_bytes());
}

/// The upper half first, whatever the order of the section [4.3]. There is nothing before 1970.
fn put_stamp(body: &mut Vec<u8>, utc_nanos: i64) {
    let micros = u64::try_from(utc_nanos / 1000).unwrap_or(0);
    let [a, b, c, d, e, f, g, h] = micros.to_be_bytes();
    body.extend_from_slice(&[d, c, b, a]);
    body.extend_from_slice(&[h, g, f, e]);
}

fn pad(octets: &mut Vec<u8>) {
    octets.resize(octets.len().next_multiple_of(4), 0);
}

/// No frame comes near the limit: a block is a frame, or a line of text.
fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_written_octet_by_octet_as_the_draft_draws_it() {
        let written = packet(1, 0x0102_0304_0506_0000, Direction::Sent, &[0xAA], &[1, 2]);
        // 0x0102030405060000 ns are 0x420D0F5D722D µs.
        let (high, low) = (0x420Du32, 0x0F5D_722Du32);
        let mut expected = vec![6, 0, 0, 0, 48, 0, 0, 0, 1, 0, 0, 0];
        expected.extend(high.to_le_bytes());
        expected.extend(low.to_le_bytes());
        expected.extend([3, 0, 0, 0, 3, 0, 0, 0, 0xAA, 1, 2, 0]);
        expected.extend([2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0]);
        assert_eq!(written, expected);
    }

    #[test]
    fn every_block_is_a_multiple_of_four_and_says_its_length_twice() {
        for length in 0..9 {
            let text = "x".repeat(length);
            for block in [
                section(&text),
                interface(252, &text, "é", Some(9600)),
                packet(0, 0, Direction::Heard, &[], text.as_bytes()),
                losses(0, i64::MIN, 7),
            ] {
                let said = u32::from_le_bytes(block[4..8].try_into().unwrap());
                assert_eq!((block.len() % 4, said as usize), (0, block.len()));
                assert_eq!(block[4..8], block[block.len() - 4..]);
            }
        }
    }
}
