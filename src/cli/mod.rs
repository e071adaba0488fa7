//! The command line: one file per subcommand; this one only names them.

mod check;
mod compose;
mod decode;
mod demo;
mod init;
mod network;
mod plan;
mod profiles;
mod read;
mod replay;
mod republish;
mod run;
mod scan;
mod schema;
mod simulate;
mod spool;
mod status;

use crate::bus::capture::{self, Capture, Recording, StartError};
use crate::config;
use crate::model::{Sample, Value};
use clap::{Parser, Subcommand};
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// How a command ended: the exit codes of sysexits.h that scripts and systemd act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Anything else, `spool check` with damage among it.
    Failed,
    /// EX_USAGE.
    Usage,
    /// EX_IOERR: no port, no valid reply, gateway unreachable.
    Io,
    /// EX_CONFIG: a restart would not cure it.
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Io => 74,
            Exit::Config => 78,
        })
    }
}

/// Telemetry gateway for wired Modbus meters.
#[derive(Debug, Parser)]
#[command(name = "linesman", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Poll the meters, keep the readings, forward them: the service.
    Run(run::Arguments),
    /// Simulated meters on real ttys and the whole gateway; needs no setup at all.
    Demo(demo::Arguments),
    /// Five questions, or a flag for each, and a commented configuration.
    Init(init::Arguments),
    /// Say all that is wrong with a configuration; opens no port and no socket.
    Check(check::Arguments),
    /// Every request of every line, its wire time, the line's load, and periods that can't be kept; opens nothing.
    Plan(plan::Arguments),
    /// Find the devices of a line or a host, say what they are, write the configuration; reads only.
    Scan(scan::Arguments),
    /// Ask one device once.
    Read(read::Arguments),
    /// Be a meter (or several), made from profiles and paced like a wire.
    Simulate(simulate::Arguments),
    /// Decode what a capture of the wire holds, with a profile.
    Replay(replay::Arguments),
    /// Compact batches as JSON lines, line protocol or CSV; from files or from a broker.
    Decode(decode::Arguments),
    /// Take the compact batches of a fleet from a broker and pass them on as plain JSON or line protocol.
    Republish(republish::Arguments),
    /// List, show and check device profiles.
    Profiles(profiles::Arguments),
    /// Look into a spool folder.
    Spool(spool::Arguments),
    /// What the running gateway says of itself.
    Status(status::Arguments),
    /// JSON Schema of the configuration or of a profile, for editors.
    Schema(schema::Arguments),
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(problem) => {
            // Help and version are no errors; clap knows which stream they belong on.
            let exit = if problem.use_stderr() { Exit::Usage } else { Exit::Done };
            return match problem.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Io.into(),
            };
        }
    };
    let exit = match arguments.command {
        Command::Run(arguments) => run::main(arguments),
        Command::Demo(arguments) => demo::main(arguments),
        Command::Init(arguments) => init::main(arguments),
        Command::Check(arguments) => check::main(arguments),
        Command::Plan(arguments) => plan::main(arguments),
        Command::Scan(arguments) => scan::main(arguments),
        Command::Read(arguments) => read::main(arguments),
        Command::Simulate(arguments) => simulate::main(arguments),
        Command::Replay(arguments) => replay::main(arguments),
        Command::Decode(arguments) => decode::main(arguments),
        Command::Republish(arguments) => republish::main(arguments),
        Command::Profiles(arguments) => profiles::main(arguments),
        Command::Spool(arguments) => spool::main(arguments),
        Command::Status(arguments) => status::main(arguments),
        Command::Schema(arguments) => schema::main(arguments),
    };
    exit.into()
}

/// Which configuration, for the commands that take one.
#[derive(Debug, clap::Args)]
struct ConfigArguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Overrides one value, as in `--set lines.0.serial.baud=19200`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Whether the wire is put on record, and how much of it is kept.
#[derive(Debug, clap::Args)]
struct CaptureArguments {
    /// Record every frame here, as pcap-ng for Wireshark and `linesman replay`; FILE.1 is the older half.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// The most that FILE and FILE.1 may have together.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = config::size, requires = "capture")]
    capture_size: u64,
}

impl CaptureArguments {
    /// Begins the capture, if there is to be one.
    fn start(&self) -> Result<Option<(Capture, Recording)>, Exit> {
        let Some(path) = &self.capture else { return Ok(None) };
        capture::start(path, self.capture_size).map(Some).map_err(|error| {
            complain(&format_args!("linesman: --capture: {error}"));
            if matches!(error, StartError::Limit(_)) { Exit::Usage } else { Exit::Io }
        })
    }
}

/// A value digit by digit, as JSON: nothing passes through a float.
fn exact(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Text(text) => quoted(text),
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A sample as people read it; a reason stands in parentheses.
fn shown(sample: &Sample) -> String {
    match sample {
        Ok(Value::Number(number)) => number.to_string(),
        Ok(Value::Bool(flag)) => flag.to_string(),
        Ok(Value::Text(text)) => text.to_string(),
        Err(bad) => format!("({bad})"),
    }
}

/// One line (or several) on standard output. A reader that has gone is no error of ours.
fn say(text: &dyn Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// The same on standard error.
fn complain(text: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn runtime(workers: usize) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}
