//! What goes wrong on a simulated line, and when.

use std::str::FromStr;
use std::time::Duration;

/// One fault, of one unit or of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub unit: Option<u8>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The reply's checksum is wrong, with this probability.
    Crc(f64),
    /// No reply, with this probability.
    Drop(f64),
    /// The reply comes so much later.
    Late(Duration),
    /// The adapter hears itself: the request comes back before the reply.
    Echo,
    /// Random octets before the reply, with this probability.
    Noise(f64),
    /// A read that touches this address is refused.
    Exception { code: u8, address: u16 },
    /// Silent for ever, or from one second after the start to another.
    Dead(Option<(u64, u64)>),
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no fault: crc=P, drop=P, late=MS, echo, noise=P, exception=N@ADDRESS, dead or dead@FROM-TO (seconds), each with UNIT: before it for one unit only; P is 0 to 1"
)]
pub struct FaultError {
    found: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let (unit, rest) = match text.split_once(':') {
            Some((unit, rest)) => (Some(unit.parse().ok()), rest),
            None => (None, text),
        };
        let refused = || FaultError { found: text.to_owned() };
        let unit = match unit {
            Some(None) => return Err(refused()),
            Some(Some(unit)) => Some(unit),
            None => None,
        };
        Ok(Fault { unit, kind: kind(rest).ok_or_else(refused)? })
    }
}

fn kind(text: &str) -> Option<Kind> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let chance = |value: Option<&str>| value?.parse().ok().filter(|p| (0.0..=1.0).contains(p));
    match (name, value) {
        ("crc", value) => Some(Kind::Crc(chance(value)?)),
        ("drop", value) => Some(Kind::Drop(chance(value)?)),
        ("noise", value) => Some(Kind::Noise(chance(value)?)),
        ("late", Some(ms)) => Some(Kind::Late(Duration::from_millis(ms.parse().ok()?))),
        ("echo", None) => Some(Kind::Echo),
        ("exception", Some(value)) => {
            let (code, address) = value.split_once('@')?;
            Some(Kind::Exception { code: code.parse().ok()?, address: address.parse().ok()? })
        }
        ("dead", None) => Some(Kind::Dead(None)),
        (dead, None) => {
            let (from, to) = dead.strip_prefix("dead@")?.split_once('-')?;
            Some(Kind::Dead(Some((from.parse().ok()?, to.parse().ok()?))))
        }
        _ => None,
    }
}

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

    pub(super) fn is_silent(&mut self, unit: u8, since_start: Duration) -> bool {
        let second = since_start.as_secs();
        let mut chances = Vec::new();
        for kind in self.of(unit) {
            match kind {
                Kind::Dead(None) => return true,
                Kind::Dead(Some((from, to))) if (*from..*to).contains(&second) => return true,
                Kind::Drop(p) => chances.push(*p),
                Kind::Dead(Some(_)) | Kind::Crc(_) | Kind::Late(_) => {}
                Kind::Echo | Kind::Noise(_) | Kind::Exception { .. } => {}
            }
        }
        chances.iter().any(|p| self.dice.f64() < *p)
    }

    pub(super) fn lateness(&self, unit: u8) -> Duration {
        self.of(unit).filter_map(|kind| if let Kind::Late(span) = kind { Some(*span) } else { None }).sum()
    }

    pub(super) fn refuses(&self, unit: u8, first: u16, count: u16) -> Option<u8> {
        self.of(unit).find_map(|kind| {
            let Kind::Exception { code, address } = kind else { return None };
            (*address >= first && *address - first < count).then_some(*code)
        })
    }

    pub(super) fn echoes(&self) -> bool {
        self.all.iter().any(|fault| fault.kind == Kind::Echo)
    }

    pub(super) fn breaks_checksum(&mut self, unit: u8) -> bool {
        let chances: Vec<f64> =
            self.of(unit).filter_map(|kind| if let Kind::Crc(p) = kind { Some(*p) } else { None }).collect();
        chances.iter().any(|p| self.dice.f64() < *p)
    }

    /// Octets that come before the reply, mostly none.
    pub(super) fn noise(&mut self, unit: u8) -> Vec<u8> {
        let chances: Vec<f64> = self
            .of(unit)
            .filter_map(|kind| if let Kind::Noise(p) = kind { Some(*p) } else { None })
            .collect();
        if chances.iter().any(|p| self.dice.f64() < *p) {
            let count = self.dice.usize(1..6);
            (0..count).map(|_| self.dice.u8(..)).collect()
        } else {
            Vec::new()
        }
    }

    /// Those that only a serial line can have.
    pub fn only_serial(&self) -> bool {
        self.all.iter().any(|fault| matches!(fault.kind, Kind::Crc(_) | Kind::Echo | Kind::Noise(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_the_help_says() {
        let parse = |text: &str| text.parse::<Fault>().map(|fault| (fault.unit, fault.kind));
        assert_eq!(parse("crc=0.1"), Ok((None, Kind::Crc(0.1))));
        assert_eq!(parse("3:dead@5-9"), Ok((Some(3), Kind::Dead(Some((5, 9))))));
        assert_eq!(parse("exception=2@100"), Ok((None, Kind::Exception { code: 2, address: 100 })));
        assert_eq!(parse("late=250"), Ok((None, Kind::Late(Duration::from_millis(250)))));
        for wrong in ["crc", "crc=2", "dead@5", "x:dead", "echo=1", "exception=2", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
