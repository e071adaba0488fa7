//! A Sparkplug B payload as `prost` reads and writes it: what of it an edge node says and hears. Field numbers and the
//! numbers of datatypes are those of Sparkplug 3.0.0, section 6.4.1 and 6.4.16; what we never say (templates, data sets,
//! files) is passed over when it is heard.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Payload {
    /// When it was sent, ms since 1970 UTC.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub seq: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub is_historical: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub properties: Option<PropertySet>,
    #[prost(oneof = "Is", tags = "10, 11, 12, 13, 14, 15")]
    pub value: Option<Is>,
}

/// A value, of a metric or of a property: the same kinds under other numbers.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Is {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    String(String),
}

/// Keys and values, as many of one as of the other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<Property>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Property {
    #[prost(uint32, optional, tag = "1")]
    pub datatype: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub int: Option<u32>,
    #[prost(string, optional, tag = "8")]
    pub string: Option<String>,
}

/// What a value may be: of the specification's thirty-five the ones that meters need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Datatype {
    Int32,
    Int64,
    UInt64,
    Double,
    Boolean,
    String,
}

impl Datatype {
    pub(super) const fn number(self) -> u32 {
        match self {
            Datatype::Int32 => 3,
            Datatype::Int64 => 4,
            Datatype::UInt64 => 8,
            Datatype::Double => 10,
            Datatype::Boolean => 11,
            Datatype::String => 12,
        }
    }
}

impl PropertySet {
    pub(super) fn with(mut self, key: &str, value: Property) -> PropertySet {
        self.keys.push(key.to_owned());
        self.values.push(value);
        self
    }
}

impl Property {
    pub(super) fn of_int(value: u32) -> Property {
        Property { datatype: Some(Datatype::Int32.number()), int: Some(value), string: None }
    }

    pub(super) fn of_text(value: &str) -> Property {
        Property { datatype: Some(Datatype::String.number()), int: None, string: Some(value.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_stands_on_the_wire_as_the_specification_numbers_it() {
        let metric = Metric {
            name: Some("a".to_owned()),
            alias: Some(2),
            timestamp: Some(3),
            datatype: Some(Datatype::Double.number()),
            is_historical: Some(true),
            properties: Some(PropertySet::default().with("Quality", Property::of_int(500))),
            value: Some(Is::Double(1.0)),
            ..Metric::default()
        };
        let payload = Payload { timestamp: Some(1), metrics: vec![metric], seq: Some(0) };
        let expected: &[u8] = b"\x08\x01\x12\x26\x0a\x01a\x10\x02\x18\x03\x20\x0a\x28\x01\
            \x4a\x10\x0a\x07Quality\x12\x05\x08\x03\x18\xf4\x03\
            \x69\x00\x00\x00\x00\x00\x00\xf0\x3f\x18\x00";
        assert_eq!(payload.encode_to_vec(), expected);
        assert_eq!(Payload::decode(expected).unwrap(), payload);
    }

    #[test]
    fn what_we_never_say_is_passed_over() {
        // A body of octets (5), a metric with a data set (17) and one with a value.
        let heard = b"\x2a\x01x\x12\x06\x0a\x01d\x8a\x01\x00\x12\x05\x0a\x01r\x70\x01";
        let payload = Payload::decode(&heard[..]).unwrap();
        assert_eq!(payload.metrics[0].value, None);
        assert_eq!(payload.metrics[1].value, Some(Is::Boolean(true)));
    }
}
