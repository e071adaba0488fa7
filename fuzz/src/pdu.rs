//! Questions and replies as PDUs: what is read is what the specification says, and comes out as it went in.

use super::choices::Choices;
use super::spec::{self, Reply};
use linesman::modbus::{
    Ask, IdLevel, IdentificationReply, ReadFunction, ReadRequest, ReplyLength, ReplyPdu, ServerIdReply,
    encode_data_reply, encode_exception, encode_identification, encode_server_id,
};

pub fn run(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    let ask = choose(&mut choices);
    a_question_reads_back(&ask);
    a_servers_reply_is_an_answer(&mut choices, &ask);
    // The head of an answer is given half of the time: so chance gets behind it.
    let mut pdu = match choices.up_to(3) {
        0 => Vec::new(),
        1 => vec![ask.function()],
        2 => vec![ask.function() | 0x80],
        _ => head(&ask),
    };
    pdu.extend(choices.rest());
    what_is_a_question_reads(&pdu);
    the_reply_is_what_the_specification_says(&ask, &pdu);
    the_length_is_that_of_the_reply(&ask, &pdu);
}

fn choose(choices: &mut Choices<'_>) -> Ask {
    match choices.up_to(6) {
        4 => Ask::Echo(choices.word()),
        5 => Ask::ServerId,
        6 => Ask::Identification { level: choices.one_of(&IdLevel::ALL), object: choices.octet() },
        which => {
            let function = ReadFunction::ALL[which];
            let (address, count) = (choices.word(), choices.word());
            match ReadRequest::new(function, address, count) {
                Ok(request) => Ask::Read(request),
                Err(_) => {
                    let within = count >= 1 && count <= function.limit();
                    assert!(!within || u32::from(address) + u32::from(count) > 65_536, "{address} {count}");
                    Ask::Read(ReadRequest::new(function, address, 1).expect("one of it always is there"))
                }
            }
        }
    }
}

fn head(ask: &Ask) -> Vec<u8> {
    match ask {
        Ask::Read(request) => {
            let count = spec::data_octets(request.function(), request.count());
            vec![ask.function(), u8::try_from(count).expect("at most 250")]
        }
        Ask::Echo(_) => vec![8, 0, 0],
        Ask::ServerId => vec![17],
        Ask::Identification { .. } => vec![43, 14],
    }
}

fn a_question_reads_back(ask: &Ask) {
    let pdu = ask.pdu();
    assert_eq!((pdu.clone(), ask.function()), (spec::question(ask), spec::function(ask)));
    assert_eq!(Ask::decode(&pdu), Ok(*ask));
}

/// Promise 5: whatever is taken for a question reads, and is built as it was taken.
fn what_is_a_question_reads(pdu: &[u8]) {
    match Ask::decode(pdu) {
        Ok(ask) => {
            assert_eq!(ask.pdu(), pdu);
            let reads = matches!(pdu, [1..=4, _, _, _, _] | [8, 0, 0, _, _] | [17] | [43, 14, 1..=4, _]);
            assert!(reads, "{pdu:02x?} is no question that reads");
        }
        Err(error) => {
            let code = u8::from(error.exception());
            assert!((1..=3).contains(&code) && !error.to_string().is_empty(), "{error} {code}");
        }
    }
}

fn the_reply_is_what_the_specification_says(ask: &Ask, pdu: &[u8]) {
    let read = match ask.read_reply(pdu) {
        Ok(ReplyPdu::Data(data)) => Some(Reply::Data(data.to_vec())),
        Ok(ReplyPdu::Exception(code)) => Some(Reply::Exception(code)),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    };
    assert_eq!(read, spec::reply(ask, pdu), "{ask:?}: {pdu:02x?}");
    let Some(Reply::Data(data)) = read else { return };
    match ask {
        Ask::Identification { .. } => {
            let reply = IdentificationReply::parse(&data).expect("an answer that was believed can be read");
            let octets: usize = reply.objects.iter().map(|(_, text)| text.chars().count()).sum();
            assert!(octets <= data.len(), "{reply:?}");
        }
        Ask::ServerId => {
            let reply = ServerIdReply::parse(&data);
            assert_eq!(reply.id.len() + usize::from(reply.running.is_some()), data.len());
            assert!(reply.text().chars().all(|c| (' '..='~').contains(&c)));
        }
        Ask::Read(_) | Ask::Echo(_) => {}
    }
    // Whatever comes to the parsers past the line engine.
    let _ = (IdentificationReply::parse(pdu), ServerIdReply::parse(pdu).text());
}

/// However little of a reply has come, its length is told right or not yet.
fn the_length_is_that_of_the_reply(ask: &Ask, pdu: &[u8]) {
    let whole = spec::reply(ask, pdu).map(|_| pdu.len());
    assert!(whole.is_none_or(|length| length <= ask.longest_reply().max(2)), "{ask:?} {whole:?}");
    let mut told = None;
    for cut in 0..=pdu.len() {
        match (ask.reply_length(&pdu[..cut]), told) {
            (ReplyLength::NotYet, None) => assert!(whole.is_none_or(|length| cut < length)),
            (ReplyLength::Exactly(length), None) => told = Some(length),
            (ReplyLength::Exactly(length), Some(before)) => assert_eq!(length, before, "{pdu:02x?} at {cut}"),
            (ReplyLength::Never, _) => {
                assert_eq!(whole, None, "{ask:?} {pdu:02x?} at {cut}");
                return;
            }
            (ReplyLength::NotYet, Some(_)) => panic!("the length was known: {pdu:02x?} at {cut}"),
        }
    }
    if let (Some(length), Some(told)) = (whole, told) {
        assert_eq!(told, length, "{ask:?} {pdu:02x?}");
    }
}

fn a_servers_reply_is_an_answer(choices: &mut Choices<'_>, ask: &Ask) {
    let code = choices.octet();
    let refusal = encode_exception(ask.function(), code);
    assert_eq!(ask.read_reply(&refusal), Ok(ReplyPdu::Exception(code)));
    let data = choices.some(255);
    let pdu = match ask {
        Ask::Read(request) => encode_data_reply(request, data),
        Ask::Echo(_) => ask.pdu(),
        Ask::ServerId => encode_server_id(data, code & 1 == 1),
        Ask::Identification { level, object } => {
            let text = String::from_utf8_lossy(data).into_owned();
            encode_identification(*level, code, &[(*object, text.clone()), (object.wrapping_add(1), text)])
        }
    };
    assert!(pdu.len() <= 253);
    let read = ask.read_reply(&pdu).map(|_| ());
    // One object is asked for: the second is not to be had with it.
    assert_eq!(read, Ok(()), "{ask:?}: {pdu:02x?}");
    the_length_is_that_of_the_reply(ask, &pdu);
}
