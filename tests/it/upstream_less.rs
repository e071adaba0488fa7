//! Less to send: what is left out is counted as that and nothing else, and what waits in a window is never lost.

use crate::common::broker::{Client, Packet, StubBroker};
use crate::common::upstream::{Gateway, Ground, config};
use linesman::model::{Clock as _, DeviceInfo, PointInfo, Reading, Site, SystemClock, Timestamp, Value};
use linesman::record;
use linesman::spool::Account;
use linesman::upstream::thin::{Aggregate, Amount, ByPoint, Rules};
use linesman::upstream::{self, Kind, file, mqtt};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const DAY_MS: i64 = 86_400_000;

fn site() -> Site {
    let point = PointInfo {
        name: "n".parse().unwrap(),
        unit: String::new(),
        quantity: "other".into(),
        phase: None,
        direction: None,
        resolution: None,
        range: None,
        index: false,
        form: Default::default(),
    };
    let device = |name: &str| DeviceInfo {
        name: name.parse().unwrap(),
        line: "l".parse().unwrap(),
        unit: 1,
        profile: "p".into(),
        vendor: "v".into(),
        model: "m".into(),
        identity: None,
        every: Duration::from_secs(1),
        points: [point.clone()].into(),
    };
    Site {
        gateway: "g".parse().unwrap(),
        config_hash: "0".into(),
        devices: vec![device("m"), device("other")],
    }
}

fn all<T>(value: T) -> ByPoint<T> {
    ByPoint { all: Some(value), ..ByPoint::default() }
}

fn unchanged_left_out() -> Rules {
    Rules { deadband: all(Amount::Absolute(0_u64.into())), ..Rules::default() }
}

fn means_of_a_day() -> Rules {
    Rules { aggregate: all(Aggregate::Mean), window: Duration::from_secs(86_400), ..Rules::default() }
}

fn to(broker: &StubBroker, thin: Rules) -> upstream::Config {
    let access = mqtt::Access::here(broker.port());
    let kind = Kind::Mqtt(mqtt::Config { access, topic: "linesman/g".into(), ..mqtt::Config::default() });
    upstream::Config { thin, ..config(kind) }
}

fn record_of(device: &str, ts: i64, n: u64) -> (i64, Vec<u8>) {
    let reading = Reading {
        device: device.parse().unwrap(),
        ts: Timestamp(ts),
        took: Duration::ZERO,
        clock_unsure: false,
        boot: None,
        samples: vec![("n".parse().unwrap(), Ok(Value::Number(n.into())))],
    };
    (ts, record::encode(&reading))
}

async fn sample_at(spool: &linesman::spool::Spool, device: &str, ts: i64, n: u64) {
    spool.writer().append_all(vec![record_of(device, ts, n)]).await.unwrap();
}

async fn until(gateway: &Gateway, what: &str, so: impl Fn(&Account) -> bool) -> Account {
    let mut account = gateway.spool.reader("u").unwrap().account();
    let reached = timeout(PATIENCE, account.wait_for(so)).await;
    let account =
        reached.unwrap_or_else(|_| panic!("never {what}: {:?}", gateway.account())).unwrap().clone();
    let dropped: u64 = account.dropped.values().sum();
    assert_eq!(account.sampled, account.delivered + account.pending + account.left_out + dropped);
    account
}

/// A session that has begun: what is sampled from here on is live.
async fn welcome(broker: &StubBroker) -> Client {
    let (mut client, _) = broker.welcome().await;
    let (packet, _) = client.publish_to("/meta").await;
    client.acknowledge(packet).await;
    client
}

async fn next_of(client: &mut Client, device: &str) -> (u16, u64, serde_json::Value) {
    let (packet, payload) = client.publish_to(&format!("/{device}")).await;
    let value: serde_json::Value = serde_json::from_str(&payload).unwrap();
    (packet, value["seq"].as_u64().unwrap(), value)
}

#[tokio::test]
async fn what_has_not_changed_is_left_out_and_settled_only_behind_what_was_sent_before_it() {
    let broker = StubBroker::start().await;
    let gateway = Ground::new().deliver(site(), to(&broker, unchanged_left_out()));
    let mut client = welcome(&broker).await;
    let now = SystemClock.utc().0;
    for n in [7, 7, 7, 8, 8] {
        sample_at(&gateway.spool, "m", now, n).await;
    }
    let (first, one, _) = next_of(&mut client, "m").await;
    let (second, four, value) = next_of(&mut client, "m").await;
    assert_eq!((one, four, &value["values"]["n"]), (1, 4, &serde_json::json!(8)));
    client.acknowledge(second).await;
    let account = until(&gateway, "sampled", |account| account.sampled == 5).await;
    assert_eq!((account.pending, account.left_out), (5, 0), "the first is not acknowledged");
    client.acknowledge(first).await;
    let account = until(&gateway, "settled", |account| account.pending == 0).await;
    assert_eq!((account.delivered, account.left_out, account.dropped.len()), (2, 3, 0));
}

#[tokio::test]
async fn after_a_lost_connection_what_was_not_acknowledged_is_not_what_the_next_value_is_compared_with() {
    let broker = StubBroker::start().await;
    let gateway = Ground::new().deliver(site(), to(&broker, unchanged_left_out()));
    let mut client = welcome(&broker).await;
    let now = SystemClock.utc().0;
    sample_at(&gateway.spool, "m", now, 7).await;
    sample_at(&gateway.spool, "m", now, 7).await;
    assert_eq!(next_of(&mut client, "m").await.1, 1);
    drop(client);
    let (mut client, _) = broker.welcome().await;
    let (packet, seq, _) = next_of(&mut client, "m").await;
    assert_eq!(seq, 1);
    client.acknowledge(packet).await;
    let account = until(&gateway, "settled", |account| account.pending == 0).await;
    assert_eq!((account.delivered, account.left_out), (1, 1));
}

#[tokio::test]
async fn a_long_run_that_is_left_out_does_not_fill_the_window() {
    let broker = StubBroker::start().await;
    let gateway = Ground::new().deliver(site(), to(&broker, unchanged_left_out()));
    let mut client = welcome(&broker).await;
    let now = SystemClock.utc().0;
    for _ in 0..500 {
        sample_at(&gateway.spool, "m", now, 7).await;
    }
    sample_at(&gateway.spool, "other", now, 1).await;
    let (first, _, _) = next_of(&mut client, "m").await;
    let (second, seq, _) = next_of(&mut client, "other").await;
    assert_eq!(seq, 501);
    client.acknowledge(first).await;
    client.acknowledge(second).await;
    let account = until(&gateway, "settled", |account| account.pending == 0).await;
    assert_eq!((account.delivered, account.left_out), (2, 499));
}

#[tokio::test]
async fn what_waits_in_a_window_is_pending_and_is_read_again_after_a_restart() {
    let broker = StubBroker::start().await;
    let gateway = Ground::new().deliver(site(), to(&broker, means_of_a_day()));
    let mut client = welcome(&broker).await;
    // In one day, wherever the day stands.
    let day = (SystemClock.utc().0 / DAY_MS + 1) * DAY_MS;
    for n in 1..=4 {
        sample_at(&gateway.spool, "m", day + 1 + n, u64::try_from(n).unwrap()).await;
    }
    let account = until(&gateway, "sampled", |account| account.sampled == 4).await;
    assert_eq!((account.pending, account.delivered, account.left_out), (4, 0, 0));
    let Gateway { spool, running, stop, dir, .. } = gateway;
    stop.cancel();
    let hear = async { while !matches!(client.next().await, Packet::Closed) {} };
    let _ = timeout(PATIENCE, async { tokio::join!(hear, running.ended) }).await;
    spool.close().await.unwrap();
    let again =
        linesman::spool::Config { dir: dir.path().join("spool"), max_size: 8 << 20, ..Default::default() };
    let spool = linesman::spool::start(again, &["u".to_owned()]).unwrap();
    let gateway = Ground { dir, spool }.deliver(site(), to(&broker, means_of_a_day()));
    let (mut client, _) = broker.welcome().await;
    let (packet, seq, value) = next_of(&mut client, "m").await;
    assert_eq!((seq, &value["values"]["n"]), (4, &serde_json::json!(2.5)));
    assert_eq!(until(&gateway, "there", |_| true).await.pending, 4);
    client.acknowledge(packet).await;
    let account = until(&gateway, "settled", |account| account.pending == 0).await;
    assert_eq!((account.delivered, account.left_out), (1, 3));
}

#[tokio::test]
async fn a_file_has_the_days_mean_when_the_next_day_begins_and_nobody_elses_points() {
    let ground = Ground::new();
    let path = ground.path().join("r.jsonl");
    let kind = Kind::File(file::Config { path: path.clone(), ..file::Config::default() });
    let only = ByPoint { all: None, named: [("m".to_owned(), ())].into() };
    let thin = Rules { only, ..means_of_a_day() };
    let mut config = upstream::Config { thin, ..config(kind) };
    config.order = upstream::Order::Strict;
    let days = [(1, 1), (2, 2), (DAY_MS, 6), (DAY_MS + 1, 9)];
    let records = days.iter().flat_map(|(ts, n)| ["m", "other"].map(|device| record_of(device, *ts, *n)));
    ground.spool.writer().append_all(records.collect()).await.unwrap();
    let gateway = ground.deliver(site(), config);
    let so = |account: &Account| account.sampled == 8 && account.pending == 0;
    let account = until(&gateway, "settled", so).await;
    assert_eq!((account.delivered, account.left_out), (2, 6));
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &serde_json::Value| {
        (line["ts"].as_i64().unwrap(), line["seq"].as_u64().unwrap(), line["values"]["n"].as_i64().unwrap())
    };
    // The second day is long over, and no more of it has come.
    assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), [(DAY_MS, 5, 3), (2 * DAY_MS, 7, 9)]);
}
