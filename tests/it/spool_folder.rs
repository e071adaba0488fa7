//! The spool as its neighbours see it: across restarts, beside other processes, with upstreams that come and go.

use linesman::spool::{Account, Config, OpenError, Spool, start};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn open(dir: &Path, names: &[&str]) -> Spool {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let start_by = Instant::now() + Duration::from_secs(20);
    loop {
        // A command that another test starts holds every lock of this process until it has been executed.
        match start(Config { dir: dir.to_owned(), ..Config::default() }, &names) {
            Err(OpenError::Locked { .. }) if Instant::now() < start_by => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

async fn append(spool: &Spool, numbers: std::ops::RangeInclusive<i64>) {
    let writer = spool.writer();
    for n in numbers {
        writer.append(n, n.to_le_bytes().to_vec()).await.unwrap();
    }
    spool.commit().await.unwrap();
}

async fn times_after(spool: &Spool, name: &str, after: u64) -> Vec<i64> {
    let reader = spool.reader(name).unwrap();
    let records = reader.read(after, usize::MAX, usize::MAX).await.unwrap();
    records.iter().map(|record| record.ts_ms).collect()
}

fn account(spool: &Spool, name: &str) -> Account {
    let account = spool.reader(name).unwrap().account().borrow().clone();
    let settled = account.delivered + account.left_out + account.dropped.values().sum::<u64>();
    assert_eq!(account.sampled, settled + account.pending, "{account:?}");
    account
}

/// What a power cut would leave: the folder as it is now, while the owner still runs.
fn as_after_sigkill(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("v1")).unwrap();
    for entry in fs::read_dir(dir.join("v1")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join("v1").join(entry.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn after_a_kill_all_that_was_committed_is_there_and_the_account_balances() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), &["a"]);
    append(&spool, 1..=500).await;
    let reader = spool.reader("a").unwrap();
    reader.ack(200).await.unwrap();
    reader.leave_out(210).await.unwrap();
    reader.give_up(215, "too-large").await.unwrap();
    spool.commit().await.unwrap();
    spool.writer().append(501, vec![1]).await.unwrap();
    let copy = as_after_sigkill(dir.path());
    let again = open(copy.path(), &["a"]);
    // What is settled is not read again.
    assert_eq!(times_after(&again, "a", 0).await, (216..=500).collect::<Vec<_>>());
    let account = account(&again, "a");
    assert_eq!((account.cursor, account.delivered, account.left_out), (215, 200, 10));
    assert_eq!(account.dropped["too-large"], 5);
    assert_ne!(again.epoch(), spool.epoch());
}

#[tokio::test]
async fn whoever_comes_second_is_told_the_process_that_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), &["a"]);
    let second = start(Config { dir: dir.path().to_owned(), ..Config::default() }, &[]);
    let Err(error @ OpenError::Locked { .. }) = second else { panic!("two owners") };
    assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{error}");
    first.close().await.unwrap();
    open(dir.path(), &["a"]).close().await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_joins_later_starts_from_now_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), &["a"]);
    append(&spool, 1..=10).await;
    spool.set_upstreams(&["a".to_owned(), "b".to_owned()]).await;
    append(&spool, 11..=12).await;
    let cursor = spool.reader("b").unwrap().cursor();
    assert_eq!((cursor, times_after(&spool, "b", cursor).await), (10, vec![11, 12]));
    assert_eq!((account(&spool, "a").sampled, account(&spool, "b").sampled), (12, 2));
}

#[tokio::test]
async fn an_upstream_that_leaves_and_returns_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), &["a", "b"]);
    append(&spool, 1..=10).await;
    spool.reader("b").unwrap().ack(7).await.unwrap();
    spool.set_upstreams(&["a".to_owned()]).await;
    assert!(spool.reader("b").is_none());
    append(&spool, 11..=20).await;
    spool.close().await.unwrap();
    let spool = open(dir.path(), &["a", "b"]);
    let b = account(&spool, "b");
    assert_eq!((b.cursor, b.delivered, b.pending), (7, 7, 13));
}

#[tokio::test]
async fn a_reader_waits_where_the_newest_positions_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), &["a"]);
    append(&spool, 1..=1).await;
    spool.writer().append(2, vec![0; 8 << 20]).await.unwrap(); // too large for any segment
    spool.commit().await.unwrap();
    let mut reader = spool.reader("a").unwrap();
    assert!(reader.read(1, 10, 1000).await.unwrap().is_empty());
    let waited = tokio::time::timeout(Duration::from_millis(50), reader.beyond(1)).await;
    assert!(waited.is_err(), "it would read in a circle");
    append(&spool, 3..=3).await;
    reader.beyond(1).await.unwrap();
    assert_eq!(reader.read(1, 10, 1000).await.unwrap()[0].position, 3);
    assert_eq!(account(&spool, "a").dropped["too-large"], 1);
}

#[tokio::test]
async fn the_command_looks_into_a_folder_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), &["a"]);
    append(&spool, 1..=3).await;
    let run = |arguments: &[&str]| {
        let done =
            Command::new(env!("CARGO_BIN_EXE_linesman")).arg("spool").args(arguments).output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let path = dir.path().to_str().unwrap();
    let (code, out, _) = run(&["status", path, "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["records"], &status["last"]), (Some(0), &3.into(), &3.into()));
    assert_eq!(status["cursors"][0]["pending"], 3);
    // These payloads are no readings: dump says so for each and goes on, check ends with 1.
    let (code, out, _) = run(&["dump", path, "--from", "2", "--limit", "1"]);
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &line["position"]), (Some(0), &2.into()));
    assert!(line["error"].is_string());
    let (code, _, said) = run(&["check", path]);
    assert!(code == Some(1) && said.contains("position 1: "), "{said}");
    assert_eq!(run(&["check", "/not/there"]).0, Some(74));
}

#[tokio::test]
async fn damage_is_named_with_its_file_and_ends_check_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), &["a"]);
    append(&spool, 1..=3).await;
    spool.close().await.unwrap();
    let file = dir.path().join("v1").join(format!("{:020}.seg", 1));
    let mut octets = fs::read(&file).unwrap();
    octets[120] ^= 1;
    fs::write(&file, octets).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_linesman")).args(["spool", "check"]).arg(dir.path()).output();
    let done = done.unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(said.contains(&format!("{}: octets 117 to 134 are no record", file.display())), "{said}");
}

/// Else an upstream that waits for a loss to announce would be woken by its own questions, and go round and round.
#[tokio::test]
async fn whoever_asks_is_not_news() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), &["u"]);
    append(&spool, 1..=3).await;
    let reader = spool.reader("u").unwrap();
    let mut account = reader.account();
    for _ in 0..20 {
        reader.read(3, 10, 1000).await.unwrap();
    }
    spool.commit().await.unwrap();
    account.mark_unchanged();
    for _ in 0..20 {
        reader.read(3, 10, 1000).await.unwrap();
    }
    spool.commit().await.unwrap();
    assert!(!account.has_changed().unwrap());
    reader.ack(2).await.unwrap();
    spool.commit().await.unwrap();
    assert!(account.has_changed().unwrap());
}
