//! A table of keys printed as JSON Schema (2020-12), for editors.

use super::table::{Key, Kind, ScalarRule, Table, Word};
use serde_json::{Map, Value, json};

/// The whole schema of a file format.
pub fn document(title: &str, table: &'static Table) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!(title));
    if let Value::Object(rest) = object(table) {
        schema.extend(rest);
    }
    Value::Object(schema)
}

fn object(table: &'static Table) -> Value {
    // What does not act yet is refused by the reader, so an editor must not offer it.
    let acting: Vec<&Key> = table.keys.iter().filter(|key| key.acts()).collect();
    let properties: Map<String, Value> =
        acting.iter().map(|key| (key.name.to_owned(), described(of(&key.kind), key))).collect();
    let required: Vec<&str> = acting.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let groups: Vec<Value> = table.exactly_one.iter().map(|group| one_of(table, group)).collect();
    if let (Value::Object(map), false) = (&mut schema, groups.is_empty()) {
        map.insert("allOf".to_owned(), Value::Array(groups));
    }
    schema
}

fn one_of(table: &'static Table, group: &[&str]) -> Value {
    let acting = group.iter().filter(|name| table.key(name).is_some_and(Key::acts));
    json!({ "oneOf": acting.map(|name| json!({ "required": [name] })).collect::<Vec<_>>() })
}

fn of(kind: &Kind) -> Value {
    match kind {
        Kind::Scalar(rule) => scalar(rule),
        Kind::Whole { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Word(words) => word(words),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Table(table) => object(table),
        Kind::List { of: item, least, most } => {
            let mut list = json!({ "type": "array", "items": of(item), "minItems": least });
            if let (Value::Object(map), true) = (&mut list, *most < usize::MAX) {
                map.insert("maxItems".to_owned(), json!(most));
            }
            list
        }
        Kind::Named { of: item, .. } => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
            "additionalProperties": of(item),
            "minProperties": 1,
        }),
        Kind::ByPoint { of: item } => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}([.][A-Za-z0-9_-]{1,64})?$" },
            "additionalProperties": of(item),
            "minProperties": 1,
        }),
        Kind::Codes { of: item } => json!({
            "type": "object",
            "propertyNames": { "pattern": "^([0-9]+|0x[0-9A-Fa-f]+)$" },
            "additionalProperties": of(item),
            "minProperties": 1,
        }),
        Kind::OneOf(kinds) => json!({ "anyOf": kinds.iter().map(of).collect::<Vec<_>>() }),
        Kind::Anything => json!({}),
    }
}

fn scalar(rule: &ScalarRule) -> Value {
    let types = match rule.types {
        [one] => json!(one),
        several => json!(several),
    };
    if let Some(words) = rule.words {
        return json!({ "type": types, "enum": words() });
    }
    let mut schema = json!({ "type": types });
    if let (Value::Object(map), Some(pattern)) = (&mut schema, rule.pattern) {
        map.insert("pattern".to_owned(), json!(pattern));
    }
    if let (Value::Object(map), Some((least, most))) = (&mut schema, rule.limits) {
        map.insert("minimum".to_owned(), json!(least));
        map.insert("maximum".to_owned(), json!(most));
    }
    schema
}

fn word(words: &'static [Word]) -> Value {
    let acting = words.iter().filter(|word| word.later.is_none());
    let (plain, described): (Vec<&Word>, Vec<&Word>) = acting.partition(|word| word.doc.is_empty());
    if described.is_empty() {
        return json!({ "enum": plain.iter().map(|word| word.word).collect::<Vec<_>>() });
    }
    let every = plain.into_iter().chain(described);
    json!({ "oneOf": every.map(|w| json!({ "const": w.word, "description": w.doc })).collect::<Vec<_>>() })
}

fn described(mut schema: Value, key: &Key) -> Value {
    if let Value::Object(map) = &mut schema {
        // A table says itself what it is.
        map.entry("description").or_insert_with(|| json!(key.doc));
        map.insert("examples".to_owned(), json!([example(key)]));
    }
    schema
}

/// Something that may stand behind a key: its own example, or what its kind has.
pub fn example(key: &Key) -> Value {
    key.example.map_or_else(|| example_of(&key.kind), json_of)
}

fn example_of(kind: &Kind) -> Value {
    match kind {
        Kind::Scalar(rule) => json_of(rule.example),
        Kind::Whole { least, .. } => json!(least),
        Kind::Word(words) => json!(words.iter().find(|word| word.later.is_none()).map(|word| word.word)),
        Kind::Flag => json!(true),
        Kind::Table(table) => least_of(table),
        Kind::List { of: item, .. } => json!([example_of(item)]),
        Kind::Named { of: item, .. } => json!({ "name": example_of(item) }),
        Kind::ByPoint { of: item } => json!({ "voltage": example_of(item) }),
        Kind::Codes { of: item } => json!({ "1": example_of(item) }),
        Kind::OneOf(kinds) => kinds.first().map_or(Value::Null, example_of),
        Kind::Anything => Value::Null,
    }
}

/// The keys that a table must have, one of each group of which exactly one is given among them.
pub fn least_of(table: &Table) -> Value {
    let first = |group: &&[&str]| group.iter().find_map(|name| table.key(name).filter(|key| key.acts()));
    let chosen = table.exactly_one.iter().filter_map(first);
    let keys = table.keys.iter().filter(|key| key.required && key.acts()).chain(chosen);
    Value::Object(keys.map(|key| (key.name.to_owned(), example(key))).collect())
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
