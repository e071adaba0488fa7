//! Single values of a profile: what is right, and what is said where it is not.

use crate::model::quantity;
use crate::profile::yaml::scalar;
use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Scalar, nearest};
use crate::profile::{Every, address};
use std::ops::RangeInclusive;
use std::time::Duration;

pub(in crate::profile) static REGISTER: ScalarRule = ScalarRule {
    expected: "5 or 6 digits as in manuals (40001, 400001)",
    check: |s| address::register(s).map(|_| ()),
    types: &["integer", "string"],
    pattern: Some("^[0134][0-9]{4,5}$"),
    words: None,
    limits: None,
    example: r#"40001"#,
};
pub(in crate::profile) static HOLE: ScalarRule = ScalarRule {
    expected: "an address or a range of them (\"108-199\")",
    check: |s| address::hole(s).map(|_| ()),
    types: &["string", "integer"],
    pattern: Some("^[0-9]+( *- *[0-9]+)?$"),
    words: None,
    limits: None,
    example: r#""108-199""#,
};
pub(in crate::profile) static UNIT: ScalarRule = ScalarRule {
    expected: "a unit",
    check: |_| Ok(()),
    types: &["string", "integer"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""kWh""#,
};
pub(in crate::profile) static QUANTITY: ScalarRule = ScalarRule {
    expected: "a quantity",
    check: quantity_known,
    types: &["string"],
    pattern: None,
    words: Some(|| quantity::all().map(|quantity| quantity.name).collect()),
    limits: None,
    example: r#""active-energy""#,
};
pub(in crate::profile) static INVALID: ScalarRule = ScalarRule {
    expected: "a raw value (0x8000, 65535) or nan",
    check: |s| {
        let number =
            scalar::whole(s).map(|_| ()).or_else(|why| scalar::decimal(s).map(|_| ()).map_err(|_| why));
        if is_nan(s) { Ok(()) } else { number }
    },
    types: &["integer", "number", "string"],
    pattern: Some("^([nN][aA][nN]|0x[0-9A-Fa-f]+)$"),
    words: None,
    limits: None,
    example: r#"32768"#,
};
/// Meters of the field answer in 5 to 500 ms; beyond this a line stands still.
pub const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
pub(in crate::profile) static TIMEOUT: ScalarRule = ScalarRule {
    expected: "a duration from 10ms to 60s",
    check: timeout,
    types: &["string"],
    pattern: Some("^[0-9]+([.][0-9]+)?(ms|s|m)$"),
    words: None,
    limits: None,
    example: r#""2s""#,
};
/// How often something is read.
pub static EVERY: ScalarRule = ScalarRule {
    expected: "a duration (500ms, 10s, 5m, 1h) or `continuous`",
    check: |s| every(s).map(|_| ()),
    types: &["string"],
    pattern: Some("^([0-9]+([.][0-9]+)?(ms|s|m|h|d)|continuous)$"),
    words: None,
    limits: None,
    example: r#""10s""#,
};

fn timeout(scalar: &Scalar) -> Result<(), String> {
    if TIMEOUTS.contains(&scalar::duration(scalar)?) { Ok(()) } else { Err(String::new()) }
}

/// YAML's own spelling is `.nan`; people write `nan`.
pub(in crate::profile) fn is_nan(scalar: &Scalar) -> bool {
    matches!(scalar.text.to_ascii_lowercase().as_str(), "nan" | ".nan")
}

fn quantity_known(scalar: &Scalar) -> Result<(), String> {
    if quantity::find(&scalar.text).is_some() {
        return Ok(());
    }
    let near = nearest(&scalar.text, quantity::all().map(|q| q.name));
    let alike: Vec<_> = quantity::all().map(|q| q.name).filter(|name| name.contains(&*scalar.text)).collect();
    Err(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if !alike.is_empty() => format!("did you mean one of {}?", alike.join(", ")),
        None => "the quantities are listed by `linesman schema profile`; `other` takes any unit".to_owned(),
    })
}

/// A period, or `continuous`.
pub fn every(scalar: &Scalar) -> Result<Every, String> {
    if scalar.text == "continuous" {
        return Ok(Every::Continuous);
    }
    let period = scalar::duration(scalar)?;
    if period.is_zero() {
        Err("write `continuous` to read without a pause".to_owned())
    } else {
        Ok(Every::Period(period))
    }
}

pub(in crate::profile) static FIELD: ScalarRule = ScalarRule {
    expected: "a range of bits (\"4-7\"), 0 being the lowest",
    check: |s| field(s).map(|_| ()),
    types: &["string"],
    pattern: Some("^[0-9]{1,2} *- *[0-9]{1,2}$"),
    words: None,
    limits: None,
    example: r#""4-7""#,
};

/// The lowest bit and how many.
pub(in crate::profile) fn field(scalar: &Scalar) -> Result<(u8, u8), String> {
    let text = scalar.text.trim();
    let Some((first, last)) = text.split_once('-') else {
        let one = text.parse::<u8>().is_ok();
        return Err(if one {
            format!("one bit alone is a flag: write `bit: {text}`")
        } else {
            String::new()
        });
    };
    let bit = |text: &str| text.trim().parse::<u8>().ok().filter(|bit| *bit < 64);
    match (bit(first), bit(last)) {
        (Some(first), Some(last)) if first < last => Ok((first, last - first + 1)),
        (Some(first), Some(last)) if first == last => {
            Err(format!("one bit alone is a flag: write `bit: {first}`"))
        }
        (Some(first), Some(last)) => Err(format!("the lower bit comes first: \"{last}-{first}\"")),
        (Some(_) | None, Some(_) | None) => Err("bits are counted from 0 to 63".to_owned()),
    }
}
