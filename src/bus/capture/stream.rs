//! TCP segments of a capture → what Modbus said in them, each direction of a connection by itself.

use super::envelope::Segment;
use crate::modbus::mbap::{self, Adu};
use crate::modbus::rtu;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A segment so far from the one before it belongs to another connection between the same ports.
const ANOTHER_CONNECTION: u32 = 1 << 20;

/// What came out of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Adu(Adu),
    /// An RTU frame through a serial device server.
    Rtu(Vec<u8>),
    /// Octets that are no Modbus.
    Strange,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    flows: BTreeMap<(usize, SocketAddr, SocketAddr), Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    next: Option<u32>,
    arrived: Vec<u8>,
}

impl Streams {
    /// Takes a segment of an interface in; what was sent again is passed over.
    pub(super) fn take(&mut self, interface: usize, segment: &Segment<'_>) -> Vec<Said> {
        let flow = self.flows.entry((interface, segment.from, segment.to)).or_default();
        if segment.opens {
            *flow = Flow { next: Some(segment.sequence.wrapping_add(1)), arrived: Vec::new() };
            return Vec::new();
        }
        let new = flow.new_octets(segment);
        if new.is_empty() { Vec::new() } else { flow.split(new) }
    }
}

impl Flow {
    fn new_octets<'a>(&mut self, segment: &Segment<'a>) -> &'a [u8] {
        let sequence = segment.sequence;
        let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let known = self.next.map_or(0, |next| next.wrapping_sub(sequence));
        let again = known < ANOTHER_CONNECTION;
        if again && known >= length {
            return &[];
        }
        if !again || (known == 0 && self.next.is_none()) {
            // A segment is missing, or it is the first: whatever was begun will not be finished.
            self.arrived.clear();
        }
        self.next = Some(sequence.wrapping_add(length));
        let skip = if again { usize::try_from(known).unwrap_or(0) } else { 0 };
        segment.payload.get(skip..).unwrap_or_default()
    }

    fn split(&mut self, new: &[u8]) -> Vec<Said> {
        if self.arrived.is_empty() && !is_adu(new) && rtu::unframe(new).is_ok() {
            return vec![Said::Rtu(new.to_vec())];
        }
        self.arrived.extend_from_slice(new);
        let mut said = Vec::new();
        loop {
            match mbap::take(&mut self.arrived) {
                Ok(Some(adu)) => said.push(Said::Adu(adu)),
                Ok(None) => return said,
                Err(_) => {
                    // The next segment may begin with a header again.
                    self.arrived.clear();
                    said.push(Said::Strange);
                    return said;
                }
            }
        }
    }
}

/// A header of Modbus TCP that fits the length, with a PDU of more than a function code behind it. (The
/// question of an RTU frame for two registers from 0 on has such a header by chance, and no such PDU.)
fn is_adu(octets: &[u8]) -> bool {
    let [_, _, 0, 0, high, low, ..] = *octets else { return false };
    let length = usize::from(u16::from_be_bytes([high, low]));
    length > 2 && length + mbap::HEADER - 1 == octets.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(sequence: u32, payload: &[u8]) -> Segment<'_> {
        let (from, to) = ("10.0.0.1:49152".parse().unwrap(), "10.0.0.2:502".parse().unwrap());
        Segment { from, to, sequence, opens: false, payload }
    }

    fn adu(transaction: u16) -> Said {
        Said::Adu(Adu { transaction, unit: 1, pdu: vec![3, 0, 0, 0, 1] })
    }

    #[test]
    fn what_was_sent_again_is_taken_once() {
        let mut streams = Streams::default();
        let (a, b) = (mbap::encode(1, 1, &[3, 0, 0, 0, 1]), mbap::encode(2, 1, &[3, 0, 0, 0, 1]));
        assert_eq!(streams.take(0, &segment(100, &a)), [adu(1)]);
        assert_eq!(streams.take(0, &segment(100, &a)), []);
        let both = [&a[..], &b].concat();
        assert_eq!(streams.take(0, &segment(100, &both)), [adu(2)]);
    }

    #[test]
    fn what_is_sent_again_late_does_not_disturb_what_has_begun() {
        let mut streams = Streams::default();
        let (a, b) = (mbap::encode(1, 1, &[3, 0, 0, 0, 1]), mbap::encode(2, 1, &[3, 0, 0, 0, 1]));
        assert_eq!(streams.take(0, &segment(100, &a)), [adu(1)]);
        assert_eq!(streams.take(0, &segment(112, &b[..6])), []);
        assert_eq!(streams.take(0, &segment(100, &a)), []);
        assert_eq!(streams.take(0, &segment(118, &b[6..])), [adu(2)]);
    }

    #[test]
    fn after_a_segment_that_is_missing_it_goes_on_with_the_next_header() {
        let mut streams = Streams::default();
        let a = mbap::encode(1, 1, &[3, 0, 0, 0, 1]);
        assert_eq!(streams.take(0, &segment(0, &a[..5])), []);
        assert_eq!(streams.take(0, &segment(50, &a)), [adu(1)]);
    }

    #[test]
    fn a_device_servers_rtu_frames_are_told_from_modbus_tcp() {
        // As a header: transaction 0x0104, protocol 0, length 2.
        let question = rtu::frame(1, &[4, 0, 0, 0, 2]);
        let mut streams = Streams::default();
        assert_eq!(streams.take(0, &segment(0, &question)), [Said::Rtu(question.clone())]);
        assert_eq!(streams.take(0, &segment(8, b"GET / HTTP/1.1\r\n")), [Said::Strange]);
    }

    proptest! {
        #[test]
        fn adus_come_out_however_the_stream_is_cut(count in 1u16..6, cut in 1usize..40) {
            let octets: Vec<u8> = (0..count).flat_map(|n| mbap::encode(n, 1, &[3, 0, 0, 0, 1])).collect();
            let (mut streams, mut sequence, mut said) = (Streams::default(), u32::MAX - 20, Vec::new());
            for piece in octets.chunks(cut) {
                said.extend(streams.take(0, &segment(sequence, piece)));
                sequence = sequence.wrapping_add(u32::try_from(piece.len()).unwrap());
            }
            prop_assert_eq!(said, (0..count).map(adu).collect::<Vec<_>>());
        }
    }
}
