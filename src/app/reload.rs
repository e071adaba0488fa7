//! A new configuration takes the place of the old one while the gateway runs.

use super::gateway::Gateway;
use super::parts::PartId;
use super::{Loader, RunError, meters, notify};
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
        let changed = self.changed_parts(&new);
        let overdue = self.parts.stop(&changed, Instant::now() + RELOAD_STOP).await;
        for part in &overdue {
            tracing::error!(%part, "did not end in time; it begins again when it has ended");
        }
        let names: Vec<String> = new.upstreams.iter().map(|u| u.name.to_string()).collect();
        self.spool.set_upstreams(&names).await;
        self.rules.send_replace(Arc::new(meters::rules(&new)));
        self.watchdog.forget(&changed);
        self.config = Config { spool: self.config.spool.clone(), http: self.config.http.clone(), ..new };
        self.name_the_meters();
        self.start_missing()?;
        self.publish_sources();
        tracing::info!(config = %self.config.hash, changed = changed.len(), "configuration reloaded");
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
        ];
        for (key, _) in differs.iter().filter(|(_, differs)| *differs) {
            tracing::warn!("`{key}:` changed; that takes effect at the next restart");
        }
    }

    /// Running lines and upstreams that the new configuration changes or no longer names. A new name of
    /// the gateway changes every upstream in whose topics it stands.
    fn changed_parts(&self, new: &Config) -> Vec<PartId> {
        let lines = self.config.lines.iter().filter(|old| !new.lines.contains(old));
        let upstreams = self.config.upstreams.iter().filter(|old| !new.upstreams.contains(old));
        lines
            .map(|line| PartId::Line(line.name.clone()))
            .chain(upstreams.map(|upstream| PartId::Upstream(upstream.name.clone())))
            .collect()
    }
}
