//! A new configuration takes the place of the old one while the gateway runs.

use super::gateway::Gateway;
use super::parts::PartId;
use super::{Loader, RunError, meters, notify};
use crate::bus::LineConfig;
use crate::config::Config;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A reload waits this long for a changed part to end; one that takes longer begins again when it
/// has ended, and nobody else waits for it.
const RELOAD_STOP: Duration = Duration::from_secs(5);

impl Gateway {
    /// Takes a new configuration over, or refuses it whole and goes on with the old one.
    pub(super) async fn reload(&mut self, loader: &Loader) -> Result<(), RunError> {
        let new = match loader() {
            Ok(new) => new,
            Err(problems) => {
                tracing::error!("the new configuration is refused, the old one stays in force:\n{problems}");
                notify(&[sd_notify::NotifyState::Status(
                    "new configuration refused; running on the old one",
                )]);
                return Ok(());
            }
        };
        self.say_what_needs_a_restart(&new);
        let mut changed = self.changed_parts(&new);
        let (exchanged, deaf) = self.exchange_devices(&new);
        changed.extend(deaf);
        let overdue = self.parts.stop(&changed, Instant::now() + RELOAD_STOP).await;
        for part in &overdue {
            tracing::error!(%part, "did not end in time; it begins again when it has ended");
        }
        let names: Vec<String> = new.upstreams.iter().map(|u| u.name.to_string()).collect();
        self.spool.set_upstreams(&names).await;
        self.rules.send_replace(Arc::new(meters::rules(&new)));
        self.watchdog.forget(&changed);
        let old = &self.config;
        let (spool, http, uplinks) = (old.spool.clone(), old.http.clone(), old.uplinks.clone());
        self.config = Config { spool, http, uplinks, ..new };
        self.name_the_meters();
        self.start_missing()?;
        self.publish_sources();
        tracing::info!(
            config = %self.config.hash,
            begun_again = %named(&changed),
            devices_exchanged = %named(&exchanged),
            "configuration reloaded; everything else goes on"
        );
        notify(&[sd_notify::NotifyState::Status("running")]);
        Ok(())
    }

    /// Starts the lines and upstreams that the configuration names and that do not run: those that a reload changes, and
    /// those that took longer to stop than it waited.
    pub(super) fn start_missing(&mut self) -> Result<(), RunError> {
        for upstream in self.config.upstreams.clone() {
            if !self.parts.has(&PartId::Upstream(upstream.name.clone())) {
                self.start_upstream(upstream);
            }
        }
        for line in self.config.lines.clone() {
            if !self.parts.has(&PartId::Line(line.name.clone())) {
                self.start_line(line)?;
            }
        }
        Ok(())
    }

    fn say_what_needs_a_restart(&self, new: &Config) {
        let old = &self.config;
        let differs = [
            ("spool", new.spool != old.spool),
            ("http", new.http != old.http),
            ("clock", new.clock != old.clock),
            ("uplinks", new.uplinks != old.uplinks),
        ];
        for (key, _) in differs.iter().filter(|(_, differs)| *differs) {
            tracing::warn!("`{key}:` changed; that takes effect at the next restart");
        }
    }

    /// Has lines of which only the devices change read the new ones; says which lines these are, and which do not listen and
    /// have to begin again whole. The devices that are as they were go on, and the port stays open.
    fn exchange_devices(&mut self, new: &Config) -> (Vec<PartId>, Vec<PartId>) {
        let changed = new.lines.iter().filter(|line| !self.config.lines.contains(line));
        let goes_on =
            changed.filter(|line| self.config.lines.iter().any(|old| differs_in_devices(old, line)));
        let (mut exchanged, mut deaf) = (Vec::new(), Vec::new());
        for line in goes_on {
            let id = PartId::Line(line.name.clone());
            if self.parts.exchange(&id, line.devices.clone()) {
                self.watchdog.bear_with(&line.name, patience(line));
                exchanged.push(id);
            } else {
                deaf.push(id);
            }
        }
        (exchanged, deaf)
    }

    /// Running lines and upstreams that the new configuration changes or no longer names. A new name of
    /// the gateway changes every upstream in whose topics it stands.
    fn changed_parts(&self, new: &Config) -> Vec<PartId> {
        let stays =
            |old: &LineConfig| new.lines.iter().any(|line| line == old || differs_in_devices(old, line));
        let lines = self.config.lines.iter().filter(|old| !stays(old));
        let upstreams = self.config.upstreams.iter().filter(|old| !new.upstreams.contains(old));
        lines
            .map(|line| PartId::Line(line.name.clone()))
            .chain(upstreams.map(|upstream| PartId::Upstream(upstream.name.clone())))
            .collect()
    }
}

/// The same line, of which somebody else is to be asked.
fn differs_in_devices(old: &LineConfig, new: &LineConfig) -> bool {
    let same = |line: &LineConfig| (line.name.clone(), line.port.clone(), line.max_probe);
    same(old) == same(new) && old.devices != new.devices
}

/// The longest that one question on this line may take.
pub(super) fn patience(line: &LineConfig) -> Duration {
    line.devices.iter().map(|device| device.timeout).max().unwrap_or_default()
}

fn named(parts: &[PartId]) -> String {
    if parts.is_empty() {
        return "none".to_owned();
    }
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
