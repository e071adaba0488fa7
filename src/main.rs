//! Parses arguments and exits; everything else hangs off the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    linesman::cli::main()
}
