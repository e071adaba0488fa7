//! What was heard and not asked for: whose frame it was, as far as a bystander can tell. Pure.

use crate::modbus::{Framing, ascii, rtu};

/// What kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayKind {
    /// A reply with data.
    Reply,
    Refusal,
    /// Somebody else asks: there is another master.
    Request,
}

/// A valid frame that was not the answer to what we asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray {
    pub kind: StrayKind,
    pub unit: u8,
    /// Without the bit that marks a refusal.
    pub function: u8,
    /// Octets of data of a reply; 0 otherwise.
    pub data_octets: usize,
}

/// Reads, single writes, diagnostics: requests of eight octets as RTU frames.
const SHORT_REQUEST: usize = 8;
const REFUSAL: usize = 5;
/// Unit id, function, address, count, count of octets, checksum.
const WRITE_HEAD: usize = 9;

/// The first valid frame, wherever it begins, and where it begins and ends.
pub(super) fn first(octets: &[u8], framing: Framing) -> Option<(std::ops::Range<usize>, Stray)> {
    match framing {
        Framing::Rtu => (0..octets.len()).find_map(|at| {
            let (length, stray) = rtu_at(octets.get(at..)?)?;
            Some((at..at + length, stray))
        }),
        Framing::Ascii => {
            let mut from = 0;
            while let Some(range) = ascii_span(octets, from) {
                if let Ok((unit, pdu)) = ascii::unframe(octets.get(range.clone())?)
                    && let Some(stray) = stray(unit, &pdu)
                {
                    return Some((range, stray));
                }
                from = range.end;
            }
            None
        }
    }
}

/// A whole frame that begins with the first octet: its length, and whose it is.
pub(super) fn rtu_at(octets: &[u8]) -> Option<(usize, Stray)> {
    let [_, function, third, ..] = *octets else { return None };
    let by_count = rtu::OVERHEAD + 2 + usize::from(third);
    let (one, other) = match function {
        // A request has eight octets, a reply says how many.
        1..=4 => (SHORT_REQUEST, by_count),
        5 | 6 | 8 => (SHORT_REQUEST, 0),
        // Asked, and answered with the address and the count.
        15 | 16 => (WRITE_HEAD + usize::from(*octets.get(6).unwrap_or(&0)), SHORT_REQUEST),
        17 => (4, by_count),
        23 => (by_count, 0),
        43 => (7, 0),
        128.. => (REFUSAL, 0),
        _ => return None,
    };
    let valid = |length: usize| {
        let (unit, pdu) = rtu::unframe(octets.get(..length)?).ok()?;
        Some((length, stray(unit, pdu)?))
    };
    match (valid(one.min(other)), valid(one.max(other))) {
        // A valid frame stays valid with zeros behind it: the longer one may be the shorter and noise, the
        // shorter one the longer but for a checksum that ends with zero. Replies are more than questions.
        (Some(short), Some(long)) => {
            let zeros = octets.get(short.0..long.0)?.iter().all(|octet| *octet == 0);
            Some(if zeros && short.1.kind == StrayKind::Reply { short } else { long })
        }
        (short, long) => long.or(short),
    }
}

/// From a colon to the line feed behind it.
pub(super) fn ascii_span(octets: &[u8], from: usize) -> Option<std::ops::Range<usize>> {
    let rest = octets.get(from..)?;
    let end = from + rest.iter().position(|octet| *octet == b'\n')? + 1;
    // The last colon before it: an earlier one began a frame that was cut short.
    let begin =
        octets.get(from..end)?.iter().rposition(|octet| *octet == b':').map_or(end - 1, |at| from + at);
    Some(begin..end)
}

fn stray(unit: u8, pdu: &[u8]) -> Option<Stray> {
    let (function, rest) = pdu.split_first()?;
    let counted = rest.split_first().is_some_and(|(count, data)| usize::from(*count) == data.len());
    let (kind, data_octets) = match (function, rest.len()) {
        (128.., 1) => (StrayKind::Refusal, 0),
        (1..=4 | 17 | 23, n) if counted && n > 1 => (StrayKind::Reply, n - 1),
        (1..=4, 4) | (17, 0) | (43, 3) => (StrayKind::Request, 0),
        (15 | 16, n) if n > 5 => (StrayKind::Request, 0),
        // A single write and its answer are alike; whoever hears it, we asked for neither.
        (5 | 6 | 8 | 15 | 16, 4) => (StrayKind::Request, 0),
        _ => return None,
    };
    Some(Stray { kind, unit, function: function & 0x7F, data_octets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(framing: Framing, unit: u8, pdu: &[u8]) -> Vec<u8> {
        match framing {
            Framing::Rtu => rtu::frame(unit, pdu),
            Framing::Ascii => ascii::frame(unit, pdu),
        }
    }

    #[test]
    fn frames_are_told_apart_by_what_they_are() {
        use StrayKind::{Refusal, Reply, Request};
        for (pdu, kind, data_octets) in [
            (&[3, 0, 0, 0, 2][..], Request, 0),
            (&[3, 4, 1, 2, 3, 4], Reply, 4),
            (&[0x83, 2], Refusal, 0),
            (&[16, 0, 0, 0, 1, 2, 7, 7], Request, 0),
            (&[6, 0, 1, 0, 2], Request, 0),
        ] {
            for framing in [Framing::Rtu, Framing::Ascii] {
                let mut octets = vec![0xFF, 0, 7];
                octets.extend(framed(framing, 9, pdu));
                let end = octets.len();
                octets.extend([1, 3]);
                let stray = Stray { kind, unit: 9, function: pdu[0] & 0x7F, data_octets };
                assert_eq!(first(&octets, framing), Some((3..end, stray)), "{pdu:?}");
            }
        }
    }

    #[test]
    fn a_cut_ascii_frame_does_not_hide_the_next() {
        let mut octets = b":0103".to_vec();
        octets.extend(ascii::frame(2, &[3, 2, 0, 1]));
        assert_eq!(
            first(&octets, Framing::Ascii).map(|(range, stray)| (range.start, stray.unit)),
            Some((5, 2))
        );
    }

    #[test]
    fn a_reply_is_known_by_its_whole_length_and_whatever_zeros_are_behind_it() {
        let of = |data_octets| Stray { kind: StrayKind::Reply, unit: 1, function: 4, data_octets };
        // Its checksum ends with zero: its first eight octets have a right one too.
        let counter = rtu::frame(1, &[4, 4, 0, 0, 0, 241]);
        assert_eq!(rtu_at(&counter), Some((9, of(4))));
        // These eight octets are a question for register 0x0400, which a bystander can't rule out.
        let begun = rtu::frame(1, &[4, 4, 0, 0, 5]);
        assert_eq!(rtu_at(&begun).map(|(length, stray)| (length, stray.kind)), Some((8, StrayKind::Request)));
        for zeros in 0..4 {
            let octets = [rtu::frame(1, &[4, 2, 9, 9]), vec![0; zeros]].concat();
            assert_eq!(rtu_at(&octets), Some((7, of(2))), "{zeros} behind it");
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>) {
            let _ = (first(&octets, Framing::Rtu), first(&octets, Framing::Ascii));
        }
    }
}
