//! `linesman spool`: looks into a spool folder; read-only, beside a running gateway too.

use super::{Exit, complain, say};
use crate::encode::json::{self, Number};
use crate::record;
use crate::spool::{Account, Inspection, Stored, inspect};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// How much there is, since when, and how far each upstream has come.
    Status {
        dir: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Every reading as a line of JSON, oldest first.
    Dump {
        dir: PathBuf,
        /// Begin at this position.
        #[arg(long, value_name = "POSITION", default_value_t = 1)]
        from: u64,
        /// End after so many.
        #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
    },
    /// Reads every record and says what is damaged.
    Check { dir: PathBuf },
}

pub(super) fn main(arguments: Arguments) -> Exit {
    match arguments.command {
        Command::Status { dir, json } => looked(&dir, |_| (), |seen| status(seen, json)),
        Command::Dump { dir, from, limit } => dump(&dir, from, limit),
        Command::Check { dir } => check(&dir),
    }
}

fn looked(dir: &Path, each: impl FnMut(&Stored), then: impl FnOnce(&Inspection) -> Exit) -> Exit {
    match inspect(dir, each) {
        Ok(seen) => then(&seen),
        Err(error) => {
            complain(&format_args!("linesman: {}: {error}", dir.display()));
            Exit::Io
        }
    }
}

#[derive(Serialize)]
struct Status<'a> {
    records: u64,
    octets: u64,
    segments: usize,
    oldest_ts: Option<i64>,
    newest_ts: Option<i64>,
    first: Option<u64>,
    last: Option<u64>,
    cursors: Vec<Cursor<'a>>,
}

#[derive(Serialize)]
struct Cursor<'a> {
    name: &'a str,
    cursor: u64,
    sampled: u64,
    delivered: u64,
    pending: u64,
    left_out: u64,
    dropped: &'a BTreeMap<String, u64>,
}

impl<'a> Cursor<'a> {
    fn of((name, account): &'a (String, Account)) -> Cursor<'a> {
        let Account { cursor, sampled, delivered, pending, left_out, dropped, .. } = account;
        Cursor {
            name,
            cursor: *cursor,
            sampled: *sampled,
            delivered: *delivered,
            pending: *pending,
            left_out: *left_out,
            dropped,
        }
    }
}

fn status(seen: &Inspection, as_json: bool) -> Exit {
    let status = Status {
        records: seen.records,
        octets: seen.octets,
        segments: seen.segments,
        oldest_ts: seen.oldest_ts,
        newest_ts: seen.newest_ts,
        first: seen.first,
        last: seen.last,
        cursors: seen.cursors.iter().map(Cursor::of).collect(),
    };
    if as_json {
        return match serde_json::to_string(&status) {
            Ok(text) => {
                say(&text);
                Exit::Done
            }
            Err(_) => Exit::Failed,
        };
    }
    say(&format_args!(
        "{} records in {} segments, {} octets",
        status.records, status.segments, status.octets
    ));
    if let (Some(first), Some(last), Some(oldest), Some(newest)) =
        (seen.first, seen.last, seen.oldest_ts, seen.newest_ts)
    {
        say(&format_args!("positions {first} to {last}, sampled {oldest} to {newest} (ms since 1970 UTC)"));
    }
    for c in &status.cursors {
        let dropped: Vec<String> =
            c.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let dropped = if dropped.is_empty() { "none".to_owned() } else { dropped.join(", ") };
        say(&format_args!(
            "upstream {}: at position {}, {} delivered, {} pending, {} left out, dropped: {dropped}",
            c.name, c.cursor, c.delivered, c.pending, c.left_out
        ));
    }
    Exit::Done
}

fn dump(dir: &Path, from: u64, limit: u64) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut left, mut trouble) = (limit, None);
    let each = |stored: &Stored| {
        if stored.position >= from && left > 0 && trouble.is_none() {
            left -= 1;
            trouble = writeln!(out, "{}", line(stored)).err();
        }
    };
    let exit = looked(dir, each, |_| Exit::Done);
    match trouble.map_or_else(|| out.flush(), Err) {
        Ok(()) => exit,
        // `dump | head` is how this is used.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(_) => Exit::Io,
    }
}

/// The reading as it is delivered, with its device and position before it.
fn line(stored: &Stored) -> String {
    let Stored { position, epoch, seq, .. } = *stored;
    match record::decode(&stored.octets) {
        Ok(reading) => {
            let text = json::reading(&reading, Number { epoch, seq }, None);
            let rest = text.strip_prefix('{').unwrap_or(&text);
            format!("{{\"position\":{position},\"device\":\"{}\",{rest}", reading.device)
        }
        Err(error) => format!("{{\"position\":{position},\"error\":\"{error}\"}}"),
    }
}

fn check(dir: &Path) -> Exit {
    let mut unreadable = Vec::new();
    let each = |stored: &Stored| {
        if let Err(error) = record::decode(&stored.octets) {
            unreadable.push(format!("position {}: {error}", stored.position));
        }
    };
    let (mut damage, mut records, mut missing) = (Vec::new(), 0, 0);
    let exit = looked(dir, each, |seen| {
        damage =
            seen.damage.iter().map(|damage| format!("{}: {}", damage.file.display(), damage.what)).collect();
        records = seen.records;
        missing = seen.first.zip(seen.last).map_or(0, |(first, last)| last + 1 - first - seen.records);
        Exit::Done
    });
    if exit != Exit::Done {
        return exit;
    }
    for what in damage.iter().chain(&unreadable) {
        complain(what);
    }
    if damage.is_empty() && unreadable.is_empty() {
        say(&format_args!("{records} records, all whole; {missing} positions between them were dropped"));
        Exit::Done
    } else {
        complain(&format_args!(
            "{records} records are whole; {} places are damaged",
            damage.len() + unreadable.len()
        ));
        Exit::Failed
    }
}
