//! A stored reading: whatever stands on the disk, decoding ends; what decodes is kept digit for digit, and is
//! valid JSON.

use linesman::encode::json::{self, Number};
use linesman::model::{Reading, Value};
use linesman::record;
use serde_json::value::RawValue;

/// The longest number that a payload may hold: mantissa, sign, point, exponent.
const LONGEST_NUMBER: usize = 64;

pub fn run(octets: &[u8]) {
    match record::decode(octets) {
        Ok(reading) => {
            assert_eq!(record::decode(&record::encode(&reading)), Ok(reading.clone()));
            is_json(&reading);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn is_json(reading: &Reading) {
    let text = json::reading(reading, Number { seq: 7, epoch: 9 }, None);
    assert!(serde_json::from_str::<&RawValue>(&text).is_ok(), "{text}");
    for (_, sample) in &reading.samples {
        if let Ok(Value::Number(number)) = sample {
            let printed = number.to_string();
            assert!(printed.len() <= LONGEST_NUMBER, "{printed}");
            assert!(number.to_f64().is_finite() || number.exponent() > 200, "{printed}");
        }
    }
}
