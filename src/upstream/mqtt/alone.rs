//! Records that are sent alone: those that are suspected, and a witness where it must be found out whether anybody's are taken.

use super::session::{Ended, Session};
use super::trials::Span;
use crate::encode::batch;
use crate::upstream::witness;

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
        if let Some(stored) = witness::find(&self.work.reader, &refused, usize::MAX).await? {
            self.trials.call(stored.position);
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
