//! The far ends that are brokers: one stub, and how each layout says whose reading it is.

use super::end::{Arrival, End, Far, Mood, Shared, shared};
use crate::common::broker::{Client, Packet, StubBroker};
use linesman::upstream::mqtt::{Access, Config, Discovery, Hub, Layout, ThinEdge, Version};
use linesman::upstream::{Kind, Secret};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOT_AUTHORISED: u8 = 0x87;

/// What arrives with a message: topic and payload.
type Reads = fn(&str, &str) -> Vec<Arrival>;

pub fn ends() -> Vec<(&'static str, End)> {
    let rows: [(Layout, Version, Reads); 7] = [
        (Layout::Own, Version::V5, own),
        (Layout::ThingsBoard, Version::V311, thingsboard),
        (Layout::HomeAssistant(Discovery::default()), Version::V5, own),
        (Layout::AwsIot, Version::V311, own),
        (Layout::EventGrid, Version::V5, own),
        (Layout::AzureIot(Hub { host: "h".into(), device: "d".into() }), Version::V311, azure),
        (Layout::ThinEdge(ThinEdge::default()), Version::V311, thin_edge),
    ];
    rows.map(|(layout, version, reads)| {
        let word = layout.word();
        let start = move |_: &Path| start(layout.clone(), version, reads);
        (word, End { word, refuses: true, has_limit: true, start: Box::new(start) })
    })
    .into()
}

fn start(layout: Layout, version: Version, reads: Reads) -> Far {
    let shared = shared();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let broker = runtime.block_on(StubBroker::start());
    let port = broker.port();
    runtime.spawn(serve(broker, Arc::clone(&shared), reads));
    Far::new(shared, Ending(Some(runtime)), move |folder| {
        let token = folder.join("token");
        std::fs::write(&token, "token").unwrap();
        let token = matches!(layout, Layout::ThingsBoard).then_some(Secret::File(token));
        Kind::Mqtt(Config {
            access: Access { version, token, ..Access::here(port) },
            layout: layout.clone(),
            topic: "linesman/g".into(),
            batch_every: Duration::from_millis(100),
            ..Config::default()
        })
    })
}

/// Ends its runtime without waiting for anybody.
pub struct Ending(pub Option<tokio::runtime::Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(broker: StubBroker, shared: Arc<Mutex<Shared>>, reads: Reads) {
    loop {
        let client = broker.accept_whenever().await;
        tokio::spawn(session(client, Arc::clone(&shared), reads));
    }
}

fn mood(shared: &Mutex<Shared>) -> Mood {
    shared.lock().unwrap().mood.clone()
}

/// One client's connection; when it ends, it is hung up.
async fn session(mut client: Client, shared: Arc<Mutex<Shared>>, reads: Reads) {
    if mood(&shared) == Mood::Away {
        return;
    }
    let mut messages = 0;
    loop {
        match client.next_or_closed().await {
            Packet::Connect(_) => client.welcome().await,
            Packet::Publish { topic, packet, payload, .. } => {
                messages += 1;
                let arrivals = reads(&topic, &payload);
                if !answer(&mut client, &shared, (packet, messages), arrivals).await {
                    return;
                }
            }
            Packet::Other(_) => {}
            Packet::Disconnect | Packet::Closed => return,
        }
    }
}

/// `false` where it hangs up.
async fn answer(
    client: &mut Client,
    shared: &Mutex<Shared>,
    (packet, messages): (u16, usize),
    arrivals: Vec<Arrival>,
) -> bool {
    match mood(shared) {
        Mood::Away => return false,
        Mood::Silent => {
            // What it has heard it may have kept.
            shared.lock().unwrap().arrived.extend(arrivals);
            while mood(shared) == Mood::Silent {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            return false;
        }
        Mood::CutsAfter(most) if messages % most == 0 => {
            shared.lock().unwrap().arrived.extend(arrivals);
            return false;
        }
        Mood::Refuses(id) if arrivals.iter().any(|arrival| arrival.id() == id) => {
            // By 3.1.1 there is no other way to refuse.
            return client.speaks_five() && {
                client.refuse(packet, NOT_AUTHORISED).await;
                true
            };
        }
        Mood::Slow(span) => tokio::time::sleep(span).await,
        Mood::Takes | Mood::CutsAfter(_) | Mood::Refuses(_) => {}
    }
    shared.lock().unwrap().arrived.extend(arrivals);
    client.acknowledge(packet).await;
    true
}

fn parsed(payload: &str) -> Value {
    serde_json::from_str(payload).unwrap_or_default()
}

fn of(device: &str, object: &Value) -> Arrival {
    let number = object["seq"].as_u64().map(|seq| (object["epoch"].as_str().unwrap().to_owned(), seq));
    Arrival {
        device: device.to_owned(),
        ts: object["ts"].as_i64().unwrap(),
        n: object["values"]["n"].as_i64(),
        number,
    }
}

fn own(topic: &str, payload: &str) -> Vec<Arrival> {
    match topic.split('/').collect::<Vec<_>>()[..] {
        ["linesman", "g", "d" | "h", device] => vec![of(device, &parsed(payload))],
        _ => Vec::new(),
    }
}

fn thingsboard(topic: &str, payload: &str) -> Vec<Arrival> {
    if topic != "v1/gateway/telemetry" {
        return Vec::new();
    }
    let devices = parsed(payload);
    let each = devices.as_object().unwrap().iter();
    each.flat_map(|(device, entries)| entries.as_array().unwrap().iter().map(|entry| of(device, entry)))
        .collect()
}

fn azure(topic: &str, payload: &str) -> Vec<Arrival> {
    if !topic.contains("kind=live") && !topic.contains("kind=history") {
        return Vec::new();
    }
    let readings = parsed(payload);
    readings.as_array().unwrap().iter().map(|one| of(one["device"].as_str().unwrap(), one)).collect()
}

fn thin_edge(topic: &str, payload: &str) -> Vec<Arrival> {
    let Some(device) = topic.strip_prefix("te/device/").and_then(|rest| rest.strip_suffix("///m/linesman"))
    else {
        return Vec::new();
    };
    let object = parsed(payload);
    // Those of these tests lie within a second of each other, and the rest is always the same.
    let ms: i64 = object["time"].as_str().unwrap()[20..23].parse().unwrap();
    vec![Arrival {
        device: device.to_owned(),
        ts: 1_763_766_000_000 + ms,
        n: object["n"].as_i64(),
        number: None,
    }]
}
