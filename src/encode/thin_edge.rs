//! What thin-edge.io takes as a measurement (Thin Edge JSON): `{"time":"…","voltage_l1":231.7,…,"bad":{"current_l2":16}}`.
//!
//! Values are numbers, in one level of groups at most; a payload with anything else is refused whole. So flags are 1
//! and 0, texts are left out, and a reason is its number (the one of batches, `docs/batch.md`) in the group `bad`; `clock_unsure` is 1 where the time may be wrong.

use super::json::put;
use crate::model::{Reading, Timestamp, Value};
use std::fmt::Write;

/// One reading; `None` where nothing in it is a number.
pub fn measurement(reading: &Reading) -> Option<String> {
    let mut out = format!("{{\"time\":\"{}\"", reading.ts.rfc3339());
    let empty = out.len();
    for (name, sample) in &reading.samples {
        match sample {
            Ok(Value::Number(number)) => put(&mut out, format_args!(",\"{name}\":{number}")),
            Ok(Value::Bool(flag)) => put(&mut out, format_args!(",\"{name}\":{}", u8::from(*flag))),
            Ok(Value::Text(_)) | Err(_) => {}
        }
    }
    if out.len() > empty && reading.clock_unsure {
        out.push_str(",\"clock_unsure\":1");
    }
    let mut bad = reading.samples.iter().filter_map(|(name, sample)| Some((name, sample.as_ref().err()?)));
    if let Some((name, reason)) = bad.next() {
        put(&mut out, format_args!(",\"bad\":{{\"{name}\":{}", reason.number()));
        bad.for_each(|(name, reason)| put(&mut out, format_args!(",\"{name}\":{}", reason.number())));
        out.push('}');
    }
    (out.len() > empty).then(|| out + "}")
}

/// An event or an alarm: `{"text":"…","time":"…",…}`.
pub fn telling(text: &str, at: Timestamp, severity: Option<&str>) -> String {
    let mut out = format!("{{\"text\":{},\"time\":\"{}\"", serde_json::Value::from(text), at.rfc3339());
    if let Some(severity) = severity {
        // Writing to a String does not fail.
        let _ = write!(out, ",\"severity\":\"{severity}\"");
    }
    out + "}"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::reading;
    use crate::model::Bad;

    #[test]
    fn a_measurement_has_numbers_and_nothing_else() {
        let mut one = reading("a", &[("u", Ok("231.70")), ("p", Err(Bad::NoReply))]);
        one.samples.push(("on".parse().unwrap(), Ok(Value::Bool(true))));
        one.samples.push(("state".parse().unwrap(), Ok(Value::Text("idle".into()))));
        assert_eq!(
            measurement(&one).unwrap(),
            r#"{"time":"2025-11-21T23:00:00.123Z","u":231.7,"on":1,"bad":{"p":16}}"#
        );
        one.clock_unsure = true;
        assert!(measurement(&one).unwrap().ends_with(r#","on":1,"clock_unsure":1,"bad":{"p":16}}"#));
        one.samples.retain(|(name, _)| name.as_str() == "state");
        assert_eq!(measurement(&one), None);
    }
}
