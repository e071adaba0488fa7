//! `linesman schema`: JSON Schema of the configuration or of a profile, for editors.

use super::Exit;
use crate::config::CONFIG;
use crate::profile::format::PROFILE;
use crate::profile::yaml::schema;
use std::io::{self, Write as _};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which file format.
    of: Of,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    Config,
    Profile,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let schema = match arguments.of {
        Of::Config => schema::document("linesman configuration", &CONFIG),
        Of::Profile => schema::document("linesman device profile", &PROFILE),
    };
    match writeln!(io::stdout().lock(), "{schema:#}") {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Io,
    }
}
