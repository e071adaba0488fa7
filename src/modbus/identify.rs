//! Who a device says it is: Report Server ID (V1.1b3, 6.13), Read Device Identification (6.21).

use super::ask::{LONGEST_PDU, ReplyLength, within_limit};

pub(super) const REPORT_SERVER_ID: u8 = 0x11;
/// Encapsulated Interface Transport, whose MEI type 14 is Read Device Identification.
pub(super) const READ_IDENTIFICATION: u8 = 0x2B;
pub(super) const MEI: u8 = 0x0E;
/// Function, MEI type, level, conformity, more follows, next object, number of objects.
const HEAD: usize = 7;
const MORE_FOLLOWS: u8 = 0xFF;
const RUNNING: u8 = 0xFF;
const STOPPED: u8 = 0x00;

/// How much of its identification a device is asked for (6.21, Read Device ID code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdLevel {
    /// Objects 0x00 to 0x02: vendor, product code, revision.
    Basic,
    /// And 0x03 to 0x7F: URL, product name, model, application.
    Regular,
    /// And 0x80 to 0xFF, the vendor's own.
    Extended,
    /// One object alone.
    Specific,
}

impl IdLevel {
    pub const ALL: [IdLevel; 4] = [Self::Basic, Self::Regular, Self::Extended, Self::Specific];

    pub const fn code(self) -> u8 {
        match self {
            Self::Basic => 1,
            Self::Regular => 2,
            Self::Extended => 3,
            Self::Specific => 4,
        }
    }

    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Basic),
            2 => Some(Self::Regular),
            3 => Some(Self::Extended),
            4 => Some(Self::Specific),
            _ => None,
        }
    }

    /// The highest object that belongs to it.
    pub const fn last_object(self) -> u8 {
        match self {
            Self::Basic => 0x02,
            Self::Regular => 0x7F,
            Self::Extended | Self::Specific => 0xFF,
        }
    }

    /// Whether a reply may carry this code: a device that has less than it is asked for answers with what
    /// it has (6.21).
    const fn may_be_answered_with(self, code: u8) -> bool {
        match self {
            Self::Specific => code == Self::Specific.code(),
            Self::Basic | Self::Regular | Self::Extended => code >= 1 && code <= self.code(),
        }
    }
}

/// What a device says to Report Server ID. The specification leaves the content to the vendor, so this is
/// a best effort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdReply {
    /// All octets but the run indicator.
    pub id: Vec<u8>,
    /// `None` where no octet looks like a run indicator.
    pub running: Option<bool>,
}

impl ServerIdReply {
    /// Reads what follows the byte count. The run indicator, 0x00 or 0xFF, is looked for where devices put
    /// it: after an id of one octet, or at the end.
    pub fn parse(data: &[u8]) -> ServerIdReply {
        let indicator = |octet: &u8| match *octet {
            RUNNING => Some(true),
            STOPPED => Some(false),
            _ => None,
        };
        let at = [Some(1), data.len().checked_sub(1)];
        let found = at.into_iter().flatten().find_map(|at| Some((at, indicator(data.get(at)?)?)));
        let mut id = data.to_vec();
        if let Some((at, _)) = found {
            id.remove(at);
        }
        ServerIdReply { id, running: found.map(|(_, running)| running) }
    }

    /// The printable characters of the id, for people.
    pub fn text(&self) -> String {
        let printable = self.id.iter().filter(|octet| (b' '..=b'~').contains(*octet));
        printable.map(|octet| char::from(*octet)).collect::<String>().trim().to_owned()
    }
}

/// The server's side: an id and the run indicator after it. An id that is too long is cut.
pub fn encode_server_id(id: &[u8], running: bool) -> Vec<u8> {
    let id = &id[..id.len().min(LONGEST_PDU - 3)];
    let count = u8::try_from(id.len() + 1).unwrap_or(u8::MAX);
    let mut pdu = vec![REPORT_SERVER_ID, count];
    pdu.extend_from_slice(id);
    pdu.push(if running { RUNNING } else { STOPPED });
    pdu
}

/// What a device says to Read Device Identification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentificationReply {
    /// 0x01 to 0x03 by stream only, 0x81 to 0x83 by single object too.
    pub conformity: u8,
    /// The object with which to ask again for the rest.
    pub more_follows: Option<u8>,
    /// By object id; octets that are no text are replaced.
    pub objects: Vec<(u8, String)>,
}

impl IdentificationReply {
    /// Reads what follows the level: conformity, more follows, next object, number of objects, objects.
    /// `None` where they do not fill it exactly.
    pub fn parse(data: &[u8]) -> Option<IdentificationReply> {
        let [conformity, more, next, count, rest @ ..] = data else { return None };
        let mut rest = rest;
        let mut objects = Vec::new();
        for _ in 0..*count {
            let [id, length, after @ ..] = rest else { return None };
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            objects.push((*id, String::from_utf8_lossy(text).into_owned()));
            rest = after;
        }
        let more_follows = (*more == MORE_FOLLOWS).then_some(*next);
        rest.is_empty().then_some(IdentificationReply { conformity: *conformity, more_follows, objects })
    }
}

/// The server's side: as many of the objects as fit, and with which to go on. An object that would fill
/// a PDU alone is cut. `conformity` is the device's own level, 0x81 to 0x83 with single objects.
pub fn encode_identification(level: IdLevel, conformity: u8, objects: &[(u8, String)]) -> Vec<u8> {
    let mut body = Vec::new();
    let (mut count, mut next) = (0u8, None);
    for (id, text) in objects {
        let text = &text.as_bytes()[..text.len().min(LONGEST_PDU - HEAD - 2)];
        if HEAD + body.len() + 2 + text.len() > LONGEST_PDU {
            next = Some(*id);
            break;
        }
        body.extend([*id, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
        body.extend_from_slice(text);
        count += 1;
    }
    let more = if next.is_some() { MORE_FOLLOWS } else { 0 };
    let mut pdu = vec![READ_IDENTIFICATION, MEI, level.code(), conformity, more, next.unwrap_or(0), count];
    pdu.append(&mut body);
    pdu
}

/// The reply's length by walking the objects that have come.
pub(super) fn reply_length(asked: IdLevel, pdu_head: &[u8]) -> ReplyLength {
    if pdu_head.get(1).is_some_and(|mei| *mei != MEI)
        || pdu_head.get(2).is_some_and(|code| !asked.may_be_answered_with(*code))
    {
        return ReplyLength::Never;
    }
    let Some(count) = pdu_head.get(HEAD - 1) else { return ReplyLength::NotYet };
    let mut end = HEAD;
    for left in (1..=usize::from(*count)).rev() {
        // Each object that is left has an id and a length at least.
        if end + 2 * left > LONGEST_PDU {
            return ReplyLength::Never;
        }
        let Some(length) = pdu_head.get(end + 1) else { return ReplyLength::NotYet };
        end += 2 + usize::from(*length);
    }
    within_limit(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{Ask, AskReply};
    use proptest::prelude::*;

    #[test]
    fn an_identification_is_read_as_in_the_specifications_example() {
        // 6.21, example "Read Device Identification" for basic device identification.
        let pdu = [
            &[0x2B, 0x0E, 0x01, 0x01, 0x00, 0x00, 0x03][..],
            &[0x00, 0x16],
            b"Company identification",
            &[0x01, 0x0D],
            b"Product code ",
            &[0x02, 0x05],
            b"V2.11",
        ]
        .concat();
        let ask = Ask::Identification { level: IdLevel::Basic, object: 0 };
        let Ok(AskReply::Data(data)) = ask.read_reply(&pdu) else { panic!("{:?}", ask.read_reply(&pdu)) };
        let read = IdentificationReply::parse(data).unwrap();
        let named = |id, text: &str| (id, text.to_owned());
        assert_eq!((read.conformity, read.more_follows), (1, None));
        assert_eq!(
            read.objects,
            [named(0, "Company identification"), named(1, "Product code "), named(2, "V2.11")]
        );
        assert_eq!(encode_identification(IdLevel::Basic, 1, &read.objects), pdu);
    }

    #[test]
    fn a_run_indicator_is_found_where_devices_put_it() {
        let parse = |data: &[u8]| {
            let reply = ServerIdReply::parse(data);
            (reply.text(), reply.running)
        };
        assert_eq!(parse(b"\x05\xFFLMB3"), ("LMB3".to_owned(), Some(true)));
        assert_eq!(parse(b"Acme X1\x00"), ("Acme X1".to_owned(), Some(false)));
        assert_eq!(parse(b"Acme X1"), ("Acme X1".to_owned(), None));
        assert_eq!(parse(b"\xFF"), (String::new(), Some(true)));
        assert_eq!(parse(b""), (String::new(), None));
    }

    proptest! {
        #[test]
        fn a_server_id_reads_back(id in "[!-~]{1,250}", running: bool) {
            let pdu = encode_server_id(id.as_bytes(), running);
            let Ok(AskReply::Data(data)) = Ask::ServerId.read_reply(&pdu) else { panic!() };
            let read = ServerIdReply::parse(data);
            prop_assert_eq!(read, ServerIdReply { id: id.into_bytes(), running: Some(running) });
        }

        #[test]
        fn all_objects_arrive_however_many_replies_they_take(
            texts in proptest::collection::vec("[ -~]{0,240}", 1..20)
        ) {
            let objects: Vec<(u8, String)> = (0u8..).zip(texts).collect();
            let (mut got, mut from) = (Vec::new(), Some(0));
            while let Some(object) = from {
                let ask = Ask::Identification { level: IdLevel::Extended, object };
                let pdu = encode_identification(IdLevel::Extended, 0x83, &objects[usize::from(object)..]);
                let Ok(AskReply::Data(data)) = ask.read_reply(&pdu) else { panic!() };
                let mut read = IdentificationReply::parse(data).unwrap();
                got.append(&mut read.objects);
                from = read.more_follows;
            }
            prop_assert_eq!(got, objects);
        }

        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>) {
            let _ = ServerIdReply::parse(&octets).text();
            let _ = IdentificationReply::parse(&octets);
        }
    }
}
