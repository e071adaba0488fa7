//! How a device is: whether it answers, how fast, and when one that is silent is looked for again. Pure.

use super::DeviceConfig;
use crate::model::Mono;
use std::time::Duration;

/// The first probe of a silent device comes after this; then twice as long each time.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// Silent scans in a row after which a device counts as lost.
const LOST_AFTER: u32 = 2;
/// Scans in a row with nothing but garbage, after which more of them count as silence.
const GARBLED_SCANS: u32 = 3;
/// Each so-manieth probe of a device may be as patient as the configuration says: it may have become slower
/// than it was, or be slower than its neighbours.
const PATIENT_PROBE: u32 = 4;
/// A probe that took longer than this was a patient one.
const SHORT_PROBE: Duration = Duration::from_millis(120);
/// The share of the line for short probes, as its inverse: 2.4 %, …
const SHARE: u32 = 42;
/// … and for patient ones, which must not hold up the short ones of others: 0.45 %. Together they are within 3 %.
const PATIENT_SHARE: u32 = 220;
/// So far ahead of its time a short probe may go where it holds up nobody: in the long run the share is kept.
const AHEAD: Duration = Duration::from_secs(20);

/// How long a device takes to answer: from our last octet to its first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Latency {
    mean: Option<Duration>,
    deviation: Duration,
    /// The slowest of late, fading.
    slowest: Duration,
}

/// What the driver, the adapter and the scheduler may add to what was measured.
const SLACK: Duration = Duration::from_millis(20);

impl Latency {
    /// Smoothed as RFC 6298 does it for TCP.
    pub(super) fn add(&mut self, sample: Duration) {
        match self.mean {
            None => (self.mean, self.deviation) = (Some(sample), sample / 2),
            Some(mean) => {
                self.deviation = (self.deviation * 3 + mean.abs_diff(sample)) / 4;
                self.mean = Some((mean * 7 + sample) / 8);
            }
        }
        self.slowest = sample.max(self.slowest - self.slowest / 64);
    }

    pub(super) fn mean(&self) -> Option<Duration> {
        self.mean
    }

    /// How long an answer is worth waiting for; `None` while nothing is known.
    pub(super) fn patience(&self) -> Option<Duration> {
        let mean = self.mean?;
        Some((mean + self.deviation * 4).max(self.slowest * 2) + SLACK)
    }
}

/// One device's health.
#[derive(Debug, Clone)]
pub(super) struct Health {
    /// Scans in a row that nothing answered.
    silent: u32,
    /// Scans in a row in which octets came, but no valid answer.
    garbled: u32,
    /// Whether it has answered since the start, or since its line was away.
    known: bool,
    /// Not before this, whatever is due.
    pub(super) not_before: Mono,
    pub(super) latency: Latency,
    max_probe: Duration,
}

impl Health {
    pub(super) fn new(now: Mono, max_probe: Duration) -> Health {
        Health {
            silent: 0,
            garbled: 0,
            known: false,
            not_before: now,
            latency: Latency::default(),
            max_probe,
        }
    }

    /// It has answered its last scan: worth asking again when one question goes unanswered.
    pub(super) fn is_good(&self) -> bool {
        self.known && self.silent == 0
    }

    /// It is silent: one short question decides whether it is back.
    pub(super) fn is_probed(&self) -> bool {
        self.silent > 0
    }

    pub(super) fn is_lost(&self) -> bool {
        self.silent >= LOST_AFTER
    }

    /// The device answered, be it with a refusal.
    pub(super) fn answered(&mut self) {
        (self.silent, self.garbled, self.known) = (0, 0, true);
    }

    /// Nothing came at all: asked again after an interval that doubles.
    pub(super) fn silent(&mut self, now: Mono) {
        let wait = FIRST_PROBE.saturating_mul(1 << self.silent.min(16)).min(self.max_probe);
        self.silent = self.silent.saturating_add(1);
        self.not_before = now.plus(wait);
    }

    /// Octets came, but no valid answer. One such scan may be a burst of noise; several are as good as
    /// silence, and cost as much.
    pub(super) fn garbled(&mut self, now: Mono) {
        self.garbled = self.garbled.saturating_add(1);
        if self.garbled >= GARBLED_SCANS {
            self.silent(now);
        } else {
            // What it owes is asked for once more soon, but not at once: noise comes in bursts.
            self.not_before = now.plus(FIRST_PROBE);
        }
    }

    /// An answer came after its time: the device lives, and is slower than was thought.
    pub(super) fn late(&mut self, after: Duration, now: Mono) {
        self.latency.add(after);
        self.not_before = self.not_before.min(now);
    }

    /// After the line was away: nobody is held back for it.
    pub(super) fn forgive(&mut self, now: Mono) {
        (self.silent, self.garbled) = (0, 0);
        self.not_before = now;
    }

    /// How long to wait for a reply's first octet. A device whose pace nobody knows is given what suffices for
    /// its neighbours on the line, so that a dead one does not cost them more than a moment, and as much
    /// more as nobody else waits for; its full time where there are no neighbours to go by, where the owner
    /// said that it is a slow one, and now and then. (Should its answer come after that, it is known from
    /// then on: see [`Health::late`].)
    pub(super) fn patience(&self, config: &DeviceConfig, line: &Line, now: Try) -> Duration {
        let shortest = config.min_timeout.min(config.timeout);
        let probed = self.silent > 0;
        let in_turn = self.silent % PATIENT_PROBE == PATIENT_PROBE - 1;
        let slow_newcomer = !probed && config.timeout > super::TIMEOUT;
        let idle = if !probed || line.patient { line.idle } else { Duration::ZERO };
        let patient = probed && in_turn && line.patient;
        let adapted = match (self.latency.patience(), line.neighbours) {
            // It may have become slower than it was. Where the others wait for the line, they wait little for that.
            (Some(own), _) if patient => own.max(shortest).saturating_mul(2).max(line.idle),
            (None, Some(neighbours)) if patient => neighbours.max(shortest).saturating_mul(2).max(line.idle),
            (Some(own), _) => own,
            (None, Some(neighbours)) if !slow_newcomer => match now {
                Try::Before(tries) if !probed => neighbours.max(shortest).saturating_mul(1 << tries.min(8)),
                Try::Before(_) | Try::Last => neighbours.max(idle),
            },
            (None, _) => config.timeout,
        };
        adapted.clamp(shortest, config.timeout)
    }
}

/// Which of the tries of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// After so many others; more may follow, and should the answer to this one come meanwhile, it is heard.
    Before(u8),
    Last,
}

/// What matters of the line for how long one of its devices is waited for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line {
    /// What suffices for the slowest of the other devices; none where nobody has answered yet.
    pub neighbours: Option<Duration>,
    /// How long nobody else has anything to ask.
    pub idle: Duration,
    /// A probe may take its time.
    pub patient: bool,
    /// Answers after their time are heard.
    pub hears_late: bool,
}

/// The share of the line that may be spent on devices that do not answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeShare {
    free_at: Mono,
    patient_at: Mono,
}

impl ProbeShare {
    pub(super) fn new(now: Mono) -> ProbeShare {
        ProbeShare { free_at: now, patient_at: now }
    }

    /// From when on the next probe may be sent.
    pub(super) fn free_at(&self) -> Mono {
        self.free_at
    }

    /// Whether one may be sent now if nobody else needs the line.
    pub(super) fn may_go_while_idle(&self, now: Mono) -> bool {
        self.free_at <= now.plus(AHEAD)
    }

    /// Whether the next one may take its time.
    pub(super) fn is_patient(&self, now: Mono) -> bool {
        now >= self.patient_at
    }

    /// A question to a device that is not known to be there has taken this long, and nobody answered.
    pub(super) fn spent(&mut self, from: Mono, to: Mono) {
        let took = to.since(from);
        if took > SHORT_PROBE && self.is_patient(from) {
            self.patient_at = from.plus(took.saturating_mul(PATIENT_SHARE));
            self.free_at = self.free_at.max(to);
        } else {
            self.free_at = from.max(self.free_at).plus(took.saturating_mul(SHARE));
        }
    }
}

/// How many of the questions to devices that are there go unanswered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loss {
    /// In thousandths, smoothed.
    permille: u32,
}

impl Loss {
    pub(super) fn add(&mut self, lost: bool) {
        self.permille = (self.permille * 15 + if lost { 1000 } else { 0 }) / 16;
    }

    pub(super) fn is_high(self) -> bool {
        self.permille > 150
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::plan::tests::profile;
    use crate::profile::Every;
    use std::sync::Arc;

    const MS: u64 = 1_000_000;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn config() -> DeviceConfig {
        DeviceConfig::new("a".parse().unwrap(), 1, Arc::new(profile(vec![])), Every::Continuous)
    }

    #[test]
    fn a_silent_device_is_probed_after_intervals_that_double_up_to_the_longest() {
        let mut health = Health::new(Mono(0), Duration::from_secs(25));
        let waits: Vec<u64> = (0..8)
            .map(|_| {
                health.silent(Mono(0));
                health.not_before.0 / 1_000_000_000
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 25, 25, 25]);
        assert!(health.is_lost());
        health.answered();
        assert!(health.is_good());
    }

    #[test]
    fn a_device_that_answers_nothing_but_garbage_is_probed_rarely_in_the_end() {
        let mut health = Health::new(Mono(0), Duration::from_secs(25));
        for scan in 0..4 {
            assert!(!health.is_lost(), "{scan}");
            health.garbled(Mono(0));
        }
        assert!(health.is_lost());
    }

    #[test]
    fn patience_follows_the_device_within_its_bounds() {
        let (config, mut health) = (config(), Health::new(Mono(0), Duration::from_secs(25)));
        let line = |neighbours, idle| Line {
            neighbours: Some(ms(neighbours)),
            idle: ms(idle),
            patient: false,
            hears_late: true,
        };
        let nobody = Line::default();
        assert_eq!(health.patience(&config, &nobody, Try::Last), config.timeout, "nobody is known");
        assert_eq!(
            health.patience(&config, &line(5, 0), Try::Last),
            config.min_timeout,
            "neighbours are quick"
        );
        assert_eq!(health.patience(&config, &line(300, 0), Try::Last), ms(300));
        assert_eq!(health.patience(&config, &line(5, 700), Try::Last), ms(700), "nobody else waits");
        for _ in 0..50 {
            health.latency.add(ms(60));
        }
        assert_eq!(
            health.patience(&config, &nobody, Try::Last),
            ms(140),
            "twice the slowest, and some slack"
        );
        health.late(ms(700), Mono(0));
        assert_eq!(health.patience(&config, &nobody, Try::Last), config.timeout);
    }

    #[test]
    fn each_fourth_probe_is_patient_as_far_as_the_line_can_afford_it() {
        for known in [false, true] {
            let (config, mut health) = (config(), Health::new(Mono(0), Duration::from_secs(25)));
            if known {
                health.latency.add(ms(5));
            }
            let patience = |health: &Health, idle, patient| {
                let line = Line { neighbours: Some(ms(5)), idle: ms(idle), patient, hears_late: true };
                health.patience(&config, &line, Try::Last)
            };
            let patient = |health: &Health, patient| patience(health, 0, patient) > config.min_timeout;
            let mut probes = Vec::new();
            for _ in 0..9 {
                probes.push(patient(&health, true));
                if patient(&health, true) {
                    assert_eq!(patience(&health, 0, true), config.min_timeout * 2);
                    assert_eq!(patience(&health, 5000, true), config.timeout);
                }
                assert!(!patient(&health, false));
                health.silent(Mono(0));
            }
            assert_eq!((0..9).filter(|n| probes[*n]).collect::<Vec<_>>(), [3, 7]);
        }
    }

    #[test]
    fn probes_take_three_percent_of_the_line_at_most_and_patient_ones_hold_up_nobody() {
        let mut share = ProbeShare::new(Mono(0));
        let (mut now, mut spent, mut longest) = (Mono(0), 0, 0);
        while now.0 < 1_000_000 * MS {
            let before = now;
            now = now.max(share.free_at());
            longest = longest.max(now.0 - before.0);
            let took = if share.is_patient(now) { 1000 * MS } else { 90 * MS };
            share.spent(now, Mono(now.0 + took));
            spent += took;
            now = Mono(now.0 + took);
        }
        assert!(spent * 100 <= now.0 * 3, "{spent} of {now:?}");
        assert!(longest < 5000 * MS, "{longest} without a probe");
    }
}
