//! What is asked of the owner.

use super::Stored;
use super::cursor::Outcome;
use super::gaps::Gap;
use tokio::sync::oneshot;

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

impl Request {
    pub(super) fn is_of_losses(&self) -> bool {
        matches!(self, Request::Gaps { .. })
    }

    /// Nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self, Request::Read { done, .. } if done.is_closed())
    }
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

impl Question {
    pub(super) fn moved(&self, by: impl Fn(u64) -> u64) -> Question {
        Question { after: by(self.after), upto: by(self.upto), ..self.clone() }
    }
}

/// What reading brought, and the head at that moment.
#[derive(Debug)]
pub(super) struct Found {
    pub records: Vec<Stored>,
    pub head: u64,
}
