//! A card that takes its time: whatever call it is that does not return, records come in, live ones go out, everything
//! is counted; and when it is back, everything is there.

use super::*;
use crate::spool::disk::Lock;
use crate::spool::meanwhile::Meanwhile;
use crate::spool::{Reader, Spool, start_on};
use std::fs;
use std::sync::{Arc, Condvar, Mutex};

/// Which calls do not return for now, and whether somebody is in one.
#[derive(Default)]
struct State {
    holds: &'static str,
    held: bool,
}

/// The real disk, but for calls that it holds until it is told to let go.
#[derive(Clone, Default)]
struct Stalling(Arc<(Mutex<State>, Condvar)>);

impl Stalling {
    fn hold(&self, call: &'static str) {
        self.0.0.lock().unwrap().holds = call;
    }

    fn let_go(&self) {
        self.hold("");
        self.0.1.notify_all();
    }

    /// Waits until somebody is held.
    fn holds_somebody(&self) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| !state.held).unwrap());
    }

    fn pass(&self, call: &str) -> RealDisk {
        let mut state = self.0.0.lock().unwrap();
        while state.holds == call {
            state.held = true;
            self.0.1.notify_all();
            state = self.0.1.wait(state).unwrap();
        }
        state.held = false;
        RealDisk
    }
}

impl Disk for Stalling {
    type File = fs::File;

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.pass("make").make_folder(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        self.pass("list").list(folder)
    }
    fn create(&self, path: &Path, length: u64) -> io::Result<fs::File> {
        self.pass("create").create(path, length)
    }
    fn is_there(&self, path: &Path) -> bool {
        self.pass("stat").is_there(path)
    }
    fn open(&self, path: &Path) -> io::Result<fs::File> {
        self.pass("open").open(path)
    }
    fn read(&self, path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
        self.pass("read").read(path, at_most)
    }
    fn write_at(&self, file: &fs::File, octets: &[u8], at: u64) -> io::Result<()> {
        self.pass("write").write_at(file, octets, at)
    }
    fn sync(&self, file: &fs::File) -> io::Result<()> {
        self.pass("sync").sync(file)
    }
    fn truncate(&self, file: &fs::File, length: u64) -> io::Result<()> {
        self.pass("truncate").truncate(file, length)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass("remove").remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass("rename").rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.pass("folder").sync_folder(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Lock<fs::File>> {
        self.pass("lock").lock(path)
    }
}

fn sums_up(account: &Account) -> bool {
    account.sampled
        == account.delivered + account.pending + account.left_out + account.dropped.values().sum::<u64>()
}

/// Waits until the account is like that; at every moment that is seen it balances.
async fn account_is(reader: &Reader, wanted: impl Fn(&Account) -> bool) -> Account {
    let mut account = reader.account();
    let seen = account.wait_for(|account| {
        assert!(sums_up(account), "{account:?}");
        wanted(account)
    });
    seen.await.unwrap().clone()
}

async fn append(spool: &Spool, numbers: std::ops::RangeInclusive<u64>, size: usize) {
    for n in numbers {
        spool.writer().append(n as i64, payload(n, size)).await.unwrap();
    }
}

/// Delivers what is there from this position on, as live records are.
async fn deliver(reader: &Reader, mut after: u64, upto: u64) {
    while after < upto {
        let records = reader.read(after, 64, 1 << 20).await.unwrap();
        assert!(!records.is_empty(), "nothing after {after}");
        for record in &records {
            after = record.position;
            assert_eq!(number(record), after);
            reader.settle([after..=after], Outcome::Delivered).await.unwrap();
        }
    }
}

async fn stalls_in(call: &'static str) {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Stalling::default());
    let config = Config { dir: dir.path().to_owned(), ..config(1 << 20) };
    let spool = start_on(disk.clone(), config.clone(), &names(&["a", "b"])).unwrap();
    let reader = spool.reader("a").unwrap();
    append(&spool, 1..=10, 100).await;
    if !matches!(call, "create" | "folder") {
        // Those two belong to the first commit, the others to any.
        spool.commit().await.unwrap();
    }
    append(&spool, 11..=20, 100).await;
    reader.ack(15).await.unwrap();
    disk.hold(call);
    let writes = async { spool.commit().await.unwrap() };
    let lives = async {
        tokio::task::yield_now().await;
        disk.holds_somebody();
        append(&spool, 21..=120, 100).await;
        deliver(&reader, 15, 120).await;
        let account = account_is(&reader, |account| account.delivered == 120).await;
        assert_eq!((account.sampled, account.cursor, account.pending), (120, 120, 0), "{call}");
        let beats = spool.status().borrow().heartbeat;
        spool.status().wait_for(|status| status.heartbeat > beats).await.unwrap();
        assert_eq!(spool.status().borrow().appended, 120);
        disk.let_go();
    };
    tokio::join!(writes, lives);
    assert_eq!(account_is(&reader, |account| account.delivered == 120).await.pending, 0);
    let b = spool.reader("b").unwrap();
    assert_eq!(account_is(&b, |account| account.sampled == 120).await.pending, 120);
    spool.close().await.unwrap();
    let again = start_on(disk, config, &names(&["a", "b"])).unwrap();
    assert_eq!((again.reader("a").unwrap().cursor(), again.reader("a").unwrap().head()), (120, 120));
    deliver(&again.reader("b").unwrap(), 0, 120).await;
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_stalls_live_records_come_and_go_and_all_is_written_when_it_returns() {
    let calls =
        ["write", "sync", "create", "open", "folder", "stat"].map(|call| tokio::spawn(stalls_in(call)));
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_the_disk_does_not_give_holds_up_no_live_record() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Stalling::default());
    let config = Config { dir: dir.path().to_owned(), ..config(8 << 20) };
    let spool = start_on(disk.clone(), config, &names(&["a"])).unwrap();
    let (live, old) = (spool.reader("a").unwrap(), spool.reader("a").unwrap());
    append(&spool, 1..=3000, 200).await;
    spool.commit().await.unwrap();
    disk.hold("read");
    let history = old.read_until(0, 10, 64, 1 << 20);
    let lives = async {
        tokio::task::yield_now().await;
        disk.holds_somebody();
        append(&spool, 3001..=3100, 200).await;
        deliver(&live, 3000, 3100).await;
        account_is(&live, |account| account.delivered == 100).await;
        disk.let_go();
    };
    let (history, ()) = tokio::join!(history, lives);
    assert_eq!(history.unwrap().len(), 10);
    spool.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_does_not_hold_is_counted_at_once_and_not_again_when_the_disk_is_back() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Stalling::default());
    let config = Config { dir: dir.path().to_owned(), ..config(64 << 20) };
    let spool = start_on(disk.clone(), config, &names(&["a", "b"])).unwrap();
    let (a, b) = (spool.reader("a").unwrap(), spool.reader("b").unwrap());
    append(&spool, 1..=1, 100).await;
    disk.hold("sync");
    let writes = async { spool.commit().await.unwrap() };
    let lives = async {
        tokio::task::yield_now().await;
        disk.holds_somebody();
        append(&spool, 2..=10, 64 << 10).await;
        deliver(&a, 1, 10).await;
        append(&spool, 11..=100, 64 << 10).await;
        account_is(&b, |account| account.sampled == 100).await;
        let of = (a.account().borrow().clone(), b.account().borrow().clone());
        // A late word of one that is lost already changes nothing.
        a.settle([11..=11], Outcome::Delivered).await.unwrap();
        assert!(a.gaps().await.unwrap().is_empty(), "whoever asks for losses waits for the disk");
        assert_eq!(a.account().borrow().delivered, of.0.delivered);
        disk.let_go();
        of
    };
    let ((), (a_then, b_then)) = tokio::join!(writes, lives);
    let lost = b_then.dropped["disk-ill"];
    assert!((36..=38).contains(&lost), "{lost}");
    assert_eq!((a_then.delivered, a_then.dropped["disk-ill"]), (9, lost - 9));
    spool.commit().await.unwrap();
    for (reader, then) in [(&a, a_then), (&b, b_then)] {
        let now = account_is(reader, |account| !account.gaps.is_empty()).await;
        assert_eq!((now.delivered, now.pending, &now.dropped), (then.delivered, then.pending, &then.dropped));
        assert_eq!(now.gaps.iter().filter_map(|gap| gap.count).sum::<u64>(), now.dropped["disk-ill"]);
    }
    spool.close().await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Settle(bool, u8, u8, u8),
    Lend,
    Return,
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..20).prop_map(Step::Append),
        4 => (any::<bool>(), any::<u8>(), any::<u8>(), 0u8..3).prop_map(|(a, from, n, how)| Step::Settle(a, from, n, how)),
        2 => Just(Step::Lend),
        2 => Just(Step::Return),
        1 => Just(Step::Commit),
    ]
}

/// Losses by when they were: the log notes those of a whole stall in another order.
fn without_order(mut account: Account) -> Account {
    account.gaps.iter_mut().for_each(|gap| gap.id = 0);
    account.gaps.sort_by_key(|gap| (gap.from, gap.to, gap.reason.clone()));
    account
}

proptest! {
    #[test]
    fn a_log_that_is_lent_says_and_counts_what_one_that_never_is_does(steps in proptest::collection::vec(step(), 1..60)) {
        let (disk, other) = (SimDisk::default(), SimDisk::default());
        let (mut whole, mut lent) = (open(&disk, 1 << 20), open(&other, 1 << 20));
        let mut meanwhile: Option<Meanwhile> = None;
        let mut n = 0;
        for step in steps {
            match step {
                Step::Append(count) => for _ in 0..count {
                    n += 1;
                    // Now and then one that no segment takes.
                    let octets = payload(n, if n % 37 == 0 { 200 << 10 } else { 100 });
                    whole.append(n as i64, octets.clone());
                    match &mut meanwhile {
                        Some(meanwhile) => meanwhile.append(n as i64, octets),
                        None => lent.append(n as i64, octets),
                    }
                },
                Step::Settle(a, from, count, how) => {
                    let name = if a { "a" } else { "b" };
                    let (from, outcome) = (u64::from(from), [Outcome::Delivered, Outcome::LeftOut, Outcome::Dropped("refused".into())][usize::from(how)].clone());
                    let to = from + u64::from(count);
                    // What is too large is known when it is written only.
                    let spared = |n: u64| (from..=to).any(|at| at % 37 == 0) && n > 0;
                    if spared(n) { continue }
                    whole.settle(name, from, to, &outcome);
                    match &mut meanwhile {
                        Some(meanwhile) => meanwhile.settle(name, from, to, &outcome),
                        None => lent.settle(name, from, to, &outcome),
                    }
                }
                Step::Lend => { meanwhile.get_or_insert_with(|| Meanwhile::of(&lent)); }
                Step::Return => if let Some(meanwhile) = meanwhile.take() { lent.take_back(meanwhile) },
                Step::Commit => {
                    whole.commit().unwrap();
                    lent.commit().unwrap();
                }
            }
            for (name, account) in meanwhile.iter().flat_map(Meanwhile::accounts) {
                prop_assert!(sums_up(&account), "{name}: {account:?}");
            }
            if meanwhile.is_none() {
                for name in ["a", "b"] {
                    prop_assert_eq!(without_order(account(&whole, name)), without_order(account(&lent, name)));
                }
            }
        }
        if let Some(meanwhile) = meanwhile.take() { lent.take_back(meanwhile) }
        lent.commit().unwrap();
        whole.commit().unwrap();
        let without_epoch = |log: &mut Log<SimDisk>| all(log, 0).into_iter().map(|record| (record.position, record.seq, record.octets)).collect::<Vec<_>>();
        prop_assert_eq!(without_epoch(&mut whole), without_epoch(&mut lent));
        prop_assert_eq!(without_order(account(&whole, "a")), without_order(account(&lent, "a")));
    }
}
