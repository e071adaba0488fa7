//! Looks at the clocks once a second, and tells the others when something became known or changed.

use super::boots::{Boots, this_boot};
use super::reckoning::{News, Reckoning};
use super::witness::{Config, Witness, Word};
use super::{Now, Timeline, built};
use crate::model::status::ClockStatus;
use crate::model::{BootId, Clock, Dating, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// How often the clocks are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a start waits for the first word: who knows, knows at once, and else the polling begins without.
const FIRST_WORD: Duration = Duration::from_millis(500);
/// A step below this is the clock's business and no news for people.
const WORTH_SAYING_MS: u64 = 1000;

pub(in crate::app) struct Keeper {
    clock: Arc<dyn Clock>,
    boot: BootId,
    boots: Boots,
    lines_zero: i64,
    reckoning: Reckoning,
    dating: Dating,
    now_told: watch::Sender<Now>,
    dating_told: watch::Sender<Arc<Dating>>,
    status_told: watch::Sender<ClockStatus>,
    /// The witness is at home, or away to be asked.
    witness: Option<Witness>,
    asking: Option<JoinHandle<(Option<Word>, Witness)>>,
    /// Asking has panicked: nobody is left who could ever know the time.
    broken: bool,
}

impl Keeper {
    /// `newest` is the time of the newest reading that was dated well.
    pub(in crate::app) async fn start(
        clock: Arc<dyn Clock>,
        config: Config,
        boots: Boots,
        newest: Option<Timestamp>,
    ) -> Keeper {
        let boot = this_boot();
        let mut dating = boots.read();
        dating.set_current(boot);
        let reckoning = Reckoning::new(clock.utc(), clock.mono(), built(), newest);
        let mut keeper = Keeper {
            boot,
            boots,
            lines_zero: 0,
            now_told: watch::Sender::new(reckoning.now.clone()),
            dating_told: watch::Sender::new(Arc::new(dating.clone())),
            status_told: watch::Sender::new(ClockStatus::default()),
            reckoning,
            dating,
            clock,
            witness: Some(Witness::new(config)),
            asking: None,
            broken: false,
        };
        keeper.ask();
        if let Some(asking) = &mut keeper.asking
            && let Ok(answer) = tokio::time::timeout(FIRST_WORD, asking).await
        {
            keeper.asking = None;
            keeper.heard(answer);
        }
        keeper.lines_zero = keeper.reckoning.now.zero;
        keeper.publish();
        if !keeper.reckoning.now.known {
            tracing::warn!(
                "the wall clock is not known to be right yet: readings are marked, and dated when it is"
            );
        }
        keeper
    }

    pub(in crate::app) fn timeline(&self) -> Timeline {
        Timeline {
            clock: Arc::clone(&self.clock),
            boot: self.boot,
            lines_zero: self.lines_zero,
            now: self.now_told.subscribe(),
            dating: self.dating_told.subscribe(),
            status: self.status_told.subscribe(),
        }
    }

    /// Looks until told to stop. A witness that panicked ends it too: a gateway that would never know the time is
    /// half a gateway.
    pub(in crate::app) async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.broken {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        if self.asking.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(asking) = self.asking.take()
        {
            self.heard(asking.await);
        } else {
            self.reckon(None);
        }
        if !self.reckoning.now.known {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let Some(mut witness) = self.witness.take() else { return };
        self.asking = Some(tokio::task::spawn_blocking(move || (witness.ask(), witness)));
    }

    fn heard(&mut self, answer: Result<(Option<Word>, Witness), JoinError>) {
        let Ok((word, witness)) = answer else {
            self.broken = true;
            return;
        };
        self.witness = Some(witness);
        self.reckon(word);
    }

    fn reckon(&mut self, word: Option<Word>) {
        let news = self.reckoning.look(self.clock.utc(), self.clock.mono(), word);
        match news {
            News::None => return,
            News::Known(Word::NobodyCanTell) => {
                tracing::warn!(
                    "nobody on this machine can say whether the wall clock is right; it is believed"
                );
            }
            News::Known(Word::Right | Word::NotYet) => tracing::info!("the wall clock is known to be right"),
            News::Lost => {
                tracing::warn!("the wall clock says a time before this program was built: no longer believed")
            }
            News::Stepped(ms) if ms.unsigned_abs() >= WORTH_SAYING_MS => {
                tracing::warn!(ms, "the wall clock was set; polling goes on undisturbed");
            }
            News::Stepped(_) => {}
        }
        if self.reckoning.now.known {
            self.dating.know(self.boot, self.reckoning.now.zero);
            self.keep();
        }
        self.publish();
    }

    /// On disk, off the runtime's threads: a slow card holds up nobody.
    fn keep(&self) {
        let (boots, dating) = (self.boots.clone(), self.dating.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = boots.write(&dating) {
                tracing::warn!(%error, "when this boot began can't be kept for the next start");
            }
        });
    }

    fn publish(&self) {
        let Now { zero, known } = self.reckoning.now;
        self.dating_told.send_if_modified(|told| {
            let news = **told != self.dating;
            if news {
                *told = Arc::new(self.dating.clone());
            }
            news
        });
        self.now_told.send_replace(self.reckoning.now.clone());
        let shift_ms = zero.saturating_sub(self.lines_zero);
        self.status_told.send_replace(ClockStatus { known, shift_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemClock;

    #[tokio::test]
    async fn a_look_up_that_panics_ends_the_keeper_so_that_it_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { sync_file: Some(dir.path().join("never")), ..Config::default() };
        let boots = Boots::in_folder(dir.path());
        let mut keeper = Keeper::start(Arc::new(SystemClock), config, boots, None).await;
        // As if the witness that is away were never to come home.
        keeper.witness = None;
        keeper.asking = Some(tokio::task::spawn_blocking(|| panic!("on purpose")));
        tokio::time::timeout(Duration::from_secs(30), keeper.run(CancellationToken::new())).await.unwrap();
    }
}
