//! Whom to ask next, and how patiently.

use super::{Next, Owner};
use crate::bus::device::{Rank, Ready};
use crate::bus::health::{Line, ProbeShare};
use crate::bus::plan::Block;
use crate::model::Mono;
use std::time::Duration;

/// What a device is chosen for. Among equals a scan that has begun goes before one that has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    Begin,
    /// This item of its scan.
    Ask(usize),
    /// A word that shows that no late answer is under way any more.
    Clear,
}

/// What the devices of a line could do at one moment.
#[derive(Debug, Default)]
struct Choice {
    best: Option<(Rank, usize, Move)>,
    /// When anything changes by itself, …
    wait: Option<Mono>,
    /// … and when one that is there needs the line.
    needed: Option<Mono>,
    /// What is to be done before anybody is asked: of this device an item is parted, or, if none is named, its
    /// scan given up.
    first: Option<(usize, Option<usize>)>,
}

impl Choice {
    fn weigh(&mut self, index: usize, ready: Ready, is_there: bool) {
        match ready {
            Ready::Ask(rank, item) => self.offer(rank, index, Move::Ask(item)),
            Ready::Begin(rank) => self.offer(rank, index, Move::Begin),
            Ready::Clear(rank) => self.offer(rank, index, Move::Clear),
            Ready::GiveUp => self.first = Some((index, None)),
            Ready::Part(item) => self.first = Some((index, Some(item))),
            Ready::Wait(until) => {
                self.wait = sooner(self.wait, until);
                if is_there {
                    self.needed = sooner(self.needed, until);
                }
            }
            Ready::Nothing => {}
        }
    }

    fn offer(&mut self, rank: Rank, index: usize, chosen: Move) {
        let begun = |other: Move| chosen != Move::Begin && other == Move::Begin;
        if self.best.is_none_or(|(than, _, other)| rank < than || rank == than && begun(other)) {
            self.best = Some((rank, index, chosen));
        }
    }
}

fn sooner(one: Option<Mono>, other: Mono) -> Option<Mono> {
    Some(one.map_or(other, |one| one.min(other)))
}

impl Owner {
    /// Whom to ask now. `blocked` tells until when a block may not be asked.
    pub(in crate::bus) fn next(&mut self, blocked: &dyn Fn(u8, &Block) -> Option<Mono>) -> Next {
        loop {
            let now = self.clock.mono();
            let choice = self.choice(now, blocked);
            match choice.first {
                Some((index, Some(item))) => {
                    self.devices.get_mut(index).into_iter().for_each(|device| device.part(item));
                    continue;
                }
                Some((index, None)) => {
                    self.give_up(index);
                    continue;
                }
                None => {}
            }
            let Some((rank, index, chosen)) = choice.best else {
                return choice.wait.map_or(Next::Nothing, Next::Wait);
            };
            if let (Rank::Leisure(_), Some(needed)) = (rank, choice.needed)
                && needed < now.plus(self.leisure_takes(index))
            {
                return Next::Wait(choice.wait.unwrap_or(needed));
            }
            let question = match chosen {
                Move::Begin => {
                    self.begin(index, now);
                    continue;
                }
                Move::Ask(item) => self.take(index, item, blocked),
                Move::Clear => self.clear(index, now),
            };
            return question.map_or(Next::Nothing, Next::Ask);
        }
    }

    fn choice(&self, now: Mono, blocked: &dyn Fn(u8, &Block) -> Option<Mono>) -> Choice {
        let (share, mut choice) = (self.share_now(now), Choice::default());
        for (index, device) in self.devices.iter().enumerate() {
            choice.weigh(index, device.ready(now, &share, blocked), !device.health.is_probed());
        }
        choice
    }

    /// The share protects those that answer; where nobody does, nobody waits for it.
    fn share_now(&self, now: Mono) -> ProbeShare {
        if self.anybody_answers() { self.share } else { ProbeShare::new(now) }
    }

    pub(super) fn anybody_answers(&self) -> bool {
        self.devices.iter().any(|device| device.health.is_good())
    }

    /// How long the line must be idle for what this device is asked at leisure.
    fn leisure_takes(&self, index: usize) -> Duration {
        let device = self.devices.get(index);
        device.map_or(Duration::ZERO, |device| device.leisure_takes(self.neighbours()))
    }

    /// What suffices for the slowest of those that have answered.
    fn neighbours(&self) -> Option<Duration> {
        self.devices.iter().filter_map(|device| device.health.latency.patience()).max()
    }

    /// Whether a device that nobody knows could be asked once more before anybody else needs the line, which was to
    /// be idle until then.
    pub(super) fn has_time_for(&self, index: usize, idle_until: Mono, now: Mono) -> bool {
        let newcomer = self.devices.get(index).filter(|device| !device.health.is_good() && self.hears_late);
        newcomer.is_some_and(|device| {
            let neighbours = self.neighbours();
            neighbours.is_some() && idle_until >= now.plus(device.leisure_takes(neighbours))
        })
    }

    /// What decides how long a device is waited for whose pace nobody knows, or that is silent.
    pub(super) fn line_for(&self, index: usize, blocked: &dyn Fn(u8, &Block) -> Option<Mono>) -> Line {
        if self.devices.get(index).is_none_or(|device| device.health.is_good()) {
            return Line::default();
        }
        let now = self.clock.mono();
        let share = self.share_now(now);
        let neighbours = self.neighbours();
        let others = self.devices.iter().enumerate().filter(|(other, _)| *other != index);
        let free_until = others.filter_map(|(_, device)| match device.ready(now, &share, blocked) {
            Ready::Ask(Rank::Leisure(_), _) | Ready::Begin(Rank::Leisure(_)) => None,
            Ready::Wait(until) => Some(until),
            Ready::Ask(..) | Ready::Begin(_) | Ready::Clear(_) | Ready::Part(_) | Ready::GiveUp => Some(now),
            Ready::Nothing => None,
        });
        let idle = free_until.min().map_or(crate::bus::TIMEOUT, |until| until.since(now));
        Line { neighbours, idle, patient: share.is_patient(now), hears_late: self.hears_late }
    }
}
