//! Comma-separated values (RFC 4180), a row a value: the columns stay the same whatever meters there are.
//!
//! A row has either `value` or `bad`. The unit stands beside each value, because a file outlives the configuration.

use super::json::put;
use super::{Loss, Numbered, Points};
use crate::model::{Site, Value};

/// The first line of a file.
pub(super) const HEADER: &str = "ts,gateway,device,point,value,unit,bad,clock,seq,epoch\r\n";

pub(super) fn reading(out: &mut String, one: Numbered<'_>, site: &Site) {
    let Numbered { reading, number } = one;
    let mut points = Points::of(site.device(reading.device.as_str()));
    for (name, sample) in &reading.samples {
        put(out, format_args!("{},{},{},{name},", reading.ts.0, site.gateway, reading.device));
        match sample {
            Ok(Value::Number(number)) => put(out, format_args!("{number}")),
            Ok(Value::Bool(flag)) => put(out, format_args!("{flag}")),
            Ok(Value::Text(text)) => put_quoted(out, text),
            Err(_) => {}
        }
        out.push(',');
        put_field(out, points.find(name.as_str()).map_or("", |point| point.unit.as_str()));
        out.push(',');
        if let Err(bad) = sample {
            put(out, format_args!("{bad}"));
        }
        let clock = if reading.clock_unsure { "unsure" } else { "" };
        put(out, format_args!(",{clock},{},{:08x}\r\n", number.seq, number.epoch));
    }
}

/// When it began, with how many readings, and when it ended.
pub(super) fn gap(loss: &Loss<'_>, site: &Site) -> String {
    let mut reason = String::new();
    put_field(&mut reason, loss.reason);
    let count = loss.count.map_or_else(String::new, |count| count.to_string());
    let (Loss { from, to, .. }, gateway) = (loss, &site.gateway);
    format!("{from},{gateway},,gap,{count},,{reason},,,\r\n{to},{gateway},,gap_end,,,{reason},,,\r\n")
}

fn put_field(out: &mut String, text: &str) {
    if text.contains([',', '"', '\r', '\n']) { put_quoted(out, text) } else { out.push_str(text) }
}

/// Texts are always quoted: `"007"` is no number, and spreadsheets that look at quotes keep it so.
fn put_quoted(out: &mut String, text: &str) {
    out.push('"');
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Number;
    use crate::encode::tests::{reading, site};
    use crate::model::Bad;

    #[test]
    fn a_row_has_a_value_with_its_unit_or_a_reason() {
        let mut one = reading("a", &[("u", Ok("231.70")), ("p", Err(Bad::NoReply))]);
        one.samples.push(("t".parse().unwrap(), Ok(Value::Text("a \"b\", c".into()))));
        one.clock_unsure = true;
        let mut out = String::new();
        let number = Number { epoch: 0x6f1c_02ab, seq: 8 };
        super::reading(&mut out, Numbered { reading: &one, number }, &site());
        let rows: Vec<&str> = out.split_terminator("\r\n").collect();
        assert_eq!(
            rows,
            [
                "1763766000123,g,a,u,231.7,V,,unsure,8,6f1c02ab",
                "1763766000123,g,a,p,,bar,no-reply,unsure,8,6f1c02ab",
                "1763766000123,g,a,t,\"a \"\"b\"\", c\",,,unsure,8,6f1c02ab",
            ]
        );
        assert_eq!(HEADER.matches(',').count(), rows[0].matches(',').count());
    }
}
