//! Records that are suspected of breaking sessions go alone, one after the other, before anything else.

use super::session::Session;
use crate::upstream::mqtt::walk::Ended;
use crate::upstream::witness;

impl Session<'_> {
    /// Fetches the next record that is suspected, if any is.
    pub(super) async fn summon(&mut self) -> Result<(), Ended> {
        self.alone = None;
        self.find_witness().await?;
        while let Some(position) = self.node.trials.suspect().map(|span| *span.start()) {
            let before = position.saturating_sub(1);
            let found = self.work.reader.read_until(before, position, 1, usize::MAX).await?;
            let found = self.work.choose(found).await?;
            if let Some(stored) = found.into_iter().next() {
                self.alone = Some((stored, false));
                break;
            }
            self.node.trials.gone();
        }
        Ok(())
    }

    /// Whom refusals may be measured by: the next record of a device that has not been refused itself.
    async fn find_witness(&mut self) -> Result<(), Ended> {
        let Some(refused) = self.node.trials.proof.witness_wanted() else { return Ok(()) };
        if let Some(stored) = witness::find(&self.work.reader, &refused, usize::MAX).await? {
            self.node.trials.call(stored.position);
        }
        Ok(())
    }

    /// Goes on with the records that go alone; `true` when there are none left.
    pub(super) async fn try_alone(&mut self) -> Result<bool, Ended> {
        if !self.flight.is_empty() {
            return Ok(false);
        }
        let Some((stored, sent)) = &mut self.alone else { return Ok(true) };
        if !std::mem::replace(sent, true) {
            let stored = stored.clone();
            self.hand_history(vec![(stored.position.saturating_sub(1), stored)]).await?;
            return Ok(false);
        }
        self.summon().await?;
        if self.alone.is_none() {
            // What was read ahead may have them again.
            self.start_lanes();
        }
        Ok(self.alone.is_none())
    }
}
