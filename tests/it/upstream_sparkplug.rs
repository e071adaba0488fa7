//! An edge node of Sparkplug B against a broker that answers only when the test says so.

#![allow(clippy::wildcard_enum_match_arm, reason = "of what is heard, what matters here is named")]

use crate::common;
use common::sparkplug::payload::{Metric, Payload};
use common::sparkplug::{Broker, Client, Heard, kind};
use common::upstream::{Gateway, Ground};
use linesman::model::status::UpstreamState;
use linesman::model::{
    Bad, Clock as _, DeviceInfo, Form, Name, PointInfo, Reading, Sample, Site, SystemClock, Timestamp, Value,
};
use linesman::record;
use linesman::upstream;
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn point(point: &str) -> PointInfo {
    PointInfo {
        name: name(point),
        unit: "V".into(),
        quantity: "voltage".into(),
        phase: None,
        direction: None,
        resolution: None,
        range: None,
        index: false,
        form: Form::Number,
    }
}

fn site(devices: usize, points: usize) -> Site {
    let device = |n: usize| DeviceInfo {
        name: name(&format!("m{n}")),
        line: name("l"),
        unit: 1,
        profile: "p".into(),
        vendor: "v".into(),
        model: "m".into(),
        identity: None,
        every: Duration::from_secs(1),
        points: (0..points).map(|n| point(&format!("p{n}"))).collect(),
    };
    Site { gateway: name("g"), config_hash: String::new(), devices: (0..devices).map(device).collect() }
}

fn reading(device: &str, ts: i64, samples: Vec<(&str, Sample)>) -> Vec<u8> {
    record::encode(&Reading {
        device: name(device),
        ts: Timestamp(ts),
        took: Duration::ZERO,
        clock_unsure: false,
        boot: None,
        samples: samples.into_iter().map(|(point, sample)| (name(point), sample)).collect(),
    })
}

fn number(n: u64) -> Sample {
    Ok(Value::Number(n.into()))
}

fn config(broker: &Broker) -> upstream::Config {
    common::upstream::config(kind(broker.port()))
}

async fn backlog(ground: &Ground, records: Vec<Vec<u8>>) {
    let records = records.into_iter().map(|octets| (5, octets)).collect();
    ground.spool.writer().append_all(records).await.unwrap();
    ground.spool.commit().await.unwrap();
}

async fn sample(gateway: &Gateway, octets: Vec<u8>) {
    gateway.spool.writer().append(SystemClock.utc().0, octets).await.unwrap();
}

async fn until_cursor_is(gateway: &Gateway, position: u64) {
    let mut account = gateway.spool.reader("u").unwrap().account();
    let reached = timeout(PATIENCE, account.wait_for(|account| account.cursor == position)).await;
    reached.unwrap_or_else(|_| panic!("the cursor is at {}", gateway.account().cursor)).unwrap();
}

fn metric(payload: &Payload, n: usize) -> &Metric {
    payload.metrics.get(n).unwrap_or_else(|| panic!("{payload:?}"))
}

#[tokio::test]
async fn nothing_is_settled_before_the_broker_has_read_so_far_and_what_it_has_not_goes_again() {
    let broker = Broker::start().await;
    let gateway = Ground::new().deliver(site(1, 1), config(&broker));
    let mut client = broker.admit().await;
    client.publish(&["/DBIRTH/"]).await;
    let now = SystemClock.utc().0;
    sample(&gateway, reading("m0", now, vec![("p0", number(7))])).await;
    let (topic, live) = client.data().await;
    assert_eq!(topic, "spBv1.0/G/DDATA/E/m0");
    assert_eq!((metric(&live, 0).number(), metric(&live, 0).is_historical), (Some(7.0), false));
    // The question behind it comes, and is not answered.
    assert!(matches!(client.next().await, Heard::Ping));
    assert_eq!(gateway.account().delivered, 0);
    drop(client);
    let mut client = broker.admit().await;
    let (_, again) = client.data().await;
    let (before, after) = (metric(&live, 0), metric(&again, 0));
    assert_eq!((after.alias, after.timestamp, after.number()), (before.alias, before.timestamp, Some(7.0)));
    assert!(after.is_historical);
    assert!(matches!(client.next().await, Heard::Ping));
    client.send(b"\xd0\x00").await;
    until_cursor_is(&gateway, 1).await;
    assert_eq!(gateway.account().delivered, 1);
}

#[tokio::test]
async fn a_record_that_breaks_every_session_is_set_aside_and_the_rest_goes_on() {
    let (broker, ground) = (Broker::start().await, Ground::new());
    let now = SystemClock.utc().0;
    let numbers = (1..=5).map(|n| reading("m0", now - 60_000 + n, vec![("p0", number(n.cast_unsigned()))]));
    backlog(&ground, numbers.collect()).await;
    let gateway = ground.deliver(site(1, 1), config(&broker));
    let mut seen = Vec::new();
    let mut sessions = 0;
    'sessions: loop {
        sessions += 1;
        let mut client = broker.admit().await;
        loop {
            match client.next().await {
                Heard::Publish(topic, payload) if topic.contains("/DDATA/") => {
                    if payload.metrics.iter().any(|metric| metric.number() == Some(3.0)) {
                        continue 'sessions;
                    }
                    seen.extend(payload.metrics.iter().filter_map(Metric::number));
                }
                Heard::Ping => client.send(b"\xd0\x00").await,
                Heard::Closed => continue 'sessions,
                _ => {}
            }
            if seen.contains(&4.0) && seen.contains(&5.0) {
                client.send(b"\xd0\x00").await;
                until_settled(&gateway, &mut client).await;
                break 'sessions;
            }
        }
    }
    assert_eq!(sessions, 4, "two to suspect it, one to prove it, one for the rest");
    assert!(seen.starts_with(&[1.0, 2.0]), "{seen:?}");
    let account = gateway.account();
    assert_eq!(account.dropped.get("refused"), Some(&1));
    assert_eq!(account.delivered + account.left_out, 4);
    assert!(gateway.aside().contains("\"p0\\\":3"), "{}", gateway.aside());
}

/// Answers pings until all is settled.
async fn until_settled(gateway: &Gateway, client: &mut Client) {
    let mut account = gateway.spool.reader("u").unwrap().account();
    while account.borrow_and_update().pending > 0 {
        tokio::select! {
            heard = client.next() => if matches!(heard, Heard::Ping) { client.send(b"\xd0\x00").await },
            changed = account.changed() => changed.unwrap(),
        }
    }
}

#[tokio::test]
async fn many_devices_are_all_born_before_anything_else_is_said() {
    let broker = Broker::start().await;
    let _gateway = Ground::new().deliver(site(500, 2), config(&broker));
    let mut client = broker.admit().await;
    let (mut born, mut seq) = (Vec::new(), 0);
    while born.len() < 500 {
        let (topic, payload) = client.publish(&["spBv1.0"]).await;
        assert_eq!(payload.seq, Some(seq % 256), "{topic}");
        seq += 1;
        if topic != "spBv1.0/G/NBIRTH/E" {
            assert!(topic.starts_with("spBv1.0/G/DBIRTH/E/m"), "{topic}");
            assert!(payload.metrics.iter().all(|metric| metric.is_null && metric.quality() == Some(500)));
            born.push(topic);
        }
    }
}

#[tokio::test]
async fn a_reading_of_many_metrics_goes_in_messages_of_five_hundred() {
    let broker = Broker::start().await;
    let gateway = Ground::new().deliver(site(1, 1200), config(&broker));
    let mut client = broker.admit().await;
    client.publish(&["/DBIRTH/"]).await;
    let names: Vec<String> = (0..1200).map(|n| format!("p{n}")).collect();
    let samples = names.iter().map(|name| (name.as_str(), number(1))).collect();
    sample(&gateway, reading("m0", SystemClock.utc().0, samples)).await;
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 1200 {
        sizes.push(client.data().await.1.metrics.len());
    }
    assert_eq!(sizes, [500, 500, 200]);
    assert!(matches!(client.next().await, Heard::Ping));
    assert_eq!(gateway.account().delivered, 0, "it is one record");
    client.send(b"\xd0\x00").await;
    until_cursor_is(&gateway, 1).await;
}

#[tokio::test]
async fn a_device_whose_birth_is_too_large_costs_only_itself() {
    let broker = Broker::start().await;
    let mut all = site(2, 1);
    all.devices[0].points = (0..5000).map(|n| point(&format!("a-long-name-of-a-point-{n}"))).collect();
    let gateway = Ground::new().deliver(all, config(&broker));
    let mut client = broker.admit().await;
    assert_eq!(client.publish(&["/DBIRTH/"]).await.0, "spBv1.0/G/DBIRTH/E/m1");
    let now = SystemClock.utc().0;
    sample(&gateway, reading("m0", now, vec![("a-long-name-of-a-point-1", number(1))])).await;
    sample(&gateway, reading("m1", now, vec![("p0", number(1))])).await;
    assert_eq!(client.data().await.0, "spBv1.0/G/DDATA/E/m1");
    assert!(matches!(client.next().await, Heard::Ping));
    client.send(b"\xd0\x00").await;
    until_cursor_is(&gateway, 2).await;
    assert_eq!(gateway.account().dropped.get("too-large"), Some(&1));
}

#[tokio::test]
async fn a_subscription_that_is_refused_is_said_in_words_that_help() {
    let broker = Broker::start().await;
    let mut gateway = Ground::new().deliver(site(1, 1), config(&broker));
    let mut client = broker.welcome().await;
    assert!(matches!(client.next().await, Heard::Subscribe));
    client.send(b"\x90\x03\x00\x01\x80").await;
    let status = &mut gateway.running.status;
    let reached =
        timeout(PATIENCE, status.wait_for(|status| status.state == UpstreamState::BackingOff)).await;
    let detail = reached.unwrap().unwrap().detail.clone().unwrap();
    assert!(detail.contains("subscribe to spBv1.0/G/NCMD/E"), "{detail}");
}

#[tokio::test]
async fn the_backlog_of_a_lost_meter_goes_between_its_birth_and_its_death() {
    let (broker, ground) = (Broker::start().await, Ground::new());
    let now = SystemClock.utc().0;
    let lost = || reading("m0", now - 58_000, vec![("p0", Err(Bad::DeviceLost))]);
    backlog(&ground, vec![reading("m0", now - 60_000, vec![("p0", number(1))]), lost()]).await;
    let gateway = ground.deliver(site(2, 1), config(&broker));
    let mut client = broker.admit().await;
    let mut said = Vec::new();
    while said.last().is_none_or(|topic: &String| !topic.contains("DDEATH")) {
        let (topic, payload) = client.publish(&["spBv1.0"]).await;
        if topic.contains("/DDATA/") {
            assert!(payload.metrics.iter().all(|metric| metric.is_historical), "{payload:?}");
        }
        said.push(topic.replace("spBv1.0/G/", ""));
    }
    assert_eq!(said, ["NBIRTH/E", "DBIRTH/E/m1", "DBIRTH/E/m0", "DDATA/E/m0", "DDEATH/E/m0"]);
    // It answers again.
    sample(&gateway, reading("m0", SystemClock.utc().0, vec![("p0", number(2))])).await;
    let (topic, birth) = client.publish(&["/DBIRTH/", "/DDATA/"]).await;
    assert_eq!((topic.as_str(), metric(&birth, 0).number()), ("spBv1.0/G/DBIRTH/E/m0", Some(2.0)));
}

#[tokio::test]
async fn what_has_not_changed_is_not_said_and_counts_as_left_out() {
    let broker = Broker::start().await;
    let gateway = Ground::new().deliver(site(1, 2), config(&broker));
    let mut client = broker.admit().await;
    client.publish(&["/DBIRTH/"]).await;
    let at = |a: u64, b: u64| reading("m0", SystemClock.utc().0, vec![("p0", number(a)), ("p1", number(b))]);
    sample(&gateway, at(1, 1)).await;
    assert_eq!(client.data().await.1.metrics.len(), 2);
    sample(&gateway, at(1, 1)).await;
    sample(&gateway, at(1, 2)).await;
    let (_, news) = client.data().await;
    assert_eq!((news.metrics.len(), metric(&news, 0).number()), (1, Some(2.0)));
    until_settled(&gateway, &mut client).await;
    let account = gateway.account();
    assert_eq!((account.delivered, account.left_out), (2, 1));
}

#[tokio::test]
async fn in_strict_order_the_backlog_is_history_and_what_follows_is_live() {
    let (broker, ground) = (Broker::start().await, Ground::new());
    let now = SystemClock.utc().0;
    backlog(&ground, vec![reading("m0", now - 90_000, vec![("p0", number(1))])]).await;
    let mut config = config(&broker);
    config.order = upstream::Order::Strict;
    let gateway = ground.deliver(site(1, 1), config);
    let mut client = broker.admit().await;
    let (_, history) = client.data().await;
    assert_eq!((metric(&history, 0).number(), metric(&history, 0).is_historical), (Some(1.0), true));
    sample(&gateway, reading("m0", SystemClock.utc().0, vec![("p0", number(2))])).await;
    let (_, live) = client.data().await;
    assert_eq!((metric(&live, 0).number(), metric(&live, 0).is_historical), (Some(2.0), false));
}
