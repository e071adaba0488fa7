//! What is known of a device's registers: each word, or the exception with which it was refused. Pure.

use crate::modbus::{ReadFunction, ReadRequest};
use crate::profile::{Point, Table};
use std::collections::BTreeMap;

/// What is known of some registers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Octets as they stood on the wire; of a coil one, 0 or 1.
    Octets(Vec<u8>),
    /// At least one of them is refused, with this exception.
    Refused(u8),
}

/// A device that has refused so often is no device that has everything.
const REFUSING: usize = 4;

/// The registers of one device, as far as they were read, or overheard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers {
    words: BTreeMap<(Table, u16), u16>,
    /// First and last address of what was refused together, which says nothing of a part of it.
    refused: Vec<(Table, u16, u16, u8)>,
}

/// The table that a function reads.
pub(super) fn table_of(function: ReadFunction) -> Table {
    match function {
        ReadFunction::Coils => Table::Coil,
        ReadFunction::DiscreteInputs => Table::DiscreteInput,
        ReadFunction::HoldingRegisters => Table::HoldingRegister,
        ReadFunction::InputRegisters => Table::InputRegister,
    }
}

impl Registers {
    /// The data of a reply.
    pub fn take(&mut self, request: &ReadRequest, data: &[u8]) {
        let table = table_of(request.function());
        for n in 0..request.count() {
            let at = usize::from(n);
            let word = if table.is_bits() {
                data.get(at / 8).map(|octet| u16::from((octet >> (at % 8)) & 1))
            } else {
                data.get(at * 2..at * 2 + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            };
            if let (Some(word), Some(address)) = (word, request.address().checked_add(n)) {
                self.words.insert((table, address), word);
            }
        }
    }

    /// Asked for together, these are refused.
    pub fn refuse(&mut self, table: Table, address: u16, count: u16, code: u8) {
        let refused = (table, address, address.saturating_add(count.max(1) - 1), code);
        if !self.refused.contains(&refused) {
            self.refused.push(refused);
        }
    }

    /// `None` where some of them are not known.
    pub fn look_up(&self, table: Table, address: u16, count: u16) -> Option<Known> {
        let last = address.saturating_add(count.max(1) - 1);
        let within = |(other, from, to, _): &&(Table, u16, u16, u8)| {
            *other == table && *from >= address && *to <= last
        };
        let mut octets = Vec::new();
        for address in address..=last {
            match self.words.get(&(table, address)) {
                Some(word) if table.is_bits() => octets.push(u8::from(*word != 0)),
                Some(word) => octets.extend(word.to_be_bytes()),
                None => {
                    let refused = self.refused.iter().find(within);
                    return refused.map(|(_, _, _, code)| Known::Refused(*code));
                }
            }
        }
        Some(Known::Octets(octets))
    }

    /// What is known of a point's registers.
    pub fn of(&self, point: &Point) -> Option<Known> {
        self.look_up(point.table, point.address, point.format.count())
    }

    /// The device refuses what it does not have: some things at least.
    pub fn refuses(&self) -> bool {
        self.refused.len() >= REFUSING
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.refused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known_what_was_refused_too_and_nothing_else() {
        let mut registers = Registers::default();
        let read = ReadRequest::new(ReadFunction::InputRegisters, 10, 2).unwrap();
        registers.take(&read, &[1, 2, 3, 4]);
        registers.refuse(Table::InputRegister, 11, 2, 2);
        let at = |address, count| registers.look_up(Table::InputRegister, address, count);
        assert_eq!(at(10, 2), Some(Known::Octets(vec![1, 2, 3, 4])));
        let refused = Some(Known::Refused(2));
        assert_eq!((at(11, 2), at(10, 3), at(9, 2)), (refused.clone(), refused, None));
        assert_eq!(at(12, 1), None, "one of the two may be there all the same");
        assert_eq!(registers.look_up(Table::HoldingRegister, 10, 1), None);
    }

    #[test]
    fn coils_come_packed_and_are_known_one_by_one() {
        let mut registers = Registers::default();
        let read = ReadRequest::new(ReadFunction::Coils, 0, 10).unwrap();
        registers.take(&read, &[0b1000_0001, 0b10]);
        let bit = |address| registers.look_up(Table::Coil, address, 1);
        assert_eq!([bit(0), bit(1), bit(9)], [1, 0, 1].map(|bit| Some(Known::Octets(vec![bit]))));
    }
}
