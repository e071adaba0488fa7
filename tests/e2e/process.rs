//! The process as a whole: a second one, a stop at any moment, and what a panic says.

use crate::gateway::{Gateway, is_long, until};
use crate::inbox::assert_none_missing;
use crate::outage::loaded;
use rustix::process::Signal;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Random moments at which a gateway under load is asked to stop.
fn stops() -> usize {
    if is_long() { 200 } else { 8 }
}

#[test]
fn a_second_gateway_on_the_same_spool_is_refused_at_once_with_the_firsts_number_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_meters, _broker, mut inbox, yaml) = loaded(folder.path());
    let first = Gateway::start(folder.path(), &yaml);
    inbox.until("records to flow", |records| (records.len() > 20).then_some(()));
    let before = inbox.records.len();
    let begun = Instant::now();
    let second = Gateway::start(folder.path(), &yaml);
    let (pid, log) = (first.pid(), folder.path().join("gateway.log"));
    let (status, _) = second.wait();
    assert_eq!(status.code(), Some(74));
    let most = Duration::from_secs(if is_long() { 1 } else { 5 });
    assert!(begun.elapsed() < most, "{:?}", begun.elapsed());
    let said = fs::read_to_string(log).unwrap();
    assert!(said.contains(&format!("is in use by process {pid}")), "{said}");
    inbox.until("the first to go on", |records| (records.len() > before + 50).then_some(()));
    first.signal(Signal::TERM);
    assert!(first.wait().0.success());
    inbox.take();
    assert_eq!(inbox.epochs().len(), 1);
}

#[test]
fn a_stop_at_any_moment_under_load_is_over_in_five_seconds_and_costs_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_meters, _broker, mut inbox, yaml) = loaded(folder.path());
    for stop in 1..=stops() {
        let told = fs::read_to_string(folder.path().join("gateway.log")).unwrap_or_default().len();
        let gateway = Gateway::start(folder.path(), &yaml);
        until("it to run", || gateway.log()[told..].contains("upstream connected").then_some(()));
        thread::park_timeout(Duration::from_micros(fastrand::u64(0..500_000)));
        gateway.signal(Signal::TERM);
        let (status, took) = gateway.wait();
        assert_eq!(status.code(), Some(0), "stop {stop}");
        assert!(took < Duration::from_secs(5), "stop {stop}: {took:?}");
    }
    // What was published last is on its way to the subscriber, behind the last good-bye.
    until("the last good-bye", || {
        inbox.take();
        let last = inbox.others.iter().rev().find(|(topic, _)| topic == "status");
        last.filter(|(_, status)| status.contains(r#""online":false"#)).map(drop)
    });
    for (epoch, numbers) in inbox.epochs() {
        assert_none_missing(&inbox, &epoch);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "epoch {epoch}: a number came twice");
    }
}
