//! Upstreams in other encodings than JSON. Compact batches by MQTT: a publish for many records, the cursor over all of
//! them, the same promises as ever.

use crate::common::broker::{Client, Packet, StubBroker};
use crate::common::specimen;
use linesman::encode::batch::{self, Decoded, Names};
use linesman::encode::{Encoding, Template, json};
use linesman::model::{Chronicle, Clock, Reading, SystemClock, Timestamp};
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
    _events: watch::Sender<Chronicle>,
    dir: tempfile::TempDir,
}

/// An upstream with these records waiting.
async fn started(kind: impl FnOnce(&Path) -> Kind, records: Vec<Vec<u8>>) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let config = spool::Config { dir: dir.path().join("spool"), ..spool::Config::default() };
    let spool = spool::start(config, &["u".to_owned()]).unwrap();
    for octets in records {
        spool.writer().append(0, octets).await.unwrap();
    }
    spool.commit().await.unwrap();
    let config = upstream::Config { name: "u".parse().unwrap(), kind: kind(dir.path()) };
    let (events_tx, events) = watch::channel(Chronicle::default());
    let stop = CancellationToken::new();
    let around = upstream::Surroundings {
        site: watch::channel(Arc::new(specimen::site())).1,
        events,
        version: "0",
        clock: Arc::new(SystemClock),
        stop: stop.clone(),
    };
    let running = upstream::start(config, spool.reader("u").unwrap(), around);
    Gateway { spool, running, stop, _events: events_tx, dir }
}

fn mqtt(broker: &StubBroker, encoding: Encoding) -> Kind {
    let batch_every = Duration::from_secs(3600);
    Kind::Mqtt(mqtt::Config {
        port: broker.port(),
        topic: "P".into(),
        encoding,
        batch_every,
        ..mqtt::Config::default()
    })
}

async fn gateway(broker: &StubBroker, records: Vec<Vec<u8>>) -> Gateway {
    started(|_| mqtt(broker, Encoding::Batch(batch::Options::default())), records).await
}

impl Gateway {
    async fn account(&self, so: impl FnMut(&spool::Account) -> bool) -> spool::Account {
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
    assert_eq!(gateway.account(|_| true).await.cursor, 0, "nothing is delivered before it is acknowledged");
    client.acknowledge(packet).await;
    let all = readings.len() as u64;
    let account = gateway.account(|account| account.cursor == all).await;
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
    assert_eq!(gateway.account(|_| true).await.delivered, 0);
    client.acknowledge(packet).await;
    gateway.account(|account| account.delivered == 40).await;
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
    let account = gateway.account(|account| account.cursor == 5).await;
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
        gateway.spool.writer().append(0, fresh(1000 + n)).await.unwrap();
    }
    gateway.account(|account| account.pending == 3).await;
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
    timeout(PATIENCE, gateway.running.ended).await.unwrap().unwrap_err();
    assert_eq!(gateway.spool.reader("u").unwrap().cursor(), 3);
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
    gateway.account(|account| account.pending == 0 && account.delivered == 15).await;
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
    let account = gateway.account(|account| account.cursor == 15).await;
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
    let account = gateway.account(|account| account.cursor == 2).await;
    assert_eq!((account.delivered, account.dropped.get("too-large")), (1, Some(&1)));
}
