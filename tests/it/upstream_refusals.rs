//! An MQTT 5 broker that refuses: one device's topic, everybody's, or events. Written by hand, packet by packet.

use crate::common::broker::{Client, Packet, StubBroker};
use linesman::model::{
    Chronicle, Clock as _, Dating, Event, EventKind, Reading, Site, SystemClock, Timestamp, Value,
};
use linesman::upstream::{self, Kind, mqtt};
use linesman::{record, spool};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const NOT_AUTHORISED: u8 = 0x87;

struct Gateway {
    spool: spool::Spool,
    running: upstream::Running,
    stop: CancellationToken,
    events: watch::Sender<Chronicle>,
    dir: tempfile::TempDir,
    _site: watch::Sender<Arc<Site>>,
    _dating: watch::Sender<Arc<Dating>>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Gateway {
    /// Oldest first, so that a device that is refused stands in front of the others.
    fn to(broker: &StubBroker) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let config = spool::Config { dir: dir.path().join("spool"), ..spool::Config::default() };
        let spool = spool::start(config, &["u".to_owned()]).unwrap();
        let site = Site { gateway: "g".parse().unwrap(), config_hash: String::new(), devices: Vec::new() };
        let (site_tx, site) = watch::channel(Arc::new(site));
        let (events_tx, events) = watch::channel(Chronicle::default());
        let (dating_tx, dating) = watch::channel(Arc::new(Dating::default()));
        let mqtt = mqtt::Config {
            brokers: mqtt::Config::here(broker.port()),
            version: mqtt::Version::V5,
            topic: "linesman/g".into(),
            ..mqtt::Config::default()
        };
        let mut config = upstream::Config::new("u".parse().unwrap(), Kind::Mqtt(mqtt));
        config.order = upstream::Order::Strict;
        let stop = CancellationToken::new();
        let around = upstream::Surroundings {
            site,
            events,
            version: "0",
            refused: dir.path().join("refused"),
            clock: Arc::new(SystemClock),
            dating,
            stop: stop.clone(),
        };
        let running = upstream::start(config, spool.reader("u").unwrap(), around);
        Gateway { spool, running, stop, events: events_tx, dir, _site: site_tx, _dating: dating_tx }
    }

    async fn sample(&self, devices: &[&str]) {
        for device in devices {
            let ts = SystemClock.utc();
            let reading = Reading {
                device: device.parse().unwrap(),
                ts,
                took: Duration::ZERO,
                clock_unsure: false,
                boot: None,
                samples: vec![("n".parse().unwrap(), Ok(Value::Number(1_u64.into())))],
            };
            self.spool.writer().append(ts.0, record::encode(&reading)).await.unwrap();
        }
    }

    fn account(&self) -> spool::Account {
        self.spool.reader("u").unwrap().account().borrow().clone()
    }

    /// Delivered, and set aside.
    async fn until(&self, delivered: u64, refused: u64) {
        let mut account = self.spool.reader("u").unwrap().account();
        let so = |account: &spool::Account| {
            account.delivered == delivered && account.dropped.get("refused").copied().unwrap_or(0) == refused
        };
        let reached = tokio::time::timeout(PATIENCE, account.wait_for(so)).await;
        let now = self.account();
        reached.unwrap_or_else(|_| panic!("{} delivered, {:?}", now.delivered, now.dropped)).unwrap();
    }

    async fn detail(&mut self, words: &str) {
        let says = |status: &linesman::model::status::UpstreamStatus| {
            status.detail.as_deref().is_some_and(|detail| detail.contains(words))
        };
        let said = tokio::time::timeout(PATIENCE, self.running.status.wait_for(says)).await;
        said.unwrap_or_else(|_| panic!("never said: {words}")).unwrap();
    }
}

/// A session that refuses these topics' ends and takes all else, until the client is gone.
async fn session(mut client: Client, refuses: &[&str]) -> Vec<String> {
    let mut refused = Vec::new();
    loop {
        match client.next().await {
            Packet::Publish { topic, packet, .. } => {
                if refuses.iter().any(|end| topic.ends_with(end)) {
                    refused.push(topic);
                    client.refuse(packet, NOT_AUTHORISED).await;
                } else {
                    client.acknowledge(packet).await;
                }
            }
            Packet::Closed => return refused,
            Packet::Connect(_) | Packet::Disconnect | Packet::Other(_) => {}
        }
    }
}

/// Such sessions, one after the other, for ever.
async fn sessions(broker: StubBroker, refuses: &'static [&'static str]) {
    loop {
        let (client, _) = broker.welcome().await;
        session(client, refuses).await;
    }
}

#[tokio::test]
async fn a_device_whose_topic_is_refused_costs_nobody_else_anything_however_many_of_its_records_come_first() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    // More than a window of the one before the first of another.
    gateway.sample(&["a"; 50]).await;
    gateway.sample(&["b", "a", "b", "a", "b"]).await;
    let broker = tokio::spawn(sessions(broker, &["/a"]));
    gateway.until(3, 52).await;
    assert_eq!(gateway.account().pending, 0);
    let aside = std::fs::read_to_string(gateway.dir.path().join("refused/u.jsonl")).unwrap();
    assert_eq!(aside.lines().count(), 52, "each once");
    assert!(aside.lines().all(|line| line.contains(r#""device":"a""#)), "{aside}");
    broker.abort();
}

#[tokio::test]
async fn rights_that_were_taken_away_from_everybody_keep_the_backlog_where_it_is() {
    let broker = StubBroker::start().await;
    let mut gateway = Gateway::to(&broker);
    let devices: Vec<&str> = ["a", "b", "c"].into_iter().cycle().take(300).collect();
    gateway.sample(&devices).await;
    let (client, _) = broker.welcome().await;
    session(client, &["/a", "/b", "/c"]).await;
    gateway.detail("has taken none of another device").await;
    for _ in 0..3 {
        let (client, _) = broker.welcome().await;
        session(client, &["/a", "/b", "/c"]).await;
    }
    let account = gateway.account();
    assert_eq!((account.delivered, account.pending), (0, 297), "{:?}", account.dropped);
    // Once the rights are right again everything else arrives.
    let broker = tokio::spawn(sessions(broker, &[]));
    gateway.until(297, 3).await;
    broker.abort();
}

#[tokio::test]
async fn an_event_and_a_loss_that_are_refused_are_told_again_until_somebody_takes_them() {
    let broker = StubBroker::start().await;
    let gateway = Gateway::to(&broker);
    for n in 1..=2 {
        let (line, kind) = ("rs485".parse().unwrap(), EventKind::LineDown);
        let event = Event { ts: Timestamp(n), kind, line, device: None, text: "gone".into() };
        gateway.events.send_modify(|chronicle| chronicle.add(event));
    }
    gateway.sample(&["b", "a", "b"]).await;
    let (mut client, _) = broker.welcome().await;
    let mut refused = 0;
    // Two events, the record of a, and the loss that this is.
    while refused < 4 {
        let Packet::Publish { topic, packet, .. } = client.next().await else { panic!("gone") };
        if topic.ends_with("/event") || topic.ends_with("/a") {
            refused += 1;
            client.refuse(packet, NOT_AUTHORISED).await;
        } else {
            client.acknowledge(packet).await;
        }
    }
    gateway.until(2, 1).await;
    drop(client);
    let (mut client, _) = broker.welcome().await;
    let mut told = Vec::new();
    while told.len() < 3 {
        let (packet, text) = client.publish_to("/event").await;
        client.acknowledge(packet).await;
        told.push(text);
    }
    assert!(told[0].contains("\"ts\":1,") && told[1].contains("\"ts\":2,"), "{told:?}");
    assert!(told[2].contains(r#""count":1,"reason":"refused""#), "{told:?}");
    let mut account = gateway.spool.reader("u").unwrap().account();
    let announced = account.wait_for(|account| account.gaps.is_empty());
    tokio::time::timeout(PATIENCE, announced).await.expect("announced at last").unwrap();
}
