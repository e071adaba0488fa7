//! What time it is, and whether anybody knows.
//!
//! # Promises
//! - Whatever waits, waits by the boot clock: setting the wall clock, either way and by any span, neither bursts nor
//!   stalls the polling.
//! - A line stamps by the boot clock and a constant that stays the same as long as the process lives
//!   ([`SteadyClock`]). The pump turns that into UTC, so that a step takes effect between
//!   two readings and never inside of one.
//! - Until the wall clock is known to be right, readings are marked and carry boot id and boot time. Those that have
//!   not left by then are dated when it becomes known, to the millisecond; after a restart of the process or the
//!   machine too, for `clock.json` beside the spool keeps what became known of each boot.
//! - Nothing is ever dated before the program was built, or, while the clock is unsure, before the newest reading in
//!   the spool: a machine without a battery starts in 1970 or at the last time that somebody saved.
//! - UTC only. No time zone is looked at anywhere but by whoever shows a time to a person.
//!
//! # When is it known?
//! Once per boot, by the first of: the file that systemd-timesyncd (or whoever `clock: sync_file:` names) makes when it
//! has set the clock; `timedatectl`, which asks the kernel, whoever disciplines it (chrony, ntpd, PTP). `adjtimex` itself
//! is not among what a hardened service may call. Where neither exists nobody can ever tell: then a wall clock
//! that is later than the build of the program is believed, which is said in the log. `clock: trust: always` is for sites that
//! set their clocks by hand. Once known is known: a crystal is good for seconds a day, and the machine's own
//! corrections are followed.

mod boots;
mod keeper;
mod reckoning;
mod witness;

pub use witness::Config;

pub(super) use boots::{Boots, this_boot};
pub(super) use keeper::Keeper;

use crate::model::status::ClockStatus;
use crate::model::{BootId, BootStamp, Clock, Dating, Mono, Reading, SteadyClock, Timestamp};
use std::sync::Arc;
use tokio::sync::watch;

/// Differences below this are two clocks read one after the other.
const JITTER_MS: i64 = 2;

/// What is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Now {
    /// The UTC, in ms, at which the boot clock stood at zero, as well as is known.
    pub zero: i64,
    pub known: bool,
}

/// The best knowledge of the time, for whoever is no line. Cheap to copy.
#[derive(Clone)]
pub(super) struct Timeline {
    clock: Arc<dyn Clock>,
    boot: BootId,
    /// What the lines' clock adds to the boot clock.
    lines_zero: i64,
    now: watch::Receiver<Now>,
    dating: watch::Receiver<Arc<Dating>>,
    status: watch::Receiver<ClockStatus>,
}

impl Timeline {
    /// The clock for the lines: never steps.
    pub(super) fn for_lines(&self) -> Arc<dyn Clock> {
        Arc::new(SteadyClock::new(Arc::clone(&self.clock), self.lines_zero))
    }

    pub(super) fn dating(&self) -> watch::Receiver<Arc<Dating>> {
        self.dating.clone()
    }

    pub(super) fn status(&self) -> watch::Receiver<ClockStatus> {
        self.status.clone()
    }

    /// A stamp of the lines' clock as UTC, as well as is known now.
    pub(super) fn dated(&self, stamp: Timestamp) -> Timestamp {
        Timestamp(self.now().zero.saturating_add(stamp.0.saturating_sub(self.lines_zero)))
    }

    /// Turns the lines' stamp of a reading into UTC, or marks it and says when it was by the boot clock.
    pub(super) fn stamp(&self, reading: &mut Reading) {
        let since_boot = reading.ts.0.saturating_sub(self.lines_zero);
        let Now { zero, known } = self.now();
        reading.ts = Timestamp(zero.saturating_add(since_boot));
        if !known {
            let nanos = u64::try_from(since_boot).unwrap_or(0).saturating_mul(1_000_000);
            reading.clock_unsure = true;
            reading.boot = Some(BootStamp { boot: self.boot, at: Mono(nanos) });
        }
    }

    /// A step of a clock that is known to be right counts from this very moment, not from the next look; but not one
    /// to before the build, which the next look will disbelieve.
    fn now(&self) -> Now {
        let mut now = self.now.borrow().clone();
        if now.known {
            let wall = self.clock.utc();
            let zero = wall.0.saturating_sub(self.clock.mono().millis());
            if wall >= built() && zero.abs_diff(now.zero) > JITTER_MS.unsigned_abs() {
                now.zero = zero;
            }
        }
        now
    }
}

impl Clock for Timeline {
    fn utc(&self) -> Timestamp {
        Timestamp(self.now().zero.saturating_add(self.clock.mono().millis()))
    }

    fn mono(&self) -> Mono {
        self.clock.mono()
    }
}

/// When this program was built, in ms since 1970.
fn built() -> Timestamp {
    let seconds: i64 = env!("LINESMAN_BUILT").parse().unwrap_or(0);
    Timestamp(seconds.saturating_mul(1000))
}

#[cfg(test)]
impl Timeline {
    /// For tests of others: stamps are right as they are.
    pub(super) fn still() -> Timeline {
        struct Still;
        impl Clock for Still {
            fn utc(&self) -> Timestamp {
                Timestamp(0)
            }
            fn mono(&self) -> Mono {
                Mono(0)
            }
        }
        Timeline {
            clock: Arc::new(Still),
            boot: BootId(0),
            lines_zero: 0,
            now: watch::channel(Now { zero: 0, known: true }).1,
            dating: watch::channel(Arc::default()).1,
            status: watch::channel(ClockStatus::default()).1,
        }
    }
}

#[cfg(test)]
mod tests;
