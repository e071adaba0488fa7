//! The owner's thread: a loop over requests that has records committed in time and says what it knows. It touches no
//! file: for that it lends the log to the hand, and goes on from memory until it is back.

use super::Status;
use super::cursor::Account;
use super::disk::Disk;
use super::hand::{Done, Hand, Job};
use super::log::Log;
use super::meanwhile::Meanwhile;
use super::request::{CommitAnswer, Found, Question, Request};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How often the owner turns when nothing is asked of it: heartbeat, cursors, age.
const TURN: Duration = Duration::from_secs(1);
/// While requests wait in the queue, the accounts are published once for so many of them.
const PUBLISH_EVERY: usize = 64;
/// How soon an ill disk is tried again.
const HEAL: Duration = Duration::from_secs(1);
/// A disk that takes longer than this for one job stalls: said, once, until it is back.
const STALLS: Duration = Duration::from_secs(3);
/// So long a question after losses waits for the disk. Who asks delivers live records too: he is told of none then,
/// and asks again.
const LOSSES_WAIT: Duration = Duration::from_millis(100);

type Accounts = BTreeMap<String, watch::Receiver<Account>>;

pub(super) struct Owner<D: Disk> {
    /// `None` while the hand has it; then `meanwhile` stands in for it.
    log: Option<Box<Log<D>>>,
    meanwhile: Meanwhile,
    hand: Hand<D>,
    lent_at: Instant,
    /// Since when the disk stalls, in words.
    stalls: Option<String>,
    /// What the disk is needed for, until the log is back.
    waiting: VecDeque<Request>,
    commit_every: Duration,
    requests: mpsc::Receiver<Request>,
    head: watch::Sender<u64>,
    status: watch::Sender<Status>,
    accounts: BTreeMap<String, watch::Sender<Account>>,
    published: watch::Sender<Accounts>,
    heartbeat: u64,
    /// When what waits must be durable.
    due: Option<Instant>,
    turn: Instant,
    /// Questions that the disk could not answer for now; asked again each turn.
    unanswered: Vec<Request>,
    /// When the cursors were written last: no more often than records, for it wears the medium as much.
    saved_at: Instant,
    /// Requests served since the accounts were published.
    unpublished: usize,
}

impl<D: Disk> Owner<D> {
    pub(super) fn new(log: Log<D>, hand: Hand<D>, requests: mpsc::Receiver<Request>) -> Owner<D> {
        let now = Instant::now();
        let mut owner = Owner {
            head: watch::Sender::new(log.head),
            status: watch::Sender::new(log.status(0)),
            accounts: BTreeMap::new(),
            published: watch::Sender::new(Accounts::new()),
            heartbeat: 0,
            due: None,
            turn: now + TURN,
            unanswered: Vec::new(),
            unpublished: 0,
            saved_at: now,
            lent_at: now,
            stalls: None,
            waiting: VecDeque::new(),
            commit_every: log.config.commit_every,
            meanwhile: Meanwhile::default(),
            log: Some(Box::new(log)),
            hand,
            requests,
        };
        owner.publish_accounts();
        owner
    }

    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn accounts(&self) -> watch::Receiver<Accounts> {
        self.published.subscribe()
    }

    /// Until it is told to close or nobody is left to ask; then a last commit.
    pub(super) fn run(mut self) {
        // Only for waiting on the queues with a time limit; nothing else runs on it.
        match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(self.turn_about()),
            Err(error) => tracing::error!(%error, "the spool's thread cannot wait"),
        }
    }

    async fn turn_about(&mut self) {
        let mut is_open = true;
        loop {
            let until = self.wakes_at();
            tokio::select! {
                biased;
                back = self.hand.back.recv() => match back {
                    Some((log, Done::End(done))) => {
                        self.put_back(log);
                        self.publish();
                        // The lock is given back before anybody hears of the end.
                        self.log = None;
                        let _ = done.send(());
                        return;
                    }
                    Some((log, done)) => self.is_back(log, done),
                    None => return tracing::error!("the spool's hand has ended"),
                },
                request = self.requests.recv(), if is_open && !self.is_outrun() => match request {
                    Some(request) => {
                        self.serve(request);
                        self.publish_in_time();
                    }
                    None => {
                        is_open = false;
                        self.serve(Request::Close { done: oneshot::channel().0 });
                    }
                },
                () = tokio::time::sleep_until(until) => {}
            }
            self.look_at_the_clock();
        }
    }

    /// Records come faster than a disk that is well takes them: who hands them over waits, so that none is lost. A
    /// disk that stalls is not waited for.
    fn is_outrun(&self) -> bool {
        self.log.is_none() && self.meanwhile.is_much() && self.lent_at.elapsed() < STALLS
    }

    fn wakes_at(&self) -> Instant {
        match (&self.log, self.due) {
            (Some(_), Some(due)) => due.min(self.turn),
            (Some(_), None) => self.turn,
            (None, _) if self.waiting.iter().any(Request::is_of_losses) => {
                self.turn.min(self.lent_at + LOSSES_WAIT)
            }
            (None, _) => self.turn,
        }
    }

    /// What is due comes before what waits, or a backlog that is read would hold up the commits.
    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        if self.log.is_none() {
            self.pass_over_losses(now);
        }
        let is_full = self.log.as_ref().is_some_and(|log| log.wants_commit());
        if is_full || self.due.is_some_and(|due| due <= now) {
            // The log says what is wrong and keeps the records; the next turn tries again.
            self.commit(None);
        }
        if self.turn <= now {
            self.turn = now + TURN;
            self.make_turn(now);
        }
        while self.log.is_some()
            && let Some(request) = self.waiting.pop_front()
        {
            self.serve(request);
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Append { records } => {
                for (ts_ms, octets) in records {
                    match &mut self.log {
                        Some(log) => log.append(ts_ms, octets),
                        None => self.meanwhile.append(ts_ms, octets),
                    }
                }
                self.due.get_or_insert_with(|| Instant::now() + self.commit_every);
                self.head.send_replace(self.newest());
            }
            Request::Read { question, done } => self.answer(question, done),
            Request::Settle { name, ranges, outcome } => {
                for (from, to) in ranges {
                    let (from, to) = (self.inside(from), self.inside(to));
                    match &mut self.log {
                        Some(log) => log.settle(&name, from, to, &outcome),
                        None => self.meanwhile.settle(&name, from, to, &outcome),
                    }
                }
            }
            Request::Gaps { name, done } => match &mut self.log {
                Some(log) => drop(done.send(log.tell_gaps(&name))),
                None => self.waiting.push_back(Request::Gaps { name, done }),
            },
            Request::Announced { name, gap } => match &mut self.log {
                Some(log) => log.announced(&name, gap),
                None => self.meanwhile.announced(&name, gap),
            },
            errand if self.log.is_none() => self.waiting.push_back(errand),
            Request::SetUpstreams { names, done } => self.lend(Job::SetUpstreams(names, done)),
            Request::Commit { done } => self.commit(Some(done)),
            Request::Close { done } => self.lend(Job::End(done)),
        }
    }

    /// From memory if it is there, whoever has the log; else the hand reads it.
    fn answer(&mut self, question: Question, done: oneshot::Sender<Found>) {
        let (shift, head) = (self.shift(), self.newest());
        let inside = question.moved(|position| position.saturating_sub(shift));
        let records = match &mut self.log {
            Some(log) if log.is_in_memory(&inside) => log.read(&inside).ok(),
            Some(_) => None,
            None => self.meanwhile.read(&inside),
        };
        match records {
            Some(mut records) => {
                records.iter_mut().for_each(|record| record.position += shift);
                drop(done.send(Found { records, head }));
            }
            None if self.log.is_some() => self.lend(Job::Read(question, done)),
            None => {
                // Who has gone away in between asks no more: so there are no more of them than readers.
                self.waiting.retain(|request| !request.is_abandoned());
                self.waiting.push_back(Request::Read { question, done });
            }
        }
    }

    /// While the disk stalls nobody waits for it to hear of losses.
    fn pass_over_losses(&mut self, now: Instant) {
        if now < self.lent_at + LOSSES_WAIT {
            return;
        }
        for request in std::mem::take(&mut self.waiting) {
            if let Request::Gaps { done, .. } = request {
                let _ = done.send(Vec::new());
            } else {
                self.waiting.push_back(request);
            }
        }
    }

    fn shift(&self) -> u64 {
        self.log.as_ref().map_or(self.meanwhile.shift, |log| log.shift)
    }

    /// The newest position, as it is counted outside.
    fn newest(&self) -> u64 {
        self.shift() + self.log.as_ref().map_or(self.meanwhile.head, |log| log.head)
    }

    /// A position as the log counts it: another number only where the folder was found after the start.
    fn inside(&self, position: u64) -> u64 {
        position.saturating_sub(self.shift())
    }

    fn commit(&mut self, done: Option<CommitAnswer>) {
        if self.log.is_some() {
            self.due = None;
            self.lend(Job::Commit(done));
        }
    }

    fn lend(&mut self, job: Job) {
        let Some(log) = self.log.take() else { return };
        self.meanwhile = Meanwhile::of(&log);
        self.lent_at = Instant::now();
        // Where the hand is gone its queue says so, and the owner ends.
        let _ = self.hand.jobs.send((log, job));
    }

    fn put_back(&mut self, mut log: Box<Log<D>>) {
        log.take_back(std::mem::take(&mut self.meanwhile));
        self.log = Some(log);
        if let Some(stalls) = self.stalls.take() {
            let stalled = self.lent_at.elapsed();
            tracing::info!(%stalls, ?stalled, "the disk is back; what waited in memory is written");
        }
    }

    fn is_back(&mut self, log: Box<Log<D>>, done: Done) {
        let took_long = self.lent_at.elapsed() >= LOSSES_WAIT;
        self.put_back(log);
        let now = Instant::now();
        match done {
            Done::Commit(result, answer) => {
                self.saved_at = now;
                if result.is_err() {
                    self.due = Some(now + HEAL);
                } else if self.log.as_ref().is_some_and(|log| log.has_uncommitted()) {
                    self.due.get_or_insert(now + HEAL);
                }
                self.publish();
                answer.into_iter().for_each(|answer| drop(answer.send(result.clone())));
            }
            Done::Read(Ok(records), _, done) => drop(done.send(Found { records, head: self.newest() })),
            Done::Read(Err(_), question, done) => self.unanswered.push(Request::Read { question, done }),
            Done::SetUpstreams(done) => {
                self.publish_accounts();
                let _ = done.send(());
            }
            Done::Turn => self.publish(),
            Done::End(done) => drop(done.send(())),
        }
        if took_long {
            // Who was told of no losses asks again.
            self.accounts.values().for_each(|account| account.send_modify(|_| ()));
        }
    }

    /// What is due whether or not records come: cursors that moved, old segments, a sign of life.
    fn make_turn(&mut self, now: Instant) {
        self.heartbeat += 1;
        self.waiting.extend(self.unanswered.drain(..));
        match &self.log {
            None if now >= self.lent_at + STALLS && self.stalls.is_none() => {
                let stalls = format!("the disk stalls since {}", time_of_day(self.meanwhile.since()));
                tracing::error!("{stalls}; records wait in memory, and live ones are delivered from there");
                self.stalls = Some(stalls);
            }
            None => {}
            Some(log) if log.home.is_none() || log.trouble.is_some() => self.commit(None),
            Some(log) => {
                let save = !log.has_uncommitted()
                    && self.due.is_none()
                    && now.duration_since(self.saved_at) >= self.commit_every;
                if save {
                    self.saved_at = now;
                }
                self.lend(Job::Turn { save });
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        let status = match &self.log {
            Some(log) => log.status(self.heartbeat),
            None => self.meanwhile.status(self.heartbeat, self.stalls.as_ref()),
        };
        self.status.send_replace(status);
        self.publish_accounts();
    }

    fn publish_in_time(&mut self) {
        self.unpublished += 1;
        if self.requests.is_empty() || self.unpublished >= PUBLISH_EVERY {
            self.publish_accounts();
        }
    }

    fn publish_accounts(&mut self) {
        self.unpublished = 0;
        let shift = self.shift();
        let of_now: Vec<(String, Account)> = match &self.log {
            Some(log) => log.accounts().map(|(name, account)| (name.clone(), account)).collect(),
            None => self.meanwhile.accounts().map(|(name, account)| (name.clone(), account)).collect(),
        };
        let before = self.accounts.len();
        self.accounts.retain(|name, _| of_now.iter().any(|(of, _)| of == name));
        let mut set_changed = before != self.accounts.len();
        for (name, mut account) in of_now {
            account.cursor += shift;
            match self.accounts.get(&name) {
                // Who waits for a loss to announce is woken by news only, not by its own questions.
                Some(sender) => drop(sender.send_if_modified(|known| replace_if_other(known, account))),
                None => {
                    self.accounts.insert(name, watch::Sender::new(account));
                    set_changed = true;
                }
            }
        }
        if set_changed {
            let all = self.accounts.iter().map(|(name, sender)| (name.clone(), sender.subscribe())).collect();
            self.published.send_replace(all);
        }
    }
}

/// The time of day of a stamp in ms since 1970 UTC.
fn time_of_day(ts_ms: i64) -> String {
    let seconds = ts_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn replace_if_other(known: &mut Account, account: Account) -> bool {
    let other = *known != account;
    *known = account;
    other
}
