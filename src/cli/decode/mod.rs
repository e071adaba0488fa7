//! `linesman decode`: compact batches as lines that people and databases read.
//!
//! From files of messages (`mosquitto_sub … >> FILE` will do), from standard input, or from a broker as they come.

pub(super) mod fleet;
mod show;

pub(super) use show::{Form, Show};

use super::{Exit, complain};
use crate::encode::batch::{self, Names};
use fleet::{Fleet, Login, Place};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file is read whole, up to this: years of a site.
const LARGEST_FILE: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Batches one after the other, - for standard input, or `mqtt://HOST[:PORT][/TOPIC]`, where TOPIC is what stands
    /// before /b and /meta; + is any one level; linesman/+ unless given.
    #[arg(value_name = "FILE|-|mqtt://…")]
    source: String,
    /// The message of the topic meta that the batches were made by; a broker keeps it.
    #[arg(long, value_name = "FILE")]
    meta: Vec<PathBuf>,
    /// How lines are written.
    #[arg(long = "as", value_enum, default_value_t = Form::Json)]
    form: Form,
    /// End after so many batches.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    login: Login,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let mut metas = Vec::new();
    for path in &arguments.meta {
        match meta(path) {
            Ok(names) => metas.push(names),
            Err(why) => {
                complain(&format_args!("linesman decode: {}: {why}", path.display()));
                return Exit::Io;
            }
        }
    }
    let (mut show, count) = (Show::new(arguments.form), arguments.count.unwrap_or(u64::MAX));
    let exit = if arguments.source.contains("://") {
        match Place::of(&arguments.source, &arguments.login) {
            Ok(place) => listen(place, &mut show, count),
            Err(why) => {
                complain(&format_args!("linesman decode: {}: {why}", arguments.source));
                return Exit::Usage;
            }
        }
    } else {
        match octets(&arguments.source) {
            Ok(octets) => file(&octets, &metas, &mut show, count),
            Err(error) => {
                complain(&format_args!("linesman decode: {}: {error}", arguments.source));
                Exit::Io
            }
        }
    };
    if show.finish().is_ok() { exit } else { Exit::Io }
}

fn meta(path: &Path) -> Result<Names, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Names::from_meta(text.trim())
}

fn octets(source: &str) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let read = if source == "-" {
        io::stdin().lock().take(LARGEST_FILE + 1).read_to_end(&mut octets)
    } else {
        fs::File::open(source)?.take(LARGEST_FILE + 1).read_to_end(&mut octets)
    }?;
    if read as u64 > LARGEST_FILE {
        return Err(io::Error::other(format!("more than {LARGEST_FILE} octets; part it")));
    }
    Ok(octets)
}

/// Every batch in there. One that can't be read costs itself; after octets that are no frame nothing can be found.
fn file(octets: &[u8], metas: &[Names], show: &mut Show, count: u64) -> Exit {
    let mut exit = Exit::Done;
    for (number, frame) in (1..=count).zip(batch::frames(octets)) {
        let shown = frame.and_then(|frame| {
            let schema = batch::schema_of(frame)?;
            let names = metas.iter().find(|names| names.schema == schema);
            Ok((batch::decode(frame, names)?, names))
        });
        match shown {
            Ok((decoded, names)) => {
                if !show.batch(&decoded, names.map(|names| &names.site)) {
                    return exit;
                }
            }
            Err(error) => {
                complain(&format_args!("linesman decode: batch {number}: {error}"));
                exit = Exit::Failed;
            }
        }
    }
    exit
}

fn listen(place: Place, show: &mut Show, count: u64) -> Exit {
    let runtime = match super::runtime(1) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("linesman decode: {error}"));
            return Exit::Io;
        }
    };
    runtime.block_on(async {
        let mut fleet = Fleet::connect(&place, None);
        let mut left = count;
        while left > 0 {
            let arrived = tokio::select! {
                arrived = fleet.next() => arrived,
                _ = tokio::signal::ctrl_c() => return Exit::Done,
            };
            match arrived {
                Ok(arrived) => {
                    left -= 1;
                    if !show.batch(&arrived.decoded, Some(&arrived.site)) || show.flush().is_err() {
                        return Exit::Done;
                    }
                }
                Err(fleet::Trouble::Batch(why)) => complain(&format_args!("linesman decode: {why}")),
                Err(fleet::Trouble::Connection(why)) => {
                    complain(&format_args!("linesman decode: {why}"));
                    return Exit::Io;
                }
            }
        }
        Exit::Done
    })
}
