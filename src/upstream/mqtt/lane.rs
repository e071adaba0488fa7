//! One lane of records out of the spool: live ones, or history. Read ahead by a task of its own, so that a slow disk
//! under one lane does not hold up the other.

use crate::spool::{Reader, Stored};
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Records fetched from the spool at a time.
const RECORDS: usize = 64;
const OCTETS: usize = 256 << 10;
/// Batches read ahead: one, while the one before is handed on.
const AHEAD: usize = 1;

/// Dropping it ends its task.
pub(in crate::upstream) struct Lane {
    batches: mpsc::Receiver<Vec<Stored>>,
    feeder: JoinHandle<()>,
    waiting: VecDeque<Stored>,
    /// The last position that was taken out.
    taken: u64,
    ended: bool,
}

impl Lane {
    /// Records after a position, up to another, or for ever.
    pub(in crate::upstream) fn start(reader: Reader, after: u64, upto: Option<u64>) -> Lane {
        let (sender, batches) = mpsc::channel(AHEAD);
        let feeder = tokio::spawn(feed(reader, after, upto, sender));
        Lane { batches, feeder, waiting: VecDeque::new(), taken: after, ended: false }
    }

    /// Waits for records, or the end. For ever where some wait already, or none will ever come.
    pub(in crate::upstream) async fn more(&mut self) {
        if !self.waiting.is_empty() || self.ended {
            std::future::pending().await
        }
        match self.batches.recv().await {
            Some(batch) => self.waiting.extend(batch),
            None => self.ended = true,
        }
    }

    pub(in crate::upstream) fn front(&mut self) -> Option<&Stored> {
        if self.waiting.is_empty() {
            match self.batches.try_recv() {
                Ok(batch) => self.waiting.extend(batch),
                Err(mpsc::error::TryRecvError::Disconnected) => self.ended = true,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
        }
        self.waiting.front()
    }

    /// The first that waits, if it is here by now.
    pub(in crate::upstream) fn take_front(&mut self) -> Option<Stored> {
        self.front()?;
        self.take()
    }

    pub(in crate::upstream) fn take(&mut self) -> Option<Stored> {
        let stored = self.waiting.pop_front()?;
        self.taken = stored.position;
        Some(stored)
    }

    /// Nothing will come any more: all up to the bound has been taken, or there is no spool.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    pub(in crate::upstream) fn has_taken(&self, position: u64) -> bool {
        self.is_over() || (self.waiting.is_empty() && self.taken >= position)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

async fn feed(mut reader: Reader, after: u64, upto: Option<u64>, batches: mpsc::Sender<Vec<Stored>>) {
    let (mut at, bound) = (after, upto.unwrap_or(u64::MAX));
    while at < bound {
        let Ok(records) = reader.read_until(at, bound, RECORDS, OCTETS).await else { return };
        match records.last() {
            Some(last) => at = last.position,
            None if upto.is_some() => return,
            None => {
                if reader.beyond(at).await.is_err() {
                    return;
                }
                continue;
            }
        }
        if batches.send(records).await.is_err() {
            return;
        }
    }
}
