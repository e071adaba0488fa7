//! The log against a plain list: whatever is done to it and to its disk, it says of every record what became of
//! it, and nothing is read that was not appended.

use super::sim_disk::{EIO, ENOSPC, Survivors};
use super::*;
use crate::spool::cursor::Cursor;
use std::collections::BTreeSet;

const CAP: u64 = 160 << 10;
const UPSTREAMS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Action {
    Append {
        records: u8,
        octets: u16,
    },
    Commit,
    Read {
        upstream: usize,
        after: u8,
        at_most: u8,
    },
    /// Everything up to so far beyond the cursor.
    Ack {
        upstream: usize,
        records: u8,
    },
    /// Some records, so far behind the newest.
    AckBehindHead {
        upstream: usize,
        back: u8,
        records: u8,
    },
    Rotate,
    Reopen,
    /// Of what is not durable: so many names, so many octets.
    Crash {
        names: u8,
        octets: u16,
    },
    Corrupt {
        file: u8,
        at: u16,
        with: u8,
    },
    /// The disk is full by others, or is not any more.
    Fill(bool),
    /// So many operations fail.
    Fail(u8),
    Announce {
        upstream: usize,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let upstream = 0..UPSTREAMS.len();
    prop_oneof![
        8 => (1u8..12, 20u16..1500).prop_map(|(records, octets)| Action::Append { records, octets }),
        4 => Just(Action::Commit),
        3 => (upstream.clone(), any::<u8>(), 1u8..30).prop_map(|(upstream, after, at_most)| Action::Read { upstream, after, at_most }),
        3 => (upstream.clone(), 0u8..40).prop_map(|(upstream, records)| Action::Ack { upstream, records }),
        2 => (upstream.clone(), 0u8..60, 1u8..12).prop_map(|(upstream, back, records)| Action::AckBehindHead { upstream, back, records }),
        1 => Just(Action::Rotate),
        1 => Just(Action::Reopen),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(names, octets)| Action::Crash { names, octets }),
        1 => (any::<u8>(), any::<u16>(), 1u8..).prop_map(|(file, at, with)| Action::Corrupt { file, at, with }),
        1 => any::<bool>().prop_map(Action::Fill),
        1 => (0u8..6).prop_map(Action::Fail),
        1 => upstream.prop_map(|upstream| Action::Announce { upstream }),
    ]
}

/// What is expected: the list, and for each upstream what it has acknowledged.
struct Model {
    disk: SimDisk,
    log: Log<SimDisk>,
    /// What was appended, by position.
    list: Vec<Vec<u8>>,
    made: u64,
    /// Positions that are durable: a commit has said so.
    durable: usize,
    acked: [BTreeSet<u64>; 2],
    /// What may be on disk of `acked`: as of the last commit that went well, and of those tried since.
    saved: Vec<[BTreeSet<u64>; 2]>,
    /// Announced gaps: how many records, how many power cuts.
    announced: [u64; 2],
    saved_announced: Vec<[u64; 2]>,
    /// The disk has been full, ill or damaged: from then on records may be lost, if they are counted.
    lossy: bool,
    /// More ranges than a slot has room for: what was lost in them is counted and announced again.
    forgotten: bool,
    /// Octets have been changed: even what was durable may be gone.
    corrupt: bool,
}

impl Model {
    fn new() -> Model {
        let disk = SimDisk::default();
        let log = open_with(&disk, config(CAP), &UPSTREAMS);
        let none = || [BTreeSet::new(), BTreeSet::new()];
        Model {
            disk,
            log,
            list: Vec::new(),
            made: 0,
            durable: 0,
            acked: none(),
            saved: vec![none()],
            announced: [0; 2],
            saved_announced: vec![[0; 2]],
            lossy: false,
            forgotten: false,
            corrupt: false,
        }
    }

    fn head(&self) -> u64 {
        self.list.len() as u64
    }

    fn run(&mut self, action: &Action) {
        match *action {
            Action::Append { records, octets } => (0..records).for_each(|_| self.append(usize::from(octets))),
            Action::Commit => self.commit(),
            Action::Read { upstream, after, at_most } => {
                let after = self.head().saturating_sub(u64::from(after));
                self.read(upstream, after, usize::from(at_most));
            }
            Action::Ack { upstream, records } => {
                let cursor = account(&self.log, UPSTREAMS[upstream]).cursor;
                self.ack(upstream, cursor + 1, cursor + u64::from(records));
            }
            Action::AckBehindHead { upstream, back, records } => {
                let from = self.head().saturating_sub(u64::from(back)).max(1);
                self.ack(upstream, from, from + u64::from(records) - 1);
            }
            Action::Rotate => self.append(9000),
            Action::Reopen => self.reopen(),
            Action::Crash { names, octets } => self.crash(names, octets),
            Action::Corrupt { file, at, with } => self.damage(file, at, with),
            Action::Fill(full) => {
                self.lossy |= full;
                self.disk.room.set(full.then(|| self.disk.octets_below(Path::new("/")) + 5000));
            }
            Action::Fail(times) => {
                let errno = if times % 2 == 0 { EIO } else { ENOSPC };
                self.disk.fails.set(Some(("*", errno, i64::from(times))));
            }
            Action::Announce { upstream } => {
                if let Some(gap) = self.log.tell_gaps(UPSTREAMS[upstream]).first() {
                    self.announced[upstream] += gap.count.unwrap_or(0);
                    self.log.announced(UPSTREAMS[upstream], gap.id);
                }
            }
        }
        balanced(&self.log);
        assert_eq!(self.log.head, self.head());
        // But for what stood there before us: our own two empty files, and pieces of damage.
        let on_disk = self.disk.octets_below(Path::new("/s"));
        assert!(on_disk <= CAP + 64, "{on_disk} octets");
    }

    fn append(&mut self, octets: usize) {
        self.made += 1;
        let octets = if self.made.is_multiple_of(3) {
            payload(self.made, octets)
        } else {
            reading(self.made, self.made as i64)
        };
        self.log.append(self.made as i64, octets.clone());
        self.list.push(octets);
        if self.log.wants_commit() {
            self.commit();
        }
    }

    fn commit(&mut self) {
        let fits =
            |cursor: &Cursor| Cursor::decode(&cursor.encode(1)).is_some_and(|(_, back)| back == *cursor);
        self.forgotten |= !self.log.cursors.values().all(|named| fits(&named.cursor));
        if self.log.commit().is_ok() {
            self.durable = self.list.len();
            self.saved.clear();
            self.saved_announced.clear();
        }
        self.saved.push(self.acked.clone());
        self.saved_announced.push(self.announced);
    }

    fn ack(&mut self, upstream: usize, from: u64, to: u64) {
        let to = to.min(self.head());
        let name = UPSTREAMS[upstream];
        // A far end can only acknowledge what it was sent: what is gone by now was not.
        let open: Vec<u64> =
            (from..=to).filter(|position| !self.log.cursors[name].cursor.is_settled(*position)).collect();
        self.log.settle(name, from, to, &Outcome::Delivered);
        self.acked[upstream].extend(open);
    }

    fn read(&mut self, upstream: usize, after: u64, at_most: usize) -> Vec<u64> {
        let name = UPSTREAMS[upstream].to_owned();
        let question = Question { name, after, upto: u64::MAX, at_most, octets: 1 << 20 };
        // The disk may be ill just now: later, then.
        let found = self.log.read(&question).unwrap_or_default();
        assert!(found.len() <= at_most);
        let mut before = after;
        for record in &found {
            assert!(record.position > before, "out of order");
            before = record.position;
            assert_eq!(record.octets[..], self.list[record.position as usize - 1][..], "position {before}");
            assert!(!self.acked[upstream].contains(&before), "{before} is read again");
        }
        found.iter().map(|record| record.position).collect()
    }

    /// Every upstream's account against what it can really read and has really acknowledged.
    fn audit(&mut self) {
        for (upstream, name) in UPSTREAMS.into_iter().enumerate() {
            let (mut after, mut read) = (0, 0);
            loop {
                let found = self.read(upstream, after, 50);
                let Some(last) = found.last() else { break };
                after = *last;
                read += found.len() as u64;
            }
            let account = account(&self.log, name);
            assert_eq!(account.pending, read, "{name}: {account:?}");
            assert_eq!(account.delivered, self.acked[upstream].len() as u64, "{name}: {account:?}");
            let dropped: u64 = account.dropped.values().sum();
            let told = announced(&self.log, name) + self.announced[upstream];
            assert!(told == dropped || (self.forgotten && told > dropped), "{name}: {told} {account:?}");
            if !self.lossy {
                let only = account.dropped.keys().all(|reason| reason == "spool-full");
                assert!(only, "{name}: {account:?}");
            }
        }
    }

    fn reopen(&mut self) {
        self.disk.fails.set(None);
        self.disk.room.set(None);
        self.commit();
        assert_eq!(self.durable, self.list.len(), "a disk that is well takes everything");
        self.log.say_that_it_ends().unwrap();
        self.log = open_with(&self.disk, config(CAP), &UPSTREAMS);
        self.found_again();
    }

    fn crash(&mut self, names: u8, octets: u16) {
        let lost = self.disk.cut(usize::from(names), |_| Survivors::First(usize::from(octets)));
        self.disk = lost;
        self.log = open_with(&self.disk, config(CAP), &UPSTREAMS);
        self.found_again();
        // Whose records they were has gone with them: new ones come at their positions.
        self.append(20);
        for name in UPSTREAMS {
            assert!(account(&self.log, name).gaps.iter().any(|gap| gap.reason == "power-cut"));
        }
    }

    /// After a start: what was durable is there, and of what was acknowledged at least what was committed.
    fn found_again(&mut self) {
        let head = self.log.head as usize;
        assert!(head >= self.durable || self.corrupt, "{head} of {} committed", self.durable);
        assert!(head <= self.list.len());
        self.list.truncate(head);
        if head < self.durable {
            self.durable = head;
        }
        for (upstream, name) in UPSTREAMS.into_iter().enumerate() {
            let found = account(&self.log, name);
            if self.forgotten {
                // Acknowledged, forgotten, and sent again: at least once.
                self.acked[upstream].retain(|position| self.log.cursors[name].cursor.is_settled(*position));
                self.saved = vec![self.acked.clone()];
            }
            let within = |acked: &BTreeSet<u64>| acked.len() as u64 == found.delivered;
            let candidate = self.saved.iter().rev().find(|saved| within(&saved[upstream]));
            match candidate {
                Some(saved) => self.acked[upstream] = saved[upstream].clone(),
                // A cursor that was damaged begins anew: what was acknowledged is sent again.
                None => {
                    assert!(self.corrupt, "{name}: {found:?}");
                    self.acked[upstream].clear();
                    let cursor = &self.log.cursors[name].cursor;
                    assert_eq!(found.delivered, 0, "{cursor:?}");
                }
            }
            let dropped: u64 = found.dropped.values().sum();
            self.announced[upstream] = dropped.saturating_sub(announced(&self.log, name));
        }
        self.saved = vec![self.acked.clone()];
        self.saved_announced = vec![self.announced];
        self.audit();
    }

    fn damage(&mut self, file: u8, at: u16, with: u8) {
        let files: Vec<PathBuf> = self.log.segments.iter().map(|segment| segment.path.clone()).collect();
        let Some(path) = files.get(usize::from(file) % files.len().max(1)) else { return };
        if !self.disk.is_there(path) {
            return;
        }
        (self.lossy, self.corrupt) = (true, true);
        self.disk.corrupt(path, usize::from(at), with);
        self.log.reader = None;
    }
}

fn cases() -> u32 {
    if std::env::var_os("LINESMAN_LONG").is_some_and(|long| long == "1") { 10_000 } else { 800 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn the_log_behaves_like_a_list(actions in proptest::collection::vec(action(), 1..200)) {
        let mut model = Model::new();
        for action in &actions {
            model.run(action);
        }
        model.reopen();
    }
}
