//! The power goes at every operation and within each write: what was committed is there, what was acknowledged
//! and committed stays so, and the log goes on.

use super::sim_disk::Survivors;
use super::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

const CAP: u64 = 128 << 10;

/// What must hold if the power goes now.
#[derive(Default)]
struct Expected {
    /// Octets of each record, by position.
    appended: RefCell<Vec<Vec<u8>>>,
    committed: Cell<u64>,
    /// Delivered at the last commit.
    settled: Cell<u64>,
    /// Positions up to here may have made room.
    gone: Cell<u64>,
    states: Cell<u64>,
    /// Only each so-manieth state is looked at.
    each: u64,
}

impl Expected {
    /// All states that a cut at this moment can leave, as far as they differ from those of the moment before.
    fn look(&self, disk: &SimDisk) {
        let names = disk.unsynced_names();
        let unsynced = disk.unsynced();
        for names in names.saturating_sub(1)..=names {
            for (node, sizes) in &unsynced {
                let (all, last): (usize, usize) = (sizes.iter().sum(), sizes.last().copied().unwrap_or(0));
                // What is large is zeros: a few places do. What is small is torn at every octet.
                let step = if last > 4096 { last / 3 } else { 1 };
                for octets in (all - last..=all).step_by(step) {
                    self.check(disk, names, *node, &Survivors::First(octets));
                }
                for seed in 1..24u64 {
                    self.check(
                        disk,
                        names,
                        *node,
                        &Survivors::Pieces(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                    );
                }
            }
            if unsynced.is_empty() {
                self.check(disk, names, usize::MAX, &Survivors::First(0));
            }
        }
    }

    fn check(&self, disk: &SimDisk, names: usize, node: usize, survivors: &Survivors) {
        self.states.set(self.states.get() + 1);
        if !self.states.get().is_multiple_of(self.each) {
            return;
        }
        // The other files: all of what they wait for, or nothing.
        let others = if self.states.get().is_multiple_of(2) { usize::MAX } else { 0 };
        let after = disk.cut(names, |number| match survivors {
            _ if number != node => Survivors::First(others),
            Survivors::First(octets) => Survivors::First(*octets),
            Survivors::Pieces(pattern) => Survivors::Pieces(*pattern),
        });
        let mut log = open_with(&after, config(CAP), &["a", "b"]);
        assert!(log.status(0).healthy, "{:?}", log.status(0).detail);
        let (appended, committed) = (self.appended.borrow(), self.committed.get());
        assert!(log.head >= committed && log.head <= appended.len() as u64, "{} of {committed}", log.head);
        let found = all(&mut log, 0);
        let mut due = self.gone.get() + 1;
        for record in &found {
            assert!(
                record.position <= due.max(self.gone.get() + 1) || record.position > committed,
                "{due} is gone"
            );
            due = due.max(record.position + 1);
            assert_eq!(record.octets[..], appended[record.position as usize - 1][..]);
        }
        assert!(due > committed, "{due} of {committed}");
        balanced(&log);
        let (a, b) = (account(&log, "a"), account(&log, "b"));
        assert!(a.delivered >= self.settled.get() && a.cursor <= log.head && b.delivered == 0, "{a:?}");
        assert_eq!(b.pending, found.len() as u64);
        assert_eq!(announced(&log, "b"), b.dropped.values().sum::<u64>());
        drop(appended);
        self.goes_on(&after, log);
    }

    /// It takes records again, and has them after the next start.
    fn goes_on(&self, disk: &SimDisk, mut log: Log<SimDisk>) {
        if !(self.states.get() / self.each).is_multiple_of(16) {
            return;
        }
        let head = log.head;
        log.append(1 << 40, payload(head + 1, 100));
        assert_eq!(account(&log, "a").gaps.last().map(|gap| gap.count), Some(None));
        log.commit().unwrap();
        let newest = all(&mut open_with(disk, config(CAP), &["a", "b"]), head);
        assert_eq!(newest.iter().map(number).collect::<Vec<_>>(), [head + 1]);
    }
}

fn states_of_a_script(records: u64, each: u64) -> u64 {
    let disk = SimDisk::default();
    let mut log = open_with(&disk, config(CAP), &["a", "b"]);
    let expected = Rc::new(Expected { each, ..Expected::default() });
    let onlooker = Rc::clone(&expected);
    *disk.onlooker.borrow_mut() = Some(Rc::new(move |disk: &SimDisk| onlooker.look(disk)));
    for n in 1..=records {
        let octets = if n % 5 == 0 { payload(n, 2500) } else { reading(n, n as i64) };
        expected.appended.borrow_mut().push(octets.clone());
        log.append(n as i64, octets);
        log.settle("a", 0, n / 2, &Outcome::Delivered);
        log.settle("a", n, n, &Outcome::Delivered);
        if n % 4 == 0 {
            // Room may have to be made for this; and what is acknowledged now is saved after the records are.
            expected.gone.set(n.saturating_sub(100));
            log.commit().unwrap();
            expected.committed.set(n);
            expected.settled.set(account(&log, "a").delivered);
        }
    }
    expected.states.get()
}

#[test]
fn wherever_the_power_goes_what_was_committed_is_there() {
    let long = std::env::var_os("LINESMAN_LONG").is_some_and(|long| long == "1");
    // Odd, so that the other files are now there, now not.
    let each = if long { 5 } else { 97 };
    let states = states_of_a_script(400, each);
    assert!(states / 5 > 100_000, "{states} states");
    if long {
        println!("{} states after a power cut", states / each);
    }
}
