//! ThingsBoard's gateway API, by a stub that was made from its documentation ("MQTT Gateway API"): it knows the gateway by its
//! access token, takes telemetry of meters only once they are connected, and hangs up on more than 64 KiB.

use crate::common::broker::{Client, Connect, Packet, StubBroker};
use crate::common::upstream::{self as gateway, Ground};
use linesman::model::{Clock as _, DeviceInfo, Event, EventKind, Name, Reading, Site, SystemClock, Value};
use linesman::upstream::mqtt::{Access, Config, Layout};
use linesman::upstream::{Kind, Secret};
use linesman::{record, spool};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// NETTY_MAX_PAYLOAD_SIZE, the server's default.
const LARGEST: usize = 65_536;

/// What the server knows after a while.
#[derive(Default)]
struct Server {
    token: Option<String>,
    connected: BTreeSet<String>,
    types: BTreeMap<String, String>,
    attributes: BTreeMap<String, Json>,
    own: Vec<Json>,
    /// By device, stamp and key, as its database keeps it.
    kept: BTreeMap<(String, i64, String), Json>,
    telemetry: usize,
    hung_up: usize,
}

impl Server {
    /// One connection, until it ends or the server has seen enough.
    async fn serve(&mut self, mut client: Client, connect: Connect, enough: impl Fn(&Server) -> bool) {
        assert_eq!((connect.will, connect.password), (None, None), "no Will, and the token alone");
        self.token = connect.username;
        self.connected.clear();
        while !enough(self) {
            match client.next().await {
                Packet::Publish { topic, payload, packet, retain } => {
                    assert!(!retain, "the server keeps nothing");
                    if payload.len() + topic.len() > LARGEST {
                        self.hung_up += 1;
                        return;
                    }
                    self.take(&topic, &serde_json::from_str(&payload).unwrap());
                    client.acknowledge(packet).await;
                }
                Packet::Closed | Packet::Disconnect => return,
                Packet::Connect(_) | Packet::Other(_) => panic!("not in the gateway API"),
            }
        }
    }

    fn take(&mut self, topic: &str, payload: &Json) {
        let text = |key: &str| payload[key].as_str().unwrap().to_owned();
        match topic {
            "v1/gateway/connect" => {
                self.connected.insert(text("device"));
                if let Some(kind) = payload["type"].as_str() {
                    self.types.insert(text("device"), kind.to_owned());
                }
            }
            "v1/gateway/disconnect" => assert!(self.connected.remove(&text("device"))),
            "v1/gateway/attributes" => {
                self.attributes
                    .extend(payload.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())));
            }
            "v1/gateway/telemetry" => {
                self.telemetry += 1;
                for (device, entries) in payload.as_object().unwrap() {
                    assert!(self.connected.contains(device), "{device} is not connected");
                    for entry in entries.as_array().unwrap() {
                        let ts = entry["ts"].as_i64().unwrap();
                        for (key, value) in entry["values"].as_object().unwrap() {
                            self.kept.insert((device.clone(), ts, key.clone()), value.clone());
                        }
                    }
                }
            }
            "v1/devices/me/telemetry" | "v1/devices/me/attributes" => self.own.push(payload.clone()),
            other => panic!("{other} is no topic of the gateway API"),
        }
    }
}

const POINTS: usize = 40;

fn site() -> Site {
    let device = |name: &str| DeviceInfo {
        name: name.parse().unwrap(),
        line: "l".parse().unwrap(),
        unit: 1,
        profile: "acme".into(),
        vendor: "Acme".into(),
        model: "X1".into(),
        identity: Some("4711".into()),
        every: Duration::from_secs(1),
        points: Vec::new().into(),
    };
    let devices = vec![device("a"), device("b")];
    Site { gateway: "g".parse().unwrap(), config_hash: "0".into(), devices }
}

async fn sample(spool: &spool::Spool, from: i64, count: i64) {
    for n in from..from + count {
        let name = |point: usize| format!("a_rather_long_name_of_a_point_{point}").parse::<Name>().unwrap();
        let reading = Reading {
            device: if n % 2 == 0 { "a" } else { "b" }.parse().unwrap(),
            ts: linesman::model::Timestamp(1_763_766_000_000 + n),
            took: Duration::ZERO,
            clock_unsure: false,
            boot: None,
            samples: (0..POINTS)
                .map(|point| (name(point), Ok(Value::Number(u64::try_from(n).unwrap().into()))))
                .collect(),
        };
        spool.writer().append(reading.ts.0, record::encode(&reading)).await.unwrap();
    }
}

fn config(broker: &StubBroker, folder: &std::path::Path) -> Kind {
    let token = folder.join("token");
    std::fs::write(&token, "A1_TEST_TOKEN\n").unwrap();
    Kind::Mqtt(Config {
        access: Access { token: Some(Secret::File(token)), ..Access::here(broker.port()) },
        layout: Layout::ThingsBoard,
        batch_every: Duration::from_secs(1),
        ..Config::default()
    })
}

#[tokio::test]
async fn a_backlog_of_large_scans_arrives_in_packs_that_the_server_takes_and_over_a_lost_session() {
    let (broker, ground) = (StubBroker::start().await, Ground::new());
    sample(&ground.spool, 1, 600).await;
    let kind = config(&broker, ground.path());
    let gateway = ground.deliver(site(), gateway::config(kind));
    let mut server = Server::default();
    let (client, connect) = broker.welcome().await;
    server.serve(client, connect, |server| server.telemetry >= 5).await;
    let (client, connect) = broker.welcome().await;
    server.serve(client, connect, |server| server.kept.len() >= 600 * POINTS).await;
    assert_eq!((server.token.as_deref(), server.hung_up), (Some("A1_TEST_TOKEN"), 0));
    assert!(server.telemetry < 100, "{} messages for 600 scans", server.telemetry);
    for ((device, ts, key), value) in &server.kept {
        let n = ts - 1_763_766_000_000;
        assert_eq!((device.as_str(), value), (if n % 2 == 0 { "a" } else { "b" }, &Json::from(n)), "{key}");
    }
    assert_eq!(
        (server.types["a"].as_str(), server.attributes["b"]["serial_number"].as_str()),
        ("acme", Some("4711"))
    );
    drop(gateway);
}

#[tokio::test]
async fn a_meter_that_is_lost_is_disconnected_and_what_happens_is_telemetry_of_the_gateway() {
    let (broker, ground) = (StubBroker::start().await, Ground::new());
    let kind = config(&broker, ground.path());
    let gateway = ground.deliver(site(), gateway::config(kind));
    let mut server = Server::default();
    let (client, connect) = broker.welcome().await;
    for kind in [EventKind::DeviceLost, EventKind::LineDown] {
        let event = Event {
            ts: SystemClock.utc(),
            kind,
            line: "l".parse().unwrap(),
            device: (kind == EventKind::DeviceLost).then(|| "a".parse().unwrap()),
            text: "gone".into(),
        };
        gateway.events.send_modify(|chronicle| chronicle.add(event));
    }
    let told =
        |server: &Server| server.own.iter().filter(|own| own["values"]["event"].is_object()).count() >= 2;
    server.serve(client, connect, |server| told(server) && server.connected.len() == 1).await;
    assert_eq!(server.connected, BTreeSet::from(["b".to_owned()]));
    assert!(
        server.own.iter().any(|own| own["version"] == "0"),
        "attributes of the gateway: {:?}",
        server.own
    );
    assert!(server.own.iter().any(|own| own["values"]["event"]["type"] == "device-lost"));
}
