//! What an upstream holds of the uplinks: over which path it dials, what that allows, and when to change.

use super::budget::{Ledger, Stage};
use super::config::{Allow, Config};
use super::dial::{Connection, DialError, Endpoint, dial_over};
use super::path::{News, Path, Report};
use super::tls::Tls;
use crate::model::Name;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// From 80 % of the budget on, batches go so much less often.
const STRETCH: u32 = 3;
/// What is written and not due for anybody at once, is said so often.
const STATUS_EVERY: Duration = Duration::from_secs(60);
/// A batch of a path that gives none, once its budget is nearly used.
const STRETCHED_BATCH: Duration = Duration::from_secs(60);
/// History that may not go now is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// History may be ahead of its rate by so much: a batch.
const BURST: Duration = Duration::from_secs(2);
/// IP, TCP, TLS and MQTT around one message and its acknowledgement, measured.
const AROUND_A_MESSAGE: u64 = 225;
/// Far ends that are probed.
const TARGETS: usize = 8;

/// Which path is taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) index: usize,
    /// The one before it still works: there is time to end in order.
    pub(super) gently: bool,
}

/// The account of an uplink, and when history is due again.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) ledger: Ledger,
    next: Option<Instant>,
}

/// What the keeper of the paths and all upstreams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) configs: Vec<Config>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) chosen: watch::Sender<Chosen>,
    books: Mutex<Vec<Book>>,
    targets: Mutex<Vec<Endpoint>>,
}

impl Shared {
    pub(super) fn new(
        configs: Vec<Config>,
        ledgers: Vec<Ledger>,
        reports: mpsc::Sender<Report>,
        chosen: Chosen,
    ) -> Shared {
        let books = ledgers.into_iter().map(|ledger| Book { ledger, next: None }).collect();
        let chosen = watch::Sender::new(chosen);
        Shared { configs, reports, chosen, books: Mutex::new(books), targets: Mutex::default() }
    }

    /// Held for a few additions, never while anything is waited for.
    pub(super) fn books(&self) -> MutexGuard<'_, Vec<Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The far ends that were dialled last.
    pub(super) fn targets(&self) -> Vec<Endpoint> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn aims_at(&self, to: &Endpoint) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if !targets.contains(to) {
            targets.insert(0, to.clone());
            targets.truncate(TARGETS);
        }
    }

    pub(super) fn path(&self, index: usize) -> Path {
        let config = self.configs.get(index);
        config.map_or_else(Path::default, |config| Path::over(index, config.clone(), self.reports.clone()))
    }

    fn stage(&self, index: usize) -> Stage {
        let budget = self.configs.get(index).and_then(|config| config.budget);
        self.books().get(index).map_or(Stage::Free, |book| book.ledger.stage(budget))
    }
}

/// What may go over the path of a connection now, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub allow: Allow,
    /// How often live readings go together; as the upstream says where there is none.
    pub batch: Option<Duration>,
    /// The longest silence; as the upstream says where there is none.
    pub keep_alive: Option<Duration>,
    /// How often status is said.
    pub status_every: Duration,
}

impl Policy {
    const FREE: Policy =
        Policy { allow: Allow::ALL, batch: None, keep_alive: None, status_every: STATUS_EVERY };

    fn of(config: &Config, stage: Stage, wired_only: bool) -> Policy {
        let history = config.allow.history && !(wired_only && config.metered);
        let allow = Allow { history, ..config.allow };
        let allow =
            if stage == Stage::Spent { Allow { live: false, history: false, ..allow } } else { allow };
        let batch = match stage {
            Stage::Free => config.batch,
            Stage::Stretched | Stage::Spent => Some(config.batch.unwrap_or(STRETCHED_BATCH) * STRETCH),
        };
        let quiet =
            if config.metered { batch.max(config.keep_alive).unwrap_or_default() } else { Duration::ZERO };
        Policy { allow, batch, keep_alive: config.keep_alive, status_every: STATUS_EVERY.max(quiet) }
    }
}

/// A connection over another path that is being made while the old one goes on.
#[derive(Debug)]
struct Making {
    index: usize,
    to: Endpoint,
    dial: JoinHandle<Result<Connection, DialError>>,
}

/// Over which path the connection goes that was dialled last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum On {
    #[default]
    NotYet,
    /// It never leaves the machine.
    Here,
    Uplink(usize),
}

#[derive(Debug)]
struct Over {
    shared: Arc<Shared>,
    chosen: watch::Receiver<Chosen>,
    wired_only: bool,
    /// Shared by all links of one upstream.
    on: Arc<Mutex<On>>,
    making: Option<Making>,
    ready: Option<(usize, Endpoint, Connection)>,
}

/// An upstream's part in the uplinks. Where there are none, it does nothing and allows everything.
#[derive(Debug, Default)]
pub struct Link(Option<Over>);

impl Link {
    /// `wired_only`: history waits for a path that is not metered.
    pub(super) fn over(shared: Arc<Shared>, wired_only: bool) -> Link {
        let chosen = shared.chosen.subscribe();
        let on = Arc::default();
        Link(Some(Over { shared, chosen, wired_only, on, making: None, ready: None }))
    }

    /// Another one of the same upstream, for whoever makes its connections.
    #[must_use]
    pub fn another(&self) -> Link {
        let Some(over) = &self.0 else { return Link::default() };
        let (shared, chosen, on) = (Arc::clone(&over.shared), over.chosen.clone(), Arc::clone(&over.on));
        Link(Some(Over { shared, chosen, wired_only: over.wired_only, on, making: None, ready: None }))
    }

    /// The way to a far end as it is best now. What never leaves the machine takes none of ours.
    pub fn dialler(&mut self, to: &Endpoint) -> Dialler {
        let Some(over) = &mut self.0 else { return Dialler::default() };
        if to.is_loopback() {
            over.set(On::Here);
            return Dialler::default();
        }
        over.shared.aims_at(to);
        let index = over.chosen.borrow_and_update().index;
        over.set(On::Uplink(index));
        over.making = None;
        let ready = over.ready.take().filter(|(at, end, _)| *at == index && end == to);
        Dialler { path: over.shared.path(index), ready: ready.map(|(_, _, connection)| connection) }
    }

    /// The uplink of the connection that was dialled last.
    pub fn name(&self) -> Option<&Name> {
        let (over, index) = self.on()?;
        over.shared.configs.get(index).map(|config| &config.name)
    }

    /// Whether another path is taken by now than that of the connection that was dialled last.
    pub fn has_moved(&self) -> bool {
        self.on().is_some_and(|(over, index)| over.chosen.borrow().index != index)
    }

    pub fn policy(&self) -> Policy {
        let Some((over, index)) = self.on() else { return Policy::FREE };
        let stage = over.shared.stage(index);
        over.shared
            .configs
            .get(index)
            .map_or(Policy::FREE, |config| Policy::of(config, stage, over.wired_only))
    }

    /// Until when history has to wait, if it may not go now.
    pub fn history_waits(&self, now: Instant) -> Option<Instant> {
        let (over, index) = self.on()?;
        let config = over.shared.configs.get(index)?;
        let books = over.shared.books();
        let book = books.get(index)?;
        if !self.policy_of(over, config, &book.ledger).allow.history
            || !book.ledger.has_room_for_history(config.budget)
        {
            return Some(now + LOOK_AGAIN);
        }
        book.next.and_then(|next| next.checked_sub(BURST)).filter(|next| *next > now)
    }

    fn policy_of(&self, over: &Over, config: &Config, ledger: &Ledger) -> Policy {
        Policy::of(config, ledger.stage(config.budget), over.wired_only)
    }

    /// A message of the backlog with so many octets has been handed over.
    pub fn history_went(&self, octets: usize, now: Instant) {
        let Some((over, index)) = self.on() else { return };
        let rate = over.shared.configs.get(index).and_then(|config| config.history_rate);
        let octets = u64::try_from(octets).unwrap_or(u64::MAX).saturating_add(AROUND_A_MESSAGE);
        let mut books = over.shared.books();
        let Some(book) = books.get_mut(index) else { return };
        book.ledger.history = book.ledger.history.saturating_add(octets);
        if let Some(rate) = rate {
            let takes = Duration::from_millis(octets.saturating_mul(1000) / rate);
            book.next = Some(book.next.map_or(now, |next| next.max(now)) + takes);
        }
    }

    /// The far end of a session did not answer, although its connection stands.
    pub fn unanswered(&self) {
        if let Some((over, index)) = self.on() {
            over.shared.path(index).tell(News::Unanswered);
        }
    }

    /// Returns when the connection to this far end should be ended and made anew, over another path: at once where its own
    /// is dead, else when a connection over the other one stands, which the next [`Link::dialler`] has. Nothing is
    /// lost where this is not waited for to the end.
    pub async fn moved(&mut self, to: &Endpoint, tls: Option<&Tls>) {
        let Some(over) = &mut self.0 else { return pending().await };
        let On::Uplink(on) = over.get() else { return pending().await };
        loop {
            let Chosen { index, gently } = *over.chosen.borrow_and_update();
            if index == on {
                (over.making, over.ready) = (None, None);
                if over.chosen.changed().await.is_err() {
                    return pending().await;
                }
                continue;
            }
            if !gently || over.ready.as_ref().is_some_and(|(at, end, _)| *at == index && end == to) {
                return;
            }
            over.make(index, to, tls).await;
        }
    }

    /// Whether there is time to end in order: the path of the last connection still works, and the next one stands.
    pub fn leaves_in_order(&self) -> bool {
        self.0.as_ref().is_some_and(|over| over.ready.is_some())
    }

    /// Returns when another path is taken than that of the last connection: whoever waits before the next attempt need wait no
    /// longer.
    pub async fn another_way(&mut self) {
        let Some(over) = &mut self.0 else { return pending().await };
        let On::Uplink(on) = over.get() else { return pending().await };
        if over.chosen.wait_for(|chosen| chosen.index != on).await.is_err() {
            pending().await
        }
    }

    fn on(&self) -> Option<(&Over, usize)> {
        let over = self.0.as_ref()?;
        match over.get() {
            On::NotYet => Some((over, over.chosen.borrow().index)),
            On::Here => None,
            On::Uplink(index) => Some((over, index)),
        }
    }
}

impl Over {
    fn get(&self) -> On {
        *self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, on: On) {
        *self.on.lock().unwrap_or_else(PoisonError::into_inner) = on;
    }

    /// Goes on with making a connection over that path, until it stands, fails, or another path is taken. A path over which
    /// there is none is told so, and the choice falls back.
    async fn make(&mut self, index: usize, to: &Endpoint, tls: Option<&Tls>) {
        if self.making.as_ref().is_none_or(|making| making.index != index || making.to != *to) {
            let (path, end, tls) = (self.shared.path(index), to.clone(), tls.cloned());
            let dial = tokio::spawn(async move { dial_over(&path, &end, tls.as_ref()).await });
            self.making = Some(Making { index, to: to.clone(), dial });
        }
        let Some(making) = &mut self.making else { return };
        tokio::select! {
            done = &mut making.dial => {
                self.making = None;
                match done {
                    Ok(Ok(connection)) => self.ready = Some((index, to.clone(), connection)),
                    Ok(Err(error)) => {
                        self.shared.path(index).tell(News::Failed(error.to_string()));
                        // It is asked again when something has changed, or once more has been tried.
                        let _ = self.chosen.changed().await;
                    }
                    Err(_) => {}
                }
            }
            _ = self.chosen.changed() => {}
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.dial.abort();
    }
}

/// The way of one connection, for the task that makes it.
#[derive(Debug, Default)]
pub struct Dialler {
    path: Path,
    /// One that stands already.
    ready: Option<Connection>,
}

impl Dialler {
    /// Connects, and with `tls` secures the connection, before it returns.
    ///
    /// # Errors
    /// In words for an operator; none of them is a reason to stop trying.
    pub async fn dial(self, to: &Endpoint, tls: Option<&Tls>) -> Result<Connection, DialError> {
        match self.ready {
            Some(connection) => Ok(connection),
            None => dial_over(&self.path, to, tls).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::Budget;

    fn lte() -> Config {
        Config::new("lte".parse().unwrap(), "wwan0".to_owned(), true)
    }

    fn link(config: Config, octets: u64, wired_only: bool) -> (Link, Arc<Shared>) {
        let ledger = Ledger { octets, ..Ledger::default() };
        let chosen = Chosen { index: 0, gently: false };
        let shared = Arc::new(Shared::new(vec![config], vec![ledger], mpsc::channel(1).0, chosen));
        (Link::over(Arc::clone(&shared), wired_only), shared)
    }

    #[test]
    fn without_uplinks_everything_goes_as_the_upstream_says() {
        let mut link = Link::default();
        assert_eq!(link.policy(), Policy::FREE);
        assert_eq!((link.history_waits(Instant::now()), link.name(), link.has_moved()), (None, None, false));
        let far = Endpoint { host: "b".to_owned(), port: 1 };
        assert!(link.dialler(&far).path.interface().is_none());
    }

    #[test]
    fn batches_stretch_at_eighty_percent_and_at_a_hundred_only_alarms_go() {
        let config = Config {
            batch: Some(Duration::from_secs(300)),
            budget: Some(Budget { month: 1000, reset_day: 1 }),
            ..lte()
        };
        let policy = |octets| link(config.clone(), octets, false).0.policy();
        assert_eq!((policy(0).batch, policy(0).allow), (Some(Duration::from_secs(300)), Allow::ALL));
        assert_eq!((policy(800).batch, policy(800).allow), (Some(Duration::from_secs(900)), Allow::ALL));
        assert_eq!(policy(1000).allow, Allow { alarm: true, live: false, history: false });
        assert_eq!(policy(0).status_every, Duration::from_secs(600), "the keep-alive");
        let plain = Config { batch: None, ..config.clone() };
        assert_eq!(link(plain, 800, false).0.policy().batch, Some(Duration::from_secs(180)));
    }

    #[test]
    fn history_waits_for_a_wire_where_the_owner_says_so() {
        let now = Instant::now();
        assert_eq!(link(lte(), 0, false).0.history_waits(now), None);
        assert_eq!(link(lte(), 0, true).0.history_waits(now), Some(now + LOOK_AGAIN));
        let wired = Config::new("ethernet".parse().unwrap(), "eth0".to_owned(), false);
        assert_eq!(link(wired, 0, true).0.history_waits(now), None);
    }

    #[test]
    fn history_keeps_to_its_octets_a_second_and_to_half_of_what_is_left_for_all_upstreams_together() {
        let budget = Some(Budget { month: 100_000, reset_day: 1 });
        let (one, shared) = link(Config { budget, ..lte() }, 0, false);
        let other = Link::over(Arc::clone(&shared), false);
        let (start, mut now, mut went) = (Instant::now(), Instant::now(), 0);
        loop {
            match one.history_waits(now) {
                Some(until) if until == now + LOOK_AGAIN => break,
                Some(until) => now = until,
                None => {
                    other.history_went(775, now);
                    went += 1000;
                    shared.books()[0].ledger.octets += 1000;
                }
            }
        }
        assert_eq!(went, 50_000, "half of the budget");
        // All but what may go at once, at 4 kB a second.
        let span = (now - start).as_millis();
        assert!((10_000..12_500).contains(&span), "{span} ms");
    }

    #[tokio::test]
    async fn what_never_leaves_the_machine_takes_no_uplink_and_waits_for_none() {
        let config = Config { budget: Some(Budget { month: 1, reset_day: 1 }), ..lte() };
        let (mut link, shared) = link(config, 5, true);
        let dialler = link.dialler(&Endpoint { host: "127.0.0.1".to_owned(), port: 1 });
        assert!(dialler.path.interface().is_none() && link.policy() == Policy::FREE);
        let far = Endpoint { host: "b".to_owned(), port: 1 };
        assert_eq!(link.dialler(&far).path.interface(), Some("wwan0"));
        assert!(!link.policy().allow.live);
        assert_eq!((link.name().unwrap().as_str(), shared.targets()), ("lte", vec![far]));
    }

    #[tokio::test]
    async fn a_dead_path_ends_a_session_at_once_and_a_living_one_only_when_the_next_stands() {
        let (far, near) = (Endpoint { host: "192.0.2.1".to_owned(), port: 1 }, lte());
        let config = |name: &str| Config { name: name.parse().unwrap(), ..near.clone() };
        let chosen = Chosen { index: 0, gently: false };
        let ledgers = vec![Ledger::default(), Ledger::default()];
        let (reports, mut heard) = mpsc::channel(8);
        let shared = Arc::new(Shared::new(vec![config("a"), config("b")], ledgers, reports, chosen));
        let mut link = Link::over(Arc::clone(&shared), false);
        link.dialler(&far);
        shared.chosen.send_replace(Chosen { index: 1, gently: false });
        link.moved(&far, None).await;
        assert!(link.has_moved() && !link.leaves_in_order());
        link.dialler(&far);
        // There is no interface of that name, so the connection fails, the path is told so, and the session stays.
        shared.chosen.send_replace(Chosen { index: 0, gently: true });
        tokio::select! {
            () = link.moved(&far, None) => panic!("it left a path that works for one that does not"),
            report = heard.recv() => {
                let report = report.unwrap();
                assert!(report.index == 0 && matches!(report.news, News::Failed(_)), "{report:?}");
            }
        }
        shared.chosen.send_replace(Chosen { index: 1, gently: false });
        assert!(!link.has_moved());
    }
}
