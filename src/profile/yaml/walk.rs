//! Compares a tree with its table and reports every difference, each at its place.

use super::node::{Content, Entry, Node};
use super::problem::{Report, nearest};
use super::scalar;
use super::table::{Key, Kind, ScalarRule, Table, Word};
use crate::model::Name;

/// More suggestions than this are a list nobody reads.
const MOST_LISTED: usize = 24;

/// Checks a whole file's tree.
pub fn check(node: &Node, table: &'static Table, report: &mut Report<'_>) {
    kind(node, &Kind::Table(table), table.what, report);
}

/// Checks one value; `what` is the key it stands under.
fn kind(node: &Node, expected: &Kind, what: &str, report: &mut Report<'_>) {
    match expected {
        Kind::Scalar(rule) => by_rule(node, rule, what, report),
        Kind::Whole { least, most } => whole(node, *least, *most, what, report),
        Kind::Word(words) => word(node, words, what, report),
        Kind::Flag => flag(node, what, report),
        Kind::Table(table) => entries(node, table, what, report),
        Kind::List { of, least, most } => list(node, of, (*least, *most), what, report),
        Kind::Named { what: names, of } => named(node, names, of, what, report),
        Kind::Codes { of } => codes(node, of, what, report),
        Kind::Anything => {}
    }
}

fn unexpected(node: &Node, expected: &str, what: &str, report: &mut Report<'_>) {
    report.at(&node.place, format!("`{what}`: expected {expected}, found {}", node.found()));
}

fn by_rule(node: &Node, rule: &ScalarRule, what: &str, report: &mut Report<'_>) {
    let Some(scalar) = node.scalar().filter(|s| !s.is_null()) else {
        return unexpected(node, rule.expected, what, report);
    };
    if let Err(why) = (rule.check)(scalar) {
        let message = format!("`{what}`: expected {}, found {}", rule.expected, node.found());
        if why.is_empty() {
            report.at(&node.place, message);
        } else {
            report.at_with_help(&node.place, message, why);
        }
    }
}

fn whole(node: &Node, least: i64, most: i64, what: &str, report: &mut Report<'_>) {
    let expected = format!("a whole number from {least} to {most}");
    let Some(scalar) = node.scalar().filter(|s| !s.is_null()) else {
        return unexpected(node, &expected, what, report);
    };
    match scalar::whole(scalar) {
        Ok(n) if (i128::from(least)..=i128::from(most)).contains(&n) => {}
        Ok(_) => unexpected(node, &expected, what, report),
        Err(why) => {
            let message = format!("`{what}`: expected {expected}, found {}", node.found());
            if why.is_empty() {
                report.at(&node.place, message);
            } else {
                report.at_with_help(&node.place, message, why);
            }
        }
    }
}

fn word(node: &Node, words: &'static [Word], what: &str, report: &mut Report<'_>) {
    let list = || words.iter().map(|w| w.word).take(MOST_LISTED).collect::<Vec<_>>().join(", ");
    let Some(scalar) = node.scalar().filter(|s| !s.is_null()) else {
        return unexpected(node, &format!("one of {}", list()), what, report);
    };
    match words.iter().find(|w| w.word == scalar.text) {
        Some(Word { later: Some(why), word, .. }) => {
            report.at(&node.place, format!("`{what}: {word}` does not act yet in this version: {why}"));
        }
        Some(_) => {}
        None => {
            let message = format!("`{what}`: expected one of {}, found {}", list(), node.found());
            match nearest(&scalar.text, words.iter().map(|w| w.word)) {
                Some(near) => report.at_with_help(&node.place, message, format!("did you mean `{near}`?")),
                None => report.at(&node.place, message),
            }
        }
    }
}

fn flag(node: &Node, what: &str, report: &mut Report<'_>) {
    let Some(scalar) = node.scalar().filter(|s| s.plain) else {
        return unexpected(node, "true or false", what, report);
    };
    let help = match scalar.text.to_ascii_lowercase().as_str() {
        "true" | "false" if scalar::flag(scalar).is_some() => return,
        "true" | "yes" | "on" | "1" => "write `true`",
        "false" | "no" | "off" | "0" => "write `false`",
        _ => return unexpected(node, "true or false", what, report),
    };
    let message = format!("`{what}`: expected true or false, found {}", node.found());
    report.at_with_help(&node.place, message, help);
}

fn entries(node: &Node, table: &'static Table, what: &str, report: &mut Report<'_>) {
    let Content::Map(entries) = &node.content else {
        if table.keys.is_empty() && node.is_null() {
            return;
        }
        let keys: Vec<_> = table.keys.iter().filter(|k| k.later.is_none()).map(|k| k.name).collect();
        let expected = format!("keys ({})", keys.join(", "));
        return unexpected(node, &expected, what, report);
    };
    for entry in entries {
        match table.key(&entry.key) {
            None => unknown(entry, table, report),
            Some(Key { later: Some(why), name, .. }) => {
                report.at(&entry.at, format!("`{name}` does not act yet in this version: {why}"));
            }
            Some(key) => kind(&entry.value, &key.kind, key.name, report),
        }
    }
    for key in table.keys.iter().filter(|key| key.required && node.get(key.name).is_none()) {
        if !misspelt(entries, table, &[key.name]) {
            report.at(&node.place, format!("`{}` is missing in {}: {}", key.name, table.what, key.doc));
        }
    }
    for group in table.exactly_one {
        exactly_one(node, table, group, report);
    }
}

/// A key that is missing because it is misspelt is one problem, not two.
fn misspelt(entries: &[Entry], table: &'static Table, wanted: &[&str]) -> bool {
    let unknown = entries.iter().filter(|entry| table.key(&entry.key).is_none());
    unknown.into_iter().any(|entry| suggestion(&entry.key, table).is_some_and(|near| wanted.contains(&near)))
}

fn suggestion(found: &str, table: &'static Table) -> Option<&'static str> {
    let before_colon = found.split_once(':').map(|(key, _)| key);
    if let Some(key) = before_colon.and_then(|key| table.key(key)) {
        return Some(key.name);
    }
    nearest(found, table.keys.iter().map(|key| key.name))
}

fn unknown(entry: &Entry, table: &'static Table, report: &mut Report<'_>) {
    let shown: String = entry.key.chars().take(40).collect();
    let message = format!("unknown key `{}` in {}", shown.escape_debug(), table.what);
    let help = match (suggestion(&entry.key, table), entry.key.split_once(':')) {
        (Some(near), Some((key, value))) if key == near => {
            format!("write `{near}: {value}`, with a blank after the colon")
        }
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, _) => {
            let free = table.keys.iter().filter(|key| key.later.is_none());
            let names: Vec<_> = free.map(|key| key.name).take(MOST_LISTED).collect();
            format!("{} has: {}", table.what, names.join(", "))
        }
    };
    report.at_with_help(&entry.at, message, help);
}

fn exactly_one(node: &Node, table: &'static Table, group: &[&str], report: &mut Report<'_>) {
    let given: Vec<&Entry> = node.entries().iter().filter(|e| group.contains(&e.key.as_str())).collect();
    let list = group.join("`, `");
    match given.as_slice() {
        [_] => {}
        [] if misspelt(node.entries(), table, group) => {}
        [] => report.at(&node.place, format!("{} needs one of `{list}`", table.what)),
        [first, rest @ ..] => {
            for entry in rest {
                let message = format!("`{}` and `{}` in {}", first.key, entry.key, table.what);
                report.at_with_help(&entry.at, message, format!("give exactly one of `{list}`"));
            }
        }
    }
}

fn list(node: &Node, of: &Kind, (least, most): (usize, usize), what: &str, report: &mut Report<'_>) {
    let Content::List(items) = &node.content else {
        return unexpected(node, "a list (`- …` lines or `[…, …]`)", what, report);
    };
    if least == most && items.len() != least {
        report.at(&node.place, format!("`{what}`: expected {least} values, found {}", items.len()));
    } else if items.len() < least {
        report.at(&node.place, format!("`{what}` is empty: expected at least {least}"));
    } else if items.len() > most {
        report.at(&node.place, format!("`{what}`: expected at most {most} values, found {}", items.len()));
    }
    for item in items {
        kind(item, of, what, report);
    }
}

fn named(node: &Node, names: &str, of: &Kind, what: &str, report: &mut Report<'_>) {
    let Content::Map(entries) = &node.content else {
        return unexpected(node, &format!("{names}, each as `name: …`"), what, report);
    };
    if entries.is_empty() {
        report.at(&node.place, format!("`{what}` is empty: expected {names}"));
    }
    for entry in entries {
        if let Err(why) = entry.key.parse::<Name>() {
            report.at(&entry.at, format!("`{}`: {why}", entry.key.escape_debug()));
        }
        kind(&entry.value, of, &entry.key, report);
    }
}

fn codes(node: &Node, of: &Kind, what: &str, report: &mut Report<'_>) {
    let Content::Map(entries) = &node.content else {
        return unexpected(node, "codes, each as `0: word`", what, report);
    };
    if entries.is_empty() {
        report.at(&node.place, format!("`{what}` is empty: expected codes, each as `0: word`"));
    }
    for entry in entries {
        if scalar::code(&entry.key).is_err() {
            let key = entry.key.escape_debug();
            report.at(&entry.at, format!("`{what}`: expected a raw code (0, 1, 0x10 …), found `{key}`"));
        }
        kind(&entry.value, of, what, report);
    }
}
