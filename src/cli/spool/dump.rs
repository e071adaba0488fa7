//! `linesman spool dump`: the log read by time, as lines of JSON or CSV.

use super::history::{Step, Steps};
use super::moment;
use crate::cli::{Exit, complain, quoted, shown};
use crate::encode::json::{self, Number};
use crate::model::{Name, Reading, Value};
use crate::record;
use crate::spool::{Stored, inspect_between};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    dir: PathBuf,
    /// Only this device; may be given several times.
    #[arg(long, value_name = "NAME")]
    device: Vec<Name>,
    /// Only this point; may be given several times.
    #[arg(long, value_name = "NAME")]
    point: Vec<Name>,
    /// Not before this moment: YYYY-MM-DD, YYYY-MM-DDThh:mm:ssZ (UTC), or ms since 1970.
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse)]
    from: Option<i64>,
    /// Before this moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse)]
    to: Option<i64>,
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// Least, most and mean of each point for each step, as in `15m`, instead of every value.
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration)]
    step: Option<std::time::Duration>,
    /// End after so many records.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A JSON object a line.
    Jsonl,
    /// With a heading; one value a line.
    Csv,
}

impl Arguments {
    fn wants_point(&self, name: &Name) -> bool {
        self.point.is_empty() || self.point.contains(name)
    }
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    match run(arguments, &mut out).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        // `dump | head` is how this is used.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            complain(&format_args!("linesman: {}: {error}", arguments.dir.display()));
            Exit::Io
        }
    }
}

fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<()> {
    let span = arguments.from.unwrap_or(i64::MIN)..=arguments.to.map_or(i64::MAX, |to| to.saturating_sub(1));
    let mut steps =
        arguments.step.map(|step| Steps::new(i64::try_from(step.as_millis()).unwrap_or(i64::MAX)));
    let (mut left, mut written) = (arguments.limit, heading(arguments, out));
    inspect_between(&arguments.dir, span, |stored| {
        if written.is_err() || left == 0 {
            return ControlFlow::Break(());
        }
        written = match (record::decode(&stored.octets), &mut steps) {
            (Ok(reading), _)
                if !(arguments.device.is_empty() || arguments.device.contains(&reading.device)) =>
            {
                Ok(false)
            }
            (Ok(reading), Some(steps)) => add(arguments, steps, &reading, out),
            (Ok(reading), None) => put_reading(arguments, stored, reading, out),
            (Err(error), None) if arguments.format == Format::Jsonl => {
                writeln!(out, "{{\"position\":{},\"error\":\"{error}\"}}", stored.position).map(|()| true)
            }
            (Err(_), _) => Ok(false),
        };
        left -= u64::from(matches!(written, Ok(true)));
        ControlFlow::Continue(())
    })?;
    written?;
    steps.into_iter().flat_map(Steps::rest).try_for_each(|step| put_step(arguments.format, &step, out))
}

/// The heading of CSV; `true` where a record was written, which a heading is not.
fn heading(arguments: &Arguments, out: &mut impl Write) -> io::Result<bool> {
    let heading = match (arguments.format, arguments.step) {
        (Format::Jsonl, _) => return Ok(false),
        (Format::Csv, None) => "ts,device,point,value,bad",
        (Format::Csv, Some(_)) => "ts,device,point,min,max,mean,count",
    };
    writeln!(out, "{heading}").map(|()| false)
}

fn add(
    arguments: &Arguments,
    steps: &mut Steps,
    reading: &Reading,
    out: &mut impl Write,
) -> io::Result<bool> {
    let mut written = Ok(());
    steps.add(
        reading,
        |name| arguments.wants_point(name),
        |step| {
            if written.is_ok() {
                written = put_step(arguments.format, &step, out);
            }
        },
    );
    written.map(|()| true)
}

/// As it is delivered, with its device and position before it; in CSV a line for each value.
fn put_reading(
    arguments: &Arguments,
    stored: &Stored,
    mut reading: Reading,
    out: &mut impl Write,
) -> io::Result<bool> {
    reading.samples.retain(|(name, _)| arguments.wants_point(name));
    if reading.samples.is_empty() && !arguments.point.is_empty() {
        return Ok(false);
    }
    if arguments.format == Format::Jsonl {
        let text = json::reading(&reading, Number { epoch: stored.epoch, seq: stored.seq }, None);
        let rest = text.strip_prefix('{').unwrap_or(&text);
        writeln!(out, "{{\"position\":{},\"device\":\"{}\",{rest}", stored.position, reading.device)?;
        return Ok(true);
    }
    for (point, sample) in &reading.samples {
        let (value, bad) = match sample {
            Ok(Value::Text(text)) => (cell(text), String::new()),
            Ok(_) => (shown(sample), String::new()),
            Err(bad) => (String::new(), bad.to_string()),
        };
        writeln!(out, "{},{},{point},{value},{bad}", reading.ts.0, reading.device)?;
    }
    Ok(true)
}

fn put_step(format: Format, step: &Step, out: &mut impl Write) -> io::Result<()> {
    let Step { ts, device, point, least, most, mean, count } = step;
    match format {
        Format::Csv => writeln!(out, "{ts},{device},{point},{least},{most},{mean},{count}"),
        Format::Jsonl => writeln!(
            out,
            "{{\"ts\":{ts},\"device\":{},\"point\":{},\"min\":{least},\"max\":{most},\"mean\":{mean},\"count\":{count}}}",
            quoted(device.as_str()),
            quoted(point.as_str())
        ),
    }
}

/// A text in CSV (RFC 4180): in quotation marks where it needs them. What a spreadsheet would take for a formula
/// is left as it is: this is data.
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
