//! What an upstream promises: at least once, in order, the cursor over the unbroken run, losses by name.

use crate::common::broker::{Client, Packet, StubBroker};
use crate::common::skipped::skipped;
use crate::common::upstream::{Gateway, Ground};
use crate::common::{self, is_long};
use linesman::model::status::UpstreamState;
use linesman::model::{
    BootId, BootStamp, Clock, DeviceInfo, Mono, Reading, Site, SystemClock, Timestamp, Value,
};
use linesman::record;
use linesman::upstream::{self, Kind, file, mqtt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

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
        boot: None,
        samples: vec![("n".parse().unwrap(), Ok(Value::Number(n.into())))],
    })
}

impl Gateway {
    fn start(kind: impl FnOnce(&Path) -> Kind) -> Gateway {
        Gateway::start_as(kind, |config| config)
    }

    fn start_as(
        kind: impl FnOnce(&Path) -> Kind,
        configure: impl FnOnce(upstream::Config) -> upstream::Config,
    ) -> Gateway {
        let ground = Ground::new();
        let config = configure(common::upstream::config(kind(ground.path())));
        ground.deliver(site(), config)
    }

    fn to(broker: &StubBroker) -> Gateway {
        let port = broker.port();
        Gateway::start(|_| {
            Kind::Mqtt(mqtt::Config {
                access: mqtt::Access::here(port),
                topic: "linesman/g".into(),
                ..mqtt::Config::default()
            })
        })
    }

    async fn sample(&self, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            let now = SystemClock.utc();
            self.spool.writer().append(now.0, reading(n, now)).await.unwrap();
        }
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
    begun(&mut client).await;
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
    let account = gateway.account();
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
    let text = std::fs::read_to_string(gateway.dir.path().join("r.jsonl")).unwrap();
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
    std::fs::create_dir(gateway.dir.path().join("no")).unwrap();
    gateway.until_cursor_is(2).await;
}

#[tokio::test]
async fn a_reading_of_an_unsure_clock_is_marked_until_its_boot_is_dated_and_right_from_then_on() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let unsure = |n: u64| Reading {
        device: "m".parse().unwrap(),
        ts: SystemClock.utc(),
        took: Duration::ZERO,
        clock_unsure: true,
        boot: Some(BootStamp { boot: BootId(7), at: Mono(n * 1_000_000_000) }),
        samples: vec![("n".parse().unwrap(), Ok(Value::Number(n.into())))],
    };
    let (mut client, _) = broker.welcome().await;
    gateway.spool.writer().append(1, record::encode(&unsure(1))).await.unwrap();
    let (packet, payload) = client.publish_to("/m").await;
    assert!(payload.contains(r#""clock":"unsure""#), "{payload}");
    client.acknowledge(packet).await;
    gateway.until_cursor_is(1).await;
    gateway.dating.send_modify(|dating| Arc::make_mut(dating).know(BootId(7), 4_102_444_800_000));
    gateway.spool.writer().append(1, record::encode(&unsure(2))).await.unwrap();
    let (_, payload) = client.publish_to("/m").await;
    assert!(payload.starts_with(r#"{"ts":4102444802000,"#) && !payload.contains("clock"), "{payload}");
}

/// The next record, whatever its topic: the lane, its number, the packet identifier. What is no record is acknowledged.
async fn next_record(client: &mut Client) -> (char, u64, u16) {
    loop {
        match client.next().await {
            Packet::Publish { topic, packet, payload, .. } if topic.ends_with("/m") => {
                let lane = topic.rsplit('/').nth(1).and_then(|lane| lane.chars().next()).unwrap();
                return (lane, number(&payload), packet);
            }
            Packet::Publish { packet, .. } => client.acknowledge(packet).await,
            other @ (Packet::Connect(_) | Packet::Disconnect | Packet::Other(_) | Packet::Closed) => {
                panic!("no record, but {other:?}")
            }
        }
    }
}

/// Takes in what every session says first: from then on new records are live.
async fn begun(client: &mut Client) {
    for topic in ["/status", "/meta"] {
        let (packet, _) = client.publish_to(topic).await;
        client.acknowledge(packet).await;
    }
}

impl Gateway {
    fn ordered(broker: &StubBroker, order: upstream::Order, rate: Option<u32>) -> Gateway {
        let mqtt = mqtt::Config {
            access: mqtt::Access::here(broker.port()),
            topic: "linesman/g".into(),
            ..mqtt::Config::default()
        };
        let history_rate = rate.and_then(std::num::NonZeroU32::new);
        Gateway::start_as(|_| Kind::Mqtt(mqtt), |config| upstream::Config { order, history_rate, ..config })
    }

    /// Records that were sampled an hour ago.
    async fn backlog(&self, numbers: std::ops::RangeInclusive<u64>) {
        let old = Timestamp(SystemClock.utc().0 - 3_600_000);
        for n in numbers {
            self.spool.writer().append(old.0, reading(n, old)).await.unwrap();
        }
        self.spool.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_live_record_goes_at_once_however_much_backlog_is_in_flight() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    gateway.backlog(1..=200).await;
    let (mut client, _) = broker.welcome().await;
    // History fills its share of the window, and nobody acknowledges it.
    let mut first = Vec::new();
    while first.len() < mqtt::WINDOW - 8 {
        let (lane, n, packet) = next_record(&mut client).await;
        assert_eq!((lane, n), ('h', first.len() as u64 + 1));
        first.push(packet);
    }
    gateway.sample(201..=203).await;
    for wanted in 201..=203 {
        let (lane, n, packet) = next_record(&mut client).await;
        assert_eq!((lane, n), ('d', wanted));
        client.acknowledge(packet).await;
    }
    assert_eq!(gateway.cursor(), 0);
    for packet in first {
        client.acknowledge(packet).await;
    }
    let mut seen: Vec<u64> = Vec::new();
    while seen.last() != Some(&200) {
        let (lane, n, packet) = next_record(&mut client).await;
        assert_eq!(lane, 'h');
        seen.push(n);
        client.acknowledge(packet).await;
    }
    assert_eq!(seen, (25..=200).collect::<Vec<_>>(), "each once, in order, and no live one again");
    gateway.until_cursor_is(203).await;
}

#[tokio::test]
async fn live_records_that_have_arrived_are_not_sent_again_with_the_backlog() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::ordered(&broker, upstream::Order::LiveFirst, Some(1));
    gateway.backlog(1..=5).await;
    let (mut client, _) = broker.welcome().await;
    let (lane, n, _) = next_record(&mut client).await;
    assert_eq!((lane, n), ('h', 1), "not acknowledged");
    gateway.sample(6..=8).await;
    let mut live = Vec::new();
    while live.len() < 3 {
        let (lane, n, packet) = next_record(&mut client).await;
        if lane == 'd' {
            live.push(n);
            client.acknowledge(packet).await;
        }
    }
    assert_eq!(live, [6, 7, 8]);
    let mut account = gateway.spool.reader("u").unwrap().account();
    timeout(PATIENCE, account.wait_for(|account| account.delivered == 3)).await.unwrap().unwrap();
    drop(client);
    let (mut client, _) = broker.welcome().await;
    let mut history = Vec::new();
    while history.len() < 5 {
        let (lane, n, packet) = next_record(&mut client).await;
        assert_eq!(lane, 'h', "{n}");
        history.push(n);
        client.acknowledge(packet).await;
    }
    assert_eq!(history, [1, 2, 3, 4, 5]);
    gateway.until_cursor_is(8).await;
    let account = gateway.account();
    assert_eq!((account.sampled, account.delivered, account.pending), (8, 8, 0));
}

#[tokio::test]
async fn in_strict_order_the_backlog_goes_first() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::ordered(&broker, upstream::Order::Strict, None);
    gateway.backlog(1..=3).await;
    gateway.sample(4..=4).await;
    let (mut client, _) = broker.welcome().await;
    gateway.sample(5..=6).await;
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let (_, n, packet) = next_record(&mut client).await;
        seen.push(n);
        client.acknowledge(packet).await;
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    gateway.until_cursor_is(6).await;
}

#[tokio::test]
async fn history_goes_no_faster_than_it_may_and_live_is_not_held_up_by_that() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::ordered(&broker, upstream::Order::LiveFirst, Some(50));
    gateway.backlog(1..=60).await;
    let (mut client, _) = broker.welcome().await;
    let start = std::time::Instant::now();
    begun(&mut client).await;
    gateway.sample(61..=70).await;
    let (mut history, mut live) = (0, 0);
    while history < 55 {
        let (lane, _, packet) = next_record(&mut client).await;
        client.acknowledge(packet).await;
        if lane == 'h' {
            history += 1;
        } else {
            live += 1;
            assert!(history < 20, "live had to wait for {history} of the backlog");
        }
    }
    // 55 at 50 a second, less those that may go at once after a pause.
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    assert_eq!(live, 10);
}

#[tokio::test]
async fn what_comes_old_out_of_the_line_travels_once_and_as_history() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    let (mut client, _) = broker.welcome().await;
    begun(&mut client).await;
    gateway.sample(1..=1).await;
    let (lane, n, packet) = next_record(&mut client).await;
    assert_eq!((lane, n), ('d', 1));
    // While that is in flight, some come that have waited on their way.
    gateway.backlog(2..=4).await;
    client.acknowledge(packet).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let (lane, n, packet) = next_record(&mut client).await;
        seen.push((lane, n));
        client.acknowledge(packet).await;
    }
    assert_eq!(seen, [('h', 2), ('h', 3), ('h', 4)]);
    gateway.until_cursor_is(4).await;
    gateway.sample(5..=5).await;
    let (lane, n, _) = next_record(&mut client).await;
    assert_eq!((lane, n), ('d', 5));
}

#[tokio::test]
async fn a_loss_is_announced_until_the_announcement_is_acknowledged() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    gateway.sample(1..=3).await;
    gateway.spool.reader("u").unwrap().give_up(2, "for-a-test").await.unwrap();
    gateway.spool.commit().await.unwrap();
    let (mut client, _) = broker.welcome().await;
    let (_, first) = client.publish_to("/event").await;
    drop(client);
    let (mut client, _) = broker.welcome().await;
    let (packet, again) = client.publish_to("/event").await;
    for said in [&first, &again] {
        let gap: serde_json::Value = serde_json::from_str(said).unwrap();
        assert_eq!(
            (&gap["type"], &gap["count"], &gap["reason"]),
            (&"gap".into(), &2.into(), &"for-a-test".into())
        );
        assert!(
            gap["from"].as_i64() <= gap["to"].as_i64() && gap["to"].as_i64() <= gap["ts"].as_i64(),
            "{said}"
        );
    }
    client.acknowledge(packet).await;
    let mut account = gateway.spool.reader("u").unwrap().account();
    timeout(PATIENCE, account.wait_for(|account| account.gaps.is_empty())).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_record_that_breaks_every_session_is_set_aside_at_the_third_try_and_the_rest_goes_on() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    gateway.backlog(1..=6).await;
    let (mut tries, mut seen, mut gap) = (0, Vec::new(), None);
    'sessions: while seen.len() < 5 || gap.is_none() {
        let (mut client, _) = broker.welcome().await;
        loop {
            match client.next().await {
                // This broker closes the connection rather than take number 3, whatever comes with it.
                Packet::Publish { payload, .. } if payload.contains(r#""n":3}"#) => {
                    tries += 1;
                    continue 'sessions;
                }
                Packet::Publish { topic, payload, packet, .. } => {
                    client.acknowledge(packet).await;
                    if topic.ends_with("/m") {
                        seen.push(number(&payload));
                    }
                    if payload.contains(r#""type":"gap""#) {
                        gap = Some(payload);
                    }
                    if seen.len() >= 5 && gap.is_some() {
                        break;
                    }
                }
                other @ (Packet::Connect(_) | Packet::Disconnect | Packet::Other(_) | Packet::Closed) => {
                    panic!("{other:?}")
                }
            }
        }
    }
    assert_eq!(tries, 3);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [1, 2, 4, 5, 6]);
    let gap = gap.unwrap();
    assert!(gap.contains(r#""count":1,"reason":"refused""#), "{gap}");
    let aside = gateway.aside();
    assert!(aside.contains(r#"\"n\":3"#) && aside.contains(r#""seq":3"#), "{aside}");
    gateway.until_cursor_is(6).await;
    let account = gateway.account();
    assert_eq!((account.delivered, account.dropped.get("refused")), (5, Some(&1)));
}

#[tokio::test]
async fn history_of_an_unsure_clock_waits_for_its_date_while_live_goes_on() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    gateway.dating.send_modify(|dating| Arc::make_mut(dating).set_current(BootId(7)));
    let unsure = record::encode(&Reading {
        device: "m".parse().unwrap(),
        ts: Timestamp(1_600_000_000_000),
        took: Duration::ZERO,
        clock_unsure: true,
        boot: Some(BootStamp { boot: BootId(7), at: Mono(9_000_000_000) }),
        samples: vec![("n".parse().unwrap(), Ok(Value::Number(1i64.into())))],
    });
    gateway.spool.writer().append(1_600_000_000_000, unsure).await.unwrap();
    gateway.spool.commit().await.unwrap();
    let (mut client, _) = broker.welcome().await;
    begun(&mut client).await;
    gateway.sample(2..=2).await;
    let (lane, n, packet) = next_record(&mut client).await;
    assert_eq!((lane, n), ('d', 2));
    client.acknowledge(packet).await;
    gateway.dating.send_modify(|dating| Arc::make_mut(dating).know(BootId(7), 1_700_000_000_000));
    let (packet, payload) = client.publish_to("linesman/g/h/m").await;
    assert!(payload.starts_with(r#"{"ts":1700000009000,"#) && !payload.contains("clock"), "{payload}");
    client.acknowledge(packet).await;
    gateway.until_cursor_is(2).await;
}

fn five(broker: &StubBroker) -> Gateway {
    let port = broker.port();
    let version = mqtt::Version::V5;
    let config = mqtt::Config {
        access: mqtt::Access { version, ..mqtt::Access::here(port) },
        topic: "linesman/g".into(),
        ..mqtt::Config::default()
    };
    Gateway::start(|_| Kind::Mqtt(config))
}

#[tokio::test]
async fn a_broker_of_mqtt_5_refuses_one_record_and_the_session_goes_on_without_it() {
    let broker = StubBroker::start().await;
    let gateway = five(&broker);
    let (mut client, connect) = broker.welcome().await;
    assert_eq!((connect.version, connect.clean), (5, true));
    assert_eq!(connect.will, Some(("linesman/g/status".into(), "{\"online\":false}".into(), true)));
    begun(&mut client).await;
    gateway.sample(1..=4).await;
    for wanted in 1..=4 {
        let (_, n, packet) = next_record(&mut client).await;
        assert_eq!(n, wanted);
        match n {
            2 => client.refuse(packet, 0x87).await,
            // Nobody has subscribed: taken all the same.
            3 => client.refuse(packet, 0x10).await,
            _ => client.acknowledge(packet).await,
        }
    }
    gateway.until_cursor_is(4).await;
    let account = gateway.account();
    assert_eq!((account.delivered, account.dropped.get("refused")), (3, Some(&1)));
    let (_, gap) = client.publish_to("/event").await;
    assert!(gap.contains(r#""count":1,"reason":"refused""#), "{gap}");
    let aside = gateway.aside();
    assert!(aside.contains("not authorised (0x87)") && aside.contains(r#"\"n\":2"#), "{aside}");
}

#[tokio::test]
async fn a_refusal_that_may_pass_breaks_the_session_and_costs_no_record() {
    let broker = StubBroker::start().await;
    let mut gateway = five(&broker);
    let (mut client, _) = broker.welcome().await;
    begun(&mut client).await;
    gateway.sample(1..=1).await;
    let (_, _, packet) = next_record(&mut client).await;
    client.refuse(packet, 0x97).await;
    let detail = gateway.until_state_is(UpstreamState::BackingOff).await;
    assert!(detail.contains("refuses a publish: its quota is exceeded (0x97)"), "{detail}");
    let (mut client, _) = broker.welcome().await;
    let (_, n, packet) = next_record(&mut client).await;
    assert_eq!(n, 1);
    client.acknowledge(packet).await;
    gateway.until_cursor_is(1).await;
    assert_eq!(gateway.account().delivered, 1);
}

#[tokio::test]
async fn a_broker_that_takes_five_at_once_gets_no_more() {
    let broker = StubBroker::start().await;
    let gateway = five(&broker);
    let mut client = broker.welcome_with(5).await;
    begun(&mut client).await;
    gateway.sample(1..=40).await;
    let mut next = 1;
    while next <= 40 {
        let mut sent = Vec::new();
        while sent.len() < 5 {
            let (_, n, packet) = next_record(&mut client).await;
            assert_eq!(n, next);
            next += 1;
            sent.push(packet);
        }
        let quiet = timeout(Duration::from_millis(50), client.next()).await;
        assert!(quiet.is_err(), "a sixth: {quiet:?}");
        for packet in sent {
            client.acknowledge(packet).await;
        }
    }
    gateway.until_cursor_is(40).await;
}

#[tokio::test]
async fn a_record_that_is_never_acknowledged_holds_the_others_up_for_a_minute_at_most() {
    if is_long() {
        let broker = StubBroker::start().await;
        // A sign of life now and then, or the stub would think that nobody is there.
        let (port, keep_alive) = (broker.port(), Duration::from_secs(5));
        let config = mqtt::Config {
            access: mqtt::Access { keep_alive, ..mqtt::Access::here(port) },
            topic: "linesman/g".into(),
            ..mqtt::Config::default()
        };
        let gateway = Gateway::start(|_| Kind::Mqtt(config));
        gateway.backlog(1..=40).await;
        let start = std::time::Instant::now();
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 39 {
            let (mut client, _) = broker.welcome().await;
            loop {
                match timeout(Duration::from_secs(40), client.next()).await.unwrap() {
                    Packet::Publish { payload, .. } if payload.contains(r#""n":3}"#) => {}
                    Packet::Publish { topic, payload, packet, .. } => {
                        client.acknowledge(packet).await;
                        if topic.ends_with("/m") && seen.insert(number(&payload)) && seen.len() == 39 {
                            break;
                        }
                    }
                    Packet::Closed | Packet::Disconnect => break,
                    other @ (Packet::Connect(_) | Packet::Other(_)) => panic!("{other:?}"),
                }
            }
        }
        let held_up = start.elapsed();
        assert!(held_up < Duration::from_secs(60), "{held_up:?}");
    } else {
        skipped("it takes a minute: tests/run --long");
    }
}
