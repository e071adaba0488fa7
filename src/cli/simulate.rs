//! `linesman simulate`: is a meter, or several, on a pseudo-terminal or a TCP port.

use super::{Exit, complain, say};
use crate::profile;
use crate::sim::wire::WireConfig;
use crate::sim::{self, Fault, Faults, Meter};
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
    #[arg(long = "profile", value_name = "PROFILE[@UNIT]", required = true)]
    profiles: Vec<String>,
    /// Serve on a pseudo-terminal, and put a link to it here.
    #[arg(long, value_name = "PATH")]
    pty: Option<PathBuf>,
    /// Serve Modbus TCP here, as in `127.0.0.1:1502`; port 0 takes a free one and says which.
    #[arg(long, value_name = "ADDRESS")]
    tcp: Option<SocketAddr>,
    /// The pace of the line (8N1).
    #[arg(long, default_value_t = 9600, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    baud: u32,
    /// What goes wrong: crc=P, drop=P, noise=P (0 to 1), late=MS, echo, exception=N@ADDRESS, dead,
    /// dead@FROM-TO (seconds); with UNIT: before it for one meter only. May be given several times.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// Another seed gives other values and other chances.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let meters = match meters(&arguments) {
        Ok(meters) => meters,
        Err(error) => {
            complain(&format_args!("linesman simulate: {error}"));
            return Exit::Config;
        }
    };
    let faults = Faults::new(arguments.faults.clone(), arguments.seed);
    if arguments.tcp.is_some() && faults.only_serial() {
        complain(
            &"linesman simulate: crc, echo and noise are faults of a serial line; TCP has drop, late, exception and dead",
        );
        return Exit::Usage;
    }
    let served = super::runtime(2).map_err(Box::<dyn Error>::from).and_then(|runtime| {
        runtime.block_on(async {
            match (&arguments.pty, arguments.tcp) {
                (Some(path), _) => on_a_terminal(path, meters, faults, arguments.baud).await,
                (None, Some(address)) => on_a_port(address, meters, faults).await,
                (None, None) => Err("neither --pty nor --tcp".into()),
            }
        })
    });
    match served {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format_args!("linesman simulate: {}", super::chain(error.as_ref())));
            Exit::Io
        }
    }
}

fn meters(arguments: &Arguments) -> Result<Vec<Meter>, Box<dyn Error>> {
    let mut meters: Vec<Meter> = Vec::new();
    for given in &arguments.profiles {
        let (name, unit) = given.rsplit_once('@').unwrap_or((given, "1"));
        let unit: u8 = unit
            .parse()
            .ok()
            .filter(|unit| (1..=247).contains(unit))
            .ok_or_else(|| format!("{given}: the unit id is 1 to 247, not {unit:?}"))?;
        if meters.iter().any(|meter| meter.unit() == unit) {
            return Err(format!("{given}: two meters have unit id {unit}").into());
        }
        let profile = profile::find(name, Path::new("."), &[PathBuf::from(profile::OWN_FOLDER)])?;
        meters.push(Meter::new(profile, unit, arguments.seed));
    }
    Ok(meters)
}

async fn on_a_terminal(
    path: &Path,
    meters: Vec<Meter>,
    faults: Faults,
    baud: u32,
) -> Result<(), Box<dyn Error>> {
    let names = describe(&meters);
    let path = Some(path.to_owned());
    let wire = sim::wire::start(WireConfig { meters, baud, path, turnaround: TURNAROUND, faults })?;
    say(&format_args!("{} at {baud} baud, 8N1: {names}", wire.path().display()));
    until_told_to_stop().await?;
    Ok(wire.stop()?)
}

async fn on_a_port(address: SocketAddr, meters: Vec<Meter>, faults: Faults) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
    say(&format_args!("tcp://{}: {}", listener.local_addr()?, describe(&meters)));
    let stop = CancellationToken::new();
    let serving = sim::tcp::serve(listener, meters, faults, Duration::ZERO, stop.clone());
    tokio::select! {
        served = serving => Ok(served?),
        told = until_told_to_stop() => Ok(told?),
    }
}

fn describe(meters: &[Meter]) -> String {
    let each = meters.iter().map(|meter| format!("{} (unit {})", meter.profile().name, meter.unit()));
    each.collect::<Vec<_>>().join(", ")
}

async fn until_told_to_stop() -> std::io::Result<()> {
    let stop = CancellationToken::new();
    let _orders = super::run::listen_to_signals(&stop)?;
    stop.cancelled().await;
    Ok(())
}
