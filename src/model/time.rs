//! Two clocks: stamps are UTC, schedules run on the boot clock.
//!
//! The wall clock may be wrong for a while after a start (no battery, no time server yet) and may be set, either
//! way and by any span. The boot clock does neither. So whatever has to wait, waits by the boot clock, and what was
//! measured before the wall clock was known to be right carries a [`BootStamp`], which becomes UTC with one addition
//! as soon as somebody knows when the machine was started ([`Dating`](super::Dating)).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// `2025-11-21T23:00:00.123Z` (RFC 3339), in the proleptic Gregorian calendar.
    pub fn rfc3339(self) -> String {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        // Years that begin in March put the leap day last, and eras of 400 years have 146 097 days.
        let from_march = days + 719_468;
        let (era, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = year + era * 400 + i64::from(month <= 2);
        let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Nanoseconds on the boot clock (`CLOCK_BOOTTIME`): never steps, counts suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    #[must_use]
    pub fn plus(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(nanos(span)))
    }

    /// Whole milliseconds.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX)
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Which run of the kernel: its random `boot_id` (random(4)), 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u128);

impl BootId {
    /// The 32 hexadecimal digits, with or without hyphens between them.
    pub fn parse(text: &str) -> Option<BootId> {
        let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
        let whole = digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
        u128::from_str_radix(&digits, 16).ok().filter(|_| whole).map(BootId)
    }
}

impl std::fmt::Display for BootId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A moment on the boot clock, and of which boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootStamp {
    pub boot: BootId,
    pub at: Mono,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Where readings get their stamps and schedules their time. Handed in, so that tests can turn it.
pub trait Clock: Send + Sync {
    fn utc(&self) -> Timestamp;
    fn mono(&self) -> Mono;
}

/// The machine's clocks, as they are: the wall clock may be wrong and may step.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    // By the standard library, that is by the C library: libfaketime sees only what goes through there.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn utc(&self) -> Timestamp {
        let (span, sign) = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => (since, 1),
            Err(error) => (error.duration(), -1),
        };
        Timestamp(i64::try_from(span.as_millis()).unwrap_or(i64::MAX).saturating_mul(sign))
    }

    fn mono(&self) -> Mono {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
        Mono(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

/// A clock whose UTC is the boot clock and a constant: it never steps, so that spans between its stamps are true
/// whatever happens to the wall clock. What it says as UTC is right only if the constant was.
pub struct SteadyClock {
    clock: Arc<dyn Clock>,
    zero: i64,
}

impl SteadyClock {
    /// `zero` is the UTC, in ms, at which the boot clock is said to have stood at zero.
    pub fn new(clock: Arc<dyn Clock>, zero: i64) -> SteadyClock {
        SteadyClock { clock, zero }
    }
}

impl Clock for SteadyClock {
    fn utc(&self) -> Timestamp {
        Timestamp(self.zero.saturating_add(self.clock.mono().millis()))
    }

    fn mono(&self) -> Mono {
        self.clock.mono()
    }
}

impl std::fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SteadyClock").field("zero", &self.zero).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_reads_back_as_the_kernel_writes_it_and_nothing_else_is_one() {
        let id = BootId::parse("0f2d4c8e-1111-4222-8333-0000000000ff\n").unwrap();
        assert_eq!(id.to_string(), "0f2d4c8e1111422283330000000000ff");
        assert_eq!(BootId::parse(&id.to_string()), Some(id));
        for other in
            ["", "0f2d4c8e", "0f2d4c8e-1111-4222-8333-00000000000g", "+f2d4c8e111142228333000000000000"]
        {
            assert_eq!(BootId::parse(other), None, "{other}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is compared with")]
    fn the_wall_clock_is_that_of_the_standard_library() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now = SystemClock.utc().0;
        assert!(u128::try_from(now).unwrap() >= before, "{now} {before}");
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339_says() {
        // GNU date's answers.
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_763_766_000_123, "2025-11-21T23:00:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (-2_203_891_200_000, "1900-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(ms).rfc3339(), text);
        }
    }
}
