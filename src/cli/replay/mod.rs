//! `linesman replay`: decodes what a capture holds, with a profile; or makes a test case of it.

mod show;
mod transcript;
mod walked;

use super::{Exit, complain, say};
use crate::bus::capture::{self, Exchange, Source};
use crate::bus::transact::Outcome;
use crate::config;
use crate::profile::{self, Profile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Captures, as `run --capture` or Wireshark has written them: pcap-ng, or pcap. The older first.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the meters are.
    #[arg(long, value_name = "PROFILE", required_unless_present = "as_transcript")]
    profile: Option<String>,
    /// Only the device with this Modbus address.
    #[arg(long, value_name = "N")]
    unit: Option<u8>,
    /// Only this line.
    #[arg(long, value_name = "NAME")]
    line: Option<String>,
    /// What comes later than this after a question is no answer to it; without this, whatever comes before
    /// the next question may be.
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    timeout: Option<Duration>,
    /// One object a line: {"line","device","ts","values","bad"}; the device is the unit id.
    #[arg(long, conflicts_with = "as_transcript")]
    json: bool,
    /// The frames of one serial line as a transcript, which the tests of the line engine can play.
    #[arg(long)]
    as_transcript: bool,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    if arguments.as_transcript {
        return as_transcript(&arguments);
    }
    let name = arguments.profile.as_deref().unwrap_or_default();
    let profile = match profile::find(name, Path::new("."), &[PathBuf::from(profile::OWN_FOLDER)]) {
        Ok(profile) => profile,
        Err(problems) => {
            complain(&format_args!("linesman replay: {problems}"));
            return Exit::Config;
        }
    };
    let profile = match profile.walks.then(|| walked::profile(&arguments)) {
        None => profile,
        Some(Ok(found)) => found,
        Some(Err(why)) => {
            complain(&format_args!("linesman replay: {why}"));
            return Exit::Io;
        }
    };
    let mut replay = Replay::new(&arguments, &profile);
    let exit = read_all(&arguments, true, |source, exchange| replay.take(source, &exchange));
    let written = replay.finish();
    if written.is_err() { Exit::Io } else { exit }
}

/// Reads the files one after the other; says what each came to, if that is wanted.
fn read_all(arguments: &Arguments, aloud: bool, mut each: impl FnMut(&Source, Exchange)) -> Exit {
    let mut exit = Exit::Done;
    for file in &arguments.files {
        let (contents, result) =
            capture::read(file, arguments.timeout, |source, exchange| each(source, exchange));
        if !aloud {
            continue;
        }
        for line in show::oddities(file, &contents) {
            complain(&line);
        }
        if let Err(error) = result {
            complain(&format_args!("linesman replay: {error}"));
            exit = Exit::Io;
        }
    }
    exit
}

impl Arguments {
    fn wants(&self, source: &Source, unit: u8) -> bool {
        self.unit.is_none_or(|wanted| wanted == unit)
            && self.line.as_ref().is_none_or(|wanted| *wanted == source.name)
    }
}

/// How the questions of a replay ended.
#[derive(Debug, Default)]
pub(super) struct Endings {
    answered: u64,
    refused: u64,
    silent: u64,
    damaged: u64,
    passed_over: u64,
    unnamed: u64,
    units: BTreeMap<u8, u64>,
}

struct Replay<'a> {
    arguments: &'a Arguments,
    profile: &'a Arc<Profile>,
    endings: Endings,
    out: BufWriter<io::Stdout>,
    trouble: Option<io::Error>,
}

impl<'a> Replay<'a> {
    fn new(arguments: &'a Arguments, profile: &'a Arc<Profile>) -> Replay<'a> {
        let out = BufWriter::new(io::stdout());
        Replay { arguments, profile, endings: Endings::default(), out, trouble: None }
    }

    fn take(&mut self, source: &Source, exchange: &Exchange) {
        if !self.arguments.wants(source, exchange.unit) {
            self.endings.passed_over += 1;
            return;
        }
        self.endings.count(exchange);
        let reading = show::reading(self.profile, exchange);
        let unnamed = reading.samples.is_empty();
        self.endings.unnamed += u64::from(unnamed);
        let line = match self.arguments.json {
            true if unnamed => return,
            true => show::json(source, &reading),
            false => show::text(source, exchange, self.profile, &reading),
        };
        if self.trouble.is_none() {
            self.trouble = writeln!(self.out, "{line}").err();
        }
    }

    fn finish(mut self) -> io::Result<()> {
        let written = self.trouble.take().map_or_else(|| self.out.flush(), Err);
        for line in self.endings.lines(self.arguments) {
            complain(&line);
        }
        match written {
            // `replay … | head` is how this is used.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }
}

impl Endings {
    fn count(&mut self, exchange: &Exchange) {
        *match exchange.outcome {
            Outcome::Data(_) | Outcome::TwoAnswers => &mut self.answered,
            Outcome::Exception(_) => &mut self.refused,
            Outcome::NoReply => &mut self.silent,
            Outcome::Garbled { .. } => &mut self.damaged,
        } += 1;
        *self.units.entry(exchange.unit).or_default() += 1;
    }

    fn lines(&self, arguments: &Arguments) -> Vec<String> {
        let Endings { answered, refused, silent, damaged, passed_over, unnamed, units } = self;
        let all = answered + refused + silent + damaged;
        let mut lines = vec![format!(
            "questions: {all}; {answered} answered, {refused} refused, {silent} without a reply, {damaged} damaged"
        )];
        if *passed_over > 0 {
            lines.push(format!("questions to other units or on other lines, passed over: {passed_over}"));
        }
        if *unnamed > 0 {
            lines.push(format!("questions for registers that the profile does not name: {unnamed}"));
        }
        if units.len() > 1 && arguments.unit.is_none() {
            let each: Vec<String> = units.iter().map(|(unit, count)| format!("{unit} ({count})")).collect();
            lines.push(format!("units, all decoded with one profile: {}; --unit takes one", each.join(", ")));
        }
        lines
    }
}

fn as_transcript(arguments: &Arguments) -> Exit {
    let (mut exchanges, mut sources, mut first) = (Vec::new(), BTreeSet::new(), None);
    let exit = read_all(arguments, true, |source, exchange| {
        if source.serial && arguments.wants(source, exchange.unit) {
            sources.insert(source.name.clone());
            first.get_or_insert_with(|| source.clone());
            exchanges.push(exchange);
        }
    });
    let Some(source) = first else {
        complain(
            &"linesman replay: no question on a serial line is in there: nothing to make a transcript of",
        );
        return Exit::Io;
    };
    if sources.len() > 1 {
        let names: Vec<&str> = sources.iter().map(String::as_str).collect();
        complain(&format_args!("linesman replay: several lines: --line takes one of {}", names.join(", ")));
        return Exit::Usage;
    }
    if source.ascii {
        complain(&format_args!(
            "linesman replay: line {} speaks ASCII: transcripts are of RTU frames",
            source.name
        ));
        return Exit::Usage;
    }
    let files: Vec<String> = arguments.files.iter().map(|file| file.display().to_string()).collect();
    say(&transcript::of(&files.join(", "), &source, &exchanges, arguments.timeout).trim_end());
    exit
}
