//! The MBAP header of Modbus TCP, and frames out of a stream (Messaging on TCP/IP V1.0b, 3.1.3).

/// Transaction id, protocol id, length, unit id.
pub const HEADER: usize = 7;
/// The longest ADU: header and 253 octets of PDU.
pub const LONGEST: usize = 260;

/// One ADU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adu {
    pub transaction: u16,
    pub unit: u8,
    pub pdu: Vec<u8>,
}

/// Why a stream can't be followed any further: only a new connection helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("protocol id {0} where Modbus has 0")]
    Protocol(u16),
    #[error("a length field of {0}, where 2 to 254 are allowed")]
    Length(u16),
}

/// The ADU's octets. A PDU longer than the specification allows is cut.
pub fn encode(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let pdu = &pdu[..pdu.len().min(LONGEST - HEADER)];
    let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
    let mut octets = Vec::with_capacity(HEADER + pdu.len());
    octets.extend_from_slice(&transaction.to_be_bytes());
    octets.extend_from_slice(&[0, 0]);
    octets.extend_from_slice(&length.to_be_bytes());
    octets.push(unit);
    octets.extend_from_slice(pdu);
    octets
}

/// Takes the first whole ADU off the front of what has arrived; `None` while there is none yet.
/// The length field alone bounds a frame: what follows it belongs to the next one.
pub fn take(arrived: &mut Vec<u8>) -> Result<Option<Adu>, StreamError> {
    let [t0, t1, p0, p1, l0, l1, ..] = arrived[..] else { return Ok(None) };
    let protocol = u16::from_be_bytes([p0, p1]);
    if protocol != 0 {
        return Err(StreamError::Protocol(protocol));
    }
    let length = u16::from_be_bytes([l0, l1]);
    if !(2..=254).contains(&length) {
        return Err(StreamError::Length(length));
    }
    let whole = HEADER - 1 + usize::from(length);
    if arrived.len() < whole {
        return Ok(None);
    }
    let octets: Vec<u8> = arrived.drain(..whole).collect();
    let (unit, pdu) = (octets[HEADER - 1], octets[HEADER..].to_vec());
    Ok(Some(Adu { transaction: u16::from_be_bytes([t0, t1]), unit, pdu }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_that_is_not_modbus_ends_the_stream() {
        assert_eq!(take(&mut vec![0, 1, 0, 9, 0, 3, 1, 3, 0]), Err(StreamError::Protocol(9)));
        assert_eq!(take(&mut vec![0, 1, 0, 0, 0, 1, 1]), Err(StreamError::Length(1)));
        assert_eq!(take(&mut vec![0, 1, 0, 0, 1, 0, 1]), Err(StreamError::Length(256)));
    }

    proptest! {
        #[test]
        fn adus_come_out_as_they_went_in_however_the_stream_is_cut(
            adus in proptest::collection::vec((any::<u16>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 1..253)), 1..5),
            cut in 1usize..40,
        ) {
            let sent: Vec<u8> = adus.iter().flat_map(|(t, u, p)| encode(*t, *u, p)).collect();
            let (mut arrived, mut got) = (Vec::new(), Vec::new());
            for piece in sent.chunks(cut) {
                arrived.extend_from_slice(piece);
                while let Some(adu) = take(&mut arrived).unwrap() {
                    got.push((adu.transaction, adu.unit, adu.pdu));
                }
            }
            prop_assert_eq!(got, adus);
            prop_assert!(arrived.is_empty());
        }

        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>) {
            let mut octets = octets;
            while let Ok(Some(_)) = take(&mut octets) {}
        }
    }
}
