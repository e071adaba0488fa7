//! One lane of records out of the spool: live ones, or history. Read ahead by a task of its own, so that a slow disk
//! under one lane does not hold up the other.

use crate::model::{Clock, Dating, Site};
use crate::spool::{Reader, Stored};
use crate::upstream::Work;
use crate::upstream::thin::{Around, Sieve};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
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
    /// Where not everything goes.
    thinning: Option<Thinning>,
}

/// What leaves records out, and what it must know.
struct Thinning {
    sieve: Sieve,
    reader: Reader,
    site: watch::Receiver<Arc<Site>>,
    dating: watch::Receiver<Arc<Dating>>,
    clock: Arc<dyn Clock>,
}

impl Thinning {
    fn feed(&mut self, stored: Stored) {
        let (site, dating) = (self.site.borrow(), self.dating.borrow());
        self.sieve.feed(stored, &Around { site: &site, dating: &dating });
    }
}

impl Lane {
    /// Records after a position, up to another, or for ever.
    pub(in crate::upstream) fn start(work: &Work, after: u64, upto: Option<u64>) -> Lane {
        let (sender, batches) = mpsc::channel(AHEAD);
        let feeder = tokio::spawn(feed(work.reader.another(), after, upto, sender));
        let thinning = work.thin.as_ref().map(|rules| Thinning {
            sieve: Sieve::new(Arc::clone(rules)),
            reader: work.reader.another(),
            site: work.site.clone(),
            dating: work.dating.clone(),
            clock: Arc::clone(&work.clock),
        });
        Lane { batches, feeder, waiting: VecDeque::new(), taken: after, ended: false, thinning }
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
        self.receive();
        if self.thinning.is_some() {
            self.thin();
        }
        match &self.thinning {
            Some(thinning) => thinning.sieve.ready().front(),
            None => self.waiting.front(),
        }
    }

    fn receive(&mut self) {
        if self.waiting.is_empty() {
            match self.batches.try_recv() {
                Ok(batch) => self.waiting.extend(batch),
                Err(mpsc::error::TryRecvError::Disconnected) => self.ended = true,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
        }
    }

    /// Goes on until there is something that goes.
    fn thin(&mut self) {
        while self.has_nothing_ready() {
            let Some(stored) = self.waiting.pop_front() else { break };
            self.taken = stored.position;
            if let Some(thinning) = &mut self.thinning {
                thinning.feed(stored);
            }
            self.receive();
        }
        let Some(thinning) = self.thinning.as_mut().filter(|_| self.waiting.is_empty()) else { return };
        if self.ended {
            thinning.sieve.end();
        } else if self.taken >= thinning.reader.head() {
            thinning.sieve.pause(thinning.clock.utc().0);
        }
    }

    fn has_nothing_ready(&self) -> bool {
        self.thinning.as_ref().is_none_or(|thinning| thinning.sieve.ready().is_empty())
    }

    /// The first that waits, if it is here by now.
    pub(in crate::upstream) fn take_front(&mut self) -> Option<Stored> {
        self.front()?;
        self.take()
    }

    pub(in crate::upstream) fn take(&mut self) -> Option<Stored> {
        if let Some(thinning) = &mut self.thinning {
            return thinning.sieve.take_ready();
        }
        let stored = self.waiting.pop_front()?;
        self.taken = stored.position;
        Some(stored)
    }

    /// Keeps account of what goes and what does not; `None` where everything goes.
    pub(in crate::upstream) fn sieve(&mut self) -> Option<&mut Sieve> {
        self.thinning.as_mut().map(|thinning| &mut thinning.sieve)
    }

    /// Nothing will come any more: all up to the bound has been taken, or there is no spool.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        let gathers = self.thinning.as_ref().is_some_and(|thinning| thinning.sieve.is_gathering());
        self.ended && self.waiting.is_empty() && self.has_nothing_ready() && !gathers
    }

    pub(in crate::upstream) fn has_taken(&self, position: u64) -> bool {
        self.is_over() || (self.waiting.is_empty() && self.has_nothing_ready() && self.taken >= position)
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
