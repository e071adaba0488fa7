//! Messages that are larger than what is taken: seen by their head, before the rest has arrived, acknowledged, and passed
//! over. They are somebody else's, and no reason to end the session: a retained one would come again in the next. Pure.

use super::wire::LARGEST_PACKET;
use bytes::{Buf, BytesMut};

/// What is being passed over.
#[derive(Debug, Default)]
pub(super) struct Giants {
    /// Octets that are still to come.
    left: usize,
}

impl Giants {
    /// Takes them out of what has arrived; `true` where more of one has to come.
    pub(super) fn pass(
        &mut self,
        input: &mut BytesMut,
        mut acknowledge: impl FnMut(u16) -> Result<(), String>,
    ) -> Result<bool, String> {
        loop {
            if self.left == 0 {
                let Some(Giant { octets, packet }) = Giant::of(input) else { return Ok(false) };
                self.left = octets;
                packet.map_or(Ok(()), &mut acknowledge)?;
            }
            let gone = self.left.min(input.len());
            input.advance(gone);
            self.left -= gone;
            if self.left > 0 {
                return Ok(true);
            }
        }
    }
}

/// A PUBLISH (MQTT 3.1.1 and 5, section 3.3) of too many octets.
#[derive(Debug, PartialEq, Eq)]
struct Giant {
    /// Of the whole packet.
    octets: usize,
    /// Where it wants to be acknowledged.
    packet: Option<u16>,
}

impl Giant {
    /// At the beginning of what has arrived, as soon as that can be said.
    fn of(input: &[u8]) -> Option<Giant> {
        let head = *input.first()?;
        let qos = head >> 1 & 3;
        if head >> 4 != 3 {
            return None;
        }
        let (length, behind) = remaining_length(input.get(1..)?)?;
        let octets = 1 + behind + length;
        if octets <= LARGEST_PACKET {
            return None;
        }
        let body = input.get(1 + behind..)?;
        let topic = usize::from(u16_at(body, 0)?);
        let packet = u16_at(body, 2 + topic)?;
        Some(Giant { octets, packet: (qos == 1).then_some(packet) })
    }
}

/// And of how many octets it is (section 2.2.3 of 3.1.1).
fn remaining_length(input: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, octet) in input.iter().take(4).enumerate() {
        length |= usize::from(octet & 0x7f) << (7 * index);
        if octet & 0x80 == 0 {
            return Some((length, index + 1));
        }
    }
    None
}

fn u16_at(input: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*input.get(at)?, *input.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_too_large_by_its_head() {
        // 2 097 151 octets behind the head, to the topic `t`, as packet 7.
        let large = b"\x32\xff\xff\x7f\x00\x01t\x00\x07rest";
        assert_eq!(Giant::of(large), Some(Giant { octets: 2_097_155, packet: Some(7) }));
        for arrived in 0..9 {
            assert_eq!(Giant::of(&large[..arrived]), None, "{arrived}");
        }
        assert_eq!(Giant::of(b"\x30\xff\xff\x7f\x00\x01t\x00\x07").unwrap().packet, None, "QoS 0");
        assert_eq!(Giant::of(b"\x32\x7f\x00\x01t\x00\x07"), None, "small");
        assert_eq!(Giant::of(b"\x40\xff\xff\x7f\x00\x01t\x00\x07"), None, "no message");
    }
}
