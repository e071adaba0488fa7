//! Upstream `mqtt` (3.1.1, or 5 if asked for): one session after the other.
//!
//! `P/status` (retained, with a Will), `P/meta` (retained), then what happened on the lines and what was lost
//! (`P/event`), then records: `P/d/{device}` for what is live, `P/h/{device}` for what was sampled before this connection
//! or has aged. All with QoS 1. With `encoding: batch`, `P/b` takes the place of both; what a batch holds says which it is
//! (see `batches.rs`).
//!
//! # Two lanes
//! With `order: live-first` a session has two lanes: *live* begins behind the newest record at the time of the CONNACK,
//! *history* goes from the cursor up to there. Live goes first, and keeps places in the window that history never takes;
//! history goes at `history_rate` at most. So a record travels in one lane and once. What the far end has acknowledged of
//! the live lane is settled beyond the cursor, and the cursor goes over it when history has come so far. A link that is so
//! slow that live records grow old in their lane begins anew: they become history, and live begins behind them.
//! With `order: strict` there is one lane, oldest first.
//!
//! History that was taken while the clock was unsure waits a minute for its date, if it may still come.
//!
//! # What is refused for good
//! An MQTT 5 broker says of a publish that it is not authorised, or its topic or payload not valid: that record is set
//! aside at once, as long as it takes another device's. Other refusals, and all of 3.1.1's, break the session.
//! See `trials.rs`: a record that breaks three sessions in a row, the last of them alone, goes to `refused/` and the
//! rest goes on. A batch is halved until the record stands alone.

mod alone;
mod batches;
mod broken;
mod config;
mod ending;
mod giant;
pub(super) mod greeting;
mod hand;
pub(super) mod lane;
pub(super) mod layout;
mod moving;
mod out;
pub(super) mod pipe;
mod said;
mod session;
mod settling;
pub(super) mod trials;
pub(super) mod walk;
pub(super) mod warnings;
mod window;
pub(super) mod wire;

pub use config::{Access, Config, Version};
pub use layout::{Discovery, Hub, Layout, ThinEdge};
pub use window::WINDOW;

use super::Work;
use super::backoff::Backoff;
use super::bodies::Ways;
use crate::uplink::Endpoint;
use session::Session;
use trials::Trials;
use walk::{Ended, Sessions};

/// Connects, delivers, backs off, until told to stop.
pub(super) async fn run(config: Config, ways: Ways, mut work: Work) {
    let access = config.access.clone();
    walk::keep_up(&access, &mut work, Readings { config, ways, trials: Trials::default() }).await;
}

/// What is known from one session to the next.
struct Readings {
    config: Config,
    ways: Ways,
    trials: Trials,
}

impl Sessions for Readings {
    async fn session(&mut self, broker: &Endpoint, work: &mut Work, backoff: &mut Backoff) -> Ended {
        Session::run(&self.config, broker, self.ways, work, (backoff, &mut self.trials)).await
    }

    fn suspects(&self) -> bool {
        self.trials.suspect().is_some()
    }
}
