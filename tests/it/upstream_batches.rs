//! Upstreams in other encodings than JSON. Compact batches by MQTT: a publish for many records, the cursor over all of
//! them, the same promises as ever.

use crate::common::broker::{Client, Packet, StubBroker};
use crate::common::upstream::{Gateway, Ground};
use crate::common::{self, specimen};
use linesman::encode::batch::{self, Decoded, Names};
use linesman::encode::{Encoding, Template, json};
use linesman::model::{BootId, BootStamp, Clock, Mono, Reading, SystemClock, Timestamp};
use linesman::upstream::{self, Kind, file, mqtt};
use linesman::{record, spool};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// An upstream with these records waiting.
async fn started(kind: impl FnOnce(&Path) -> Kind, records: Vec<Vec<u8>>) -> Gateway {
    started_as(kind, records, |_| {}).await
}

async fn started_as(
    kind: impl FnOnce(&Path) -> Kind,
    records: Vec<Vec<u8>>,
    configure: impl FnOnce(&mut upstream::Config),
) -> Gateway {
    let ground = Ground::new();
    for octets in records {
        ground.spool.writer().append(0, octets).await.unwrap();
    }
    ground.spool.commit().await.unwrap();
    let mut config = common::upstream::config(kind(ground.path()));
    configure(&mut config);
    ground.deliver(specimen::site(), config)
}

fn mqtt(broker: &StubBroker, encoding: Encoding) -> Kind {
    let batch_every = Duration::from_secs(3600);
    Kind::Mqtt(mqtt::Config {
        layout: mqtt::Layout::Own,
        access: mqtt::Access::here(broker.port()),
        topic: "P".into(),
        encoding,
        batch_every,
    })
}

async fn gateway(broker: &StubBroker, records: Vec<Vec<u8>>) -> Gateway {
    started(|_| mqtt(broker, Encoding::Batch(batch::Options::default())), records).await
}

impl Gateway {
    async fn account_is(&self, so: impl FnMut(&spool::Account) -> bool) -> spool::Account {
        let mut account = self.spool.reader("u").unwrap().account();
        timeout(PATIENCE, account.wait_for(so))
            .await
            .expect("the account does not become so")
            .unwrap()
            .clone()
    }
}

fn old(reading: &Reading) -> Vec<u8> {
    record::encode(reading)
}

fn steady(n: i64) -> Vec<u8> {
    let mut reading = specimen::readings()[0].0.clone();
    reading.ts = Timestamp(reading.ts.0 + n * 10_000);
    record::encode(&reading)
}

fn fresh(n: u64) -> Vec<u8> {
    let mut reading = specimen::readings()[0].0.clone();
    reading.ts = Timestamp(SystemClock.utc().0 + 1 + i64::try_from(n).unwrap());
    record::encode(&reading)
}

/// The next batch, and under which packet identifier it came; what else comes is acknowledged.
async fn next_batch(client: &mut Client, names: &mut Option<Names>) -> (u16, Decoded) {
    loop {
        let Packet::Publish { topic, packet, payload, .. } = client.next().await else { panic!("no batch") };
        match topic.as_str() {
            "P/b" => {
                let octets: Vec<u8> = payload.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
                return (packet, batch::decode(&octets, names.as_ref()).unwrap());
            }
            "P/meta" => *names = Some(Names::from_meta(&payload).unwrap()),
            other => assert!(other == "P/status" || other == "P/event", "{other}"),
        }
        client.acknowledge(packet).await;
    }
}

fn seqs(decoded: &Decoded) -> Vec<u64> {
    decoded.readings.iter().map(|(_, number)| number.seq).collect()
}

#[tokio::test]
async fn what_waits_leaves_in_one_batch_and_its_acknowledgement_settles_all_of_it() {
    let broker = StubBroker::start().await;
    let readings = specimen::readings();
    let gateway = gateway(&broker, readings.iter().map(|(one, _)| old(one)).collect()).await;
    let (mut client, _) = broker.welcome().await;
    let mut names = None;
    let (packet, decoded) = next_batch(&mut client, &mut names).await;
    assert!(decoded.backlog, "sampled before the connection");
    let told: Vec<String> =
        decoded.readings.iter().map(|(reading, number)| json::reading(reading, *number, None)).collect();
    let epoch = gateway.spool.epoch();
    let expected: Vec<String> = (1..)
        .zip(&readings)
        .map(|(seq, (reading, _))| json::reading(reading, linesman::encode::Number { epoch, seq }, None))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(
        gateway.account_is(|_| true).await.cursor,
        0,
        "nothing is delivered before it is acknowledged"
    );
    client.acknowledge(packet).await;
    let all = readings.len() as u64;
    let account = gateway.account_is(|account| account.cursor == all).await;
    assert_eq!((account.delivered, account.pending), (all, 0));
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_its_numbers() {
    let broker = StubBroker::start().await;
    let gateway = gateway(&broker, (0..40).map(steady).collect()).await;
    let (mut client, _) = broker.welcome().await;
    let mut names = None;
    let (_, first) = next_batch(&mut client, &mut names).await;
    drop(client);
    let (mut client, _) = broker.welcome().await;
    let (packet, again) = next_batch(&mut client, &mut names).await;
    let numbers =
        |decoded: &Decoded| decoded.readings.iter().map(|(_, number)| number.seq).collect::<Vec<_>>();
    assert_eq!(numbers(&again), numbers(&first));
    assert_eq!(gateway.account_is(|_| true).await.delivered, 0);
    client.acknowledge(packet).await;
    gateway.account_is(|account| account.delivered == 40).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_parts_two_batches_and_is_counted_by_name() {
    let broker = StubBroker::start().await;
    let mut records: Vec<Vec<u8>> = (0..5).map(steady).collect();
    records[2] = vec![0xFF; 9];
    let gateway = gateway(&broker, records).await;
    let (mut client, _) = broker.welcome().await;
    let mut names = None;
    for expected in [[1, 2], [4, 5]] {
        let (packet, decoded) = next_batch(&mut client, &mut names).await;
        assert_eq!(decoded.readings.iter().map(|(_, number)| number.seq).collect::<Vec<_>>(), expected);
        client.acknowledge(packet).await;
    }
    let account = gateway.account_is(|account| account.cursor == 5).await;
    assert_eq!((account.delivered, account.dropped.get("undecodable")), (4, Some(&1)));
}

#[tokio::test]
async fn live_records_wait_for_their_batch_and_a_stop_sends_what_is_there() {
    let broker = StubBroker::start().await;
    let gateway = gateway(&broker, vec![]).await;
    let (mut client, _) = broker.welcome().await;
    for topic in ["status", "meta"] {
        let (packet, _) = client.publish_to(topic).await;
        client.acknowledge(packet).await;
    }
    for n in 0..3 {
        gateway.spool.writer().append(SystemClock.utc().0, fresh(1000 + n)).await.unwrap();
    }
    gateway.account_is(|account| account.pending == 3).await;
    gateway.stop.cancel();
    let mut names =
        Some(Names::from_meta(&json::meta(&specimen::site(), usize::MAX).unwrap().unwrap()).unwrap());
    let (packet, decoded) = next_batch(&mut client, &mut names).await;
    assert_eq!((decoded.readings.len(), decoded.backlog), (3, false));
    client.acknowledge(packet).await;
    let (packet, good_bye) = client.publish_to("status").await;
    assert!(good_bye.contains("\"online\":false"), "{good_bye}");
    client.acknowledge(packet).await;
    assert_eq!(client.next().await, Packet::Disconnect);
    gateway.account_is(|account| account.cursor == 3).await;
    timeout(PATIENCE, gateway.running.ended).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_batch_is_of_one_lane_and_live_ones_settle_beside_a_backlog_that_waits() {
    let broker = StubBroker::start().await;
    let gateway = gateway(&broker, (0..5).map(steady).collect()).await;
    let (mut client, _) = broker.welcome().await;
    let mut names = None;
    let (backlog, first) = next_batch(&mut client, &mut names).await;
    assert_eq!((seqs(&first), first.backlog), (vec![1, 2, 3, 4, 5], true));
    for n in 0..3 {
        gateway.spool.writer().append(SystemClock.utc().0, fresh(1000 + n)).await.unwrap();
    }
    gateway.account_is(|account| account.pending == 8).await;
    gateway.stop.cancel();
    let (live, second) = next_batch(&mut client, &mut names).await;
    assert_eq!((seqs(&second), second.backlog), (vec![6, 7, 8], false));
    client.acknowledge(live).await;
    let account = gateway.account_is(|account| account.delivered == 3).await;
    assert_eq!(account.cursor, 0, "the backlog is not acknowledged");
    client.acknowledge(backlog).await;
    gateway.account_is(|account| account.cursor == 8).await;
}

#[tokio::test]
async fn in_strict_order_what_is_there_leaves_together_and_the_next_batch_is_due_later() {
    let broker = StubBroker::start().await;
    let kind = |_: &Path| mqtt(&broker, Encoding::Batch(batch::Options::default()));
    let records = (0..5).map(steady).collect();
    let gateway = started_as(kind, records, |config| config.order = upstream::Order::Strict).await;
    let (mut client, _) = broker.welcome().await;
    let mut names = None;
    let (packet, first) = next_batch(&mut client, &mut names).await;
    assert_eq!(seqs(&first), [1, 2, 3, 4, 5]);
    client.acknowledge(packet).await;
    gateway.account_is(|account| account.cursor == 5).await;
    gateway.spool.writer().append(SystemClock.utc().0, fresh(1000)).await.unwrap();
    gateway.account_is(|account| account.pending == 1).await;
    gateway.stop.cancel();
    let (_, second) = next_batch(&mut client, &mut names).await;
    assert_eq!(seqs(&second), [6]);
}

#[tokio::test]
async fn history_goes_no_faster_than_it_may_in_batches_too() {
    let broker = StubBroker::start().await;
    let kind = |_: &Path| mqtt(&broker, Encoding::Batch(batch::Options::default()));
    // Unreadable: what is behind it makes a batch of its own.
    let mut records: Vec<Vec<u8>> = (0..5).map(steady).collect();
    records[3] = vec![0xFF; 9];
    let slow = |config: &mut upstream::Config| config.history_rate = std::num::NonZeroU32::new(2);
    let gateway = started_as(kind, records, slow).await;
    let (mut client, _) = broker.welcome().await;
    let (mut names, begun) = (None, std::time::Instant::now());
    let (_, first) = next_batch(&mut client, &mut names).await;
    let (_, second) = next_batch(&mut client, &mut names).await;
    assert_eq!((seqs(&first), seqs(&second)), (vec![1, 2, 3], vec![5]));
    assert!(begun.elapsed() >= Duration::from_millis(1000), "three records at two a second");
    drop(gateway);
}

/// Sampled while nobody knew the time, at nine seconds of boot 7's clock.
fn unsure() -> Vec<u8> {
    let mut reading = specimen::readings()[0].0.clone();
    (reading.ts, reading.clock_unsure) = (Timestamp(1_600_000_000_000), true);
    reading.boot = Some(BootStamp { boot: BootId(7), at: Mono(9_000_000_000) });
    record::encode(&reading)
}

#[tokio::test]
async fn what_nobody_can_date_is_marked_and_parts_two_batches() {
    let broker = StubBroker::start().await;
    let gateway = gateway(&broker, vec![steady(0), unsure(), steady(2)]).await;
    let (mut client, _) = broker.welcome().await;
    let mut names = None;
    for (seq, unsure) in [(1, false), (2, true), (3, false)] {
        let (packet, decoded) = next_batch(&mut client, &mut names).await;
        let told = &decoded.readings[0].0;
        assert_eq!((seqs(&decoded), told.clock_unsure), (vec![seq], unsure));
        assert!(!unsure || told.ts == Timestamp(1_600_000_000_000));
        client.acknowledge(packet).await;
    }
    gateway.account_is(|account| account.cursor == 3).await;
}

#[tokio::test]
async fn history_of_an_unsure_clock_waits_for_its_date_and_is_then_in_a_batch_that_is_sure() {
    let broker = StubBroker::start().await;
    let gateway = gateway(&broker, vec![steady(0), unsure(), steady(2)]).await;
    gateway.dating.send_modify(|dating| Arc::make_mut(dating).set_current(BootId(7)));
    let (mut client, _) = broker.welcome().await;
    let mut names = None;
    let (packet, first) = next_batch(&mut client, &mut names).await;
    assert_eq!(seqs(&first), [1], "who may yet be dated waits, and nobody overtakes it");
    client.acknowledge(packet).await;
    gateway.account_is(|account| account.cursor == 1).await;
    gateway.dating.send_modify(|dating| Arc::make_mut(dating).know(BootId(7), 1_700_000_000_000));
    let (_, second) = next_batch(&mut client, &mut names).await;
    let (reading, _) = &second.readings[0];
    assert_eq!((seqs(&second), reading.clock_unsure), (vec![2, 3], false));
    assert_eq!(reading.ts, Timestamp(1_700_000_009_000));
}

/// Serves sessions until this many records and a gap have come; batches with the poison are treated so. How often.
async fn with_poison(broker: &StubBroker, wanted: usize, refuse: Option<u8>) -> (usize, Vec<u64>, String) {
    let (mut names, mut seen, mut gap, mut tries) = (None, Vec::new(), String::new(), 0);
    'sessions: loop {
        let (mut client, _) = broker.welcome().await;
        while seen.len() < wanted || gap.is_empty() {
            let (topic, packet, payload) = match client.next().await {
                Packet::Publish { topic, packet, payload, .. } => (topic, packet, payload),
                Packet::Closed => continue 'sessions,
                other @ (Packet::Connect(_) | Packet::Disconnect | Packet::Other(_)) => panic!("{other:?}"),
            };
            if topic == "P/meta" {
                names = Some(Names::from_meta(&payload).unwrap());
            }
            if topic == "P/b" {
                let octets: Vec<u8> = payload.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
                let decoded = seqs(&batch::decode(&octets, names.as_ref()).unwrap());
                if decoded.contains(&POISON) {
                    tries += 1;
                    assert!(tries < 30, "the record is not found");
                    match refuse {
                        Some(code) => client.refuse(packet, code).await,
                        None => continue 'sessions,
                    }
                    continue;
                }
                seen.extend(decoded);
            }
            if payload.contains(r#""type":"gap""#) {
                gap = payload;
            }
            client.acknowledge(packet).await;
        }
        seen.sort_unstable();
        seen.dedup();
        return (tries, seen, gap);
    }
}

const POISON: u64 = 13;

async fn without_poison(gateway: &Gateway, seen: &[u64], gap: &str) {
    let others: Vec<u64> = (1..=40).filter(|seq| *seq != POISON).collect();
    assert_eq!(seen, others);
    assert!(gap.contains(r#""count":1,"reason":"refused""#), "{gap}");
    let account = gateway.account_is(|account| account.cursor == 40).await;
    assert_eq!((account.delivered, account.dropped.get("refused")), (39, Some(&1)));
    let aside = gateway.aside();
    assert_eq!(aside.lines().count(), 1);
    assert!(aside.contains(r#""seq":13"#) && aside.contains("voltage_l1"), "{aside}");
}

#[tokio::test]
async fn a_batch_that_breaks_every_session_is_halved_until_its_record_is_set_aside() {
    let broker = StubBroker::start().await;
    let gateway = gateway(&broker, (0..40).map(steady).collect()).await;
    let (tries, seen, gap) = with_poison(&broker, 39, None).await;
    // Twice as any line breaks, then alone: 40, 20, 10, 5 and so on.
    assert!((7..=9).contains(&tries), "{tries}");
    without_poison(&gateway, &seen, &gap).await;
}

#[tokio::test]
async fn a_batch_that_mqtt_5_refuses_is_halved_within_one_more_session() {
    let broker = StubBroker::start().await;
    let config = mqtt::Config {
        layout: mqtt::Layout::Own,
        access: mqtt::Access { version: mqtt::Version::V5, ..mqtt::Access::here(broker.port()) },
        topic: "P".into(),
        encoding: Encoding::Batch(batch::Options::default()),
        batch_every: Duration::from_secs(3600),
    };
    let gateway = started(|_| Kind::Mqtt(config), (0..40).map(steady).collect()).await;
    let (tries, seen, gap) = with_poison(&broker, 39, Some(0x99)).await;
    assert!((6..=8).contains(&tries), "{tries}");
    without_poison(&gateway, &seen, &gap).await;
    assert_eq!(gateway.running.status.borrow().reconnects, 1);
}

#[tokio::test]
async fn a_loss_stands_in_a_file_in_its_encodings_own_shape() {
    for (encoding, wanted) in [
        (Encoding::Csv, ",plant-7,,gap,1,,undecodable,,,\r\n"),
        (Encoding::Line, "linesman_gap,gateway=plant-7 count=1,to="),
        (Encoding::JsonArray, "[{\"gateway\":\"plant-7\",\"type\":\"gap\",\"ts\":"),
        (Encoding::Senml, "[{\"bn\":\"plant-7/gap.\",\"bt\":"),
    ] {
        let mut records: Vec<Vec<u8>> = (0..3).map(steady).collect();
        records[1] = vec![0xFF; 9];
        let written = |dir: &Path| {
            let path = dir.join("r");
            Kind::File(file::Config { path, encoding: encoding.clone(), ..file::Config::default() })
        };
        let gateway = started(written, records).await;
        gateway.account_is(|account| account.cursor == 3 && account.gaps.is_empty()).await;
        let text = std::fs::read_to_string(gateway.dir.path().join("r")).unwrap();
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
}

#[tokio::test]
async fn a_file_of_csv_has_its_header_and_the_rows_that_are_golden() {
    let records = specimen::readings().iter().map(|(reading, _)| old(reading)).collect();
    let csv = |dir: &Path| {
        Kind::File(file::Config {
            path: dir.join("r.csv"),
            encoding: Encoding::Csv,
            ..file::Config::default()
        })
    };
    let gateway = started(csv, records).await;
    gateway.account_is(|account| account.pending == 0 && account.delivered == 15).await;
    let text = std::fs::read_to_string(gateway.dir.path().join("r.csv")).unwrap();
    let golden = include_str!("golden/encode/csv.txt");
    // Numbers and epoch are this spool's.
    let before_numbers = |line: &str| line.rsplitn(3, ',').nth(2).unwrap().to_owned();
    let all = |text: &str| text.lines().map(before_numbers).collect::<Vec<_>>();
    assert_eq!(all(&text), all(golden));
}

#[tokio::test]
async fn a_reading_that_a_template_refuses_is_counted_by_name_and_the_others_go_on() {
    let records: Vec<Vec<u8>> = specimen::readings().iter().map(|(reading, _)| old(reading)).collect();
    let template = Template::new("{{ device }}={{ values.voltage_l1 }}").unwrap();
    let written = |dir: &Path| {
        let encoding = Encoding::Template(template.clone());
        Kind::File(file::Config { path: dir.join("r.txt"), encoding, ..file::Config::default() })
    };
    let gateway = started(written, records).await;
    let account = gateway.account_is(|account| account.cursor == 15).await;
    let text = std::fs::read_to_string(gateway.dir.path().join("r.txt")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        ["incomer=230", "incomer=231.1", "incomer=230.2", "incomer=231.3", "incomer=230.4", "incomer=231.5"]
    );
    assert_eq!((account.delivered, account.dropped.get("template")), (6, Some(&9)));
}

#[tokio::test]
async fn by_mqtt_a_line_is_a_message_without_its_end_and_too_large_a_one_is_counted() {
    let broker = StubBroker::start().await;
    let readings = specimen::readings();
    let mut large = readings[0].0.clone();
    large.samples[0].1 = Ok(linesman::model::Value::Text("x".repeat(200_000).into()));
    let records = vec![old(&large), old(&readings[0].0)];
    let gateway = started(|_| mqtt(&broker, Encoding::Line), records).await;
    let (mut client, _) = broker.welcome().await;
    let (packet, line) = client.publish_to("P/h/incomer").await;
    assert_eq!(Some(line.as_str()), include_str!("golden/encode/line.txt").lines().next());
    client.acknowledge(packet).await;
    let account = gateway.account_is(|account| account.cursor == 2).await;
    assert_eq!((account.delivered, account.dropped.get("too-large")), (1, Some(&1)));
}
