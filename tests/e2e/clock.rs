//! Wall clocks that are wrong, and that are set while the gateway runs: libfaketime between it and the C library.
//! The boot clock is left alone, as it is in life.

use crate::broker::{Broker, Gate};
use crate::gateway::{Gateway, is_long, linesman, until};
use crate::inbox::{Inbox, Record, assert_none_missing};
use crate::meter::{Meters, small_profile};
use crate::skipped::skipped;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How often the meter is asked.
const EVERY_MS: i64 = 200;

/// Where Debian puts libfaketime; `None` where it is not installed, which is then said.
fn libfaketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.map_while(Result::ok);
    let found =
        folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    if found.is_none() {
        skipped("libfaketime is not installed: tests/run installs it");
    }
    found
}

/// A gateway whose wall clock the test sets.
struct Faked {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Faked {
    fn new(library: PathBuf, says: &str) -> Faked {
        let faked = Faked { folder: tempfile::tempdir().unwrap(), library };
        faked.set(says);
        faked
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `+0` is the machine's own time; `@1970-01-02 00:00:10` counts from there since the start; `-1h`, `+10y` are offsets.
    fn set(&self, says: &str) {
        let new = self.path().join("faketime.new");
        fs::write(&new, format!("{says}\n")).unwrap();
        fs::rename(new, self.path().join("faketime")).unwrap();
    }

    /// From now on somebody vouches for the clock.
    fn synchronize(&self) {
        fs::write(self.path().join("synchronized"), "").unwrap();
    }

    fn start(&self, yaml: &str) -> Gateway {
        let file = self.path().join("faketime");
        let environment = [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
            // No stamp may care.
            ("TZ", "Europe/Berlin"),
        ];
        Gateway::start_under(self.path(), yaml, &environment)
    }
}

fn yaml(profile: &Path, meters: &Meters, broker: u16) -> String {
    format!(
        r#"gateway: {{ id: plant-7 }}
lines:
  - name: lan
    tcp: {{ address: "{place}" }}
    devices:
      - {{ name: meter-1, profile: {profile}, unit: 1, every: {EVERY_MS}ms }}
spool: {{ dir: spool, commit_every: 1s }}
clock: {{ sync_file: synchronized }}
upstreams:
  - name: scada
    mqtt: {{ url: "mqtt://127.0.0.1:{broker}" }}
"#,
        place = meters.place,
        profile = profile.display(),
    )
}

fn pass(span: Duration) {
    let start = Instant::now();
    until("time to pass", || (start.elapsed() >= span).then_some(()));
}

fn unsure(record: &Record) -> bool {
    record.text.contains(r#""clock":"unsure""#)
}

#[test]
fn a_boot_in_1970_polls_at_once_and_all_that_waited_is_dated_when_the_time_comes() {
    let Some(library) = libfaketime() else { return };
    let faked = Faked::new(library, "@1970-01-02 00:00:10");
    let profile = small_profile(faked.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let broker = Broker::start(faked.path());
    let gate = Gate::before(broker.port());
    gate.shut();
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let config = yaml(&profile, &meters, gate.port());
    let gateway = faked.start(&config);
    let began = gateway.now_ms();
    until("the doubt to be said", || gateway.log().contains("not known to be right yet").then_some(()));
    pass(Duration::from_secs(3));
    // A crash in between, before anybody knew the time: the boot is still the same.
    gateway.kill();
    let gateway = faked.start(&config);
    pass(Duration::from_secs(2));
    faked.set("+0");
    faked.synchronize();
    until("the time to be known", || gateway.log().contains("known to be right\n").then_some(()));
    gate.open();
    inbox.until("records of both processes, and fresh ones", |records| {
        let epochs =
            records.iter().map(|record| &record.epoch).collect::<std::collections::BTreeSet<_>>().len();
        (epochs == 2 && records.iter().any(|record| record.ts > gateway.now_ms() - 300)).then_some(())
    });
    let now = gateway.now_ms();
    for record in &inbox.records {
        assert!(!unsure(record), "known by then: {}", record.text);
        assert!((began - 1000..=now + 50).contains(&record.ts), "not within {began}..{now}: {}", record.text);
    }
    for (epoch, _) in inbox.epochs() {
        let stamps: Vec<i64> = inbox.records.iter().filter(|r| r.epoch == epoch).map(|r| r.ts).collect();
        let (first, last) = (stamps.iter().min().unwrap(), stamps.iter().max().unwrap());
        let mean = (last - first) / i64::try_from(stamps.len() - 1).unwrap();
        assert!((150..=350).contains(&mean), "{mean} ms between readings that were dated afterwards");
    }
    drop(gateway);
    let spool = faked.path().join("spool");
    let dumped = ["UTC", "Europe/Berlin", "America/St_Johns"].map(|zone| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
        command.args(["spool", "dump"]).arg(&spool).env("TZ", zone).output().unwrap().stdout
    });
    assert!(!dumped[0].is_empty() && dumped.iter().all(|dump| *dump == dumped[0]), "a time zone shows");
}

#[test]
fn what_leaves_before_the_time_is_known_is_marked_and_never_says_1970() {
    let Some(library) = libfaketime() else { return };
    let faked = Faked::new(library, "@1970-01-02 00:00:10");
    let profile = small_profile(faked.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let broker = Broker::start(faked.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let config = yaml(&profile, &meters, broker.port()) + "http: { listen: \"127.0.0.1:0\" }\n";
    let gateway = faked.start(&config);
    let url = format!("http://{}", gateway.http());
    inbox.until("some readings", |records| (records.len() > 5).then_some(()));
    // Built this year at the earliest: 1 600 000 000 000 ms is 2020.
    assert!(inbox.records.iter().all(|record| unsure(record) && record.ts > 1_600_000_000_000));
    let (_, status) = linesman(&["status", "--url", &url, "--json"]);
    assert!(status.contains(r#""clock":"unsure""#), "{status}");
    faked.set("+0");
    faked.synchronize();
    inbox.until("readings that are right", |records| {
        records.iter().rev().find(|record| !unsure(record)).map(|record| {
            let age = gateway.now_ms() - record.ts;
            assert!((-50..5000).contains(&age), "{age} ms old: {}", record.text);
        })
    });
}

#[test]
fn steps_of_the_wall_clock_by_years_and_back_by_an_hour_neither_burst_nor_stall_the_polling() {
    let Some(library) = libfaketime() else { return };
    // Ahead by hours, because a time before the build is believed of nobody, and this build is fresh.
    let faked = Faked::new(library, "+5h");
    faked.synchronize();
    let profile = small_profile(faked.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let broker = Broker::start(faked.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let gateway = faked.start(&yaml(&profile, &meters, broker.port()));
    inbox.until("the first reading", |records| records.first().map(drop));
    let start = Instant::now();
    for says in ["+5h", "+10y", "+4h"] {
        faked.set(says);
        pass(Duration::from_secs(3));
        inbox.take();
    }
    let (seen, took) = (i64::try_from(inbox.records.len()).unwrap(), start.elapsed());
    let due = i64::try_from(took.as_millis()).unwrap() / EVERY_MS;
    assert!((due * 8 / 10..=due * 11 / 10 + 2).contains(&seen), "{seen} readings where {due} were due");
    let stamps: Vec<i64> = inbox.records.iter().map(|record| record.ts).collect();
    let hours = |ms: i64| ms / 3_600_000;
    let steps: Vec<i64> =
        stamps.windows(2).map(|pair| hours(pair[1] - pair[0])).filter(|h| *h != 0).collect();
    assert!(matches!(steps[..], [forth, back] if forth > 80_000 && back < -80_000), "{steps:?}");
    let beats = stamps.windows(2).map(|pair| pair[1] - pair[0]).filter(|ms| hours(*ms) == 0);
    let mut beats: Vec<i64> = beats.collect();
    beats.sort_unstable();
    assert!(beats[0] >= 20 && beats[beats.len() - 1] <= 2000, "ms between two readings: {beats:?}");
    let late = beats[beats.len() * 99 / 100] - EVERY_MS;
    assert!(!is_long() || late <= 50, "polls late by {late} ms (99 %)");
    for (epoch, numbers) in inbox.epochs() {
        assert_none_missing(&inbox, &epoch);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a number came twice");
    }
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
}
