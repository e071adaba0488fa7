//! Upstream `mqtt` (3.1.1): one session after the other, each from the cursor on.
//!
//! `P/status` (retained, with a Will), `P/meta` (retained), then records in order: `P/d/{device}` for what is
//! live, `P/h/{device}` for what was sampled before this connection or has aged; `P/event` for what happened on
//! the lines. All with QoS 1. With `encoding: batch`, `P/b` takes the place of both lanes; what it holds says which it is.

mod batches;
mod config;
mod flying;
mod pipe;
mod session;
mod window;

pub use config::Config;
pub use window::WINDOW;

use super::Work;
use super::backoff::Backoff;
use crate::encode::Encoding;
use session::{Ended, Session};

/// Connects, delivers, backs off, until told to stop.
pub(super) async fn run(config: Config, mut work: Work) {
    let mut backoff = Backoff::default();
    let mut first = true;
    while !work.stop.is_cancelled() {
        if !first {
            work.report.reconnecting();
        }
        first = false;
        let ended = if let Encoding::Batch(options) = &config.encoding {
            batches::run(&config, options, &mut work, &mut backoff).await
        } else {
            Session::run(&config, &mut work, &mut backoff).await
        };
        match ended {
            Ended::AsAsked => break,
            Ended::SpoolClosed => return,
            Ended::Trouble(why) => {
                work.report.trouble(&why);
                let wait = backoff.after_failure(fastrand::f64());
                let _ = tokio::time::timeout(wait, work.stop.cancelled()).await;
            }
        }
    }
    work.report.stopped(None);
}
