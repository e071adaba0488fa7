//! `linesman run`: the service, in the foreground.

use super::{CaptureArguments, ConfigArguments, Exit, say};
use crate::app::{self, Order, Outside, Started};
use crate::bus::capture::{Capture, Recording};
use crate::config::{self, Config, Overlays};
use crate::model::SystemClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Reload requests that may wait; one more while one waits changes nothing.
const ORDERS: usize = 1;
/// Two: a TLS handshake or a slow disk on one must not hold the other up.
const WORKERS: usize = 2;

/// At the end, what writes a last file is waited for, but no name server that does not answer.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    from: ConfigArguments,
    #[command(flatten)]
    capture: CaptureArguments,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    app::logging::start("info");
    match super::runtime(WORKERS) {
        Ok(runtime) => {
            let exit = runtime.block_on(run(arguments));
            runtime.shutdown_timeout(LAST_WORDS);
            exit
        }
        Err(error) => {
            super::complain(&format_args!("linesman: cannot start: {error}"));
            Exit::Failed
        }
    }
}

async fn run(arguments: Arguments) -> Exit {
    // Before anything else: a stop that comes while we start is a stop as asked.
    let stop = CancellationToken::new();
    let orders = match listen_to_signals(&stop) {
        Ok(orders) => orders,
        Err(error) => {
            super::complain(&format_args!("linesman: cannot listen to signals: {error}"));
            return Exit::Failed;
        }
    };
    let overlays = Overlays::from_environment(arguments.from.set);
    let path = arguments.from.config;
    let config = match config::load(&path, &overlays) {
        Ok(config) => config,
        Err(problems) => {
            super::complain(&problems);
            return Exit::Config;
        }
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let (capture, recording) = match arguments.capture.start() {
        Ok(capture) => capture.unzip(),
        Err(exit) => return exit,
    };
    let loader = Box::new(move || config::load(&path, &overlays));
    let exit = serve(config, capture, loader, stop, orders).await;
    finish(recording);
    exit
}

/// The lines have stopped: what they said last goes to the file. A capture that failed has said so already.
fn finish(recording: Option<Recording>) {
    if let Some(Err(error)) = recording.map(Recording::finish) {
        tracing::error!(%error, "the capture is not whole");
    }
}

async fn serve(
    config: Config,
    capture: Option<Capture>,
    loader: app::Loader,
    stop: CancellationToken,
    orders: mpsc::Receiver<Order>,
) -> Exit {
    let (lines, devices, gateway) = (config.lines.len(), devices_of(&config), config.gateway.clone());
    let started = Box::new(move |started: Started| {
        if let Some(address) = started.http {
            say(&format_args!("listening on http://{address}"));
        }
        tracing::info!(%gateway, version = app::VERSION, lines, devices, "running");
    });
    let clock = Arc::new(SystemClock);
    let outside = Outside { clock, stop, orders, loader, onlooker: None, capture, started };
    match app::run(config, outside).await {
        Ok(()) => {
            tracing::info!("stopped as asked");
            Exit::Done
        }
        Err(error) => {
            super::complain(&super::chain(&error));
            exit_of(&error)
        }
    }
}

fn devices_of(config: &Config) -> usize {
    config.lines.iter().map(|line| line.devices.len()).sum()
}

fn exit_of(error: &app::RunError) -> Exit {
    match error {
        app::RunError::Spool(_) | app::RunError::Line { .. } | app::RunError::Listen { .. } => Exit::Io,
        app::RunError::PartEnded(_) => Exit::Failed,
    }
}

/// SIGTERM and SIGINT stop, SIGHUP reloads.
pub(super) fn listen_to_signals(stop: &CancellationToken) -> std::io::Result<mpsc::Receiver<Order>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (orders, orders_in) = mpsc::channel(ORDERS);
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => stop.cancel(),
                _ = interrupt.recv() => stop.cancel(),
                // A reload that already waits will see this change too.
                Some(()) = hangup.recv() => { let _ = orders.try_send(Order::Reload); }
            }
        }
    });
    Ok(orders_in)
}
