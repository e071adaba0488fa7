//! The keeper of the paths: one task that looks at interfaces, hears what happened on each path, probes the better
//! ones, chooses, and keeps the accounts.

use super::budget::{Ledger, Stage};
use super::choice::{Choice, Rules, State};
use super::config::Config;
use super::dial::probe;
use super::interface::{Away, Interface};
use super::link::{Chosen, Link, Shared};
use super::path::{News, Report};
use crate::model::status::{ClockStatus, UplinkState, UplinkStatus};
use crate::model::{Clock, Event, EventKind, Mono, Name, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// What was told of paths and not looked at yet: what does not fit would have said the same.
const REPORTS: usize = 64;
/// How often interfaces and their counters are looked at.
const LOOK: Duration = Duration::from_millis(500);
const DAY_MS: i64 = 86_400_000;

/// What the keeper needs from outside.
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    /// The clock that events are stamped by.
    pub stamps: Arc<dyn Clock>,
    /// Months turn only while the date is known.
    pub known: watch::Receiver<ClockStatus>,
    pub events: mpsc::Sender<Event>,
    /// Which run of the kernel the interfaces' counters belong to.
    pub boot: String,
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// All uplinks of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    shared: Option<Arc<Shared>>,
    status: Option<watch::Receiver<Vec<UplinkStatus>>>,
}

impl Paths {
    /// With the accounts of the last run; the future is the keeper's task. Without uplinks there is none to keep.
    pub fn start(
        configs: Vec<Config>,
        kept: &BTreeMap<String, Ledger>,
        around: Surroundings,
    ) -> (Paths, Option<impl Future<Output = ()> + Send + 'static>) {
        if configs.is_empty() {
            return (Paths::default(), None);
        }
        let (reports, heard) = mpsc::channel(REPORTS);
        let ledger = |config: &Config| kept.get(config.name.as_str()).cloned().unwrap_or_default();
        let ledgers = configs.iter().map(ledger).collect();
        let choice = Choice::new(
            configs
                .iter()
                .map(|config| Rules { stable_for: config.stable_for, quiet: config.user_timeout / 2 }),
        );
        let chosen = Chosen { index: 0, gently: false };
        let shared = Arc::new(Shared::new(configs, ledgers, reports, chosen));
        let mut keeper = Keeper::new(Arc::clone(&shared), choice, around);
        keeper.look();
        keeper.choose();
        keeper.used = keeper.choice.taken().index;
        let status = Some(keeper.status.subscribe());
        (Paths { shared: Some(shared), status }, Some(keeper.run(heard)))
    }

    /// An upstream's part in them; `wired_only`: its history waits for a path that is not metered.
    pub fn link(&self, wired_only: bool) -> Link {
        self.shared.as_ref().map_or_else(Link::default, |shared| Link::over(Arc::clone(shared), wired_only))
    }

    /// What each is doing; nothing where there are none.
    pub fn status(&self) -> Option<watch::Receiver<Vec<UplinkStatus>>> {
        self.status.clone()
    }

    /// The accounts, to be kept over a restart.
    pub fn ledgers(&self) -> BTreeMap<String, Ledger> {
        let Some(shared) = &self.shared else { return BTreeMap::new() };
        let books = shared.books();
        let names = shared.configs.iter().map(|config| config.name.to_string());
        names.zip(books.iter().map(|book| book.ledger.clone())).collect()
    }
}

/// One uplink as the keeper knows it.
struct Watched {
    interface: Interface,
    away: Option<Away>,
    /// Why it failed last.
    why: String,
    probing: bool,
    probe_due: Mono,
}

struct Keeper {
    shared: Arc<Shared>,
    choice: Choice,
    around: Surroundings,
    watched: Vec<Watched>,
    probes: JoinSet<(usize, Result<(), String>)>,
    status: watch::Sender<Vec<UplinkStatus>>,
    changes: u64,
    /// The path that something came over last, of those that were taken.
    used: usize,
    /// Why another is taken, to be told once something has come over it.
    why: String,
}

impl Keeper {
    fn new(shared: Arc<Shared>, choice: Choice, around: Surroundings) -> Keeper {
        let watched = |config: &Config| Watched {
            interface: Interface::named(&config.interface),
            away: None,
            why: String::new(),
            probing: false,
            probe_due: Mono::default(),
        };
        let watched = shared.configs.iter().map(watched).collect();
        let (probes, status) = (JoinSet::new(), watch::Sender::default());
        Keeper { shared, choice, around, watched, probes, status, changes: 0, used: 0, why: String::new() }
    }

    async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.around.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => self.look(),
                Some(report) = reports.recv() => self.hear(report),
                Some(done) = self.probes.join_next() => self.probed(done),
            }
            self.choose();
        }
        self.look();
    }

    fn now(&self) -> Mono {
        self.around.clock.mono()
    }

    fn name(&self, index: usize) -> String {
        self.shared.configs.get(index).map(|config| config.name.to_string()).unwrap_or_default()
    }

    /// At interfaces and counters, and which path is to be probed.
    fn look(&mut self) {
        let now = self.now();
        for index in 0..self.watched.len() {
            self.look_at(index, now);
            self.count(index);
        }
        self.probe_better_ones(now);
        self.publish();
    }

    fn look_at(&mut self, index: usize, now: Mono) {
        let Some(watched) = self.watched.get_mut(index) else { return };
        let away = watched.interface.carrier().err();
        if away != watched.away {
            match away {
                Some(Away::Missing) => watched.why = "there is no such interface".to_owned(),
                Some(Away::Down) => watched.why = "its interface is down".to_owned(),
                None => watched.why.clear(),
            }
            watched.away = away;
        }
        self.choice.carrier(index, away.is_none(), now);
    }

    fn count(&self, index: usize) {
        let (Some(watched), Some(config)) = (self.watched.get(index), self.shared.configs.get(index)) else {
            return;
        };
        let octets = watched.interface.octets();
        let mut books = self.shared.books();
        let Some(ledger) = books.get_mut(index).map(|book| &mut book.ledger) else { return };
        if let Some(octets) = octets {
            ledger.count(octets, &self.around.boot);
        }
        if self.around.known.borrow().known {
            ledger.turn(self.around.clock.utc(), config.budget.map_or(1, |budget| budget.reset_day));
        }
        let stage = ledger.stage(config.budget);
        if stage <= ledger.told {
            return;
        }
        ledger.told = stage;
        let (octets, of) = (ledger.octets, config.budget.map_or(0, |budget| budget.month));
        drop(books);
        self.tell_stage(&config.name, stage, octets, of);
    }

    fn tell_stage(&self, name: &Name, stage: Stage, octets: u64, of: u64) {
        let (kind, then) = match stage {
            Stage::Free => return,
            Stage::Stretched => (EventKind::BudgetLow, "batches go less often"),
            Stage::Spent => (EventKind::BudgetSpent, "only alarms go until the month is over"),
        };
        let text = format!("{octets} of {of} octets of this month are used: {then}");
        tracing::warn!(uplink = %name, "{text}");
        self.tell(kind, name.clone(), text);
    }

    /// Should the chronicle not keep up, the log has it.
    fn tell(&self, kind: EventKind, name: Name, text: String) {
        let event = Event { ts: self.around.stamps.utc(), kind, line: name, device: None, text };
        let _ = self.around.events.try_send(event);
    }

    /// Those that would be taken if they worked: nobody else uses them, so nothing else tells.
    fn probe_better_ones(&mut self, now: Mono) {
        let targets = self.shared.targets();
        if targets.is_empty() {
            return;
        }
        let taken = self.choice.taken().index;
        for (index, watched) in self.watched.iter_mut().enumerate().take(taken) {
            let Some(config) = self.shared.configs.get(index) else { continue };
            if watched.away.is_some() || watched.probing || now < watched.probe_due {
                continue;
            }
            (watched.probing, watched.probe_due) = (true, now.plus(config.probe_every));
            let (path, targets) = (self.shared.path(index), targets.clone());
            self.probes.spawn(async move {
                let mut said = Ok(());
                for target in &targets {
                    match probe(&path, target).await {
                        Ok(()) => return (index, Ok(())),
                        Err(error) => said = Err(error.to_string()),
                    }
                }
                (index, said)
            });
        }
    }

    fn probed(&mut self, done: Result<(usize, Result<(), String>), tokio::task::JoinError>) {
        let now = self.now();
        let Ok((index, outcome)) = done else {
            self.watched.iter_mut().for_each(|watched| watched.probing = false);
            return;
        };
        let Some(watched) = self.watched.get_mut(index) else { return };
        watched.probing = false;
        match outcome {
            Ok(()) => self.choice.works(index, now),
            Err(why) => {
                if self.choice.fails(index, now) {
                    watched.why = why;
                }
            }
        }
    }

    fn hear(&mut self, Report { index, news }: Report) {
        let now = self.now();
        let (failed, why) = match news {
            News::Heard => {
                self.choice.hears(index, now);
                return self.arrived(index);
            }
            News::Opened => {
                self.choice.opens(index, now);
                return self.arrived(index);
            }
            News::Dead(why) | News::Failed(why) => (self.choice.fails(index, now), why),
            News::Unanswered => {
                (self.choice.unanswered(index, now), "far ends do not answer over it".to_owned())
            }
        };
        if failed && let Some(watched) = self.watched.get_mut(index) {
            watched.why = why;
        }
    }

    /// Something came over a path that was changed to: now that is worth telling.
    fn arrived(&mut self, index: usize) {
        if index != self.choice.taken().index || index == self.used {
            return;
        }
        let (from, to, why) = (self.name(self.used), self.name(index), std::mem::take(&mut self.why));
        (self.used, self.changes) = (index, self.changes + 1);
        tracing::info!(from, to, why, "another uplink is taken");
        if let Some(config) = self.shared.configs.get(index) {
            let text = format!("{to} instead of {from}: {why}");
            self.tell(EventKind::UplinkChanged, config.name.clone(), text);
        }
        self.publish();
    }

    fn choose(&mut self) {
        let (now, before) = (self.now(), self.choice.taken().index);
        if !self.choice.choose(now) {
            return;
        }
        let taken = self.choice.taken();
        self.why = if taken.gently {
            format!("{} works again", self.name(taken.index))
        } else {
            let why = self.watched.get(before).map(|watched| watched.why.clone()).unwrap_or_default();
            format!("{}: {why}", self.name(before))
        };
        self.shared.chosen.send_replace(Chosen { index: taken.index, gently: taken.gently });
        self.publish();
    }

    fn publish(&self) {
        let taken = self.choice.taken().index;
        let books = self.shared.books();
        let all = self.shared.configs.iter().zip(&self.watched).zip(books.iter()).enumerate();
        let rows = all.map(|(index, ((config, watched), book))| {
            let state = match (watched.away, self.choice.state(index)) {
                (Some(Away::Missing), _) => UplinkState::Missing,
                (Some(Away::Down), _) => UplinkState::Down,
                (None, State::Good(_)) => UplinkState::Up,
                (None, State::Bad(_)) => UplinkState::Failed,
                (None, State::Unknown) => UplinkState::Unproven,
            };
            let bad = !matches!(state, UplinkState::Up | UplinkState::Unproven);
            let ledger = &book.ledger;
            UplinkStatus {
                name: config.name.clone(),
                interface: config.interface.clone(),
                metered: config.metered,
                in_use: index == taken,
                state,
                detail: Some(watched.why.clone()).filter(|why| bad && !why.is_empty()),
                since: Timestamp(ledger.since_day.saturating_mul(DAY_MS)),
                octets: ledger.octets,
                history_octets: ledger.history,
                octets_ever: ledger.ever,
                budget: config.budget.map(|budget| budget.month),
                stage: match ledger.stage(config.budget) {
                    Stage::Free => "free",
                    Stage::Stretched => "stretched",
                    Stage::Spent => "spent",
                },
                changes: self.changes,
            }
        });
        let rows: Vec<UplinkStatus> = rows.collect();
        self.status.send_if_modified(|before| {
            let changed = *before != rows;
            *before = rows;
            changed
        });
    }
}
