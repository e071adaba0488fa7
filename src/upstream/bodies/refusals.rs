//! What becomes of a record that is refused for good, and how it is found out whether anybody's are taken.

use super::body::Body;
use super::lanes::Lane;
use super::writer::{OCTETS, Writer, outcome};
use super::{Refusal, Sink};
use crate::spool::{Closed, Outcome, Stored};
use crate::upstream::aside::Refused;
use crate::upstream::proof::Way;
use crate::upstream::witness::{self, device_of, number_of};
use std::time::Duration;
use tokio::time::Instant;

impl<S: Sink> Writer<S> {
    /// This record alone is refused for good: set aside, if that is believed; else somebody else is asked.
    pub(super) async fn refused(
        &mut self,
        lane: Lane,
        stored: Stored,
        body: Body,
        why: String,
    ) -> Result<(), Closed> {
        let device = device_of(&stored);
        if !self.proof.may_refuse((Way::BODIES, device.as_ref()), Instant::now()) {
            let of = device.map_or_else(String::new, |device| format!(" of {device}"));
            let why =
                format!("records{of} are refused, and none of another device was taken: all wait: {why}");
            return self.doubt(lane, why).await;
        }
        self.give_up(lane, stored, body, (why, "refused")).await
    }

    /// A refusal that is not believed: what is refused waits, and somebody else is asked. What is sampled from now on
    /// does not wait behind it, where the order is not strict.
    async fn doubt(&mut self, lane: Lane, why: String) -> Result<(), Closed> {
        if !self.lanes.has_backlog() {
            self.cut();
        }
        if lane == Lane::History && self.lanes.has_backlog() {
            let wait = self.doubts.after_failure(fastrand::f64());
            self.lanes.hold(Instant::now() + wait);
            self.doubt = Some(why);
        } else {
            self.pause(&why, Duration::ZERO).await;
        }
        self.ask_somebody_else().await
    }

    /// Set aside with what the far end said of it, and counted under a word.
    pub(super) async fn give_up(
        &mut self,
        lane: Lane,
        stored: Stored,
        body: Body,
        (reason, word): (String, &str),
    ) -> Result<(), Closed> {
        let (device, number) = (device_of(&stored), number_of(&stored));
        let payload = self.sink.legible(&body.octets);
        let at = self.work.clock.utc();
        self.work.aside.put(Refused { at, reason, device, number, payload }).await;
        let outcome = Outcome::Dropped(word.to_owned());
        let mut upto = stored.position;
        match &mut self.thinning {
            Some(thinning) => {
                thinning.ended(lane, [&stored].into_iter(), &outcome);
                upto = self.lanes.span(lane).0;
                thinning.settle(lane, &self.work).await?;
            }
            None => self.work.reader.settle([upto..=upto], outcome).await?,
        }
        self.lanes.settled(lane, upto, 1, Instant::now());
        Ok(())
    }

    /// The next record of a device that has not been refused, alone: whether anybody's are taken.
    async fn ask_somebody_else(&mut self) -> Result<(), Closed> {
        let Some(refused) = self.proof.witness_wanted() else { return Ok(()) };
        let Some(stored) = witness::find(&self.work.reader, &refused, OCTETS).await? else { return Ok(()) };
        match self.work.choose(vec![stored]).await?.pop() {
            Some(chosen) => self.ask(chosen).await,
            None => Ok(()),
        }
    }

    async fn ask(&mut self, witness: Stored) -> Result<(), Closed> {
        let (position, device) = (witness.position, device_of(&witness));
        let body = Body::of(&self.sink, &self.work, &[witness], &[]);
        let now = Instant::now();
        if body.octets.is_empty() {
            // It can't be asked about, and is no proof.
            let lost = body.settle.first().and_then(|settle| settle.lost);
            return self.work.reader.settle([position..=position], outcome(lost)).await;
        }
        match self.write(body.octets).await {
            Some(Ok(())) => {
                self.worked();
                self.proof.taken((Way::BODIES, device.as_ref()), now);
                self.work.reader.settle([position..=position], Outcome::Delivered).await?;
            }
            // It is asked again after the next pause, and this device is not the one to ask.
            Some(Err(Refusal::ForGood(_) | Refusal::TooLate(_))) => {
                self.proof.may_refuse((Way::BODIES, device.as_ref()), now);
            }
            Some(Err(Refusal::Later(_) | Refusal::Busy(..) | Refusal::Gone(_))) | None => {}
        }
        Ok(())
    }
}
