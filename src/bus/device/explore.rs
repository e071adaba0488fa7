//! What a walk along its models means for a device.

use super::{Device, Job, Periods};
use crate::bus::DeviceConfig;
use crate::bus::along::Along;
use crate::bus::explorer::{Explored, Explorer};
use crate::bus::job::Health;
use crate::bus::learned::Learned;
use crate::model::{Bad, Mono, Name};
use crate::profile::Every;
use crate::profile::sunspec::{self, Chain, Walk};
use std::sync::Arc;

/// Illegal data address: what is not there.
const ILLEGAL_ADDRESS: u8 = 2;

/// What a scan's walk came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Other points than before: the device is to be fitted with these when the scan is closed.
    pub found: Option<Chain>,
    /// Why there are none.
    pub bad: Option<Bad>,
    /// Whether it says what it offers, or what it says instead.
    pub says: Option<Result<(), String>>,
    /// There was a walk: that is something to tell even where no point was read.
    pub walked: bool,
}

/// How often something is read: a device that was not walked yet has no point, but its turn all the same.
pub(in crate::bus) fn turns(config: &DeviceConfig) -> Vec<Every> {
    let usual = config.wishes.as_ref().filter(|_| config.every.is_empty()).map(|wishes| wishes.usual());
    config.every.iter().copied().chain(usual).collect()
}

impl Device {
    /// What has to be read before anything else.
    pub(super) fn walk(&self) -> Option<Walk> {
        self.explorer.as_ref().and_then(Explorer::begin)
    }

    /// The port or connection was away: the device may be another.
    pub(in crate::bus) fn look_again(&mut self) {
        self.explorer.iter_mut().for_each(Explorer::look_again);
    }

    /// Takes in what a scan says of where the device's points are. `refused` are the exceptions of those that were
    /// refused for what they are.
    pub(super) fn explored(&mut self, job: &mut Job, refused: &[u8], now: Mono) -> Outcome {
        let Some(explorer) = &mut self.explorer else { return Outcome::default() };
        let silent = job.verdict() == Health::Silent;
        if silent {
            explorer.silent();
        } else if refused.contains(&ILLEGAL_ADDRESS) {
            explorer.look_again();
        }
        if let Some(octets) = self.config.profile.identity.and_then(|point| job.octets(point)) {
            explorer.heard_serial(&sunspec::text(octets));
        }
        let Some(walk) = job.take_walk() else { return Outcome::default() };
        let explored = explorer.take(&walk);
        let (name, unit) = (&self.config.name, self.config.unit);
        let plain = Outcome { walked: true, ..Outcome::default() };
        match explored {
            Explored::Same => Outcome { says: Some(Ok(())), ..plain },
            Explored::Found(chain) => {
                tracing::info!(device = %name, unit, "SunSpec, {chain}");
                Outcome { found: Some(chain), says: Some(Ok(())), ..plain }
            }
            Explored::Not { bad, pause, why } => {
                self.rest_until = now.plus(pause);
                Outcome { bad: Some(bad), says: Some(Err(why)), ..plain }
            }
            Explored::Unfinished => Outcome { bad: Some(job.last_bad()), ..plain },
        }
    }

    /// Points of which the configuration says how often they are read, and which this device has not.
    fn say_what_is_missing(&self) {
        let (config, points) = (&self.config, &self.config.profile.points);
        let wished = config.wishes.iter().flat_map(|wishes| &wishes.points).map(|(name, _)| name);
        let missing: Vec<&str> =
            wished.filter(|name| points.iter().all(|point| point.name != **name)).map(Name::as_str).collect();
        if !missing.is_empty() {
            let points = missing.join(", ");
            tracing::warn!(device = %config.name, unit = config.unit, "the configuration names points that it has not: {points}");
        }
    }

    /// Other points from now on: nothing that was learned of the old ones holds, and all are due.
    pub(super) fn refit(&mut self, chain: &Chain, now: Mono) {
        let config = Arc::new(self.config.with_chain(chain));
        self.periods = Periods::new(&turns(&config), now, 0, 1);
        self.learned = Learned::default();
        self.along = Along::new(&config);
        self.plans.forget();
        self.owed.clear();
        self.second.clear();
        self.hopeless.clear();
        self.config = config;
        self.say_what_is_missing();
    }
}
