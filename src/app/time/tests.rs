//! The keeper with clocks and a witness that the test turns.

use super::*;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// 2100: later than any build.
const TRUE_ZERO: i64 = 4_102_444_800_000;

/// Both clocks in ms; each a number that the test sets.
#[derive(Default)]
struct Hands {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl Hands {
    fn at(wall: i64, boot: i64) -> Arc<Hands> {
        let hands = Hands::default();
        hands.set(wall, boot);
        Arc::new(hands)
    }

    fn set(&self, wall: i64, boot: i64) {
        self.wall.store(wall, Ordering::SeqCst);
        self.boot.store(boot, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn utc(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn mono(&self) -> Mono {
        Mono(u64::try_from(self.boot.load(Ordering::SeqCst)).unwrap() * 1_000_000)
    }
}

fn taken_at(ts: Timestamp) -> Reading {
    Reading {
        device: "m".parse().unwrap(),
        ts,
        took: Duration::ZERO,
        clock_unsure: false,
        boot: None,
        samples: Vec::new(),
    }
}

/// A scan stamped by the lines' clock now, as the pump hands it on.
fn scanned(time: &Timeline) -> Reading {
    let mut reading = taken_at(time.for_lines().utc());
    time.stamp(&mut reading);
    reading
}

async fn keeper(hands: &Arc<Hands>, folder: &Path) -> Keeper {
    let config = Config { sync_file: Some(folder.join("synchronized")), ..Config::default() };
    Keeper::start(Arc::clone(hands) as Arc<dyn Clock>, config, Boots::in_folder(folder), None).await
}

/// Waits for the keeper's next looks until it says so.
async fn until_known(time: &Timeline) {
    let mut status = time.status();
    status.wait_for(|status| status.known).await.unwrap();
}

#[tokio::test]
async fn what_was_taken_in_1970_is_dated_to_the_millisecond_once_the_time_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::at(3_000, 10_000);
    let keeper = keeper(&hands, dir.path()).await;
    let time = keeper.timeline();
    tokio::spawn(keeper.run(CancellationToken::new()));
    hands.set(5_123, 12_123);
    let mut before = scanned(&time);
    assert!(before.clock_unsure && before.ts >= Timestamp(1_700_000_000_000), "not 1970: {before:?}");
    // The time comes: the wall clock steps by decades, and the file appears.
    hands.set(TRUE_ZERO + 60_000, 60_000);
    fs::write(dir.path().join("synchronized"), "").unwrap();
    until_known(&time).await;
    let mut dating = time.dating();
    dating.borrow_and_update().date(&mut before);
    assert_eq!((before.ts, before.clock_unsure), (Timestamp(TRUE_ZERO + 12_123), false));
    let after = scanned(&time);
    assert_eq!((after.ts, after.clock_unsure), (Timestamp(TRUE_ZERO + 60_000), false));
}

#[tokio::test]
async fn the_next_process_of_the_same_boot_dates_what_the_first_could_not() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Hands::at(3_000, 10_000);
    let time = keeper(&hands, dir.path()).await.timeline();
    let mut before = scanned(&time);
    fs::write(dir.path().join("synchronized"), "").unwrap();
    hands.set(TRUE_ZERO + 20_000, 20_000);
    let second = keeper(&hands, dir.path()).await.timeline();
    second.dating().borrow().date(&mut before);
    assert_eq!(before.ts, Timestamp(TRUE_ZERO + 10_000));
    // And a later boot, from the file.
    let boots = Boots::in_folder(dir.path());
    while boots.read().in_order().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut again = scanned(&time);
    boots.read().date(&mut again);
    assert!(!again.clock_unsure);
}

#[tokio::test]
async fn the_lines_clock_never_steps_and_a_step_counts_from_the_next_reading_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("synchronized"), "").unwrap();
    let hands = Hands::at(TRUE_ZERO, 0);
    let time = keeper(&hands, dir.path()).await.timeline();
    let lines = time.for_lines();
    let first = lines.utc();
    // An hour back, in the middle of a scan that began a second ago.
    hands.set(TRUE_ZERO + 1000 - 3_600_000, 1000);
    assert_eq!(lines.utc().0 - first.0, 1000);
    assert_eq!(scanned(&time).ts, Timestamp(TRUE_ZERO + 1000 - 3_600_000));
    assert_eq!(time.dated(first), Timestamp(TRUE_ZERO - 3_600_000));
    assert_eq!(time.utc(), Timestamp(TRUE_ZERO + 1000 - 3_600_000));
    // A millisecond is two clocks read one after the other, and no step.
    hands.set(TRUE_ZERO + 1999, 2000);
    assert_eq!(scanned(&time).ts, Timestamp(TRUE_ZERO + 2000));
}

#[tokio::test]
async fn a_step_to_1970_dates_nothing_there_not_even_until_the_next_look() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("synchronized"), "").unwrap();
    let hands = Hands::at(TRUE_ZERO, 0);
    let time = keeper(&hands, dir.path()).await.timeline();
    // The keeper has not looked since.
    hands.set(1000, 1000);
    assert_eq!(scanned(&time).ts, Timestamp(TRUE_ZERO + 1000));
    assert_eq!(time.utc(), Timestamp(TRUE_ZERO + 1000));
}
