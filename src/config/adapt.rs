//! What the owner says of a device beside its place: parameters, units, whose values are meant.

use crate::model::quantity;
use crate::model::{Decimal, IdentityRule, Name};
use crate::profile::yaml::{Entry, Node, Report, nearest, scalar};
use crate::profile::{Profile, Units};

/// The unit that readings of each quantity leave in, where it is not the canonical one.
pub(super) fn units(node: Option<&Node>, report: &mut Report<'_>) -> Units {
    let mut units = Units::new();
    for entry in node.map(Node::entries).unwrap_or_default() {
        let Some(quantity) = quantity::find(&entry.key).filter(|quantity| !quantity.is_other()) else {
            let message = format!("`units`: `{}` is no quantity with a unit", entry.key.escape_debug());
            let near = nearest(&entry.key, quantity::all().map(|quantity| quantity.name));
            match near {
                Some(near) => report.at_with_help(&entry.at, message, format!("did you mean `{near}`?")),
                None => report.at(&entry.at, message),
            }
            continue;
        };
        let Some(spelled) = entry.value.scalar().map(|scalar| scalar.text.trim()) else { continue };
        match quantity.sign_of(spelled) {
            Some(sign) => {
                units.insert(quantity.name.to_owned(), sign.to_owned());
            }
            None => {
                let list: Vec<_> = quantity.units().collect();
                let message = format!("`{}` is no unit of {}", spelled.escape_debug(), quantity.name);
                report.at_with_help(&entry.value.place, message, format!("one of {}", list.join(", ")));
            }
        }
    }
    units
}

/// `hold`, `accept`, or the serial number of the meter that is meant.
pub(super) fn identity(node: &Node, profile: &Profile, report: &mut Report<'_>) -> IdentityRule {
    let Some(entry) = node.entry("identity") else { return IdentityRule::Hold };
    if profile.identity.is_none() && !profile.walks {
        let message =
            format!("`identity`: the profile {} knows no serial number of this meter", profile.name);
        report.at(&entry.at, message);
    }
    match entry.value.scalar().map(|scalar| scalar.text.trim()) {
        Some("accept") => IdentityRule::Accept,
        Some("hold") | None => IdentityRule::Hold,
        Some(serial) => IdentityRule::Is(serial.to_owned()),
    }
}

/// What the installation adds.
pub(super) fn parameters(node: &Node, profile: &Profile, report: &mut Report<'_>) -> Vec<(Name, Decimal)> {
    let given = node.get("parameters").map(Node::entries).unwrap_or_default();
    let mut values = Vec::new();
    for entry in given {
        let Some(parameter) = profile.parameters.iter().find(|known| known.name.as_str() == entry.key) else {
            unknown_parameter(entry, profile, report);
            continue;
        };
        let Some(value) = entry.value.scalar().and_then(|scalar| scalar::decimal(scalar).ok()) else {
            continue;
        };
        match parameter.refuses(value) {
            Some(why) => {
                report.at(&entry.value.place, format!("`{}`: {why}, found {value}", parameter.name));
            }
            None => values.push((parameter.name.clone(), value)),
        }
    }
    let given = |name: &str| given.iter().any(|entry| entry.key == name);
    for parameter in profile.parameters.iter().filter(|p| p.value.is_none() && !given(p.name.as_str())) {
        let message = format!("`parameters: {{ {}: … }}` is missing: {}", parameter.name, parameter.about);
        report.at(&node.place, message);
    }
    values
}

fn unknown_parameter(entry: &Entry, profile: &Profile, report: &mut Report<'_>) {
    let message = format!("the profile {} has no parameter `{}`", profile.name, entry.key.escape_debug());
    let names: Vec<&str> = profile.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let help = match nearest(&entry.key, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "it has none at all".to_owned(),
        None => format!("it has: {}", names.join(", ")),
    };
    report.at_with_help(&entry.at, message, help);
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Overlays, parse};
    use crate::model::IdentityRule;
    use std::time::Duration;

    const METER: &str = "\
profile: 1
vendor: Acme
model: X1
kind: energy-meter
parameters: { ct_ratio: { default: 1, min: 1, max: 100 } }
points:
  serial_number: { holding: 0, type: u16 }
  vt: { holding: 1, type: u16 }
  slow_vt: { holding: 2, type: u16, every: 10m }
  energy: { holding: 3, type: u32, quantity: active-energy, unit: Wh, scale_by: [ct_ratio, vt, slow_vt], index: true, every: 5s }
";

    fn config(more: &str, units: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x1.yaml"), METER).unwrap();
        let text = format!(
            "{units}lines:\n  - name: l\n    tcp: {{ address: 10.0.0.5 }}\n    devices:
      - {{ name: a, profile: ./x1.yaml, unit: 1{more} }}
      - {{ name: b, profile: ./x1.yaml, unit: 2, parameters: {{ ct_ratio: 40 }} }}
      - {{ name: c, profile: ./x1.yaml, unit: 3, parameters: {{ ct_ratio: 40 }} }}\n"
        );
        parse("linesman.yaml", &text, &Overlays::default(), dir.path(), &[])
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_device_has_its_parameters_and_those_with_the_same_share_a_profile() {
        let config = config("", "").unwrap();
        let devices = &config.lines[0].devices;
        let ratio = |index: usize| devices[index].profile.parameters[0].value.unwrap().to_string();
        assert_eq!([ratio(0), ratio(1), ratio(2)], ["1", "40", "40"]);
        assert!(std::sync::Arc::ptr_eq(&devices[1].profile, &devices[2].profile));
    }

    #[test]
    fn a_factor_is_read_as_often_as_what_needs_it_unless_it_says_otherwise() {
        let config = config("", "").unwrap();
        let seconds = |every: &crate::profile::Every| match every {
            crate::profile::Every::Period(period) => *period,
            crate::profile::Every::Continuous => Duration::ZERO,
        };
        let periods: Vec<u64> =
            config.lines[0].devices[0].every.iter().map(|every| seconds(every).as_secs()).collect();
        assert_eq!(periods, [10, 5, 600, 5]);
    }

    #[test]
    fn the_owners_unit_is_the_one_that_leaves() {
        let config = config("", "units: { active-energy: Wh }\n").unwrap();
        let site = config.site();
        let energy = site.devices[0].points.iter().find(|point| point.name.as_str() == "energy").unwrap();
        assert_eq!(energy.unit, "Wh");
        assert_eq!(config.lines[0].devices[0].profile.points[3].scale, "1".parse().unwrap());
    }

    #[test]
    fn a_meter_is_held_accepted_or_the_one_that_is_named() {
        let rule = |more: &str| config(more, "").unwrap().lines[0].devices[0].identity.clone();
        assert_eq!(rule(""), IdentityRule::Hold);
        assert_eq!(rule(", identity: accept"), IdentityRule::Accept);
        assert_eq!(rule(", identity: 81234"), IdentityRule::Is("81234".to_owned()));
    }
}
