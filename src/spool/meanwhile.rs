//! What happens while the log is lent to the hand, which may take as long as the disk likes: records come in, live ones
//! are read and settled, all counts go on. In memory only, bounded; put into the log when it is back.

use super::cursor::{Account, Cursor, Outcome};
use super::disk::Disk;
use super::gaps::Gap;
use super::log::{Log, weight};
use super::read_back::Bite;
use super::request::Question;
use super::room::IN_MEMORY;
use super::{Status, Stored};
use std::collections::{BTreeMap, VecDeque};

/// Runs of positions settled alike that are kept for an upstream; what it settles beyond them is pending again. Whoever
/// settles in order makes one.
const MOST_CHANGES: usize = 4096;

/// What was settled, to be done again to the log's own cursor.
#[derive(Debug)]
struct Change {
    from: u64,
    to: u64,
    outcome: Outcome,
    /// When it was sampled; where that is not known here the log finds out.
    span: Option<(i64, i64)>,
}

/// One upstream's account, as it will be when the log is back.
#[derive(Debug)]
struct Book {
    cursor: Cursor,
    changes: Vec<Change>,
    /// Losses to be announced: those that were known. New ones get their numbers from the log.
    gaps: Vec<Gap>,
    announced: Vec<u64>,
}

impl Book {
    /// Does it once here, and notes it for the log.
    fn settle(&mut self, change: Change, newest_ts: i64) {
        let Change { from, to, .. } = change;
        let is_known = self.cursor.settled_from(from.saturating_sub(1)) >= to;
        let is_loss = change.span.is_some();
        if is_known || (self.changes.len() >= MOST_CHANGES && !is_loss && !self.goes_on(&change)) {
            return;
        }
        self.cursor.settle_range(from, to, &change.outcome, change.span.unwrap_or((newest_ts, newest_ts)));
        if !self.goes_on(&change) {
            self.changes.push(change);
        } else if let Some(last) = self.changes.last_mut() {
            (last.from, last.to) = (last.from.min(from), last.to.max(to));
            last.span = last.span.zip(change.span).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
        }
    }

    /// It lies against what was settled last, and in the same way.
    fn goes_on(&self, change: &Change) -> bool {
        self.changes.last().is_some_and(|last| {
            let touches =
                change.from <= last.to.saturating_add(1) && last.from <= change.to.saturating_add(1);
            touches && last.outcome == change.outcome && last.span.is_some() == change.span.is_some()
        })
    }
}

/// All positions as the log counted them when it was lent.
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    pub(super) shift: u64,
    pub(super) head: u64,
    epoch: u32,
    seq: u64,
    /// What the log has in memory; everything from this position on is here.
    lent: VecDeque<Stored>,
    complete_from: u64,
    /// What came since. Positions that are missing here were lost.
    appended: VecDeque<Stored>,
    appended_octets: usize,
    count: u64,
    newest_ts: i64,
    books: BTreeMap<String, Book>,
    status: Status,
}

impl Meanwhile {
    pub(super) fn of<D: Disk>(log: &Log<D>) -> Meanwhile {
        let books = log.cursors.iter().map(|(name, named)| {
            let (cursor, gaps) = (named.cursor.clone(), named.cursor.gaps.iter().cloned().collect());
            (name.clone(), Book { cursor, changes: Vec::new(), gaps, announced: Vec::new() })
        });
        let oldest = log.tail.front().map_or(log.head + 1, |record| record.position);
        Meanwhile {
            shift: log.shift,
            head: log.head,
            epoch: log.epoch,
            seq: log.seq,
            lent: log.tail.clone(),
            complete_from: if log.segments.is_empty() { 0 } else { oldest },
            newest_ts: log.newest_ts.unwrap_or(0),
            books: books.collect(),
            status: log.status(0),
            ..Meanwhile::default()
        }
    }

    pub(super) fn append(&mut self, ts_ms: i64, octets: Vec<u8>) {
        self.head += 1;
        self.seq += 1;
        self.count += 1;
        self.newest_ts = ts_ms;
        let record =
            Stored { position: self.head, epoch: self.epoch, seq: self.seq, ts_ms, octets: octets.into() };
        self.appended_octets += weight(&record);
        self.appended.push_back(record);
        while self.appended_octets > IN_MEMORY
            && let Some(gone) = self.appended.pop_front()
        {
            self.appended_octets -= weight(&gone);
            for book in self.books.values_mut() {
                let outcome = Outcome::Dropped("disk-ill".to_owned());
                let span = Some((gone.ts_ms, gone.ts_ms));
                let lost = Change { from: gone.position, to: gone.position, outcome, span };
                book.settle(lost, gone.ts_ms);
            }
        }
    }

    /// A quarter of what memory may hold: the log, when it is back, has room for it beside its own.
    pub(super) fn is_much(&self) -> bool {
        self.appended_octets > IN_MEMORY / 4
    }

    /// When the first record that waits was sampled, ms since 1970 UTC; else the newest.
    pub(super) fn since(&self) -> i64 {
        self.appended.front().map_or(self.newest_ts, |record| record.ts_ms)
    }

    pub(super) fn settle(&mut self, name: &str, from: u64, to: u64, outcome: &Outcome) {
        let (to, newest_ts) = (to.min(self.head), self.newest_ts);
        if let Some(book) = self.books.get_mut(name) {
            book.settle(Change { from, to, outcome: outcome.clone(), span: None }, newest_ts);
        }
    }

    pub(super) fn announced(&mut self, name: &str, gap: u64) {
        if let Some(book) = self.books.get_mut(name) {
            book.gaps.retain(|known| known.id != gap);
            book.announced.push(gap);
        }
    }

    /// `None` where the log has to be asked.
    pub(super) fn read(&self, question: &Question) -> Option<Vec<Stored>> {
        let cursor = self.books.get(&question.name).map(|book| &book.cursor);
        let after = cursor.map_or(question.after, |cursor| cursor.settled_from(question.after));
        let (from, upto) = (after.saturating_add(1), question.upto.min(self.head));
        let mut bite = Bite::of(question);
        if from <= upto {
            if from < self.complete_from {
                return None;
            }
            let goes_on = bite.take_from(&self.lent, cursor, from, upto);
            if goes_on {
                bite.take_from(&self.appended, cursor, from, upto);
            }
        }
        Some(bite.records)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = (&String, Account)> {
        self.books
            .iter()
            .map(|(name, book)| (name, Account { gaps: book.gaps.clone(), ..book.cursor.account(self.head) }))
    }

    /// `stalls` says since when, if the disk takes its time.
    pub(super) fn status(&self, heartbeat: u64, stalls: Option<&String>) -> Status {
        let mut status = Status { heartbeat, ..self.status.clone() };
        status.records += self.count;
        status.appended += self.count;
        status.oldest_ts = status.oldest_ts.or_else(|| self.appended.front().map(|record| record.ts_ms));
        if let Some(stalls) = stalls {
            (status.healthy, status.detail) = (false, Some(stalls.clone()));
        }
        status
    }
}

impl<D: Disk> Log<D> {
    /// Everything that happened while it was lent, in an order that counts as it was counted then: what was delivered
    /// before it could be stored is delivered, even where there is no room for it now.
    pub(super) fn take_back(&mut self, meanwhile: Meanwhile) {
        let shifted = self.shift - meanwhile.shift;
        let moved = |position: u64| position.saturating_sub(shifted);
        if let Some(first) = meanwhile.appended.front()
            && let Some(since) = self.cut.take()
        {
            self.note_power_cut(since.unwrap_or(first.ts_ms), first.ts_ms);
        }
        let mut refused = Vec::new();
        if meanwhile.count > 0 {
            (self.head, self.seq) = (moved(meanwhile.head), meanwhile.seq);
            self.newest_ts = Some(meanwhile.newest_ts);
        }
        for mut record in meanwhile.appended {
            record.position = moved(record.position);
            let (position, ts_ms) = (record.position, record.ts_ms);
            if let Err(reason) = self.admit(record) {
                refused.push((position, ts_ms, reason));
            }
        }
        for (name, book) in meanwhile.books {
            for change in book.changes {
                let (from, to) = (moved(change.from), moved(change.to));
                let span = change.span.unwrap_or_else(|| self.sampled_between(from, to));
                if let Some(named) = self.cursors.get_mut(&name) {
                    named.cursor.settle_range(from, to, &change.outcome, span);
                }
            }
            book.announced.into_iter().for_each(|gap| self.announced(&name, gap));
        }
        refused.into_iter().for_each(|(position, ts_ms, reason)| self.lose_one(position, ts_ms, reason));
        self.bound_memory();
    }
}
