//! What a vendor's table means by its words: types, scales, units, addresses, tables. Pure; what is not understood is `None`,
//! never a guess that could be a wrong number.

use crate::model::{Ratio, quantity};
use crate::profile::format::type_word;

/// Which quantity a unit most likely stands for.
const LIKELY: &[(&str, &str)] = &[
    ("V", "voltage"),
    ("A", "current"),
    ("W", "active-power"),
    ("var", "reactive-power"),
    ("VA", "apparent-power"),
    ("kWh", "active-energy"),
    ("kvarh", "reactive-energy"),
    ("kVAh", "apparent-energy"),
    ("Hz", "frequency"),
    ("°", "phase-angle"),
    ("°C", "temperature"),
    ("bar", "pressure"),
    ("m³", "volume"),
    ("m³/h", "flow-rate"),
    ("m", "level"),
    ("ppm", "concentration"),
    ("m/s", "velocity"),
    ("µS/cm", "conductivity"),
    ("lx", "illuminance"),
    ("h", "operating-time"),
];

/// Units in words, and those that name their quantity.
const SPELLED: &[(&str, &str, &str)] = &[
    ("volt", "voltage", "V"),
    ("volts", "voltage", "V"),
    ("amp", "current", "A"),
    ("amps", "current", "A"),
    ("ampere", "current", "A"),
    ("amperes", "current", "A"),
    ("watt", "active-power", "W"),
    ("watts", "active-power", "W"),
    ("vars", "reactive-power", "var"),
    ("hertz", "frequency", "Hz"),
    ("hours", "operating-time", "h"),
    ("degrees", "phase-angle", "°"),
    ("%rh", "humidity", "%"),
    ("rh%", "humidity", "%"),
    ("%rf", "humidity", "%"),
    ("%r.f.", "humidity", "%"),
];

/// The quantity and the right sign, by the unit's family: `mV` is a voltage too.
pub(super) fn quantity_of(unit: &str) -> Option<(&'static str, &'static str)> {
    let unit = unit.trim_matches(['[', ']', '(', ')', ' ']);
    // Percent of what, nobody can tell.
    if matches!(unit, "" | "%") {
        return None;
    }
    let plain = unit.to_lowercase().replace(' ', "");
    let spelled =
        SPELLED.iter().find(|(word, _, _)| *word == plain).map(|(_, quantity, sign)| (*quantity, *sign));
    spelled.or_else(|| {
        let found = LIKELY.iter().filter_map(|(_, name)| quantity::find(name));
        found.filter_map(|quantity| Some((quantity.name, quantity.sign_of(unit)?))).next()
    })
}

/// A type in whatever words, `string:8` for any text; and whether the low register comes first, if the words say so.
pub(super) fn format_of(said: &str) -> (Option<&'static str>, bool) {
    let lower = said.to_lowercase();
    let is_little =
        ["lsw", "cdab", "swap", "low word first", "little"].iter().any(|word| lower.contains(word));
    let bare: String = lower.split(['(', '[', ',', ';']).next().unwrap_or_default().to_owned();
    let known = type_word(&lower).or_else(|| type_word(&bare)).or_else(|| by_parts(&lower));
    (known, is_little)
}

/// `Unsigned 32-bit`, `INT16U`, `S_DWORD`: a sign and a width.
fn by_parts(lower: &str) -> Option<&'static str> {
    let digits: String =
        lower.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let letters: String = lower.chars().filter(|c| c.is_ascii_alphabetic()).collect();
    let bits: u16 = match digits.parse() {
        Ok(bits) => bits,
        Err(_) if letters.contains("dword") || letters.contains("dint") || letters.contains("long") => 32,
        Err(_) if letters.contains("word") || letters.contains("int") => 16,
        Err(_) if letters.contains("lreal") => 64,
        Err(_) if letters.contains("float") || letters.contains("real") => 32,
        Err(_) => return None,
    };
    if ["float", "real", "ieee", "fp"].iter().any(|word| letters.contains(word)) {
        return [(32, "f32"), (64, "f64"), (754, "f32")]
            .iter()
            .find(|(n, _)| *n == bits)
            .map(|(_, word)| *word);
    }
    let is_number = ["int", "word", "sign", "bit", "long"].iter().any(|word| letters.contains(word));
    let is_unsigned = letters.contains("unsigned")
        || letters.starts_with('u')
        || letters.ends_with('u')
        || letters.contains("uint")
        || (letters.contains("word") && !letters.starts_with('s'));
    let (unsigned, signed) = match bits {
        16 => ("u16", "s16"),
        32 => ("u32", "s32"),
        64 => ("u64", "s64"),
        _ => return None,
    };
    let is_signed = letters.contains("signed") || letters.contains("int") || letters.starts_with('s');
    match (is_number, is_unsigned, is_signed) {
        (true, true, _) => Some(unsigned),
        (true, false, true) => Some(signed),
        _ => None,
    }
}

/// `0.1`, `0,1`, `x0.1`, `÷100`, `/10`, `1/10`, `10^-2`, `0.1 V`; empty where it is 1, `None` where it is not understood.
pub(super) fn scale_of(said: &str) -> Option<String> {
    let said = said.trim().replace(',', ".");
    let bare = said.trim_start_matches(['x', 'X', '*', '×']).trim();
    if matches!(bare, "" | "1" | "-" | "–" | "1.0" | "none" | "n/a") {
        return Some(String::new());
    }
    if let Some(divisor) = bare.strip_prefix(['÷', '/', ':']).map(str::trim) {
        return Some(format!("1/{divisor}")).filter(|text| text.parse::<Ratio>().is_ok());
    }
    if let Some(power) = bare.strip_prefix("10^").or_else(|| bare.strip_prefix("10E")) {
        return Some(format!("1e{}", power.trim_matches(['(', ')'])))
            .filter(|text| text.parse::<Ratio>().is_ok());
    }
    // `0.1 V`: a number and the unit of the column beside it.
    let number = bare.split(' ').next().unwrap_or(bare);
    let has_unit = bare.len() > number.len() && quantity_of(&bare[number.len()..]).is_some();
    let text = if has_unit { number } else { bare };
    text.parse::<Ratio>().is_ok().then(|| text.to_owned())
}

/// `Value weight: Volt*10` among the notes: what is in the register is ten times the value.
pub(super) fn weight_of(notes: &str) -> Option<String> {
    let (what, factor) = notes.split_once('*')?;
    let is_weight = what.to_lowercase().contains("weight");
    let digits: String = factor.trim().chars().take_while(char::is_ascii_digit).collect();
    let is_power = digits.starts_with('1') && digits.trim_start_matches('1').chars().all(|c| c == '0');
    (is_weight && is_power && digits.len() > 1).then(|| format!("1/{digits}"))
}

/// Which table a function code or a word means.
pub(super) fn table_of(said: &str) -> Option<&'static str> {
    let said = said.to_lowercase();
    let number: String = said
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .skip_while(|c| *c == '0' || *c == 'x')
        .take_while(char::is_ascii_digit)
        .collect();
    match number.as_str() {
        "1" => return Some("coil"),
        "2" => return Some("discrete"),
        "3" => return Some("holding"),
        "4" => return Some("input"),
        _ => {}
    }
    let words = [("discrete", "discrete"), ("coil", "coil"), ("hold", "holding"), ("input", "input")];
    words.iter().find(|(word, _)| said.contains(word)).map(|(_, table)| *table)
}

/// Five or six digits that begin with a table's; also `4x0001`.
pub(super) fn notation(address: &str) -> Option<String> {
    let address = first_of(address).to_lowercase().replacen('x', "", usize::from(!address.starts_with("0x")));
    let digits = address.bytes().all(|b| b.is_ascii_digit());
    let fits = matches!(
        (address.len(), address.as_bytes().first()),
        (5, Some(b'3' | b'4')) | (6, Some(b'0' | b'1' | b'3' | b'4'))
    );
    (digits && fits).then_some(address)
}

/// Hexadecimal without a mark before it: `00B0`, `1Ch`.
pub(super) fn is_bare_hex(address: &str) -> bool {
    let first = first_of(address);
    let digits = first.trim_end_matches(['h', 'H']);
    !first.starts_with("0x")
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && (digits.len() < first.len() || digits.bytes().any(|b| b.is_ascii_alphabetic()))
}

/// `17`, `0x11`, `11h`; all hexadecimal where one of them can be nothing else.
pub(super) fn address(text: &str, hexadecimal: bool) -> Option<u16> {
    number(first_of(text), hexadecimal)
}

/// How many registers `10-11` spans.
pub(super) fn span(text: &str, hexadecimal: bool) -> Option<u16> {
    let mut parts = text.split(['-', '–', '…']).map(str::trim).filter(|part| !part.is_empty());
    let (first, last) = (number(parts.next()?, hexadecimal)?, number(parts.next()?, hexadecimal)?);
    last.checked_sub(first)?.checked_add(1)
}

fn first_of(text: &str) -> &str {
    text.trim().split(['-', '–', '…', '.', '/', ' ']).next().unwrap_or(text)
}

fn number(text: &str, hexadecimal: bool) -> Option<u16> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u16::from_str_radix(hex, 16).ok();
    }
    if hexadecimal {
        return u16::from_str_radix(text.trim_end_matches(['h', 'H']), 16).ok();
    }
    text.parse().ok()
}

/// Lower case, digits and underscores; umlauts as they are written without.
pub(super) fn name(said: &str, line: usize) -> String {
    let plain =
        said.to_lowercase().replace('ä', "ae").replace('ö', "oe").replace('ü', "ue").replace('ß', "ss");
    let plain = plain.replace(['é', 'è', 'ê'], "e").replace('φ', "phi").replace('à', "a");
    let words: Vec<&str> =
        plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name: String = words.join("_").chars().take(60).collect();
    if name.is_empty() { format!("point_{line}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_in_the_words_of_many_makers_are_understood_or_left_open() {
        for (said, word) in [
            ("Float", Some("f32")),
            ("FLOAT32 (IEEE754)", Some("f32")),
            ("Signed 16-bit", Some("s16")),
            ("Unsigned 32-bit (LSW first)", Some("u32")),
            ("INT16U", Some("u16")),
            ("INT32S", Some("s32")),
            ("UDINT", Some("u32")),
            ("S_DWORD", Some("s32")),
            ("U_WORD", Some("u16")),
            ("LREAL", Some("f64")),
            ("UINT64", Some("u64")),
            ("Int64", Some("s64")),
            ("??", None),
            ("16", None),
            ("4Q_FP_PF", None),
            ("int24", None),
        ] {
            assert_eq!(format_of(said).0, word, "{said}");
        }
        assert!(format_of("Unsigned 32-bit (LSW first)").1 && !format_of("u32").1);
    }

    #[test]
    fn scales_as_people_write_them_are_understood_or_left_open() {
        for (said, scale) in [
            ("0,1", Some("0.1")),
            ("x0.01", Some("0.01")),
            ("÷100", Some("1/100")),
            ("/10", Some("1/10")),
            ("1/10", Some("1/10")),
            ("10^-2", Some("1e-2")),
            ("0.1 V", Some("0.1")),
            ("1", Some("")),
            ("-", Some("")),
            ("see below", None),
            ("V/10", None),
        ] {
            assert_eq!(scale_of(said).as_deref(), scale, "{said}");
        }
        assert_eq!(weight_of("Value weight: Volt*10").as_deref(), Some("1/10"));
        assert_eq!((weight_of("Value weight: kWh*3"), weight_of("a*10")), (None, None));
    }

    #[test]
    fn addresses_tables_and_units_are_understood_or_left_open() {
        assert_eq!(
            (notation("4x0001").as_deref(), notation("40001-40002").as_deref()),
            (Some("40001"), Some("40001"))
        );
        assert_eq!((notation("0x9C41"), notation("3000")), (None, None));
        assert_eq!((span("10 - 11", false), span("10", false), span("11-10", false)), (Some(2), None, None));
        for (said, table) in [
            ("0x03", Some("holding")),
            ("04", Some("input")),
            ("03/16", Some("holding")),
            ("Input register", Some("input")),
            ("Discrete input", Some("discrete")),
            ("R/W", None),
        ] {
            assert_eq!(table_of(said), table, "{said}");
        }
        for (unit, known) in [
            ("Volts", Some(("voltage", "V"))),
            ("[kW]", Some(("active-power", "kW"))),
            ("%RH", Some(("humidity", "%"))),
            ("%", None),
            ("", None),
        ] {
            assert_eq!(quantity_of(unit), known, "{unit}");
        }
        assert_eq!(name("Gerät: Übertemp.", 1), "geraet_uebertemp");
    }
}
