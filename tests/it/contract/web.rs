//! The far ends by HTTP: one stub, and what each body holds.

use super::broker::Ending;
use super::end::{Arrival, End, Far, Mood, Shared, shared};
use crate::common::web::{Request, StubWeb};
use linesman::encode::Encoding;
use linesman::uplink::Endpoint;
use linesman::upstream::Kind;
use linesman::upstream::web::{Compression, Config, Form};
use prost::Message;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What arrives with a request.
type Reads = fn(&Request) -> Vec<Arrival>;
/// Far below what the large record needs, far above the others.
const LARGEST: usize = 64 << 10;
/// Few enough that there are many requests.
const MOST: usize = 10;

pub fn ends() -> Vec<(&'static str, End)> {
    let rows: [(&'static str, Form, Reads); 3] = [
        ("influx", Form::Influx, lines),
        ("http", Form::Http(Encoding::Json), objects),
        ("prometheus", Form::Prometheus(Vec::new()), series),
    ];
    rows.map(|(word, form, reads)| {
        let start = move |_: &std::path::Path| start(form.clone(), reads);
        (word, End { word, refuses: true, has_limit: true, start: Box::new(start) })
    })
    .into()
}

fn start(form: Form, reads: Reads) -> Far {
    let shared = shared();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stub = runtime.block_on(StubWeb::start());
    let port = stub.port();
    runtime.spawn(serve(stub, Arc::clone(&shared), reads));
    Far::new(shared, Ending(Some(runtime)), move |_| {
        let snappy = matches!(form, Form::Prometheus(_));
        let config = Config {
            endpoint: Endpoint { host: "127.0.0.1".to_owned(), port },
            tls: None,
            method: "POST".parse().unwrap(),
            path: "/".to_owned(),
            headers: Vec::new(),
            sign: None,
            body: form.clone(),
            compression: if snappy { Compression::Snappy } else { Compression::None },
            expect: None,
            most: MOST,
            largest: LARGEST,
            timeout: Duration::from_secs(20),
        };
        match &form {
            Form::Influx => Kind::Influx(config),
            Form::Http(_) => Kind::Http(config),
            Form::Prometheus(_) => Kind::Prometheus(config),
        }
    })
}

async fn serve(stub: StubWeb, shared: Arc<Mutex<Shared>>, reads: Reads) {
    let mut heard = 0;
    loop {
        let mut talk = stub.accept().await;
        while let Some(request) = talk.request().await {
            let arrivals = reads(&request);
            let mood = shared.lock().unwrap().mood.clone();
            match mood {
                Mood::Away => break,
                // Whoever goes meanwhile frees the way for the next.
                Mood::Silent => {
                    talk.gone().await;
                    break;
                }
                Mood::CutsAfter(most) if heard + arrivals.len() > most => {
                    heard = 0;
                    break;
                }
                Mood::Refuses(poison) if arrivals.iter().any(|arrival| arrival.id() == poison) => {
                    talk.answer("400 Bad Request", "", "never").await;
                    continue;
                }
                Mood::Slow(pause) => tokio::time::sleep(pause).await,
                Mood::Takes | Mood::CutsAfter(_) | Mood::Refuses(_) => {}
            }
            heard += arrivals.len();
            shared.lock().unwrap().arrived.extend(arrivals);
            if !talk.try_taken().await {
                break;
            }
        }
    }
}

fn lines(request: &Request) -> Vec<Arrival> {
    let text = request.text();
    let lines = text.lines().filter(|line| !line.starts_with("linesman_gap"));
    lines
        .map(|line| {
            let (tags, rest) = line.split_once(' ').unwrap();
            let (fields, stamp) = rest.rsplit_once(' ').unwrap();
            let n = fields.split(',').find_map(|field| field.strip_prefix("n="));
            Arrival {
                device: tags.rsplit_once("device=").unwrap().1.to_owned(),
                ts: stamp.parse::<i64>().unwrap() / 1_000_000,
                n: n.map(|n| n.parse().unwrap()),
                number: None,
            }
        })
        .collect()
}

fn objects(request: &Request) -> Vec<Arrival> {
    let text = request.text();
    let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects
        .filter(|object| object["type"] != "gap")
        .map(|object| Arrival {
            device: object["device"].as_str().unwrap().to_owned(),
            ts: object["ts"].as_i64().unwrap(),
            n: object["values"]["n"].as_i64(),
            number: Some((object["epoch"].as_str().unwrap().to_owned(), object["seq"].as_u64().unwrap())),
        })
        .collect()
}

#[derive(Clone, PartialEq, Message)]
struct Written {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    ts: i64,
}

fn series(request: &Request) -> Vec<Arrival> {
    let body = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
    let mut arrivals = Vec::new();
    for one in Written::decode(body.as_slice()).unwrap().series {
        let label = |name: &str| one.labels.iter().find(|label| label.name == name).unwrap().value.clone();
        assert_eq!(label("__name__"), "linesman_n");
        arrivals.extend(one.samples.iter().map(|sample| Arrival {
            device: label("device"),
            ts: sample.ts,
            n: Some(format!("{}", sample.value).parse().unwrap()),
            number: None,
        }));
    }
    arrivals
}
