//! What a session says beside records: status, meta, events, gaps.

use super::session::{Ended, Session};
use super::window::What;
use crate::encode::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Status is said again after this, and when the backlog has come to nothing.
const STATUS_EVERY: Duration = Duration::from_secs(60);

impl Session<'_> {
    pub(super) fn say_status(&mut self) -> Result<(), Ended> {
        let backlog = self.work.reader.account().borrow().pending;
        let config = self.work.site.borrow().config_hash.clone();
        let payload = json::online(self.work.clock.utc(), self.work.version, &config, backlog);
        self.had_backlog = backlog > 0;
        self.status_due = Instant::now() + STATUS_EVERY;
        self.publish(What::Word, &format!("{}/status", self.config.topic), true, payload)
    }

    pub(super) fn say_meta(&mut self) -> Result<(), Ended> {
        let site = Arc::clone(&self.work.site.borrow_and_update());
        self.every = site.devices.iter().map(|device| (device.name.clone(), device.every)).collect();
        let topic = format!("{}/meta", self.config.topic);
        let most = self.greeting.room(&topic);
        let meta = json::meta(&site, most);
        let meta = meta.map_err(|error| Ended::Trouble(format!("meta cannot be written: {error}")))?;
        if let Some(batches) = &mut self.batches {
            batches.describe(&site, meta.is_some());
        }
        let Some(payload) = meta else {
            tracing::warn!(upstream = %self.work.name, octets = most, "meta is larger than what is sent at once and is left out; batches bring their names, which costs");
            return Ok(());
        };
        self.publish(What::Word, &topic, true, payload)
    }

    /// Events go before records: they are few, and somebody waits for them.
    pub(super) fn tell_events(&mut self) -> Result<(), Ended> {
        while self.window.has_room() {
            let Some((number, event)) = self.work.events.borrow().after(self.told) else { break };
            let topic = format!("{}/event", self.config.topic);
            self.publish(What::Event(number), &topic, false, json::event(&event))?;
            self.told = number;
        }
        Ok(())
    }

    /// Every loss is announced until it is acknowledged.
    pub(super) async fn tell_gaps(&mut self) -> Result<(), Ended> {
        let account = self.work.reader.account();
        let is_new = |told: Option<u64>, id: u64| told.is_none_or(|told| id > told);
        if !account.borrow().gaps.iter().any(|gap| is_new(self.gap_told, gap.id)) {
            return Ok(());
        }
        for gap in self.work.reader.gaps().await? {
            if !is_new(self.gap_told, gap.id) || !self.window.has_room() {
                continue;
            }
            let loss = json::Loss { from: gap.from, to: gap.to, count: gap.count, reason: &gap.reason };
            let payload = json::gap(self.work.clock.utc(), &loss, None);
            self.publish(What::Gap(gap.id), &format!("{}/event", self.config.topic), false, payload)?;
            self.gap_told = Some(gap.id);
        }
        Ok(())
    }
}
