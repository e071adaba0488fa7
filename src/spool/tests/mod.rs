//! The log over a disk in memory: what it keeps, what it counts, what it does when the disk is ill or cut.

mod crash;
mod damaged;
mod model;
mod sick;
mod sim_disk;
mod stall;

use super::cursor::{Account, Outcome};
use super::disk::{Disk, RealDisk};
use super::format;
use super::gaps::Gap;
use super::log::Log;
use super::request::Question;
use super::{Config, OpenError, Stored, WhenFull};
use crate::record;
use proptest::prelude::*;
use sim_disk::SimDisk;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn config(max_size: u64) -> Config {
    Config { dir: PathBuf::from("/s"), max_size, max_age: None, ..Config::default() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn open_with(disk: &SimDisk, config: Config, upstreams: &[&str]) -> Log<SimDisk> {
    Log::open(config, &names(upstreams), disk.clone()).unwrap()
}

fn open(disk: &SimDisk, max_size: u64) -> Log<SimDisk> {
    open_with(disk, config(max_size), &["a", "b"])
}

fn account<D: Disk>(log: &Log<D>, name: &str) -> Account {
    log.accounts().find(|(n, _)| *n == name).unwrap().1
}

fn fill<D: Disk>(log: &mut Log<D>, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        log.append(n as i64, payload(n, 200));
        if n % 50 == 0 {
            let _ = log.commit();
        }
    }
}

/// Octets that are no reading, and begin with their number.
fn payload(n: u64, size: usize) -> Vec<u8> {
    n.to_le_bytes().iter().copied().cycle().take(size.max(8)).collect()
}

fn number(record: &Stored) -> u64 {
    format::u64_at(&record.octets, 0)
}

/// A reading of one of three meters, which says its number.
fn reading(n: u64, ts: i64) -> Vec<u8> {
    record::for_tests(&format!("meter-{}", n % 3), ts, n, n.is_multiple_of(7))
}

/// Whatever is there, settled or not.
fn read<D: Disk>(log: &mut Log<D>, after: u64, at_most: usize, octets: usize) -> io::Result<Vec<Stored>> {
    log.read(&Question { name: "nobody".to_owned(), after, upto: u64::MAX, at_most, octets })
}

fn all<D: Disk>(log: &mut Log<D>, mut after: u64) -> Vec<Stored> {
    let mut out = Vec::new();
    loop {
        let bite = read(log, after, 7, 4000).unwrap();
        let Some(last) = bite.last() else { return out };
        after = last.position;
        out.extend(bite);
    }
}

fn balanced<D: Disk>(log: &Log<D>) {
    for (name, a) in log.accounts() {
        let sum = a.delivered + a.pending + a.left_out + a.dropped.values().sum::<u64>();
        assert_eq!(a.sampled, sum, "{name}: {a:?}");
    }
}

/// What the gaps of an upstream announce, without power cuts.
fn announced<D: Disk>(log: &Log<D>, name: &str) -> u64 {
    account(log, name).gaps.iter().filter_map(|gap| gap.count).sum()
}

#[test]
fn a_second_process_is_told_who_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dir: dir.path().to_owned(), ..config(1 << 20) };
    let _first = Log::open(config.clone(), &[], RealDisk).unwrap();
    let second = Log::open(config, &[], RealDisk);
    let Err(OpenError::Locked { pid, .. }) = second else { panic!("not locked") };
    assert_eq!(pid, Some(std::process::id()));
}

#[test]
fn what_is_committed_is_there_after_a_crash_and_numbers_go_on() {
    let disk = SimDisk::default();
    let first_epoch = {
        let mut log = open(&disk, 1 << 20);
        (1..=50).for_each(|n| log.append(n, reading(n as u64, n)));
        log.settle("a", 0, 20, &Outcome::Delivered);
        log.commit().unwrap();
        (51..=60).for_each(|n| log.append(n, reading(n as u64, n)));
        log.epoch
    };
    let mut log = open(&disk, 1 << 20);
    let records = all(&mut log, 0);
    assert_eq!(records.len(), 50);
    for (n, record) in (1..=50).zip(&records) {
        assert_eq!((record.position, record.seq, record.epoch), (n, n, first_epoch));
        assert_eq!(record.octets[..], reading(n, n as i64)[..]);
    }
    assert_eq!(log.accounts().map(|(_, a)| a.cursor).collect::<Vec<_>>(), [20, 0]);
    log.append(99, payload(99, 10));
    let newest = read(&mut log, 50, 1, 1000).unwrap().remove(0);
    assert_eq!((newest.position, newest.seq, number(&newest)), (51, 1, 99));
    assert_ne!(newest.epoch, first_epoch);
}

#[test]
fn an_end_without_a_word_is_a_gap_of_nobody_knows_how_many_and_a_clean_one_is_none() {
    let disk = SimDisk::default();
    let mut log = open(&disk, 1 << 20);
    (1..=10).for_each(|n| log.append(n * 100, reading(n as u64, n * 100)));
    log.commit().unwrap();
    log.append(1100, reading(11, 1100));
    drop(log);
    let mut log = open(&disk, 1 << 20);
    assert!(account(&log, "a").gaps.is_empty(), "its end is not known yet");
    log.append(5000, reading(12, 5000));
    let gap = Gap { id: 0, from: 1000, to: 5000, count: None, reason: "power-cut".into(), told: false };
    assert_eq!((account(&log, "a").gaps, account(&log, "b").gaps), (vec![gap.clone()], vec![gap.clone()]));
    log.commit().unwrap();
    assert_eq!(log.tell_gaps("a").len(), 1);
    log.announced("a", gap.id);
    log.commit().unwrap();
    log.say_that_it_ends().unwrap();
    drop(log);
    let mut log = open(&disk, 1 << 20);
    log.append(6000, reading(13, 6000));
    assert_eq!((account(&log, "a").gaps.len(), account(&log, "b").gaps), (0, vec![gap]));
    balanced(&log);
}

#[test]
fn the_cap_holds_and_every_drop_is_counted_and_announced() {
    let disk = SimDisk::default();
    let cap = 256 << 10;
    let mut log = open(&disk, cap);
    for n in 1..=4000u64 {
        log.append(n as i64, payload(n, 200));
        if n % 37 == 0 {
            log.commit().unwrap();
            log.settle("a", 0, n - 5, &Outcome::Delivered);
            balanced(&log);
            let on_disk = disk.octets_below(Path::new("/s"));
            assert!(on_disk <= cap, "{on_disk} octets at {n}");
        }
    }
    log.commit().unwrap();
    let kept = all(&mut log, 0);
    let (a, b) = (account(&log, "a"), account(&log, "b"));
    assert_eq!(b.dropped["spool-full"], 4000 - kept.len() as u64);
    assert_eq!(b.pending, kept.len() as u64);
    let gap = b.gaps.first().unwrap();
    assert_eq!((b.gaps.len(), gap.from, gap.count), (1, 1, Some(4000 - kept.len() as u64)));
    assert_eq!(gap.to, kept[0].ts_ms);
    assert!(a.dropped.is_empty() && a.gaps.is_empty(), "{a:?}");
}

#[test]
fn live_records_that_have_arrived_are_not_read_again_with_the_backlog() {
    let disk = SimDisk::default();
    let mut log = open(&disk, 1 << 20);
    (1..=100).for_each(|n| log.append(n, reading(n as u64, n)));
    log.commit().unwrap();
    // Live ones go out and are acknowledged before they are committed.
    (101..=120).for_each(|n| log.append(n, reading(n as u64, n)));
    log.settle("a", 101, 110, &Outcome::Delivered);
    log.settle("a", 115, 120, &Outcome::Delivered);
    log.commit().unwrap();
    drop(log);
    let mut log = open(&disk, 1 << 20);
    let question = |after, upto| Question { name: "a".into(), after, upto, at_most: 1000, octets: 1 << 20 };
    let positions = |records: Vec<Stored>| records.iter().map(|r| r.position).collect::<Vec<_>>();
    let backlog = positions(log.read(&question(0, u64::MAX)).unwrap());
    assert_eq!(backlog, (1..=100).chain(111..=114).collect::<Vec<_>>());
    assert_eq!(positions(log.read(&question(40, 44)).unwrap()), [41, 42, 43, 44]);
    assert_eq!(positions(log.read(&question(100, 112)).unwrap()), [111, 112]);
    assert!(log.read(&question(100, 110)).unwrap().is_empty());
    let a = account(&log, "a");
    assert_eq!((a.cursor, a.delivered, a.pending), (0, 16, 104));
}

#[test]
fn old_segments_go_and_are_counted() {
    let disk = SimDisk::default();
    let settings = Config { max_age: Some(Duration::from_secs(1)), ..config(1 << 20) };
    let mut log = open_with(&disk, settings, &["a"]);
    for n in 1..=4000u64 {
        log.append(n as i64 * 10, payload(n, 200));
    }
    log.commit().unwrap();
    log.expire();
    let kept = all(&mut log, 0);
    balanced(&log);
    let account = account(&log, "a");
    assert_eq!(account.dropped["too-old"], 4000 - kept.len() as u64);
    assert!(kept.len() < 4000 && kept.first().unwrap().ts_ms <= 39_000);
    assert_eq!(account.gaps[0].count, Some(4000 - kept.len() as u64));
}

#[test]
fn many_readers_at_many_places_each_find_everything() {
    let disk = SimDisk::default();
    let mut log = open(&disk, 1 << 20);
    for n in 1..=6000u64 {
        log.append(n as i64, reading(n, n as i64));
        if n % 100 == 0 {
            log.commit().unwrap();
        }
    }
    let mut places = [0u64, 500, 1000, 2500, 3000, 5900];
    for _ in 0..40 {
        for place in &mut places {
            let bite = read(&mut log, *place, 17, 1 << 20).unwrap();
            for record in &bite {
                assert_eq!(record.position, *place + 1);
                assert_eq!(record.octets[..], reading(record.position, record.position as i64)[..]);
                *place = record.position;
            }
        }
    }
    assert_eq!(places, [680, 1180, 1680, 3180, 3680, 6000]);
}

#[test]
fn what_a_segment_holds_is_read_while_it_grows() {
    let disk = SimDisk::default();
    let mut log = open(&disk, 4 << 20);
    let mut at = 0;
    for round in 0..30u64 {
        (1..=40).for_each(|n| log.append(1, reading(round * 40 + n, 1)));
        log.commit().unwrap();
        log.tail.clear();
        log.tail_octets = 0;
        for record in read(&mut log, at, 35, 1 << 20).unwrap() {
            at += 1;
            assert_eq!((record.position, &record.octets[..]), (at, &reading(at, 1)[..]));
        }
    }
    assert_eq!(at, 30 * 35);
    balanced(&log);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_octets_in_the_folder_open(files in proptest::collection::vec(
        ("(0000000000000000000[0-9]\\.seg|[ab]\\.cursor|lock|clean|x\\.seg)", proptest::collection::vec(any::<u8>(), 0..300)), 0..6)) {
        let disk = SimDisk::default();
        for (name, octets) in files {
            disk.put(&Path::new("/s/v1").join(name), octets);
        }
        let mut log = open(&disk, 1 << 20);
        log.append(1, payload(1, 10));
        log.commit().unwrap();
        prop_assert_eq!(all(&mut log, 0).len(), 1);
        balanced(&log);
    }
}
