//! What is not tested here, and why.

use std::fs::OpenOptions;
use std::io::{self, Write};

/// Says that a test, or a part of it, is left out, and why. Straight to standard error, for the harness shows nothing of a
/// test that passes; and to the file from which the closing line of `tests/run` counts.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: skipped, because {why}\n", thread.name().unwrap_or("a test"));
    let _ = io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("LINESMAN_SKIPPED")
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = file.write_all(line.as_bytes());
    }
}
