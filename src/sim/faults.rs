//! All faults of a line, and the dice that say when one happens.

use super::fault::{Fault, Kind};
use std::time::Duration;

/// All faults of a wire, with the dice.
#[derive(Debug, Clone)]
pub struct Faults {
    all: Vec<Fault>,
    dice: fastrand::Rng,
}

impl Faults {
    pub fn new(all: Vec<Fault>, seed: u64) -> Faults {
        Faults { all, dice: fastrand::Rng::with_seed(seed) }
    }

    pub fn none() -> Faults {
        Faults::new(Vec::new(), 0)
    }

    pub fn all(&self) -> &[Fault] {
        &self.all
    }

    /// The same faults with other dice.
    pub(super) fn for_another(&mut self) -> Faults {
        Faults { all: self.all.clone(), dice: self.dice.fork() }
    }

    fn of(&self, unit: u8) -> impl Iterator<Item = &Kind> {
        self.all
            .iter()
            .filter(move |fault| fault.unit.is_none_or(|only| only == unit))
            .map(|fault| &fault.kind)
    }

    fn has(&self, unit: u8, kind: &Kind) -> bool {
        self.of(unit).any(|each| each == kind)
    }

    fn line_has(&self, kind: &Kind) -> bool {
        self.all.iter().any(|fault| fault.kind == *kind)
    }

    /// Throws the dice for every probability that is given.
    fn happens(&mut self, unit: u8, probability: impl Fn(&Kind) -> Option<f64>) -> bool {
        let chances: Vec<f64> = self.of(unit).filter_map(probability).collect();
        chances.iter().any(|p| self.dice.f64() < *p)
    }

    pub(super) fn is_silent(&mut self, unit: u8, since_start: Duration) -> bool {
        let second = since_start.as_secs();
        let dead = self.of(unit).any(|kind| {
            let Kind::Dead(span) = kind else { return false };
            span.is_none_or(|(from, to)| (from..to).contains(&second))
        });
        dead || self.happens(unit, |kind| if let Kind::Drop(p) = kind { Some(*p) } else { None })
    }

    /// From a request's last octet to the reply's first.
    pub(super) fn pause(&mut self, unit: u8, usual: Duration) -> Duration {
        let (mut turnaround, mut late, mut jitter) = (usual, Duration::ZERO, Duration::ZERO);
        for kind in self.of(unit) {
            if let Kind::Turnaround(span) = kind {
                turnaround = *span;
            } else if let Kind::Late(span) = kind {
                late += *span;
            } else if let Kind::Jitter(span) = kind {
                jitter += *span;
            }
        }
        turnaround + late + jitter.mul_f64(self.dice.f64())
    }

    pub(super) fn refuses(&self, unit: u8, address: u16, count: u16) -> Option<u8> {
        let end = u32::from(address) + u32::from(count);
        self.of(unit).find_map(|kind| {
            let Kind::Exception { code, first, last } = kind else { return None };
            (u32::from(*first) < end && *last >= address).then_some(*code)
        })
    }

    pub(super) fn breaks_checksum(&mut self, unit: u8) -> bool {
        self.happens(unit, |kind| if let Kind::Crc(p) = kind { Some(*p) } else { None })
    }

    pub(super) fn cuts(&mut self, unit: u8) -> bool {
        self.happens(unit, |kind| if let Kind::Short(p) = kind { Some(*p) } else { None })
    }

    pub(super) fn lets_another_answer(&mut self, unit: u8) -> bool {
        self.happens(unit, |kind| if let Kind::Foreign(p) = kind { Some(*p) } else { None })
    }

    /// Makes every octet another one, or leaves them all.
    pub(super) fn garble(&mut self, unit: u8, octets: &mut [u8]) {
        if self.happens(unit, |kind| if let Kind::Garble(p) = kind { Some(*p) } else { None }) {
            octets.iter_mut().for_each(|octet| *octet ^= self.dice.u8(1..));
        }
    }

    /// Octets that come before the reply, mostly none.
    pub(super) fn noise(&mut self, unit: u8) -> Vec<u8> {
        if self.happens(unit, |kind| if let Kind::Noise(p) = kind { Some(*p) } else { None }) {
            let count = self.dice.usize(1..6);
            self.random(count)
        } else {
            Vec::new()
        }
    }

    pub(super) fn random(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.dice.u8(..)).collect()
    }

    /// Up to this long, by chance.
    pub(super) fn chance_up_to(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.dice.f64())
    }

    pub(super) fn repeats_the_previous(&self, unit: u8) -> bool {
        self.has(unit, &Kind::Stale)
    }

    pub(super) fn is_nameless(&self, unit: u8) -> bool {
        self.has(unit, &Kind::Nameless)
    }

    pub(super) fn has_twin(&self, unit: u8) -> bool {
        self.has(unit, &Kind::Twin)
    }

    pub(super) fn insists_on_silence(&self, unit: u8) -> bool {
        self.has(unit, &Kind::Strict)
    }

    pub(super) fn echoes(&self) -> bool {
        self.line_has(&Kind::Echo)
    }

    pub(super) fn has_another_master(&self) -> bool {
        self.line_has(&Kind::Master)
    }

    /// Until when, since the start, somebody babbles who does so now.
    pub(super) fn babbles_until(&self, since_start: Duration) -> Option<Duration> {
        let second = since_start.as_secs();
        let spans = self.all.iter().filter_map(|fault| {
            let Kind::Babble((from, to)) = fault.kind else { return None };
            (from..to).contains(&second).then_some(to)
        });
        spans.max().map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(words: &[&str]) -> Faults {
        Faults::new(words.iter().map(|word| word.parse().unwrap()).collect(), 7)
    }

    #[test]
    fn a_fault_of_one_unit_leaves_the_others_alone() {
        let mut faults = faults(&["3:twin", "3:strict", "3:stale", "3:turnaround=80", "3:garble=1"]);
        let usual = Duration::from_millis(15);
        assert!(faults.has_twin(3) && faults.insists_on_silence(3) && faults.repeats_the_previous(3));
        assert!(!faults.has_twin(4) && !faults.insists_on_silence(4) && !faults.repeats_the_previous(4));
        assert_eq!((faults.pause(3, usual), faults.pause(4, usual)), (Duration::from_millis(80), usual));
        let mut octets = [0; 4];
        faults.garble(4, &mut octets);
        assert_eq!(octets, [0; 4]);
        faults.garble(3, &mut octets);
        assert!(octets.iter().all(|octet| *octet != 0), "{octets:?}");
    }

    #[test]
    fn an_exception_of_a_range_is_for_every_read_that_touches_it() {
        let faults = faults(&["exception=2@100-109", "exception=4@65535"]);
        for (address, count, refused) in [
            (99, 1, None),
            (99, 2, Some(2)),
            (100, 10, Some(2)),
            (109, 5, Some(2)),
            (110, 5, None),
            (0, 125, Some(2)),
            (65_535, 1, Some(4)),
            (65_500, 36, Some(4)),
            (65_500, 35, None),
        ] {
            assert_eq!(faults.refuses(1, address, count), refused, "{count} from {address}");
        }
    }

    #[test]
    fn jitter_is_spread_over_its_whole_span_and_comes_on_top() {
        let mut faults = faults(&["jitter=100", "late=10"]);
        let usual = Duration::from_millis(20);
        let pauses: Vec<Duration> = (0..200).map(|_| faults.pause(1, usual)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= Duration::from_millis(30) && *least < Duration::from_millis(45), "{least:?}");
        assert!(*most <= Duration::from_millis(130) && *most > Duration::from_millis(115), "{most:?}");
    }

    #[test]
    fn a_fault_with_a_time_has_a_beginning_and_an_end() {
        let mut faults = faults(&["babble@2-4", "1:dead@1-3"]);
        let at = |ms| Duration::from_millis(ms);
        assert_eq!(faults.babbles_until(at(1999)), None);
        assert_eq!(faults.babbles_until(at(2000)), Some(at(4000)));
        assert_eq!(faults.babbles_until(at(4000)), None);
        assert!(!faults.is_silent(1, at(999)) && faults.is_silent(1, at(1000)));
        assert!(faults.is_silent(1, at(2999)) && !faults.is_silent(1, at(3000)));
        assert!(!faults.is_silent(2, at(2000)));
    }
}
