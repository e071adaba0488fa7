//! What a session says beside records: status, meta, events, gaps.

use super::layout::{Heard, Layout, Said, Standing};
use super::session::{Ended, Session};
use super::window::What;
use crate::encode::json;
use crate::model::{Event, EventKind};
use std::sync::Arc;
use tokio::time::Instant;

/// Of what exists, so many messages between readings.
const META_AT_A_TIME: usize = 2;

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
    pub(super) fn offline(&self) -> Vec<Said> {
        let site = Arc::clone(&self.work.site.borrow());
        self.speaker(&site).offline()
    }

    pub(super) fn has_said_all(&self) -> bool {
        self.words.is_empty() && self.meta.is_empty()
    }

    pub(super) fn forget_words(&mut self) {
        self.words.clear();
        self.meta.clear();
    }

    /// Hands over what is to be said of ourselves: all of it before the first record, and after that a little at a time, for
    /// what exists may be a lot, and readings wait behind it.
    pub(super) fn say_words(&mut self) -> Result<(), Ended> {
        while self.has_room()
            && let Some(said) = self.words.pop_front()
        {
            self.say(said)?;
        }
        let most = if self.meta_was_said { META_AT_A_TIME } else { usize::MAX };
        for _ in 0..most {
            if !self.has_room() {
                return Ok(());
            }
            let Some(said) = self.meta.pop_front() else { break };
            self.say(said)?;
        }
        self.meta_was_said |= self.meta.is_empty();
        Ok(())
    }

    fn say(&mut self, Said { topic, retain, payload }: Said) -> Result<(), Ended> {
        self.publish(What::Word, &topic, retain, payload)
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
        match discovery.hear(topic, payload, &self.speaker(&site)) {
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
        // In the place of what was not said yet.
        self.meta = meta.said.into();
        Ok(())
    }

    /// Events go before records: they are few, and somebody waits for them.
    pub(super) fn tell_events(&mut self) -> Result<(), Ended> {
        while self.has_room() {
            let Some((number, event)) = self.work.events.borrow().after(self.told) else { break };
            let site = Arc::clone(&self.work.site.borrow());
            self.note_lost(&event);
            let mut said = self.speaker(&site).event(&event);
            // The last one is the event: what goes with it has arrived before it counts as told.
            let last = said.pop();
            for said in said {
                self.say(said)?;
            }
            if let Some(Said { topic, retain, payload }) = last {
                self.publish(What::Event(number), &topic, retain, payload)?;
            }
            self.told = number;
        }
        Ok(())
    }

    /// Who is away is said again with what exists.
    fn note_lost(&mut self, event: &Event) {
        match (&event.device, event.kind) {
            (Some(device), EventKind::DeviceLost) => drop(self.work.lost.insert(device.clone())),
            (Some(device), EventKind::DeviceFound) => drop(self.work.lost.remove(device)),
            _ => {}
        }
    }

    /// Every loss is announced until it is acknowledged.
    pub(super) async fn tell_gaps(&mut self) -> Result<(), Ended> {
        for gap in self.work.gaps_after(self.gap_told).await? {
            if !self.has_room() {
                break;
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
