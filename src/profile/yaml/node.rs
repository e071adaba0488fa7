//! YAML text to a tree that knows where everything stands, with scalars as they were written.
//!
//! The tree is built from the parser's events and not through serde: every duplicate key is seen,
//! and `0.1`, `0x8000` and `010` arrive as text instead of as somebody's idea of a number.

use super::problem::{Place, Problems, Report, has_secret};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::BTreeMap;

/// A thousand devices are some 200 kB; beyond this nobody wrote it by hand.
const LONGEST_TEXT: usize = 8 << 20;
/// Deeper than any file of ours; keeps the tree's recursion bounded.
const DEEPEST: usize = 32;
/// Counts what aliases repeat, so that a file of a kilobyte cannot become a gigabyte.
const MOST_NODES: usize = 400_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub place: Place,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A word or number as written, quotes removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    pub text: String,
    /// Written without quotes: only then can it be a number, a flag or nothing.
    pub plain: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub at: Place,
    pub value: Node,
}

impl Scalar {
    /// Nothing stands after the colon (or `~`, or `null`).
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            Content::Scalar(_) | Content::Map(_) => &[],
        }
    }

    /// The entries of a map; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Scalar(_) | Content::List(_) => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// What it is, for "found …".
    pub fn found(&self) -> String {
        match &self.content {
            Content::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Content::Scalar(scalar) => {
                let quote = if scalar.plain { "`" } else { "\"" };
                if has_secret(&scalar.text) {
                    return "one with a password (not shown)".to_owned();
                }
                let text: String = scalar.text.chars().take(60).collect();
                let more = if scalar.text.chars().count() > 60 { "…" } else { "" };
                format!("{quote}{}{more}{quote}", text.escape_debug())
            }
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "keys".to_owned(),
        }
    }

    fn size(&self) -> usize {
        match &self.content {
            Content::Scalar(_) => 1,
            Content::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Content::Map(entries) => 1 + entries.iter().map(|e| 1 + e.value.size()).sum::<usize>(),
        }
    }

    fn depth(&self) -> usize {
        match &self.content {
            Content::Scalar(_) => 1,
            Content::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Content::Map(entries) => 1 + entries.iter().map(|e| e.value.depth()).max().unwrap_or(0),
        }
    }
}

/// Reads one document. Duplicate keys and the like go to the report and the tree goes on;
/// text that is no YAML at all is one problem and no tree.
pub fn parse(text: &str, report: &mut Report<'_>) -> Option<Node> {
    let start = Place { line: 1, column: 1, width: 1, overlay: None };
    if text.len() > LONGEST_TEXT {
        report.at(&start, format!("the file is larger than {} MiB", LONGEST_TEXT >> 20));
        return None;
    }
    let mut builder =
        Builder { events: Parser::new_from_str(text), report, anchors: BTreeMap::new(), nodes: 0 };
    match builder.document() {
        Ok(Some(node)) if !node.is_null() => Some(node),
        Ok(_) => {
            report.at(&start, "the file is empty");
            None
        }
        Err(Stop(place, message)) => {
            let help = syntax_help(&message);
            report.at_with(&place, &message, help.map(str::to_owned));
            None
        }
    }
}

/// What is behind most of the parser's complaints.
fn syntax_help(message: &str) -> Option<&'static str> {
    let known = [
        ("tab", "indent with blanks, not with tabs"),
        ("flow", "is a `{`, `[` or quote above not closed, or a comma missing?"),
        ("block", "does the indentation fit the lines above?"),
        ("mapping values", "does the indentation fit the lines above, and is a value with `: ` in quotes?"),
        ("quoted", "is a quote above not closed?"),
    ];
    let message = message.strip_prefix("not valid YAML: ")?;
    known.iter().find(|(word, _)| message.contains(word)).map(|(_, help)| *help)
}

/// A file's octets; of an endless one (a device file) only so many that it is seen to be too long.
pub fn octets(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let longest = u64::try_from(LONGEST_TEXT).unwrap_or(u64::MAX).saturating_add(1);
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(longest).read_to_end(&mut octets)?;
    Ok(octets)
}

/// The octets of a file as text; YAML files are UTF-8 here.
pub fn decode(file: &str, octets: Vec<u8>) -> Result<String, Problems> {
    String::from_utf8(octets).map_err(|bad| {
        let good = bad.utf8_error().valid_up_to();
        let octet = bad.as_bytes().get(good).copied().unwrap_or_default();
        let before = String::from_utf8_lossy(bad.as_bytes().get(..good).unwrap_or_default()).into_owned();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let place = Place { line, column, width: 1, overlay: None };
        let shown = String::from_utf8_lossy(bad.as_bytes()).into_owned();
        let mut report = Report::new(file, &shown);
        report.at_with_help(
            &place,
            format!("not UTF-8 text: octet 0x{octet:02x}"),
            "save the file as UTF-8 (an editor may have written °, ³ or µ as Latin-1)",
        );
        report.finish()
    })
}

/// The text cannot be read on from here.
struct Stop(Place, String);

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Stop {
        let mark = error.marker();
        let place = Place { line: mark.line().max(1), column: mark.col() + 1, width: 1, overlay: None };
        Stop(place, format!("not valid YAML: {}", error.info()))
    }
}

struct Builder<'t, 'r, 'f> {
    events: Parser<'t, serde_saphyr::granit_parser::StrInput<'t>>,
    report: &'r mut Report<'f>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's events are an open list")]
impl<'t> Builder<'t, '_, '_> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Stop> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Stop(
                        place(&span),
                        "a second document begins here; one file is one".to_owned(),
                    ));
                }
                event => {
                    if let Some(node) = self.node(event, &span, DEEPEST)? {
                        root = Some(node);
                    }
                }
            }
        }
        Ok(root)
    }

    /// The node that begins with this event; `None` for events that are no node.
    fn node(&mut self, event: Event<'t>, span: &Span, room: usize) -> Result<Option<Node>, Stop> {
        let here = place(span);
        let Some(room) = room.checked_sub(1) else {
            return Err(Stop(here, format!("nested deeper than {DEEPEST} levels")));
        };
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Stop(here, format!("more than {MOST_NODES} values, repeated ones counted")));
        }
        let (content, anchor, tagged) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (Content::Scalar(Scalar { text: text.into_owned(), plain }), anchor, tag.is_some())
            }
            Event::SequenceStart(_, anchor, tag) => (self.list(room)?, anchor, tag.is_some()),
            Event::MappingStart(_, anchor, tag) => (self.map(room)?, anchor, tag.is_some()),
            Event::Alias(anchor) => return self.alias(anchor, here, room).map(Some),
            _ => return Ok(None),
        };
        if tagged {
            self.report.at(&here, "tags (`!…`) have no meaning here");
        }
        let node = Node { place: here, content };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(Some(node))
    }

    fn alias(&mut self, anchor: usize, here: Place, room: usize) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Stop(here, "this alias stands inside of what it repeats".to_owned()));
        };
        self.nodes += node.size();
        if self.nodes > MOST_NODES || node.depth() > room {
            return Err(Stop(here, "this alias repeats too much".to_owned()));
        }
        Ok(node.clone())
    }

    fn list(&mut self, room: usize) -> Result<Content, Stop> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.extend(self.node(event, &span, room)?);
        }
        Ok(Content::List(items))
    }

    fn map(&mut self, room: usize) -> Result<Content, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let Some(key) = self.node(event, &span, room)? else { continue };
            let Some(value) = self.value(room)? else { break };
            let Content::Scalar(Scalar { text, plain }) = key.content else {
                self.report.at(&key.place, "a key is one word");
                continue;
            };
            if plain && text == "<<" {
                merged.extend(self.merge(&key.place, value));
            } else if let Some(line) = lines.get(&text) {
                self.report.at(&key.place, format!("`{text}` is already given in line {line}"));
            } else {
                lines.insert(text.clone(), key.place.line);
                entries.push(Entry { key: text, at: key.place, value });
            }
        }
        for entry in merged {
            if lines.insert(entry.key.clone(), entry.at.line).is_none() {
                entries.push(entry);
            }
        }
        Ok(Content::Map(entries))
    }

    fn value(&mut self, room: usize) -> Result<Option<Node>, Stop> {
        while let Some((event, span)) = self.next()? {
            if let Some(node) = self.node(event, &span, room)? {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// `<<: *base`: the base's keys, where the map has none of that name.
    fn merge(&mut self, at: &Place, value: Node) -> Vec<Entry> {
        match value.content {
            Content::Map(entries) => entries,
            Content::List(items) => items.into_iter().flat_map(|item| self.merge(at, item)).collect(),
            Content::Scalar(_) => {
                self.report.at(at, "`<<` takes over the keys of an alias (`<<: *base`)");
                Vec::new()
            }
        }
    }
}

fn place(span: &Span) -> Place {
    let (start, end) = (&span.start, &span.end);
    let width = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
    Place { line: start.line().max(1), column: start.col() + 1, width, overlay: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, String) {
        let mut report = Report::new("f", text);
        let node = parse(text, &mut report);
        (node, report.finish().to_string())
    }

    #[test]
    fn every_key_and_value_knows_its_place_in_characters() {
        let (node, said) = read("# größe\r\nä: { b: [x, 'y z'] }\r\n");
        let node = node.unwrap();
        assert_eq!(said, "");
        let entry = &node.entries()[0];
        assert_eq!((entry.at.line, entry.at.column), (2, 1));
        let items = entry.value.get("b").unwrap().items();
        assert_eq!((items[0].place.line, items[0].place.column, items[0].place.width), (2, 10, 1));
        assert_eq!((items[1].place.column, items[1].place.width), (13, 5));
        assert_eq!(items[1].scalar().unwrap(), &Scalar { text: "y z".to_owned(), plain: false });
    }

    #[test]
    fn all_duplicates_are_told_and_the_first_stands() {
        let (node, said) = read("a: 1\nb: { c: 1, c: 2 }\na: 2\n'a': 3\n");
        assert_eq!(said.matches("is already given in line").count(), 3, "{said}");
        assert_eq!(node.unwrap().get("a").unwrap().scalar().unwrap().text, "1");
    }

    #[test]
    fn an_alias_repeats_and_a_merge_fills_up() {
        let (node, said) = read("x: &x { a: 1, b: 2 }\ny: { <<: *x, b: 3 }\nz: *x\n");
        assert_eq!(said, "");
        let node = node.unwrap();
        let text =
            |map: &str, key: &str| node.get(map).unwrap().get(key).unwrap().scalar().unwrap().text.clone();
        assert_eq!((text("y", "a"), text("y", "b"), text("z", "b")), ("1".into(), "3".into(), "2".into()));
    }

    #[test]
    fn numbers_arrive_as_they_were_written() {
        let (node, _) = read("[0.10, 0x8000, 010, 1e400, yes, ~]");
        let node = node.unwrap();
        let texts: Vec<&str> = node.items().iter().map(|n| n.scalar().unwrap().text.as_str()).collect();
        assert_eq!(texts, ["0.10", "0x8000", "010", "1e400", "yes", "~"]);
        assert!(node.items()[5].is_null());
    }

    #[test]
    fn tags_and_compound_keys_are_refused() {
        assert!(read("a: !!str 1\n").1.contains("f:1:10: tags"), "{}", read("a: !!str 1\n").1);
        assert!(read("? [a, b]\n: 1\n").1.contains("a key is one word"));
        assert!(read("a: *nobody\n").1.contains("not valid YAML"));
    }
}
