//! The names that points of energy meters have, in every profile the same: the last table of `profiles/README.md`,
//! which is inside the binary. So dashboards and rules fit one meter as well as another.

use super::library;
use super::yaml::{Node, Problems, Report, nearest, node};
use std::collections::BTreeSet;

/// Above the table of names.
const HEADING: &str = "## Names of points of energy meters";

/// The names of the glossary.
pub fn names() -> BTreeSet<&'static str> {
    let table = library::readme().split(HEADING).nth(1).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    cells.flat_map(|cell| cell.split('`')).filter(|name| !name.trim_matches([',', ' ']).is_empty()).collect()
}

/// Points of an energy meter whose names are not in the glossary; nothing for other kinds.
pub fn check(file: &str, text: &str) -> Problems {
    let mut report = Report::new(file, text);
    let root = node::parse(text, &mut Report::new(file, text));
    let Some(root) = root.filter(|root| kind(root) == Some("energy-meter")) else { return report.finish() };
    let names = names();
    for entry in root.get("points").map(Node::entries).unwrap_or_default() {
        let flags = entry.value.get("bits").map(Node::entries).unwrap_or_default();
        let flagged =
            flags.iter().filter_map(|flag| Some(format!("{}_{}", entry.key, flag.value.scalar()?.text)));
        let own = std::iter::once(entry.key.clone()).filter(|_| flags.is_empty());
        let is_internal = entry.value.get("internal").is_some();
        for name in own.chain(flagged).filter(|name| !is_internal && !names.contains(without_circuit(name))) {
            let message =
                format!("`{}` is not in the glossary of energy meters' points", name.escape_debug());
            let help = match nearest(&name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "the glossary is the last table of profiles/README.md; one name means the same on every \
                         meter"
                        .to_owned()
                }
            };
            report.at_with_help(&entry.at, message, help);
        }
    }
    report.finish()
}

/// The name without the number of the circuit before it, of a meter that has several: `ch2_active_power`.
fn without_circuit(name: &str) -> &str {
    let numbered = name.strip_prefix("ch").and_then(|rest| rest.split_once('_'));
    let numbered = numbered.filter(|(number, _)| number.parse::<u8>().is_ok());
    numbered.map_or(name, |(_, name)| name)
}

fn kind(root: &Node) -> Option<&str> {
    root.get("kind")?.scalar().map(|scalar| scalar.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_ones_own_is_told_with_the_nearest_of_the_glossary() {
        let of = |kind: &str| {
            let text = format!(
                "kind: {kind}\npoints:\n  actve_power: {{ input: 1 }}\n  voltage_l1: {{ input: 2 }}\n"
            );
            check("p.yaml", &text).to_string()
        };
        assert!(
            of("energy-meter").starts_with("p.yaml:3:3: `actve_power` is not in the glossary"),
            "{}",
            of("energy-meter")
        );
        assert!(of("energy-meter").contains("did you mean `active_power`?"));
        assert!(!of("energy-meter").contains("voltage_l1"));
        assert_eq!(of("other"), "");
    }
}
