//! Single values as people write them: numbers that stay exact, durations, sizes.
//!
//! Every reader takes the text as it was written and answers with a sentence of help where it
//! can see what was meant (an empty one where it cannot).

use super::node::Scalar;
use super::table::ScalarRule;
use crate::model::decimal::NumberError;
use crate::model::{Decimal, Name, Ratio};
use std::time::Duration;

type Read<T> = Result<T, String>;

fn unquoted(scalar: &Scalar) -> Read<&str> {
    if scalar.plain { Ok(&scalar.text) } else { Err(format!("write {} without quotes", scalar.text)) }
}

/// A whole number: decimal or `0x…`. `010` is refused, since half of the readers of YAML take it for 8.
pub fn whole(scalar: &Scalar) -> Read<i128> {
    let text = unquoted(scalar)?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let n = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let fits = !hex.is_empty() && hex.len() <= 16 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if fits { i128::from_str_radix(hex, 16).ok() } else { None }
    } else {
        let fits = !digits.is_empty() && digits.len() <= 24 && digits.bytes().all(|b| b.is_ascii_digit());
        if fits && digits.len() > 1 && digits.starts_with('0') {
            let plain = digits.trim_start_matches('0');
            return Err(format!(
                "leading zeros are ambiguous: write {}",
                if plain.is_empty() { "0" } else { plain }
            ));
        }
        if fits { digits.parse().ok() } else { None }
    };
    match n {
        Some(n) => Ok(if negative { -n } else { n }),
        None if is_bare_hex(digits) => Err(format!("hexadecimal numbers begin with 0x: write 0x{digits}")),
        None if digits.ends_with(['h', 'H']) && is_bare_hex(&digits[..digits.len() - 1]) => {
            Err(format!("hexadecimal numbers begin with 0x: write 0x{}", &digits[..digits.len() - 1]))
        }
        None => Err(String::new()),
    }
}

fn is_bare_hex(text: &str) -> bool {
    (1..=8).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && text.bytes().any(|b| b.is_ascii_digit())
}

/// A raw code as the key of an enumeration.
pub fn code(text: &str) -> Read<u64> {
    let n = whole(&Scalar { text: text.to_owned(), plain: true })?;
    u64::try_from(n).map_err(|_| String::new())
}

pub fn flag(scalar: &Scalar) -> Option<bool> {
    match (scalar.plain, scalar.text.as_str()) {
        (true, "true" | "True" | "TRUE") => Some(true),
        (true, "false" | "False" | "FALSE") => Some(false),
        (true | false, _) => None,
    }
}

/// An exact decimal.
pub fn decimal(scalar: &Scalar) -> Read<Decimal> {
    let text = unquoted(scalar)?;
    text.parse().map_err(|_| decimal_comma(text))
}

/// An exact decimal, or a fraction of two.
pub fn ratio(scalar: &Scalar) -> Read<Ratio> {
    let ratio: Ratio = scalar.text.parse().map_err(|error| match error {
        NumberError::Syntax => decimal_comma(&scalar.text),
        NumberError::Overflow | NumberError::ZeroDenominator => error.to_string(),
    })?;
    if ratio.is_zero() { Err("a scale of zero would make every value zero".to_owned()) } else { Ok(ratio) }
}

fn decimal_comma(text: &str) -> String {
    let dotted = text.replacen(',', ".", 1);
    match dotted.parse::<Decimal>() {
        Ok(_) if text.contains(',') => format!("decimals have a point: write {dotted}"),
        Ok(_) | Err(_) => String::new(),
    }
}

/// `500ms`, `10s`, `1m`, `1h`, `30d`: whole numbers with their unit.
pub fn duration(scalar: &Scalar) -> Read<Duration> {
    let text = scalar.text.as_str();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if !number.is_empty() => {
            return Err(format!("a duration has a unit: write {number}s or {number}ms"));
        }
        other => return Err(duration_unit(number, other)),
    };
    if text.len() != number.len() + unit.len() {
        return Err(format!("write {number}{unit}, without a blank"));
    }
    let exact: Decimal = number.parse().map_err(|_| String::new())?;
    let total = exact.checked_mul(Decimal::from(milliseconds)).map_err(|_| "too long".to_owned())?;
    let whole: u64 = total.to_string().parse().map_err(|_| "whole milliseconds only".to_owned())?;
    if whole > 36_500 * 86_400_000 {
        Err("longer than a hundred years".to_owned())
    } else {
        Ok(Duration::from_millis(whole))
    }
}

fn duration_unit(number: &str, unit: &str) -> String {
    let right = match unit.to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "min" | "mins" | "minute" | "minutes" | "m" => "m",
        "hour" | "hours" | "hr" | "h" => "h",
        "day" | "days" | "d" => "d",
        "msec" | "millis" | "ms" => "ms",
        _ => return String::new(),
    };
    format!("write {number}{right}")
}

/// `512MiB`, `1GiB`: memory and disk.
pub fn size(scalar: &Scalar) -> Read<u64> {
    let text = scalar.text.as_str();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: u64 = match unit.trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" | "kB" | "K" | "k" => return Err(format!("write {number}KiB")),
        "MB" | "M" | "mb" | "Mb" => {
            return Err(format!("sizes on disk are in powers of two: write {number}MiB"));
        }
        "GB" | "G" | "gb" | "Gb" => {
            return Err(format!("sizes on disk are in powers of two: write {number}GiB"));
        }
        "" if !number.is_empty() => {
            return Err(format!("a size has a unit: write {number}MiB or {number}GiB"));
        }
        _ => return Err(String::new()),
    };
    if text.contains(' ') {
        return Err(format!("write {}, without a blank", text.replace(' ', "")));
    }
    let number: u64 = number.parse().map_err(|_| String::new())?;
    number.checked_mul(factor).filter(|n| *n > 0).ok_or_else(|| "too large or zero".to_owned())
}

fn text(scalar: &Scalar) -> Read<()> {
    if scalar.text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
}

fn name(scalar: &Scalar) -> Read<()> {
    scalar.text.parse::<Name>().map(|_| ()).map_err(|why| why.to_string())
}

/// Any text that is not empty; numbers are fine (`model: 630`).
pub static TEXT: ScalarRule = ScalarRule {
    expected: "text",
    check: text,
    types: &["string", "number"],
    pattern: None,
    words: None,
    limits: None,
    example: r#""text""#,
};
pub static NAME: ScalarRule = ScalarRule {
    expected: "a name of A-Z a-z 0-9 _ - (1 to 64 characters)",
    check: name,
    types: &["string", "integer"],
    pattern: Some("^[A-Za-z0-9_-]{1,64}$"),
    words: None,
    limits: None,
    example: r#""incomer""#,
};
pub static DECIMAL: ScalarRule = ScalarRule {
    expected: "a number",
    check: |s| decimal(s).map(|_| ()),
    types: &["number"],
    pattern: None,
    words: None,
    limits: None,
    example: r#"0.1"#,
};
pub static RATIO: ScalarRule = ScalarRule {
    expected: "a decimal number or a fraction (0.1, 1/3600)",
    check: |s| ratio(s).map(|_| ()),
    types: &["number", "string"],
    pattern: Some("^[-+0-9.eE]+ */ *[-+0-9.eE]+$"),
    words: None,
    limits: None,
    example: r#"0.1"#,
};
pub static DURATION: ScalarRule = ScalarRule {
    expected: "a duration (500ms, 10s, 5m, 1h, 30d)",
    check: |s| duration(s).map(|_| ()),
    types: &["string"],
    pattern: Some("^[0-9]+([.][0-9]+)?(ms|s|m|h|d)$"),
    words: None,
    limits: None,
    example: r#""500ms""#,
};
pub static SIZE: ScalarRule = ScalarRule {
    expected: "a size (512MiB, 1GiB)",
    check: |s| size(s).map(|_| ()),
    types: &["string"],
    pattern: Some("^[0-9]+(KiB|MiB|GiB)$"),
    words: None,
    limits: None,
    example: r#""1GiB""#,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.to_owned(), plain: true }
    }

    #[test]
    fn whole_numbers_are_decimal_or_hexadecimal_and_never_octal() {
        for (text, n) in [("0", 0), ("40001", 40_001), ("0x8000", 0x8000), ("-1", -1), ("0XfF", 255)] {
            assert_eq!(whole(&plain(text)), Ok(n), "{text}");
        }
        for (text, help) in [
            ("010", "leading zeros are ambiguous: write 10"),
            ("0010h", "leading zeros"),
            ("8A", "hexadecimal numbers begin with 0x: write 0x8A"),
            ("10h", "write 0x10"),
            ("1_000", ""),
            ("1.0", ""),
            ("", ""),
            ("0x", ""),
            ("99999999999999999999999999", ""),
        ] {
            let said = whole(&plain(text)).unwrap_err();
            assert!(said.contains(help) || help == "leading zeros", "{text}: {said}");
        }
        let quoted = Scalar { text: "5".to_owned(), plain: false };
        assert_eq!(whole(&quoted), Err("write 5 without quotes".to_owned()));
    }

    #[test]
    fn a_tenth_is_a_tenth() {
        assert_eq!(ratio(&plain("0.1")).unwrap(), Ratio::new(1, 10).unwrap());
        assert_eq!(ratio(&plain("1 / 3600")).unwrap(), Ratio::new(1, 3600).unwrap());
        assert_eq!(decimal(&plain("1e-3")).unwrap(), Decimal::new(1, -3));
        assert_eq!(decimal(&plain("0,5")), Err("decimals have a point: write 0.5".to_owned()));
    }

    #[test]
    fn durations_have_units_and_no_rounding() {
        for (text, ms) in [
            ("0ms", 0),
            ("500ms", 500),
            ("1.5s", 1500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(duration(&plain(text)), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["10", "1.5ms", "-1s", "1w", "s", "", "1e3s", "999999999999d", "1 s", "1s2"] {
            assert!(duration(&plain(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size(&plain("1KiB")), Ok(1024));
        assert_eq!(size(&plain("2GiB")), Ok(2 << 30));
        for text in ["1GB", "1", "1.5GiB", "0MiB", "99999999999GiB", "MiB", "1 MiB"] {
            assert!(size(&plain(text)).is_err(), "{text}");
        }
    }
}
