//! `kill -9` at twenty random moments under load: nothing that was durable is missing, nothing is numbered twice.

use crate::gateway::{Gateway, linesman, until};
use crate::inbox::{assert_in_order, missing};
use crate::outage::loaded;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

const DEATHS: usize = 20;

/// The highest number of each epoch that lies durable in the spool of a gateway that is not running.
fn durable(folder: &Path) -> BTreeMap<String, u64> {
    let spool = folder.join("spool");
    let (status, dump) = linesman(&["spool", "dump", spool.to_str().unwrap()]);
    assert!(status.success(), "spool dump: {status}");
    let mut highest = BTreeMap::new();
    for line in dump.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(seq) = record["seq"].as_u64() else { continue };
        let epoch = record["epoch"].as_str().unwrap().to_owned();
        let known = highest.entry(epoch).or_insert(0);
        *known = seq.max(*known);
    }
    highest
}

#[test]
fn killed_at_twenty_random_moments_it_loses_nothing_durable_and_numbers_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (_meters, _broker, mut inbox, config) = loaded(folder.path());
    let mut promised: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..DEATHS {
        let gateway = Gateway::start(folder.path(), &config);
        let before = inbox.records.len();
        // A random amount of work, then a random moment within it.
        let work = fastrand::usize(0..300);
        inbox.until("records to flow", |records| (records.len() >= before + work).then_some(()));
        thread::park_timeout(Duration::from_micros(fastrand::u64(0..400_000)));
        gateway.kill();
        for (epoch, seq) in durable(folder.path()) {
            let known = promised.entry(epoch).or_insert(0);
            *known = seq.max(*known);
        }
    }
    let told = fs::read_to_string(folder.path().join("gateway.log")).unwrap_or_default().len();
    let gateway = Gateway::start(folder.path(), &config);
    until("the last gateway to say that it runs", || gateway.log()[told..].contains("running").then_some(()));
    inbox.until("everything that was promised", |records| {
        let arrived =
            |epoch: &str, seq: u64| records.iter().any(|record| record.epoch == epoch && record.seq == seq);
        promised.iter().all(|(epoch, &seq)| arrived(epoch, seq)).then_some(())
    });
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
    inbox.take();

    assert!(!promised.is_empty(), "nothing was ever durable");
    let mut texts: BTreeMap<(String, u64), String> = BTreeMap::new();
    for record in &inbox.records {
        let known = texts.entry((record.epoch.clone(), record.seq)).or_insert_with(|| record.text.clone());
        assert_eq!(*known, record.text, "one number, two records");
    }
    for (epoch, numbers) in inbox.epochs() {
        assert_in_order(&inbox, &epoch);
        let durable = promised.get(&epoch).copied().unwrap_or_default();
        // A live record goes out before its commit: what was behind it in the other lane may not have been durable.
        let missing = missing(&inbox, &epoch);
        assert!(missing.iter().all(|number| *number > durable), "{epoch}: {missing:?}, durable to {durable}");
        assert!(numbers.iter().max() >= Some(&durable), "epoch {epoch}: {durable} was durable");
    }
    assert!(inbox.epochs().len() <= DEATHS + 1);
}
