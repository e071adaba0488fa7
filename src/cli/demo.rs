//! `linesman demo` (being written).

use super::Exit;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn main(_arguments: Arguments) -> Exit {
    Exit::Failed
}
