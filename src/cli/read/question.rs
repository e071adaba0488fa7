//! What is asked: the points of a profile, or of one made up for the addresses that were given.

use super::{Arguments, Exit};
use crate::bus::PortConfig;
use crate::profile::{self, Format, Profile};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More addresses than there are can't be asked for.
const ADDRESSES: u32 = 65_536;

pub(super) struct Question {
    pub port: PortConfig,
    pub profile: Arc<Profile>,
    /// The profile is made up: show addresses and raw registers.
    pub raw: bool,
}

pub(super) fn of(arguments: &Arguments) -> Result<Question, (Exit, String)> {
    let usage = |why: String| (Exit::Usage, why);
    let port = super::port(arguments).map_err(|right| usage(format!("{}: {right}", arguments.port)))?;
    if let Some(name) = &arguments.profile {
        let profile = profile::find(name, Path::new("."), &[PathBuf::from(profile::OWN_FOLDER)])
            .map_err(|problems| (Exit::Config, problems.to_string()))?;
        return Ok(Question { port, profile, raw: false });
    }
    let tables = [
        ("holding", &arguments.holding),
        ("input", &arguments.input),
        ("coil", &arguments.coil),
        ("discrete", &arguments.discrete),
    ];
    let given = tables.iter().find_map(|(table, given)| Some((*table, given.as_deref()?)));
    let (table, given) = given.ok_or_else(|| usage("nothing is asked for".to_owned()))?;
    let profile = made_up(table, given, arguments.format.as_deref()).map_err(usage)?;
    Ok(Question { port, profile: Arc::new(profile), raw: true })
}

/// A profile of values side by side, through the same reader as every other.
fn made_up(table: &str, given: &str, format: Option<&str>) -> Result<Profile, String> {
    let bits = matches!(table, "coil" | "discrete");
    let format = format.unwrap_or(if bits { "bool" } else { "u16" });
    let width = u32::from(width(table, format)?);
    let (first, count) = span(given, width).ok_or_else(|| {
        format!(
            "--{table} {given}: expected ADDRESS or ADDRESS+N with addresses from 0 to 65535, as in 0x10+4"
        )
    })?;
    if !count.is_multiple_of(width) {
        return Err(format!(
            "--{table} {given}: {count} registers do not hold whole values of {format} ({width} each)"
        ));
    }
    let mut points = String::new();
    for address in (first..first + count).step_by(usize::try_from(width).unwrap_or(1)) {
        let _ = writeln!(
            points,
            "  \"{address}\": {{ {table}: {address}, type: \"{format}\", quantity: other }}"
        );
    }
    parse(&points)
}

fn width(table: &str, format: &str) -> Result<u16, String> {
    let one = parse(&format!("  p: {{ {table}: 0, type: \"{format}\", quantity: other }}\n"))?;
    Ok(one
        .points
        .first()
        .map_or(1, |point| if point.table.is_bits() { 1 } else { Format::count(point.format) }))
}

pub(super) fn parse(points: &str) -> Result<Profile, String> {
    let text =
        format!("profile: 1\nvendor: none\nmodel: none\nkind: other\nsources: [none]\npoints:\n{points}");
    profile::parse("read", "--type", &text).map_err(|problems| {
        problems.iter().next().map_or_else(String::new, |problem| problem.message.clone())
    })
}

pub(super) fn span(given: &str, width: u32) -> Option<(u32, u32)> {
    let (first, count) = given.split_once('+').map_or((given, None), |(first, count)| (first, Some(count)));
    let first = number(first)?;
    let count = count.map_or(Some(width), number)?;
    (count > 0 && first + count <= ADDRESSES).then_some((first, count))
}

fn number(text: &str) -> Option<u32> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let number = hexadecimal.map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok());
    number.filter(|number| *number <= ADDRESSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_decimal_or_hexadecimal_with_a_count() {
        assert_eq!(span("10", 2), Some((10, 2)));
        assert_eq!(span("0x10+4", 1), Some((16, 4)));
        for wrong in ["", "x", "65536", "65535+2", "1+0", "-1", "1+x"] {
            assert_eq!(span(wrong, 1), None, "{wrong}");
        }
    }

    #[test]
    fn values_lie_side_by_side() {
        let profile = made_up("input", "100+4", Some("f32")).unwrap();
        let addresses: Vec<u16> = profile.points.iter().map(|point| point.address).collect();
        assert_eq!(addresses, [100, 102]);
        assert!(made_up("input", "100+3", Some("f32")).is_err());
        assert!(made_up("input", "100", Some("f23")).unwrap_err().contains("f32"));
        assert_eq!(made_up("coil", "3+9", None).unwrap().points.len(), 9);
    }
}
