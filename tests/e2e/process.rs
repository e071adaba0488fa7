//! The process as a whole: a second one, a stop at any moment, and what a panic says.

use crate::gateway::{Gateway, is_long, until};
use crate::inbox::assert_none_missing;
use crate::outage::{LOAD, loaded};
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

#[test]
fn an_edited_profile_begins_its_own_device_anew_and_no_other_not_even_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (_meters, _broker, mut inbox, yaml) = loaded(folder.path());
    let small = folder.path().join("small.yaml");
    let own = folder.path().join("own.yaml");
    fs::copy(&small, &own).unwrap();
    let (small, of_one) = (small.display().to_string(), own.display().to_string());
    let yaml = yaml
        .replace(&format!("name: meter-3, profile: {small}"), &format!("name: meter-3, profile: {of_one}"));
    assert!(yaml.contains(&of_one));
    let gateway = Gateway::start(folder.path(), &yaml);
    let of_three = |record: &crate::inbox::Record| record.device == "meter-3";
    inbox.until("readings of all", |records| {
        (records.len() > 100 && records.iter().any(of_three)).then_some(())
    });
    let text = fs::read_to_string(&own).unwrap();
    fs::write(&own, text.replace("value_0:", "renamed:")).unwrap();
    gateway.signal(Signal::HUP);
    inbox.until("the new name", |records| {
        records.iter().any(|record| record.values().contains_key("renamed")).then_some(())
    });
    let log = gateway.log();
    assert!(log.contains("devices_exchanged=line lan") && log.contains("begun_again=none"), "{log}");
    assert_eq!(log.matches("line is up").count(), 1, "{log}");
    assert_eq!(log.matches("device answers").count(), usize::from(LOAD) + 1, "{log}");
    let wrong = |record: &&crate::inbox::Record| !of_three(record) && record.values().contains_key("renamed");
    assert_eq!(inbox.records.iter().filter(wrong).count(), 0);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().0.success());
    inbox.take();
    for (epoch, _) in inbox.epochs() {
        assert_none_missing(&inbox, &epoch);
    }
}
