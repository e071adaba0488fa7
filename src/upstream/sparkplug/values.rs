//! Samples as metrics: pure.
//!
//! A number that may have decimals is a Double: the nearest to the exact decimal, for Sparkplug knows no decimals. A whole
//! number as it stands in the registers is an Int64 or UInt64 and loses nothing. What is bad is null and has a `Quality`.

use super::wire::{Datatype, Is, Metric, Property, PropertySet};
use crate::model::{Bad, Decimal, Form, Sample, Timestamp, Value};
use std::collections::BTreeMap;

/// The property's values (Sparkplug 3.0.0, section 6.4.11.1).
const BAD: u32 = 0;
const GOOD: u32 = 192;
const STALE: u32 = 500;

pub(super) const fn datatype(form: Form) -> Datatype {
    match form {
        Form::Number => Datatype::Double,
        Form::Whole => Datatype::Int64,
        Form::Unsigned => Datatype::UInt64,
        Form::Flag => Datatype::Boolean,
        Form::Text => Datatype::String,
    }
}

/// What a value is where nobody has said it beforehand.
pub(super) const fn form_of(value: &Value) -> Form {
    match value {
        Value::Number(_) => Form::Number,
        Value::Bool(_) => Form::Flag,
        Value::Text(_) => Form::Text,
    }
}

/// Nothing was heard that could be wrong: the last value is old, and no more is known.
const fn quality(bad: Bad) -> u32 {
    match bad {
        Bad::NoReply | Bad::DeviceLost | Bad::LineDown | Bad::LineStuck | Bad::Stale | Bad::NotYet => STALE,
        Bad::Exception(_)
        | Bad::Garbled
        | Bad::Invalid
        | Bad::OutOfRange
        | Bad::Identity
        | Bad::TwoAnswers
        | Bad::Factor
        | Bad::SensorFault
        | Bad::CounterFell => BAD,
    }
}

fn value(datatype: Datatype, value: &Value) -> Option<Is> {
    match (datatype, value) {
        (Datatype::Double, Value::Number(number)) => Some(Is::Double(number.to_f64())),
        (Datatype::Int64, Value::Number(number)) => {
            Some(Is::Long(i64::try_from(whole(*number)?).ok()?.cast_unsigned()))
        }
        (Datatype::UInt64, Value::Number(number)) => Some(Is::Long(u64::try_from(whole(*number)?).ok()?)),
        (Datatype::Boolean, Value::Bool(flag)) => Some(Is::Boolean(*flag)),
        (Datatype::String, Value::Text(text)) => Some(Is::String(text.to_string())),
        _ => None,
    }
}

fn whole(number: Decimal) -> Option<i128> {
    let exponent = u32::try_from(number.exponent()).ok()?;
    number.mantissa().checked_mul(10_i128.checked_pow(exponent)?)
}

/// A sample by its alias. One that is not what its birth has said is bad.
pub(super) fn metric(alias: u64, at: Timestamp, datatype: Datatype, sample: &Sample) -> Metric {
    let value = match sample {
        Ok(found) => value(datatype, found).ok_or(Bad::Invalid),
        Err(bad) => Err(*bad),
    };
    let empty = Metric { alias: Some(alias), timestamp: Some(millis(at)), ..Metric::default() };
    match value {
        Ok(value) => Metric { value: Some(value), ..empty },
        Err(bad) => {
            let properties = Some(with_quality(None, quality(bad)));
            Metric { is_null: Some(true), properties, ..empty }
        }
    }
}

fn with_quality(properties: Option<PropertySet>, quality: u32) -> PropertySet {
    properties.unwrap_or_default().with("Quality", Property::of_int(quality))
}

/// As a birth says it: by name too, with datatype and unit.
pub(super) fn born(metric: Metric, name: &str, datatype: Datatype, unit: &str) -> Metric {
    let properties = match (unit, metric.properties) {
        ("", properties) => properties,
        (unit, properties) => Some(properties.unwrap_or_default().with("engUnit", Property::of_text(unit))),
    };
    Metric { name: Some(name.to_owned()), datatype: Some(datatype.number()), properties, ..metric }
}

/// Times before 1970 are no times of a reading.
pub(super) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

/// What was said last of each metric, so that only what is new is said.
#[derive(Debug, Default)]
pub(super) struct Said {
    last: BTreeMap<u64, Sample>,
}

impl Said {
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }

    /// Notes what a birth says.
    pub(super) fn note(&mut self, alias: u64, sample: &Sample) {
        self.last.insert(alias, sample.clone());
    }

    /// The metric, if it says something new. One that is good again says so.
    pub(super) fn news(
        &mut self,
        alias: u64,
        at: Timestamp,
        datatype: Datatype,
        sample: &Sample,
    ) -> Option<Metric> {
        let before = self.last.get(&alias);
        if before == Some(sample) {
            return None;
        }
        let is_again = sample.is_ok() && before.is_some_and(Result::is_err);
        self.note(alias, sample);
        let mut metric = metric(alias, at, datatype, sample);
        if is_again && metric.value.is_some() {
            metric.properties = Some(with_quality(metric.properties.take(), GOOD));
        }
        Some(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_700_000_000_000);

    fn number(text: &str) -> Sample {
        Ok(Value::Number(text.parse().unwrap()))
    }

    fn quality_of(metric: &Metric) -> Option<u32> {
        let properties = metric.properties.as_ref()?;
        let at = properties.keys.iter().position(|key| key == "Quality")?;
        properties.values[at].int
    }

    #[test]
    fn values_are_what_their_birth_has_said() {
        let is = |form, sample: &Sample| metric(7, AT, datatype(form), sample).value;
        assert_eq!(is(Form::Number, &number("230.2")), Some(Is::Double(230.2)));
        assert_eq!(is(Form::Whole, &number("-5")), Some(Is::Long(u64::MAX - 4)));
        assert_eq!(is(Form::Whole, &number("9007199254740993")), Some(Is::Long(9_007_199_254_740_993)));
        assert_eq!(is(Form::Unsigned, &number("18446744073709551615")), Some(Is::Long(u64::MAX)));
        assert_eq!(is(Form::Whole, &number("12e3")), Some(Is::Long(12_000)));
        assert_eq!(is(Form::Flag, &Ok(Value::Bool(true))), Some(Is::Boolean(true)));
        assert_eq!(is(Form::Text, &Ok(Value::Text("on".into()))), Some(Is::String("on".to_owned())));
    }

    #[test]
    fn what_does_not_fit_is_null_and_bad_and_never_another_number() {
        for (form, sample) in [
            (Form::Whole, number("0.5")),
            (Form::Whole, number("9223372036854775808")),
            (Form::Unsigned, number("-1")),
            (Form::Flag, number("1")),
            (Form::Number, Ok(Value::Text("x".into()))),
        ] {
            let metric = metric(7, AT, datatype(form), &sample);
            assert_eq!((&metric.value, metric.is_null, quality_of(&metric)), (&None, Some(true), Some(0)));
        }
    }

    #[test]
    fn who_is_silent_is_stale_and_who_answers_badly_is_bad() {
        let of = |bad| quality_of(&metric(7, AT, Datatype::Double, &Err(bad)));
        assert_eq!(
            (of(Bad::NoReply), of(Bad::DeviceLost), of(Bad::NotYet)),
            (Some(500), Some(500), Some(500))
        );
        assert_eq!((of(Bad::Exception(2)), of(Bad::OutOfRange)), (Some(0), Some(0)));
        assert_eq!(quality_of(&metric(7, AT, Datatype::Double, &number("1"))), None);
    }

    #[test]
    fn only_what_is_new_is_said_and_what_is_good_again_says_so() {
        let mut said = Said::default();
        said.note(7, &number("1"));
        let mut news = |sample: &Sample| said.news(7, AT, Datatype::Double, sample);
        assert_eq!(news(&number("1.0")), None);
        assert_eq!(news(&number("2")).and_then(|metric| quality_of(&metric)), None);
        assert_eq!(news(&Err(Bad::Garbled)).unwrap().is_null, Some(true));
        assert_eq!(news(&Err(Bad::Garbled)), None);
        let again = news(&number("2")).unwrap();
        assert_eq!((again.value.clone(), quality_of(&again)), (Some(Is::Double(2.0)), Some(192)));
    }

    #[test]
    fn a_birth_says_name_datatype_and_unit_too() {
        let metric =
            born(metric(7, AT, Datatype::Double, &Err(Bad::NotYet)), "voltage", Datatype::Double, "V");
        let properties = metric.properties.unwrap();
        assert_eq!(properties.keys, ["Quality", "engUnit"]);
        assert_eq!(properties.values[1], Property::of_text("V"));
        assert_eq!(
            (metric.name.as_deref(), metric.datatype, metric.is_null),
            (Some("voltage"), Some(10), Some(true))
        );
    }
}
