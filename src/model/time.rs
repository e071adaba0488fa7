//! Two clocks: stamps are UTC, schedules run on the boot clock.

use std::time::Duration;

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Nanoseconds on the boot clock (`CLOCK_BOOTTIME`): never steps, counts suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    #[must_use]
    pub fn plus(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(nanos(span)))
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Where readings get their stamps and schedules their time. Handed in, so that tests can turn it.
pub trait Clock: Send + Sync {
    fn utc(&self) -> Timestamp;
    fn mono(&self) -> Mono;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn utc(&self) -> Timestamp {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp(t.tv_sec.saturating_mul(1000).saturating_add(t.tv_nsec / 1_000_000))
    }

    fn mono(&self) -> Mono {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
        Mono(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}
