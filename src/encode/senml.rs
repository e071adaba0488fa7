//! SenML (RFC 8428) in its JSON form, with the secondary units of RFC 8798.
//!
//! A pack is one array; each reading begins with its base name `gateway/device/` and base time in seconds. A unit that
//! the registry does not know is converted to one that it does where a power of ten will do (bar → Pa), and else left
//! out, which the format allows. The format knows no absence: a reason is a string value `point.bad` beside the others.

use super::json::put;
use super::{Loss, Points};
use crate::model::{Decimal, PointInfo, Reading, Site, Value};

/// Our unit, SenML's, and the power of ten between them.
const UNITS: &[(&str, &str, i32)] = &[
    ("V", "V", 0),
    ("A", "A", 0),
    ("W", "W", 0),
    ("var", "var", 0),
    ("VA", "VA", 0),
    ("kWh", "kWh", 0),
    ("kvarh", "kvarh", 0),
    ("kVAh", "kVAh", 0),
    ("Ah", "Ah", 0),
    ("Hz", "Hz", 0),
    ("1", "/", 0),
    ("°", "deg", 0),
    ("Ω", "Ohm", 0),
    ("°C", "Cel", 0),
    ("%", "/100", 0),
    ("bar", "Pa", 5),
    ("m", "m", 0),
    ("m³", "m3", 0),
    ("m/s", "m/s", 0),
    ("kg", "kg", 0),
    ("mA", "mA", 0),
    ("mV", "mV", 0),
    ("s", "s", 0),
    ("h", "h", 0),
    ("ppm", "ppm", 0),
    ("ppb", "ppm", -3),
    ("mg/L", "kg/m3", -3),
    ("µg/m³", "ug/m3", 0),
    ("µS/cm", "S/m", -4),
    ("lx", "lx", 0),
    ("dB", "dB", 0),
    ("pH", "pH", 0),
    ("W/m²", "W/m2", 0),
];

pub(super) fn reading(out: &mut String, reading: &Reading, site: &Site) {
    let mut points = Points::of(site.device(reading.device.as_str()));
    for (index, (name, sample)) in reading.samples.iter().enumerate() {
        if index == 0 {
            put_base(out, reading, site);
        } else {
            out.push_str(",{");
        }
        match sample {
            Ok(Value::Number(number)) => {
                put(out, format_args!("\"n\":\"{name}\","));
                let (unit, number) = converted(points.find(name.as_str()), *number);
                if let Some(unit) = unit {
                    put(out, format_args!("\"u\":\"{unit}\","));
                }
                put(out, format_args!("\"v\":{number}}}"));
            }
            Ok(Value::Bool(flag)) => put(out, format_args!("\"n\":\"{name}\",\"vb\":{flag}}}")),
            Ok(Value::Text(text)) => {
                put(out, format_args!("\"n\":\"{name}\",\"vs\":{}}}", serde_json::Value::from(&**text)));
            }
            Err(bad) => put(out, format_args!("\"n\":\"{name}.bad\",\"vs\":\"{bad}\"}}")),
        }
    }
    if reading.clock_unsure && !reading.samples.is_empty() {
        out.push_str(",{\"n\":\"clock.unsure\",\"vb\":true}");
    }
}

/// A pack: why, for how long, and how many readings, if that is known. No device is named `gap.…`.
pub(super) fn gap(loss: &Loss<'_>, site: &Site) -> String {
    let (base, from) = (base(site), seconds(loss.from));
    let (reason, lasted) = (serde_json::Value::from(loss.reason), seconds(loss.to.saturating_sub(loss.from)));
    let mut out = format!("[{{\"bn\":\"{base}gap.\",\"bt\":{from},\"n\":\"reason\",\"vs\":{reason}}},");
    put(&mut out, format_args!("{{\"n\":\"lasted\",\"u\":\"s\",\"v\":{lasted}}}"));
    if let Some(count) = loss.count {
        put(&mut out, format_args!(",{{\"n\":\"count\",\"v\":{count}}}"));
    }
    out + "]\n"
}

fn put_base(out: &mut String, reading: &Reading, site: &Site) {
    let seconds = seconds(reading.ts.0);
    put(out, format_args!("{{\"bn\":\"{}{}/\",\"bt\":{seconds},", base(site), reading.device));
}

/// What all names of this gateway begin with. A name begins with a letter or a digit (section 4.5.1); a gateway's may
/// begin with - or _.
fn base(site: &Site) -> String {
    let gateway = site.gateway.as_str();
    let before = if gateway.starts_with(|c: char| c.is_ascii_alphanumeric()) { "" } else { "linesman:" };
    format!("{before}{gateway}/")
}

fn seconds(millis: i64) -> Decimal {
    Decimal::new(i128::from(millis), -3)
}

fn converted(point: Option<&PointInfo>, number: Decimal) -> (Option<&'static str>, Decimal) {
    let Some(point) = point else { return (None, number) };
    if point.unit == "%" && point.quantity == "humidity" {
        return (Some("%RH"), number);
    }
    let row = UNITS.iter().find(|(ours, _, _)| *ours == point.unit);
    match row.map(|(_, unit, power)| (*unit, number.checked_mul(Decimal::new(1, *power)))) {
        Some((unit, Ok(number))) => (Some(unit), number),
        Some((_, Err(_))) | None => (None, number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::{reading, site};
    use crate::model::Bad;

    #[test]
    fn units_are_the_registrys_and_numbers_are_converted_exactly() {
        let mut out = String::new();
        let one = reading("a", &[("u", Ok("231.70")), ("p", Ok("1.01325")), ("h", Ok("50")), ("x", Ok("7"))]);
        super::reading(&mut out, &one, &site());
        assert_eq!(
            out,
            r#"{"bn":"g/a/","bt":1763766000.123,"n":"u","u":"V","v":231.7},{"n":"p","u":"Pa","v":101325},{"n":"h","u":"%RH","v":50},{"n":"x","v":7}"#
        );
    }

    #[test]
    fn a_reason_is_a_string_and_an_unsure_clock_a_flag() {
        let mut one = reading("a", &[("u", Err(Bad::Garbled))]);
        one.clock_unsure = true;
        let (mut out, mut site) = (String::new(), site());
        site.gateway = "_g".parse().unwrap();
        super::reading(&mut out, &one, &site);
        assert_eq!(
            out,
            r#"{"bn":"linesman:_g/a/","bt":1763766000.123,"n":"u.bad","vs":"garbled"},{"n":"clock.unsure","vb":true}"#
        );
    }

    #[test]
    fn every_quantity_has_its_unit_or_is_known_to_have_none() {
        let unknown: Vec<&str> = crate::model::quantity::all()
            .map(|quantity| quantity.unit)
            .filter(|unit| !UNITS.iter().any(|(ours, _, _)| ours == unit))
            .collect();
        for unit in ["m³/h", "NTU", "‰", "mg/kg"] {
            assert!(unknown.contains(&unit), "{unit}");
        }
        assert!(unknown.len() < 12, "{unknown:?}");
    }
}
