//! What the owner's template says, for far ends with a fixed format of their own: Jinja, by `minijinja`.
//!
//! A template is given one reading: `gateway`, `device`, `ts` (ms), `took` (ms), `clock_unsure`, `seq`, `epoch`, `values`
//! (name → value), `bad` (name → reason), and `points`, a list of `{name, value, bad, unit}` in the profile's order.
//! What is not there is an error unless the template asks (`is defined`, `|default`), so that no broken payload leaves:
//! such a reading is given up by name (`template`). Nothing is escaped; `|tojson` quotes.
//!
//! A number prints digit for digit. One with more digits than a double holds comes as its text.

use super::{Numbered, Points};
use crate::model::{Decimal, Reading, Site, Value};
use minijinja::value::Value as Given;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Steps that one reading may take: a template that loops for ever is an error, not a gateway that hangs.
const STEPS: u64 = 100_000;
/// Numbers of more digits than this may not survive a double.
const DIGITS_OF_A_DOUBLE: i128 = 1_000_000_000_000_000;
const NAME: &str = "template";

/// A template that has been read.
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    environment: Arc<Environment<'static>>,
}

/// What is wrong with a template, with its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TemplateError {
    pub line: usize,
    pub what: String,
}

impl Template {
    pub fn new(source: &str) -> Result<Template, TemplateError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(STEPS));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| told(&error))?;
        Ok(Template { source: source.into(), environment: Arc::new(environment) })
    }

    /// What the owner wrote.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn reading(&self, out: &mut String, one: Numbered<'_>, site: &Site) -> Result<(), String> {
        let text = self.environment.get_template(NAME).and_then(|template| template.render(given(one, site)));
        let text = text.map_err(|error| told(&error).to_string())?;
        out.push_str(text.trim_end_matches(['\r', '\n']));
        Ok(())
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.source == other.source
    }
}

impl Eq for Template {}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

fn told(error: &minijinja::Error) -> TemplateError {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    TemplateError { line: error.line().unwrap_or(1), what }
}

fn given(one: Numbered<'_>, site: &Site) -> Given {
    let Numbered { reading, number } = one;
    let Reading { device, ts, took, clock_unsure, samples, .. } = reading;
    let mut points = Points::of(site.device(device.as_str()));
    let (mut values, mut bads, mut list) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (name, sample) in samples {
        let unit = points.find(name.as_str()).map_or("", |point| point.unit.as_str());
        let (value, bad) = match sample {
            Ok(value) => (plain(value), None),
            Err(bad) => (Given::from(()), Some(bad.word().into_owned())),
        };
        list.push(context! { name => name.as_str(), value => value.clone(), bad => bad.clone(), unit });
        match bad {
            Some(bad) => drop(bads.insert(name.as_str(), bad)),
            None => drop(values.insert(name.as_str(), value)),
        }
    }
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let epoch = format!("{:08x}", number.epoch);
    context! {
        gateway => site.gateway.as_str(), device => device.as_str(), ts => ts.0, took, clock_unsure,
        seq => number.seq, epoch, values, bad => bads, points => list,
    }
}

fn plain(value: &Value) -> Given {
    match value {
        Value::Number(number) => plain_number(*number),
        Value::Bool(flag) => Given::from(*flag),
        Value::Text(text) => Given::from(&**text),
    }
}

/// As a number that the template can reckon with, where that prints the same digits.
fn plain_number(number: Decimal) -> Given {
    let text = number.to_string();
    if let Ok(whole) = text.parse::<i64>() {
        return Given::from(whole);
    }
    let held = number.mantissa().unsigned_abs() < DIGITS_OF_A_DOUBLE.unsigned_abs()
        && (-20..0).contains(&number.exponent());
    if held { Given::from(number.to_f64()) } else { Given::from(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::{reading, site};
    use crate::encode::{Encoding, Payload};
    use crate::encode::{Number, Refused};
    use crate::model::Bad;

    const NUMBER: Number = Number { epoch: 0x6f1c_02ab, seq: 8 };

    fn rendered(source: &str, samples: &[(&str, Result<&str, Bad>)]) -> Result<String, String> {
        let one = reading("a", samples);
        let mut out = String::new();
        let template = Template::new(source).unwrap();
        template.reading(&mut out, Numbered { reading: &one, number: NUMBER }, &site()).map(|()| out)
    }

    #[test]
    fn numbers_print_digit_for_digit_and_can_be_reckoned_with() {
        for number in
            ["231.7", "0.1", "-0.05", "230", "18446744073709551.615", "1e25", "0.0000001", "92.05419921875"]
        {
            assert_eq!(rendered("{{ values.u }}", &[("u", Ok(number))]).unwrap(), number);
        }
        assert_eq!(rendered("{{ values.u / 10 }}", &[("u", Ok("231.5"))]).unwrap(), "23.15");
    }

    #[test]
    fn all_that_a_reading_says_can_be_asked_for() {
        let source = "{{ gateway }}/{{ device }} {{ ts }} {{ seq }} {{ epoch }} {{ bad.p }} {{ values|tojson }}\
            {% for point in points %} {{ point.name }}={{ point.value if point.bad is none else point.bad }}{{ point.unit }}{% endfor %}";
        assert_eq!(
            rendered(source, &[("u", Ok("231.7")), ("p", Err(Bad::NoReply))]).unwrap(),
            r#"g/a 1763766000123 8 6f1c02ab no-reply {"u": 231.7} u=231.7V p=no-replybar"#
        );
    }

    #[test]
    fn what_is_not_there_is_an_error_unless_the_template_asks() {
        let error = rendered("a\n{{ values.x }}", &[("u", Ok("1"))]).unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
        assert_eq!(rendered("{{ values.x|default('null') }}", &[]).unwrap(), "null");
        assert_eq!(rendered("{% if values.u is defined %}x{% endif %}", &[]).unwrap(), "");
    }

    #[test]
    fn a_template_that_is_wrong_or_never_ends_is_said_and_its_reading_given_up() {
        let error = Template::new("{{ values.u }}\n{% if %}").unwrap_err();
        assert_eq!(error.line, 2, "{error}");
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(rendered(endless, &[]).is_err());
        let (one, encoding) = (reading("a", &[]), Encoding::Template(Template::new("{{ x }}").unwrap()));
        let readings = [Numbered { reading: &one, number: NUMBER }; 2];
        let refused = encoding.encode(&readings, &site(), 100).unwrap_err();
        assert!(matches!(&refused, Refused::Template(why) if why.starts_with("line 1")), "{refused}");
        assert_eq!(refused.word(), "template");
    }

    #[test]
    fn a_reading_is_a_line_even_if_the_template_ends_in_one() {
        let (one, encoding) = (reading("a", &[]), Encoding::Template(Template::new("{{ ts }}\n\n").unwrap()));
        let readings = [Numbered { reading: &one, number: NUMBER }; 2];
        let payload = encoding.encode(&readings, &site(), 100).unwrap();
        assert_eq!(payload, Payload { octets: b"1763766000123\n1763766000123\n".to_vec(), taken: 2 });
    }
}
