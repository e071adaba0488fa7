//! `linesman demo`: simulated meters on real pseudo-terminals, and the whole gateway polling them.
//!
//! Nothing here is a shortcut: the meters speak Modbus RTU octet by octet at 9600 baud, the gateway is
//! the one that `run` runs, from a configuration file that is left beside the readings to be looked at.

mod plant;
mod screen;

use super::{Exit, complain, say};
use crate::app::{self, Outside, Started};
use crate::config::{self, Config, Overlays};
use crate::model::{Clock, Reading, SystemClock};
use plant::Plant;
use screen::Screen;
use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Readings that the table has not drawn yet; what is more passes it by.
const READINGS: usize = 256;
/// How often the table is drawn.
const FRAME: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End after this long, with a summary, as in `20s` or `5m`; without it the demo goes on until Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = config::duration)]
    span: Option<Duration>,
    /// Forward to this broker as well, as in `mqtt://127.0.0.1:1883`.
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,
    /// Where configuration, spool, readings and the simulator's truth go; made if it is not there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let screen = if std::io::stdout().is_terminal() { Screen::full() } else { Screen::lines() };
    // The table owns the terminal: only what somebody must act on may break into it.
    app::logging::start(if screen.is_full() { "off" } else { "warn" });
    let dir = arguments.dir.clone().unwrap_or_else(own_folder);
    // Ports have absolute names, and the readings' path should be of use in another folder too.
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let result = prepare(&dir, arguments.mqtt.as_deref()).and_then(|(plant, config)| {
        let runtime = super::runtime(2)?;
        runtime.block_on(play(config, plant, screen, arguments.span))
    });
    match result {
        Ok(()) => {
            say(&format_args!("readings: {}", dir.join(plant::READINGS).display()));
            Exit::Done
        }
        Err(error) => {
            complain(&format_args!("linesman demo: {}", super::chain(error.as_ref())));
            Exit::Failed
        }
    }
}

/// Two demos at once must not share a spool.
fn own_folder() -> PathBuf {
    std::env::temp_dir().join(format!("linesman-demo-{}", std::process::id()))
}

fn prepare(dir: &Path, mqtt: Option<&str>) -> Result<(Plant, Config), Box<dyn Error>> {
    std::fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let file = plant::write_configuration(dir, mqtt)?;
    let plant = Plant::start(dir)?;
    let config = config::load(&file, &Overlays::default()).map_err(|problems| problems.to_string())?;
    Ok((plant, config))
}

async fn play(
    config: Config,
    plant: Plant,
    mut screen: Screen,
    span: Option<Duration>,
) -> Result<(), Box<dyn Error>> {
    let stop = CancellationToken::new();
    let orders = super::run::listen_to_signals(&stop)?;
    let (readings_tx, mut readings) = mpsc::channel::<Reading>(READINGS);
    let (started_tx, started) = oneshot::channel::<Started>();
    let site = config.site();
    let clock = Arc::new(SystemClock);
    let outside = Outside {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        stop: stop.clone(),
        orders,
        loader: Box::new(move || Err(config::Problems::one("the demo does not reload"))),
        capture: None,
        onlooker: Some(readings_tx),
        started: Box::new(move |started| drop(started_tx.send(started))),
    };
    let running = tokio::spawn(app::run(config, outside));
    let Ok(started) = started.await else {
        running.await??;
        return Err("the gateway did not start".into());
    };
    screen.begin(&site, &plant);
    let mut frames = tokio::time::interval(FRAME);
    let end = async {
        match span {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            () = stop.cancelled() => break,
            Some(reading) = readings.recv() => screen.take(&reading),
            _ = frames.tick() => screen.draw(&snapshot(&started), clock.utc()),
        }
    }
    stop.cancel();
    let at_the_end = snapshot(&started);
    running.await??;
    while let Ok(reading) = readings.try_recv() {
        screen.take(&reading);
    }
    plant.stop()?;
    screen.summary(&at_the_end, &snapshot(&started));
    Ok(())
}

fn snapshot(started: &Started) -> crate::serve::status::Snapshot {
    crate::serve::status::snapshot(&started.sources.borrow())
}
