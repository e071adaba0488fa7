//! `linesman profiles`: which meters are known, what a profile says, whether a file is right and does what its
//! cases say, and a first profile from a vendor's table.

mod cases;
mod guess;
mod new;
mod show;
mod table;

use super::Exit;
use crate::profile::{self, OWN_FOLDER, Problems, builtin, glossary, library};
use comfy_table::{Table as Grid, presets};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Every profile that a configuration can name.
    List {
        /// How many there are, by kind: the table of profiles/README.md.
        #[arg(long)]
        counts: bool,
    },
    /// What a profile says, point by point.
    Show {
        /// A name, or a path (with / or ending in .yaml).
        profile: String,
    },
    /// A first profile from a vendor's register table, with what is left to do named in it.
    New(new::Arguments),
    /// Read the cases beside profiles (FILE.wire: registers; FILE.json: what they stand for) and compare.
    Test {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Where the cases are, if not beside the profiles.
        #[arg(long, value_name = "DIR")]
        cases: Option<PathBuf>,
    },
    /// Say all that is wrong with profiles.
    Check {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let said = match arguments.command {
        Command::List { counts: false } => list(),
        Command::List { counts: true } => say(&counts()).map(|()| Exit::Done),
        Command::Show { profile } => show::show(&profile),
        Command::New(arguments) => new::main(&arguments),
        Command::Test { files, cases } => cases::main(&files, cases.as_deref()),
        Command::Check { files } => check(&files),
    };
    said.unwrap_or(Exit::Io)
}

fn own_folders() -> [PathBuf; 1] {
    [PathBuf::from(OWN_FOLDER)]
}

fn say(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

fn complain(problems: &Problems) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{problems}")
}

fn grid(header: &[&str]) -> Grid {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).set_header(header.iter().copied());
    grid
}

fn print(grid: &Grid) -> io::Result<()> {
    say(&grid.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>())
}

fn list() -> io::Result<Exit> {
    let dirs = own_folders();
    let own = library::own(&dirs);
    let mut names: Vec<String> = builtin().map(str::to_owned).chain(own.iter().cloned()).collect();
    names.push(profile::sunspec::NAME.to_owned());
    names.sort_unstable();
    names.dedup();
    let mut grid = grid(&["profile", "vendor", "model", "kind", "points", "from"]);
    let mut exit = Exit::Done;
    for name in names {
        let from = if own.contains(&name) { OWN_FOLDER } else { "built in" };
        match profile::find(&name, Path::new(""), &dirs) {
            Ok(p) => {
                let points = if p.walks { "found".to_owned() } else { p.points.len().to_string() };
                grid.add_row([&name, &p.vendor, &p.model, &p.kind, &points, from]);
            }
            Err(problems) => {
                complain(&problems)?;
                exit = Exit::Config;
            }
        }
    }
    print(&grid)?;
    Ok(exit)
}

fn check(files: &[PathBuf]) -> io::Result<Exit> {
    let mut exit = Exit::Done;
    for file in files {
        let glossary = |source: &library::Source| match glossary::check(&source.file, &source.text) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(problems),
        };
        let opened = library::open(file).and_then(|source| Ok((source.parse()?, glossary(&source)?, source)));
        match opened {
            Ok((profile, (), source)) => {
                for doubt in profile::doubts(&source.file, &source.text, &profile).iter() {
                    writeln!(io::stderr().lock(), "warning: {doubt}")?;
                }
                say(&format!("{}: good: {} points\n", file.display(), profile.points.len()))?;
                for (point, notation, table, address) in profile::notation(&source.text) {
                    say(&format!(
                        "  {point}: register {notation} is {} {address} on the wire\n",
                        table.word()
                    ))?;
                }
            }
            Err(problems) => {
                complain(&problems)?;
                exit = Exit::Config;
            }
        }
    }
    Ok(exit)
}

/// The built-in profiles by kind, as the page about profiles has them.
fn counts() -> String {
    let mut kinds: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    for name in builtin() {
        let Ok(profile) = profile::find(name, Path::new(""), &[]) else { continue };
        let (files, points, verified) = kinds.entry(profile.kind.clone()).or_default();
        *files += 1;
        *points += profile.points.len();
        *verified += profile.points.iter().filter(|point| !point.unverified).count();
    }
    let mut text =
        String::from("| kind | profiles | points | of these confirmed |\n| --- | ---: | ---: | ---: |\n");
    let mut all = (0, 0, 0);
    for (kind, (files, points, verified)) in kinds {
        text.push_str(&format!("| {kind} | {files} | {points} | {verified} |\n"));
        all = (all.0 + files, all.1 + points, all.2 + verified);
    }
    text.push_str(&format!("| all | {} | {} | {} |\n", all.0, all.1, all.2));
    text
}
