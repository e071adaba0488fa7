//! `linesman profiles`: which meters are known, what a profile says, whether a file is right.

use super::Exit;
use super::check::span;
use crate::model::Decimal;
use crate::model::quantity::has_decimal;
use crate::profile::{
    self, Every, OWN_FOLDER, Order, Parity, Point, Problems, Profile, Table, builtin, library,
};
use comfy_table::{Table as Grid, presets};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Every profile that a configuration can name.
    List,
    /// What a profile says, point by point.
    Show {
        /// A name, or a path (with / or ending in .yaml).
        profile: String,
    },
    /// Say all that is wrong with profiles.
    Check {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let said = match arguments.command {
        Command::List => list(),
        Command::Show { profile } => show(&profile),
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
    names.sort_unstable();
    names.dedup();
    let mut grid = grid(&["profile", "vendor", "model", "kind", "points", "from"]);
    let mut exit = Exit::Done;
    for name in names {
        let from = if own.contains(&name) { OWN_FOLDER } else { "built in" };
        match profile::find(&name, Path::new(""), &dirs) {
            Ok(p) => {
                grid.add_row([&name, &p.vendor, &p.model, &p.kind, &p.points.len().to_string(), from]);
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
        match library::open(file).and_then(|source| Ok((source.parse()?, source))) {
            Ok((profile, source)) => {
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

fn show(name_or_path: &str) -> io::Result<Exit> {
    let profile = match profile::find(name_or_path, Path::new(""), &own_folders()) {
        Ok(profile) => profile,
        Err(problems) => {
            complain(&problems)?;
            return Ok(Exit::Config);
        }
    };
    say(&facts(&profile))?;
    let mut grid = grid(&["point", "register", "type", "scale", "quantity", "unit", "every", ""]);
    for point in &profile.points {
        grid.add_row(row(point));
    }
    print(&grid)?;
    Ok(Exit::Done)
}

fn facts(profile: &Profile) -> String {
    let mut text = format!("{}: {} {} ({})\n", profile.name, profile.vendor, profile.model, profile.kind);
    if let Some(serial) = &profile.serial {
        let parity = match serial.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        let _ = write!(text, "factory: {} 8{parity}{}", serial.baud, serial.stop_bits);
        let _ = match profile.unit_id {
            Some(unit) => writeln!(text, ", unit {unit}"),
            None => writeln!(text),
        };
    }
    let habits = &profile.habits;
    let _ = write!(text, "asked: at most {} registers at once", habits.max_registers);
    if habits.align > 1 {
        let _ = write!(text, ", from multiples of {}", habits.align);
    }
    if !habits.min_gap.is_zero() {
        let _ = write!(text, ", {} apart", span(habits.min_gap));
    }
    if let Some(least) = habits.min_timeout {
        let _ = write!(text, ", waiting at least {}", span(least));
    }
    if let Some(most) = habits.timeout {
        let _ = write!(text, ", waiting at most {}", span(most));
    }
    if habits.diagnostics {
        let _ = write!(text, ", answers function 08");
    }
    for hole in &habits.holes {
        let _ = write!(text, ", never {}", range(hole));
    }
    text.push('\n');
    for fact in &profile.identify {
        let _ = writeln!(text, "known by: {} {} = {}", fact.table.word(), fact.address, fact.equals);
    }
    for source in &profile.sources {
        let _ = writeln!(text, "source: {source}");
    }
    text.push('\n');
    text
}

fn range(hole: &RangeInclusive<u16>) -> String {
    if hole.start() == hole.end() {
        hole.start().to_string()
    } else {
        format!("{}-{}", hole.start(), hole.end())
    }
}

fn row(point: &Point) -> [String; 8] {
    let every = match point.every {
        Some(Every::Period(period)) => span(period),
        Some(Every::Continuous) => "continuous".to_owned(),
        None => String::new(),
    };
    let what = [Some(point.quantity.as_str()), point.phase.as_deref(), point.direction.as_deref()];
    [
        point.name.to_string(),
        address(point),
        format(point),
        scale(point),
        what.into_iter().flatten().collect::<Vec<_>>().join(" "),
        point.unit.clone(),
        every,
        remarks(point),
    ]
}

fn address(point: &Point) -> String {
    let bit = match (point.bit, point.bits) {
        (Some(bit), _) => format!(" bit {bit}"),
        (None, Some(field)) => format!(" bits {}-{}", field.shift, field.shift + field.width - 1),
        (None, None) => String::new(),
    };
    format!("{} {}{bit}", point.table.word(), point.address)
}

fn format(point: &Point) -> String {
    let wide = point.format.count() > 1 && point.table != Table::Coil;
    let order = if wide && point.word_order == Order::Little { ", low word first" } else { "" };
    format!("{}{order}", point.format.word())
}

/// As a decimal where it has one, else as a fraction.
fn scale(point: &Point) -> String {
    let decimal = Decimal::from(1u64).scaled(point.scale).ok().filter(|_| has_decimal(point.scale));
    let fraction = || format!("{}/{}", point.scale.numerator(), point.scale.denominator());
    let scale = decimal.map_or_else(fraction, |scale| scale.to_string());
    if point.offset == Decimal::ZERO { scale } else { format!("{scale}, then + {}", point.offset) }
}

fn remarks(point: &Point) -> String {
    let mut remarks = Vec::new();
    if let Some(resolution) = point.resolution {
        remarks.push(format!("steps of {resolution}"));
    }
    if let Some((least, most)) = point.range {
        remarks.push(format!("{least} to {most}"));
    }
    if !point.words.is_empty() {
        let words = point.words.iter().map(|(code, word)| format!("{code} {word}"));
        remarks.push(words.collect::<Vec<_>>().join(", "));
    }
    if !point.invalid.is_empty() {
        remarks.push(format!("{} sentinels", point.invalid.len()));
    }
    if point.index {
        remarks.push("rises only".to_owned());
    }
    if point.unverified {
        remarks.push("unverified".to_owned());
    }
    remarks.join("; ")
}
