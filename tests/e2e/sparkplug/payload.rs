//! A Sparkplug payload read octet by octet from protobuf's wire format, by nothing that linesman uses.

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Payload {
    pub timestamp: Option<u64>,
    pub seq: Option<u64>,
    pub metrics: Vec<Metric>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metric {
    pub name: Option<String>,
    pub alias: Option<u64>,
    pub timestamp: Option<u64>,
    pub datatype: Option<u64>,
    pub is_historical: bool,
    pub is_null: bool,
    /// Key, type and value of each property.
    pub properties: Vec<(String, Option<u64>, Value)>,
    pub keys: usize,
    pub values: usize,
    pub value: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Int(u64),
    Long(u64),
    Double(f64),
    Boolean(bool),
    Text(String),
    Other,
}

impl Metric {
    pub fn quality(&self) -> Option<u64> {
        let quality = self.properties.iter().find(|(key, ..)| key == "Quality")?;
        if let Value::Int(value) = quality.2 { Some(value) } else { None }
    }

    pub fn number(&self) -> Option<f64> {
        match self.value {
            Some(Value::Double(number)) => Some(number),
            #[expect(clippy::cast_precision_loss, reason = "small numbers of a test")]
            Some(Value::Long(number) | Value::Int(number)) => Some(number as f64),
            _ => None,
        }
    }
}

/// A field: its number and what it holds.
enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32,
    Octets(&'a [u8]),
}

fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn fields(mut input: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut all = Vec::new();
    while !input.is_empty() {
        let tag = varint(&mut input)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut input)?),
            1 => {
                let (octets, rest) = input.split_first_chunk::<8>()?;
                input = rest;
                Field::Fixed64(*octets)
            }
            2 => {
                let count = usize::try_from(varint(&mut input)?).ok()?;
                let (octets, rest) = input.split_at_checked(count)?;
                input = rest;
                Field::Octets(octets)
            }
            5 => {
                input = input.split_first_chunk::<4>()?.1;
                Field::Fixed32
            }
            _ => return None,
        };
        all.push((tag >> 3, field));
    }
    Some(all)
}

fn text(octets: &[u8]) -> Option<String> {
    String::from_utf8(octets.to_vec()).ok()
}

/// `None` for what is no payload, or has a field that the specification does not know.
pub fn read(octets: &[u8]) -> Option<Payload> {
    let mut payload = Payload::default();
    for field in fields(octets)? {
        match field {
            (1, Field::Varint(value)) => payload.timestamp = Some(value),
            (2, Field::Octets(octets)) => payload.metrics.push(metric(octets)?),
            (3, Field::Varint(value)) => payload.seq = Some(value),
            _ => return None,
        }
    }
    Some(payload)
}

fn metric(octets: &[u8]) -> Option<Metric> {
    let mut metric = Metric::default();
    for field in fields(octets)? {
        match field {
            (1, Field::Octets(octets)) => metric.name = Some(text(octets)?),
            (2, Field::Varint(value)) => metric.alias = Some(value),
            (3, Field::Varint(value)) => metric.timestamp = Some(value),
            (4, Field::Varint(value)) => metric.datatype = Some(value),
            (5, Field::Varint(value)) => metric.is_historical = value == 1,
            (7, Field::Varint(value)) => metric.is_null = value == 1,
            (9, Field::Octets(octets)) => properties(octets, &mut metric)?,
            (10, Field::Varint(value)) => metric.value = Some(Value::Int(value)),
            (11, Field::Varint(value)) => metric.value = Some(Value::Long(value)),
            (13, Field::Fixed64(octets)) => metric.value = Some(Value::Double(f64::from_le_bytes(octets))),
            (14, Field::Varint(value)) => metric.value = Some(Value::Boolean(value == 1)),
            (15, Field::Octets(octets)) => metric.value = Some(Value::Text(text(octets)?)),
            (12 | 16..=19, _) => metric.value = Some(Value::Other),
            _ => return None,
        }
    }
    Some(metric)
}

fn properties(octets: &[u8], metric: &mut Metric) -> Option<()> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for field in fields(octets)? {
        match field {
            (1, Field::Octets(octets)) => keys.push(text(octets)?),
            (2, Field::Octets(octets)) => values.push(property(octets)?),
            _ => return None,
        }
    }
    (metric.keys, metric.values) = (keys.len(), values.len());
    metric.properties = keys.into_iter().zip(values).map(|(key, (kind, value))| (key, kind, value)).collect();
    Some(())
}

fn property(octets: &[u8]) -> Option<(Option<u64>, Value)> {
    let (mut kind, mut value) = (None, Value::Other);
    for field in fields(octets)? {
        match field {
            (1, Field::Varint(number)) => kind = Some(number),
            (3, Field::Varint(number)) => value = Value::Int(number),
            (8, Field::Octets(octets)) => value = Value::Text(text(octets)?),
            _ => return None,
        }
    }
    Some((kind, value))
}

/// A command with one flag, as a host writes it: name, timestamp, value.
pub fn command(name: &str, timestamp: u64, flag: bool) -> Vec<u8> {
    let number = |mut value: u64| {
        let mut octets = Vec::new();
        while value >= 0x80 {
            octets.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        octets.push(u8::try_from(value).unwrap());
        octets
    };
    let mut metric = vec![0x0a, u8::try_from(name.len()).unwrap()];
    metric.extend(name.as_bytes());
    metric.push(0x18);
    metric.extend(number(timestamp));
    metric.extend([0x20, 11, 0x70, u8::from(flag)]);
    let mut payload = vec![0x08];
    payload.extend(number(timestamp));
    payload.extend([0x12, u8::try_from(metric.len()).unwrap()]);
    payload.extend(metric);
    payload
}
