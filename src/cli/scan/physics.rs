//! What a living device shows: whether a value can be what its point says it is. Pure.

use crate::model::{Bad, Sample, Value};
use crate::profile::{Format, Point};

/// What a value says for a profile, or against it: `evidence` in the unit of a natural logarithm of odds, `fits` from
/// 0 (nonsense) to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    pub evidence: f64,
    pub fits: f64,
    /// The quantity has narrow bounds and the value is within them: by chance that is rare.
    pub telling: bool,
}

const fn verdict(evidence: f64, fits: f64) -> Verdict {
    Verdict { evidence, fits, telling: false }
}

pub(super) const REFUSED: Verdict = verdict(-3.0, 0.0);

/// The bounds of a quantity that are narrow enough to tell something, in its canonical unit.
fn narrow(point: &Point) -> Option<(f64, f64)> {
    let between_phases =
        point.name.as_str().contains("_ll") || point.phase.as_deref().is_some_and(|p| p.len() > 2);
    Some(match point.quantity.as_str() {
        "voltage" if between_phases => (80.0, 520.0),
        "voltage" if point.phase.is_some() => (80.0, 300.0),
        "voltage" => (80.0, 520.0),
        "frequency" => (45.0, 65.0),
        "power-factor" => (-1.0, 1.0),
        "phase-angle" => (-360.0, 360.0),
        "temperature" => (-40.0, 125.0),
        "humidity" | "soil-moisture" | "moisture" => (0.1, 100.0),
        "ph" => (1.0, 14.0),
        "co2" => (200.0, 10_000.0),
        _ => return None,
    })
}

/// Whether a profile is told by this point better than by others.
pub(super) fn is_telling(point: &Point) -> bool {
    narrow(point).is_some() && !matches!(point.format, Format::Bool | Format::Bits | Format::Text(_))
}

/// The most that any meter of a building or a plant shows.
fn most(point: &Point) -> f64 {
    match point.quantity.as_str() {
        "current" => 1e5,
        "active-power" | "reactive-power" | "apparent-power" => 1e8,
        _ => 1e9,
    }
}

/// A point's value, as it was read from the device's registers by this profile.
pub(super) fn judge(point: &Point, sample: &Sample) -> Verdict {
    match sample {
        Ok(Value::Number(number)) => number_verdict(point, number.to_f64()),
        Ok(Value::Bool(_)) => verdict(0.05, 0.8),
        Ok(Value::Text(text)) if matches!(point.format, Format::Text(_)) => {
            let printable = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
            if printable { verdict(0.7, 1.0) } else { verdict(-0.5, 0.3) }
        }
        Ok(Value::Text(_)) => verdict(0.5, 1.0),
        // A value that the profile knows to mean "nothing here" is hardly there by chance.
        Err(Bad::Invalid) if !point.invalid.is_empty() => verdict(0.7, 1.0),
        Err(Bad::Invalid) => verdict(-0.7, 0.2),
        Err(Bad::OutOfRange | Bad::Garbled) => verdict(-2.0, 0.1),
        Err(_) => verdict(0.0, 0.5),
    }
}

fn is_wide(point: &Point) -> bool {
    !matches!(point.format, Format::U16 | Format::S16 | Format::Bcd16)
}

fn number_verdict(point: &Point, value: f64) -> Verdict {
    if value == 0.0 {
        // Not wired, or nothing flows, or there is no such register: but a living line has a frequency.
        return if point.quantity == "frequency" { verdict(-1.0, 0.3) } else { verdict(-0.2, 0.6) };
    }
    if let Some((least, most)) = narrow(point) {
        let inside = (least..=most).contains(&value);
        return if inside {
            // Sixteen bits are more often within bounds by chance than a float.
            Verdict { evidence: if is_wide(point) { 2.0 } else { 1.2 }, fits: 1.0, telling: true }
        } else {
            verdict(-0.7, 0.2)
        };
    }
    let size = value.abs();
    match (size < most(point) && size > 1e-6, is_wide(point)) {
        (true, true) => verdict(0.6, 1.0),
        (true, false) => verdict(0.1, 1.0),
        (false, _) => verdict(-0.7, 0.2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;
    use std::path::Path;

    fn of(name: &str, value: &str) -> f64 {
        let profile = profile::find("eastron-sdm630", Path::new("."), &[]).unwrap();
        let point = profile.points.iter().find(|point| point.name.as_str() == name).unwrap();
        judge(point, &Ok(Value::Number(value.parse().unwrap()))).evidence
    }

    #[test]
    fn a_living_line_has_fifty_or_sixty_hertz_and_some_hundred_volts() {
        for (name, good, bad) in [
            ("voltage_l1", "231.4", "3.2e-30"),
            ("frequency", "49.98", "139.4"),
            ("power_factor", "-0.93", "12"),
            ("active_power", "1800.5", "1e20"),
            ("energy_import", "12345.678", "-4e30"),
        ] {
            assert!(of(name, good) > 0.5, "{name} {good}");
            assert!(of(name, bad) <= -0.7, "{name} {bad}");
        }
        assert!(of("frequency", "0") < of("voltage_l2", "0") && of("voltage_l2", "0") < 0.0);
    }
}
