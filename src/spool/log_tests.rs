//! The log against a plain model, over a disk that fails, and over octets that are damaged.

use super::*;
use crate::spool::disk::RealDisk;
use crate::spool::owner::Question;
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
pub(super) type Failing = (&'static str, i32, i64);

/// Files as they are, without waiting for the medium: a model test is about order, not about power cuts.
/// It may be told to fail at one kind of operation, with this error.
#[derive(Default, Clone)]
pub(super) struct QuickDisk {
    pub(super) fails: Rc<Cell<Option<Failing>>>,
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

pub(super) const EIO: i32 = 5;
pub(super) const EMFILE: i32 = 24;
pub(super) const ENOSPC: i32 = 28;

pub(super) fn quick(settings: Config, names: &[&str]) -> (Log<QuickDisk>, QuickDisk) {
    let disk = QuickDisk::default();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    (Log::open(settings, &names, disk.clone()).unwrap(), disk)
}

pub(super) fn config(dir: &Path, max_size: u64) -> Config {
    Config { dir: dir.to_owned(), max_size, max_age: None, ..Config::default() }
}

pub(super) fn open(dir: &Path, max_size: u64) -> Log<QuickDisk> {
    quick(config(dir, max_size), &["a", "b"]).0
}

pub(super) fn account<D: Disk>(log: &Log<D>, name: &str) -> Account {
    log.accounts().find(|(n, _)| *n == name).unwrap().1
}

pub(super) fn fill<D: Disk>(log: &mut Log<D>, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        log.append(n as i64, payload(n, 200));
        if n % 50 == 0 {
            let _ = log.commit();
        }
    }
}

pub(super) fn octets_in(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

pub(super) fn payload(n: u64, size: usize) -> Vec<u8> {
    n.to_le_bytes().iter().copied().cycle().take(size.max(8)).collect()
}

pub(super) fn number(record: &Stored) -> u64 {
    format::u64_at(&record.octets, 0)
}

pub(super) fn all<D: Disk>(log: &mut Log<D>, mut after: u64) -> Vec<Stored> {
    let mut out = Vec::new();
    loop {
        let bite = read(log, after, 7, 4000).unwrap();
        let Some(last) = bite.last() else { return out };
        after = last.position;
        out.extend(bite);
    }
}

pub(super) fn balanced<D: Disk>(log: &Log<D>) {
    for (name, a) in log.accounts() {
        let sum = a.delivered + a.pending + a.left_out + a.dropped.values().sum::<u64>();
        assert_eq!(a.sampled, sum, "{name}: {a:?}");
    }
}

/// Whatever is there, settled or not.
pub(super) fn read<D: Disk>(
    log: &mut Log<D>,
    after: u64,
    at_most: usize,
    octets: usize,
) -> io::Result<Vec<Stored>> {
    log.read(&Question { name: "nobody".to_owned(), after, upto: u64::MAX, at_most, octets })
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
        log.settle("a", 0, 20, &Outcome::Delivered);
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
    let newest = read(&mut log, 50, 1, 1000).unwrap().remove(0);
    assert_eq!((newest.position, newest.seq, number(&newest)), (51, 1, 99));
    assert_ne!(newest.epoch, first_epoch);
}

#[test]
fn the_cap_holds_and_every_drop_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let cap = 256 << 10;
    let mut log = open(dir.path(), cap);
    log.settle("a", 0, 0, &Outcome::Delivered);
    for n in 1..=4000u64 {
        log.append(n as i64, payload(n, 200));
        if n % 37 == 0 {
            log.commit().unwrap();
            log.settle("a", 0, n - 5, &Outcome::Delivered);
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
                    log.settle(name, 0, at + u64::from(n), &Outcome::Delivered);
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
