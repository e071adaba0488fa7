//! What a device lacks of what its model may have: no part of the readings until it has had a value.

use crate::model::{Bad, Sample, Value};
use crate::profile::Point;

/// Whether a device of a model that may lack this point lacks it: it has never had a value, and has none now.
pub fn is_lacking(point: &Point, sample: &Sample) -> bool {
    point.optional
        && match sample {
            Err(bad) => matches!(bad, Bad::Invalid | Bad::Factor),
            Ok(Value::Text(text)) => text.is_empty(),
            Ok(Value::Number(_) | Value::Bool(_)) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Field, Scan};
    use crate::model::IdentityRule;
    use crate::normalize::Normalizer;
    use crate::profile::{Format, Profile, Sentinel, Table};
    use std::sync::Arc;

    #[test]
    fn what_a_device_lacks_is_told_only_when_it_has_had_it() {
        let mut optional = Point::new("p".parse().unwrap(), Table::HoldingRegister, 0, Format::U16);
        (optional.optional, optional.invalid) = (true, vec![(Sentinel::Bits(0xFFFF), Bad::Invalid)]);
        let mandatory = Point {
            name: "m".parse().unwrap(),
            optional: false,
            address: 1,
            index: true,
            ..optional.clone()
        };
        let profile = Arc::new(Profile { points: vec![optional, mandatory], ..Profile::default() });
        let mut normalizer = Normalizer::default();
        let mut told = |raw: u16| {
            let field = |point| Field { point, octets: Ok(raw.to_be_bytes().to_vec()) };
            let scan = Scan {
                device: "d".parse().unwrap(),
                profile: Arc::clone(&profile),
                ts: crate::model::Timestamp(1),
                took: std::time::Duration::ZERO,
                fields: vec![field(0), field(1)],
            };
            let reading = normalizer.reading(&scan, &IdentityRule::Hold, false).0;
            reading.samples.into_iter().map(|(name, sample)| (name.to_string(), sample)).collect::<Vec<_>>()
        };
        let named = |name: &str, sample: Sample| (name.to_owned(), sample);
        let seven = || Ok(Value::Number("7".parse().unwrap()));
        assert_eq!(told(0xFFFF), [named("m", Err(Bad::Invalid))]);
        assert_eq!(told(7), [named("p", seven()), named("m", seven())]);
        assert_eq!(told(0xFFFF), [named("p", Err(Bad::Invalid)), named("m", Err(Bad::Invalid))]);
    }
}
