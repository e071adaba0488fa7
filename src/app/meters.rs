//! Who the meters are and how their counters ran, kept over a restart: `meters.json` in the spool's folder.
//!
//! `{"format":1,"devices":{NAME:{"identity":SERIAL,"counters":{POINT:{"last":VALUE,"total":VALUE}}}}}`, exact decimals as
//! texts, with checksums of what the profile meant by them and, after a fall, where the counter stood. Written each ten
//! minutes and at a stop, and at once when there is news: a meter or counter is new, a meter was exchanged, a
//! counter has fallen, risen again, rolled over. What a power cut or a `kill -9` loses of the counting between is made up
//! for by the first reading after it, since a total goes on from the last value that was kept; only where the counter was
//! reset, or the meter exchanged, while nobody looked is what was counted since the file was written lost. A file that can't be
//! read is no reason not to start, but it is said: totals begin anew and any meter is taken for the one that is meant.

use super::Gateway;
use crate::bus::{self, DeviceConfig, Scan};
use crate::config::{Chains, Config};
use crate::model::status::MeterStatus;
use crate::model::{Event, EventKind, IdentityRule, Name, Reading};
use crate::normalize::{Kept, News, Normalizer};
use crate::spool::document;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const FILE: &str = "meters.json";
const FORMAT: u32 = 1;
/// A thousand devices with a hundred counters each; what is larger is not ours.
const LARGEST: u64 = 64 << 20;
/// A card of the field is written as rarely as this.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// News goes there at once, but not for ever: a counter that falls with every other reading gets this between two …
const BETWEEN_NEWS: Duration = Duration::from_secs(10);
/// … after so much of it that a reset, and what follows, need not wait.
const NEWS_AHEAD: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    devices: Kept,
}

/// Of each device: its line, and whether another meter may take its place.
pub(super) type Rules = BTreeMap<Name, (Name, IdentityRule)>;

pub(super) fn rules(config: &Config) -> Rules {
    let devices = config.lines.iter().flat_map(|line| line.devices.iter().map(move |device| (line, device)));
    devices
        .map(|(line, device)| (device.name.clone(), (line.name.clone(), device.identity.clone())))
        .collect()
}

/// What is known of the meters, of each device of which there is something to say.
pub(super) type Known = Arc<BTreeMap<Name, MeterStatus>>;

/// The normaliser, with what it remembers kept and what it finds told.
pub(super) struct Meters {
    normalizer: Normalizer,
    rules: watch::Receiver<Arc<Rules>>,
    events: mpsc::Sender<Event>,
    shown: watch::Sender<Known>,
    path: PathBuf,
    kept: Kept,
    keep_at: Instant,
    /// Something is to be kept at once.
    is_news: bool,
    /// As if each news had been written with its time between; what is ahead of now has been written in advance.
    news_until: Instant,
    /// A slow card holds up nobody.
    writing: Option<JoinHandle<()>>,
}

impl Meters {
    pub(super) fn open(
        folder: &Path,
        rules: watch::Receiver<Arc<Rules>>,
        events: mpsc::Sender<Event>,
        shown: watch::Sender<Known>,
    ) -> Meters {
        let path = folder.join(FILE);
        let kept = match document::read(&path, FORMAT, LARGEST) {
            Ok(Document { devices, .. }) => devices,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::new(),
            Err(error) => {
                let file = path.display();
                tracing::warn!(%file, %error, "what was known of the meters can't be read; totals begin anew");
                Kept::new()
            }
        };
        let normalizer = Normalizer::remembering(&kept);
        shown.send_replace(Arc::new(normalizer.meters()));
        let (news_until, keep_at) = (Instant::now(), Instant::now() + KEEP_EVERY);
        let (is_news, writing) = (false, None);
        Meters { normalizer, rules, events, shown, path, kept, keep_at, is_news, news_until, writing }
    }

    pub(super) fn reading(&mut self, scan: &Scan) -> Reading {
        let rules = Arc::clone(&self.rules.borrow());
        let (line, rule) = match rules.get(&scan.device) {
            Some((line, rule)) => (Some(line), rule),
            None => (None, &IdentityRule::Hold),
        };
        let (reading, news) = self.normalizer.reading(scan, rule, false);
        for news in news {
            self.tell(scan, line, news);
        }
        reading
    }

    fn tell(&self, scan: &Scan, line: Option<&Name>, news: News) {
        let device = &scan.device;
        let (kind, text) = match news {
            News::Exchanged { from, to, accepted: true } => {
                (EventKind::MeterExchanged, format!("the meter {from} was exchanged for {to}"))
            }
            News::Exchanged { from, to, accepted: false } => (
                EventKind::OtherMeter,
                format!(
                    "another meter answers: {to} instead of {from}; its values are held. If it was exchanged, write \
                     `identity: \"{to}\"` at this device of the configuration and reload"
                ),
            ),
            News::Nameless { known } => (
                EventKind::NamelessMeter,
                format!(
                    "the meter does not say its serial number, which should be {known}; its values are held until it \
                     does. If it is the right one all the same, write `identity: accept` at this device of the \
                     configuration and reload"
                ),
            ),
            News::CountersAnew { points } => {
                let points = points.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
                (
                    EventKind::CounterReset,
                    format!(
                        "the profile reads these counters otherwise than before; they and their totals begin anew: {points}"
                    ),
                )
            }
            News::CounterReset { point, from, to } => {
                (EventKind::CounterReset, format!("the counter {point} was reset: {to} after {from}"))
            }
            News::CounterBack { point, from, to } => (
                EventKind::CounterBack,
                format!("the counter {point} is back: {to} after {from}; it was not reset"),
            ),
        };
        tracing::warn!(%device, "{text}");
        if let Some(line) = line {
            let event = Event { ts: scan.ts, kind, line: line.clone(), device: Some(device.clone()), text };
            // The log has it; the chronicle has room for what comes rarely.
            let _ = self.events.try_send(event);
        }
    }

    /// After a batch: tells who the meters are, and keeps what is known where it is time to.
    pub(super) fn look(&mut self) {
        let changed = self.normalizer.take_changed();
        if changed.shown {
            self.shown.send_replace(Arc::new(self.normalizer.meters()));
        }
        self.is_news |= changed.kept;
        let (now, busy) =
            (Instant::now(), self.writing.as_ref().is_some_and(|writing| !writing.is_finished()));
        let at_once = self.is_news && self.news_until <= now + NEWS_AHEAD;
        if busy || !at_once && now < self.keep_at {
            return;
        }
        if at_once {
            self.news_until = self.news_until.max(now) + BETWEEN_NEWS;
        }
        (self.keep_at, self.is_news) = (now + KEEP_EVERY, false);
        if let Some(write) = self.news() {
            self.writing = Some(tokio::task::spawn_blocking(write));
        }
    }

    fn news(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        let known = self.normalizer.kept();
        if known == self.kept {
            return None;
        }
        self.kept = known.clone();
        let path = self.path.clone();
        Some(move || {
            if let Err(error) = write(&path, known) {
                let file = path.display();
                tracing::warn!(%file, %error, "what is known of the meters can't be kept for the next start");
            }
        })
    }

    /// At the end, after the writing that is under way.
    pub(super) async fn close(mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        if let Some(write) = self.news() {
            let _ = tokio::task::spawn_blocking(write).await;
        }
    }
}

impl Gateway {
    /// What devices that say themselves what they offer have said, now or before the last restart.
    pub(super) fn found_chains(&self) -> Chains {
        let devices = self.config.lines.iter().flat_map(|line| &line.devices);
        let walked: Vec<_> = devices.filter(|device| device.wishes.is_some()).collect();
        if walked.is_empty() {
            return Chains::new();
        }
        let now = self.parts.memories();
        let chain = |device: &&DeviceConfig| {
            let name = device.name.as_str();
            let of = |memory: &bus::Memory| memory.get(name)?.chain_of(device.unit).cloned();
            let chain = now.iter().find_map(|line| of(&line.borrow())).or_else(|| of(self.memory.kept()))?;
            Some((device.name.clone(), chain))
        };
        walked.iter().filter_map(chain).collect()
    }

    /// Tells the far end which meters there are, by the serial numbers that they have said, and what those offer that
    /// say it themselves.
    pub(super) fn name_the_meters(&mut self) {
        let meters = Arc::clone(&self.meters.borrow_and_update());
        self.memory.told = self.found_chains();
        let mut site = self.config.site_with(&self.memory.told);
        for device in &mut site.devices {
            device.identity = meters.get(&device.name).and_then(|meter| meter.identity.clone());
        }
        self.site.send_if_modified(|known| {
            let changed = **known != site;
            if changed {
                *known = Arc::new(site);
            }
            changed
        });
    }
}

fn write(path: &Path, devices: Kept) -> io::Result<()> {
    document::replace(path, &serde_json::to_vec(&Document { format: FORMAT, devices })?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bus::Field;
    use crate::model::Timestamp;
    use std::fs;

    pub(crate) fn meters(folder: &Path) -> (Meters, mpsc::Receiver<Event>, watch::Receiver<Known>) {
        let rules = watch::Sender::new(Arc::new(Rules::from([(
            "m".parse().unwrap(),
            ("l".parse().unwrap(), IdentityRule::Hold),
        )])));
        let (events, heard) = mpsc::channel(8);
        let shown = watch::Sender::default();
        let seen = shown.subscribe();
        (Meters::open(folder, rules.subscribe(), events, shown), heard, seen)
    }

    fn scan(serial: u16, count: u16) -> Scan {
        let text = "profile: 1\nvendor: A\nmodel: B\nkind: other\npoints:
  serial_number: { holding: 0, type: u16 }
  e: { holding: 1, type: u16, index: true, total: true }
";
        let field = |(point, n): (usize, u16)| Field { point, octets: Ok(n.to_be_bytes().to_vec()) };
        Scan {
            device: "m".parse().unwrap(),
            profile: Arc::new(crate::profile::parse("p", "p.yaml", text).unwrap()),
            ts: Timestamp(5),
            took: Duration::ZERO,
            fields: [serial, count].into_iter().enumerate().map(field).collect(),
        }
    }

    #[tokio::test]
    async fn totals_and_serial_numbers_survive_a_restart_and_a_stranger_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, _, seen) = meters(dir.path());
        first.reading(&scan(7, 65_535));
        first.look();
        assert_eq!(
            seen.borrow().values().map(|meter| meter.identity.clone().unwrap()).collect::<Vec<_>>(),
            ["7"]
        );
        first.close().await;
        let (mut second, mut heard, seen) = meters(dir.path());
        assert_eq!(seen.borrow().len(), 1, "known from the start");
        let total = |reading: Reading| format!("{:?}", reading.samples.last().unwrap().1);
        let totals = [1, 1, 2, 3].map(|count| total(second.reading(&scan(7, count))));
        assert!(totals[0].contains("CounterFell") && totals[3].contains("65539"), "{totals:?}");
        assert!(total(second.reading(&scan(8, 2))).contains("Identity"));
        let event = heard.try_recv().unwrap();
        assert_eq!((event.kind, event.device.unwrap().as_str()), (EventKind::OtherMeter, "m"));
        assert!(event.text.contains("identity: \"8\""), "{}", event.text);
    }

    #[tokio::test]
    async fn what_a_kill_could_not_be_made_up_for_is_on_disk_at_once_and_ordinary_counting_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (mut meters, ..) = meters(dir.path());
        let mut on_disk = Vec::new();
        for count in [500, 501, 3, 4, 6, 7] {
            meters.reading(&scan(7, count));
            meters.look();
            if let Some(writing) = meters.writing.take() {
                writing.await.unwrap();
            }
            let kept: Document = document::read(&dir.path().join(FILE), FORMAT, LARGEST).unwrap();
            on_disk.push(kept.devices["m"].counters["e"].total.clone());
        }
        // Nothing is written for 501 and 7; 3 is not believed, 4 is a reset, 6 shows that it counts.
        assert_eq!(on_disk, ["500", "500", "500", "501", "504", "504"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_counter_that_falls_again_and_again_does_not_wear_out_the_card() {
        let dir = tempfile::tempdir().unwrap();
        let (mut meters, ..) = meters(dir.path());
        let (mut writes, seconds) = (0, 1200);
        for second in 0..seconds {
            let count = if second % 3 == 0 { 500 + second } else { 0 };
            meters.reading(&scan(7, count));
            meters.look();
            if let Some(writing) = meters.writing.take() {
                writing.await.unwrap();
                writes += 1;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((100..=130).contains(&writes), "{writes} in {seconds} s");
    }

    #[tokio::test]
    async fn news_while_a_slow_card_writes_is_written_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut meters, ..) = meters(dir.path());
        let (free, freed) = tokio::sync::oneshot::channel::<()>();
        meters.writing = Some(tokio::spawn(async move { freed.await.unwrap() }));
        meters.reading(&scan(7, 500));
        meters.look();
        assert!(!dir.path().join(FILE).exists());
        free.send(()).unwrap();
        meters.writing.as_mut().unwrap().await.unwrap();
        meters.reading(&scan(7, 501));
        meters.look();
        meters.writing.take().unwrap().await.unwrap();
        assert!(dir.path().join(FILE).exists());
    }

    #[test]
    fn a_file_that_is_not_ours_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", r#"{"format":2,"devices":{}}"#] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _inside = runtime.enter();
            assert!(meters(dir.path()).0.kept.is_empty(), "{text}");
        }
    }
}
