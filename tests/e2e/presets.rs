//! Presets at a mosquitto that stands where the cloud or thin-edge's own broker would: what goes out is what their documentation
//! asks for.

use crate::broker::{Broker, free_port};
use crate::ear::{Ear, Message};
use crate::gateway::{Gateway, status_of, until};
use crate::meter::{Meters, small_profile};
use crate::tls::Authority;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// Two meters that are there, one that is not, and an upstream.
struct Plant {
    folder: tempfile::TempDir,
    meters: Meters,
    /// Takes connections and never answers.
    silent: TcpListener,
}

impl Plant {
    fn new() -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let profile = small_profile(folder.path());
        let meters = Meters::tcp(&[(profile.clone(), 1), (profile, 2)]);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        Plant { folder, meters, silent }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The gateway, and where its status is.
    fn start(&self, upstream: &str) -> (Gateway, String) {
        let profile = small_profile(self.path());
        let device = |name: &str, unit: u8| {
            format!(
                "      - {{ name: {name}, profile: {}, unit: {unit}, every: 200ms, timeout: 300ms }}\n",
                profile.display()
            )
        };
        let yaml = format!(
            "gateway: {{ id: plant-7 }}\nlines:\n  - name: lan\n    tcp: {{ address: \"{}\" }}\n    devices:\n{}{}  - name: other\n    tcp: {{ address: \"{}\" }}\n    devices:\n{}spool: {{ dir: spool, commit_every: 1s }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\nupstreams:\n  - name: far\n    {upstream}\n",
            self.meters.place,
            device("m1", 1),
            device("m2", 2),
            self.silent.local_addr().unwrap(),
            device("nobody", 1),
        );
        let gateway = Gateway::start(self.path(), &yaml);
        let url = format!("http://{}", gateway.http());
        (gateway, url)
    }

    /// A certificate authority, a server's certificate for this machine, and ours.
    fn authority(&self) -> Authority {
        let authority = Authority::new(self.path(), "authority");
        authority.sign("server", "DNS:localhost,IP:127.0.0.1", "now", 300);
        authority.sign("gateway", "DNS:plant-7", "now", 300);
        authority
    }
}

/// A broker by TLS on the first port, and in plain text for who listens in.
fn secured(plant: &Plant, authority: &Authority, more: &[&str]) -> (Broker, u16) {
    let secure = free_port();
    let lines = [
        "log_type all".to_owned(),
        format!("log_dest file {}", plant.path().join("broker.log").display()),
        format!("listener {secure} 127.0.0.1"),
        format!("cafile {}", authority.file("ca.pem")),
        format!("certfile {}", authority.file("server.pem")),
        format!("keyfile {}", authority.file("server.key")),
        // Where the test is root: mosquitto must be able to read the key.
        "user root".to_owned(),
    ];
    let more = more.iter().map(|line| (*line).to_owned());
    (Broker::with(plant.path(), &lines.into_iter().chain(more).collect::<Vec<_>>()), secure)
}

fn state(url: &str) -> Value {
    status_of(url)["upstreams"][0].clone()
}

fn json(message: &Message) -> Value {
    serde_json::from_str(&message.payload).unwrap_or_else(|_| panic!("no JSON: {}", message.payload))
}

fn files(authority: &Authority) -> String {
    let (ca, cert, key) =
        (authority.file("ca.pem"), authority.file("gateway.pem"), authority.file("gateway.key"));
    format!("ca_file: {ca}, cert_file: {cert}, key_file: {key}")
}

#[test]
fn thin_edge_hears_of_child_devices_measurements_alarms_and_our_health() {
    let plant = Plant::new();
    let broker = Broker::start(plant.path());
    let mut ear = Ear::open(broker.port(), &["te/#"], &[]);
    let (gateway, _) =
        plant.start(&format!("thin-edge: {{ url: \"mqtt://127.0.0.1:{}\", type: meter }}", broker.port()));
    let child = json(&ear.until("a child device", |message| message.topic == "te/device/m1//"));
    assert_eq!((&child["@type"], &child["name"]), (&"child-device".into(), &"m1".into()));
    let measured = json(&ear.until("a measurement", |message| message.topic == "te/device/m1///m/meter"));
    let numbers = measured.as_object().unwrap();
    assert!(numbers["time"].as_str().unwrap().ends_with('Z') && numbers.len() > 1, "{measured}");
    assert!(
        numbers.iter().all(|(key, value)| value.is_number() || key == "time" || key == "bad"),
        "{measured}"
    );
    let units = json(&ear.until("units", |message| message.topic == "te/device/m1///m/meter/meta"));
    assert!(units.as_object().unwrap().values().all(|of| of["unit"].is_string()), "{units}");
    let alarm = ear.until("an alarm", |message| {
        message.topic == "te/device/nobody///a/device-lost" && !message.payload.is_empty()
    });
    assert_eq!(json(&alarm)["severity"], "major");
    let health = "te/device/main/service/linesman-plant-7/status/health";
    assert_eq!(json(&ear.until("health", |message| message.topic == health))["status"], "up");
    // What a thin-edge that starts later finds.
    let mut late = Ear::open(broker.port(), &["te/#"], &[]);
    for topic in ["te/device/m1//", "te/device/m1///m/meter/meta", "te/device/nobody///a/device-lost", health]
    {
        late.until(topic, |message| message.topic == topic && message.retained);
    }
    gateway.kill();
    let down = ear.until("the Will", |message| message.topic == health && json(message)["status"] == "down");
    assert_eq!(down.payload, r#"{"status":"down"}"#);
}

#[test]
fn aws_iot_knows_us_by_our_certificate_and_gets_our_topics() {
    let plant = Plant::new();
    let authority = plant.authority();
    let (broker, secure) = secured(&plant, &authority, &["require_certificate true"]);
    let mut ear = Ear::open(broker.port(), &["linesman/#"], &[]);
    let (_gateway, url) = plant.start(&format!(
        "aws-iot: {{ url: \"mqtts://localhost:{secure}\", {}, client_id: plant-7 }}",
        files(&authority)
    ));
    let live = json(&ear.until("a reading", |message| message.topic == "linesman/plant-7/d/m1"));
    assert!(live["values"].is_object() && live["seq"].is_u64(), "{live}");
    ear.until("status", |message| message.topic == "linesman/plant-7/status");
    assert_eq!((&state(&url)["kind"], &state(&url)["state"]), (&"aws-iot".into(), &"connected".into()));
}

#[test]
fn event_grid_is_spoken_to_by_mqtt_5() {
    let plant = Plant::new();
    let authority = plant.authority();
    let (broker, secure) = secured(&plant, &authority, &["require_certificate true"]);
    let mut ear = Ear::open(broker.port(), &["plants/#"], &[]);
    let (_gateway, _) = plant.start(&format!(
        "azure-event-grid: {{ url: \"mqtts://localhost:{secure}\", {}, client_id: plant-7, username: plant-7, topic: \"plants/plant-7\" }}",
        files(&authority)
    ));
    ear.until("a reading", |message| message.topic == "plants/plant-7/d/m1");
    let log = fs::read_to_string(plant.path().join("broker.log")).unwrap();
    assert!(log.contains("as plant-7 (p5"), "MQTT 5: {log}");
}

/// The hub's topic, without the bag of properties, and the bag.
fn bag(message: &Message) -> Option<(&str, &str)> {
    message.topic.split_once("/messages/events/")
}

#[test]
fn an_iot_hub_gets_arrays_of_readings_with_properties_and_a_signed_password() {
    let plant = Plant::new();
    let authority = plant.authority();
    let (broker, secure) = secured(&plant, &authority, &[]);
    let mut ear = Ear::open(broker.port(), &["devices/#"], &[]);
    let key = plant.path().join("key");
    fs::write(&key, "c2VjcmV0LWtleQ==\n").unwrap();
    let (_gateway, url) = plant.start(&format!(
        "azure-iot: {{ hub: \"localhost:{secure}\", device: gw7, shared_key_file: {}, ca_file: {}, every: 1s }}",
        key.display(),
        authority.file("ca.pem"),
    ));
    let is = |message: &Message, kind: &str| {
        bag(message).is_some_and(|(to, bag)| to == "devices/gw7" && bag.starts_with(&format!("kind={kind}&")))
    };
    let live = ear.until("readings", |message| is(message, "live"));
    assert!(live.topic.ends_with("&%24.ct=application%2Fjson&%24.ce=utf-8"), "{}", live.topic);
    let readings = json(&live);
    let readings = readings.as_array().unwrap();
    assert!(readings.len() > 1, "many in one message");
    assert!(readings.iter().all(|one| one["gateway"] == "plant-7" && one["device"].is_string()));
    ear.until("meta", |message| is(message, "meta"));
    ear.until("status", |message| is(message, "status"));
    assert!(ear.messages.iter().all(|message| !message.retained));
    let log = fs::read_to_string(plant.path().join("broker.log")).unwrap();
    assert!(log.contains("as gw7 (p2, c1, k30, u'localhost/gw7/?api-version=2021-04-12')"), "{log}");
    let account = until("all to be delivered", || {
        let account = state(&url);
        (account["delivered"].as_u64()? > 20).then_some(account)
    });
    assert_eq!((&account["state"], &account["reconnects"]), (&"connected".into(), &0.into()));
}
