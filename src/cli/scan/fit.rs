//! Which profile fits what is known of a device, and how sure that is: pure.
//!
//! # The number
//! Each point of a profile whose registers are known says something for the profile or against it: a value within the
//! narrow bounds of physics (45 to 65 Hz) much, any other a little, nonsense against it, a refused register
//! strongly against it; where a device refuses what it does not have, that it has a register counts too. So do fingerprints (`identify:`) that hold or do not, the name that the device gives, and the
//! factory's serial settings. The sum is the *evidence*, in the unit of a natural logarithm of odds. Then
//!
//! ```text
//! confidence = quality × share
//! quality    = the mean of how well the known points fit, 0 to 1
//! share      = exp(evidence / 1.5) ÷ the sum of the same over all profiles, and over "something else" with evidence 3
//! ```
//!
//! and at most 0.99.
//!
//! Two profiles with the same registers share: neither is surer than 0.5, and both are named.

use super::name::{self, Identity};
use super::physics::{self, Verdict};
use crate::bus::Field;
use crate::bus::scan::{Known, Registers, Settings};
use crate::model::Bad;
use crate::normalize;
use crate::profile::Profile;
use std::sync::Arc;

const TEMPERATURE: f64 = 1.5;
/// What a profile must bring to be believed rather than that the device is in no library.
const SOMETHING_ELSE: f64 = 3.0;
const MARK_HOLDS: f64 = 8.0;
const MARK_DIFFERS: f64 = -12.0;
const MARK_REFUSED: f64 = -2.0;
const FACTORY_SETTINGS: f64 = 0.3;
const FACTORY_UNIT: f64 = 0.1;
/// A device that refuses what it does not have says something with each register that it has, up to so many.
const EXISTS: f64 = 1.0;
const MOST_EXISTING: f64 = 16.0;
/// So many telling values count in full, more of them less: they are not independent.
const IN_FULL: usize = 6;
const THE_REST: f64 = 0.4;
/// Nobody has looked at the label.
const MOST_CONFIDENCE: f64 = 0.99;
/// Less is not worth naming.
pub(super) const LEAST_CONFIDENCE: f64 = 0.2;

/// What is known of a device.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub registers: Registers,
    pub identity: Identity,
    pub settings: Option<Settings>,
    pub unit: u8,
}

/// How well a profile fits.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    pub profile: Arc<Profile>,
    pub evidence: f64,
    pub quality: f64,
    /// Points whose registers are known, refused ones too.
    pub known: usize,
    pub confidence: f64,
}

/// All profiles of which something is known, the best first.
pub(super) fn rank(library: &[Arc<Profile>], of: &Evidence) -> Vec<Fit> {
    let mut fits: Vec<Fit> =
        library.iter().map(|profile| fit(profile, of)).filter(|fit| fit.known > 0).collect();
    // Of equals the one with fewer points first: the others say more than is known.
    fits.sort_by(|a, b| {
        b.evidence.total_cmp(&a.evidence).then(a.profile.points.len().cmp(&b.profile.points.len()))
    });
    let top = fits.first().map_or(SOMETHING_ELSE, |fit| fit.evidence.max(SOMETHING_ELSE));
    let weight = |evidence: f64| ((evidence - top) / TEMPERATURE).exp();
    let sum = weight(SOMETHING_ELSE) + fits.iter().map(|fit| weight(fit.evidence)).sum::<f64>();
    for fit in &mut fits {
        let share = weight(fit.evidence) / sum;
        fit.confidence = ((fit.quality * share * 100.0).round() / 100.0).min(MOST_CONFIDENCE);
    }
    fits
}

fn fit(profile: &Arc<Profile>, of: &Evidence) -> Fit {
    let (mut evidence, mut quality, mut known, mut telling) = (circumstances(profile, of), 0.0, 0.0, 0);
    let (mut count, mut existing) = (0, 0.0_f64);
    let fields = fields(profile, &of.registers);
    for (field, (index, sample)) in fields.iter().zip(normalize::samples(profile, &fields)) {
        let Some(point) = profile.points.get(index) else { continue };
        let is_something = field.octets.as_ref().is_ok_and(|octets| octets.iter().any(|octet| *octet != 0));
        let verdict = if field.octets.is_ok() { physics::judge(point, &sample) } else { physics::REFUSED };
        existing += f64::from(u8::from(is_something));
        telling += usize::from(verdict.telling);
        evidence += weighted(verdict, telling);
        quality += verdict.fits;
        known += 1.0;
        count += 1;
    }
    if of.registers.refuses() {
        evidence += EXISTS * existing.min(MOST_EXISTING);
    }
    let quality = if known > 0.0 { quality / known } else { 0.0 };
    Fit { profile: Arc::clone(profile), evidence, quality, known: count, confidence: 0.0 }
}

/// The profile's points whose registers are known, or known to be refused.
pub(super) fn fields(profile: &Profile, registers: &Registers) -> Vec<Field> {
    let field = |(index, point)| {
        let octets = match registers.of(point)? {
            Known::Octets(octets) => Ok(octets),
            Known::Refused(code) => Err(Bad::Exception(code)),
        };
        Some(Field { point: index, octets })
    };
    profile.points.iter().enumerate().filter_map(field).collect()
}

fn weighted(verdict: Verdict, telling: usize) -> f64 {
    if verdict.telling && telling > IN_FULL { verdict.evidence * THE_REST } else { verdict.evidence }
}

/// What speaks for a profile beside its points.
pub(super) fn circumstances(profile: &Profile, of: &Evidence) -> f64 {
    let mut evidence = name::evidence(&of.identity, profile) + marks(profile, &of.registers);
    if let (Some(settings), Some(factory)) = (of.settings, profile.serial) {
        evidence += if settings.baud == factory.baud { FACTORY_SETTINGS } else { 0.0 };
        evidence += if settings.parity == factory.parity { FACTORY_SETTINGS } else { 0.0 };
    }
    evidence + if profile.unit_id == Some(of.unit) { FACTORY_UNIT } else { 0.0 }
}

/// The fingerprint: all of it must hold.
fn marks(profile: &Profile, registers: &Registers) -> f64 {
    let mut held = 0;
    for mark in &profile.identify {
        match registers.look_up(mark.table, mark.address, 1) {
            Some(Known::Octets(octets)) => {
                let value = octets.iter().fold(0u16, |value, octet| (value << 8) | u16::from(*octet));
                if value != mark.equals {
                    return MARK_DIFFERS;
                }
                held += 1;
            }
            Some(Known::Refused(_)) => return MARK_REFUSED,
            None => {}
        }
    }
    if held > 0 && held == profile.identify.len() { MARK_HOLDS } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Lessons, Terms, WireCost, plan_points};
    use crate::modbus::{Ask, AskReply};
    use crate::model::Timestamp;
    use crate::profile;
    use crate::sim::Meter;
    use std::path::Path;
    use std::time::Duration;

    /// Counters of simulated meters are not at zero then.
    const NOW: Timestamp = Timestamp(1_764_072_345_000);

    fn library() -> Vec<Arc<Profile>> {
        profile::builtin().map(|name| profile::find(name, Path::new("."), &[]).unwrap()).collect()
    }

    /// Everything that all profiles of the library would ask, as this meter answers it.
    fn read_all(meter: &mut Meter, library: &[Arc<Profile>]) -> Registers {
        let mut registers = Registers::default();
        let cost = WireCost::tcp();
        for profile in library {
            let terms = Terms { cost, turnaround: Duration::ZERO, lessons: &Lessons::default() };
            for point in 0..profile.points.len() {
                for block in plan_points(profile, &[point], &terms) {
                    let (ask, request) = (Ask::Read(block.request), block.request);
                    let pdu = meter.answer(&ask.pdu(), NOW);
                    match ask.read_reply(&pdu).unwrap() {
                        AskReply::Data(data) => registers.take(&request, data),
                        AskReply::Exception(code) => {
                            let table = profile.points[point].table;
                            registers.refuse(table, request.address(), request.count(), code);
                        }
                    }
                }
            }
            for mark in &profile.identify {
                let request =
                    crate::modbus::ReadRequest::new(crate::bus::function_of(mark.table), mark.address, 1)
                        .unwrap();
                let ask = Ask::Read(request);
                if let Ok(AskReply::Data(data)) = ask.read_reply(&meter.answer(&ask.pdu(), NOW)) {
                    registers.take(&request, data);
                }
            }
        }
        registers
    }

    /// Bare inputs, and devices with the same registers, can't be told apart: then nobody is said to be sure.
    #[test]
    fn nearly_every_profile_is_known_from_its_meters_registers_alone_and_none_is_surely_another() {
        let library = library();
        let mut others = Vec::new();
        for profile in &library {
            let mut meter = Meter::new(Arc::clone(profile), 7, 3);
            let registers = read_all(&mut meter, &library);
            let fits = rank(&library, &Evidence { registers, ..Evidence::default() });
            let first = &fits[0];
            if first.profile.name != profile.name {
                let text =
                    format!("{} is taken for {}: {}", profile.name, first.profile.name, first.confidence);
                assert!(first.confidence <= 0.5, "{text}");
                others.push(text);
            }
        }
        assert!(others.len() * 10 <= library.len(), "{others:#?}");
    }

    #[test]
    fn two_profiles_with_the_same_registers_share_the_confidence() {
        let mut library = library();
        let one = library.iter().find(|profile| profile.name == "eastron-sdm120").unwrap();
        let twin = Arc::new(Profile { name: "twin".to_owned(), ..Profile::clone(one) });
        let mut meter = Meter::new(Arc::clone(one), 1, 3);
        library.push(twin);
        let registers = read_all(&mut meter, &library);
        let fits = rank(&library, &Evidence { registers, ..Evidence::default() });
        assert!(
            fits[0].confidence <= 0.5 && fits[0].confidence == fits[1].confidence,
            "{:?}",
            fits[0].confidence
        );
    }

    #[test]
    fn a_fingerprint_that_differs_outweighs_plausible_values() {
        let library = library();
        let abb = library.iter().find(|profile| profile.name == "abb-b23-b24").unwrap();
        let mut registers = read_all(&mut Meter::new(Arc::clone(abb), 1, 3), &library);
        let best = |registers: &Registers| {
            let evidence = Evidence { registers: registers.clone(), ..Evidence::default() };
            fit(abb, &evidence).evidence
        };
        let with = best(&registers);
        let mark = crate::modbus::ReadRequest::new(crate::modbus::ReadFunction::HoldingRegisters, 35_168, 1)
            .unwrap();
        registers.take(&mark, &[0, 0]);
        assert!(with - best(&registers) > 15.0);
    }

    #[test]
    fn a_register_that_is_refused_speaks_strongly_against_a_profile() {
        let library = library();
        let one = library.iter().find(|profile| profile.name == "eastron-sdm120").unwrap();
        let mut registers = Registers::default();
        let evidence = |registers: &Registers| {
            let evidence = Evidence { registers: registers.clone(), ..Evidence::default() };
            fit(one, &evidence).evidence
        };
        let before = evidence(&registers);
        let point = &one.points[0];
        registers.refuse(point.table, point.address, point.format.count(), 2);
        assert!(before - evidence(&registers) >= 2.0);
    }

    #[test]
    fn nothing_known_is_no_fit() {
        assert!(rank(&library(), &Evidence::default()).is_empty());
    }
}
