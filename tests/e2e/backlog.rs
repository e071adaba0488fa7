//! A backlog drains beside live readings: at its rate, each once, and nobody who looks at the plant waits for it.

use crate::broker::{Broker, Gate};
use crate::gateway::{Gateway, is_long, status_of, until};
use crate::inbox::{Inbox, assert_none_missing};
use crate::meter::small_profile;
use crate::outage::{meters_for_load, under_load};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Readings of the backlog a second.
const RATE: i64 = 60;

/// How long the broker is away.
fn away() -> Duration {
    Duration::from_secs(if is_long() { 120 } else { 6 })
}

#[test]
fn a_backlog_drains_at_its_rate_while_live_readings_arrive_within_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = meters_for_load(&profile);
    let broker = Broker::start(folder.path());
    let gate = Gate::before(broker.port());
    gate.shut();
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let yaml = under_load(&profile, &meters.place, gate.port())
        .replace("name: scada\n", &format!("name: scada\n    history_rate: {RATE}\n"))
        // The other MQTT, for once.
        .replace("mqtt: { ", "mqtt: { version: 5, ")
        + "http: { listen: \"127.0.0.1:0\" }\n";
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    let start = Instant::now();
    until("a backlog to gather", || (start.elapsed() >= away()).then_some(()));
    gate.open();
    inbox.until("the backlog to be delivered", |records| {
        let history = records.iter().filter(|record| record.lane == "h").count();
        let first_live = records.iter().find(|record| record.lane == "d").map(|record| record.seq)?;
        (history as u64 >= first_live - 1).then_some(())
    });
    let account = until("the acknowledgements", || {
        let account = status_of(&url)["upstreams"][0].clone();
        (account["pending"].as_u64()? < 32).then_some(account)
    });
    let of = |key: &str| account[key].as_u64().unwrap();
    assert_eq!(of("sampled"), of("delivered") + of("pending") + of("left_out"), "{account}");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().0.success());
    inbox.take();

    let lane = |wanted: &'static str| inbox.records.iter().filter(move |record| record.lane == wanted);
    let (first, last) = (lane("h").next().unwrap().seen, lane("h").next_back().unwrap().seen);
    let (count, span) = (i64::try_from(lane("h").count()).unwrap() - 1, last - first);
    let rate = count * 1000 / span;
    assert!((RATE * 9 / 10..=RATE * 11 / 10).contains(&rate), "{rate} a second: {count} in {span} ms");
    let mut late: Vec<i64> = lane("d").map(|record| record.seen - record.ts).collect();
    late.sort_unstable();
    let p99 = late[late.len() * 99 / 100];
    assert!(p99 <= 2000, "99 % of the live readings came within {p99} ms");
    let distinct: BTreeSet<u64> = inbox.records.iter().map(|record| record.seq).collect();
    assert_eq!(distinct.len(), inbox.records.len(), "some came twice");
    for (epoch, _) in inbox.epochs() {
        assert_none_missing(&inbox, &epoch);
    }
}
