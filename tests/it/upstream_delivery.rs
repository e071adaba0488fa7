//! What an upstream promises: at least once, in order, the cursor over the unbroken run, losses by name.

use crate::common::broker::{Client, Packet, StubBroker};
use linesman::model::status::UpstreamState;
use linesman::model::{
    Chronicle, Clock, DeviceInfo, Event, EventKind, Reading, Site, SystemClock, Timestamp, Value,
};
use linesman::upstream::{self, Kind, file, mqtt};
use linesman::{record, spool};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

struct Gateway {
    spool: spool::Spool,
    running: upstream::Running,
    stop: CancellationToken,
    _site: watch::Sender<Arc<Site>>,
    events: watch::Sender<Chronicle>,
    _dir: tempfile::TempDir,
}

fn site() -> Site {
    let device = DeviceInfo {
        name: "m".parse().unwrap(),
        line: "l".parse().unwrap(),
        unit: 1,
        profile: "p".into(),
        vendor: "v".into(),
        model: "m".into(),
        identity: None,
        every: Duration::from_secs(1),
        points: [].into(),
    };
    Site { gateway: "g".parse().unwrap(), config_hash: "01234567".into(), devices: vec![device] }
}

fn reading(n: u64, ts: Timestamp) -> Vec<u8> {
    record::encode(&Reading {
        device: "m".parse().unwrap(),
        ts,
        took: Duration::ZERO,
        clock_unsure: false,
        samples: vec![("n".parse().unwrap(), Ok(Value::Number(n.into())))],
    })
}

impl Gateway {
    fn start(kind: impl FnOnce(&Path) -> Kind) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let config =
            spool::Config { dir: dir.path().join("spool"), max_size: 8 << 20, ..spool::Config::default() };
        let spool = spool::start(config, &["u".to_owned()]).unwrap();
        let (site_tx, site) = watch::channel(Arc::new(site()));
        let stop = CancellationToken::new();
        let config = upstream::Config { name: "u".parse().unwrap(), kind: kind(dir.path()) };
        let reader = spool.reader("u").unwrap();
        let (events_tx, events) = watch::channel(Chronicle::default());
        let clock = Arc::new(SystemClock);
        let around = upstream::Surroundings { site, events, version: "0", clock, stop: stop.clone() };
        let running = upstream::start(config, reader, around);
        Gateway { spool, running, stop, _site: site_tx, events: events_tx, _dir: dir }
    }

    fn to(broker: &StubBroker) -> Gateway {
        let port = broker.port();
        Gateway::start(|_| {
            Kind::Mqtt(mqtt::Config { port, topic: "linesman/g".into(), ..mqtt::Config::default() })
        })
    }

    async fn sample(&self, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            let now = SystemClock.utc();
            self.spool.writer().append(now.0, reading(n, now)).await.unwrap();
        }
    }

    fn happens(&self, n: i64) {
        let (line, kind) = ("rs485".parse().unwrap(), EventKind::LineDown);
        let event = Event { ts: Timestamp(n), kind, line, device: None, text: "gone".into() };
        self.events.send_modify(|chronicle| chronicle.add(event));
    }

    fn cursor(&self) -> u64 {
        self.spool.reader("u").unwrap().cursor()
    }

    async fn until_cursor_is(&self, position: u64) {
        let mut account = self.spool.reader("u").unwrap().account();
        let reached = timeout(PATIENCE, account.wait_for(|account| account.cursor == position)).await;
        reached.unwrap_or_else(|_| panic!("the cursor is at {}, not {position}", self.cursor())).unwrap();
    }

    async fn until_state_is(&mut self, state: UpstreamState) -> String {
        let reached = timeout(PATIENCE, self.running.status.wait_for(|status| status.state == state)).await;
        reached.expect("that state never came").unwrap().detail.clone().unwrap_or_default()
    }
}

fn number(payload: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(payload).unwrap();
    value["values"]["n"].as_u64().unwrap()
}

/// The next `count` records, not acknowledged: packet identifiers and numbers.
async fn records(client: &mut Client, count: usize) -> Vec<(u16, u64)> {
    let mut out = Vec::new();
    while out.len() < count {
        let (packet, payload) = client.publish_to("/m").await;
        out.push((packet, number(&payload)));
    }
    out
}

#[tokio::test]
async fn the_session_begins_with_a_will_a_status_and_what_exists() {
    let broker = StubBroker::start().await;
    let _gateway = Gateway::to(&broker);
    let (mut client, connect) = broker.welcome().await;
    assert!(connect.clean);
    assert_eq!(connect.client_id, "linesman-g-u");
    assert_eq!(connect.will, Some(("linesman/g/status".into(), "{\"online\":false}".into(), true)));
    let Packet::Publish { topic, retain, payload, .. } = client.next().await else { panic!("no status") };
    assert_eq!((topic.as_str(), retain), ("linesman/g/status", true));
    assert!(payload.starts_with("{\"online\":true,\"ts\":"), "{payload}");
    let Packet::Publish { topic, retain, payload, .. } = client.next().await else { panic!("no meta") };
    assert_eq!((topic.as_str(), retain), ("linesman/g/meta", true));
    assert!(payload.contains("\"schema\":\""), "{payload}");
}

#[tokio::test]
async fn an_event_is_told_until_it_is_acknowledged_and_once_then() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    gateway.happens(1);
    let (mut client, _) = broker.welcome().await;
    let (_, first) = client.publish_to("/event").await;
    assert_eq!(first, r#"{"type":"line-down","ts":1,"line":"rs485","text":"gone"}"#);
    drop(client);
    let (mut client, _) = broker.welcome().await;
    let (packet, again) = client.publish_to("/event").await;
    assert_eq!(again, first, "it was not acknowledged");
    client.acknowledge(packet).await;
    gateway.happens(2);
    let (packet, second) = client.publish_to("/event").await;
    assert!(second.contains("\"ts\":2"), "{second}");
    client.acknowledge(packet).await;
    // The record's acknowledgement comes after the event's: once it has moved the cursor, the event is done.
    gateway.sample(1..=1).await;
    let record = records(&mut client, 1).await[0].0;
    client.acknowledge(record).await;
    gateway.until_cursor_is(1).await;
    drop(client);
    let (mut client, _) = broker.welcome().await;
    gateway.happens(3);
    let (_, third) = client.publish_to("/event").await;
    assert!(third.contains("\"ts\":3"), "told again: {third}");
}

#[tokio::test]
async fn the_cursor_moves_over_the_unbroken_run_of_acknowledgements_only() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let (mut client, _) = broker.welcome().await;
    gateway.sample(1..=4).await;
    let sent = records(&mut client, 4).await;
    assert_eq!(sent.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for later in [3, 1, 2] {
        client.acknowledge(sent[later].0).await;
    }
    // The upstream has taken those in when it has answered something that came after them.
    gateway.sample(5..=5).await;
    records(&mut client, 1).await;
    assert_eq!(gateway.cursor(), 0);
    client.acknowledge(sent[0].0).await;
    gateway.until_cursor_is(4).await;
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_on_the_next_connection_under_the_same_number() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let (mut client, _) = broker.welcome().await;
    gateway.sample(1..=3).await;
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(client.publish_to("/m").await);
    }
    client.acknowledge(first[0].0).await;
    gateway.until_cursor_is(1).await;
    drop(client);
    let (mut client, _) = broker.welcome().await;
    for (_, before) in &first[1..] {
        let (packet, again) = client.publish_to("/m").await;
        assert_eq!(again, *before);
        client.acknowledge(packet).await;
    }
    gateway.until_cursor_is(3).await;
}

#[tokio::test]
async fn no_more_than_a_window_is_in_flight() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let (mut client, _) = broker.welcome().await;
    gateway.sample(1..=100).await;
    let sent = records(&mut client, mqtt::WINDOW).await;
    let quiet = timeout(Duration::from_millis(300), client.next()).await;
    assert!(quiet.is_err(), "more than a window: {quiet:?}");
    for (packet, _) in sent {
        client.acknowledge(packet).await;
    }
    let mut next = u64::try_from(mqtt::WINDOW).unwrap();
    while next < 100 {
        let (packet, payload) = client.publish_to("/m").await;
        next += 1;
        assert_eq!(number(&payload), next);
        client.acknowledge(packet).await;
    }
    gateway.until_cursor_is(100).await;
}

#[tokio::test]
async fn fresh_readings_are_live_and_older_ones_history() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let old = Timestamp(SystemClock.utc().0 - 3_600_000);
    gateway.spool.writer().append(old.0, reading(1, old)).await.unwrap();
    let (mut client, _) = broker.welcome().await;
    let (packet, payload) = client.publish_to("linesman/g/h/m").await;
    assert_eq!(number(&payload), 1);
    client.acknowledge(packet).await;
    gateway.until_cursor_is(1).await;
    gateway.sample(2..=2).await;
    let (_, payload) = client.publish_to("linesman/g/d/m").await;
    assert_eq!(number(&payload), 2);
}

#[tokio::test]
async fn a_refusal_is_said_in_words_that_help() {
    let broker = StubBroker::start().await;
    let mut gateway = Gateway::to(&broker);
    let mut client = broker.accept().await;
    client.next().await;
    client.send(&[0x20, 2, 0, 4]).await;
    let detail = gateway.until_state_is(UpstreamState::BackingOff).await;
    assert!(detail.contains("the user name or password is wrong"), "{detail}");
}

#[tokio::test]
async fn a_clean_stop_delivers_says_good_bye_and_disconnects() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let (mut client, _) = broker.welcome().await;
    gateway.sample(1..=1).await;
    let (packet, _) = client.publish_to("/m").await;
    gateway.stop.cancel();
    client.acknowledge(packet).await;
    let (packet, payload) = client.publish_to("/status").await;
    assert!(payload.starts_with("{\"online\":false,\"ts\":"), "{payload}");
    client.acknowledge(packet).await;
    assert_eq!(client.next().await, Packet::Disconnect);
    timeout(PATIENCE, gateway.running.ended).await.expect("the upstream did not end").unwrap_err();
}

#[tokio::test]
async fn a_broker_that_never_greets_does_not_hold_up_the_stop() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let mut client = broker.accept().await;
    client.next().await;
    gateway.stop.cancel();
    timeout(PATIENCE, gateway.running.ended).await.expect("the upstream did not end").unwrap_err();
}

#[tokio::test]
async fn a_record_that_cannot_be_read_back_is_given_up_by_name_and_the_next_goes_on() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    gateway.spool.writer().append(1, vec![0xFF; 10]).await.unwrap();
    gateway.sample(2..=2).await;
    let (mut client, _) = broker.welcome().await;
    let (packet, payload) = client.publish_to("/m").await;
    assert_eq!(number(&payload), 2);
    client.acknowledge(packet).await;
    gateway.until_cursor_is(2).await;
    let account = gateway.spool.reader("u").unwrap().account().borrow().clone();
    assert_eq!((account.delivered, account.dropped["undecodable"]), (1, 1));
    assert_eq!(account.sampled, 2);
}

#[tokio::test]
async fn a_file_holds_every_record_once_and_in_order_before_it_is_acknowledged() {
    let gateway = Gateway::start(|dir| {
        Kind::File(file::Config { path: dir.join("r.jsonl"), ..file::Config::default() })
    });
    gateway.sample(1..=500).await;
    gateway.until_cursor_is(500).await;
    let text = std::fs::read_to_string(gateway._dir.path().join("r.jsonl")).unwrap();
    assert_eq!(text.lines().map(number).collect::<Vec<_>>(), (1..=500).collect::<Vec<_>>());
    assert!(text.lines().all(|line| line.starts_with("{\"gateway\":\"g\",\"device\":\"m\",")));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_keeps_its_records_and_says_so() {
    let mut gateway = Gateway::start(|dir| {
        Kind::File(file::Config { path: dir.join("no/r.jsonl"), ..file::Config::default() })
    });
    gateway.sample(1..=2).await;
    let detail = gateway.until_state_is(UpstreamState::BackingOff).await;
    assert!(detail.contains("no/r.jsonl"), "{detail}");
    assert_eq!(gateway.cursor(), 0);
    std::fs::create_dir(gateway._dir.path().join("no")).unwrap();
    gateway.until_cursor_is(2).await;
}
