//! Waiting for a moment, to some microseconds.

use crate::model::{Clock, Mono, SystemClock};
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The stop token is looked at this often.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// A sleep ends late by up to this on an idle machine, so that the rest is not slept.
const AWAKE: Duration = Duration::from_micros(60);

/// Waits against absolute times: what one wait is late by is not added to the next.
#[derive(Debug)]
pub(super) struct Waiter {
    clock: SystemClock,
    pub stop: CancellationToken,
}

impl Waiter {
    pub(super) fn new(stop: CancellationToken) -> Waiter {
        Waiter { clock: SystemClock, stop }
    }

    pub(super) fn now(&self) -> Mono {
        self.clock.mono()
    }

    /// Never returns early, unless it is told to stop.
    pub(super) fn until(&self, until: Mono) {
        loop {
            let now = self.now();
            if now >= until || self.stop.is_cancelled() {
                return;
            }
            match until.since(now).checked_sub(AWAKE) {
                Some(rest) if !rest.is_zero() => sleep_until(now.plus(rest.min(LOOK))),
                Some(_) | None => std::hint::spin_loop(),
            }
        }
    }
}

fn sleep_until(until: Mono) {
    match clock_nanosleep_absolute(ClockId::Boottime, &timespec(until.since(Mono(0)))) {
        Ok(()) | Err(Errno::INTR) => {}
        // Coarser, but it waits.
        Err(_) => {
            let _ = poll(&mut [], Some(&timespec(until.since(SystemClock.mono()))));
        }
    }
}

pub(super) fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    }
}
