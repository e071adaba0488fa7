//! The log over a disk that is full or fails, a clock that is wrong, and files that are damaged.

use super::sim_disk::{EACCES, EIO, EMFILE, ENOSPC, EROFS};
use super::*;

fn folder() -> PathBuf {
    PathBuf::from("/s/v1")
}

fn ill(log: &Log<SimDisk>) -> bool {
    !log.status(0).healthy
}

#[test]
fn one_failing_operation_anywhere_loses_nothing() {
    for fail_at in 1..1000 {
        let disk = SimDisk::default();
        disk.fails_at.set((fail_at, false));
        let mut log = open_with(&disk, config(192 << 10), &["a"]);
        for n in 1..=300u64 {
            log.append(n as i64, payload(n, 200));
            log.settle("a", 0, n / 2, &Outcome::Delivered);
            if n % 10 == 0 {
                let _ = log.commit();
                balanced(&log);
            }
        }
        log.commit().unwrap();
        let finished = disk.fails_at.get().0 > 0;
        drop(log);
        // Power goes: what was committed must be on the medium.
        let after = disk.cut(0, |_| super::sim_disk::Survivors::First(0));
        let mut log = open(&after, 192 << 10);
        let numbers: Vec<u64> = all(&mut log, 0).iter().map(number).collect();
        assert_eq!(numbers, (1..=300).collect::<Vec<_>>(), "operation {fail_at} failed");
        assert_eq!(account(&log, "a").delivered, 150, "operation {fail_at} failed");
        if finished {
            assert!(fail_at > 90, "the script is too short to mean anything: {fail_at}");
            return;
        }
    }
    panic!("never came to the end");
}

#[test]
fn a_failed_sync_is_never_asked_again_of_the_same_file() {
    let disk = SimDisk::default();
    let mut log = open_with(&disk, config(1 << 20), &["a"]);
    fill(&mut log, 1..=100);
    log.append(101, payload(101, 200));
    disk.fails.set(Some(("sync", EIO, 1)));
    assert!(log.commit().is_err() && ill(&log));
    log.commit().unwrap();
    assert!(!ill(&log));
    assert!(disk.is_there(&folder().join(format!("{:020}.seg", 101))), "no new segment");
    let mut log = open(&disk.cut(0, |_| super::sim_disk::Survivors::First(0)), 1 << 20);
    assert_eq!(all(&mut log, 0).iter().map(number).collect::<Vec<_>>(), (1..=101).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_stays_ill_costs_the_oldest_and_counts_them() {
    let disk = SimDisk::default();
    disk.fails_at.set((1, true));
    let mut log = open_with(&disk, config(64 << 20), &["a"]);
    for n in 1..=6000u64 {
        log.append(n as i64, payload(n, 1000));
        if n % 100 == 0 {
            assert!(log.commit().is_err());
            balanced(&log);
        }
    }
    assert!(ill(&log));
    let before = account(&log, "a");
    assert!(before.dropped["disk-ill"] > 1000);
    assert_eq!(announced(&log, "a"), before.dropped["disk-ill"]);
    assert_eq!(all(&mut log, 0).len() as u64, before.pending);
    disk.fails_at.set((0, false));
    log.commit().unwrap();
    assert!(!ill(&log));
    let after = account(&log, "a");
    assert_eq!((after.pending, after.sampled), (before.pending, 6000));
    drop(log);
    let mut log = open(&disk, 64 << 20);
    assert_eq!(all(&mut log, 0).len() as u64, before.pending);
    balanced(&log);
}

#[test]
fn it_starts_without_its_folder_and_goes_on_where_the_folder_was_when_it_is_there() {
    let disk = SimDisk::default();
    {
        let mut log = open_with(&disk, config(1 << 20), &["a"]);
        fill(&mut log, 1..=100);
        log.settle("a", 0, 60, &Outcome::Delivered);
        log.commit().unwrap();
    }
    for errno in [EACCES, EROFS, ENOSPC, EIO, 2] {
        let disk = disk.as_it_is();
        disk.fails.set(Some(("?", errno, -1)));
        let mut log = open_with(&disk, config(1 << 20), &["a"]);
        assert!(log.status(0).detail.is_some_and(|detail| detail.contains("/s/v1")));
        (101..=120).for_each(|n| log.append(n, payload(n as u64, 200)));
        assert!(log.commit().is_err());
        let after = log.head - 20;
        let live = all(&mut log, after);
        assert_eq!(live.iter().map(number).collect::<Vec<_>>(), (101..=120).collect::<Vec<_>>());
        log.settle("a", live[4].position, live[9].position, &Outcome::Delivered);
        balanced(&log);
        let outside = log.head + log.shift;
        disk.fails.set(None);
        log.commit().unwrap();
        balanced(&log);
        assert_eq!((log.head, log.head + log.shift), (120, outside), "whoever reads counts on as before");
        let a = account(&log, "a");
        assert_eq!((a.sampled, a.delivered, a.pending), (120, 66, 54));
        assert_eq!((a.gaps[0].count, a.gaps[0].from, a.gaps[0].to), (None, 100, 101));
        assert_eq!(all(&mut log, 0).iter().map(number).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
        drop(log);
        let mut log = open_with(&disk, config(1 << 20), &["a"]);
        assert_eq!((account(&log, "a").delivered, all(&mut log, 0).len()), (66, 120));
    }
}

#[test]
fn a_read_only_disk_still_gives_its_backlog() {
    let disk = SimDisk::default();
    {
        let mut log = open_with(&disk, config(1 << 20), &["a"]);
        fill(&mut log, 1..=100);
        log.say_that_it_ends().unwrap();
    }
    disk.fails.set(Some(("*", EROFS, -1)));
    let mut log = open_with(&disk, config(1 << 20), &["a"]);
    fill(&mut log, 101..=150);
    assert!(ill(&log));
    assert_eq!(all(&mut log, 0).iter().map(number).collect::<Vec<_>>(), (1..=150).collect::<Vec<_>>());
    disk.fails.set(None);
    log.commit().unwrap();
    assert!(!ill(&log) && account(&log, "a").gaps.is_empty());
}

#[test]
fn a_folder_that_is_taken_away_under_way_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Config { dir: dir.path().join("spool"), ..config(1 << 20) };
    let mut log = Log::open(settings.clone(), &names(&["a"]), RealDisk).unwrap();
    fill(&mut log, 1..=100);
    std::fs::remove_dir_all(&settings.dir).unwrap();
    // What is written to the open segment is lost with it; a new one needs the folder.
    log.reader = None;
    for n in 101..=3000 {
        log.append(n, payload(n as u64, 200));
        if n % 50 == 0 {
            let _ = log.commit();
        }
    }
    log.commit().unwrap();
    balanced(&log);
    let kept = all(&mut log, 0);
    assert!(kept.len() > 1000 && number(kept.last().unwrap()) == 3000, "{}", kept.len());
    assert_eq!(account(&log, "a").dropped["damaged"], 3000 - kept.len() as u64);
}

#[test]
fn a_clock_that_is_wrong_for_a_moment_costs_no_segment() {
    let disk = SimDisk::default();
    let day = Duration::from_secs(86_400);
    let mut log = open_with(&disk, Config { max_age: Some(day), ..config(1 << 20) }, &["a"]);
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
    let disk = SimDisk::default();
    let mut log = open_with(&disk, config(1 << 20), &["a"]);
    fill(&mut log, 1..=2000);
    disk.room.set(Some(disk.octets_below(Path::new("/")) + 1000));
    fill(&mut log, 2001..=3000);
    log.commit().unwrap();
    let kept = all(&mut log, 0);
    assert_eq!(kept.last().map(number), Some(3000));
    assert!(kept.len() > 1500 && kept.len() < 3000, "{}", kept.len());
    assert_eq!(account(&log, "a").dropped["spool-full"], 3000 - kept.len() as u64);
    balanced(&log);
}

#[test]
fn a_disk_that_refuses_every_write_costs_no_old_segment_and_leaves_no_litter() {
    let disk = SimDisk::default();
    let mut log = open_with(&disk, config(1 << 20), &["a"]);
    fill(&mut log, 1..=2000);
    log.commit().unwrap();
    let before = disk.octets_below(&folder());
    disk.fails.set(Some(("write", EIO, -1)));
    // More than memory holds, so that each try begins with another record.
    for n in 2001..=40_000 {
        log.append(n as i64, payload(n, 200));
        if n % 500 == 0 {
            assert!(log.commit().is_err());
        }
    }
    let after = disk.octets_below(&folder());
    assert!(after <= before, "{after} after {before}");
    assert_eq!(read(&mut log, 0, 1, 1).unwrap().first().map(number), Some(1));
    assert_eq!(account(&log, "a").dropped.keys().collect::<Vec<_>>(), ["disk-ill"]);
    balanced(&log);
}

#[test]
fn a_cursor_that_cannot_be_saved_costs_no_segment() {
    let disk = SimDisk::default();
    let mut log = open_with(&disk, config(1 << 20), &["a"]);
    fill(&mut log, 1..=100);
    let before = log.segments.len();
    disk.fails.set(Some(("open", EMFILE, -1)));
    for n in 101..=150u64 {
        log.append(n as i64, payload(n, 200));
        log.settle("a", 0, n, &Outcome::Delivered);
        assert!(log.commit().is_err() && ill(&log));
    }
    assert_eq!((log.segments.len(), log.committed), (before, 150));
    disk.fails.set(None);
    log.commit().unwrap();
    assert!(!ill(&log));
}

#[test]
fn a_segment_that_cannot_be_read_for_a_while_is_not_counted_as_lost() {
    let disk = SimDisk::default();
    let mut log = open_with(&disk, config(1 << 20), &["a"]);
    fill(&mut log, 1..=2000);
    log.commit().unwrap();
    disk.fails.set(Some(("read", EMFILE, 50)));
    (0..50).for_each(|_| assert!(read(&mut log, 0, 10, 1000).is_err()));
    assert_eq!(all(&mut log, 0).len(), 2000);
    assert!(account(&log, "a").dropped.is_empty());
    log.reader = None;
    disk.fails.set(Some(("read", EIO, 5)));
    (0..4).for_each(|_| assert!(read(&mut log, 0, 10, 1000).is_err()));
    assert!(number(&read(&mut log, 0, 10, 1000).unwrap()[0]) > 1, "a bad block holds up what comes after it");
    assert!(account(&log, "a").dropped["damaged"] > 0);
    balanced(&log);
}

#[test]
fn a_last_segment_on_a_bad_block_does_not_keep_it_from_starting() {
    let disk = SimDisk::default();
    fill(&mut open_with(&disk, config(1 << 20), &["a"]), 1..=100);
    // The header can be read, then the segment itself can't.
    let reads = 3;
    disk.fails.set(Some(("read", EIO, 0)));
    let mut log = open_with(&disk, config(1 << 20), &["a"]);
    log.append(1, payload(101, 200));
    log.commit().unwrap();
    drop(log);
    for skipped in 0..reads {
        let disk = disk.as_it_is();
        disk.fails.set(Some(("read", EIO, skipped)));
        let mut log = open_with(&disk, config(1 << 20), &["a"]);
        log.append(2, payload(102, 200));
        disk.fails.set(None);
        log.commit().unwrap();
        assert_eq!(all(&mut log, 0).last().map(number), Some(102));
        balanced(&log);
    }
}

#[test]
fn refusing_new_records_never_drops_what_is_needed_however_large_they_are() {
    let disk = SimDisk::default();
    let settings = Config { when_full: WhenFull::RefuseNew, ..config(256 << 10) };
    let mut log = open_with(&disk, settings, &["a"]);
    for n in 1..=400u64 {
        log.append(n as i64, payload(n, if n % 3 == 0 { 9_000 } else { 100 }));
        let _ = log.commit();
        balanced(&log);
    }
    log.commit().unwrap();
    let kept = all(&mut log, 0);
    assert_eq!(kept.first().unwrap().position, 1);
    assert_eq!(account(&log, "a").dropped["spool-full"], 400 - kept.len() as u64);
    assert_eq!(announced(&log, "a"), 400 - kept.len() as u64);
}

#[test]
fn refusing_new_records_keeps_the_old_ones() {
    let disk = SimDisk::default();
    let settings = Config { when_full: WhenFull::RefuseNew, ..config(128 << 10) };
    let mut log = open_with(&disk, settings, &["a"]);
    for n in 1..=2000u64 {
        log.append(n as i64, payload(n, 200));
        log.commit().unwrap();
        balanced(&log);
    }
    let kept = all(&mut log, 0);
    assert_eq!(kept.first().unwrap().position, 1);
    assert_eq!(account(&log, "a").dropped["spool-full"], 2000 - kept.len() as u64);
}

#[test]
fn damaged_pieces_give_way_before_any_record_does() {
    let disk = SimDisk::default();
    let aside = folder().join("damaged/x.octets");
    disk.put(&aside, vec![1; 200 << 10]);
    let mut log = open_with(&disk, config(256 << 10), &["a"]);
    fill(&mut log, 1..=500);
    log.commit().unwrap();
    assert_eq!((all(&mut log, 0).len(), disk.is_there(&aside)), (500, false));
}

#[test]
fn a_damaged_cursor_means_twice_rather_than_never() {
    let disk = SimDisk::default();
    {
        let mut log = open(&disk, 1 << 20);
        fill(&mut log, 1..=100);
        log.settle("a", 0, 90, &Outcome::Delivered);
        log.commit().unwrap();
    }
    disk.put(&folder().join("b.cursor"), vec![7; 8192]);
    let log = open(&disk, 1 << 20);
    assert_eq!((account(&log, "a").pending, account(&log, "b").pending), (10, 100));
}

#[test]
fn a_cursor_that_can_neither_be_read_nor_replaced_is_no_new_upstreams() {
    let disk = SimDisk::default();
    {
        let mut log = open(&disk, 1 << 20);
        fill(&mut log, 1..=100);
        log.commit().unwrap();
    }
    disk.put(&folder().join("b.cursor"), vec![7; 8192]);
    for what in ["create", "write", "sync", "rename", "folder"] {
        disk.fails.set(Some((what, ENOSPC, -1)));
        let log = open(&disk, 1 << 20);
        assert!(ill(&log), "{what}");
        drop(log);
        disk.fails.set(None);
        assert_eq!(account(&open(&disk.as_it_is(), 1 << 20), "b").pending, 100, "{what}");
    }
}

#[test]
fn a_new_upstreams_place_survives_a_crash_at_once() {
    let disk = SimDisk::default();
    fill(&mut open_with(&disk, config(1 << 20), &["a"]), 1..=100);
    drop(open(&disk, 1 << 20)); // `b` is new here, and the process dies
    fill(&mut open_with(&disk, config(1 << 20), &["a"]), 101..=150);
    assert_eq!(account(&open(&disk, 1 << 20), "b").pending, 50);
}
