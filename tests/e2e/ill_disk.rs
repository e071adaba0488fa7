//! A disk that is ill under a gateway that runs: it refuses to sync, is full by others, turns read-only, has no inodes, may
//! not be written, takes two seconds for everything. Polling and live delivery go on, what is lost is counted, and what
//! heals is used again.

use crate::broker::Broker;
use crate::day::gathered;
use crate::gateway::{Gateway, Kept, is_long, linesman, status_of, until};
use crate::inbox::{Inbox, Record, missing};
use crate::meter::{Meters, small_profile};
use crate::mounted::{Mounted, run};
use crate::outage::{meters_for_load, under_load};
use crate::skipped::skipped;
use crate::strace;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Of each meter's polls.
const PERIOD_MS: i64 = 100;

/// The longest time without a live reading that is promised.
const LIVE_GAP_MS: i64 = 2000;

/// What was promised; a machine that has other work may take three times as long.
fn within(promised: i64) -> i64 {
    if is_long() { promised } else { 3 * promised }
}

struct Plant {
    gateway: Gateway,
    inbox: Inbox,
    url: String,
    yaml: String,
    broker: Broker,
    _meters: Meters,
}

impl Plant {
    /// Eight meters, each read ten times a second; the spool in a folder below this one, and more said of it.
    fn start(folder: &Path, spool: &str) -> Plant {
        let profile = small_profile(folder);
        let (meters, broker) = (meters_for_load(&profile), Broker::start(folder));
        let inbox = Inbox::open(broker.port(), "plant-7");
        let yaml = under_load(&profile, &meters.place, broker.port())
            .replace("dir: spool,", &format!("dir: {spool},"))
            .replace("name: scada\n", "name: scada\n    history_rate: 20\n")
            + "http: { listen: \"127.0.0.1:0\" }\n";
        let gateway = Gateway::start(folder, &yaml);
        let url = format!("http://{}", gateway.http());
        Plant { gateway, inbox, url, yaml, broker, _meters: meters }
    }

    fn live(&mut self, more: usize) {
        let before = self.inbox.records.len();
        let live = |records: &[Record]| records[before..].iter().filter(|record| record.lane == "d").count();
        self.inbox.until("live readings", |records| (live(records) >= more).then_some(()));
    }

    fn status(&self) -> Value {
        status_of(&self.url)
    }

    fn is_healthy(&self) -> bool {
        self.status()["spool"]["healthy"] == true
    }

    /// Waits until the status says that the disk is ill; what it says of it.
    fn falls_ill(&self) -> String {
        let ill = || (!self.is_healthy()).then(|| self.status()["spool"]["detail"].to_string());
        until("the illness in the status", ill)
    }

    /// The account of the upstream, which balances.
    fn account(&self) -> (u64, BTreeMap<String, u64>) {
        let account = self.status()["upstreams"][0].clone();
        let of = |key: &str| account[key].as_u64().unwrap();
        let dropped: BTreeMap<String, u64> = serde_json::from_value(account["dropped"].clone()).unwrap();
        let sum = of("delivered") + of("pending") + of("left_out") + dropped.values().sum::<u64>();
        assert_eq!(of("sampled"), sum, "{account}");
        (of("pending"), dropped)
    }

    /// Live readings of one process since a moment: how long none came, and how late the polls were, but for one in a
    /// hundred.
    fn live_since(&self, moment: i64) -> (i64, i64) {
        let live: Vec<&Record> =
            self.inbox.records.iter().filter(|one| one.lane == "d" && one.seen >= moment).collect();
        let gap = live.windows(2).map(|pair| pair[1].seen - pair[0].seen).max().unwrap();
        let mut by_device: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for record in self.inbox.records.iter().filter(|one| one.lane == "d" && one.ts >= moment) {
            by_device.entry(&record.device).or_default().push(record.ts);
        }
        let mut late: Vec<i64> = Vec::new();
        for stamps in by_device.values_mut() {
            stamps.sort_unstable();
            late.extend(stamps.windows(2).map(|pair| pair[1] - pair[0] - PERIOD_MS));
        }
        late.sort_unstable();
        (gap, late[late.len() * 99 / 100])
    }

    /// Puts this into what the gateway asks of its disk, as long as what is returned lives.
    fn inject(&self, folder: &Path, call: &str, what: &str) -> Option<Kept> {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}"));
        strace::attach(self.gateway.pid(), &["-e", &trace, "-e", &inject], &folder.join("strace.log"))
    }

    /// Stops, and holds what lies in the spool and what has arrived against each other.
    fn stop(mut self, spool: &Path) -> Vec<Record> {
        self.gateway.signal(Signal::TERM);
        assert_eq!(self.gateway.wait().0.code(), Some(0));
        self.inbox.take();
        let (status, dump) = linesman(&["spool", "dump", spool.to_str().unwrap()]);
        assert!(status.success(), "{status}");
        let numbers: BTreeSet<u64> = dump
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64())
            .collect();
        let (epoch, arrived) = self.inbox.epochs().pop().unwrap();
        assert_eq!(missing(&self.inbox, &epoch), [0; 0], "arrived");
        let absent: Vec<u64> = arrived.into_iter().filter(|number| !numbers.contains(number)).collect();
        assert_eq!(absent, [0; 0], "on disk");
        self.inbox.records
    }
}

/// What the test has to say in the long run.
fn tell(what: &str, (gap, late): (i64, i64)) {
    if is_long() {
        println!("{what}: {gap} ms without a live reading at most, polls late by {late} ms (99 %)");
    }
}

#[test]
fn a_disk_that_refuses_to_sync_costs_nothing_that_was_called_durable_and_neither_polls_nor_live_readings() {
    let folder = tempfile::tempdir().unwrap();
    let mut plant = Plant::start(folder.path(), "spool");
    plant.live(100);
    let began = plant.gateway.now_ms();
    let Some(injected) = plant.inject(folder.path(), "fdatasync", "error=EIO") else { return };
    let said = plant.falls_ill();
    assert!(said.contains("spool") && said.contains("Input/output error"), "{said}");
    plant.live(200);
    let live = plant.live_since(began);
    tell("fdatasync fails", live);
    drop(injected);
    until("the disk to be well again", || plant.is_healthy().then_some(()));
    plant.live(50);
    assert_eq!(plant.account().1, BTreeMap::new());
    plant.stop(&folder.path().join("spool"));
    assert!(live.0 <= within(LIVE_GAP_MS) && live.1 <= within(100), "{live:?}");
}

#[test]
fn a_card_that_takes_two_seconds_to_sync_makes_no_poll_late() {
    let folder = tempfile::tempdir().unwrap();
    let mut plant = Plant::start(folder.path(), "spool");
    plant.live(100);
    let began = plant.gateway.now_ms();
    let Some(injected) = plant.inject(folder.path(), "fdatasync", "delay_enter=2000000") else { return };
    let start = Instant::now();
    until("several commits", || (start.elapsed() > Duration::from_secs(7)).then_some(()));
    drop(injected);
    plant.live(100);
    let live = plant.live_since(began);
    tell("fdatasync takes two seconds", live);
    assert_eq!(plant.account().1, BTreeMap::new());
    plant.stop(&folder.path().join("spool"));
    assert!(live.1 <= within(50), "{live:?}");
}

/// Somebody else takes all the room there is.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [64 << 10, 4096, 512] {
        while file.write_all(&vec![0xA5; size]).and_then(|()| file.sync_data()).is_ok() {}
    }
}

#[test]
fn a_disk_that_others_fill_takes_the_oldest_of_the_backlog_which_is_counted_and_announced() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::memory("size=4M", &folder.path().join("disk")) else { return };
    let epoch = gathered(&disk.folder.join("spool"), 20_000);
    fill(&disk.folder.join("others"));
    let mut plant = Plant::start(folder.path(), "disk/spool");
    let began = plant.gateway.now_ms();
    until("the oldest to give way", || plant.account().1.contains_key("spool-full").then_some(()));
    assert!(plant.is_healthy(), "there was something to give");
    plant.live(100);
    let live = plant.live_since(began);
    tell("full by others, with a backlog", live);
    let (_, dropped) = plant.account();
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    let announced = |inbox: &Inbox| -> u64 {
        let gaps =
            inbox.others.iter().filter(|(topic, text)| topic == "event" && text.contains(r#""spool-full""#));
        gaps.map(|(_, text)| serde_json::from_str::<Value>(text).unwrap()["count"].as_u64().unwrap()).sum()
    };
    until("the announcement", || {
        plant.inbox.take();
        (announced(&plant.inbox) == dropped["spool-full"]).then_some(())
    });
    let old = plant.inbox.records.iter().filter(|record| record.epoch == epoch).map(|record| record.seq);
    let early: BTreeSet<u64> = old.filter(|seq| *seq <= dropped["spool-full"]).collect();
    assert!(u64::try_from(early.len()).unwrap() < dropped["spool-full"] / 10, "they had arrived before");
    plant.gateway.signal(Signal::TERM);
    assert_eq!(plant.gateway.wait().0.code(), Some(0));
    assert!(live.0 <= within(LIVE_GAP_MS), "{live:?}");
}

#[test]
fn a_disk_that_others_have_filled_keeps_nothing_from_going_out_live_and_is_used_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::memory("size=1M", &folder.path().join("disk")) else { return };
    fill(&disk.folder.join("others"));
    let mut plant = Plant::start(folder.path(), "disk/spool");
    let said = plant.falls_ill();
    assert!(said.contains("disk/spool") && said.contains("No space"), "{said}");
    let began = plant.gateway.now_ms();
    plant.live(200);
    let live = plant.live_since(began);
    tell("full by others, without a backlog", live);
    fs::remove_file(disk.folder.join("others")).unwrap();
    let begun = Instant::now();
    until("the disk to be well again", || plant.is_healthy().then_some(()));
    let took = begun.elapsed();
    assert_eq!(plant.account().1, BTreeMap::new());
    plant.stop(&disk.folder.join("spool"));
    assert!(live.0 <= within(LIVE_GAP_MS), "{live:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// What the process holds in memory, in KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    held.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_disk_that_turns_read_only_under_way_leaves_live_readings_alone_and_the_next_start_has_what_was_durable()
{
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (image, place) = (folder.path().join("card.img"), folder.path().join("disk"));
    let Some(disk) = Mounted::ext4(&image, 32 << 20, &place) else { return };
    let mut plant = Plant::start(folder.path(), "disk/spool");
    plant.live(200);
    let (durable, before) = (plant.gateway.now_ms() - 2000, resident(plant.gateway.pid()));
    // As the kernel does it when it finds the file system damaged.
    disk.remount("abort");
    let began = plant.gateway.now_ms();
    let said = plant.falls_ill();
    assert!(said.contains("disk/spool"), "{said}");
    plant.live(400);
    let live = plant.live_since(began);
    tell("read-only", live);
    let more = resident(plant.gateway.pid()).saturating_sub(before);
    plant.account();
    plant.gateway.signal(Signal::TERM);
    plant.gateway.wait();
    plant.inbox.take();
    let first = plant.inbox.records.len();
    drop(disk);
    let disk = Mounted::image(&image, &place).unwrap();
    let (_, dump) = linesman(&["spool", "dump", disk.folder.join("spool").to_str().unwrap()]);
    let there: BTreeSet<u64> = dump
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64())
        .collect();
    let old = plant.inbox.records.iter().filter(|record| record.ts < durable).map(|record| record.seq);
    assert_eq!(old.filter(|seq| !there.contains(seq)).collect::<Vec<_>>(), [0; 0]);
    let gateway = Gateway::start(folder.path(), &plant.yaml);
    plant.inbox.until("the next process", |records| (records.len() > first + 100).then_some(()));
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().0.code(), Some(0));
    drop(plant.broker);
    assert!(live.0 <= within(LIVE_GAP_MS), "{live:?}");
    assert!(more < 16 << 10, "{more} KiB more");
}

/// A gateway starts on a disk where it can make no folder, and uses it from when it can.
fn starts_without(folder: &Path, disk: &Mounted, why: &str, heal: impl FnOnce()) {
    let mut plant = Plant::start(folder, "disk/spool");
    let said = plant.falls_ill();
    assert!(said.contains("disk/spool") && said.contains(why), "{said}");
    until("the error in the log", || plant.gateway.log().contains("disk/spool").then_some(()));
    let began = plant.gateway.now_ms();
    plant.live(100);
    let live = plant.live_since(began);
    heal();
    until("the disk to be well again", || plant.is_healthy().then_some(()));
    assert_eq!(plant.account().1, BTreeMap::new());
    plant.stop(&disk.folder.join("spool"));
    assert!(live.0 <= within(LIVE_GAP_MS), "{live:?}");
}

#[test]
fn a_disk_without_inodes_keeps_nobody_from_starting_and_is_used_when_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    // One is the root's.
    let Some(disk) = Mounted::memory("nr_inodes=12", &folder.path().join("disk")) else { return };
    let names = || (0..100).map(|n| disk.folder.join(format!("others-{n}")));
    assert!(names().any(|path| fs::File::create(path).is_err()), "there are too many");
    starts_without(folder.path(), &disk, "No space", || names().for_each(|path| drop(fs::remove_file(path))));
}

#[test]
fn a_folder_that_may_not_be_written_keeps_nobody_from_starting_and_is_used_when_it_may() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let image = folder.path().join("card.img");
    let Some(disk) = Mounted::ext4(&image, 16 << 20, &folder.path().join("disk")) else { return };
    // Immutable, for everybody may write who is root.
    let attribute = |how: &str| run(Command::new("chattr").arg(how).arg(&disk.folder));
    if let Err(why) = attribute("+i") {
        return skipped(&why);
    }
    starts_without(folder.path(), &disk, "not permitted", || drop(attribute("-i").unwrap()));
}
