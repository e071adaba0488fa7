//! Compares a tree with its table and reports every difference, each at its place.

use super::foreign;
use super::node::{Content, Entry, Node};
use super::problem::{Report, nearest};
use super::scalar;
use super::table::{Key, Kind, ScalarRule, Table, Word};
use crate::model::Name;

/// More suggestions than this are a list nobody reads.
const MOST_LISTED: usize = 24;
const BY_POINT: &str = "quantities, points, devices or device.point";

/// Checks a whole file's tree.
pub fn check(node: &Node, table: &'static Table, report: &mut Report<'_>) {
    Walk { root: table, report }.table(node, table, table.what);
}

struct Walk<'w, 'f> {
    /// To tell where a key belongs that stands in the wrong place.
    root: &'static Table,
    report: &'w mut Report<'f>,
}

impl Walk<'_, '_> {
    /// Checks one value; `what` is the key it stands under.
    fn kind(&mut self, node: &Node, expected: &Kind, what: &str) {
        match expected {
            Kind::Scalar(rule) => self.scalar(node, rule, what),
            Kind::Whole { least, most } => self.whole(node, *least, *most, what),
            Kind::Word(words) => self.word(node, words, what),
            Kind::Flag => self.flag(node, what),
            Kind::Table(table) => self.table(node, table, what),
            Kind::List { of, least, most } => self.list(node, of, (*least, *most), what),
            Kind::Named { what: names, of } => self.named(node, names, of, what),
            Kind::ByPoint { of } => self.by_point(node, of, what),
            Kind::Codes { of } => self.codes(node, of, what),
            Kind::OneOf(kinds) => self.one_of(node, kinds, what),
            Kind::Anything => {}
        }
    }

    fn one_of(&mut self, node: &Node, kinds: &[Kind], what: &str) {
        if let Some(kind) = kinds.iter().find(|kind| kind.has_shape_of(node)) {
            return self.kind(node, kind, what);
        }
        let expected: Vec<String> = kinds.iter().map(Kind::shape).collect();
        self.unexpected(node, &expected.join(", or "), what, "");
    }

    fn unexpected(&mut self, node: &Node, expected: &str, what: &str, help: &str) {
        let message = format!("`{what}`: expected {expected}, found {}", node.found());
        let help = if help.is_empty() { None } else { Some(help.to_owned()) };
        self.report.at_with(&node.place, &message, help);
    }

    fn scalar(&mut self, node: &Node, rule: &ScalarRule, what: &str) {
        match node.scalar().filter(|s| !s.is_null()) {
            None => self.unexpected(node, rule.expected, what, ""),
            Some(scalar) => {
                if let Err(why) = (rule.check)(scalar) {
                    self.unexpected(node, rule.expected, what, &why);
                }
            }
        }
    }

    fn whole(&mut self, node: &Node, least: i64, most: i64, what: &str) {
        let range = i128::from(least)..=i128::from(most);
        let expected = match (least, most) {
            (1, 1) => "1".to_owned(),
            (least, most) => format!("a whole number from {least} to {most}"),
        };
        match node.scalar().filter(|s| !s.is_null()).map(scalar::whole) {
            Some(Ok(n)) if range.contains(&n) => {}
            Some(Err(why)) => self.unexpected(node, &expected, what, &why),
            Some(Ok(_)) | None => self.unexpected(node, &expected, what, ""),
        }
    }

    fn word(&mut self, node: &Node, words: &'static [Word], what: &str) {
        let names = || words.iter().map(|w| w.word);
        let expected = format!("one of {}", names().take(MOST_LISTED).collect::<Vec<_>>().join(", "));
        let Some(scalar) = node.scalar().filter(|s| !s.is_null()) else {
            return self.unexpected(node, &expected, what, "");
        };
        match words.iter().find(|w| w.word == scalar.text) {
            Some(Word { later: Some(why), word, .. }) => {
                let message = format!("`{what}: {word}` does not act yet in this version: {why}");
                self.report.at(&node.place, message);
            }
            Some(_) => {}
            None => {
                let near = || nearest(&scalar.text, names()).map(|near| format!("did you mean `{near}`?"));
                let help = foreign::word(what, &scalar.text).map(str::to_owned).or_else(near);
                let help = help.unwrap_or_default();
                self.unexpected(node, &expected, what, &help);
            }
        }
    }

    fn flag(&mut self, node: &Node, what: &str) {
        let Some(scalar) = node.scalar().filter(|s| s.plain) else {
            return self.unexpected(node, "true or false", what, "");
        };
        let help = match scalar.text.to_ascii_lowercase().as_str() {
            "true" | "false" if scalar::flag(scalar).is_some() => return,
            "true" | "yes" | "on" | "1" => "write true",
            "false" | "no" | "off" | "0" => "write false",
            _ => "",
        };
        self.unexpected(node, "true or false", what, help);
    }

    fn table(&mut self, node: &Node, table: &'static Table, what: &str) {
        let Content::Map(entries) = &node.content else {
            if table.keys.is_empty() && node.is_null() {
                return;
            }
            let expected = format!("keys ({})", names(table));
            return self.unexpected(node, &expected, what, "");
        };
        for entry in entries {
            match table.key(&entry.key) {
                None => self.unknown(entry, table),
                Some(Key { later: Some(why), name, .. }) => {
                    let message = format!("`{name}` does not act yet in this version: {why}");
                    self.report.at(&entry.at, message);
                }
                Some(Key { never: Some(why), name, .. }) => {
                    self.report.at(&entry.at, format!("`{name}` is refused: {why}"));
                }
                Some(key) => self.kind(&entry.value, &key.kind, key.name),
            }
        }
        for key in table.keys.iter().filter(|key| key.required && node.get(key.name).is_none()) {
            if !misspelt(entries, table, &[key.name]) {
                let message = format!("`{}` is missing in {}: {}", key.name, table.what, key.doc);
                self.report.at(&node.place, message);
            }
        }
        for group in table.exactly_one {
            self.exactly_one(node, table, group);
        }
    }

    fn unknown(&mut self, entry: &Entry, table: &'static Table) {
        let shown: String = entry.key.chars().take(40).collect();
        let message = format!("unknown key `{}` in {}", shown.escape_debug(), table.what);
        if let Some((_, help)) = foreign::key(&entry.key, table) {
            return self.report.at_with_help(&entry.at, message, help);
        }
        let help = match (suggestion(&entry.key, table), entry.key.split_once(':')) {
            (Some(near), Some((key, value))) if key == near => {
                format!("write `{near}: {value}`, with a blank after the colon")
            }
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, _) => {
                let home = home(&entry.key, table).or_else(|| home(&entry.key, self.root));
                match home {
                    Some(home) => format!("`{}` belongs in {}", entry.key, home.what),
                    None if table.keys.is_empty() => format!("{} has no keys", table.what),
                    None => format!("{} has: {}", table.what, names(table)),
                }
            }
        };
        self.report.at_with_help(&entry.at, message, help);
    }

    fn exactly_one(&mut self, node: &Node, table: &'static Table, group: &[&str]) {
        let given: Vec<&Entry> = node.entries().iter().filter(|e| group.contains(&e.key.as_str())).collect();
        let acting = group.iter().filter(|name| table.key(name).is_some_and(Key::acts));
        let list = acting.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match given.as_slice() {
            [_] => {}
            [] if misspelt(node.entries(), table, group) => {}
            [] => self.report.at(&node.place, format!("{} needs one of {list}", table.what)),
            [first, rest @ ..] => {
                for entry in rest {
                    let message = format!("both `{}` and `{}` in {}", first.key, entry.key, table.what);
                    self.report.at_with_help(&entry.at, message, format!("give exactly one of {list}"));
                }
            }
        }
    }

    fn list(&mut self, node: &Node, of: &Kind, (least, most): (usize, usize), what: &str) {
        let Content::List(items) = &node.content else {
            let alone = node.scalar().filter(|_| of.has_shape_of(node));
            let help = alone.map_or_else(String::new, |scalar| format!("write [{}]", scalar.text));
            return self.unexpected(node, "a list (`- …` lines or `[…, …]`)", what, &help);
        };
        let count = items.len();
        if least == most && count != least {
            self.report.at(&node.place, format!("`{what}`: expected {least} values, found {count}"));
        } else if count < least {
            self.report.at(&node.place, format!("`{what}` is empty: expected at least {least}"));
        } else if count > most {
            self.report.at(&node.place, format!("`{what}`: expected at most {most} values, found {count}"));
        }
        for item in items {
            self.kind(item, of, what);
        }
    }

    fn named(&mut self, node: &Node, names: &str, of: &Kind, what: &str) {
        let Content::Map(entries) = &node.content else {
            return self.unexpected(node, &format!("{names}, each as `name: …`"), what, "");
        };
        if entries.is_empty() {
            self.report.at(&node.place, format!("`{what}` is empty: expected {names}"));
        }
        for entry in entries {
            if let Err(why) = entry.key.parse::<Name>() {
                self.report.at(&entry.at, format!("`{}`: {why}", entry.key.escape_debug()));
            }
            self.kind(&entry.value, of, &entry.key);
        }
    }

    fn by_point(&mut self, node: &Node, of: &Kind, what: &str) {
        let Content::Map(entries) = &node.content else {
            return self.unexpected(node, &format!("{BY_POINT}, each as `name: …`"), what, "");
        };
        if entries.is_empty() {
            self.report.at(&node.place, format!("`{what}` is empty: expected {BY_POINT}"));
        }
        entries.iter().for_each(|entry| self.kind(&entry.value, of, &entry.key));
    }

    fn codes(&mut self, node: &Node, of: &Kind, what: &str) {
        let Content::Map(entries) = &node.content else {
            return self.unexpected(node, "codes, each as `0: word`", what, "");
        };
        if entries.is_empty() {
            self.report.at(&node.place, format!("`{what}` is empty: expected codes, each as `0: word`"));
        }
        for entry in entries {
            if scalar::code(&entry.key).is_err() {
                let key = entry.key.escape_debug();
                let message = format!("`{what}`: expected a raw code (0, 1, 0x10 …), found `{key}`");
                self.report.at(&entry.at, message);
            }
            self.kind(&entry.value, of, what);
        }
    }
}

impl Kind {
    fn has_shape_of(&self, node: &Node) -> bool {
        match (self, &node.content) {
            (Kind::Anything, _) => true,
            (Kind::OneOf(kinds), _) => kinds.iter().any(|kind| kind.has_shape_of(node)),
            (Kind::Scalar(_) | Kind::Whole { .. } | Kind::Word(_) | Kind::Flag, Content::Scalar(_)) => {
                !node.is_null()
            }
            (
                Kind::Table(_) | Kind::Named { .. } | Kind::ByPoint { .. } | Kind::Codes { .. },
                Content::Map(_),
            )
            | (Kind::List { .. }, Content::List(_)) => true,
            (_, Content::Scalar(_) | Content::Map(_) | Content::List(_)) => false,
        }
    }

    /// For "expected …".
    fn shape(&self) -> String {
        match self {
            Kind::Scalar(rule) => rule.expected.to_owned(),
            Kind::Table(table) => format!("keys ({})", names(table)),
            Kind::List { .. } => "a list of them".to_owned(),
            Kind::Named { what, .. } => format!("{what}, each as `name: …`"),
            Kind::ByPoint { .. } => format!("{BY_POINT}, each as `name: …`"),
            Kind::Codes { .. } => "codes, each as `0: word`".to_owned(),
            Kind::Whole { least, most } => format!("a whole number from {least} to {most}"),
            Kind::Word(words) => words.iter().map(|word| word.word).collect::<Vec<_>>().join(", "),
            Kind::Flag => "true or false".to_owned(),
            Kind::OneOf(kinds) => kinds.iter().map(Kind::shape).collect::<Vec<_>>().join(", or "),
            Kind::Anything => "anything".to_owned(),
        }
    }
}

fn names(table: &'static Table) -> String {
    let acting = table.keys.iter().filter(|key| key.acts());
    acting.map(|key| key.name).take(MOST_LISTED).collect::<Vec<_>>().join(", ")
}

/// A key that is missing because it is misspelt is one problem, not two.
fn misspelt(entries: &[Entry], table: &'static Table, wanted: &[&str]) -> bool {
    let mut unknown = entries.iter().filter(|entry| table.key(&entry.key).is_none());
    let meant = |key| foreign::key(key, table).map(|(ours, _)| ours).or_else(|| suggestion(key, table));
    unknown.any(|entry| meant(&entry.key).is_some_and(|meant| wanted.contains(&meant)))
}

fn suggestion(found: &str, table: &'static Table) -> Option<&'static str> {
    let before_colon = found.split_once(':').map(|(key, _)| key);
    if let Some(key) = before_colon.and_then(|key| table.key(key)) {
        return Some(key.name);
    }
    nearest(found, table.keys.iter().map(|key| key.name))
}

/// The table below this one that has such a key.
fn home(key: &str, table: &'static Table) -> Option<&'static Table> {
    let below = || table.keys.iter().flat_map(|key| key.kind.tables());
    below().find(|table| table.key(key).is_some()).or_else(|| below().find_map(|table| home(key, table)))
}
