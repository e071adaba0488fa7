//! What becomes of records that have ended: settled by lane, refused, told.

use super::batches::Batches;
use super::session::{Ended, Session};
use super::window::{Fate, What};
use crate::spool::Outcome;
use crate::upstream::proof::Way;
use crate::upstream::thin::Sieve;
use crate::upstream::unsent;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use tokio::time::Instant;

impl Session<'_> {
    /// Settles what has ended, in the order in which it was handed over: of each lane everything up to there. What was
    /// taken first, for it tells what a refusal is worth.
    pub(super) async fn settle(&mut self) -> Result<(), Ended> {
        let lane_of = self.lanes();
        let thinned = self.work.thin.is_some() && self.alone.is_none();
        let mut runs = Runs::default();
        for (what, fate) in self.window.take_run(&lane_of) {
            self.progress = Instant::now();
            match (what, fate) {
                (What::Record(position), Fate::Delivered) if thinned => {
                    self.taken(position);
                    self.ended(position, &Outcome::Delivered);
                    runs.some_thinned = true;
                }
                (What::Record(position), Fate::GivenUp(reason)) if thinned => {
                    self.under_way.remove(&position);
                    self.ended(position, &unsent(reason));
                }
                (What::Record(position), Fate::Delivered) => {
                    self.taken(position);
                    runs.delivered(lane_of(position), position);
                }
                (What::Record(position), Fate::Refused(why)) => {
                    runs.left(lane_of(position), position);
                    runs.refused.push((position, why));
                }
                (What::Record(position), Fate::GivenUp(reason)) => {
                    runs.left(lane_of(position), position);
                    runs.given_up.push((position, reason));
                }
                (What::Event(number), Fate::Delivered) if !self.event_refused => {
                    self.work.told = self.work.told.max(number);
                }
                (What::Gap(id), Fate::Delivered) => self.work.reader.announced(id).await?,
                (What::Event(_) | What::Gap(_), Fate::Refused(why)) => self.note_unheard(why),
                (What::Event(_) | What::Gap(_) | What::Word, _) => {}
            }
        }
        self.settle_runs(runs).await?;
        for lane in [Some(&mut self.history), self.live.as_mut()].into_iter().flatten() {
            for (range, outcome) in lane.sieve().map(Sieve::settle).unwrap_or_default() {
                self.work.reader.settle([range], outcome).await?;
            }
        }
        Ok(())
    }

    /// Where not everything goes: this has ended, and what is part of it.
    fn ended(&mut self, position: u64, outcome: &Outcome) {
        let is_live = position >= self.live_from;
        let lane = self.live.as_mut().filter(|_| is_live).unwrap_or(&mut self.history);
        if let Some(sieve) = lane.sieve() {
            sieve.ended(position, outcome);
        }
    }

    /// The broker has acknowledged this record.
    fn taken(&mut self, position: u64) {
        let way = self.way_of(position);
        let whose = self.under_way.remove(&position);
        if let Some((way, device)) = &whose {
            self.unwanted.remove(&(device.clone(), *way));
        }
        let device = whose.as_ref().map(|(_, device)| device);
        self.trials.delivered(position, (way, device), Instant::now());
    }

    /// By which way this record went that was handed over.
    pub(super) fn way_of(&self, position: u64) -> Way {
        match self.under_way.get(&position) {
            Some((way, _)) => *way,
            None if self.batches.is_some() => Way::BATCHES,
            None => Way::HISTORY,
        }
    }

    /// Of a position, the first one of the lane that its record travels in; what goes alone is a lane of its own.
    fn lanes(&self) -> impl Fn(u64) -> u64 + use<> {
        let batches = self.batches.as_ref();
        let spans = self.alone.is_some().then(|| batches.map(Batches::spans).cloned().unwrap_or_default());
        let live_from = self.live_from;
        move |position| match &spans {
            Some(alone) => alone.get(&position).copied().unwrap_or(position),
            None if position >= live_from => live_from,
            None => 0,
        }
    }

    async fn settle_runs(&mut self, runs: Runs) -> Result<(), Ended> {
        let Runs { ranges, refused, given_up, some_thinned, .. } = runs;
        if !ranges.is_empty() || some_thinned {
            self.work.reader.settle(ranges, Outcome::Delivered).await?;
            self.work.report.delivered(self.work.clock.utc());
            self.backoff.worked();
        }
        for (position, reason) in given_up {
            self.under_way.remove(&position);
            self.work.reader.settle([position..=position], unsent(reason)).await?;
        }
        for (position, why) in refused {
            let way = self.way_of(position);
            self.under_way.remove(&position);
            if self.refuse(position, way, why).await? {
                self.ended(position, &Outcome::Dropped("refused".to_owned()));
            }
        }
        Ok(())
    }

    /// An event or a gap that is refused is told again in the next session, and until somebody takes it.
    fn note_unheard(&mut self, why: &str) {
        if !std::mem::replace(&mut self.event_refused, true) {
            tracing::warn!(upstream = %self.work.name, why, "the broker refuses events; they are told again on the next connection");
        }
    }
}

/// What has ended, by lane: ranges that were taken, and what lies between them.
#[derive(Default)]
struct Runs {
    ranges: Vec<RangeInclusive<u64>>,
    /// Of each lane the range that grows.
    open: BTreeMap<u64, usize>,
    /// Where the next range of a lane begins, if not with the lane.
    begins: BTreeMap<u64, u64>,
    /// Something was taken of which the sieve keeps account.
    some_thinned: bool,
    refused: Vec<(u64, &'static str)>,
    given_up: Vec<(u64, &'static str)>,
}

impl Runs {
    fn delivered(&mut self, lane: u64, position: u64) {
        let begin = self.begins.get(&lane).copied().unwrap_or(lane);
        match self.open.get(&lane).and_then(|at| self.ranges.get_mut(*at)) {
            Some(range) => *range = *range.start()..=position,
            None => {
                self.open.insert(lane, self.ranges.len());
                self.ranges.push(begin..=position);
            }
        }
    }

    /// This one was not taken: what comes behind it is another range. Everything before it was handed over too, and is
    /// settled with it.
    fn left(&mut self, lane: u64, position: u64) {
        self.open.remove(&lane);
        self.begins.insert(lane, position + 1);
    }
}
