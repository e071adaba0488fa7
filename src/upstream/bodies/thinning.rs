//! Where not everything goes: what lies between the spool and the bodies. What is ready stays so until it has ended, so a
//! body that is tried again, or by halves, is made of the same records.

use super::lanes::{Lane, Lanes};
use crate::spool::{Closed, Outcome, Stored};
use crate::upstream::Work;
use crate::upstream::thin::{Around, Rules, Sieve};
use std::sync::Arc;
use tokio::time::Instant;

/// Records that are looked at at a time, and their octets.
const RECORDS: usize = 256;
const OCTETS: usize = 256 << 10;

pub(super) struct Thinning {
    rules: Arc<Rules>,
    history: Sieve,
    live: Sieve,
}

impl Thinning {
    pub(super) fn new(rules: &Arc<Rules>) -> Thinning {
        let rules = Arc::clone(rules);
        let (history, live) = (Sieve::new(Arc::clone(&rules)), Sieve::new(Arc::clone(&rules)));
        Thinning { rules, history, live }
    }

    fn of(&mut self, lane: Lane) -> &mut Sieve {
        match lane {
            Lane::History => &mut self.history,
            Lane::Live => &mut self.live,
        }
    }

    /// The next records of this lane that go, as many as there are at once.
    pub(super) async fn read(
        &mut self,
        lane: Lane,
        lanes: &mut Lanes,
        most: usize,
        work: &Work,
    ) -> Result<Vec<Stored>, Closed> {
        while self.of(lane).ready().is_empty() {
            let (after, upto) = lanes.span(lane);
            let found = work.reader.read_until(after, upto, RECORDS, OCTETS).await?;
            let sieve = self.of(lane);
            let last = found.last().map(|stored| stored.position);
            for stored in found {
                let (site, dating) = (work.site.borrow(), work.dating.borrow());
                sieve.feed(stored, &Around { site: &site, dating: &dating });
            }
            match last {
                Some(last) => lanes.settled(lane, last, 0, Instant::now()),
                None if upto == u64::MAX => sieve.pause(work.clock.utc().0),
                None => sieve.end(),
            }
            self.settle(lane, work).await?;
            if last.is_none() {
                break;
            }
        }
        Ok(self.of(lane).ready().iter().take(most).cloned().collect())
    }

    /// These, the first of those that are ready, have ended so.
    pub(super) fn ended<'r>(
        &mut self,
        lane: Lane,
        records: impl Iterator<Item = &'r Stored>,
        outcome: &Outcome,
    ) {
        let sieve = self.of(lane);
        for stored in records {
            sieve.take_ready();
            sieve.ended(stored.position, outcome);
        }
    }

    pub(super) async fn settle(&mut self, lane: Lane, work: &Work) -> Result<(), Closed> {
        for (range, outcome) in self.of(lane).settle() {
            work.reader.settle([range], outcome).await?;
        }
        Ok(())
    }

    /// History has come to its end: what was live is the one lane.
    pub(super) fn join(&mut self) {
        self.history = std::mem::replace(&mut self.live, Sieve::new(Arc::clone(&self.rules)));
    }

    pub(super) fn has_some(&self, lane: Lane) -> bool {
        let sieve = match lane {
            Lane::History => &self.history,
            Lane::Live => &self.live,
        };
        !sieve.ready().is_empty() || sieve.is_gathering()
    }

    pub(super) fn has_nothing_ready(&self) -> bool {
        self.history.ready().is_empty() && self.live.ready().is_empty()
    }

    pub(super) fn is_gathering(&self) -> bool {
        self.history.is_gathering() || self.live.is_gathering()
    }
}
