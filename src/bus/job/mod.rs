//! One scan of one device, block by block: what to ask next, and what has come of it. No I/O.
//!
//! # What is asked again
//! - A damaged answer, and none from a device that is known to be there, or that is new while nobody else needs
//!   the line: up to `retries` times. While a late
//!   answer may still come the same question is not asked; the block is asked in another length instead, or in
//!   two parts, at once, for no late answer fits these.
//! - A refusal of a block of several values with exception 02 or 03: by halves, see [`search`](super::search).
//! - *Busy* (06): up to three times, after a pause.
//! - No other refusal: the device has said what there is to say.
//!
//! A device that leaves several questions in a row unanswered is not asked the rest: a dead meter must not
//! cost its neighbours a timeout for each of its blocks.

mod answers;
mod variants;

use super::plan::{Block, Lessons};
use super::search::{Lesson, Search};
use super::{Field, Scan};
use crate::model::{Bad, Mono, Name, Timestamp};
use crate::profile::Profile;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How a device did in one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bus) enum Health {
    /// At least one valid answer, be it a refusal.
    Answers,
    /// No valid answer, but octets.
    Garbled,
    Silent,
}

/// Why a block is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Plan,
    /// To find the register that is to blame.
    Search,
    /// To see whether the device is back; what is due follows.
    Probe,
}

/// A block to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bus) struct Item {
    pub block: Block,
    /// The block as it was planned, where another length of it is asked.
    planned: Option<Block>,
    /// How often it has been asked already.
    pub tries: u8,
    not_before: Mono,
    why: Why,
}

impl Item {
    fn new(block: Block, tries: u8, why: Why) -> Item {
        Item { block, planned: None, tries, not_before: Mono(0), why }
    }
}

/// What to do next for this scan.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bus) enum Turn {
    /// Hand this out with [`Job::take`].
    Ask(usize),
    /// This may be asked in no length, but perhaps in parts: [`Job::part`].
    Part(usize),
    /// Nothing may be asked before this.
    Wait(Mono),
    /// Answers are under way.
    Pending,
    Over,
}

/// What a scan found out besides values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::bus) struct Effects {
    pub lessons: Vec<Lesson>,
    /// Points that were refused for now, with the exception's code.
    pub refused: Vec<(Vec<usize>, u8)>,
    /// Points to plan anew, each list for itself, and how often they have been asked.
    pub again: Vec<(Vec<usize>, u8)>,
    /// Points that were answered.
    pub answered: Vec<usize>,
    /// But the one that says who it is says nothing.
    pub nameless: bool,
}

/// How stubborn a scan is.
#[derive(Debug, Clone, Copy)]
pub(in crate::bus) struct Manner {
    pub retries: u8,
    /// The device answered its last scan.
    pub known: bool,
    /// The device was silent: what is not asked for lack of an answer is lost, not unanswered.
    pub probe: bool,
    /// Answers get lost on this line: silence says little of a device that nobody knows.
    pub lossy: bool,
}

pub(in crate::bus) struct Job {
    device: Name,
    profile: Arc<Profile>,
    /// What had been learned when the scan began.
    lessons: Lessons,
    items: VecDeque<Item>,
    search: Option<Search>,
    /// Blocks that were refused and wait for their search.
    put_off: VecDeque<(Block, u8)>,
    /// Points that were refused for what they are, and with which code.
    refused: Vec<(Vec<usize>, u8)>,
    /// Blocks handed out and not yet heard of.
    outstanding: usize,
    fields: BTreeMap<usize, Result<Vec<u8>, Bad>>,
    first_reply: Option<Timestamp>,
    last_reply: Option<Timestamp>,
    answered: bool,
    garbled: bool,
    /// Questions in a row that were answered by nothing valid.
    failures: u32,
    /// Why the last question failed.
    last_bad: Bad,
    /// Nobody else has anything to ask.
    idle: bool,
    manner: Manner,
}

impl Job {
    /// These blocks; with `probe`, that one first, and the rest if it is answered.
    pub(in crate::bus) fn new(
        device: Name,
        profile: Arc<Profile>,
        lessons: Lessons,
        blocks: Vec<Block>,
        probe: Option<Block>,
        manner: Manner,
    ) -> Job {
        let item = |why| move |block| Item::new(block, 0, why);
        let items = probe.into_iter().map(item(Why::Probe)).chain(blocks.into_iter().map(item(Why::Plan)));
        Job {
            device,
            items: items.collect(),
            profile,
            lessons,
            search: None,
            put_off: VecDeque::new(),
            refused: Vec::new(),
            outstanding: 0,
            fields: BTreeMap::new(),
            first_reply: None,
            last_reply: None,
            answered: false,
            garbled: false,
            failures: 0,
            last_bad: Bad::NoReply,
            idle: false,
            manner,
        }
    }

    /// Whether nobody else needs the line now: then a device that nobody knows is asked again too.
    pub(in crate::bus) fn line_is_idle(&mut self, idle: bool) {
        self.idle = idle;
    }

    /// Points that are not asked this time.
    pub(in crate::bus) fn hold(&mut self, point: usize, bad: Bad) {
        self.fields.insert(point, Err(bad));
    }

    /// What to ask: the first block that may be asked now. `blocked` tells until when one may not be.
    pub(in crate::bus) fn turn(&self, now: Mono, blocked: &dyn Fn(&Block) -> Option<Mono>) -> Turn {
        let mut wait: Option<Mono> = None;
        // While the device has not shown that it is there, and while a fault is looked for, one after another.
        let alone = self.search.is_some() || !self.manner.known && !self.answered;
        if alone && self.outstanding > 0 {
            return Turn::Pending;
        }
        for (at, item) in self.items.iter().enumerate().take(if alone { 1 } else { usize::MAX }) {
            let ready = match self.in_a_free_length(item, blocked) {
                Ok(_) => item.not_before,
                Err(until) => until.max(item.not_before),
            };
            if ready <= now {
                return Turn::Ask(at);
            }
            if item.not_before <= now && item.why == Why::Plan && self.halves(item).is_some() {
                return Turn::Part(at);
            }
            wait = Some(wait.map_or(ready, |before| before.min(ready)));
        }
        match wait {
            Some(until) => Turn::Wait(until),
            None if self.outstanding > 0 => Turn::Pending,
            None => Turn::Over,
        }
    }

    /// Hands a block out: it comes back with one of `data`, `exception`, `no_reply`, `garbled`, `doubtful`.
    pub(in crate::bus) fn take(
        &mut self,
        at: usize,
        blocked: &dyn Fn(&Block) -> Option<Mono>,
    ) -> Option<Item> {
        let mut item = self.items.remove(at)?;
        if let Ok(Some(other)) = self.in_a_free_length(&item, blocked) {
            let planned = std::mem::replace(&mut item.block, other);
            item.planned.get_or_insert(planned);
        }
        self.outstanding += 1;
        Some(item)
    }

    /// Another length in which the block may be asked; none where it may be asked as it is. Otherwise until
    /// when it must wait.
    fn in_a_free_length(
        &self,
        item: &Item,
        blocked: &dyn Fn(&Block) -> Option<Mono>,
    ) -> Result<Option<Block>, Mono> {
        let planned = item.planned.as_ref().unwrap_or(&item.block);
        let Some(until) = blocked(planned) else { return Ok(item.planned.clone()) };
        // The questions of a search are about exactly these registers.
        if item.why == Why::Search {
            return Err(until);
        }
        let free =
            variants::longer(&self.profile, &self.lessons, planned).find(|other| blocked(other).is_none());
        free.map(Some).ok_or(until)
    }

    /// The points of a block in two halves, to be planned anew, and how often they have been asked.
    pub(in crate::bus) fn part(&mut self, at: usize) -> Option<([Vec<usize>; 2], u8)> {
        let item = self.items.remove(at)?;
        Some((self.halves(&item)?, item.tries))
    }

    /// Blocks planned anew go first.
    pub(in crate::bus) fn put_first(&mut self, blocks: Vec<Block>, tries: u8) {
        for block in blocks.into_iter().rev() {
            self.items.push_front(Item::new(block, tries, Why::Plan));
        }
    }

    /// What can't be asked before the scan must be done is not waited for.
    pub(in crate::bus) fn give_up(&mut self) {
        self.abandon(self.last_bad);
    }

    /// What this scan says of the device.
    pub(in crate::bus) fn verdict(&self) -> Health {
        match self {
            Job { answered: true, .. } => Health::Answers,
            Job { garbled: true, .. } => Health::Garbled,
            _ => Health::Silent,
        }
    }

    /// What was refused in this scan, to be judged now that it is over.
    pub(in crate::bus) fn take_refused(&mut self) -> Vec<(Vec<usize>, u8)> {
        std::mem::take(&mut self.refused)
    }

    /// The rest can't be asked, for this reason.
    pub(in crate::bus) fn abandon(&mut self, bad: Bad) {
        self.give_the_search_up(bad);
        for (block, code) in std::mem::take(&mut self.put_off) {
            self.set_where_nothing_is(&block.points, Bad::Exception(code));
        }
        while let Some(item) = self.items.pop_front() {
            self.set_where_nothing_is(&item.block.points, bad);
        }
    }

    /// The line stops: what was not asked is not in the scan.
    pub(in crate::bus) fn cut_off(&mut self) {
        self.search = None;
        self.put_off.clear();
        self.items.clear();
    }

    /// The stop came while a block was asked: it will not be heard of, and its points are not in the scan.
    pub(in crate::bus) fn cut_short(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// A block that was handed out will not be heard of.
    pub(in crate::bus) fn lost(&mut self, item: &Item, bad: Bad) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.set_where_nothing_is(&item.block.points, bad);
    }

    pub(in crate::bus) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(in crate::bus) fn is_lossy(&self) -> bool {
        self.manner.lossy
    }

    pub(in crate::bus) fn is_answered(&self) -> bool {
        self.answered
    }

    /// The first reason among the bad points, if there is one.
    pub(in crate::bus) fn reason(&self) -> Option<Bad> {
        self.fields.values().find_map(|field| field.as_ref().err().copied())
    }

    /// Whether an answer is under way.
    pub(in crate::bus) fn is_pending(&self) -> bool {
        self.outstanding > 0
    }

    /// The points with a value.
    pub(in crate::bus) fn good(&self) -> impl Iterator<Item = usize> {
        self.fields.iter().filter(|(_, field)| field.is_ok()).map(|(point, _)| *point)
    }

    /// The points for which nothing valid came.
    pub(in crate::bus) fn without_answer(&self) -> Vec<usize> {
        let no_answer = |field: &Result<Vec<u8>, Bad>| matches!(field, Err(Bad::NoReply | Bad::Garbled));
        self.fields.iter().filter(|(_, field)| no_answer(field)).map(|(point, _)| *point).collect()
    }

    /// These points are not in the scan.
    pub(in crate::bus) fn forget(&mut self, points: &[usize]) {
        points.iter().for_each(|point| {
            self.fields.remove(point);
        });
    }

    pub(in crate::bus) fn has_good(&self) -> bool {
        self.fields.values().any(Result::is_ok)
    }

    pub(in crate::bus) fn scan(self, now: Timestamp) -> Scan {
        let ts = self.first_reply.unwrap_or(now);
        let took = self.last_reply.map_or(0, |last| last.0.saturating_sub(ts.0));
        Scan {
            device: self.device,
            profile: self.profile,
            ts,
            took: Duration::from_millis(u64::try_from(took).unwrap_or(0)),
            fields: self.fields.into_iter().map(|(point, octets)| Field { point, octets }).collect(),
        }
    }

    fn heard(&mut self, at: Timestamp) {
        self.outstanding = self.outstanding.saturating_sub(1);
        (self.answered, self.failures) = (true, 0);
        self.first_reply.get_or_insert(at);
        self.last_reply = Some(at);
    }

    fn set(&mut self, points: &[usize], bad: Bad) {
        for point in points {
            self.fields.insert(*point, Err(bad));
        }
    }

    /// A value that is there already is not taken back for a question that failed later.
    fn set_where_nothing_is(&mut self, points: &[usize], bad: Bad) {
        for point in points {
            self.fields.entry(*point).or_insert(Err(bad));
        }
    }
}

#[cfg(test)]
mod tests;
