//! `linesman read`: asks one device once, by a profile or by addresses.

mod orders;
mod question;
mod show;
mod walk;

use super::{CaptureArguments, Exit, complain, say};
use crate::bus::capture::{Recording, Tap};
use crate::bus::{
    self, Block, Failure, Field, Lessons, LineConfig, PortConfig, SerialConfig, Session, Terms, plan_points,
};
use crate::config;
use crate::model::{Bad, Name, Sample};
use crate::normalize;
use crate::profile::{self, Parity, Profile};
use question::Question;
use std::sync::Arc;
use std::time::Duration;
use walk::NotFound;

/// Most meters answer within this; it decides how wide a gap between registers is read over.
const USUAL_TURNAROUND: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["profile", "holding", "input", "coil", "discrete"])))]
pub(super) struct Arguments {
    /// A serial port, `tcp://HOST[:PORT]`, or `rtu+tcp://HOST:PORT` for RTU frames through a device server.
    #[arg(value_name = "PORT")]
    port: String,
    /// The device's Modbus address.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=255))]
    unit: u8,
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    baud: u32,
    /// none, even or odd.
    #[arg(long, default_value = "none", value_parser = parity)]
    parity: Parity,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    stop_bits: u8,
    /// How long to wait for an answer to begin.
    #[arg(long, default_value = "1s", value_parser = config::duration)]
    timeout: Duration,
    /// Every point of this profile.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Holding registers from this address on, counted from 0, as in `0x10+4`.
    #[arg(long, value_name = "ADDRESS[+N]")]
    holding: Option<String>,
    /// Input registers.
    #[arg(long, value_name = "ADDRESS[+N]")]
    input: Option<String>,
    /// Coils.
    #[arg(long, value_name = "ADDRESS[+N]")]
    coil: Option<String>,
    /// Discrete inputs.
    #[arg(long, value_name = "ADDRESS[+N]")]
    discrete: Option<String>,
    /// What the registers hold: u16 s16 u32 s32 u64 s64 f32 f64 bcd16 bcd32 string:N bits.
    #[arg(long = "type", value_name = "TYPE", conflicts_with_all = ["profile", "coil", "discrete"])]
    format: Option<String>,
    /// Every type and order side by side, the plausible ones first, with the line for a profile.
    #[arg(long, conflicts_with_all = ["profile", "coil", "discrete", "format"])]
    all_orders: bool,
    /// With --all-orders: what the meter's display shows, as in `225..235`.
    #[arg(long, value_name = "MIN..MAX", requires = "all_orders", value_parser = range, allow_hyphen_values = true)]
    range: Option<(f64, f64)>,
    /// With --all-orders: the time between its two readings.
    #[arg(long, value_name = "DURATION", requires = "all_orders", default_value = "1s", value_parser = config::duration)]
    moment: Duration,
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    capture: CaptureArguments,
}

/// What was asked, and what came.
struct Answers {
    samples: Vec<Sample>,
    octets: Vec<Option<Vec<u8>>>,
    failures: Vec<Failure>,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let question = match question::of(&arguments) {
        Ok(question) => question,
        Err((exit, why)) => {
            complain(&format_args!("linesman read: {why}"));
            return exit;
        }
    };
    let (capture, recording) = match arguments.capture.start() {
        Ok(capture) => capture.unzip(),
        Err(exit) => return exit,
    };
    let tap = capture.map_or_else(Tap::none, |capture| capture.tap(&line(&question.port)));
    let exit = if arguments.all_orders {
        all_orders(&arguments, &question, tap)
    } else {
        answer(&arguments, &question, tap)
    };
    match recording.map_or(Ok(()), Recording::finish) {
        Ok(()) => exit,
        Err(error) => {
            complain(&format_args!("linesman read: the capture is not whole: {error}"));
            Exit::Io
        }
    }
}

/// The port as a capture calls it.
fn line(port: &PortConfig) -> LineConfig {
    let host = match port {
        PortConfig::Serial(serial) => {
            serial.port.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
        PortConfig::Tcp { address, .. } | PortConfig::RtuOverTcp { address } => address.clone(),
    };
    let (name, port) = (Name::from_host(&host), port.clone());
    LineConfig { name, port, devices: Vec::new(), max_probe: bus::MAX_PROBE }
}

fn answer(arguments: &Arguments, question: &Question, tap: Tap) -> Exit {
    let (question, answers) = match walked(arguments, question, tap) {
        Ok(both) => both,
        Err(failure) => {
            complain(&format_args!("linesman read: {failure}"));
            return Exit::Io;
        }
    };
    let question = &question;
    if arguments.json {
        show::json(arguments, question, &answers);
    } else {
        show::table(question, &answers);
    }
    for failure in &answers.failures {
        complain(&format_args!("linesman read: {failure}"));
    }
    // A refusal is an answer; silence and noise are none.
    let answered = answers.octets.iter().any(Option::is_some)
        || answers.failures.iter().any(|failure| matches!(failure, Failure::Exception { .. }));
    if answered { Exit::Done } else { Exit::Io }
}

fn all_orders(arguments: &Arguments, question: &Question, tap: Tap) -> Exit {
    let given = arguments.input.as_deref().map(|given| ("input", given));
    let given = given.or_else(|| arguments.holding.as_deref().map(|given| ("holding", given)));
    let registers = given.ok_or_else(String::new).and_then(|(table, given)| orders::registers(table, given));
    let registers = match registers {
        Ok(registers) => registers,
        Err(why) => {
            complain(&format_args!("linesman read: {why}"));
            return Exit::Usage;
        }
    };
    let read = Session::open(&question.port).and_then(|session| {
        let mut session = session.with_tap(tap);
        orders::read(&mut session, arguments.unit, registers, arguments.timeout, arguments.moment)
    });
    match read {
        Ok(read) => {
            let meanings = orders::meanings(&read, arguments.range);
            if arguments.json {
                show::orders_json(arguments, &read, &meanings);
            } else {
                show::orders(&read, &meanings);
            }
            Exit::Done
        }
        Err(failure) => {
            complain(&format_args!("linesman read: {failure}"));
            // A refusal is an answer.
            if matches!(failure, Failure::Exception { .. }) { Exit::Done } else { Exit::Io }
        }
    }
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let right = || format!("{text:?}: expected MIN..MAX, as in 225..235");
    let (least, most) = text.split_once("..").ok_or_else(right)?;
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number(least).zip(number(most)).filter(|(least, most)| least <= most).ok_or_else(right)
}

fn port(arguments: &Arguments) -> Result<PortConfig, String> {
    if let Some(port) = super::network::port(&arguments.port)? {
        return Ok(port);
    }
    let Arguments { baud, parity, stop_bits, .. } = *arguments;
    Ok(PortConfig::Serial(SerialConfig { parity, stop_bits, ..SerialConfig::new(&arguments.port, baud) }))
}

/// Where the device says itself what it offers, that is asked first.
fn walked(arguments: &Arguments, question: &Question, tap: Tap) -> Result<(Question, Answers), NotFound> {
    let mut session = Session::open(&question.port)?.with_tap(tap);
    let mut profile = Arc::clone(&question.profile);
    if profile.walks {
        let chain = walk::walk(&mut session, arguments.unit, arguments.timeout)?;
        if !arguments.json {
            say(&format_args!("SunSpec, {chain}"));
        }
        profile = Arc::new(chain.profile());
    }
    let question = Question { port: question.port.clone(), profile, raw: question.raw };
    let answers = ask(arguments, &question, &mut session);
    Ok((question, answers))
}

fn ask(arguments: &Arguments, question: &Question, session: &mut Session) -> Answers {
    let points = question.profile.points.len();
    let all: Vec<usize> = (0..points).collect();
    let mut answers =
        Answers { samples: vec![Err(Bad::NotYet); points], octets: vec![None; points], failures: Vec::new() };
    let terms =
        Terms { cost: question.port.wire_cost(), turnaround: USUAL_TURNAROUND, lessons: &Lessons::default() };
    let plan = |points: &[usize]| plan_points(&question.profile, points, &terms);
    let mut blocks: Vec<Block> = plan(&all);
    blocks.reverse();
    while let Some(block) = blocks.pop() {
        match session.read(arguments.unit, block.request, arguments.timeout) {
            Ok(data) => answers.take(&question.profile, &block, &data),
            Err(Failure::Exception { code: 2 | 3, .. }) if block.points.len() > 1 => {
                // One of them is to blame: each is asked by itself.
                blocks.extend(block.points.iter().rev().flat_map(|point| plan(&[*point])));
            }
            Err(failure) => {
                let bad = match &failure {
                    Failure::Exception { code, .. } => Bad::Exception(*code),
                    Failure::Silence { .. } => Bad::NoReply,
                    Failure::Garbled { .. } => Bad::Garbled,
                    Failure::TwoAnswers { .. } => Bad::TwoAnswers,
                    Failure::Port { .. } => Bad::LineDown,
                };
                block.points.iter().for_each(|point| answers.samples[*point] = Err(bad));
                let nobody = matches!(failure, Failure::Silence { .. } | Failure::Port { .. });
                answers.failures.push(failure);
                if nobody {
                    // Who does not answer one question is not asked the next.
                    blocks
                        .iter()
                        .flat_map(|b| &b.points)
                        .for_each(|point| answers.samples[*point] = Err(bad));
                    break;
                }
            }
        }
    }
    answers.complete(&question.profile);
    answers
}

impl Answers {
    /// Now that all is there: the points whose value others scale.
    fn complete(&mut self, profile: &Profile) {
        let field =
            |(point, octets): (usize, &Option<Vec<u8>>)| Some(Field { point, octets: Ok(octets.clone()?) });
        let fields: Vec<Field> = self.octets.iter().enumerate().filter_map(field).collect();
        for (index, sample) in normalize::samples(profile, &fields) {
            self.samples[index] = sample;
        }
    }

    fn take(&mut self, profile: &Profile, block: &Block, data: &[u8]) {
        for index in &block.points {
            let Some(point) = profile.points.get(*index) else { continue };
            let octets = block.octets_of(point, data);
            if octets.is_none() {
                self.samples[*index] = Err(Bad::Garbled);
            }
            self.octets[*index] = octets;
        }
    }
}

fn parity(word: &str) -> Result<Parity, String> {
    profile::parity(word).ok_or_else(|| "none, even or odd".to_owned())
}
