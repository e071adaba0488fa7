//! What arrives at the far end: mosquitto_sub in a child process, its messages read back as records.

use crate::gateway::{Kept, PATIENCE, until};
use linesman::model::{Clock as _, SystemClock};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::mpsc;

/// One record as it came: who, when, which, and its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `d` for live, `h` for history.
    pub lane: String,
    pub device: String,
    pub ts: i64,
    /// When it was seen here, on the same clock.
    pub seen: i64,
    pub epoch: String,
    pub seq: u64,
    pub text: String,
}

impl Record {
    /// The values as they are written, not as a parser would round them.
    pub fn values(&self) -> BTreeMap<String, String> {
        #[derive(serde::Deserialize)]
        struct Body {
            values: BTreeMap<String, Box<RawValue>>,
        }
        let body: Body = serde_json::from_str(&self.text).unwrap();
        body.values.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
    }

    pub fn bad(&self) -> BTreeMap<String, String> {
        let body: Value = serde_json::from_str(&self.text).unwrap();
        body.get("bad").map_or_else(BTreeMap::new, |bad| serde_json::from_value(bad.clone()).unwrap())
    }
}

/// A subscriber; gone when it is dropped.
pub struct Inbox {
    _child: Kept,
    lines: mpsc::Receiver<String>,
    /// Every record, in the order of arrival.
    pub records: Vec<Record>,
    /// Every other message: topic below the prefix, payload.
    pub others: Vec<(String, String)>,
}

impl Inbox {
    /// Subscribes to everything below `linesman/{gateway}`; returns once the broker has confirmed it.
    pub fn open(port: u16, gateway: &str) -> Inbox {
        // Quality of service 0: the broker passes a message on before it acknowledges it to the gateway,
        // so that what was acknowledged has been seen here even if the broker is killed at once.
        Inbox::open_by(Command::new("stdbuf"), port, gateway)
    }

    /// The same in a network namespace.
    pub fn inside(namespace: &str, port: u16, gateway: &str) -> Inbox {
        Inbox::open_by(crate::netns::inside(namespace, "stdbuf"), port, gateway)
    }

    fn open_by(mut command: Command, port: u16, gateway: &str) -> Inbox {
        command
            .args(["-oL", "mosquitto_sub", "-d", "-V", "mqttv311", "-q", "0", "-h", "127.0.0.1", "-p"])
            .args([port.to_string(), "-t".to_owned(), format!("linesman/{gateway}/#")])
            .args(["-F", "> %t %p"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = Kept::spawn(&mut command).expect("mosquitto_sub is missing: run tests/run once");
        let lines = child.output();
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("mosquitto_sub did not subscribe");
            if line.starts_with("Subscribed") {
                return Inbox { _child: child, lines, records: Vec::new(), others: Vec::new() };
            }
        }
    }

    /// Takes what has arrived since.
    pub fn take(&mut self) -> &[Record] {
        let before = self.records.len();
        for line in self.lines.try_iter() {
            let Some((topic, payload)) = line.strip_prefix("> ").and_then(|line| line.split_once(' ')) else {
                continue; // mosquitto_sub's own chatter
            };
            let mut levels = topic.split('/').skip(2);
            match (levels.next(), levels.next()) {
                (Some(lane @ ("d" | "h")), Some(device)) => {
                    self.records.extend(records(lane, device, payload))
                }
                (Some(other), _) => self.others.push((other.to_owned(), payload.to_owned())),
                (None, _) => {}
            }
        }
        &self.records[before..]
    }

    /// Waits until what has arrived fulfils a condition.
    pub fn until<T>(&mut self, what: &str, mut probe: impl FnMut(&[Record]) -> Option<T>) -> T {
        until(what, || {
            self.take();
            probe(&self.records)
        })
    }

    /// The records by epoch, in the order in which the epochs first appeared, each with its numbers as they came.
    pub fn epochs(&self) -> Vec<(String, Vec<u64>)> {
        let mut epochs: Vec<(String, Vec<u64>)> = Vec::new();
        for record in &self.records {
            match epochs.iter_mut().find(|(epoch, _)| *epoch == record.epoch) {
                Some((_, numbers)) => numbers.push(record.seq),
                None => epochs.push((record.epoch.clone(), vec![record.seq])),
            }
        }
        epochs
    }
}

/// The records of one message: one, or an array of them.
fn records(lane: &str, device: &str, payload: &str) -> Vec<Record> {
    let texts: Vec<Box<RawValue>> = if payload.starts_with('[') {
        serde_json::from_str(payload).unwrap()
    } else {
        vec![serde_json::from_str(payload).unwrap_or_else(|error| panic!("{error}: {payload}"))]
    };
    let record = |text: Box<RawValue>| {
        let body: Value = serde_json::from_str(text.get()).unwrap();
        Record {
            lane: lane.to_owned(),
            device: device.to_owned(),
            ts: body["ts"].as_i64().unwrap(),
            seen: SystemClock.utc().0,
            epoch: body["epoch"].as_str().unwrap().to_owned(),
            seq: body["seq"].as_u64().unwrap(),
            text: text.get().to_owned(),
        }
    };
    texts.into_iter().map(record).collect()
}

/// The numbers of one epoch that never came, up to the highest that did.
pub fn missing(inbox: &Inbox, epoch: &str) -> Vec<u64> {
    let of_epoch = inbox.records.iter().filter(|record| record.epoch == epoch);
    let numbers: BTreeSet<u64> = of_epoch.map(|record| record.seq).collect();
    let last = numbers.last().copied().unwrap_or(0);
    (1..=last).filter(|number| !numbers.contains(number)).collect()
}

/// Holds what has arrived of one epoch against the promise: within each lane, what comes for the first time comes in
/// order (a number may come again).
pub fn assert_in_order(inbox: &Inbox, epoch: &str) {
    let of_epoch = inbox.records.iter().filter(|record| record.epoch == epoch);
    let (mut seen, mut highest) = (BTreeSet::new(), BTreeMap::new());
    for record in of_epoch.filter(|record| seen.insert(record.seq)) {
        let before = highest.insert(&record.lane, record.seq).unwrap_or(0);
        let Record { lane, seq, .. } = record;
        assert!(before < *seq, "epoch {epoch}, lane {lane}: {seq} came after {before}");
    }
}

/// The same, and that none is missing from 1 on.
pub fn assert_none_missing(inbox: &Inbox, epoch: &str) {
    let missing = missing(inbox, epoch);
    assert!(missing.is_empty(), "epoch {epoch}: {missing:?} never came, though later ones did");
    assert_in_order(inbox, epoch);
}
