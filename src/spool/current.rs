//! The segment that is being written: what belongs into it, and how it is put there.

use super::Stored;
use super::format::{ANCHOR_EVERY, HEADER, MOST_POSITIONS, Numbers, put_anchor, put_frame};
use crate::record::Packer;

pub(super) struct Current<F> {
    pub file: F,
    pub used: u64,
    pub allocated: u64,
    /// Its name is not durable yet.
    pub is_new: bool,
    pub is_full: bool,
    first: u64,
    numbers: Numbers,
    packer: Packer,
    until_anchor: u32,
}

impl<F> Current<F> {
    pub(super) fn new(file: F, numbers: Numbers, allocated: u64) -> Current<F> {
        Current {
            file,
            used: HEADER as u64,
            allocated,
            is_new: true,
            is_full: false,
            first: numbers.position,
            numbers,
            packer: Packer::default(),
            until_anchor: 0,
        }
    }

    pub(super) fn takes(&self, record: &Stored) -> bool {
        record.position - self.first < MOST_POSITIONS
            && self.numbers.go_on(record.epoch, record.position, record.seq)
    }

    /// Puts a record at the end of the group; `false` where it has no room any more, or does not belong here.
    pub(super) fn put(&mut self, record: &Stored, group: &mut Vec<u8>) -> bool {
        if !self.takes(record) {
            return false;
        }
        let start = group.len();
        if self.until_anchor == 0 {
            let numbers = Numbers { position: record.position, seq: record.seq, ..self.numbers };
            put_anchor(self.first, numbers, record.ts_ms, group);
            self.until_anchor = ANCHOR_EVERY;
        }
        self.until_anchor -= 1;
        let mut body = Vec::with_capacity(128);
        self.packer.pack(record.position, record.ts_ms, &record.octets, &mut body);
        put_frame(self.first, record.position, &body, group);
        if self.used + group.len() as u64 <= self.allocated {
            return true;
        }
        // What was packed last is not here: nothing more may build upon it.
        self.is_full = true;
        group.truncate(start);
        false
    }
}
