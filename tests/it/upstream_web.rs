//! Upstreams by HTTP against a server written by hand: portals, halves of answers, refusals, and nothing lost.

use crate::common;
use crate::common::upstream::{Gateway, Ground};
use crate::common::web::{Request, StubWeb, Talk};
use linesman::encode::Encoding;
use linesman::model::status::UpstreamState;
use linesman::model::{Clock as _, Reading, Site, SystemClock, Value};
use linesman::spool::Account;
use linesman::uplink::Endpoint;
use linesman::upstream::web::{Compression, Config, Form, LARGEST, Sign};
use linesman::upstream::{Kind, Order, Secret};
use linesman::{record, upstream};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(port: u16, body: Form) -> Config {
    Config {
        endpoint: Endpoint { host: "127.0.0.1".to_owned(), port },
        tls: None,
        method: "POST".parse().unwrap(),
        path: "/in?a=b".to_owned(),
        headers: vec![("x-plant".parse().unwrap(), "7".parse().unwrap())],
        sign: None,
        body,
        compression: Compression::None,
        expect: None,
        most: 500,
        largest: LARGEST,
        timeout: Duration::from_secs(20),
    }
}

fn influx(stub: &StubWeb) -> Kind {
    Kind::Influx(config(stub.port(), Form::Influx))
}

fn remote_write(stub: &StubWeb) -> Kind {
    let form = Form::Prometheus(Vec::new());
    Kind::Prometheus(Config { compression: Compression::Snappy, ..config(stub.port(), form) })
}

/// Strict, so that the order in which things are sent is known.
fn gateway(kind: Kind) -> Gateway {
    let site = Site { gateway: "g".parse().unwrap(), config_hash: String::new(), devices: Vec::new() };
    Ground::new().deliver(site, upstream::Config { order: Order::Strict, ..common::upstream::config(kind) })
}

impl Gateway {
    /// Numbered from a number on, these devices in turn.
    async fn count(&self, devices: &[&str], from: u64) {
        let now = SystemClock.utc();
        let records = devices.iter().zip(from..).map(|(device, n)| {
            let reading = Reading {
                device: device.parse().unwrap(),
                ts: now,
                took: Duration::ZERO,
                clock_unsure: false,
                boot: None,
                samples: vec![("n".parse().unwrap(), Ok(Value::Number(n.into())))],
            };
            (now.0, record::encode(&reading))
        });
        self.spool.writer().append_all(records.collect()).await.unwrap();
    }

    async fn settles(&self, so: impl FnMut(&Account) -> bool) -> Account {
        let mut account = self.spool.reader("u").unwrap().account();
        let reached = timeout(PATIENCE, account.wait_for(so)).await.map(|found| found.unwrap().clone());
        reached.unwrap_or_else(|_| panic!("{:?}", self.account()))
    }

    async fn says(&mut self, words: &str) -> String {
        let says = |status: &linesman::model::status::UpstreamStatus| {
            status.detail.as_deref().is_some_and(|detail| detail.contains(words))
        };
        let said = timeout(PATIENCE, self.running.status.wait_for(says)).await;
        let said = said.unwrap_or_else(|_| panic!("never said: {words}")).unwrap();
        assert_eq!(said.state, UpstreamState::BackingOff);
        said.detail.clone().unwrap()
    }
}

/// The numbers in a body of lines.
fn numbers(request: &Request) -> Vec<u64> {
    let text = request.text();
    let lines = text.lines().filter(|line| !line.starts_with("linesman_gap"));
    lines.map(|line| line.split_once(" n=").unwrap().1.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// Answers by what it is asked, over as many connections as come, until all is settled.
async fn serve(stub: &StubWeb, mut answer: impl FnMut(&Request) -> String) {
    loop {
        let mut talk = stub.accept().await;
        while let Some(request) = talk.request().await {
            talk.say(&answer(&request)).await;
        }
    }
}

fn said(status: &str, words: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{words}", words.len())
}

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// What is taken here is nothing: each of these answers is tried once, then the right one.
async fn is_no_delivery(kind: impl Fn(&StubWeb) -> Kind, answers: &[(&str, &str, &str, &str)]) {
    let stub = StubWeb::start().await;
    let mut gateway = gateway(kind(&stub));
    gateway.count(&["m"; 3], 1).await;
    let mut before = None;
    for (status, headers, body, words) in answers {
        let (mut talk, request) = stub.asked().await;
        talk.answer(status, headers, body).await;
        gateway.says(words).await;
        assert_eq!(gateway.account().delivered, 0, "{status}");
        assert!(before.is_none_or(|before| before == request.body), "the same again");
        before = Some(request.body);
    }
    let (mut talk, _) = stub.asked().await;
    talk.taken().await;
    assert_eq!(gateway.settles(|account| account.sampled > 0 && account.pending == 0).await.delivered, 3);
}

#[tokio::test]
async fn portals_redirections_and_oddities_take_nothing_and_are_said_in_words() {
    let page = "Content-Type: text/html\r\n";
    let portal = [
        ("200 OK", page, "<h1>Welcome</h1>", "captive portal"),
        ("302 Found", "Location: http://portal/\r\n", "", "leads elsewhere"),
        ("400 Bad Request", page, "<h1>no</h1>", "a web page"),
        ("401 Unauthorized", "", "who?", "not authorised: are token, user name and password right?: who?"),
        ("404 Not Found", "", "bucket not found", "bucket or database right?: bucket not found"),
    ];
    is_no_delivery(influx, &portal).await;
    is_no_delivery(remote_write, &portal[..2]).await;
}

#[tokio::test]
async fn a_connection_is_kept_and_its_end_between_two_requests_is_no_trouble() {
    let stub = StubWeb::start().await;
    let mut gateway = gateway(influx(&stub));
    gateway.count(&["m"], 1).await;
    let (mut talk, request) = stub.asked().await;
    assert_eq!(request.line, "POST /in?a=b HTTP/1.1");
    assert_eq!(request.header("host").unwrap(), format!("127.0.0.1:{}", stub.port()));
    assert!(request.header("user-agent").unwrap().starts_with("linesman/"));
    assert_eq!(request.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((request.header("x-plant"), request.header("expect")), (Some("7"), None));
    talk.taken().await;
    gateway.settles(|account| account.delivered == 1).await;
    gateway.count(&["m"], 2).await;
    assert_eq!(numbers(&talk.request().await.unwrap()), [2], "on the same connection");
    talk.taken().await;
    gateway.settles(|account| account.delivered == 2).await;
    // It takes the next request and goes without a word.
    gateway.running.status.mark_unchanged();
    gateway.count(&["m"], 3).await;
    assert_eq!(numbers(&talk.request().await.unwrap()), [3]);
    drop(talk);
    let (mut talk, request) = stub.asked().await;
    assert_eq!(numbers(&request), [3]);
    assert_eq!(gateway.running.status.borrow().state, UpstreamState::Connected, "no trouble");
    talk.taken().await;
    gateway.settles(|account| account.delivered == 3).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_in_the_middle_is_none() {
    let stub = StubWeb::start().await;
    let form = Form::Http(Encoding::Json);
    let mut gateway = gateway(Kind::Http(config(stub.port(), form)));
    gateway.count(&["m"], 1).await;
    for half in ["HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\""] {
        let (mut talk, _) = stub.asked().await;
        talk.say(half).await;
        drop(talk);
        gateway.says("127.0.0.1").await;
        assert_eq!(gateway.account().delivered, 0, "{half}");
    }
    let (mut talk, _) = stub.asked().await;
    talk.answer("200 OK", "", "{}").await;
    gateway.settles(|account| account.delivered == 1).await;
}

#[tokio::test]
async fn who_says_nothing_is_left_after_a_while() {
    let stub = StubWeb::start().await;
    let timeout = Duration::from_secs(1);
    let mut gateway = gateway(Kind::Influx(Config { timeout, ..config(stub.port(), Form::Influx) }));
    gateway.count(&["m"], 1).await;
    let (silent, _) = stub.asked().await;
    gateway.says("has not answered for 1 s").await;
    drop(silent);
    let (mut talk, request) = stub.asked().await;
    assert_eq!(numbers(&request), [1]);
    talk.taken().await;
    gateway.settles(|account| account.delivered == 1).await;
}

#[tokio::test]
async fn one_that_is_busy_is_not_asked_before_it_said() {
    let stub = StubWeb::start().await;
    let mut gateway = gateway(influx(&stub));
    gateway.count(&["m"], 1).await;
    let (mut talk, _) = stub.asked().await;
    let begun = std::time::Instant::now();
    talk.answer("429 Too Many Requests", "Retry-After: 2\r\n", "").await;
    gateway.says("too much at once").await;
    let (mut talk, _) = match talk.request().await {
        Some(request) => (talk, request),
        None => stub.asked().await,
    };
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    talk.taken().await;
    gateway.settles(|account| account.delivered == 1).await;
}

#[tokio::test]
async fn a_record_that_is_malformed_for_it_is_found_set_aside_and_announced() {
    let stub = StubWeb::start().await;
    let gateway = gateway(influx(&stub));
    let devices: Vec<&str> = ["a", "b"].into_iter().cycle().take(40).collect();
    gateway.count(&devices, 1).await;
    let (mut taken, mut gaps) = (Vec::new(), String::new());
    let serving = serve(&stub, |request| {
        let numbers = numbers(request);
        if numbers.contains(&13) {
            return said("400 Bad Request", r#"{"error":"partial write of line protocol occurred"}"#);
        }
        if numbers.len() > 25 {
            return said("413 Payload Too Large", "");
        }
        gaps.extend(
            request.text().lines().filter(|line| line.starts_with("linesman_gap")).map(str::to_owned),
        );
        taken.extend(numbers);
        TAKEN.to_owned()
    });
    tokio::select! {
        () = serving => {}
        account = gateway.settles(|account| account.sampled > 0 && account.pending == 0 && account.gaps.is_empty()) => {
            assert_eq!((account.delivered, account.dropped.get("refused")), (39, Some(&1)));
        }
    }
    assert_eq!(taken, (1..=40).filter(|n| *n != 13).collect::<Vec<_>>());
    assert!(gaps.contains("count=1") && gaps.contains("reason=\"refused\""), "{gaps}");
    let aside = gateway.aside();
    assert!(aside.contains("partial write") && aside.contains("n=13"), "{aside}");
}

#[tokio::test]
async fn what_is_out_of_order_for_prometheus_is_given_up_at_once_and_the_rest_arrives() {
    let stub = StubWeb::start().await;
    let gateway = gateway(remote_write(&stub));
    gateway.count(&["m"; 64], 1).await;
    let mut asked = 0;
    let serving = serve(&stub, |request| {
        asked += 1;
        assert_eq!(request.header("content-encoding"), Some("snappy"));
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(request.header("x-prometheus-remote-write-version"), Some("0.1.0"));
        let body = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        // It holds the numbers up to 5 already, and newer ones than those.
        let old = (1..=5_u8).any(|n| {
            let value = f64::from(n).to_le_bytes();
            body.windows(9).any(|nine| nine[0] == 9 && nine[1..] == value)
        });
        if old { said("400 Bad Request", "out of order sample") } else { TAKEN.to_owned() }
    });
    tokio::select! {
        () = serving => {}
        account = gateway.settles(|account| account.sampled > 0 && account.pending == 0 && account.gaps.is_empty()) => {
            assert_eq!((account.delivered, account.dropped.get("too-late")), (59, Some(&5)));
        }
    }
    assert!(asked < 30, "{asked} requests");
    let aside = gateway.aside();
    assert!(aside.contains("linesman_n{device=") && aside.contains("out of order sample"), "{aside}");
}

#[tokio::test]
async fn a_secret_is_sent_and_never_said() {
    let stub = StubWeb::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let token = Secret::File(file.clone());
    let sign = Some(Sign::Token { header: "authorization".parse().unwrap(), scheme: "Token ", token });
    let mut gateway = gateway(Kind::Influx(Config { sign, ..config(stub.port(), Form::Influx) }));
    gateway.count(&["m"], 1).await;
    gateway.says("cannot read the secret").await;
    std::fs::write(&file, "s3cret\n").unwrap();
    let (mut talk, request) = stub.asked().await;
    assert_eq!(request.header("authorization"), Some("Token s3cret"));
    talk.answer("401 Unauthorized", "", "").await;
    let detail = gateway.says("401").await;
    assert!(!detail.contains("s3cret"), "{detail}");
    std::fs::write(&file, "changed").unwrap();
    let (mut talk, request) = stub.asked().await;
    assert_eq!(request.header("authorization"), Some("Token changed"), "without a restart");
    talk.taken().await;
    gateway.settles(|account| account.delivered == 1).await;
}

#[tokio::test]
async fn arrays_are_bodies_of_their_own_and_compressed_as_asked() {
    let stub = StubWeb::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p"), "open sesame").unwrap();
    let config = Config {
        compression: Compression::Zstd,
        expect: Some("application/json".to_owned()),
        method: "PUT".parse().unwrap(),
        most: 20,
        sign: Some(Sign::Basic {
            username: "Aladdin".to_owned(),
            password: Secret::File(folder.path().join("p")),
        }),
        ..config(stub.port(), Form::Http(Encoding::JsonArray))
    };
    let gateway = gateway(Kind::Http(config));
    gateway.count(&["m"; 50], 1).await;
    let mut talk: Option<Talk> = None;
    let mut seen = Vec::new();
    while seen.len() < 50 {
        let request = match &mut talk {
            Some(talk) => talk.request().await.unwrap(),
            None => {
                let (first, request) = stub.asked().await;
                talk = Some(first);
                request
            }
        };
        assert!(request.line.starts_with("PUT "));
        assert_eq!(request.header("authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(request.header("content-encoding"), Some("zstd"));
        let body = zstd::stream::decode_all(request.body.as_slice()).unwrap();
        let array: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
        assert!(array.len() <= 20 && array.iter().all(|one| one["gateway"] == "g" && one["device"] == "m"));
        seen.extend(array.iter().map(|one| one["values"]["n"].as_u64().unwrap()));
        talk.as_mut().unwrap().answer("200 OK", "Content-Type: application/json\r\n", "{}").await;
    }
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    gateway.settles(|account| account.delivered == 50).await;
}

#[tokio::test]
async fn every_kind_by_http_ends_when_it_is_told_to_though_nobody_answers() {
    let stub = StubWeb::start().await;
    for kind in
        [influx(&stub), remote_write(&stub), Kind::Http(config(stub.port(), Form::Http(Encoding::Json)))]
    {
        let gateway = gateway(kind);
        gateway.count(&["m"], 1).await;
        let (_silent, _) = stub.asked().await;
        gateway.stop.cancel();
        timeout(PATIENCE, gateway.running.ended).await.expect("the upstream did not end").unwrap_err();
    }
}
