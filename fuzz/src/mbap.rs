//! ADUs out of a stream of octets: the same however it is cut, and those that the header describes.

use super::choices::Choices;
use linesman::modbus::mbap::{self, Adu, StreamError};

pub fn run(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    let (stream, cuts) = choose(&mut choices);
    let (adus, end) = by_the_letter(&stream);
    for pieces in [vec![stream.as_slice()], stream.chunks(1).collect(), cut(&stream, cuts)] {
        assert_eq!(taken(&pieces), (adus.clone(), end.clone()), "{stream:02x?}");
    }
    for adu in adus {
        let mut encoded = mbap::encode(adu.transaction, adu.unit, &adu.pdu);
        assert_eq!(mbap::take(&mut encoded), Ok(Some(adu)));
        assert!(encoded.is_empty());
    }
}

/// Headers with something behind them, and octets as they stand.
fn choose<'a>(choices: &mut Choices<'a>) -> (Vec<u8>, &'a [u8]) {
    let cuts = choices.some(16);
    let mut stream = Vec::new();
    while !choices.is_empty() {
        if choices.flag() {
            stream.extend(choices.some(32));
            continue;
        }
        let pdu = choices.some(255);
        let length = u16::try_from(pdu.len() + 1).expect("at most 256");
        stream.extend(choices.word().to_be_bytes());
        stream.extend([0, 0]);
        stream.extend(length.to_be_bytes());
        stream.push(choices.octet());
        stream.extend(pdu);
    }
    (stream, cuts)
}

fn cut<'a>(mut stream: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for at in cuts {
        let (piece, rest) = stream.split_at(usize::from(*at).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}

/// What is left over, or why it can't go on.
type End = Result<Vec<u8>, StreamError>;

fn taken(pieces: &[&[u8]]) -> (Vec<Adu>, End) {
    let (mut arrived, mut adus) = (Vec::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            match mbap::take(&mut arrived) {
                Ok(Some(adu)) => adus.push(adu),
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return (adus, Err(error));
                }
            }
        }
        assert!(arrived.len() < 260, "{} octets are held: an ADU is among them", arrived.len());
    }
    (adus, Ok(arrived))
}

/// Messaging on TCP/IP V1.0b, 3.1.3, once more.
fn by_the_letter(stream: &[u8]) -> (Vec<Adu>, End) {
    let (mut at, mut adus) = (0, Vec::new());
    loop {
        let rest = &stream[at..];
        let Some(header) = rest.first_chunk::<6>() else { return (adus, Ok(rest.to_vec())) };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (protocol, length) = (word(2), word(4));
        if protocol != 0 {
            return (adus, Err(StreamError::Protocol(protocol)));
        }
        if !(2..=254).contains(&length) {
            return (adus, Err(StreamError::Length(length)));
        }
        let Some(body) = rest.get(6..6 + usize::from(length)) else { return (adus, Ok(rest.to_vec())) };
        adus.push(Adu { transaction: word(0), unit: body[0], pdu: body[1..].to_vec() });
        at += 6 + usize::from(length);
    }
}
