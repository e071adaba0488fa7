//! The far end that is a host of Sparkplug: what of a device's data it has read from the broker.

use super::broker::Ending;
use super::end::{Arrival, End, Far, Mood, Shared, shared};
use crate::common::sparkplug::payload::{Payload, Value};
use crate::common::sparkplug::{Broker, Client, Heard, kind};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub fn end() -> End {
    End { word: "sparkplug", refuses: true, has_limit: true, start: Box::new(start) }
}

fn start(_: &Path) -> Far {
    let shared = shared();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let broker = runtime.block_on(Broker::start());
    let port = broker.port();
    let served = Arc::clone(&shared);
    runtime.spawn(async move {
        loop {
            let client = broker.accept_whenever().await;
            tokio::spawn(session(client, Arc::clone(&served)));
        }
    });
    Far::new(shared, Ending(Some(runtime)), move |_| kind(port))
}

fn mood(shared: &Mutex<Shared>) -> Mood {
    shared.lock().unwrap().mood.clone()
}

/// Of each device, the alias of the one value that counts.
type Aliases = BTreeMap<String, u64>;

/// One connection; when it ends, it is hung up.
async fn session(mut client: Client, shared: Arc<Mutex<Shared>>) {
    if mood(&shared) == Mood::Away {
        return;
    }
    let (mut messages, mut aliases) = (0, Aliases::new());
    loop {
        let heard = client.read().await;
        match heard {
            Heard::Connect => client.send(b"\x20\x02\x00\x00").await,
            Heard::Subscribe => client.send(b"\x90\x03\x00\x01\x01").await,
            Heard::Publish(topic, payload) => {
                messages += 1;
                let arrivals = arrivals(&topic, &payload, &mut aliases);
                if !is_taken(&shared, messages, arrivals).await {
                    return;
                }
            }
            Heard::Ping if mood(&shared) != Mood::Silent => client.send(b"\xd0\x00").await,
            Heard::Ping => {}
            Heard::Disconnect | Heard::Closed => return,
        }
    }
}

/// `false` where it hangs up.
async fn is_taken(shared: &Mutex<Shared>, messages: usize, arrivals: Vec<Arrival>) -> bool {
    match mood(shared) {
        Mood::Away => return false,
        Mood::CutsAfter(most) if messages.is_multiple_of(most) => {
            shared.lock().unwrap().arrived.extend(arrivals);
            return false;
        }
        Mood::Refuses(id) if arrivals.iter().any(|arrival| arrival.id() == id) => return false,
        Mood::Slow(span) => tokio::time::sleep(span).await,
        Mood::Silent => tokio::time::sleep(Duration::from_millis(1)).await,
        Mood::Takes | Mood::CutsAfter(_) | Mood::Refuses(_) => {}
    }
    shared.lock().unwrap().arrived.extend(arrivals);
    true
}

/// Births say which alias the value has; data is what counts.
fn arrivals(topic: &str, payload: &Payload, aliases: &mut Aliases) -> Vec<Arrival> {
    let mut levels = topic.split('/').skip(2);
    let (verb, device) = (levels.next().unwrap(), levels.nth(1).unwrap_or_default());
    if verb == "DBIRTH" {
        let n = payload.metrics.iter().find(|metric| metric.name.as_deref() == Some("n"));
        aliases.extend(n.and_then(|metric| Some((device.to_owned(), metric.alias?))));
    }
    if verb != "DDATA" {
        return Vec::new();
    }
    let alias = aliases.get(device).copied();
    let of_value = payload.metrics.iter().filter(|metric| metric.alias == alias);
    of_value
        .map(|metric| {
            let Some(Value::Double(number)) = metric.value else { panic!("{metric:?}") };
            Arrival {
                device: device.to_owned(),
                ts: i64::try_from(metric.timestamp.unwrap()).unwrap(),
                n: Some(format!("{number:.0}").parse().unwrap()),
                number: None,
            }
        })
        .collect()
}
