//! Everything that a master may ask here, as one type: it frames, measures and reads the answer.

use super::identify::{self, IdLevel, MEI, READ_IDENTIFICATION, REPORT_SERVER_ID};
use super::{ReadRequest, ReplyError, ReplyPdu, RequestError, decode_reply};

/// Diagnostics (V1.1b3, 6.8).
pub const DIAGNOSTICS: u8 = 0x08;
/// The only sub-function that exists here: Return Query Data (6.8.1). Others reset counters or silence a
/// device.
const RETURN_QUERY_DATA: [u8; 2] = [0, 0];
const ECHO_OCTETS: usize = 5;
/// The longest PDU (4.1).
pub const LONGEST_PDU: usize = 253;

/// One question. None of them writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Read(ReadRequest),
    /// Diagnostics, Return Query Data: this word comes back as it is (6.8.1).
    Echo(u16),
    /// Report Server ID (6.13).
    ServerId,
    /// Read Device Identification, from this object on, or with [`IdLevel::Specific`] it alone (6.21).
    Identification {
        level: IdLevel,
        object: u8,
    },
}

/// How long the reply's PDU is, as far as its first octets tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyLength {
    NotYet,
    /// Octets in all.
    Exactly(usize),
    /// What has come is not the beginning of an answer to this.
    Never,
}

/// `Data` holds, for a read, the registers or packed coils; for an echo its word; for a server id what
/// [`super::ServerIdReply::parse`], for an identification what [`super::IdentificationReply::parse`] takes.
pub type AskReply<'a> = ReplyPdu<'a>;

impl From<ReadRequest> for Ask {
    fn from(request: ReadRequest) -> Ask {
        Ask::Read(request)
    }
}

impl Ask {
    /// The function code.
    pub const fn function(&self) -> u8 {
        match self {
            Ask::Read(request) => request.function().code(),
            Ask::Echo(_) => DIAGNOSTICS,
            Ask::ServerId => REPORT_SERVER_ID,
            Ask::Identification { .. } => READ_IDENTIFICATION,
        }
    }

    pub fn pdu(&self) -> Vec<u8> {
        match self {
            Ask::Read(request) => request.pdu().to_vec(),
            Ask::Echo(word) => {
                let ([s, t], [a, b]) = (RETURN_QUERY_DATA, word.to_be_bytes());
                vec![DIAGNOSTICS, s, t, a, b]
            }
            Ask::ServerId => vec![REPORT_SERVER_ID],
            Ask::Identification { level, object } => vec![READ_IDENTIFICATION, MEI, level.code(), *object],
        }
    }

    /// The server's side: what a client asks.
    pub fn decode(pdu: &[u8]) -> Result<Ask, RequestError> {
        let length = |wanted: usize| RequestError::Octets { wanted, got: pdu.len() };
        match pdu {
            [DIAGNOSTICS, s, t, rest @ ..] => match (u16::from_be_bytes([*s, *t]), rest) {
                (0, [a, b]) => Ok(Ask::Echo(u16::from_be_bytes([*a, *b]))),
                (0, _) => Err(length(ECHO_OCTETS)),
                (other, _) => Err(RequestError::SubFunction(other)),
            },
            [DIAGNOSTICS, ..] => Err(length(ECHO_OCTETS)),
            [REPORT_SERVER_ID] => Ok(Ask::ServerId),
            [REPORT_SERVER_ID, ..] => Err(length(1)),
            [READ_IDENTIFICATION, MEI, code, object] => {
                let level = IdLevel::from_code(*code).ok_or(RequestError::Level(*code))?;
                Ok(Ask::Identification { level, object: *object })
            }
            [READ_IDENTIFICATION, mei, ..] if *mei != MEI => Err(RequestError::Mei(*mei)),
            [READ_IDENTIFICATION, ..] => Err(length(4)),
            _ => ReadRequest::decode(pdu).map(Ask::Read),
        }
    }

    /// The reply's length, told from the octets of its PDU that have come so far. Octets beyond the reply's
    /// end change nothing.
    pub fn reply_length(&self, pdu_head: &[u8]) -> ReplyLength {
        let [function, rest @ ..] = pdu_head else { return ReplyLength::NotYet };
        if *function == self.function() | 0x80 {
            return ReplyLength::Exactly(2);
        }
        if *function != self.function() {
            return ReplyLength::Never;
        }
        match self {
            Ask::Read(request) => match rest {
                [count, ..] if usize::from(*count) != request.reply_data_octets() => ReplyLength::Never,
                _ => ReplyLength::Exactly(request.reply_pdu_octets()),
            },
            // That the word is another one, the checksum and `read_reply` tell better than a length.
            Ask::Echo(_) => ReplyLength::Exactly(ECHO_OCTETS),
            Ask::ServerId => match rest {
                [] => ReplyLength::NotYet,
                [count, ..] => within_limit(2 + usize::from(*count)),
            },
            Ask::Identification { level, .. } => identify::reply_length(*level, pdu_head),
        }
    }

    /// Octets of the longest PDU that can answer this.
    pub const fn longest_reply(&self) -> usize {
        match self {
            Ask::Read(request) => request.reply_pdu_octets(),
            Ask::Echo(_) => ECHO_OCTETS,
            Ask::ServerId | Ask::Identification { .. } => LONGEST_PDU,
        }
    }

    /// The client's side: the answer to exactly this.
    pub fn read_reply<'a>(&self, pdu: &'a [u8]) -> Result<AskReply<'a>, ReplyError> {
        if let Ask::Read(request) = self {
            return decode_reply(request, pdu);
        }
        let asked = self.function();
        let (Some(function), got) = (pdu.first(), pdu.len()) else { return Err(ReplyError::Empty) };
        if *function != asked && *function != asked | 0x80 {
            return Err(ReplyError::Function { asked, got: *function });
        }
        match self.reply_length(pdu) {
            ReplyLength::Exactly(wanted) if wanted != got => return Err(ReplyError::Length { wanted, got }),
            ReplyLength::Exactly(_) => {}
            ReplyLength::NotYet => return Err(ReplyError::Cut(got)),
            ReplyLength::Never => return Err(ReplyError::Other),
        }
        match (self, pdu) {
            (_, [function, code]) if *function == asked | 0x80 => Ok(ReplyPdu::Exception(*code)),
            (Ask::Echo(_), [_, _, _, word @ ..]) => {
                if pdu == self.pdu() {
                    Ok(ReplyPdu::Data(word))
                } else {
                    Err(ReplyError::Other)
                }
            }
            (Ask::ServerId, [_, _, data @ ..]) => Ok(ReplyPdu::Data(data)),
            (Ask::Identification { level, object }, [_, _, _, data @ ..]) => {
                let other = *level == IdLevel::Specific && data.get(4) != Some(object);
                if other { Err(ReplyError::Other) } else { Ok(ReplyPdu::Data(data)) }
            }
            _ => Err(ReplyError::Other),
        }
    }
}

/// A length, if a PDU may have it.
pub(super) const fn within_limit(octets: usize) -> ReplyLength {
    if octets <= LONGEST_PDU { ReplyLength::Exactly(octets) } else { ReplyLength::Never }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{ReadFunction, encode_data_reply, encode_exception};
    use crate::modbus::{encode_identification, encode_server_id};
    use proptest::prelude::*;

    fn asks() -> impl Strategy<Value = Ask> {
        let read = (0usize..4, 0u16..60_000, 1u16..=125).prop_map(|(which, address, count)| {
            Ask::from(ReadRequest::new(ReadFunction::ALL[which], address, count).unwrap())
        });
        let levels = (0usize..4, any::<u8>())
            .prop_map(|(which, object)| Ask::Identification { level: IdLevel::ALL[which], object });
        prop_oneof![read, any::<u16>().prop_map(Ask::Echo), Just(Ask::ServerId), levels]
    }

    /// What a server answers: to this question, with text of this length, or a refusal.
    fn answers() -> impl Strategy<Value = (Ask, Vec<u8>)> {
        let text = proptest::collection::vec("[ -~]{0,90}", 1..6);
        (asks(), text, 0u8..12).prop_map(|(ask, texts, refusal)| {
            let pdu = match ask {
                _ if refusal == 1 => encode_exception(ask.function(), 2).to_vec(),
                Ask::Read(request) => encode_data_reply(&request, texts[0].as_bytes()),
                Ask::Echo(_) => ask.pdu(),
                Ask::ServerId => encode_server_id(texts.concat().as_bytes(), refusal == 2),
                Ask::Identification { level, object } => {
                    let ids = object.saturating_sub(8)..;
                    let objects: Vec<(u8, String)> = match level {
                        IdLevel::Specific => vec![(object, texts[0].clone())],
                        IdLevel::Basic | IdLevel::Regular | IdLevel::Extended => ids.zip(texts).collect(),
                    };
                    encode_identification(level, 0x83, &objects)
                }
            };
            (ask, pdu)
        })
    }

    /// Promise 5: whatever can be built or read as a question reads.
    fn only_reads(pdu: &[u8]) -> bool {
        match pdu {
            [1..=4, ..] | [0x11] | [0x2B, 0x0E, 1..=4, _] => true,
            [8, 0, 0, ..] => pdu.len() == 5,
            _ => false,
        }
    }

    #[test]
    fn questions_are_those_of_the_specification() {
        assert_eq!(Ask::Echo(0xA537).pdu(), [0x08, 0x00, 0x00, 0xA5, 0x37]);
        assert_eq!(Ask::ServerId.pdu(), [0x11]);
        let basic = Ask::Identification { level: IdLevel::Basic, object: 0 };
        assert_eq!(basic.pdu(), [0x2B, 0x0E, 0x01, 0x00]);
    }

    #[test]
    fn a_question_that_does_not_exist_is_refused_as_the_specification_says() {
        let refusal = |pdu: &[u8]| u8::from(Ask::decode(pdu).unwrap_err().exception());
        assert_eq!(refusal(&[6, 0, 0, 0, 1]), 1);
        assert_eq!(refusal(&[8, 0, 4, 0, 0]), 1, "force listen only");
        assert_eq!(refusal(&[8, 0, 0, 1]), 3);
        assert_eq!(refusal(&[0x11, 0]), 3);
        assert_eq!(refusal(&[0x2B, 0x0D, 0, 0]), 1);
        assert_eq!(refusal(&[0x2B, 0x0E, 5, 0]), 3);
        assert_eq!(refusal(&[0x2B, 0x0E, 1]), 3);
        assert_eq!(refusal(&[]), 3);
    }

    #[test]
    fn an_echo_of_another_word_is_not_the_answer() {
        let ask = Ask::Echo(0x1234);
        assert_eq!(ask.read_reply(&[8, 0, 0, 0x12, 0x34]), Ok(ReplyPdu::Data(&[0x12, 0x34])));
        assert_eq!(ask.read_reply(&[8, 0, 0, 0x12, 0x35]), Err(ReplyError::Other));
        assert_eq!(ask.read_reply(&[8, 0, 1, 0x12, 0x34]), Err(ReplyError::Other));
        assert_eq!(ask.read_reply(&[8, 0, 0, 0x12]), Err(ReplyError::Length { wanted: 5, got: 4 }));
        assert_eq!(ask.read_reply(&[0x88, 1]), Ok(ReplyPdu::Exception(1)));
        assert_eq!(ask.read_reply(&[3, 2]), Err(ReplyError::Function { asked: 8, got: 3 }));
    }

    #[test]
    fn an_identification_of_another_object_or_level_is_not_the_answer() {
        let asked = Ask::Identification { level: IdLevel::Specific, object: 2 };
        let other = encode_identification(IdLevel::Specific, 0x81, &[(1, "X".to_owned())]);
        assert_eq!(asked.read_reply(&other), Err(ReplyError::Other));
        let stream = encode_identification(IdLevel::Basic, 0x81, &[(2, "X".to_owned())]);
        assert_eq!(asked.read_reply(&stream), Err(ReplyError::Other));
        // 6.21: who is asked for more than it has answers with what it has.
        let extended = Ask::Identification { level: IdLevel::Extended, object: 0 };
        assert!(extended.read_reply(&stream).is_ok());
        assert_eq!(extended.read_reply(&stream[..8]), Err(ReplyError::Cut(8)));
    }

    #[test]
    fn a_reply_that_would_be_longer_than_a_pdu_never_is() {
        assert_eq!(Ask::ServerId.reply_length(&[0x11, 251]), ReplyLength::Exactly(253));
        assert_eq!(Ask::ServerId.reply_length(&[0x11, 252]), ReplyLength::Never);
        let basic = Ask::Identification { level: IdLevel::Basic, object: 0 };
        let head = [0x2B, 0x0E, 1, 0x81, 0, 0, 1, 0];
        assert_eq!(basic.reply_length(&head), ReplyLength::NotYet);
        assert_eq!(basic.reply_length(&[&head[..], &[244]].concat()), ReplyLength::Exactly(253));
        assert_eq!(basic.reply_length(&[&head[..], &[245]].concat()), ReplyLength::Never);
        let many = [0x2B, 0x0E, 1, 0x81, 0, 0, 200];
        assert_eq!(basic.reply_length(&many), ReplyLength::Never, "400 octets at least");
    }

    proptest! {
        #[test]
        fn a_question_reads_back_and_reads_only(ask in asks()) {
            let pdu = ask.pdu();
            prop_assert_eq!(pdu[0], ask.function());
            prop_assert_eq!(Ask::decode(&pdu), Ok(ask));
            prop_assert!(only_reads(&pdu));
        }

        #[test]
        fn no_octets_make_a_question_that_writes(octets: Vec<u8>) {
            if let Ok(ask) = Ask::decode(&octets) {
                prop_assert!(only_reads(&octets));
                prop_assert_eq!(ask.pdu(), octets);
            }
        }

        #[test]
        fn the_length_is_told_right_however_the_stream_is_cut((ask, pdu) in answers(), tail: Vec<u8>) {
            prop_assert!(ask.read_reply(&pdu).is_ok(), "{:?}", ask.read_reply(&pdu));
            prop_assert!(pdu.len() <= ask.longest_reply().max(2));
            let stream = [&pdu[..], &tail[..]].concat();
            for cut in 0..stream.len() {
                match ask.reply_length(&stream[..cut]) {
                    ReplyLength::Exactly(length) => {
                        // An exception shows itself by its function code, so a length that is told is kept.
                        prop_assert_eq!(length, pdu.len());
                    }
                    ReplyLength::NotYet => prop_assert!(cut < pdu.len(), "{} of {}", cut, pdu.len()),
                    ReplyLength::Never => prop_assert!(false, "never, at {}", cut),
                }
            }
        }

        #[test]
        fn a_reply_of_another_length_is_not_the_answer((ask, pdu) in answers(), more in 1usize..4) {
            let longer = [&pdu[..], &vec![0; more]].concat();
            prop_assert!(ask.read_reply(&longer).is_err());
            prop_assert!(ask.read_reply(&pdu[..pdu.len() - 1]).is_err());
        }

        #[test]
        fn no_octets_make_it_panic(ask in asks(), mut octets: Vec<u8>, own: bool) {
            if own && !octets.is_empty() {
                octets[0] = ask.function();
            }
            let _ = Ask::decode(&octets);
            let _ = ask.read_reply(&octets);
            let _ = ask.reply_length(&octets);
        }
    }
}
