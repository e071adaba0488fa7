//! One upstream's account: what is settled, how, and which losses are still to be announced; and its file of
//! two slots.
//!
//! Settled are all positions up to a first one (the prefix) and some ranges beyond it, because live records
//! may be acknowledged before the backlog is. Always, for what lies after the base (the head when the upstream
//! was first seen):
//! `position − base + Σ ranges = delivered + left_out + Σ dropped`, so the account balances by itself.
//!
//! Slot (4096 octets, little endian): `LMCURSR1`, then u64 each: generation, base, position, delivered, left
//! out, number of the next gap. Number of reasons u16, for each: length u8, that many octets, count u64. Number
//! of gaps u16, for each: id u64, from i64, to i64, count u64 (all ones: not known), told u8 (0 or 1), length u8
//! and that many octets of its reason. Number of ranges u16, for each two varints (LEB128): how many positions lie
//! between it and the one before (or the prefix), less one; how many it has, less one. Then zeros; the last four octets are the
//! CRC-32C of all before them. A slot that does not balance is no slot.

use super::format::{LAST_POSITION, u32_at, u64_at};
use super::gaps::{Gap, Gaps};
use super::ranges::Ranges;
use std::collections::BTreeMap;

pub(super) const SLOT: usize = 4096;
const MAGIC: &[u8; 8] = b"LMCURSR1";
/// Ranges beyond the position that a slot holds, if they fit: sixteen always do, a hundred mostly. Each outage that
/// is not made good makes one, and each damaged record up to sixty. What lies in further ones is pending again
/// after a restart, the smallest first, and counted anew when it is lost again.
const RANGES: usize = 256;
/// The same in memory, where there is room for a line that comes and goes.
const RANGES_IN_MEMORY: usize = 1024;
/// Reasons that are told apart; further ones are summed under `other`.
const REASONS: usize = 24;
pub(super) const LONGEST_REASON: usize = 32;
const OTHER: &str = "other";

/// How records were settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The far end has taken them.
    Delivered,
    /// A filter left nothing of them to send.
    LeftOut,
    /// They will never be delivered, for this reason: counted, and a gap is announced.
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
    /// Losses that the far end has not been told of yet, oldest first.
    pub gaps: Vec<Gap>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// The head when this upstream was first seen: what came before is not its business.
    base: u64,
    position: u64,
    delivered: u64,
    left_out: u64,
    dropped: BTreeMap<String, u64>,
    /// What is settled beyond the position.
    beyond: Ranges,
    pub(super) gaps: Gaps,
}

impl Cursor {
    pub(super) fn starting_after(position: u64) -> Cursor {
        Cursor { base: position, position, ..Cursor::default() }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The last position that is settled, prefix or not.
    pub(super) fn last(&self) -> u64 {
        self.beyond.last().map_or(self.position, |(_, to)| to)
    }

    pub(super) fn is_settled(&self, position: u64) -> bool {
        position <= self.position || self.beyond.contains(position)
    }

    /// The position up to which everything after this one is settled too.
    pub(super) fn settled_from(&self, position: u64) -> u64 {
        self.beyond.run_from(position.max(self.position))
    }

    pub(super) fn account(&self, head: u64) -> Account {
        Account {
            cursor: self.position,
            sampled: head.saturating_sub(self.base),
            delivered: self.delivered,
            pending: head.saturating_sub(self.position).saturating_sub(self.beyond.count()),
            left_out: self.left_out,
            dropped: self.dropped.clone(),
            gaps: self.gaps.iter().cloned().collect(),
        }
    }

    /// What of these positions is not settled yet is settled this way. `span` says when they were sampled.
    pub(super) fn settle_range(&mut self, from: u64, to: u64, outcome: &Outcome, span: (i64, i64)) {
        let from = from.max(self.position + 1);
        if to < from {
            return;
        }
        let count = (to - from + 1) - self.beyond.overlap(from, to);
        if count == 0 {
            return;
        }
        match outcome {
            Outcome::Delivered => self.delivered += count,
            Outcome::LeftOut => self.left_out += count,
            Outcome::Dropped(reason) => {
                let reason = self.known_reason(reason);
                *self.dropped.entry(reason.clone()).or_default() += count;
                self.gaps.add(span, Some(count), &reason);
            }
        }
        self.beyond.add(from, to);
        self.position = self.beyond.take_run_after(self.position);
        self.keep_ranges(RANGES_IN_MEMORY);
    }

    /// These positions are gone; counts, and notes as a gap, those that were still to be settled.
    pub(super) fn lose(&mut self, from: u64, to: u64, reason: &str, span: (i64, i64)) {
        self.settle_range(from, to, &Outcome::Dropped(reason.to_owned()), span);
    }

    /// Short enough for a slot, and not one too many.
    fn known_reason(&self, reason: &str) -> String {
        let short: String = reason.chars().filter(char::is_ascii).take(LONGEST_REASON).collect();
        if self.dropped.contains_key(&short) || self.dropped.len() < REASONS - 1 {
            short
        } else {
            OTHER.to_owned()
        }
    }

    /// Forgets the smallest ranges beyond so many: their records are pending again, and no longer counted.
    fn keep_ranges(&mut self, most: usize) {
        let mut again = self.beyond.forget_smallest(most);
        let counts = [&mut self.delivered, &mut self.left_out].into_iter().chain(self.dropped.values_mut());
        for count in counts {
            let less = again.min(*count);
            *count -= less;
            again -= less;
        }
    }

    /// Takes in what was settled while the disk was not there: `memory` counts from `start` on, where this
    /// cursor's records end at `head`.
    pub(super) fn adopt(&mut self, memory: &Cursor, start: u64, head: u64) {
        let moved = |position: u64| position - start + head;
        if memory.position > start {
            self.beyond.add(head + 1, moved(memory.position));
        }
        memory.beyond.iter().for_each(|(from, to)| self.beyond.add(moved(from), moved(to)));
        self.delivered += memory.delivered;
        self.left_out += memory.left_out;
        for (reason, count) in &memory.dropped {
            let reason = self.known_reason(reason);
            *self.dropped.entry(reason).or_default() += count;
        }
        memory.gaps.iter().for_each(|gap| self.gaps.add((gap.from, gap.to), gap.count, &gap.reason));
        self.position = self.beyond.take_run_after(self.position);
        self.keep_ranges(RANGES_IN_MEMORY);
    }

    pub(super) fn encode(&self, generation: u64) -> [u8; SLOT] {
        let mut whole = self.clone();
        whole.keep_ranges(RANGES);
        let mut octets = whole.encoded(generation);
        while octets.len() > SLOT - 4 {
            whole.keep_ranges(whole.beyond.len() * 3 / 4);
            octets = whole.encoded(generation);
        }
        let mut slot = [0; SLOT];
        slot[..octets.len()].copy_from_slice(&octets);
        let crc = crc32c::crc32c(&slot[..SLOT - 4]);
        slot[SLOT - 4..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    /// Without zeros and checksum; longer than a slot where the ranges are many and far apart.
    fn encoded(&self, generation: u64) -> Vec<u8> {
        let whole = self;
        let mut out = Vec::with_capacity(SLOT);
        out.extend_from_slice(MAGIC);
        let next_gap = whole.gaps.next_id();
        for n in [generation, whole.base, whole.position, whole.delivered, whole.left_out, next_gap] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&count_octets(whole.dropped.len()));
        for (reason, count) in &whole.dropped {
            put_text(&mut out, reason);
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.extend_from_slice(&count_octets(whole.gaps.iter().count()));
        whole.gaps.iter().for_each(|gap| put_gap(&mut out, gap));
        out.extend_from_slice(&count_octets(whole.beyond.len()));
        let mut before = whole.position;
        for (from, to) in whole.beyond.iter() {
            put_varint(&mut out, from - before - 2);
            put_varint(&mut out, to - from);
            before = to;
        }
        out
    }

    /// The account in a slot and its generation; `None` where the slot is torn, empty or does not balance.
    pub(super) fn decode(slot: &[u8]) -> Option<(u64, Cursor)> {
        let slot = slot.get(..SLOT)?;
        if &slot[..8] != MAGIC || crc32c::crc32c(&slot[..SLOT - 4]) != u32_at(slot, SLOT - 4) {
            return None;
        }
        let mut rest = slot.get(56..SLOT - 4)?;
        let mut cursor = Cursor {
            base: u64_at(slot, 16),
            position: u64_at(slot, 24),
            delivered: u64_at(slot, 32),
            left_out: u64_at(slot, 40),
            ..Cursor::default()
        };
        for _ in 0..take_count(&mut rest)? {
            let reason = take_text(&mut rest)?;
            if cursor.dropped.insert(reason, u64_at(rest.split_off(..8)?, 0)).is_some() {
                return None;
            }
        }
        let mut gaps = Vec::new();
        for _ in 0..take_count(&mut rest)? {
            gaps.push(take_gap(&mut rest)?);
        }
        cursor.gaps = Gaps::restored(gaps, u64_at(slot, 48))?;
        let mut before = cursor.position;
        for _ in 0..take_count(&mut rest)? {
            let from = before.checked_add(take_varint(&mut rest)?)?.checked_add(2)?;
            let to = from.checked_add(take_varint(&mut rest)?).filter(|to| *to < LAST_POSITION)?;
            cursor.beyond.add(from, to);
            before = to;
        }
        cursor.balances().then_some((u64_at(slot, 8), cursor))
    }

    fn balances(&self) -> bool {
        if self.base > self.position || self.position >= LAST_POSITION || self.dropped.len() > REASONS {
            return false;
        }
        let counts = self.dropped.values().chain([&self.delivered, &self.left_out]);
        let counted = counts.copied().try_fold(0u64, u64::checked_add);
        counted == (self.position - self.base).checked_add(self.beyond.count())
    }

    /// The newer valid slot of a cursor file, and its generation.
    pub(super) fn from_file(octets: &[u8]) -> Option<(u64, Cursor)> {
        let slots = [octets.get(..SLOT), octets.get(SLOT..2 * SLOT)];
        slots.into_iter().flatten().filter_map(Cursor::decode).max_by_key(|(generation, _)| *generation)
    }
}

/// Where in the file the slot of this generation stands: apart by a page, so that a torn one leaves the other.
pub(super) fn slot_offset(generation: u64) -> u64 {
    if generation.is_multiple_of(2) { 0 } else { SLOT as u64 }
}

fn count_octets(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(0).to_le_bytes()
}

fn take_count(rest: &mut &[u8]) -> Option<u16> {
    let [low, high] = *rest.split_off(..2)? else { return None };
    Some(u16::from_le_bytes([low, high]))
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7F {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let (mut n, mut shift) = (0, 0);
    loop {
        let octet = *rest.split_off_first()?;
        n |= u64::from(octet & 0x7F).checked_shl(shift)?;
        if octet & 0x80 == 0 {
            return Some(n);
        }
        shift += 7;
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(LONGEST_REASON)];
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text);
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(*rest.split_off_first()?);
    if length > LONGEST_REASON {
        return None;
    }
    let octets = rest.split_off(..length)?;
    octets.is_ascii().then(|| String::from_utf8_lossy(octets).into_owned())
}

fn put_gap(out: &mut Vec<u8>, gap: &Gap) {
    out.extend_from_slice(&gap.id.to_le_bytes());
    out.extend_from_slice(&gap.from.to_le_bytes());
    out.extend_from_slice(&gap.to.to_le_bytes());
    out.extend_from_slice(&gap.count.unwrap_or(u64::MAX).to_le_bytes());
    out.push(u8::from(gap.told));
    put_text(out, &gap.reason);
}

fn take_gap(rest: &mut &[u8]) -> Option<Gap> {
    let fixed = rest.split_off(..33)?;
    let count = Some(u64_at(fixed, 24)).filter(|count| *count != u64::MAX);
    Some(Gap {
        id: u64_at(fixed, 0),
        from: u64_at(fixed, 8).cast_signed(),
        to: u64_at(fixed, 16).cast_signed(),
        count,
        told: fixed[32] != 0,
        reason: take_text(rest)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEVER: (i64, i64) = (0, 0);

    fn balanced(account: &Account) -> bool {
        account.sampled
            == account.delivered + account.pending + account.left_out + account.dropped.values().sum::<u64>()
    }

    #[test]
    fn a_loss_is_counted_once_however_often_it_is_reported() {
        let mut cursor = Cursor::starting_after(0);
        cursor.lose(5, 8, "damaged", (50, 80));
        cursor.lose(6, 9, "spool-full", (60, 90));
        cursor.settle_range(0, 10, &Outcome::Delivered, NEVER);
        let account = cursor.account(12);
        assert_eq!((account.delivered, account.pending), (5, 2));
        assert_eq!(account.dropped, BTreeMap::from([("damaged".into(), 4), ("spool-full".into(), 1)]));
        let gaps: Vec<_> = account.gaps.iter().map(|gap| (gap.from, gap.to, gap.count)).collect();
        assert_eq!(gaps, [(50, 80, Some(4)), (60, 90, Some(1))]);
        assert!(balanced(&account));
    }

    #[test]
    fn live_records_are_settled_before_the_backlog_and_the_prefix_catches_up() {
        let mut cursor = Cursor::starting_after(0);
        cursor.settle_range(91, 100, &Outcome::Delivered, NEVER);
        cursor.settle_range(95, 101, &Outcome::LeftOut, NEVER);
        assert_eq!((cursor.position(), cursor.is_settled(90), cursor.is_settled(101)), (0, false, true));
        let account = cursor.account(101);
        assert_eq!((account.delivered, account.left_out, account.pending), (10, 1, 90));
        cursor.settle_range(0, 90, &Outcome::Delivered, NEVER);
        assert_eq!((cursor.position(), cursor.account(101).delivered), (101, 100));
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
    fn a_slot_keeps_sixteen_ranges_at_least_and_what_it_has_no_room_for_is_pending_again() {
        let mut cursor = Cursor::starting_after(0);
        for n in 0..200 {
            // Reasons and gaps that take all the room they can have, and ranges as far apart as can be.
            let reason = format!("reason-of-thirty-two-octets-{:04}", n % 30);
            cursor.settle_range(0, n + 1, &Outcome::Dropped(reason), (n.cast_signed(), 0));
            cursor.gaps.tell();
        }
        for n in 1..=200 {
            cursor.settle_range(n << 50, (n << 50) + n, &Outcome::Delivered, NEVER);
        }
        let (_, back) = Cursor::decode(&cursor.encode(1)).unwrap();
        assert!(back.beyond.len() >= 16 && back.beyond.len() < 200, "{}", back.beyond.len());
        assert!(back.is_settled(200 << 50) && !back.is_settled(1 << 50));
        let (before, after) = (cursor.account(201 << 50), back.account(201 << 50));
        assert!(balanced(&before) && balanced(&after));
        assert!(after.pending > before.pending && after.gaps == before.gaps);
        // What damage leaves, one of ten devices lost for sixty records, fits.
        let mut cursor = Cursor::starting_after(0);
        (1..=63).for_each(|n| cursor.lose(5000 + n * 10, 5000 + n * 10, "damaged", NEVER));
        assert_eq!(Cursor::decode(&cursor.encode(1)).unwrap().1, cursor);
    }

    #[test]
    fn a_slot_that_does_not_balance_or_has_impossible_numbers_is_no_slot() {
        for position in [u64::MAX, LAST_POSITION] {
            assert_eq!(Cursor::decode(&Cursor::starting_after(position).encode(1)), None);
        }
        let mut cursor = Cursor::starting_after(5);
        cursor.settle_range(0, 9, &Outcome::Delivered, NEVER);
        assert!(Cursor::decode(&cursor.encode(1)).is_some());
        cursor.delivered += 1;
        assert_eq!(Cursor::decode(&cursor.encode(1)), None);
    }

    #[test]
    fn reasons_without_end_are_summed_and_fit() {
        let mut cursor = Cursor::starting_after(0);
        for n in 1..=200 {
            cursor.settle_range(0, n, &Outcome::Dropped(format!("reason-{n}-{}", "x".repeat(40))), (1, 2));
        }
        let (_, back) = Cursor::decode(&cursor.encode(1)).unwrap();
        assert_eq!(back, cursor);
        assert!(cursor.account(200).dropped["other"] > 100 && balanced(&cursor.account(200)));
        let announced: u64 = cursor.account(200).gaps.iter().filter_map(|gap| gap.count).sum();
        assert_eq!(announced, 200);
    }

    #[test]
    fn what_was_settled_without_a_disk_joins_what_the_disk_knows() {
        let mut disk = Cursor::starting_after(0);
        disk.settle_range(0, 40, &Outcome::Delivered, NEVER);
        let start = 1 << 50;
        let mut memory = Cursor::starting_after(start);
        memory.settle_range(start + 3, start + 5, &Outcome::Delivered, NEVER);
        memory.lose(start + 1, start + 1, "disk-ill", (7, 7));
        disk.adopt(&memory, start, 100);
        let account = disk.account(106);
        assert!(balanced(&account));
        assert_eq!((account.cursor, account.delivered, account.pending), (40, 43, 62));
        assert!(disk.is_settled(101) && !disk.is_settled(102) && disk.is_settled(105));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append(u64),
        Settle(u64, u64, u8),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u64..20).prop_map(Step::Append),
            (0u64..60, 0u64..10, 0u8..4).prop_map(|(at, n, how)| Step::Settle(at, n, how)),
            Just(Step::Restart),
        ]
    }

    proptest! {
        #[test]
        fn the_account_balances_at_every_instant(base in 0u64..50, steps in proptest::collection::vec(step(), 0..80)) {
            let (mut cursor, mut head) = (Cursor::starting_after(base), base);
            for step in steps {
                let before = cursor.account(head);
                match step {
                    Step::Append(n) => head += n,
                    Step::Settle(at, n, how) => {
                        let outcome = match how {
                            0 | 1 => Outcome::Delivered,
                            2 => Outcome::LeftOut,
                            _ => Outcome::Dropped("x".into()),
                        };
                        let from = cursor.position() + at;
                        cursor.settle_range(from.min(head), (from + n).min(head), &outcome, (0, 1));
                        prop_assert!(cursor.account(head).pending <= before.pending);
                    }
                    Step::Restart => {
                        let (generation, back) = Cursor::decode(&cursor.encode(77)).unwrap();
                        prop_assert_eq!(generation, 77);
                        if cursor.beyond.len() <= RANGES { prop_assert_eq!(&back, &cursor); }
                        cursor = back;
                    }
                }
                prop_assert!(balanced(&cursor.account(head)), "{:?} head {}", cursor, head);
            }
        }

        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let _ = Cursor::from_file(&octets);
        }
    }
}
