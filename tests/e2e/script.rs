//! Two hundred records through a spool of two upstreams, in a process of its own that others kill or whose calls they
//! make fail: this executable once more, with only the test below. What it has been promised it says line by line.

use crate::gateway::{Kept, PATIENCE};
use linesman::spool::{Account, Config, OpenError, Outcome, Spool, start};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub const RECORDS: u64 = 200;
/// Records between two commits.
pub const A_COMMIT: u64 = 4;
/// Less than all the records take: the oldest give way.
const CAP: u64 = 128 << 10;
const OCTETS: usize = 1000;
/// Of `a` all but so many of the newest are settled with each commit, and the newest one; of `b` none ever.
const BEHIND: u64 = 20;

const FOLDER: &str = "LINESMAN_SCRIPT";
const STAGE: &str = "LINESMAN_SCRIPT_STAGE";
const THIS: &str = "script::two_hundred_records_go_through_a_spool_whose_oldest_give_way";
/// Before what the script says, to tell it from what the harness says.
const MARK: &str = "script: ";

/// What the script waits before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The start; nothing comes after.
    Start,
    /// The first record.
    Records,
}

/// The octets of the record at a position: no reading, so that they stay as many as they are.
pub fn octets(position: u64) -> Vec<u8> {
    position.to_le_bytes().iter().copied().cycle().take(OCTETS).collect()
}

/// What `a` has settled once so many records are committed.
pub fn settled(records: u64) -> u64 {
    let run = records.saturating_sub(BEHIND);
    run + records / A_COMMIT - run / A_COMMIT
}

/// The script's spool.
pub fn open(folder: &Path) -> Spool {
    let config = Config {
        dir: folder.to_owned(),
        max_size: CAP,
        max_age: None,
        // Only when the script says so.
        commit_every: Duration::from_secs(3600),
        ..Config::default()
    };
    unlocked(|| start(config.clone(), &["a".to_owned(), "b".to_owned()]))
}

/// Opens a spool. Tests that start a process hold all locks of this one for a moment.
pub fn unlocked(open: impl Fn() -> Result<Spool, OpenError>) -> Spool {
    let end = Instant::now() + PATIENCE;
    loop {
        match open() {
            Err(OpenError::Locked { .. }) if Instant::now() < end => thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

pub fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub fn account(spool: &Spool, name: &str) -> Account {
    spool.reader(name).unwrap().account().borrow().clone()
}

async fn records(spool: Spool, say: impl Fn(String)) {
    let (writer, a, b) = (spool.writer(), spool.reader("a").unwrap(), spool.reader("b").unwrap());
    let mut reads = true;
    for n in 1..=RECORDS {
        writer.append(i64::try_from(n).unwrap(), octets(n)).await.unwrap();
        if n % A_COMMIT == 0 {
            a.settle([0..=n.saturating_sub(BEHIND), n..=n], Outcome::Delivered).await.unwrap();
            match spool.commit().await {
                Ok(()) => say(format!("committed {n}")),
                Err(error) => say(format!("failed {n} {error}")),
            }
        }
        if n % (10 * A_COMMIT) == 0 {
            for gap in b.gaps().await.unwrap() {
                b.announced(gap.id).await.unwrap();
                say(format!("announced {}", gap.count.unwrap()));
            }
        }
        if reads && n % (10 * A_COMMIT) == 0 {
            // The oldest, which are no longer in memory. What can't be read is asked of the disk again each second.
            match tokio::time::timeout(Duration::from_secs(2), b.read(0, 10, usize::MAX)).await {
                Ok(found) => {
                    assert!(found.unwrap().iter().all(|record| *record.octets == octets(record.position)))
                }
                Err(_) => reads = false,
            }
        }
    }
    while let Err(error) = spool.commit().await {
        say(format!("waiting {error}"));
        thread::park_timeout(Duration::from_millis(20));
    }
    say(format!("committed {RECORDS}"));
    for name in ["a", "b"] {
        let of = account(&spool, name);
        let dropped: u64 = of.dropped.values().sum();
        say(format!(
            "account {name} {} {} {} {} {dropped}",
            of.sampled, of.delivered, of.pending, of.left_out
        ));
    }
    spool.close().await.unwrap();
    say("closed".to_owned());
}

#[test]
fn two_hundred_records_go_through_a_spool_whose_oldest_give_way() {
    let say = |line: String| {
        let mut out = io::stdout().lock();
        writeln!(out, "{MARK}{line}").and_then(|()| out.flush()).unwrap();
    };
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        on_one_thread(records(open(folder.path()), |_| {}));
        let spool = open(folder.path());
        let (a, b) = (account(&spool, "a"), account(&spool, "b"));
        assert_eq!((a.sampled, a.delivered), (RECORDS, settled(RECORDS)));
        assert!(b.dropped["spool-full"] > 50 && b.pending > 50, "{b:?}");
        assert!(b.gaps.iter().filter_map(|gap| gap.count).sum::<u64>() < b.dropped["spool-full"], "{b:?}");
        return;
    };
    let wait = || {
        say("ready".to_owned());
        io::stdin().read_line(&mut String::new()).unwrap();
    };
    let folder = Path::new(&folder);
    if std::env::var(STAGE).unwrap() == "start" {
        wait();
        let _spool = open(folder);
        // And no more: what the owner does at its end would come from another thread. strace lets go first: it may wait for
        // ever for a thread that has only just begun when its process ends.
        say(OPENED.to_owned());
        io::stdin().read_line(&mut String::new()).unwrap();
        std::process::exit(0);
    } else {
        let spool = open(folder);
        wait();
        on_one_thread(records(spool, say));
    }
}

/// What it says at the end of a start, before it waits once more.
pub const OPENED: &str = "opened";

/// The script as a process.
pub struct Script {
    child: Kept,
    pub pid: u32,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Script {
    /// Returns when it waits at this stage.
    pub fn start(folder: &Path, stage: Stage) -> Script {
        let stage = if stage == Stage::Start { "start" } else { "records" };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([THIS, "--exact", "--nocapture", "--test-threads", "1"]);
        command.env(FOLDER, folder).env(STAGE, stage).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (pid, input) = (child.id(), child.stdin.take().unwrap());
        let mut child = Kept::of(child);
        let lines = child.output();
        let script = Script { child, pid, input, lines };
        assert_eq!(script.next().as_deref(), Some("ready"));
        script
    }

    pub fn go(&mut self) {
        self.input.write_all(b"go\n").unwrap();
    }

    /// The next it says; `None` when it has ended.
    pub fn next(&self) -> Option<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some((_, said)) = line.split_once(MARK) {
                        return Some(said.to_owned());
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the script says nothing for {PATIENCE:?}"),
            }
        }
    }

    /// Listens on until it has ended.
    pub fn end(mut self, said: &mut Said) -> ExitStatus {
        while let Some(line) = self.next() {
            said.hear(&line);
        }
        crate::gateway::until("the script to end", || self.child.ended())
    }
}

/// What the script has said until it ended.
#[derive(Debug, Default)]
pub struct Said {
    /// Records that were committed for certain.
    pub committed: u64,
    pub failures: u64,
    /// Records of `b` whose loss was announced: by the last commit, and since.
    pub announced: (u64, u64),
    pub is_closed: bool,
    /// By upstream: sampled, delivered, pending, left out, dropped.
    pub accounts: BTreeMap<String, [u64; 5]>,
}

impl Said {
    pub fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["committed", n] => {
                self.committed = n.parse().unwrap();
                self.announced = (self.announced.0 + self.announced.1, 0);
            }
            ["announced", n] => self.announced.1 += n.parse::<u64>().unwrap(),
            ["failed" | "waiting", ..] => self.failures += 1,
            ["account", name, ..] => {
                let numbers: Vec<u64> = words[2..].iter().map(|word| word.parse().unwrap()).collect();
                self.accounts.insert(name.to_owned(), numbers.try_into().unwrap());
            }
            ["closed"] => self.is_closed = true,
            _ => {}
        }
    }
}
