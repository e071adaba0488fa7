//! The meters of one line and everything that comes in answer to a request, the faulty with the right.

use super::faults::Faults;
use super::frames::{break_checksum, frame};
use super::meter::{ILLEGAL_FUNCTION, Meter};
use crate::modbus::{Ask, Framing, ReadFunction, ReadRequest, encode_exception};
use crate::model::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Whom the other master asks.
const ASKED_BY_ANOTHER: u8 = 1;
/// What unit 1 answers to it where no such meter is simulated.
const MADE_UP: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

#[derive(Debug, Clone)]
pub(super) struct Station {
    meters: Vec<Meter>,
    twins: Vec<Meter>,
    pub faults: Faults,
    /// From a request's last octet to the reply's first.
    turnaround: Duration,
    /// The latest right reply of each unit.
    previous: BTreeMap<u8, Said>,
}

/// A reply before it is framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub role: Role,
    /// The transaction that the request carried, where it carried one.
    pub transaction: u16,
    pub unit: u8,
    pub pdu: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The previous question's, again.
    Stale,
    /// Another unit's.
    Foreign,
    Right,
    /// The second meter's of the same unit id.
    Twin,
}

/// All replies to one request, in their order.
#[derive(Debug)]
pub(super) struct Answer {
    /// From the request's last octet to the first reply's first.
    pub pause: Duration,
    pub said: Vec<Said>,
}

/// Octets that follow one another without a pause.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Silence before them.
    pub pause: Duration,
    pub octets: Vec<u8>,
}

impl Station {
    pub(super) fn new(meters: Vec<Meter>, faults: Faults, turnaround: Duration) -> Station {
        let twins = meters.iter().map(Meter::twin).collect();
        Station { meters, twins, faults, turnaround, previous: BTreeMap::new() }
    }

    /// Any of them is set to a baud rate of its own: then it matters at which one is spoken.
    pub(super) fn minds_the_rate(&self) -> bool {
        self.meters.iter().any(|meter| meter.baud().is_some())
    }

    /// What is said at this rate is noise to this unit.
    pub(super) fn is_deaf(&self, unit: u8, rate: u32) -> bool {
        let meter = self.meters.iter().find(|meter| meter.unit() == unit);
        meter.and_then(Meter::baud).is_some_and(|baud| baud != rate)
    }

    /// The same meters at another connection, with dice of their own.
    pub(super) fn for_another(&mut self) -> Station {
        Station { faults: self.faults.for_another(), previous: BTreeMap::new(), ..self.clone() }
    }

    /// `None`: nobody answers.
    pub(super) fn answer(
        &mut self,
        (transaction, unit): (u16, u8),
        pdu: &[u8],
        since_start: Duration,
        at: Timestamp,
    ) -> Option<Answer> {
        let index = self.meters.iter().position(|meter| meter.unit() == unit)?;
        if self.faults.is_silent(unit, since_start) {
            return None;
        }
        let request = ReadRequest::decode(pdu).ok();
        let refused = request.and_then(|r| self.faults.refuses(unit, r.address(), r.count()));
        let asks_for_a_name = matches!(Ask::decode(pdu), Ok(Ask::ServerId | Ask::Identification { .. }));
        let refused =
            refused.or((asks_for_a_name && self.faults.is_nameless(unit)).then_some(ILLEGAL_FUNCTION));
        let answered = match refused {
            Some(code) => encode_exception(pdu.first().copied().unwrap_or(0), code).to_vec(),
            None => self.meters.get_mut(index)?.answer(pdu, at),
        };
        let others = match refused {
            Some(_) => answered.clone(),
            None => self.twins.get_mut(index)?.answer(pdu, at),
        };
        let said = |role, unit, pdu| Said { role, transaction, unit, pdu };
        let right = said(Role::Right, unit, answered);
        let mut all = Vec::new();
        let previous = self.previous.insert(unit, right.clone());
        if let (true, Some(previous)) = (self.faults.repeats_the_previous(unit), previous) {
            all.push(Said { role: Role::Stale, ..previous });
        }
        if self.faults.lets_another_answer(unit) {
            all.push(said(Role::Foreign, unit % 247 + 1, others.clone()));
        }
        all.push(right);
        if self.faults.has_twin(unit) {
            all.push(said(Role::Twin, unit, others));
        }
        Some(Answer { pause: self.faults.pause(unit, self.turnaround), said: all })
    }

    /// An answer as it goes over a serial line, where frames are `silence` apart and can be damaged.
    pub(super) fn on_a_line(&mut self, answer: Answer, framing: Framing, silence: Duration) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut pause = answer.pause;
        for said in answer.said {
            let framed = frame(framing, said.unit, &said.pdu);
            let octets = if said.role == Role::Right { self.damaged(&said, framed, framing) } else { framed };
            parts.push(Part { pause, octets });
            // Two that believe to be asked do not wait for one another.
            pause = if said.role == Role::Right { Duration::ZERO } else { silence };
        }
        parts
    }

    fn damaged(&mut self, said: &Said, mut octets: Vec<u8>, framing: Framing) -> Vec<u8> {
        if self.faults.breaks_checksum(said.unit) {
            break_checksum(framing, &mut octets);
        }
        self.faults.garble(said.unit, &mut octets);
        if self.faults.cuts(said.unit) {
            octets.truncate(octets.len() / 2);
        }
        let mut whole = self.faults.noise(said.unit);
        whole.append(&mut octets);
        whole
    }

    /// What another master and unit 1 say to one another: two frames.
    pub(super) fn others_dialogue(&mut self, framing: Framing, at: Timestamp) -> [Vec<u8>; 2] {
        let asked = self.meters.iter_mut().find(|meter| meter.unit() == ASKED_BY_ANOTHER);
        let known = asked.and_then(|meter| {
            let request = meter.last_two_registers()?.pdu();
            Some((request.to_vec(), meter.answer(&request, at)))
        });
        let (request, reply) = known.unwrap_or_else(made_up);
        [frame(framing, ASKED_BY_ANOTHER, &request), frame(framing, ASKED_BY_ANOTHER, &reply)]
    }
}

fn made_up() -> (Vec<u8>, Vec<u8>) {
    let code = ReadFunction::HoldingRegisters.code();
    let [a, b, c, d] = MADE_UP;
    (vec![code, 0, 0, 0, 2], vec![code, 4, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{ReplyPdu, decode_reply, rtu};
    use crate::profile;
    use std::path::Path;

    const AT: Timestamp = Timestamp(1_800_000_000_000);
    const SILENCE: Duration = Duration::from_millis(4);

    fn station(faults: &[&str]) -> Station {
        let profile = profile::find("eastron-sdm120", Path::new("."), &[]).unwrap();
        let faults = faults.iter().map(|word| word.parse().unwrap()).collect();
        let meters = vec![Meter::new(profile, 1, 1)];
        Station::new(meters, Faults::new(faults, 1), Duration::from_millis(15))
    }

    fn request(address: u16) -> ReadRequest {
        ReadRequest::new(ReadFunction::InputRegisters, address, 2).unwrap()
    }

    fn said(station: &mut Station, address: u16) -> Vec<Said> {
        station.answer((9, 1), &request(address).pdu(), Duration::ZERO, AT).unwrap().said
    }

    fn parts(station: &mut Station, address: u16) -> Vec<Part> {
        let answer = station.answer((0, 1), &request(address).pdu(), Duration::ZERO, AT).unwrap();
        station.on_a_line(answer, Framing::Rtu, SILENCE)
    }

    fn roles(said: &[Said]) -> Vec<Role> {
        said.iter().map(|said| said.role).collect()
    }

    #[test]
    fn a_twin_answers_right_after_with_other_values() {
        let mut station = station(&["twin"]);
        let both = said(&mut station, 0);
        assert_eq!(roles(&both), [Role::Right, Role::Twin]);
        assert_eq!((both[0].unit, both[1].unit), (1, 1));
        assert_ne!(both[0].pdu, both[1].pdu);
        let parts = parts(&mut station, 0);
        assert_eq!((parts[0].pause, parts[1].pause), (Duration::from_millis(15), Duration::ZERO));
        assert!(parts.iter().all(|part| rtu::unframe(&part.octets).is_ok()));
    }

    #[test]
    fn a_foreign_reply_is_valid_comes_first_and_is_of_another_unit() {
        let mut station = station(&["foreign=1"]);
        let both = said(&mut station, 0);
        assert_eq!(roles(&both), [Role::Foreign, Role::Right]);
        assert_ne!((both[0].unit, &both[0].pdu), (both[1].unit, &both[1].pdu));
        assert!(matches!(decode_reply(&request(0), &both[0].pdu), Ok(ReplyPdu::Data(_))));
        assert_eq!(parts(&mut station, 0)[1].pause, SILENCE);
    }

    #[test]
    fn a_stale_reply_is_the_previous_questions_with_its_transaction() {
        let mut station = station(&["stale"]);
        let first = said(&mut station, 0);
        assert_eq!(roles(&first), [Role::Right]);
        let answer = station.answer((10, 1), &request(6).pdu(), Duration::ZERO, AT).unwrap();
        assert_eq!(roles(&answer.said), [Role::Stale, Role::Right]);
        assert_eq!((answer.said[0].transaction, &answer.said[0].pdu), (9, &first[0].pdu));
        assert_eq!(answer.said[1].transaction, 10);
        assert_ne!(answer.said[1].pdu, first[0].pdu);
    }

    #[test]
    fn damage_is_done_to_the_octets_and_as_it_is_named() {
        let whole = parts(&mut station(&[]), 0).remove(0).octets;
        let one = |fault: &str| parts(&mut station(&[fault]), 0).remove(0).octets;
        assert_eq!(one("short=1"), whole[..whole.len() / 2]);
        assert!(one("garble=1").iter().zip(&whole).all(|(a, b)| a != b));
        let wrong = one("crc=1");
        assert_eq!((wrong.len(), &wrong[..8]), (whole.len(), &whole[..8]));
        assert!(rtu::unframe(&wrong).is_err());
        let noisy = one("noise=1");
        assert!(noisy.len() > whole.len() && noisy.ends_with(&whole));
        assert_eq!(one("exception=4@1"), rtu::frame(1, &[0x84, 4]));
    }

    #[test]
    fn another_master_asks_unit_1_for_two_registers_and_gets_them() {
        for mut station in [station(&[]), Station::new(Vec::new(), Faults::none(), Duration::ZERO)] {
            let [request, reply] = station.others_dialogue(Framing::Rtu, AT);
            let (unit, pdu) = rtu::unframe(&request).unwrap();
            let asked = ReadRequest::decode(pdu).unwrap();
            assert_eq!((unit, asked.count()), (1, 2));
            let (unit, pdu) = rtu::unframe(&reply).unwrap();
            assert_eq!(unit, 1);
            assert!(matches!(decode_reply(&asked, pdu), Ok(ReplyPdu::Data(_))), "{pdu:?}");
        }
    }
}
