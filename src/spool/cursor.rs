//! One upstream's account: what is settled, how, and up to where; and its file of two slots.
//!
//! Slot (2048 octets, little endian): `LMCURSR1`, generation u64, base u64, position u64, delivered u64,
//! left out u64, number of reasons u16, for each: length u8, that many octets, count u64; number of ranges
//! u16, for each: from u64, to u64; then zeros; the last four octets are the CRC-32C of all before them.

use super::format::{LAST_POSITION, u32_at, u64_at};
use std::collections::BTreeMap;

pub(super) const SLOT: usize = 2048;
const MAGIC: &[u8; 8] = b"LMCURSR1";
/// Ranges beyond the position that a slot can hold; in practice there are none or one. What lies in
/// further ones is pending again after a restart, and counted anew when it is found missing.
const RANGES: usize = 60;
/// Reasons that a slot can hold; further ones are summed under `other`.
const REASONS: usize = 24;
const LONGEST_REASON: usize = 32;

/// How records were settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    LeftOut,
    Dropped(String),
}

/// An upstream's account in records: `sampled = delivered + pending + left_out + Σ dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The position up to which everything is settled.
    pub cursor: u64,
    pub sampled: u64,
    pub delivered: u64,
    pub pending: u64,
    pub left_out: u64,
    pub dropped: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// The head when this upstream was first seen: what came before is not its business.
    base: u64,
    position: u64,
    delivered: u64,
    left_out: u64,
    dropped: BTreeMap<String, u64>,
    /// Lost ranges beyond the position, already counted; sorted, apart, inclusive.
    beyond: Vec<(u64, u64)>,
}

impl Cursor {
    pub(super) fn starting_after(position: u64) -> Cursor {
        Cursor { base: position, position, ..Cursor::default() }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn account(&self, head: u64) -> Account {
        let lost_beyond: u64 = self.beyond.iter().map(|(from, to)| to - from + 1).sum();
        Account {
            cursor: self.position,
            sampled: head.saturating_sub(self.base),
            delivered: self.delivered,
            pending: head.saturating_sub(self.position).saturating_sub(lost_beyond),
            left_out: self.left_out,
            dropped: self.dropped.clone(),
        }
    }

    /// Everything up to `upto` that is not settled yet is settled this way.
    pub(super) fn settle(&mut self, upto: u64, outcome: &Outcome) {
        if upto <= self.position {
            return;
        }
        let lost: u64 = self.beyond.iter().map(|range| overlap(*range, (self.position + 1, upto))).sum();
        let count = upto - self.position - lost;
        match outcome {
            Outcome::Delivered => self.delivered += count,
            Outcome::LeftOut => self.left_out += count,
            Outcome::Dropped(reason) => self.add_dropped(reason, count),
        }
        self.position = upto;
        self.pass_ranges();
    }

    /// These positions are gone; counts those that were still to be settled.
    pub(super) fn lose(&mut self, from: u64, to: u64, reason: &str) {
        let from = from.max(self.position + 1);
        if to < from {
            return;
        }
        let known: u64 = self.beyond.iter().map(|range| overlap(*range, (from, to))).sum();
        let count = to - from + 1 - known;
        if count > 0 {
            self.add_dropped(reason, count);
            self.beyond.push((from, to));
            self.beyond = joined(std::mem::take(&mut self.beyond));
        }
        self.pass_ranges();
    }

    fn add_dropped(&mut self, reason: &str, count: u64) {
        if count > 0 {
            *self.dropped.entry(reason.to_owned()).or_default() += count;
        }
    }

    fn pass_ranges(&mut self) {
        while let Some((from, to)) = self.beyond.first().copied() {
            if from > self.position + 1 {
                return;
            }
            self.position = self.position.max(to);
            self.beyond.remove(0);
        }
    }

    pub(super) fn encode(&self, generation: u64) -> [u8; SLOT] {
        let mut out = Vec::with_capacity(SLOT);
        out.extend_from_slice(MAGIC);
        for n in [generation, self.base, self.position, self.delivered, self.left_out] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        let reasons = self.reasons_that_fit();
        out.extend_from_slice(&count_octets(reasons.len()));
        for (reason, count) in &reasons {
            let reason = &reason.as_bytes()[..reason.len().min(LONGEST_REASON)];
            out.push(u8::try_from(reason.len()).unwrap_or(0));
            out.extend_from_slice(reason);
            out.extend_from_slice(&count.to_le_bytes());
        }
        let ranges = &self.beyond[..self.beyond.len().min(RANGES)];
        out.extend_from_slice(&count_octets(ranges.len()));
        for (from, to) in ranges {
            out.extend_from_slice(&from.to_le_bytes());
            out.extend_from_slice(&to.to_le_bytes());
        }
        let mut slot = [0; SLOT];
        slot[..out.len()].copy_from_slice(&out);
        let crc = crc32c::crc32c(&slot[..SLOT - 4]);
        slot[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    fn reasons_that_fit(&self) -> Vec<(&str, u64)> {
        let mut reasons: Vec<(&str, u64)> =
            self.dropped.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
        // Ranges that don't fit are pending after a restart: they must not be counted as dropped as well.
        let mut again: u64 = self.beyond.iter().skip(RANGES).map(|(from, to)| to - from + 1).sum();
        for (_, count) in &mut reasons {
            let less = again.min(*count);
            *count -= less;
            again -= less;
        }
        if reasons.len() > REASONS {
            let rest = reasons.split_off(REASONS - 1).iter().map(|(_, n)| n).sum();
            reasons.push(("other", rest));
        }
        reasons
    }

    /// The account in a slot and its generation; `None` where the slot is torn or empty.
    pub(super) fn decode(slot: &[u8]) -> Option<(u64, Cursor)> {
        let slot = slot.get(..SLOT)?;
        if &slot[..8] != MAGIC || crc32c::crc32c(&slot[..SLOT - 4]) != u32_at(slot, SLOT - 4) {
            return None;
        }
        let mut rest = slot.get(48..SLOT - 4)?;
        let mut cursor = Cursor {
            base: u64_at(slot, 16),
            position: u64_at(slot, 24),
            delivered: u64_at(slot, 32),
            left_out: u64_at(slot, 40),
            ..Cursor::default()
        };
        for _ in 0..take_count(&mut rest)? {
            let length = usize::from(*rest.split_off_first()?);
            let reason = String::from_utf8_lossy(rest.split_off(..length)?).into_owned();
            // Two long reasons may have become the same by being cut.
            let sum = cursor.dropped.entry(reason).or_default();
            *sum = sum.saturating_add(u64_at(rest.split_off(..8)?, 0));
        }
        for _ in 0..take_count(&mut rest)? {
            let range = rest.split_off(..16)?;
            cursor.beyond.push((u64_at(range, 0), u64_at(range, 8)));
        }
        cursor.is_plausible().then_some((u64_at(slot, 8), cursor))
    }

    /// Whether the numbers are such as this program writes: in order, apart, and far from overflowing.
    fn is_plausible(&self) -> bool {
        let mut at = self.position;
        let ranges_rise = self.beyond.iter().all(|(from, to)| {
            let rises = *from > at && to >= from;
            at = *to;
            rises
        });
        let counts = self.dropped.values().chain([&self.delivered, &self.left_out, &at]);
        ranges_rise && self.base <= self.position && counts.into_iter().all(|n| *n < LAST_POSITION)
    }

    /// The newer valid slot of a cursor file, and its generation.
    pub(super) fn from_file(octets: &[u8]) -> Option<(u64, Cursor)> {
        let slots = [octets.get(..SLOT), octets.get(SLOT..2 * SLOT)];
        slots.into_iter().flatten().filter_map(Cursor::decode).max_by_key(|(generation, _)| *generation)
    }
}

/// Where in the file the slot of this generation stands.
pub(super) fn slot_offset(generation: u64) -> u64 {
    if generation.is_multiple_of(2) { 0 } else { 2048 }
}

fn count_octets(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(0).to_le_bytes()
}

fn take_count(rest: &mut &[u8]) -> Option<u16> {
    let [low, high] = *rest.split_off(..2)? else { return None };
    Some(u16::from_le_bytes([low, high]))
}

fn overlap(a: (u64, u64), b: (u64, u64)) -> u64 {
    let (from, to) = (a.0.max(b.0), a.1.min(b.1));
    if from > to { 0 } else { to - from + 1 }
}

fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match out.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            Some(_) | None => out.push((from, to)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn balanced(account: &Account) -> bool {
        account.sampled
            == account.delivered + account.pending + account.left_out + account.dropped.values().sum::<u64>()
    }

    #[test]
    fn a_loss_is_counted_once_however_often_it_is_reported() {
        let mut cursor = Cursor::starting_after(0);
        cursor.lose(5, 8, "damaged");
        cursor.lose(6, 9, "spool-full");
        cursor.settle(10, &Outcome::Delivered);
        let account = cursor.account(12);
        assert_eq!((account.delivered, account.pending), (5, 2));
        assert_eq!(account.dropped, BTreeMap::from([("damaged".into(), 4), ("spool-full".into(), 1)]));
        assert!(balanced(&account));
    }

    #[test]
    fn the_newer_whole_slot_counts() {
        let (old, new) = (Cursor::starting_after(3), Cursor::starting_after(9));
        let mut file = [old.encode(4), new.encode(5)].concat();
        assert_eq!(Cursor::from_file(&file), Some((5, new)));
        file[SLOT + 100] ^= 1;
        assert_eq!(Cursor::from_file(&file), Some((4, old)));
        assert_eq!(Cursor::from_file(&file[..10]), None);
    }

    #[test]
    fn more_lost_ranges_than_a_slot_holds_still_balance_after_a_restart() {
        let mut cursor = Cursor::starting_after(0);
        (1..=100)
            .for_each(|n| cursor.lose(n * 10, n * 10 + 2, if n % 2 == 0 { "damaged" } else { "spool-full" }));
        let (_, back) = Cursor::decode(&cursor.encode(1)).unwrap();
        assert!(balanced(&cursor.account(2000)) && balanced(&back.account(2000)), "{back:?}");
    }

    #[test]
    fn long_reasons_that_begin_alike_are_summed() {
        let mut cursor = Cursor::starting_after(0);
        let long = "refused-by-the-broker-for-its-size-";
        cursor.settle(3, &Outcome::Dropped(format!("{long}a")));
        cursor.settle(8, &Outcome::Dropped(format!("{long}b")));
        let (_, back) = Cursor::decode(&cursor.encode(1)).unwrap();
        assert!(balanced(&back.account(10)), "{back:?}");
    }

    #[test]
    fn a_slot_of_impossible_numbers_is_no_slot() {
        for position in [u64::MAX, LAST_POSITION] {
            assert_eq!(Cursor::decode(&Cursor::starting_after(position).encode(1)), None);
        }
        // The same reason twice, with counts that would make their sum overflow.
        let mut twice =
            Cursor { dropped: [("aa".into(), 7), ("bb".into(), 7)].into(), ..Cursor::default() }.encode(1);
        twice[53..61].fill(0xFF);
        twice[62..64].fill(b'a');
        twice[64..72].fill(0xFF);
        let crc = crc32c::crc32c(&twice[..SLOT - 4]);
        twice[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Cursor::decode(&twice), None);
        let overlapping = Cursor { beyond: vec![(5, 9), (7, 12)], ..Cursor::starting_after(0) };
        assert_eq!(Cursor::decode(&overlapping.encode(1)), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(u64),
        Settle(u64, u8),
        Lose(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u64..20).prop_map(Step::Append),
            (0u64..30, 0u8..3).prop_map(|(n, how)| Step::Settle(n, how)),
            (0u64..30, 0u64..10).prop_map(|(at, n)| Step::Lose(at, n)),
        ]
    }

    proptest! {
        #[test]
        fn the_account_balances_at_every_instant(base in 0u64..50, steps in proptest::collection::vec(step(), 0..80)) {
            let (mut cursor, mut head) = (Cursor::starting_after(base), base);
            for step in steps {
                match step {
                    Step::Append(n) => head += n,
                    Step::Settle(n, 0) => cursor.settle((cursor.position() + n).min(head), &Outcome::Delivered),
                    Step::Settle(n, 1) => cursor.settle((cursor.position() + n).min(head), &Outcome::LeftOut),
                    Step::Settle(n, _) => cursor.settle((cursor.position() + n).min(head), &Outcome::Dropped("x".into())),
                    Step::Lose(at, n) => cursor.lose((cursor.position() + at).min(head), (cursor.position() + at + n).min(head), "y"),
                }
                prop_assert!(balanced(&cursor.account(head)), "{:?} head {}", cursor, head);
                let (generation, back) = Cursor::decode(&cursor.encode(77)).unwrap();
                prop_assert_eq!(generation, 77);
                prop_assert!(balanced(&back.account(head)), "after a restart: {:?} head {}", back, head);
                if cursor.beyond.len() <= RANGES { prop_assert_eq!(&back, &cursor); }
            }
        }

        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = Cursor::from_file(&octets);
        }
    }
}
