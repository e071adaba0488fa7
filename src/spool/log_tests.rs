//! The log against a plain model, over a disk that fails, and over octets that are damaged.

use super::*;
use crate::spool::disk::RealDisk;
use proptest::prelude::*;
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::rc::Rc;

/// Fails one operation, or every one from there on; a failing write leaves half of it behind.
struct FailingDisk {
    left: Rc<Cell<i64>>,
    for_ever: bool,
}

impl FailingDisk {
    fn step(&self) -> io::Result<()> {
        let left = self.left.get() - 1;
        self.left.set(left);
        if left == 0 || (self.for_ever && left < 0) {
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        Ok(())
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &Path, length: u64) -> io::Result<File> {
        self.step()?;
        RealDisk.create(path, length)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        RealDisk.open(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn write_at(&self, file: &File, octets: &[u8], at: u64) -> io::Result<()> {
        let step = self.step();
        let written = if step.is_ok() { octets } else { &octets[..octets.len() / 2] };
        RealDisk.write_at(file, written, at)?;
        step
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        RealDisk.sync(file)
    }
    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        RealDisk.truncate(file, length)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.remove(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.sync_folder(path)
    }
}

/// `write`, `read` or `create`, the error, and how often (negative: always).
type Failing = (&'static str, i32, i64);

/// Files as they are, without waiting for the medium: a model test is about order, not about power cuts.
/// It may be told to fail at one kind of operation, with this error.
#[derive(Default, Clone)]
struct QuickDisk {
    fails: Rc<Cell<Option<Failing>>>,
}

impl QuickDisk {
    fn at(&self, what: &str) -> io::Result<()> {
        match self.fails.get() {
            Some((kind, errno, left)) if kind == what && left != 0 => {
                self.fails.set(Some((kind, errno, left - 1)));
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => Ok(()),
        }
    }
}

impl Disk for QuickDisk {
    fn create(&self, path: &Path, length: u64) -> io::Result<File> {
        self.at("create")?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(length)?;
        Ok(file)
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        RealDisk.open(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.at("read")?;
        RealDisk.read(path)
    }
    fn write_at(&self, file: &File, octets: &[u8], at: u64) -> io::Result<()> {
        self.at("write")?;
        RealDisk.write_at(file, octets, at)
    }
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        RealDisk.truncate(file, length)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

fn quick(settings: Config, names: &[&str]) -> (Log<QuickDisk>, QuickDisk) {
    let disk = QuickDisk::default();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    (Log::open(settings, &names, disk.clone()).unwrap(), disk)
}

fn config(dir: &Path, max_size: u64) -> Config {
    Config { dir: dir.to_owned(), max_size, max_age: None, ..Config::default() }
}

fn open(dir: &Path, max_size: u64) -> Log<QuickDisk> {
    quick(config(dir, max_size), &["a", "b"]).0
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

fn octets_in(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn payload(n: u64, size: usize) -> Vec<u8> {
    n.to_le_bytes().iter().copied().cycle().take(size.max(8)).collect()
}

fn number(record: &Stored) -> u64 {
    format::u64_at(&record.octets, 0)
}

fn all<D: Disk>(log: &mut Log<D>, mut after: u64) -> Vec<Stored> {
    let mut out = Vec::new();
    loop {
        let bite = log.read(after, 7, 4000).unwrap();
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

#[test]
fn a_second_process_is_told_who_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), 1 << 20);
    let second = Log::open(config(dir.path(), 1 << 20), &[], RealDisk);
    let Err(OpenError::Locked { pid, .. }) = second else { panic!("not locked") };
    assert_eq!(pid, Some(std::process::id()));
}

#[test]
fn what_is_committed_is_there_after_a_crash_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let first_epoch = {
        let mut log = open(dir.path(), 1 << 20);
        (1..=50).for_each(|n| log.append(n, payload(n as u64, 100)));
        log.settle("a", 20, &Outcome::Delivered);
        log.commit().unwrap();
        (51..=60).for_each(|n| log.append(n, payload(n as u64, 100)));
        log.epoch()
    };
    let mut log = open(dir.path(), 1 << 20);
    let records = all(&mut log, 0);
    assert_eq!(records.iter().map(number).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    assert!(records.iter().all(|r| r.epoch == first_epoch && r.seq == r.position));
    assert_eq!(log.accounts().map(|(_, a)| a.cursor).collect::<Vec<_>>(), [20, 0]);
    log.append(99, payload(99, 10));
    let newest = log.read(50, 1, 1000).unwrap().remove(0);
    assert_eq!((newest.position, newest.seq, number(&newest)), (51, 1, 99));
    assert_ne!(newest.epoch, first_epoch);
}

#[test]
fn the_cap_holds_and_every_drop_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let cap = 256 << 10;
    let mut log = open(dir.path(), cap);
    log.settle("a", 0, &Outcome::Delivered);
    for n in 1..=4000u64 {
        log.append(n as i64, payload(n, 200));
        if n % 37 == 0 {
            log.commit().unwrap();
            log.settle("a", n - 5, &Outcome::Delivered);
            balanced(&log);
            let on_disk: u64 =
                fs::read_dir(&log.folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
            assert!(on_disk <= cap, "{on_disk} octets at {n}");
        }
    }
    log.commit().unwrap();
    let kept = all(&mut log, 0);
    let b = log.accounts().find(|(name, _)| *name == "b").unwrap().1;
    assert_eq!(b.dropped["spool-full"], 4000 - kept.len() as u64);
    assert_eq!(b.pending, kept.len() as u64);
    let a = log.accounts().find(|(name, _)| *name == "a").unwrap().1;
    assert!(a.dropped.is_empty(), "{a:?}");
}

#[test]
fn refusing_new_records_keeps_the_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Config { when_full: WhenFull::RefuseNew, ..config(dir.path(), 128 << 10) };
    let mut log = Log::open(settings, &["a".to_owned()], RealDisk).unwrap();
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

#[test]
fn old_segments_go_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Config { max_age: Some(std::time::Duration::from_secs(1)), ..config(dir.path(), 1 << 20) };
    let mut log = Log::open(settings, &["a".to_owned()], RealDisk).unwrap();
    for n in 1..=2000u64 {
        log.append(n as i64 * 10, payload(n, 200));
    }
    log.commit().unwrap();
    log.expire();
    let kept = all(&mut log, 0);
    balanced(&log);
    let account = log.accounts().next().unwrap().1;
    assert_eq!(account.dropped["too-old"], 2000 - kept.len() as u64);
    assert!(kept.len() < 2000 && kept.first().unwrap().ts_ms <= 19_000);
}

#[test]
fn one_failing_operation_anywhere_loses_nothing() {
    let counter = Rc::new(Cell::new(i64::MAX));
    for fail_at in 1..400 {
        let dir = tempfile::tempdir().unwrap();
        counter.set(fail_at);
        let disk = FailingDisk { left: Rc::clone(&counter), for_ever: false };
        let mut log = Log::open(config(dir.path(), 192 << 10), &["a".to_owned()], disk).unwrap();
        for n in 1..=300u64 {
            log.append(n as i64, payload(n, 200));
            if n % 10 == 0 {
                let _ = log.commit();
                balanced(&log);
            }
        }
        log.commit().unwrap();
        let finished = counter.get() > 0;
        drop(log);
        let mut log = open(dir.path(), 192 << 10);
        let numbers: Vec<u64> = all(&mut log, 0).iter().map(number).collect();
        assert_eq!(numbers, (1..=300).collect::<Vec<_>>(), "operation {fail_at} failed");
        if finished {
            assert!(fail_at > 60, "the script is too short to mean anything");
            return;
        }
    }
    panic!("never came to the end");
}

#[test]
fn a_disk_that_stays_ill_costs_the_oldest_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let counter = Rc::new(Cell::new(1));
    let disk = FailingDisk { left: Rc::clone(&counter), for_ever: true };
    let mut log = Log::open(config(dir.path(), 1 << 20), &["a".to_owned()], disk).unwrap();
    for n in 1..=6000u64 {
        log.append(n as i64, payload(n, 1000));
        if n % 100 == 0 {
            assert!(log.commit().is_err());
            balanced(&log);
        }
    }
    assert!(!log.status(0).healthy);
    let account = log.accounts().next().unwrap().1;
    assert!(account.dropped["disk-ill"] > 1000);
    assert_eq!(all(&mut log, 0).len() as u64, account.pending);
    counter.set(i64::MAX);
    log.config.max_size = 64 << 20;
    log.commit().unwrap();
    assert!(log.status(0).healthy);
    let pending = log.accounts().next().unwrap().1.pending;
    drop(log);
    let mut log = open(dir.path(), 64 << 20);
    assert_eq!(all(&mut log, 0).len() as u64, pending);
    balanced(&log);
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
    assert_eq!(log.read(0, 1, 1).unwrap().first().map(number), Some(1));
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
    (0..50).for_each(|_| assert!(log.read(0, 10, 1000).is_err()));
    assert_eq!(all(&mut log, 0).len(), 2000);
    assert!(account(&log, "a").dropped.is_empty());
    log.loaded = None;
    disk.fails.set(Some(("read", EIO, 5)));
    (0..4).for_each(|_| assert!(log.read(0, 10, 1000).is_err()));
    assert!(number(&log.read(0, 10, 1000).unwrap()[0]) > 1, "a bad block holds up what comes after it");
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
        log.settle("a", 90, &Outcome::Delivered);
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

#[derive(Debug, Clone)]
enum Step {
    Append(u16),
    Commit,
    Settle(bool, u8),
    Crash,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u16..1200).prop_map(Step::Append),
        2 => Just(Step::Commit),
        3 => (any::<bool>(), any::<u8>()).prop_map(|(which, n)| Step::Settle(which, n)),
        1 => Just(Step::Crash),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    /// The model: a plain list of numbers, and how many of them are durable.
    #[test]
    fn the_log_behaves_like_a_list(steps in proptest::collection::vec(step(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let size = 4 << 20;
        let mut log = open(dir.path(), size);
        let (mut list, mut durable, mut next) = (Vec::<u64>::new(), 0, 1u64);
        for step in steps {
            let reopened = matches!(step, Step::Crash | Step::Reopen);
            match step {
                Step::Append(size) => {
                    log.append(0, payload(next, usize::from(size)));
                    list.push(next);
                    next += 1;
                }
                Step::Commit => {
                    log.commit().unwrap();
                    durable = list.len();
                }
                Step::Settle(which, n) => {
                    let name = if which { "a" } else { "b" };
                    let at = log.cursors[name].cursor.position();
                    log.settle(name, at + u64::from(n), &Outcome::Delivered);
                }
                Step::Crash => {
                    drop(log);
                    log = open(dir.path(), size);
                    list.truncate(durable);
                }
                Step::Reopen => {
                    log.commit().unwrap();
                    durable = list.len();
                    drop(log);
                    log = open(dir.path(), size);
                }
            }
            balanced(&log);
            if reopened {
                prop_assert_eq!(&all(&mut log, 0).iter().map(number).collect::<Vec<_>>(), &list);
            }
        }
        prop_assert_eq!(&all(&mut log, 0).iter().map(number).collect::<Vec<_>>(), &list);
    }

    #[test]
    fn any_octets_in_the_folder_open(files in proptest::collection::vec(
        ("(0000000000000000000[0-9]\\.seg|[ab]\\.cursor|lock|x\\.seg)", proptest::collection::vec(any::<u8>(), 0..300)), 0..6)) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("v1")).unwrap();
        for (name, octets) in files {
            fs::write(dir.path().join("v1").join(name), octets).unwrap();
        }
        let mut log = open(dir.path(), 1 << 20);
        log.append(1, payload(1, 10));
        log.commit().unwrap();
        prop_assert_eq!(all(&mut log, 0).len(), 1);
    }
}
