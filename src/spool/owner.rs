//! The owner's thread: a loop over requests that commits in time and says what it knows.

use super::Status;
use super::Stored;
use super::cursor::{Account, Outcome};
use super::disk::Disk;
use super::gaps::Gap;
use super::log::Log;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How often the owner turns when nothing is asked of it: heartbeat, cursors, age.
const TURN: Duration = Duration::from_secs(1);
/// While requests wait in the queue, the accounts are published once for so many of them.
const PUBLISH_EVERY: usize = 64;
/// How soon an ill disk is tried again.
const HEAL: Duration = Duration::from_secs(1);

pub(super) type CommitAnswer = oneshot::Sender<Result<(), String>>;

#[derive(Debug)]
pub(super) enum Request {
    Append { records: Vec<(i64, Vec<u8>)> },
    Read { question: Question, done: oneshot::Sender<Found> },
    Settle { name: String, ranges: Vec<(u64, u64)>, outcome: Outcome },
    Gaps { name: String, done: oneshot::Sender<Vec<Gap>> },
    Announced { name: String, gap: u64 },
    SetUpstreams { names: Vec<String>, done: oneshot::Sender<()> },
    Commit { done: CommitAnswer },
    Close { done: oneshot::Sender<()> },
}

/// Which records an upstream wants.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub name: String,
    pub after: u64,
    pub upto: u64,
    pub at_most: usize,
    pub octets: usize,
}

/// What reading brought, and the head at that moment.
#[derive(Debug)]
pub(super) struct Found {
    pub records: Vec<Stored>,
    pub head: u64,
}

type Accounts = BTreeMap<String, watch::Receiver<Account>>;

pub(super) struct Owner<D: Disk> {
    log: Log<D>,
    requests: mpsc::Receiver<Request>,
    head: watch::Sender<u64>,
    status: watch::Sender<Status>,
    accounts: BTreeMap<String, watch::Sender<Account>>,
    published: watch::Sender<Accounts>,
    heartbeat: u64,
    /// When what waits must be durable.
    due: Option<Instant>,
    /// Questions that the disk could not answer for now; asked again each turn.
    unanswered: Vec<Request>,
    /// When the cursors were written last: no more often than records, for it wears the medium as much.
    saved_at: Instant,
    /// Requests served since the accounts were published.
    unpublished: usize,
}

impl<D: Disk> Owner<D> {
    pub(super) fn new(log: Log<D>, requests: mpsc::Receiver<Request>) -> Owner<D> {
        let mut owner = Owner {
            head: watch::Sender::new(log.head),
            status: watch::Sender::new(log.status(0)),
            accounts: BTreeMap::new(),
            published: watch::Sender::new(Accounts::new()),
            heartbeat: 0,
            due: None,
            unanswered: Vec::new(),
            unpublished: 0,
            saved_at: Instant::now(),
            log,
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
        // Only for waiting on the queue with a time limit; nothing else runs on it.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the spool's thread cannot wait");
                return;
            }
        };
        runtime.block_on(async {
            let mut turn = Instant::now() + TURN;
            loop {
                let until = self.due.map_or(turn, |due| due.min(turn));
                match tokio::time::timeout_at(until, self.requests.recv()).await {
                    Ok(Some(Request::Close { done })) => {
                        self.end();
                        let _ = done.send(());
                        return;
                    }
                    Ok(Some(request)) => {
                        self.serve(request);
                        self.publish_in_time();
                    }
                    Ok(None) => return self.end(),
                    Err(_) => {}
                }
                let now = Instant::now();
                if self.due.is_some_and(|due| due <= now) || self.log.wants_commit() {
                    // The log has said what is wrong and keeps the records; the next turn tries again.
                    let _ = self.commit(now);
                }
                if turn <= now {
                    self.turn();
                    turn = now + TURN;
                }
            }
        });
    }

    /// A last commit, and the word that it was the last.
    fn end(&mut self) {
        if self.log.commit().is_ok()
            && let Err(error) = self.log.say_that_it_ends()
        {
            tracing::warn!(%error, "the spool could not say that it ended cleanly");
        }
        self.publish();
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Append { records } => {
                records.into_iter().for_each(|(ts_ms, octets)| self.log.append(ts_ms, octets));
                self.due.get_or_insert_with(|| Instant::now() + self.log.config.commit_every);
                self.head.send_replace(self.log.head + self.log.shift);
            }
            Request::Read { question, done } => self.answer(question, done),
            Request::Settle { name, ranges, outcome } => {
                for (from, to) in ranges {
                    self.log.settle(&name, self.inside(from), self.inside(to), &outcome);
                }
            }
            Request::Gaps { name, done } => drop(done.send(self.log.tell_gaps(&name))),
            Request::Announced { name, gap } => self.log.announced(&name, gap),
            Request::SetUpstreams { names, done } => {
                // What an upstream that goes has settled must be there when it comes back.
                let _ = self.commit(Instant::now());
                if let Err(error) = self.log.add_upstreams(&names) {
                    tracing::error!(%error, "the cursors could not be read");
                }
                self.publish_accounts();
                let _ = done.send(());
            }
            Request::Commit { done } => {
                let result = self.commit(Instant::now());
                let _ = done.send(result);
            }
            // Taken out of the queue by `run`.
            Request::Close { done } => drop(done.send(())),
        }
    }

    fn answer(&mut self, question: Question, done: oneshot::Sender<Found>) {
        let inside = Question {
            after: self.inside(question.after),
            upto: self.inside(question.upto),
            ..question.clone()
        };
        match self.log.read(&inside) {
            Ok(mut records) => {
                records.iter_mut().for_each(|record| record.position += self.log.shift);
                drop(done.send(Found { records, head: self.log.head + self.log.shift }));
            }
            Err(_) => self.unanswered.push(Request::Read { question, done }),
        }
    }

    /// A position as the log counts it: another number only where the folder was found after the start.
    fn inside(&self, position: u64) -> u64 {
        position.saturating_sub(self.log.shift)
    }

    fn commit(&mut self, now: Instant) -> Result<(), String> {
        let result = self.log.commit();
        self.saved_at = now;
        let again = self.log.has_uncommitted().then(|| now + HEAL);
        self.due = if result.is_err() { Some(now + HEAL) } else { again };
        self.publish();
        result
    }

    /// What is due whether or not records come: cursors that moved, old segments, a sign of life.
    fn turn(&mut self) {
        self.heartbeat += 1;
        for question in std::mem::take(&mut self.unanswered) {
            self.serve(question);
        }
        let now = Instant::now();
        if self.log.home.is_none() || self.log.trouble.is_some() {
            let _ = self.commit(now);
        } else if !self.log.has_uncommitted()
            && self.due.is_none()
            && now.duration_since(self.saved_at) >= self.log.config.commit_every
        {
            self.saved_at = now;
            if let Err(error) = self.log.save_cursors() {
                self.log.note_trouble(&error);
            }
        }
        self.log.expire();
        self.publish();
    }

    fn publish(&mut self) {
        self.status.send_replace(self.log.status(self.heartbeat));
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
        let mut set_changed = false;
        let before = self.accounts.len();
        self.accounts.retain(|name, _| self.log.cursors.contains_key(name));
        set_changed |= before != self.accounts.len();
        for (name, mut account) in self.log.accounts() {
            account.cursor += self.log.shift;
            match self.accounts.get(name) {
                // Who waits for a loss to announce is woken by news only, not by its own questions.
                Some(sender) => drop(sender.send_if_modified(|known| replace_if_other(known, account))),
                None => {
                    self.accounts.insert(name.clone(), watch::Sender::new(account));
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

fn replace_if_other(known: &mut Account, account: Account) -> bool {
    let other = *known != account;
    *known = account;
    other
}
