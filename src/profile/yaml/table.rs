//! The words to describe a file format: one table of keys, from which the reader checks
//! and the JSON Schema is printed, so that the two cannot drift apart.

use super::node::Scalar;

/// A map with known keys.
#[derive(Debug)]
pub struct Table {
    /// What one of these is, for messages: `a point`, `a device`.
    pub what: &'static str,
    pub doc: &'static str,
    pub keys: &'static [Key],
    /// Of each group exactly one must be given.
    pub exactly_one: &'static [&'static [&'static str]],
}

/// One key of a [`Table`].
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// Why the key is refused although it is known: it does not act yet.
    pub later: Option<&'static str>,
    /// Why the key will never be accepted although people try it.
    pub never: Option<&'static str>,
    pub doc: &'static str,
    /// As JSON, for editors; what its kind has unless given.
    pub example: Option<&'static str>,
}

/// What may stand after a key.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// One word or number, read by a rule.
    Scalar(&'static ScalarRule),
    /// A whole number within limits, decimal or `0x…`.
    Whole {
        least: i64,
        most: i64,
    },
    /// One of these words.
    Word(&'static [Word]),
    Flag,
    Table(&'static Table),
    List {
        of: &'static Kind,
        least: usize,
        most: usize,
    },
    /// Free keys, each a name, all with the same kind of value.
    Named {
        what: &'static str,
        of: &'static Kind,
    },
    /// Free keys, each the name of a quantity, point or device, or `device.point`.
    ByPoint {
        of: &'static Kind,
    },
    /// Free keys, each a raw code.
    Codes {
        of: &'static Kind,
    },
    /// One of these, told apart by their shape: a single value, keys, or a list; each shape once.
    OneOf(&'static [Kind]),
    /// Anything: for keys that do not act yet.
    Anything,
}

/// One of the right words for a key.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    pub word: &'static str,
    pub doc: &'static str,
    /// Known, but does not act yet.
    pub later: Option<&'static str>,
}

/// How one scalar is read, and how a schema tells it.
#[derive(Debug)]
pub struct ScalarRule {
    /// What is right, for "expected …".
    pub expected: &'static str,
    /// `Err`: a sentence on what is wrong beyond that, or empty.
    pub check: fn(&Scalar) -> Result<(), String>,
    /// JSON types that it may have in YAML's reading: `string`, `number`, `integer`.
    pub types: &'static [&'static str],
    /// For strings.
    pub pattern: Option<&'static str>,
    /// Where the right words are a list kept elsewhere.
    pub words: Option<fn() -> Vec<&'static str>>,
    /// For whole numbers that have a rule beyond their limits.
    pub limits: Option<(i64, i64)>,
    /// As JSON, for editors, where the key has none of its own.
    pub example: &'static str,
}

impl Key {
    pub const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Key {
        Key { name, kind, required: false, later: None, never: None, doc, example: None }
    }

    /// Something that may stand there, as JSON.
    pub const fn example(self, json: &'static str) -> Key {
        Key { example: Some(json), ..self }
    }

    pub const fn required(self) -> Key {
        Key { required: true, ..self }
    }

    pub const fn later(self, why: &'static str) -> Key {
        Key { later: Some(why), ..self }
    }

    pub const fn never(self, why: &'static str) -> Key {
        Key { never: Some(why), ..self }
    }

    /// Whether it can be given at all.
    pub fn acts(&self) -> bool {
        self.later.is_none() && self.never.is_none()
    }
}

impl Word {
    pub const fn new(word: &'static str, doc: &'static str) -> Word {
        Word { word, doc, later: None }
    }

    pub const fn later(self, why: &'static str) -> Word {
        Word { later: Some(why), ..self }
    }
}

impl Table {
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Kind {
    /// The tables that may stand there.
    pub fn tables(&'static self) -> Vec<&'static Table> {
        match self {
            Kind::Table(table) => vec![table],
            Kind::List { of, .. } | Kind::Named { of, .. } | Kind::ByPoint { of } | Kind::Codes { of } => {
                of.tables()
            }
            Kind::OneOf(kinds) => kinds.iter().flat_map(Kind::tables).collect(),
            Kind::Scalar(_) | Kind::Whole { .. } | Kind::Word(_) | Kind::Flag | Kind::Anything => Vec::new(),
        }
    }
}
