//! How far a scan is, on standard error: a bar on a terminal, a line now and then elsewhere.

use crate::bus::scan::Progress;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// A bar is drawn anew this often at most, …
const DRAWN: Duration = Duration::from_millis(100);
/// … and a line elsewhere said.
const SAID: Duration = Duration::from_secs(10);
const WIDTH: usize = 24;

pub(super) struct Screen {
    terminal: bool,
    last: Option<Instant>,
    drawn: bool,
}

impl Screen {
    pub(super) fn new() -> Screen {
        Screen { terminal: io::stderr().is_terminal(), last: None, drawn: false }
    }

    pub(super) fn progress(&mut self, progress: &Progress, found: usize) {
        let pause = if self.terminal { DRAWN } else { SAID };
        // Elsewhere nothing is said of a scan that is done before it would be.
        let last =
            *self.last.get_or_insert_with(|| Instant::now().checked_sub(DRAWN).unwrap_or_else(Instant::now));
        if last.elapsed() < pause {
            return;
        }
        self.last = Some(Instant::now());
        let text = line(progress, found);
        let mut out = io::stderr().lock();
        let _ = if self.terminal {
            self.drawn = true;
            write!(out, "\r\x1b[K{} {text}", bar(progress)).and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        };
    }

    /// A sentence for people; the bar makes room for it.
    pub(super) fn say(&mut self, text: &dyn Display) {
        self.clear();
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Before anything else is printed.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let mut out = io::stderr().lock();
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }
}

fn line(progress: &Progress, found: usize) -> String {
    let all = (progress.asked + progress.left).max(1);
    let percent = progress.asked * 100 / all;
    let settings = progress.settings.map_or_else(String::new, |settings| format!("{settings}, "));
    format!(
        "{percent} %, {settings}unit {}, {found} found, at most {} left",
        progress.unit,
        time(progress.time_left)
    )
}

fn bar(progress: &Progress) -> String {
    let all = (progress.asked + progress.left).max(1);
    let full = (progress.asked * WIDTH / all).min(WIDTH);
    format!("[{}{}]", "#".repeat(full), ".".repeat(WIDTH - full))
}

/// As people say it: `6 min 12 s`.
pub(super) fn time(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) if s < 10 => format!("{s}.{} s", span.subsec_millis() / 100),
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_do() {
        let said = |ms| time(Duration::from_millis(ms));
        assert_eq!(
            [said(1540), said(12_000), said(372_000), said(3_720_000)],
            ["1.5 s", "12 s", "6 min 12 s", "1 h 2 min"]
        );
    }

    #[test]
    fn a_bar_is_full_at_the_end() {
        let at = |asked, left| Progress { asked, left, time_left: Duration::ZERO, settings: None, unit: 9 };
        assert_eq!(bar(&at(0, 10)), format!("[{}]", ".".repeat(WIDTH)));
        assert_eq!(bar(&at(10, 0)), format!("[{}]", "#".repeat(WIDTH)));
        assert_eq!(line(&at(5, 5), 2), "50 %, unit 9, 2 found, at most 0.0 s left");
    }
}
