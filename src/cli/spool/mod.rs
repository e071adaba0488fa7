//! `linesman spool`: looks into a spool folder, read-only, beside a running gateway too; and moves a backlog.

mod dump;
mod history;
mod moment;

use super::{Exit, chain, complain, say};
use crate::record;
use crate::spool::{self, Account, Gap, Inspection, Stored, TransferError, inspect};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// How much there is, since when, how far each upstream has come, and which losses it has still to announce.
    Status {
        dir: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// The readings as lines, oldest first; or least, most and mean for each step of time.
    Dump(dump::Arguments),
    /// Reads every record and says what is damaged.
    Check { dir: PathBuf },
    /// Writes the backlog to a file, for `import` on another box.
    Export {
        dir: PathBuf,
        /// Where to; `-` for standard output.
        file: PathBuf,
        /// Only what this upstream has still to deliver.
        #[arg(long, value_name = "NAME")]
        upstream: Option<String>,
    },
    /// Puts the records of an export behind what is there; the gateway must not run.
    Import {
        dir: PathBuf,
        /// Where from; `-` for standard input.
        file: PathBuf,
    },
}

pub(super) fn main(arguments: Arguments) -> Exit {
    match arguments.command {
        Command::Status { dir, json } => looked(&dir, |_| (), |seen| status(seen, json)),
        Command::Dump(arguments) => dump::main(&arguments),
        Command::Check { dir } => check(&dir),
        Command::Export { dir, file, upstream } => export(&dir, &file, upstream.as_deref()),
        Command::Import { dir, file } => import(&dir, &file),
    }
}

fn export(dir: &Path, file: &Path, upstream: Option<&str>) -> Exit {
    let to_file = |file: &Path| -> Result<u64, TransferError> {
        // Beside it first: what fails must not cost an older export.
        let mut part = file.to_owned().into_os_string();
        part.push(".part");
        let mut out = BufWriter::new(File::create(&part)?);
        let done = spool::export(dir, upstream, &mut out);
        if done.is_err() {
            let _ = fs::remove_file(&part);
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let count = done?;
        fs::rename(&part, file)?;
        Ok(count)
    };
    let done = if file == Path::new("-") {
        spool::export(dir, upstream, &mut BufWriter::new(io::stdout().lock()))
    } else {
        to_file(file)
    };
    match done {
        Ok(count) => {
            complain(&format_args!("{count} records exported"));
            Exit::Done
        }
        Err(error) => refused(dir, &error),
    }
}

fn import(dir: &Path, file: &Path) -> Exit {
    let config = spool::Config { dir: dir.to_owned(), ..spool::Config::default() };
    let from = |input: &mut dyn Read| spool::import(config, &mut BufReader::new(input));
    let done = if file == Path::new("-") {
        from(&mut io::stdin().lock())
    } else {
        File::open(file).map_err(TransferError::from).and_then(|mut file| from(&mut file))
    };
    match done {
        Ok((new, count)) => {
            say(&format_args!("{new} records imported, {} were there already", count - new));
            Exit::Done
        }
        Err(error) => refused(dir, &error),
    }
}

fn refused(dir: &Path, error: &TransferError) -> Exit {
    complain(&format_args!("linesman: {}: {}", dir.display(), chain(error)));
    match error {
        TransferError::NoSuchUpstream(..) => Exit::Usage,
        TransferError::Damaged { .. } | TransferError::NoExport => Exit::Failed,
        TransferError::Open(_) | TransferError::Io(_) | TransferError::Disk(_) => Exit::Io,
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
    gaps: Vec<Announced<'a>>,
}

/// A gap that is to be announced.
#[derive(Serialize)]
struct Announced<'a> {
    from: i64,
    to: i64,
    count: Option<u64>,
    reason: &'a str,
}

impl<'a> Announced<'a> {
    fn of(gap: &'a Gap) -> Announced<'a> {
        Announced { from: gap.from, to: gap.to, count: gap.count, reason: &gap.reason }
    }
}

impl<'a> Cursor<'a> {
    fn of((name, account): &'a (String, Account)) -> Cursor<'a> {
        let Account { cursor, sampled, delivered, pending, left_out, dropped, gaps } = account;
        Cursor {
            name,
            cursor: *cursor,
            sampled: *sampled,
            delivered: *delivered,
            pending: *pending,
            left_out: *left_out,
            dropped,
            gaps: gaps.iter().map(Announced::of).collect(),
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
        for gap in &c.gaps {
            let count =
                gap.count.map_or_else(|| "nobody knows how many".to_owned(), |count| count.to_string());
            let Announced { from, to, reason, .. } = gap;
            say(&format_args!(
                "  still to be announced: {count} records lost ({reason}), sampled {from} to {to}"
            ));
        }
    }
    Exit::Done
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
