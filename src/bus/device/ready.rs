//! What a device could do now, and how urgent that is.

use super::{Device, Open};
use crate::bus::health::{Line, ProbeShare, Try};
use crate::bus::job::Turn;
use crate::bus::plan::Block;
use crate::model::Mono;
use std::time::Duration;

/// What the device could do now. They are taken in this order: by deadline, then those without one,
/// the one begun first, then the one that waited longest, then what is asked only while the line is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bus) enum Rank {
    Deadline(Mono),
    Begun,
    Asked(Mono),
    Leisure(Mono),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bus) enum Ready {
    /// The scan under way has a question: this item of it.
    Ask(Rank, usize),
    /// A late answer is in the way of all that is left to ask: a word that the device gives back (function 08)
    /// would show that it will not come any more.
    Clear(Rank),
    /// A question of the scan under way is to be parted before it may be asked.
    Part(usize),
    /// What is left of the scan under way can't be asked in time.
    GiveUp,
    /// A scan is due.
    Begin(Rank),
    /// Not before this.
    Wait(Mono),
    /// Answers are under way, or nothing is ever due.
    Nothing,
}

impl Device {
    /// What this device could do now.
    pub(in crate::bus) fn ready(
        &self,
        now: Mono,
        share: &ProbeShare,
        blocked: &dyn Fn(u8, &Block) -> Option<Mono>,
    ) -> Ready {
        match &self.open {
            Some(open) => self.ready_open(open, now, share, blocked),
            None => self.ready_closed(now, share),
        }
    }

    fn ready_open(
        &self,
        open: &Open,
        now: Mono,
        share: &ProbeShare,
        blocked: &dyn Fn(u8, &Block) -> Option<Mono>,
    ) -> Ready {
        let probe = open.probe && !open.job.is_answered();
        let ahead = probe && share.free_at() > now && share.may_go_while_idle(now);
        let gate = if probe && !ahead { share.free_at().max(self.rest_until) } else { self.rest_until };
        // Nobody knows that it is there: asked again while nobody else needs the line, or else when its turn comes.
        let retried = self.is_unanswered() && !open.probe && open.asked && !open.job.is_lossy();
        let unit = self.config.unit;
        let rank = match open.deadline {
            _ if ahead || open.second || retried => Rank::Leisure(self.asked),
            _ if probe => Rank::Deadline(self.asked),
            Some(deadline) => Rank::Deadline(deadline),
            None => Rank::Begun,
        };
        if (open.second || retried) && open.deadline.is_some_and(|turn| turn <= now) && !open.job.is_pending()
        {
            return Ready::GiveUp;
        }
        match open.job.turn(now, &|block| blocked(unit, block)) {
            _ if gate > now => Ready::Wait(gate),
            Turn::Wait(_) if retried => Ready::GiveUp,
            Turn::Wait(until) if self.could_clear(open, until, now) => Ready::Clear(rank),
            Turn::Ask(at) => Ready::Ask(rank, at),
            Turn::Part(at) => Ready::Part(at),
            Turn::Wait(until) if !open.probe && open.deadline.is_some_and(|deadline| deadline <= until) => {
                Ready::GiveUp
            }
            Turn::Wait(until) => Ready::Wait(until),
            Turn::Pending | Turn::Over => Ready::Nothing,
        }
    }

    /// It gives words back, is there, and the wait is longer than that takes.
    fn could_clear(&self, open: &Open, until: Mono, now: Mono) -> bool {
        let worth_it = until.since(now) > self.config.min_timeout;
        let there = self.health.is_good() || open.job.is_answered();
        self.config.profile.habits.diagnostics && there && worth_it && self.cleared_at <= now
    }

    fn ready_closed(&self, now: Mono, share: &ProbeShare) -> Ready {
        let gate = self.health.not_before.max(self.rest_until);
        let probe = self.health.is_probed();
        let (periodic, always) = (self.periods.next_periodic(), self.periods.continuous_since());
        let first = match (periodic, always) {
            _ if !self.owed.is_empty() => Mono(0),
            (Some(a), Some(b)) => a.min(b),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return Ready::Nothing,
        };
        let shared = if probe { share.free_at() } else { Mono(0) };
        let at = first.max(gate).max(shared);
        let leisure =
            if probe { first <= now && share.may_go_while_idle(now) } else { !self.second.is_empty() };
        if at > now && leisure && gate <= now {
            return Ready::Begin(Rank::Leisure(self.asked));
        }
        if at > now {
            return Ready::Wait(at);
        }
        match self.periods.deadline(now) {
            // Of those that are silent whoever waited longest: their deadlines are all long past.
            _ if probe => Ready::Begin(Rank::Deadline(self.asked)),
            Some(deadline) => Ready::Begin(Rank::Deadline(deadline)),
            None => Ready::Begin(Rank::Asked(self.asked)),
        }
    }

    /// How long the line must be idle for what is asked at leisure: a short wait, whoever is asked.
    pub(in crate::bus) fn leisure_takes(&self, neighbours: Option<Duration>) -> Duration {
        self.health.patience(&self.config, &Line { neighbours, ..Line::default() }, Try::Last)
    }
}
