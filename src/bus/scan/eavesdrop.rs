//! What others say to one another on a line, from its octets: pure, and for RTU frames.
//!
//! A bystander knows a question by its eight octets and an answer by its count, both by their checksum. An answer
//! is taken for that of the last question if unit id, function and count fit: then it is known which registers
//! those were.

use super::registers::{Registers, table_of};
use crate::bus::overheard::{self, StrayKind};
use crate::modbus::{Framing, ReadFunction, ReadRequest, ReplyPdu, decode_reply, rtu};
use std::collections::BTreeMap;

/// No frame is longer, and two of them are looked at together.
const MOST: usize = 2 * rtu::LONGEST;
/// At no rate but its own does noise look so often like a frame.
const ENOUGH: u64 = 2;

/// A question of another master's that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    pub unit: u8,
    pub request: ReadRequest,
    /// The data of the reply, or the exception with which it was refused.
    pub reply: Result<Vec<u8>, u8>,
}

/// What was heard in all.
#[derive(Debug, Clone, Default)]
pub struct Overheard {
    pub octets: u64,
    /// Valid frames.
    pub frames: u64,
    /// Questions among them: somebody else is a master here.
    pub questions: u64,
    /// Units that have answered, and what is known of their registers.
    pub devices: BTreeMap<u8, Registers>,
    /// Units that were asked, whether they answered or not.
    pub asked: std::collections::BTreeSet<u8>,
}

impl Overheard {
    /// The settings are the right ones.
    pub fn is_understood(&self) -> bool {
        self.frames >= ENOUGH
    }
}

/// Takes octets as they come.
#[derive(Debug, Default)]
pub struct Eavesdropper {
    pending: Vec<u8>,
    question: Option<(u8, ReadRequest)>,
    pub heard: Overheard,
}

impl Eavesdropper {
    /// What is new in these octets: questions that were answered.
    pub fn hear(&mut self, octets: &[u8]) -> Vec<Exchanged> {
        self.heard.octets += octets.len() as u64;
        self.pending.extend_from_slice(octets);
        let mut new = Vec::new();
        while let Some((range, stray)) = overheard::first(&self.pending, Framing::Rtu) {
            let frame: Vec<u8> = self.pending.drain(..range.end).skip(range.start).collect();
            new.extend(self.take(&frame, stray.kind));
        }
        let surplus = self.pending.len().saturating_sub(MOST);
        self.pending.drain(..surplus);
        new
    }

    /// The settings were changed: what has begun is not gone on with.
    pub fn begin_anew(&mut self) {
        (self.pending, self.question) = (Vec::new(), None);
    }

    fn take(&mut self, frame: &[u8], kind: StrayKind) -> Option<Exchanged> {
        let (unit, pdu) = rtu::unframe(frame).ok()?;
        self.heard.frames += 1;
        if kind == StrayKind::Request {
            self.heard.questions += 1;
            self.heard.asked.insert(unit);
            self.question = ReadRequest::decode(pdu).ok().map(|request| (unit, request));
            return None;
        }
        let registers = self.heard.devices.entry(unit).or_default();
        let (asked, request) = self.question.take()?;
        if asked != unit {
            return None;
        }
        let reply = match decode_reply(&request, pdu).ok()? {
            ReplyPdu::Data(data) => {
                registers.take(&request, data);
                Ok(data.to_vec())
            }
            ReplyPdu::Exception(code) => {
                if request.count() == 1 || code == 1 {
                    let table = table_of(request.function());
                    registers.refuse(table, request.address(), request.count(), code);
                }
                Err(code)
            }
        };
        Some(Exchanged { unit, request, reply })
    }
}

impl Exchanged {
    /// As `linesman read` takes it: `input 0+36`.
    pub fn span(&self) -> String {
        let table = match self.request.function() {
            ReadFunction::Coils => "coil",
            ReadFunction::DiscreteInputs => "discrete",
            ReadFunction::HoldingRegisters => "holding",
            ReadFunction::InputRegisters => "input",
        };
        format!("{table} {}+{}", self.request.address(), self.request.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::scan::Known;
    use crate::profile::Table;
    use proptest::prelude::*;

    fn question(unit: u8, address: u16) -> Vec<u8> {
        let request = ReadRequest::new(ReadFunction::InputRegisters, address, 1).unwrap();
        rtu::frame(unit, &request.pdu())
    }

    fn answer(unit: u8, word: [u8; 2]) -> Vec<u8> {
        rtu::frame(unit, &[4, 2, word[0], word[1]])
    }

    #[test]
    fn an_answer_is_the_last_questions_of_this_unit() {
        let mut ear = Eavesdropper::default();
        let talk = [question(7, 100), answer(7, [1, 2]), question(8, 5), answer(9, [3, 4])].concat();
        // Cut anywhere, with noise before it.
        let mut all: Vec<Exchanged> = ear.hear(&[0xFF, 0]);
        for octet in talk {
            all.extend(ear.hear(&[octet]));
        }
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].unit, all[0].span().as_str()), (7, "input 100+1"));
        let known = |unit: u8, address| ear.heard.devices[&unit].look_up(Table::InputRegister, address, 1);
        assert_eq!(known(7, 100), Some(Known::Octets(vec![1, 2])));
        assert_eq!(known(9, 5), None, "another unit was asked");
        assert_eq!((ear.heard.questions, ear.heard.frames, ear.heard.octets), (2, 4, 32));
        assert_eq!(ear.heard.asked.iter().copied().collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn a_refusal_of_one_register_is_known_and_of_many_is_not() {
        let mut ear = Eavesdropper::default();
        let refused = ear.hear(&[question(1, 3), rtu::frame(1, &[0x84, 2])].concat());
        assert_eq!(refused[0].reply, Err(2));
        assert_eq!(ear.heard.devices[&1].look_up(Table::InputRegister, 3, 1), Some(Known::Refused(2)));
        let many = ReadRequest::new(ReadFunction::InputRegisters, 10, 5).unwrap();
        ear.hear(&[rtu::frame(1, &many.pdu()), rtu::frame(1, &[0x84, 2])].concat());
        assert_eq!(ear.heard.devices[&1].look_up(Table::InputRegister, 10, 1), None);
    }

    proptest! {
        #[test]
        fn noise_is_no_master_and_makes_nothing_panic(pieces: Vec<Vec<u8>>) {
            let mut ear = Eavesdropper::default();
            for piece in &pieces {
                ear.hear(piece);
            }
            prop_assert!(!ear.heard.is_understood() || ear.heard.octets >= 10);
        }
    }
}
