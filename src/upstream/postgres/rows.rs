//! Readings → rows of `COPY … FROM STDIN`, text format: pure.
//!
//! A line a row, columns apart by tabs, `\N` for null ("COPY", File Formats, Text Format). Before it stands a letter of
//! ours: `r` for a reading's row, `g` for a loss. No line feed of a value is left bare, so a line is a row.

use crate::encode::{Loss, Numbered, Payload, Refused};
use crate::model::{Site, Value};
use std::fmt::Write;

/// As many of the readings as fit, from the first on.
pub(super) fn encode(readings: &[Numbered<'_>], site: &Site, room: usize) -> Result<Payload, Refused> {
    let (mut out, mut taken) = (String::new(), 0);
    for one in readings {
        let before = out.len();
        reading(&mut out, one, site);
        if out.len() > room {
            let octets = out.len();
            if taken == 0 {
                return Err(Refused::TooLarge { octets, at_most: room });
            }
            out.truncate(before);
            break;
        }
        taken += 1;
    }
    Ok(Payload { octets: out.into_bytes(), taken })
}

/// The columns of [`STAGED`](super::table::STAGED).
fn reading(out: &mut String, one: &Numbered<'_>, site: &Site) {
    let Numbered { reading, number } = one;
    let points = site.device(reading.device.as_str()).map(|device| &device.points);
    for (name, sample) in &reading.samples {
        put(out, format_args!("r{}\t{}\t{}\t{name}\t", reading.ts.0, site.gateway, reading.device));
        match sample {
            Ok(Value::Number(number)) => put(out, format_args!("{number}\t\\N\t")),
            Ok(Value::Bool(flag)) => put(out, format_args!("\\N\t{flag}\t")),
            Ok(Value::Text(text)) => {
                out.push_str("\\N\t");
                put_text(out, text);
                out.push('\t');
            }
            Err(_) => out.push_str("\\N\t\\N\t"),
        }
        let point = points.and_then(|points| points.iter().find(|point| point.name == *name));
        match point.map(|point| point.unit.as_str()).filter(|unit| !unit.is_empty()) {
            Some(unit) => put_text(out, unit),
            None => out.push_str("\\N"),
        }
        match sample {
            Ok(_) => out.push_str("\t\\N"),
            Err(bad) => put(out, format_args!("\t{bad}")),
        }
        put(out, format_args!("\t{}\t{:08x}\t{}\n", reading.clock_unsure, number.epoch, number.seq));
    }
}

/// The columns of [`STAGED_GAPS`](super::table::STAGED_GAPS).
pub(super) fn gap(loss: &Loss<'_>, site: &Site) -> String {
    let mut out = String::new();
    put(&mut out, format_args!("g{}\t{}\t{}\t", site.gateway, loss.from, loss.to));
    match loss.count {
        Some(count) => put(&mut out, format_args!("{count}\t")),
        None => out.push_str("\\N\t"),
    }
    put_text(&mut out, loss.reason);
    out.push('\n');
    out
}

/// The rows of the readings and those of the losses in a body.
pub(super) fn split(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut readings, mut gaps) = (Vec::with_capacity(body.len()), Vec::new());
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        match line.split_first() {
            Some((b'g', row)) => gaps.extend_from_slice(row),
            Some((_, row)) => readings.extend_from_slice(row),
            None => {}
        }
    }
    (readings, gaps)
}

/// PostgreSQL's texts have every character but NUL ("Character Types"), in whose place the one for what can't be shown goes.
fn put_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Into a string nothing fails.
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Number;
    use crate::model::{Bad, DeviceInfo, Form, PointInfo, Reading, Sample, Timestamp};
    use std::time::Duration;

    fn reading(samples: Vec<(&str, Sample)>) -> Reading {
        Reading {
            device: "m".parse().unwrap(),
            ts: Timestamp(1_763_766_000_123),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: samples.into_iter().map(|(name, sample)| (name.parse().unwrap(), sample)).collect(),
        }
    }

    fn number(text: &str) -> Sample {
        Ok(Value::Number(text.parse().unwrap()))
    }

    fn site() -> Site {
        let point = PointInfo {
            name: "u".parse().unwrap(),
            unit: "V".into(),
            quantity: "voltage".into(),
            phase: None,
            direction: None,
            resolution: None,
            range: None,
            index: false,
            form: Form::default(),
        };
        let device = DeviceInfo {
            name: "m".parse().unwrap(),
            line: "l".parse().unwrap(),
            unit: 1,
            profile: "x".into(),
            vendor: "v".into(),
            model: "m".into(),
            identity: None,
            every: Duration::from_secs(1),
            points: vec![point].into(),
        };
        Site { gateway: "g".parse().unwrap(), config_hash: "0".into(), devices: vec![device] }
    }

    fn rows(readings: &[Reading]) -> String {
        let number = |n: usize| Number { epoch: 42, seq: n as u64 + 1 };
        let numbered: Vec<_> =
            readings.iter().enumerate().map(|(n, reading)| Numbered { reading, number: number(n) }).collect();
        String::from_utf8(encode(&numbered, &site(), usize::MAX).unwrap().octets).unwrap()
    }

    #[test]
    fn a_row_has_a_value_or_the_reason_why_there_is_none_and_numbers_digit_by_digit() {
        let mut unsure = reading(vec![("u", Err(Bad::NoReply)), ("on", Ok(Value::Bool(true)))]);
        unsure.clock_unsure = true;
        let all = [reading(vec![("u", number("0.1")), ("n", number("18446744073709551615"))]), unsure];
        let head = "r1763766000123\tg\tm\t";
        assert_eq!(
            rows(&all),
            [
                format!("{head}u\t0.1\t\\N\tV\t\\N\tfalse\t0000002a\t1\n"),
                format!("{head}n\t18446744073709551615\t\\N\t\\N\t\\N\tfalse\t0000002a\t1\n"),
                format!("{head}u\t\\N\t\\N\tV\tno-reply\ttrue\t0000002a\t2\n"),
                format!("{head}on\t\\N\ttrue\t\\N\t\\N\ttrue\t0000002a\t2\n"),
            ]
            .concat()
        );
    }

    #[test]
    fn a_text_leaves_its_column_and_its_line_by_no_character_and_is_never_taken_for_null_or_the_end() {
        for (text, written) in [
            ("a\tb", r"a\tb"),
            ("a\nb\r", r"a\nb\r"),
            (r"\N", r"\\N"),
            (r"\.", r"\\."),
            ("nul\0", "nul\u{fffd}"),
            ("", ""),
            ("µ \"quoted\"", "µ \"quoted\""),
        ] {
            let rows = rows(&[reading(vec![("t", Ok(Value::Text(text.into())))])]);
            let columns: Vec<&str> = rows.trim_end_matches('\n').split('\t').collect();
            assert_eq!((columns.len(), columns[5]), (11, written), "{text:?}");
            assert_eq!(rows.matches('\n').count(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_body_comes_apart_into_readings_and_losses() {
        let known = Loss { from: 1000, to: 2500, count: Some(3), reason: "too\told" };
        let unknown = Loss { count: None, ..known };
        let (one, two) = (gap(&known, &site()), gap(&unknown, &site()));
        assert_eq!(one, "gg\t1000\t2500\t3\ttoo\\told\n");
        assert_eq!(two, "gg\t1000\t2500\t\\N\ttoo\\told\n");
        let readings = rows(&[reading(vec![("u", number("1"))])]);
        let (first, second) = split(format!("{one}{two}{readings}").as_bytes());
        assert_eq!(first, &readings.as_bytes()[1..]);
        assert_eq!(second, format!("{}{}", &one[1..], &two[1..]).as_bytes());
    }

    #[test]
    fn as_many_readings_as_fit_are_taken_and_never_a_piece_of_one() {
        let readings = vec![reading(vec![("u", number("1")), ("n", number("2"))]); 3];
        let one = rows(&readings[..1]).len();
        let numbered: Vec<_> = readings
            .iter()
            .map(|reading| Numbered { reading, number: Number { epoch: 42, seq: 1 } })
            .collect();
        let taken = |room| encode(&numbered, &site(), room).map(|payload| payload.taken);
        assert_eq!((taken(3 * one), taken(3 * one - 1), taken(one)), (Ok(3), Ok(2), Ok(1)));
        assert_eq!(taken(one - 1), Err(Refused::TooLarge { octets: one, at_most: one - 1 }));
        let silent = reading(Vec::new());
        let silent = [Numbered { reading: &silent, number: Number { epoch: 42, seq: 1 } }];
        assert_eq!(encode(&silent, &site(), 10).unwrap(), Payload { octets: Vec::new(), taken: 1 });
    }
}
