//! An MQTT 5 broker that refuses: one device's topic, everybody's, or events. Written by hand, packet by packet.

use crate::common;
use crate::common::broker::{Client, Packet, StubBroker};
use crate::common::upstream::{Gateway, Ground};
use linesman::model::{Clock as _, Reading, Site, SystemClock, Value};
use linesman::upstream::{self, Kind, mqtt};
use linesman::{record, spool};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const NOT_AUTHORISED: u8 = 0x87;

/// Oldest first, so that a device that is refused stands in front of the others.
fn gateway(broker: &StubBroker) -> Gateway {
    gateway_by(broker, upstream::Order::Strict)
}

fn gateway_by(broker: &StubBroker, order: upstream::Order) -> Gateway {
    let site = Site { gateway: "g".parse().unwrap(), config_hash: String::new(), devices: Vec::new() };
    let mqtt = mqtt::Config {
        access: mqtt::Access { version: mqtt::Version::V5, ..mqtt::Access::here(broker.port()) },
        topic: "linesman/g".into(),
        ..mqtt::Config::default()
    };
    let mut config = common::upstream::config(Kind::Mqtt(mqtt));
    config.order = order;
    Ground::new().deliver(site, config)
}

impl Gateway {
    async fn sample_of(&self, devices: &[&str]) {
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

    /// Delivered, and set aside.
    async fn until(&self, delivered: u64, refused: u64) {
        let mut account = self.spool.reader("u").unwrap().account();
        let so = |account: &spool::Account| {
            account.delivered == delivered && account.dropped.get("refused").copied().unwrap_or(0) == refused
        };
        // What is found there is let go before the account is looked at again: a watch is a lock.
        let reached = tokio::time::timeout(PATIENCE, account.wait_for(so)).await.map(|found| found.map(drop));
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
    let gateway = gateway(&broker);
    // More than a window of the one before the first of another.
    gateway.sample_of(&["a"; 50]).await;
    gateway.sample_of(&["b", "a", "b", "a", "b"]).await;
    let broker = tokio::spawn(sessions(broker, &["/a"]));
    gateway.until(3, 52).await;
    assert_eq!(gateway.account().pending, 0);
    let aside = gateway.aside();
    assert_eq!(aside.lines().count(), 52, "each once");
    assert!(aside.lines().all(|line| line.contains(r#""device":"a""#)), "{aside}");
    broker.abort();
}

#[tokio::test]
async fn rights_that_were_taken_away_from_everybody_keep_the_backlog_where_it_is() {
    let broker = StubBroker::start().await;
    let mut gateway = gateway(&broker);
    let devices: Vec<&str> = ["a", "b", "c"].into_iter().cycle().take(300).collect();
    gateway.sample_of(&devices).await;
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

/// The gateway of before, with live beside the backlog.
#[tokio::test]
async fn a_list_that_forgets_the_backlog_costs_three_readings_and_live_proves_nothing() {
    let broker = StubBroker::start().await;
    let gateway = gateway_by(&broker, upstream::Order::LiveFirst);
    let devices: Vec<&str> = ["a", "b"].into_iter().cycle().take(100).collect();
    gateway.sample_of(&devices).await;
    let (mut client, _) = broker.welcome().await;
    let mut status = gateway.running.status.clone();
    let warned = |status: &linesman::model::status::UpstreamStatus| {
        status.warnings.iter().any(|warning| warning.contains("has taken none of another device"))
    };
    // Only once live has been taken of both devices is the backlog refused; and live goes on in the same session.
    let (mut live, mut held) = (0, Vec::new());
    gateway.sample_of(&["a", "b"]).await;
    while live < 2 || !warned(&status.borrow_and_update().clone()) {
        match client.next().await {
            Packet::Publish { topic, packet, .. } if topic.contains("/h/") => held.push(packet),
            Packet::Publish { topic, packet, .. } => {
                live += u32::from(topic.contains("/d/"));
                client.acknowledge(packet).await;
            }
            Packet::Closed => panic!("the session ended"),
            Packet::Connect(_) | Packet::Disconnect | Packet::Other(_) => {}
        }
        while let Some(packet) = (live >= 2).then(|| held.pop()).flatten() {
            client.refuse(packet, NOT_AUTHORISED).await;
        }
        // Each is answered before the next one is sampled, at the pace of a meter.
        tokio::time::sleep(Duration::from_millis(10)).await;
        gateway.sample_of(&["a"]).await;
    }
    let before = live;
    while live < before + 5 {
        gateway.sample_of(&["b"]).await;
        match client.next().await {
            Packet::Publish { topic, packet, .. } if topic.contains("/h/") => {
                client.refuse(packet, NOT_AUTHORISED).await;
            }
            Packet::Publish { packet, .. } => {
                live += 1;
                client.acknowledge(packet).await;
            }
            Packet::Closed => panic!("the session ended"),
            Packet::Connect(_) | Packet::Disconnect | Packet::Other(_) => {}
        }
    }
    assert_eq!(gateway.account().dropped.get("refused"), Some(&3));
    drop(client);
    let broker = tokio::spawn(sessions(broker, &[]));
    let mut account = gateway.spool.reader("u").unwrap().account();
    let all = account.wait_for(|account| account.pending == 0);
    let all = tokio::time::timeout(PATIENCE, all).await.expect("all to arrive").unwrap().clone();
    assert_eq!((all.delivered, all.dropped.get("refused")), (all.sampled - 3, Some(&3)));
    broker.abort();
}

#[tokio::test]
async fn an_event_and_a_loss_that_are_refused_are_told_again_until_somebody_takes_them() {
    let broker = StubBroker::start().await;
    let gateway = gateway(&broker);
    for n in 1..=2 {
        gateway.happens(n);
    }
    gateway.sample_of(&["b", "a", "b"]).await;
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
