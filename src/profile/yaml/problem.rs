//! What is wrong with a file, where exactly, shown to the person who wrote it.

use std::fmt;
use std::sync::Arc;

/// Longer lines are shown in part, around the place that matters.
const LONGEST_SHOWN: usize = 110;

/// Where something stands: line and column from 1, and how many characters to underline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub width: usize,
    /// Not in the file at all: the environment variable or `--set` that brought it.
    pub overlay: Option<Arc<str>>,
}

/// One thing that is wrong: `FILE:LINE:COL: message`, the line under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named, or the overlay that is to blame.
    pub file: String,
    /// From 1; 0 where the problem is not in a line (no such file, an overlay).
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What would be right, where there is a best guess.
    pub help: Option<String>,
    shown: Option<Shown>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    text: String,
    before: usize,
    width: usize,
}

impl Problem {
    /// A problem with a whole file, or with something outside of files.
    pub fn whole(file: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            help: None,
            shown: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        }
        if let Some(shown) = &self.shown {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "\n  {number} | {}", shown.text)?;
            write!(f, "\n  {margin} | {}{}", " ".repeat(shown.before), "^".repeat(shown.width))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// All problems at once, in the order of their places; never empty when it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One problem that is in no file.
    pub fn one(message: &str) -> Problems {
        Problem::whole("linesman", message).into()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let gap = if n > 0 { "\n" } else { "" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects what is wrong with one text while it is walked.
#[derive(Debug)]
pub struct Report<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Report<'a> {
        Report { file, lines: split_lines(text), problems: Vec::new() }
    }

    pub fn at(&mut self, place: &Place, message: impl Into<String>) {
        self.put(place, message.into(), None);
    }

    pub fn at_with_help(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.put(place, message.into(), Some(help.into()));
    }

    pub fn at_with(&mut self, place: &Place, message: &str, help: Option<String>) {
        self.put(place, message.to_owned(), help);
    }

    /// The problem as it would be reported, for those who keep it elsewhere (warnings).
    pub fn problem(&self, place: &Place, message: impl Into<String>, help: Option<String>) -> Problem {
        let (file, line, column) = match &place.overlay {
            Some(overlay) => (overlay.to_string(), 0, 0),
            None => (self.file.to_owned(), place.line, place.column),
        };
        Problem { file, line, column, message: message.into(), help, shown: self.show(place) }
    }

    /// Problems found elsewhere (in another file) that belong to the same answer.
    pub fn adopt(&mut self, problems: Problems) {
        self.problems.extend(problems.0);
    }

    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// What was found, in the order of the file.
    pub fn finish(mut self) -> Problems {
        let file = self.file;
        self.problems.sort_by_key(|p| (p.file != file, p.line, p.column));
        self.problems.dedup();
        Problems(self.problems)
    }

    fn put(&mut self, place: &Place, message: String, help: Option<String>) {
        let problem = self.problem(place, message, help);
        self.problems.push(problem);
    }

    fn show(&self, place: &Place) -> Option<Shown> {
        if place.overlay.is_some() {
            return None;
        }
        let line = self.lines.get(place.line.checked_sub(1)?)?;
        if has_secret(line) {
            return None;
        }
        let line: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = place.column.saturating_sub(1).min(line.len());
        let start = if line.len() <= LONGEST_SHOWN { 0 } else { before.saturating_sub(LONGEST_SHOWN / 2) };
        let end = line.len().min(start + LONGEST_SHOWN);
        let cut = |yes: bool| if yes { "…" } else { "" };
        let text: String = line.get(start..end)?.iter().collect();
        let lead = usize::from(start > 0);
        Some(Shown {
            text: format!("{}{}{}", cut(start > 0), text.trim_end(), cut(end < line.len())),
            before: before - start + lead,
            width: place.width.clamp(1, end.saturating_sub(before).max(1)),
        })
    }
}

/// A password that should not be there must not travel on into terminals and journals.
pub(super) fn has_secret(text: &str) -> bool {
    text.contains("password:") || text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// YAML breaks lines at LF, CR LF and CR (YAML 1.2.2, 5.4).
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        let (line, tail) = rest.split_at(end);
        lines.push(line);
        rest = tail.strip_prefix("\r\n").unwrap_or_else(|| tail.get(1..).unwrap_or(""));
    }
    lines.push(rest);
    lines
}

/// The nearest of the right words, when one is near enough to be what was meant.
pub fn nearest<'w>(found: &str, right: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let wanted = found.to_lowercase().replace('_', "-");
    right
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&wanted, &word.to_lowercase().replace('_', "-")), word))
        .filter(|(distance, word)| *distance <= word.chars().count().min(wanted.chars().count()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize, width: usize) -> Place {
        Place { line, column, width, overlay: None }
    }

    #[test]
    fn the_line_is_shown_with_a_caret_under_the_place() {
        let mut report = Report::new("f.yaml", "a: 1\r\n\tb: grün\n");
        report.at_with_help(&at(2, 5, 4), "no colour", "write 2");
        let said = report.finish().to_string();
        assert_eq!(said, "f.yaml:2:5: no colour\n  2 |  b: grün\n    |     ^^^^\n  help: write 2");
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_once() {
        let mut report = Report::new("f", "x\ny\n");
        report.at(&at(2, 1, 1), "second");
        report.at(&at(1, 1, 1), "first");
        report.at(&at(2, 1, 1), "second");
        let messages: Vec<_> = report.finish().0.into_iter().map(|p| p.message).collect();
        assert_eq!(messages, ["first", "second"]);
    }

    #[test]
    fn a_long_line_is_shown_in_part_and_a_place_beyond_it_is_no_panic() {
        let text = format!("{}here{}", " x".repeat(200), " y".repeat(200));
        let mut report = Report::new("f", &text);
        report.at(&at(1, 401, 4), "long");
        report.at(&at(1, 100_000, 9), "beyond");
        report.at(&at(99, 1, 9), "no such line");
        for problem in &report.finish().0 {
            assert!(problem.to_string().lines().all(|line| line.chars().count() < 130), "{problem}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let mut report = Report::new("f", "mqtt: { url: \"mqtt://u:hunter2@b\" }\npassword: hunter2\n");
        report.at(&at(1, 14, 4), "one");
        report.at(&at(2, 1, 4), "two");
        assert!(!report.finish().to_string().contains("hunter2"));
    }

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["word_order", "max_registers", "port", "url"];
        assert_eq!(nearest("word-ordr", words), Some("word_order"));
        assert_eq!(nearest("maxregisters", words), Some("max_registers"));
        assert_eq!(nearest("prot", words), Some("port"));
        assert_eq!(nearest("mxa_registres", words), Some("max_registers"));
        assert_eq!(nearest("temperature", words), None);
    }
}
