//! The power goes at a random moment under load, on a real ext4: what is older than a commit is there, and every start is
//! a clean one.
//!
//! A cut is a copy of the block device as it is at one instant, mounted and looked at while the gateway runs on. A copy
//! takes a while, and blocks written meanwhile would stand in it beside older ones that were written before them: no power
//! cut leaves that. Nor would it be fair to stop the writer first (it stops when its `fdatasync` is through, never within), or
//! to freeze its file system (that syncs it). So the spool's ext4 lies in a file on another ext4, and that is the one which is
//! frozen: the device below the spool stands still at once, in the middle of whatever was written, and the file system above
//! is told nothing. What the device has taken is what is left, in the order in which it was written, cut between two of its
//! 4 KiB pages: a medium that loses or reorders what it has not been told to flush is what `spool::tests::crash` is about.

use crate::gateway::{Gateway, is_long, linesman};
use crate::mounted::{Mounted, run};
use crate::outage::loaded;
use crate::script::on_one_thread;
use linesman::spool;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// As `commit_every` of the configuration.
const COMMIT_MS: i64 = 1000;

fn cuts() -> usize {
    if is_long() { 25 } else { 2 }
}

/// A card whose power can be cut: an ext4 in a file on another ext4.
struct Card {
    // Before the one below it.
    card: Mounted,
    host: Mounted,
    image: PathBuf,
}

impl Card {
    fn insert(folder: &Path) -> Option<Card> {
        let host = Mounted::ext4(&folder.join("host.img"), 192 << 20, &folder.join("host"))?;
        let image = host.folder.join("card.img");
        let card = Mounted::ext4(&image, 64 << 20, &folder.join("card"))?;
        Some(Card { card, host, image })
    }

    /// The device as it is at this instant, in another file. One shell does it all, so that nothing stays frozen.
    fn cut(&self, to: &Path) {
        let script = "fsfreeze -f \"$1\" || exit 1; cat \"$2\"; cp --sparse=always \"$3\" \"$4\"; done=$?; cat \"$2\"; fsfreeze -u \
                      \"$1\"; exit $done";
        let stat = format!("/sys/block/{}/stat", self.card.device());
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.host.folder).arg(stat).arg(&self.image).arg(to);
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
        let said = run(&mut command).unwrap();
        // Writes completed and their sectors: Documentation/block/stat.rst.
        let written: Vec<Vec<&str>> =
            said.lines().map(|line| line.split_whitespace().skip(4).step_by(2).take(2).collect()).collect();
        assert!(written.len() == 2 && written[0] == written[1], "not one instant: {said}");
    }
}

/// All that lies in a spool: epoch and number.
fn records(spool: &Path) -> BTreeSet<(String, u64)> {
    let (status, dump) = linesman(&["spool", "dump", spool.to_str().unwrap()]);
    assert!(status.success(), "{status}");
    let records = dump.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let numbers =
        |record: serde_json::Value| Some((record["epoch"].as_str()?.to_owned(), record["seq"].as_u64()?));
    records.filter_map(numbers).collect()
}

/// The spool opens without a complaint, its account balances, and it takes and keeps what comes.
fn starts_clean(spool: &Path, cut: usize) {
    let (status, said) = linesman(&["spool", "check", spool.to_str().unwrap()]);
    assert!(status.success(), "cut {cut}: {said}");
    let open = || {
        let config = spool::Config { dir: spool.to_owned(), ..spool::Config::default() };
        crate::script::unlocked(|| spool::start(config.clone(), &["scada".to_owned()]))
    };
    on_one_thread(async {
        let spool = open();
        let (status, reader) = (spool.status().borrow().clone(), spool.reader("scada").unwrap());
        assert!(status.healthy, "cut {cut}: {status:?}");
        let account = reader.account().borrow().clone();
        let dropped: u64 = account.dropped.values().sum();
        assert_eq!(
            account.sampled,
            account.delivered + account.pending + account.left_out + dropped,
            "cut {cut}: {account:?}"
        );
        assert_eq!(dropped, 0, "cut {cut}: {account:?}");
        let head = reader.head();
        spool.writer().append(1 << 42, vec![1; 100]).await.unwrap();
        spool.close().await.unwrap();
        let spool = open();
        let newest = spool.reader("scada").unwrap().read(head, 10, usize::MAX).await.unwrap();
        assert_eq!(newest.len(), 1, "cut {cut}");
        spool.close().await.unwrap();
    });
}

#[test]
fn a_power_cut_at_any_moment_under_load_costs_nothing_older_than_a_commit_and_every_start_is_clean() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(card) = Card::insert(folder.path()) else { return };
    let (_meters, _broker, mut inbox, yaml) = loaded(folder.path());
    let gateway = Gateway::start(folder.path(), &yaml.replace("dir: spool", "dir: card/spool"));
    inbox.until("records to flow", |records| (records.len() > 200).then_some(()));
    let mut left = Vec::new();
    for cut in 1..=cuts() {
        // A commit and its cursors take some milliseconds of each second: some cuts fall into it.
        thread::park_timeout(Duration::from_micros(fastrand::u64(0..2_000_000)));
        inbox.take();
        let (image, moment) = (folder.path().join("cut.img"), gateway.now_ms());
        card.cut(&image);
        let after = Mounted::image(&image, &folder.path().join("cut")).unwrap();
        let spool = after.folder.join("spool");
        left.push((moment, records(&spool)));
        starts_clean(&spool, cut);
    }
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
    inbox.take();
    // A live record goes out before its commit: all that were ever sampled have arrived here.
    let (mut checked, mut youngest) = (0, 0);
    for (cut, (moment, there)) in left.iter().enumerate() {
        let number = |record: &crate::inbox::Record| (record.epoch.clone(), record.seq);
        for record in inbox.records.iter().filter(|record| record.ts < moment - COMMIT_MS - 1000) {
            assert!(there.contains(&number(record)), "cut {cut}: {} ms old: {record:?}", moment - record.ts);
            checked += 1;
        }
        let lost = inbox.records.iter().filter(|one| one.ts < *moment && !there.contains(&number(one)));
        youngest = lost.map(|record| moment - record.ts).max().unwrap_or(0).max(youngest);
    }
    assert!(checked > 100 * cuts(), "{checked} records were old enough");
    if is_long() {
        println!("{} cuts: the oldest record that one cost was {youngest} ms old", cuts());
    }
}
