//! A scan of what is behind an address: a Modbus TCP host, or the line behind a device server.

use super::Context;
use super::identify;
use crate::bus::capture::Tap;
use crate::bus::scan::{Asks, End, Found, Pastime, Progress, WatchHost, sweep_host};
use crate::bus::{self, Failure, LineConfig, PortConfig, Session, WireCost};
use crate::modbus::Ask;
use crate::model::Name;
use std::time::Duration;

/// Gateways give the line behind them its own time.
const TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn scan(
    port: &str,
    config: PortConfig,
    context: &mut Context<'_>,
) -> Result<(End, Pastime), Failure> {
    let (name, line) = (Name::from_host(port), config.clone());
    let line = LineConfig { name, port: line, devices: Vec::new(), max_probe: bus::MAX_PROBE };
    let tap = context.capture.as_ref().map_or_else(Tap::none, |capture| capture.tap(&line));
    let session = Some(Session::open(&config)?.with_tap(tap.clone()));
    let mut host = Host { config, tap, session };
    let (patience, stop) = (context.arguments.timeout.unwrap_or(TIMEOUT), context.stop.clone());
    let units = context.arguments.units.0.clone();
    let mut watching = Watching { port, cost: host.config.wire_cost(), context };
    sweep_host(&mut host, &units, patience, &stop, &mut watching)
}

/// A host that may close the connection over a unit id that it does not like.
struct Host {
    config: PortConfig,
    tap: Tap,
    session: Option<Session>,
}

impl Asks for Host {
    fn ask(&mut self, unit: u8, ask: Ask, patience: Duration) -> Result<Vec<u8>, Failure> {
        let session = match self.session.take() {
            Some(session) => self.session.insert(session),
            None => self.session.insert(Session::open(&self.config)?.with_tap(self.tap.clone())),
        };
        match session.read(unit, ask, patience) {
            Err(Failure::Port { .. }) => {
                self.session = None;
                Err(Failure::Silence { unit, patience, hint: "" })
            }
            other => other,
        }
    }
}

struct Watching<'a, 'b> {
    port: &'a str,
    cost: WireCost,
    context: &'a mut Context<'b>,
}

impl WatchHost for Watching<'_, '_> {
    fn found(&mut self, host: &mut dyn Asks, found: Found) -> Result<(), Failure> {
        let identified = identify::identify(host, found, self.cost, &self.context.library)?;
        self.context.tell(self.port, identified);
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        let found = self.context.found(self.port);
        self.context.screen.progress(progress, found);
    }

    fn any_unit(&mut self) {
        self.context.screen.say(&format_args!(
            "{}: answers to every unit id: one device, of which the unit id does not matter",
            self.port
        ));
    }
}
