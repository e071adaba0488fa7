//! InfluxDB line protocol, as InfluxDB 1 to 3, VictoriaMetrics, Telegraf and QuestDB read it:
//! `linesman,gateway=G,device=D point=value,… nanoseconds`.
//!
//! Every number is a float to the far end (no `i` behind it): a field keeps one type for ever there, and whether
//! 230.0 leaves as `230` must not decide it. The same tags and stamp overwrite each other, so what is sent twice
//! counts once. A reason is a field of text beside the point's (`current_l2.bad="no-reply"`), since the format knows
//! no absence. Stamps are in nanoseconds, which is what `/write` takes unless told otherwise.

use super::Loss;
use super::json::put;
use crate::model::{Decimal, Reading, Site, Value};

/// Beyond this exponent a number may be more than a double can hold, and one such field spoils the whole batch.
const LARGEST_EXPONENT: i32 = 270;

pub(super) fn reading(out: &mut String, reading: &Reading, site: &Site) {
    if reading.samples.is_empty() {
        return;
    }
    put(out, format_args!("linesman,gateway={},device={} ", site.gateway, reading.device));
    for (index, (name, sample)) in reading.samples.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        match sample {
            Ok(Value::Number(number)) if fits(*number) => put(out, format_args!("{comma}{name}={number}")),
            Ok(Value::Number(_)) => put(out, format_args!("{comma}{name}.bad=\"out-of-range\"")),
            Ok(Value::Bool(flag)) => put(out, format_args!("{comma}{name}={flag}")),
            Ok(Value::Text(text)) => {
                put(out, format_args!("{comma}{name}=\""));
                put_text(out, text);
                out.push('"');
            }
            Err(bad) => put(out, format_args!("{comma}{name}.bad=\"{bad}\"")),
        }
    }
    if reading.clock_unsure {
        out.push_str(",clock.unsure=true");
    }
    put(out, format_args!(" {}", i128::from(reading.ts.0) * 1_000_000));
}

/// A measurement of its own, at the moment from which on readings are missing.
pub(super) fn gap(loss: &Loss<'_>, site: &Site) -> String {
    let mut out = format!("linesman_gap,gateway={} ", site.gateway);
    if let Some(count) = loss.count {
        put(&mut out, format_args!("count={count},"));
    }
    put(&mut out, format_args!("to={},reason=\"", loss.to));
    put_text(&mut out, loss.reason);
    put(&mut out, format_args!("\" {}\n", i128::from(loss.from) * 1_000_000));
    out
}

fn fits(number: Decimal) -> bool {
    number.exponent() <= LARGEST_EXPONENT
}

/// Within quotes only `"` and `\` are escaped. A line feed is allowed by the format and misread by most who speak it.
fn put_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::{reading, site};
    use crate::model::Bad;

    fn written(samples: &[(&str, Result<&str, Bad>)]) -> String {
        let mut out = String::new();
        super::reading(&mut out, &reading("a", samples), &site());
        out
    }

    #[test]
    fn a_reading_is_one_line_with_its_reasons() {
        assert_eq!(
            written(&[
                ("u", Ok("231.70")),
                ("n", Ok("18446744073709551.615")),
                ("p", Err(Bad::Exception(2)))
            ]),
            "linesman,gateway=g,device=a u=231.7,n=18446744073709551.615,p.bad=\"exception-2\" 1763766000123000000"
        );
    }

    #[test]
    fn a_number_that_no_double_can_hold_spoils_no_batch() {
        assert!(written(&[("u", Ok("1e300")), ("p", Ok("1"))]).contains(" u.bad=\"out-of-range\",p=1 "));
        assert!(written(&[("u", Ok("3e38"))]).contains(" u=3e38 "));
    }

    #[test]
    fn texts_stay_in_their_quotes_and_in_their_line() {
        let mut one = reading("a", &[]);
        one.samples = vec![
            ("t".parse().unwrap(), Ok(Value::Text("a\"b\\c\nd".into()))),
            ("on".parse().unwrap(), Ok(Value::Bool(true))),
        ];
        one.clock_unsure = true;
        let mut out = String::new();
        super::reading(&mut out, &one, &site());
        assert!(out.contains(r#" t="a\"b\\c d",on=true,clock.unsure=true "#), "{out}");
    }
}
