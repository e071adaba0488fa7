//! `linesman simulate`: is a meter, or several, on a pseudo-terminal or a TCP port.

use super::{Exit, complain, say};
use crate::modbus::Framing;
use crate::modbus::rtu::Pace;
use crate::profile;
use crate::sim::tcp::TcpConfig;
use crate::sim::wire::{Statistics, WireConfig};
use crate::sim::{self, Fault, Faults, Meter, fault};
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What a meter takes to think of its answer.
const TURNAROUND: Duration = Duration::from_millis(15);

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["pty", "tcp"])))]
pub(super) struct Arguments {
    /// The meter's profile, with its unit id if it is not 1, as in `eastron-sdm120@5`; once for each meter.
    #[arg(long = "profile", value_name = "PROFILE[@UNIT[/BAUD]]", required = true)]
    profiles: Vec<String>,
    /// Serve on a pseudo-terminal, and put a link to it here.
    #[arg(long, value_name = "PATH")]
    pty: Option<PathBuf>,
    /// Serve Modbus TCP here, as in `127.0.0.1:1502`; port 0 takes a free one and says which. With --framing
    /// it is serial frames over TCP instead.
    #[arg(long, value_name = "ADDRESS")]
    tcp: Option<SocketAddr>,
    /// With --pty: how frames are told apart, rtu unless given. With --tcp: serve frames of this kind over
    /// TCP, as serial device servers pass them on (`--tcp … --framing rtu` is RTU over TCP).
    #[arg(long, value_enum)]
    framing: Option<FramingWord>,
    /// The pace of the line.
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    baud: u32,
    /// Data bits: 7 with ASCII framing, as a rule. A pseudo-terminal has none: this and the next two make
    /// the pace only.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(7..=8))]
    data_bits: u8,
    /// Parity: a bit more a character, unless none.
    #[arg(long, value_enum, default_value_t = ParityWord::None)]
    parity: ParityWord,
    /// Stop bits.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    stop_bits: u8,
    /// What a meter takes from the request's end to its answer's begin; 15 on a line and 0 on TCP unless
    /// given.
    #[arg(long, value_name = "MS")]
    turnaround: Option<u64>,
    /// With --tcp: answer requests that wait at the same time in any order.
    #[arg(long, requires = "tcp", conflicts_with = "framing")]
    shuffle: bool,
    #[arg(long = "fault", value_name = "FAULT", help = faults_help())]
    faults: Vec<Fault>,
    /// Another seed gives other values and other chances.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FramingWord {
    Rtu,
    Ascii,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ParityWord {
    None,
    Even,
    Odd,
}

fn faults_help() -> String {
    format!("What goes wrong; may be given several times: {}", fault::WORDS)
}

impl Arguments {
    fn framing(&self) -> Option<Framing> {
        self.framing.map(|word| match word {
            FramingWord::Rtu => Framing::Rtu,
            FramingWord::Ascii => Framing::Ascii,
        })
    }

    fn pace(&self) -> Pace {
        Pace::new(self.baud, self.parity != ParityWord::None, self.stop_bits).with_data_bits(self.data_bits)
    }

    fn turnaround(&self, usual: Duration) -> Duration {
        self.turnaround.map_or(usual, Duration::from_millis)
    }

    /// What was asked for and can't be.
    fn contradiction(&self) -> Option<&'static str> {
        let any = |so: fn(&Fault) -> bool| self.faults.iter().any(so);
        match (self.tcp, self.framing()) {
            (None, Some(Framing::Ascii)) if any(|fault| fault.kind == fault::Kind::Strict) => {
                Some("strict is for RTU: ASCII frames need no silence between them")
            }
            (None, Some(Framing::Rtu) | None) if self.data_bits == 7 => {
                Some("7 data bits are for --framing ascii: RTU needs all eight")
            }
            (Some(_), None) if any(Fault::not_on_modbus_tcp) => Some(
                "crc, noise, garble, short, echo, strict, babble and master are faults of a serial line; \
                 Modbus TCP has drop, late, turnaround, jitter, foreign, stale, twin, exception and dead",
            ),
            (Some(_), Some(_)) if any(Fault::not_without_a_wire) => {
                Some("echo, strict, babble and master are faults of a wire, which --tcp does not pace")
            }
            _ => None,
        }
    }
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let meters = match meters(&arguments) {
        Ok(meters) => meters,
        Err(error) => {
            complain(&format_args!("linesman simulate: {error}"));
            return Exit::Config;
        }
    };
    if let Some(contradiction) = arguments.contradiction() {
        complain(&format_args!("linesman simulate: {contradiction}"));
        return Exit::Usage;
    }
    let served = super::runtime(2).map_err(Box::<dyn Error>::from).and_then(|runtime| {
        runtime.block_on(async {
            match (&arguments.pty, arguments.tcp) {
                (Some(path), _) => on_a_terminal(path, meters, &arguments).await,
                (None, Some(address)) => on_a_port(address, meters, &arguments).await,
                (None, None) => Err("neither --pty nor --tcp".into()),
            }
        })
    });
    match served {
        Ok(seen) => {
            say(&report(&seen));
            Exit::Done
        }
        Err(error) => {
            complain(&format_args!("linesman simulate: {}", super::chain(error.as_ref())));
            Exit::Io
        }
    }
}

fn meters(arguments: &Arguments) -> Result<Vec<Meter>, Box<dyn Error>> {
    let mut meters: Vec<Meter> = Vec::new();
    for given in &arguments.profiles {
        let (name, at) = given.rsplit_once('@').unwrap_or((given, "1"));
        let (unit, baud) = at.split_once('/').map_or((at, None), |(unit, baud)| (unit, Some(baud)));
        let unit: u8 = unit
            .parse()
            .ok()
            .filter(|unit| (1..=247).contains(unit))
            .ok_or_else(|| format!("{given}: the unit id is 1 to 247, not {unit:?}"))?;
        if meters.iter().any(|meter| meter.unit() == unit) {
            return Err(format!("{given}: two meters have unit id {unit}").into());
        }
        let profile = profile::find(name, Path::new("."), &[PathBuf::from(profile::OWN_FOLDER)])?;
        let meter = Meter::new(profile, unit, arguments.seed);
        meters.push(match baud {
            None => meter,
            Some(_) if arguments.tcp.is_some() => {
                return Err(format!("{given}: a baud rate needs a line (--pty)").into());
            }
            Some(baud) => meter.at_baud(rate(given, baud)?),
        });
    }
    Ok(meters)
}

fn rate(given: &str, baud: &str) -> Result<u32, String> {
    let rate = baud.parse().ok().filter(|baud| (50..=4_000_000).contains(baud));
    rate.ok_or_else(|| format!("{given}: the baud rate is 50 to 4000000, not {baud:?}"))
}

async fn on_a_terminal(
    path: &Path,
    meters: Vec<Meter>,
    arguments: &Arguments,
) -> Result<Statistics, Box<dyn Error>> {
    let names = describe(&meters);
    let framing = arguments.framing().unwrap_or_default();
    let wire = sim::wire::start(WireConfig {
        pace: arguments.pace(),
        framing,
        path: Some(path.to_owned()),
        turnaround: arguments.turnaround(TURNAROUND),
        faults: Faults::new(arguments.faults.clone(), arguments.seed),
        ..WireConfig::new(meters, arguments.baud)
    })?;
    let parity = match arguments.parity {
        ParityWord::None => 'N',
        ParityWord::Even => 'E',
        ParityWord::Odd => 'O',
    };
    let bits = format!("{}{parity}{}", arguments.data_bits, arguments.stop_bits);
    let ascii = if framing == Framing::Ascii { " ASCII" } else { "" };
    say(&format_args!("{} at {} baud, {bits}{ascii}: {names}", wire.path().display(), arguments.baud));
    until_told_to_stop().await?;
    let seen = wire.statistics();
    wire.stop()?;
    Ok(seen)
}

async fn on_a_port(
    address: SocketAddr,
    meters: Vec<Meter>,
    arguments: &Arguments,
) -> Result<Statistics, Box<dyn Error>> {
    let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
    let over = match arguments.framing() {
        None => "",
        Some(Framing::Rtu) => " (RTU over TCP)",
        Some(Framing::Ascii) => " (ASCII over TCP)",
    };
    say(&format_args!("tcp://{}{over}: {}", listener.local_addr()?, describe(&meters)));
    let config = TcpConfig {
        faults: Faults::new(arguments.faults.clone(), arguments.seed),
        turnaround: arguments.turnaround(Duration::ZERO),
        framing: arguments.framing(),
        shuffle: arguments.shuffle,
        ..TcpConfig::new(meters)
    };
    let seen = config.statistics.subscribe();
    let serving = sim::tcp::serve_with(listener, config, CancellationToken::new());
    tokio::select! {
        served = serving => served?,
        told = until_told_to_stop() => told?,
    }
    Ok(*seen.borrow())
}

fn describe(meters: &[Meter]) -> String {
    let each = meters.iter().map(|meter| format!("{} (unit {})", meter.profile().name, meter.unit()));
    each.collect::<Vec<_>>().join(", ")
}

/// A line for whoever has stopped it.
fn report(seen: &Statistics) -> String {
    let silence = seen.shortest_silence.map_or_else(
        || "none measured".to_owned(),
        |silence| format!("{:.3} ms", silence.as_secs_f64() * 1e3),
    );
    format!(
        "requests: {}, replies: {}, not understood: {}, too soon: {}, shortest silence: {silence}",
        seen.requests, seen.replies, seen.not_understood, seen.too_soon
    )
}

async fn until_told_to_stop() -> std::io::Result<()> {
    let stop = CancellationToken::new();
    let _orders = super::run::listen_to_signals(&stop)?;
    stop.cancelled().await;
    Ok(())
}
