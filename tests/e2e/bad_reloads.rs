//! Configurations that do not check, by chance and one after the other, under a gateway that runs: each is refused with
//! the line that is wrong, and no meter misses anything.

use crate::gateway::{Gateway, is_long, linesman, until};
use crate::outage::loaded;
use linesman::config::{self, Overlays};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn times() -> usize {
    if is_long() { 200 } else { 12 }
}

/// The same configuration with something replaced, so that it does not check.
fn broken(good: &str) -> String {
    let pieces = ["", ":", "{", "]", "9999999999999", "\t", "x", "-1", "\"", "&a", "null", "1e400"];
    loop {
        let at = fastrand::usize(..good.len());
        let to = (at + fastrand::usize(..12)).min(good.len());
        let (Some(before), Some(after)) = (good.get(..at), good.get(to..)) else { continue };
        let text = [before, pieces[fastrand::usize(..pieces.len())], after].concat();
        if config::parse("linesman.yaml", &text, &Overlays::default(), Path::new(""), &[]).is_err() {
            return text;
        }
    }
}

#[test]
fn configurations_that_do_not_check_cost_no_poll_and_each_refusal_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let (_meters, _broker, mut inbox, good) = loaded(folder.path());
    let mut gateway = Gateway::start(folder.path(), &good);
    inbox.until("readings", |records| (records.len() > 50).then_some(()));
    let file = folder.path().join("linesman.yaml");
    for time in 1..=times() {
        let text = broken(&good);
        fs::write(&file, &text).unwrap();
        let (exit, _) = linesman(&["run", "--config", file.to_str().unwrap()]);
        assert_eq!(exit.code(), Some(78), "{text}");
        gateway.signal(Signal::HUP);
        let refusals = |log: &str| log.matches("the new configuration is refused").count();
        until("a refusal", || (refusals(&gateway.log()) == time).then_some(()));
    }
    let before = inbox.records.len();
    inbox.until("polling to go on", |records| (records.len() > before + 100).then_some(()));
    assert!(gateway.alive());
    let log = gateway.log();
    let mut refusals = log.split("the new configuration is refused");
    refusals.next();
    for refusal in refusals {
        let place = refusal.split("linesman.yaml:").nth(1).and_then(|rest| rest.split(':').next());
        assert!(place.is_some_and(|line| line.parse::<u32>().is_ok()), "no line: {refusal}");
    }
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().0.success());
    inbox.take();
    assert_eq!(inbox.epochs().len(), 1, "it was never started again");
    let mut by_device: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for record in &inbox.records {
        by_device.entry(&record.device).or_default().push(record.ts);
    }
    let pauses = by_device.values().flat_map(|stamps| stamps.windows(2).map(|pair| pair[1] - pair[0]));
    let longest = pauses.max().unwrap();
    let most = if is_long() { 1000 } else { 3000 };
    assert!(longest < most, "a meter that is read ten times a second was not for {longest} ms");
}
