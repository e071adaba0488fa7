//! `linesman plan`: every request of every line, what it takes of the wire, and which periods can't be kept.

use super::check::{load, many, port, span};
use super::{ConfigArguments, Exit, complain, say};
use crate::bus::{ASSUMED_TURNAROUND, Asked, LineConfig, LineLoad, PortConfig, Remedy, Unmet};
use crate::profile::Every;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Above this the next meter or a bad cable is too much for a line.
const FULL: f64 = 0.9;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    from: ConfigArguments,
    /// How long devices take to answer; 20 ms is assumed unless given.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=60_000))]
    turnaround: Option<u64>,
    /// One JSON document. `every_ms` is 0 for continuous points.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let config = match load(arguments.from) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let turnaround = arguments.turnaround.map_or(ASSUMED_TURNAROUND, Duration::from_millis);
    let loads: Vec<LineLoad> = config.lines.iter().map(|line| LineLoad::of(line, turnaround)).collect();
    if arguments.json {
        match document(&config.lines, &loads) {
            Ok(json) => say(&json),
            Err(error) => {
                complain(&format_args!("linesman: {error}"));
                return Exit::Failed;
            }
        }
    } else {
        config.lines.iter().zip(&loads).for_each(|(line, load)| say(&page(line, load)));
        say(&assumption(turnaround, arguments.turnaround.is_some()));
    }
    if loads.iter().all(|load| load.unmet.is_empty()) { Exit::Done } else { Exit::Config }
}

/// One line for people: its requests, its load, and what to do about it.
fn page(line: &LineConfig, load: &LineLoad) -> String {
    let mut text = format!("line {}: {}\n", line.name, port(line));
    if let PortConfig::RtuOverTcp { .. } = line.port {
        text.push_str("  not counted: the wire behind the device server, whose baud rate is not known\n");
    }
    let _ = writeln!(text, "{}", requests(load));
    for name in estimated(line) {
        let _ = writeln!(
            text,
            "{name}: an estimate, for its points are found when the device answers: an inverter of three phases with a meter behind it"
        );
    }
    let _ = writeln!(text, "{}", verdict(load));
    for unmet in &load.unmet {
        let points = many(unmet.points.len(), "point");
        let _ = writeln!(text, "  {}: {points} cannot be read every {}", unmet.device, span(unmet.every));
    }
    if let Some(remedy) = &load.remedy {
        text.push_str("  what would do, each by itself, with 5 % to spare:\n");
        for way in ways(remedy) {
            let _ = writeln!(text, "  - {way}");
        }
        if let Some(no) = no_baud(remedy, line) {
            let _ = writeln!(text, "  {no}");
        }
    }
    text
}

/// The devices whose points nobody knows before they have answered.
fn estimated(line: &LineConfig) -> Vec<&str> {
    let unknown = line.devices.iter().filter(|device| device.enabled && device.is_unwalked());
    unknown.map(|device| device.name.as_str()).collect()
}

fn requests(load: &LineLoad) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["device", "unit", "request", "points", "every", "ms", "load %"]);
    let mut before = None;
    for asked in &load.requests {
        let first = before.replace(&asked.device) != Some(&asked.device);
        let (device, unit) =
            if first { (asked.device.as_str(), asked.unit.to_string()) } else { ("", String::new()) };
        table.add_row([
            device.to_owned(),
            unit,
            request(asked),
            asked.points.len().to_string(),
            every(asked.every),
            format!("{:.1}", millis(asked.wire)),
            format!("{:.1}", asked.share * 100.0),
        ]);
    }
    for column in [1, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// As `linesman read` takes it: `input 0+36`.
fn request(asked: &Asked) -> String {
    let table = match asked.request.function().code() {
        1 => "coil",
        2 => "discrete",
        3 => "holding",
        _ => "input",
    };
    format!("{table} {}+{}", asked.request.address(), asked.request.count())
}

fn every(every: Every) -> String {
    match every {
        Every::Period(period) => span(period),
        Every::Continuous => "continuous".to_owned(),
    }
}

/// What the requests come to, in one sentence.
fn verdict(load: &LineLoad) -> String {
    let periodic = format!("load {:.1} %", load.periodic * 100.0);
    let judged = if load.unmet.is_empty() {
        let full = if is_full(load) { "\nthat leaves little for retries, or for another meter" } else { "" };
        let late = load.late.filter(|late| !late.is_zero()).map(|late| {
            format!("\nwhen everything is due at once, a scan comes up to {:.0} ms late", millis(late).ceil())
        });
        format!("every period can be kept{}{full}", late.unwrap_or_default())
    } else if load.periodic > 1.0 {
        "more than the line can carry".to_owned()
    } else {
        "some requests take longer than other points can wait".to_owned()
    };
    let Some(continuous) = load.continuous else { return format!("{periodic}: {judged}") };
    let round = match continuous.cycle {
        Some(cycle) => format!("load 100 % by design: a new scan every {:.0} ms", millis(cycle)),
        None => "the periodic points leave no time for the continuous ones".to_owned(),
    };
    if load.periodic > 0.0 { format!("{round}\nperiodic {periodic}: {judged}") } else { round }
}

pub(super) fn is_full(load: &LineLoad) -> bool {
    load.periodic > FULL
}

/// What somebody can do, each by itself.
fn ways(remedy: &Remedy) -> Vec<String> {
    let mut ways = vec![format!("`every: {}` for these points", span(remedy.every))];
    if let Some(baud) = remedy.baud {
        ways.push(format!("{baud} baud, on the line and in all its meters"));
    }
    if let Some(in_flight) = remedy.in_flight {
        ways.push(format!("`in_flight: {in_flight}`, if the endpoint takes so many questions at once"));
    }
    if let Some(points) = remedy.points {
        ways.push(format!("fewer of these points: at most {points} a device"));
    }
    ways
}

fn no_baud(remedy: &Remedy, line: &LineConfig) -> Option<&'static str> {
    let serial = matches!(line.port, PortConfig::Serial(_));
    (serial && remedy.baud.is_none()).then_some("no standard baud rate would")
}

fn assumption(turnaround: Duration, given: bool) -> String {
    let said = if given { "as told" } else { "assumed; --turnaround sets it" };
    format!(
        "Counted: requests and replies, the silences between them, `min_gap`, and {}\n\
         from a request's end to its reply ({said}).\n\
         Not counted: retries, refusals, probes of silent devices.",
        span(turnaround)
    )
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

#[derive(Serialize)]
struct Document<'a> {
    lines: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    load_pct: f64,
    requests: Vec<Request<'a>>,
    unmet: Vec<Point<'a>>,
    /// Devices whose requests are an estimate: their points are found when they answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    estimated: Vec<&'a str>,
}

#[derive(Serialize)]
struct Request<'a> {
    device: &'a str,
    unit: u8,
    function: u8,
    address: u16,
    count: u16,
    wire_ms: f64,
    every_ms: u128,
    points: Vec<&'a str>,
}

#[derive(Serialize)]
struct Point<'a> {
    device: &'a str,
    point: &'a str,
    every_ms: u128,
    possible_ms: u128,
    advice: String,
}

/// The document of the contract, its numbers rounded to what is worth knowing.
fn document(lines: &[LineConfig], loads: &[LineLoad]) -> serde_json::Result<String> {
    let lines = lines.iter().zip(loads).map(|(line, load)| Line {
        name: load.name.as_str(),
        load_pct: rounded(load.busy() * 100.0, 10.0),
        requests: load.requests.iter().map(request_json).collect(),
        unmet: load.unmet.iter().flat_map(|unmet| points_json(unmet, load.remedy.as_ref(), line)).collect(),
        estimated: estimated(line),
    });
    serde_json::to_string_pretty(&Document { lines: lines.collect() })
}

fn request_json(asked: &Asked) -> Request<'_> {
    Request {
        device: asked.device.as_str(),
        unit: asked.unit,
        function: asked.request.function().code(),
        address: asked.request.address(),
        count: asked.request.count(),
        wire_ms: rounded(millis(asked.wire), 1000.0),
        every_ms: match asked.every {
            Every::Period(period) => period.as_millis(),
            Every::Continuous => 0,
        },
        points: asked.points.iter().map(|point| point.as_str()).collect(),
    }
}

fn points_json<'a>(unmet: &'a Unmet, remedy: Option<&Remedy>, line: &LineConfig) -> Vec<Point<'a>> {
    let advice = remedy.map(|remedy| {
        let no = no_baud(remedy, line).map(|no| format!("; {no}")).unwrap_or_default();
        ways(remedy).join("; or ") + &no
    });
    let one = |point: &'a crate::model::Name| Point {
        device: unmet.device.as_str(),
        point: point.as_str(),
        every_ms: unmet.every.as_millis(),
        possible_ms: unmet.possible.as_millis(),
        advice: advice.clone().unwrap_or_default(),
    };
    unmet.points.iter().map(one).collect()
}

fn rounded(number: f64, steps: f64) -> f64 {
    (number * steps).round() / steps
}
