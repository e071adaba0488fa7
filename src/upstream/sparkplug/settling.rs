//! What becomes of records once the broker has read so far.

use super::flight::{self, Fate, What};
use super::session::Session;
use crate::spool::Outcome;
use crate::upstream::mqtt::walk::Ended;
use crate::upstream::proof::Way;
use tokio::time::Instant;

impl Session<'_> {
    pub(super) async fn settle(&mut self, mut passed: Vec<What>) -> Result<(), Ended> {
        for what in &passed {
            let What::Record { position, fate, .. } = what else { continue };
            let device = self.whose.remove(position);
            if !matches!(fate, Fate::GivenUp(_)) {
                self.node.trials.delivered(*position, (Way::BODIES, device.as_ref()), Instant::now());
                self.backoff.worked();
            }
        }
        if self.work.thin.is_some() && self.alone.is_none() {
            self.settle_thinned(&mut passed).await?;
        }
        let flight::Ended { delivered, left_out, given_up, events, gaps } = flight::Ended::of(passed);
        let reader = &self.work.reader;
        if !delivered.is_empty() {
            reader.settle(delivered, Outcome::Delivered).await?;
            self.work.report.delivered(self.work.clock.utc());
        }
        if !left_out.is_empty() {
            reader.settle(left_out, Outcome::LeftOut).await?;
        }
        for (range, reason) in given_up {
            reader.settle([range], Outcome::Dropped(reason.to_owned())).await?;
        }
        for number in events {
            self.work.told = self.work.told.max(number);
        }
        for id in gaps {
            self.work.reader.announced(id).await?;
        }
        if self.birth.is_done() {
            self.node.stillborn = 0;
        }
        Ok(())
    }

    /// Where not everything goes, the lanes keep account of what is settled with what.
    pub(super) async fn settle_thinned(&mut self, passed: &mut Vec<What>) -> Result<(), Ended> {
        let Some(lanes) = &mut self.lanes else { return Ok(()) };
        for what in passed.extract_if(.., |what| matches!(what, What::Record { .. })) {
            let What::Record { position, fate, .. } = what else { continue };
            let outcome = match fate {
                Fate::Delivered => Outcome::Delivered,
                Fate::LeftOut => Outcome::LeftOut,
                Fate::GivenUp(why) => Outcome::Dropped(why.to_owned()),
            };
            lanes.ended(position, &outcome);
        }
        for (range, outcome) in lanes.settled() {
            if outcome == Outcome::Delivered {
                self.work.report.delivered(self.work.clock.utc());
            }
            self.work.reader.settle([range], outcome).await?;
        }
        Ok(())
    }
}
