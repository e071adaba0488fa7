//! Records that are sent alone: those that are suspected, and a witness where it must be found out whether anybody's are taken.

use super::session::{Ended, Session};
use super::trials::Span;
use crate::encode::batch;
use crate::record;
use crate::spool::Stored;

/// How far a session looks for a device that may be taken.
const WITNESS_READS: usize = 16;
const WITNESS_RECORDS: usize = 256;

impl Session<'_> {
    /// Fetches the next records that are suspected, to send them alone.
    pub(super) async fn summon(&mut self) -> Result<(), Ended> {
        self.alone = None;
        while let Some((first, last)) = self.trials.suspect().map(Span::into_inner) {
            let (before, most) = (first.saturating_sub(1), batch::MOST_READINGS);
            let found = self.work.reader.read_until(before, last, most, usize::MAX).await?;
            let found = self.work.choose(found).await?;
            if !found.is_empty() {
                self.alone = Some((found, false));
                break;
            }
            self.trials.gone();
        }
        Ok(())
    }

    /// Whom refusals may be measured by: the next record of a device that has not been refused itself.
    pub(super) async fn find_witness(&mut self) -> Result<(), Ended> {
        let Some(refused) = self.trials.proof.witness_wanted() else { return Ok(()) };
        let (mut at, head) = (self.work.reader.cursor(), self.work.reader.head());
        for _ in 0..WITNESS_READS {
            let found = self.work.reader.read_until(at, head, WITNESS_RECORDS, usize::MAX).await?;
            let Some(last) = found.last() else { break };
            at = last.position;
            let is_another = |stored: &&Stored| {
                record::decode(&stored.octets).is_ok_and(|reading| !refused.contains(&reading.device))
            };
            if let Some(stored) = found.iter().find(is_another) {
                self.trials.call(stored.position);
                break;
            }
        }
        Ok(())
    }

    /// Goes on with the records that are sent alone; `true` when there are none left.
    pub(super) async fn try_alone(&mut self) -> Result<bool, Ended> {
        loop {
            let empty = self.window.is_empty();
            let Some((stored, sent)) = &mut self.alone else {
                // What was read ahead may have them again.
                self.start_lanes(self.live.is_some().then_some(self.backlog_upto));
                return Ok(true);
            };
            if !empty {
                return Ok(false);
            }
            if std::mem::replace(sent, true) {
                self.summon().await?;
            } else {
                let stored = stored.clone();
                self.hand_over_alone(&stored)?;
                // One that cannot even be sent has ended already.
                self.settle().await?;
            }
        }
    }
}
