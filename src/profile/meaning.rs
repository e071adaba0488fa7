//! Whether two profiles mean the same by a point, for whoever compares a value with one of an earlier time; and whether a
//! meter has said who it is.

use super::{Format, How, Operand, Point, Profile};
use std::fmt::Write as _;

impl Profile {
    /// Where the point at this index is read and what makes its value of the octets. Equal for two profiles whose
    /// values can be compared: range, sentinels, period and resolution do not count. The text is kept on disk as a
    /// checksum (`normalize`): other words for the same would forget every counter.
    pub fn meaning(&self, index: usize) -> String {
        let Some(point) = self.points.get(index) else { return String::new() };
        let mut said = alone(point);
        let mut say = |what: &str, of: &dyn std::fmt::Display| {
            // Writing to a text does not fail.
            let _ = write!(said, " {what} {of}");
        };
        for factor in &point.scale_by {
            let how = match factor.how {
                How::Times => "times",
                How::Divided => "divided",
                How::Exponent => "exponent",
                How::Decimals => "decimals",
            };
            match factor.of {
                Operand::Point(of) => say(how, &self.needed(of)),
                Operand::Parameter(of) => {
                    let value = self.parameters.get(of).and_then(|parameter| parameter.value);
                    say(how, &value.map(|value| value.to_string()).unwrap_or_default());
                }
            }
        }
        if let Some(by) = &point.sign_by {
            say("sign", &format_args!("{} {:?}", self.needed(by.point), by.negative));
        }
        if let Some(by) = &point.unit_by {
            say("unit", &self.needed(by.point));
            for (code, unit) in &by.units {
                let (ratio, offset) = (unit.ratio, unit.offset);
                say("=", &format_args!("{code} {}/{} {offset}", ratio.numerator(), ratio.denominator()));
            }
        }
        for part in &point.plus {
            say("plus", &self.needed(*part));
        }
        said
    }

    fn needed(&self, index: usize) -> String {
        self.points.get(index).map(alone).unwrap_or_default()
    }
}

impl Point {
    /// A register that nobody has written, as a meter's serial number may be while it starts: all zeros or ones,
    /// in a text also blanks and zeros as digits.
    pub fn is_blank(&self, octets: &[u8]) -> bool {
        let is_text = matches!(self.format, Format::Text(_));
        let all = |one: u8| octets.iter().all(|octet| *octet == one);
        all(0) || all(0xFF) || is_text && octets.iter().all(|octet| matches!(*octet, 0 | b' ' | b'0' | 0xFF))
    }
}

/// What its own octets mean.
fn alone(point: &Point) -> String {
    let (table, address, format) = (point.table.word(), point.address, point.format.word());
    let (words, bytes, scale) = (point.word_order, point.byte_order, point.scale);
    let (top, bottom) = (scale.numerator(), scale.denominator());
    let (offset, unit) = (point.offset, &point.unit);
    let mut said = format!("{table} {address} {format} {words:?} {bytes:?} {top}/{bottom} {offset} {unit:?}");
    let picked = [
        ("bit", point.bit.map(u64::from)),
        ("shift", point.bits.map(|bits| u64::from(bits.shift))),
        ("width", point.bits.map(|bits| u64::from(bits.width))),
        ("negative", point.negative_from),
    ];
    for (what, of) in picked {
        if let Some(of) = of {
            let _ = write!(said, " {what} {of}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Table, parse};

    fn meaning(points: &str) -> String {
        let text = format!(
            "profile: 1\nvendor: A\nmodel: B\nkind: other\nparameters: {{ ct: {{ default: 40 }} }}\npoints:\n{points}"
        );
        let profile = parse("p", "p.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        profile.meaning(0)
    }

    #[test]
    fn what_changes_a_value_changes_the_meaning_and_what_judges_it_does_not() {
        let as_it_was = meaning("  e: { holding: 1, type: u32, index: true }\n");
        let others = [
            "  e: { holding: 2, type: u32, index: true }\n",
            "  e: { input: 1, type: u32, index: true }\n",
            "  e: { holding: 1, type: s32, index: true }\n",
            "  e: { holding: 1, type: u32, index: true, word_order: little }\n",
            "  e: { holding: 1, type: u32, index: true, scale: 0.1 }\n",
            "  e: { holding: 1, type: u32, index: true, scale_by: ct }\n",
            "  e: { holding: 1, type: u32, index: true, plus: f }\n  f: { holding: 9, type: u16 }\n",
            "  e: { holding: 1, type: u32, index: true, plus: f }\n  f: { holding: 9, type: u16, scale: 0.1 }\n",
            "  e: { holding: 1, type: u32, index: true, unit: kWh, quantity: active-energy }\n",
        ];
        let mut all: Vec<String> = others.map(meaning).to_vec();
        all.push(as_it_was.clone());
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1, "{all:#?}");
        for same in [
            "  e: { holding: 1, type: u32, index: true, every: 1h, total: true, range: [0, 9] }\n",
            "  e: { holding: 1, type: u32, index: true, invalid: [0xFFFFFFFF] }\n  f: { holding: 9, type: u16 }\n",
        ] {
            assert_eq!(meaning(same), as_it_was);
        }
    }

    #[test]
    fn the_words_of_a_meaning_stay_as_they_are() {
        let points = "  e: { holding: 1, type: u32, scale: 0.1, scale_by: ct, index: true }\n";
        assert_eq!(meaning(points), r#"holding 1 u32 Big Big 1/10 0 "" times 40"#);
    }

    #[test]
    fn a_register_that_nobody_has_written_is_no_name() {
        let point = |format| Point::new("s".parse().unwrap(), Table::HoldingRegister, 0, format);
        let text = point(Format::Text(2));
        assert!([b"    ", b"\0\0\0\0", b"0000", b"  \0\0"].iter().all(|octets| text.is_blank(*octets)));
        assert!(!text.is_blank(b"A\0\0\0"));
        let number = point(Format::U16);
        assert!(number.is_blank(&[0, 0]) && number.is_blank(&[0xFF, 0xFF]));
        assert!(!number.is_blank(b"  ") && !number.is_blank(&[0, 7]));
    }
}
