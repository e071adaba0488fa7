//! The log over a disk that is full or fails, a clock that is wrong, and files that are damaged.

use super::tests::{
    EIO, EMFILE, ENOSPC, QuickDisk, account, all, balanced, config, fill, number, octets_in, open, payload,
    quick, read,
};
use super::*;
use std::fs;

#[test]
fn a_clock_that_is_wrong_for_a_moment_costs_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let day = std::time::Duration::from_secs(86_400);
    let (mut log, _) = quick(Config { max_age: Some(day), ..config(dir.path(), 1 << 20) }, &["a"]);
    fill(&mut log, 1..=2000);
    log.append(4_000_000_000_000, payload(2001, 200));
    log.expire();
    fill(&mut log, 2002..=2100);
    log.commit().unwrap();
    log.expire();
    assert_eq!(all(&mut log, 0).len(), 2100);
}

#[test]
fn a_disk_that_is_full_before_the_cap_gives_up_the_oldest_not_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, disk) = quick(config(dir.path(), 1 << 20), &["a"]);
    fill(&mut log, 1..=2000);
    disk.fails.set(Some(("create", ENOSPC, 1)));
    fill(&mut log, 2001..=3000);
    log.commit().unwrap();
    let kept = all(&mut log, 0);
    assert_eq!(kept.last().map(number), Some(3000));
    assert!(kept.len() > 2000);
    assert_eq!(account(&log, "a").dropped["spool-full"], 3000 - kept.len() as u64);
    balanced(&log);
}

#[test]
fn a_disk_that_refuses_every_write_costs_no_old_segment_and_leaves_no_litter() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, disk) = quick(config(dir.path(), 1 << 20), &["a"]);
    fill(&mut log, 1..=2000);
    log.commit().unwrap();
    let before = octets_in(&log.folder);
    disk.fails.set(Some(("write", EIO, -1)));
    // More than memory holds, so that each try begins with another record.
    for n in 2001..=40_000 {
        log.append(n as i64, payload(n, 200));
        if n % 500 == 0 {
            assert!(log.commit().is_err());
        }
    }
    assert!(octets_in(&log.folder) <= before, "{} after {before}", octets_in(&log.folder));
    assert_eq!(read(&mut log, 0, 1, 1).unwrap().first().map(number), Some(1));
    assert_eq!(account(&log, "a").dropped.keys().collect::<Vec<_>>(), ["disk-ill"]);
    balanced(&log);
}

#[test]
fn a_segment_that_cannot_be_read_for_a_while_is_not_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, disk) = quick(config(dir.path(), 1 << 20), &["a"]);
    fill(&mut log, 1..=2000);
    log.commit().unwrap();
    disk.fails.set(Some(("read", EMFILE, 50)));
    (0..50).for_each(|_| assert!(read(&mut log, 0, 10, 1000).is_err()));
    assert_eq!(all(&mut log, 0).len(), 2000);
    assert!(account(&log, "a").dropped.is_empty());
    log.loaded = None;
    disk.fails.set(Some(("read", EIO, 5)));
    (0..4).for_each(|_| assert!(read(&mut log, 0, 10, 1000).is_err()));
    assert!(number(&read(&mut log, 0, 10, 1000).unwrap()[0]) > 1, "a bad block holds up what comes after it");
    assert!(account(&log, "a").dropped["damaged"] > 0);
    balanced(&log);
}

#[test]
fn refusing_new_records_never_drops_what_is_needed_however_large_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Config { when_full: WhenFull::RefuseNew, ..config(dir.path(), 256 << 10) };
    let (mut log, _) = quick(settings, &["a"]);
    for n in 1..=400u64 {
        log.append(n as i64, payload(n, if n % 3 == 0 { 9_000 } else { 100 }));
        let _ = log.commit();
        balanced(&log);
    }
    log.commit().unwrap();
    let kept = all(&mut log, 0);
    assert_eq!(kept.first().unwrap().position, 1);
    assert_eq!(account(&log, "a").dropped["spool-full"], 400 - kept.len() as u64);
}

#[test]
fn damaged_pieces_give_way_before_any_record_does() {
    let dir = tempfile::tempdir().unwrap();
    let aside = dir.path().join("v1/damaged");
    fs::create_dir_all(&aside).unwrap();
    fs::write(aside.join("x.octets"), vec![1; 200 << 10]).unwrap();
    let (mut log, _) = quick(config(dir.path(), 256 << 10), &["a"]);
    fill(&mut log, 1..=500);
    log.commit().unwrap();
    assert_eq!((all(&mut log, 0).len(), aside.exists()), (500, false));
}

#[test]
fn a_damaged_cursor_means_twice_rather_than_never() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut log = open(dir.path(), 1 << 20);
        fill(&mut log, 1..=100);
        log.settle("a", 0, 90, &Outcome::Delivered);
        log.commit().unwrap();
    }
    fs::write(dir.path().join("v1/b.cursor"), [7; 4096]).unwrap();
    let log = open(dir.path(), 1 << 20);
    assert_eq!((account(&log, "a").pending, account(&log, "b").pending), (10, 100));
}

#[test]
fn a_new_upstreams_place_survives_a_crash_at_once() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut log, _) = quick(config(dir.path(), 1 << 20), &["a"]);
        fill(&mut log, 1..=100);
        log.commit().unwrap();
    }
    drop(open(dir.path(), 1 << 20)); // `b` is new here, and the process dies
    {
        let (mut log, _) = quick(config(dir.path(), 1 << 20), &["a"]);
        fill(&mut log, 101..=150);
        log.commit().unwrap();
    }
    assert_eq!(account(&open(dir.path(), 1 << 20), "b").pending, 50);
}

#[test]
fn a_torn_header_does_not_make_its_neighbour_old() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        Config { max_age: Some(std::time::Duration::from_millis(1500)), ..config(dir.path(), 1 << 20) };
    let (mut log, _) = quick(settings.clone(), &["a"]);
    fill(&mut log, 1..=2000);
    log.commit().unwrap();
    let path = log.segments[1].path.clone();
    drop(log);
    let mut octets = fs::read(&path).unwrap();
    octets[3] ^= 1;
    fs::write(&path, octets).unwrap();
    let (mut log, _) = quick(settings, &["a"]);
    fill(&mut log, 2001..=2050);
    log.expire();
    assert_eq!(all(&mut log, 0).len(), 2050);
}

#[test]
fn a_position_near_the_end_of_numbers_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("v1")).unwrap();
    let header = SegmentHeader { first: u64::MAX, first_ts: 1 }.encode();
    fs::write(dir.path().join(format!("v1/{}.seg", u64::MAX)), header).unwrap();
    let mut log = open(dir.path(), 1 << 20);
    log.append(1, payload(1, 10));
    assert_eq!(all(&mut log, 0)[0].position, 1);
}

#[test]
fn damage_in_an_old_segment_costs_what_it_touches_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), 512 << 10);
    (1..=1000u64).for_each(|n| log.append(n as i64, payload(n, 200)));
    log.commit().unwrap();
    let path = log.segments[1].path.clone();
    drop(log);
    let mut octets = fs::read(&path).unwrap();
    octets[5000] ^= 0xFF;
    fs::write(&path, octets).unwrap();
    let mut log = open(dir.path(), 512 << 10);
    assert_eq!(all(&mut log, 0).len(), 999);
    balanced(&log);
    let account = log.accounts().next().unwrap().1;
    assert_eq!((account.dropped["damaged"], account.pending), (1, 999));
}

#[test]
fn refusing_new_records_keeps_the_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Config { when_full: WhenFull::RefuseNew, ..config(dir.path(), 128 << 10) };
    let mut log = Log::open(settings, &["a".to_owned()], QuickDisk::default()).unwrap();
    for n in 1..=2000u64 {
        log.append(n as i64, payload(n, 200));
        log.commit().unwrap();
        balanced(&log);
    }
    let kept = all(&mut log, 0);
    assert_eq!(kept.first().unwrap().position, 1);
    let account = log.accounts().next().unwrap().1;
    assert_eq!(account.dropped["spool-full"], 2000 - kept.len() as u64);
}
