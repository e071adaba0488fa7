//! A spool with records, an upstream that lives and is killed, and what must be true of both ends.

use super::end::{Arrival, End, Far, Id};
use linesman::model::{Chronicle, Dating, DeviceInfo, Name, Reading, Site, SystemClock, Timestamp, Value};
use linesman::record;
use linesman::spool::{self, Account, Spool};
use linesman::upstream::{self, Surroundings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// For what must happen; never what is measured.
const PATIENCE: Duration = Duration::from_secs(120);
const DEVICES: [&str; 3] = ["a", "b", "c"];
const START: i64 = 1_763_766_000_000;

pub struct Plant {
    pub far: Far,
    word: &'static str,
    spool: Spool,
    folder: tempfile::TempDir,
    sampled: BTreeMap<Id, i64>,
    runtime: Runtime,
}

impl Plant {
    pub fn new(end: &End) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let config = spool::Config { dir: folder.path().join("spool"), ..spool::Config::default() };
        let far = (end.start)(folder.path());
        let runtime = runtime();
        let spool = spool::start(config, &["u".to_owned()]).unwrap();
        Plant { far, word: end.word, spool, folder, sampled: BTreeMap::new(), runtime }
    }

    /// Puts so many more records into the spool.
    pub fn sample(&mut self, count: usize) -> Vec<Id> {
        (0..count).map(|_| self.put(1)).collect()
    }

    /// One record with thousands of points.
    pub fn sample_large(&mut self) {
        self.put(14_000);
    }

    fn put(&mut self, points: usize) -> Id {
        let n = i64::try_from(self.sampled.len()).unwrap();
        let device = DEVICES[self.sampled.len() % DEVICES.len()];
        let value = |n: i64| Ok(Value::Number(u64::try_from(n).unwrap().into()));
        let reading = Reading {
            device: device.parse().unwrap(),
            ts: Timestamp(START + n),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: std::iter::once(("n".parse().unwrap(), value(n)))
                .chain((1..points).map(|point| (format!("p{point}").parse().unwrap(), value(n))))
                .collect(),
        };
        let appended = self.spool.writer();
        self.runtime.block_on(async {
            appended.append(reading.ts.0, record::encode(&reading)).await.unwrap();
            self.spool.commit().await.unwrap();
        });
        let id = (device.to_owned(), reading.ts.0);
        self.sampled.insert(id.clone(), n);
        id
    }

    /// An upstream lives for so long and is killed where it stands.
    pub fn run_for(&self, span: Duration) {
        let life = self.begin();
        let end = Instant::now() + span;
        self.runtime.block_on(async { tokio::time::sleep_until(end.into()).await });
        life.shutdown_background();
    }

    pub fn run_until_all_is_settled(&self) {
        let life = self.begin();
        let mut account = self.spool.reader("u").unwrap().account();
        let settled = account.wait_for(|account| account.pending == 0 && account.sampled > 0);
        let settled =
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, settled).await.map(|_| ()) });
        let now = self.account();
        assert!(settled.is_ok(), "{}: {now:?}", self.word);
        life.shutdown_background();
    }

    fn account(&self) -> Account {
        self.spool.reader("u").unwrap().account().borrow().clone()
    }

    /// A runtime of its own, so that nothing of it is left when it is shut down.
    fn begin(&self) -> Runtime {
        let life = runtime();
        let guard = life.enter();
        let around = Surroundings {
            site: watch::channel(Arc::new(site())).1,
            events: watch::channel(Chronicle::default()).1,
            version: "0",
            refused: self.folder.path().join("refused"),
            folder: self.folder.path().to_owned(),
            clock: Arc::new(SystemClock),
            dating: watch::channel(Arc::new(Dating::default())).1,
            link: linesman::uplink::Link::default(),
            stop: CancellationToken::new(),
        };
        let config = upstream::Config::new("u".parse().unwrap(), self.far.kind(self.folder.path()));
        let running = upstream::start(config, self.spool.reader("u").unwrap(), around);
        drop(guard);
        drop(running);
        life
    }

    /// What has arrived, once so many have: some far ends are looked at by a thread.
    fn arrived(&self, distinct: usize) -> Vec<Arrival> {
        let by = Instant::now() + Duration::from_secs(5);
        loop {
            let arrived = self.far.arrived();
            let ids: BTreeSet<Id> = arrived.iter().map(Arrival::id).collect();
            if ids.len() >= distinct || Instant::now() >= by {
                return arrived;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// All of it is there or was dropped by this name, the account adds up, and what came twice is the same.
    pub fn assert_kept(&self, dropped: &[(&str, u64)]) {
        let account = self.account();
        let word = self.word;
        let by_name: BTreeMap<String, u64> =
            dropped.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(account.dropped, by_name, "{word}");
        let lost: u64 = by_name.values().sum();
        let sampled = self.sampled.len() as u64;
        assert_eq!(
            (account.sampled, account.delivered + lost, account.left_out),
            (sampled, sampled, 0),
            "{word}"
        );
        let arrived = self.arrived(self.sampled.len() - usize::try_from(lost).unwrap());
        let distinct: BTreeSet<Id> = arrived.iter().map(Arrival::id).collect();
        let missing: Vec<&Id> = self.sampled.keys().filter(|id| !distinct.contains(*id)).collect();
        assert_eq!(missing.len() as u64, lost, "{word}: missing {missing:?}");
        assert!(distinct.iter().all(|id| self.sampled.contains_key(id)), "{word}: of nobody");
        let mut numbers: BTreeMap<&(String, u64), Id> = BTreeMap::new();
        for arrival in &arrived {
            if let Some(n) = arrival.n {
                assert_eq!(self.sampled.get(&arrival.id()), Some(&n), "{word}: another value");
            }
            if let Some(number) = &arrival.number {
                let id = numbers.entry(number).or_insert_with(|| arrival.id());
                assert_eq!(*id, arrival.id(), "{word}: {number:?} is two records");
            }
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn site() -> Site {
    let device = |name: &str| DeviceInfo {
        name: name.parse().unwrap(),
        line: "l".parse().unwrap(),
        unit: 1,
        profile: "p".into(),
        vendor: "v".into(),
        model: "m".into(),
        identity: None,
        every: Duration::from_secs(1),
        points: Vec::new().into(),
    };
    let gateway: Name = "g".parse().unwrap();
    Site { gateway, config_hash: "01234567".into(), devices: DEVICES.iter().copied().map(device).collect() }
}
