//! A question to a name server and its answer: pure (RFC 1035, section 4; RFC 3596 for IPv6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Header, and what a question has behind its name.
const HEADER: usize = 12;
/// A name of so many octets at most (RFC 1035, 2.3.4), and of its labels.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;
const INTERNET: u16 = 1;
/// "No such name", as a response code.
const NO_SUCH_NAME: u8 = 3;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    V4,
    V6,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Kind::V4 => 1,
            Kind::V6 => 28,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Maybe none of this kind.
    Addresses(Vec<IpAddr>),
    NoSuchName,
    /// The server will not or can not, with its code.
    Failed(u8),
}

/// Asks for a name's addresses, with recursion. `None` for what is no name.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > LONGEST_NAME {
        return None;
    }
    let mut out = Vec::with_capacity(HEADER + name.len() + 6);
    out.extend(id.to_be_bytes());
    // Recursion desired; one question.
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > LONGEST_LABEL {
            return None;
        }
        out.push(u8::try_from(label.len()).ok()?);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.number().to_be_bytes());
    out.extend(INTERNET.to_be_bytes());
    Some(out)
}

/// What was answered to a question of ours; `None` for what is no answer to it.
pub(super) fn answer(octets: &[u8], question: &[u8]) -> Option<Answer> {
    let (ours, theirs) = (question.get(..2)?, octets.get(..2)?);
    let (flags, code) = (*octets.get(2)?, octets.get(3)? & 0x0f);
    let (asked, answers) = (pair(octets, 4)?, pair(octets, 6)?);
    let body = question.get(HEADER..)?;
    let repeated = octets.get(HEADER..HEADER + body.len())?;
    // Somebody guessing has to guess the identifier too; some servers change the case of letters.
    if ours != theirs || flags & 0x80 == 0 || asked != 1 || !repeated.eq_ignore_ascii_case(body) {
        return None;
    }
    match code {
        0 => Some(Answer::Addresses(addresses(octets, HEADER + body.len(), answers))),
        NO_SUCH_NAME => Some(Answer::NoSuchName),
        code => Some(Answer::Failed(code)),
    }
}

/// As many as can be read: an answer that was cut off has some.
fn addresses(octets: &[u8], mut at: usize, count: u16) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for _ in 0..count {
        let Some((address, next)) = resource(octets, at) else { break };
        found.extend(address);
        at = next;
    }
    found
}

/// One resource record: its address, if it has one, and where the next begins. Of a chain of aliases the server brings the
/// end, so the names in between need not be read.
fn resource(octets: &[u8], at: usize) -> Option<(Option<IpAddr>, usize)> {
    let at = behind_name(octets, at)?;
    let (kind, class) = (pair(octets, at)?, pair(octets, at + 2)?);
    let from = at + 10;
    let upto = from + usize::from(pair(octets, at + 8)?);
    let data = octets.get(from..upto)?;
    let address = match (kind, class, data.len()) {
        (1, INTERNET, 4) => <[u8; 4]>::try_from(data).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        (28, INTERNET, 16) => {
            <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    };
    Some((address, upto))
}

/// Where a name ends: with a label of no length, or with a pointer.
fn behind_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length if usize::from(length) <= LONGEST_LABEL => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

fn pair(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `broker.example.org` is an alias of `b.example.org` at 192.0.2.7 and .8, by pointers as servers write them.
    fn reply() -> Vec<u8> {
        let mut out = question(7, "broker.example.org", Kind::V4).unwrap();
        (out[2], out[3], out[7]) = (0x81, 0x80, 3);
        out.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01b\xc0\x13");
        out.extend(b"\xc0\x30\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x07");
        out.extend(b"\xc0\x30\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x08");
        out
    }

    #[test]
    fn a_question_is_what_the_standard_shows() {
        let expected = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01b\x03org\x00\x00\x1c\x00\x01";
        assert_eq!(question(7, "b.org.", Kind::V6).unwrap(), expected);
        for no_name in ["", ".", "a..b", &"x".repeat(64), &"x.".repeat(200)] {
            assert_eq!(question(7, no_name, Kind::V4), None, "{no_name}");
        }
    }

    #[test]
    fn the_addresses_behind_an_alias_are_found() {
        let asked = question(7, "broker.example.org", Kind::V4).unwrap();
        let addresses = vec!["192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap()];
        assert_eq!(answer(&reply(), &asked), Some(Answer::Addresses(addresses)));
        let cut = &reply()[..reply().len() - 3];
        assert_eq!(answer(cut, &asked), Some(Answer::Addresses(vec!["192.0.2.7".parse().unwrap()])));
        let mut unknown = reply();
        unknown[3] = 0x83;
        assert_eq!(answer(&unknown, &asked), Some(Answer::NoSuchName));
        unknown[3] = 0x82;
        assert_eq!(answer(&unknown, &asked), Some(Answer::Failed(2)));
    }

    #[test]
    fn an_answer_to_somebody_elses_question_is_none() {
        let others = [
            question(8, "broker.example.org", Kind::V4).unwrap(),
            question(7, "broker.example.com", Kind::V4).unwrap(),
            question(7, "broker.example.org", Kind::V6).unwrap(),
        ];
        for other in others {
            assert_eq!(answer(&reply(), &other), None);
        }
        let asked = question(7, "broker.example.org", Kind::V4).unwrap();
        assert_eq!(answer(&asked, &asked), None, "a question is no answer");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_stops_us(junk in proptest::collection::vec(any::<u8>(), 0..200), at in 0..60_usize) {
            let asked = question(7, "broker.example.org", Kind::V4).unwrap();
            answer(&junk, &asked);
            let mut bent = reply();
            bent.truncate(at + 20);
            bent.extend(&junk);
            answer(&bent, &asked);
        }
    }
}
