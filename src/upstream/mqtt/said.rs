//! What a session says beside records: status, meta, events, gaps.

use super::layout::{Heard, Layout, Said, Standing};
use super::session::{Ended, Session};
use super::window::What;
use crate::encode::json;
use std::sync::Arc;
use tokio::time::Instant;

impl Session<'_> {
    pub(super) fn say_status(&mut self) {
        let backlog = self.work.reader.account().borrow().pending;
        let site = Arc::clone(&self.work.site.borrow());
        let said = {
            let uplink = self.work.link.name().map(|name| name.as_str());
            let standing = Standing { version: self.work.version, backlog, uplink };
            self.speaker(&site).status(standing)
        };
        self.words.extend(said);
        self.had_backlog = backlog > 0;
        self.status_due = Instant::now() + self.policy().status_every;
    }

    /// The good-bye.
    pub(super) fn say_offline(&mut self) {
        let site = Arc::clone(&self.work.site.borrow());
        let said = self.speaker(&site).offline();
        self.words.extend(said);
    }

    /// Hands over what is to be said of ourselves, as far as there is room.
    pub(super) fn say_words(&mut self) -> Result<(), Ended> {
        while self.has_room()
            && let Some(Said { topic, retain, payload }) = self.words.pop_front()
        {
            self.publish(What::Word, &topic, retain, payload)?;
        }
        Ok(())
    }

    /// Subscribes to what the layout wants to hear.
    pub(super) fn listen(&mut self) -> Result<(), Ended> {
        let filters = self.config.layout.subscriptions();
        if filters.is_empty() {
            return Ok(());
        }
        self.pipe.subscribe(filters).map(drop).map_err(Ended::Trouble)
    }

    pub(super) fn heard(&mut self, topic: &str, payload: &[u8]) -> Result<(), Ended> {
        let Layout::HomeAssistant(discovery) = &self.config.layout else { return Ok(()) };
        let site = Arc::clone(&self.work.site.borrow());
        match discovery.hear(topic, payload, &site) {
            Heard::Started => self.say_meta()?,
            Heard::Gone(topic) => {
                tracing::info!(upstream = %self.work.name, topic, "a meter that is not configured any more is taken back");
                self.words.push_back(Said { topic, retain: true, payload: Vec::new() });
            }
            Heard::Nothing => {}
        }
        Ok(())
    }

    pub(super) fn say_meta(&mut self) -> Result<(), Ended> {
        let site = Arc::clone(&self.work.site.borrow_and_update());
        self.every = site.devices.iter().map(|device| (device.name.clone(), device.every)).collect();
        let meta = self.speaker(&site).meta(self.work.version, |topic| self.room(topic));
        let meta = meta.map_err(|error| Ended::Trouble(format!("meta cannot be written: {error}")))?;
        if let Some(batches) = &mut self.batches {
            batches.describe(&site, meta.describes);
        }
        for what in meta.left_out {
            tracing::warn!(upstream = %self.work.name, "left out: {what}");
        }
        self.words.extend(meta.said);
        Ok(())
    }

    /// Events go before records: they are few, and somebody waits for them.
    pub(super) fn tell_events(&mut self) -> Result<(), Ended> {
        while self.has_room() {
            let Some((number, event)) = self.work.events.borrow().after(self.told) else { break };
            let site = Arc::clone(&self.work.site.borrow());
            let mut said = self.speaker(&site).event(&event).into_iter();
            if let Some(Said { topic, retain, payload }) = said.next() {
                self.publish(What::Event(number), &topic, retain, payload)?;
            }
            self.words.extend(said);
            self.told = number;
        }
        self.say_words()
    }

    /// Every loss is announced until it is acknowledged.
    pub(super) async fn tell_gaps(&mut self) -> Result<(), Ended> {
        let account = self.work.reader.account();
        let is_new = |told: Option<u64>, id: u64| told.is_none_or(|told| id > told);
        if !account.borrow().gaps.iter().any(|gap| is_new(self.gap_told, gap.id)) {
            return Ok(());
        }
        for gap in self.work.reader.gaps().await? {
            if !is_new(self.gap_told, gap.id) || !self.has_room() {
                continue;
            }
            let loss = json::Loss { from: gap.from, to: gap.to, count: gap.count, reason: &gap.reason };
            let site = Arc::clone(&self.work.site.borrow());
            let Said { topic, retain, payload } = self.speaker(&site).gap(&loss);
            self.publish(What::Gap(gap.id), &topic, retain, payload)?;
            self.gap_told = Some(gap.id);
        }
        Ok(())
    }
}
