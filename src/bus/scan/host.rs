//! The unit ids of a Modbus TCP host: a device of its own, or a gateway with devices behind it.
//!
//! Devices that are on the network themselves often answer to every unit id. Where the improbable ones answer as a device
//! does, with data or with a refusal of the register, it is one device. Any other exception to both of them is this
//! gateway's way to say that nobody is there, as 10 and 11 are by the book (V1.1b3, section 7).

use super::{Asks, End, Found, How, Pastime, Progress};
use crate::bus::Failure;
use crate::modbus::{Ask, ReadFunction};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What nobody gives a device, two of them: one might be somebody's all the same.
const IMPROBABLE: [u8; 2] = [213, 239];
/// The host itself, by convention.
const HOST: u8 = 255;

/// Asks each unit. `true` from `found` when the host answers to any unit id: then it is the only one. A failure is one
/// of the connection.
pub fn sweep_host(
    host: &mut dyn Asks,
    units: &[u8],
    patience: Duration,
    stop: &CancellationToken,
    watch: &mut dyn Watch,
) -> Result<(End, Pastime), Failure> {
    let (began, mut pastime) = (Instant::now(), Pastime::default());
    let Some(ask) = super::agenda::first_register(ReadFunction::HoldingRegisters) else {
        return Ok((End::Done, pastime));
    };
    let mut aside = Duration::ZERO;
    let mut units = units.to_vec();
    let nobody = Nobody::of(host, ask, patience)?;
    if nobody == Nobody::AnyUnitAnswers {
        units = vec![units.first().copied().filter(|_| units.len() == 1).unwrap_or(1)];
        watch.any_unit();
    } else if !units.contains(&HOST) && units.len() > 1 {
        units.push(HOST);
    }
    for (n, unit) in units.iter().enumerate() {
        if stop.is_cancelled() {
            return Ok((End::Stopped, pastime));
        }
        let left = units.len() - n;
        let time_left = patience.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
        watch.progress(&Progress { asked: n, left, time_left, settings: None, unit: *unit });
        let asked = Instant::now();
        let how = how(host.ask(*unit, ask, patience), nobody)?;
        pastime.questions += 1;
        pastime.least += asked.elapsed();
        if let Some(how) = how {
            let paused = Instant::now();
            watch.found(host, Found { settings: None, unit: *unit, how, latency: paused - asked })?;
            aside += paused.elapsed();
        }
        pastime.took = began.elapsed().saturating_sub(aside);
    }
    Ok((End::Done, pastime))
}

/// What is told while it goes on.
pub trait Watch {
    fn found(&mut self, host: &mut dyn Asks, found: Found) -> Result<(), Failure>;
    fn progress(&mut self, progress: &Progress);
    /// The host answers to every unit id.
    fn any_unit(&mut self);
}

/// What the host says for a unit that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nobody {
    Silence,
    Exception(u8),
    /// It answers as any unit.
    AnyUnitAnswers,
}

impl Nobody {
    fn of(host: &mut dyn Asks, ask: Ask, patience: Duration) -> Result<Nobody, Failure> {
        let mut said = Vec::new();
        for unit in IMPROBABLE {
            said.push(match host.ask(unit, ask, patience) {
                Ok(_) | Err(Failure::Exception { code: 1..=3, .. }) => Nobody::AnyUnitAnswers,
                Err(Failure::Exception { code, .. }) => Nobody::Exception(code),
                Err(failure @ Failure::Port { .. }) => return Err(failure),
                Err(_) => return Ok(Nobody::Silence),
            });
        }
        let first = said.first().copied().unwrap_or(Nobody::Silence);
        Ok(if said.iter().all(|word| *word == first) { first } else { Nobody::Silence })
    }
}

fn how(answer: Result<Vec<u8>, Failure>, nobody: Nobody) -> Result<Option<How>, Failure> {
    match answer {
        Err(Failure::Exception { code: 10 | 11, .. } | Failure::Silence { .. }) => Ok(None),
        Err(Failure::Exception { code, .. }) if nobody == Nobody::Exception(code) => Ok(None),
        Ok(_) | Err(Failure::Exception { .. }) => Ok(Some(How::Answered)),
        Err(Failure::TwoAnswers { .. }) => Ok(Some(How::TwoAnswers)),
        Err(Failure::Garbled { .. }) => Ok(Some(How::Damaged)),
        Err(failure @ Failure::Port { .. }) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that answers so to each unit.
    struct Host(fn(u8) -> Option<Result<Vec<u8>, u8>>);

    impl Asks for Host {
        fn ask(&mut self, unit: u8, _: Ask, patience: Duration) -> Result<Vec<u8>, Failure> {
            match (self.0)(unit) {
                Some(Ok(data)) => Ok(data),
                Some(Err(code)) => Err(Failure::Exception { unit, code }),
                None => Err(Failure::Silence { unit, patience, hint: "" }),
            }
        }
    }

    #[derive(Default)]
    struct Seen {
        units: Vec<u8>,
        any: bool,
    }

    impl Watch for Seen {
        fn found(&mut self, _: &mut dyn Asks, found: Found) -> Result<(), Failure> {
            self.units.push(found.unit);
            Ok(())
        }
        fn progress(&mut self, _: &Progress) {}
        fn any_unit(&mut self) {
            self.any = true;
        }
    }

    fn seen(host: fn(u8) -> Option<Result<Vec<u8>, u8>>) -> (Vec<u8>, bool) {
        let (mut seen, units) = (Seen::default(), (1..=247).collect::<Vec<u8>>());
        let stop = CancellationToken::new();
        sweep_host(&mut Host(host), &units, Duration::from_millis(1), &stop, &mut seen).unwrap();
        (seen.units, seen.any)
    }

    #[test]
    fn who_answers_to_any_unit_is_one_device() {
        assert_eq!(seen(|_| Some(Ok(vec![0, 1]))), (vec![1], true));
        assert_eq!(seen(|_| Some(Err(2))), (vec![1], true));
    }

    #[test]
    fn a_gateways_word_for_nobody_is_understood_whatever_it_is() {
        type Answers = fn(u8) -> Option<Result<Vec<u8>, u8>>;
        let silent: Answers = |unit| (unit == 5).then_some(Ok(vec![0, 1]));
        let by_the_book: Answers = |unit| Some(if unit == 5 { Err(2) } else { Err(11) });
        let otherwise: Answers = |unit| Some(if unit == 5 { Ok(vec![0, 1]) } else { Err(4) });
        for host in [silent, by_the_book, otherwise] {
            assert_eq!(seen(host), (vec![5], false));
        }
    }
}
