//! Upstreams by HTTP to databases that are not ours: VictoriaMetrics and Prometheus, killed and asked what they have; and TLS.

use crate::broker::{Gate, free_port};
use crate::gateway::{Gateway, Kept, PATIENCE, status_of, until};
use crate::meter::small_profile;
use crate::outage::{meters_for_load, pass, under_load};
use crate::skipped::skipped;
use crate::tls::Authority;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// VictoriaMetrics gathers what it has taken for a second and writes it to its disk five seconds later, looking every five:
/// what it loses by `kill -9` within these is its own loss. Prometheus has a log ahead of its tables.
const FLUSHED: Duration = Duration::from_secs(13);

/// A value by metric (without the prefix), device and stamp.
type Values = BTreeMap<(String, String, i64), f64>;

struct Server {
    child: Kept,
    port: u16,
    command: fn(&Path, u16) -> Command,
    folder: PathBuf,
}

impl Server {
    fn start(folder: PathBuf, command: fn(&Path, u16) -> Command) -> Option<Server> {
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let child = run(command(&folder, port), port)?;
        Some(Server { child, port, command, folder })
    }

    fn kill(&mut self) {
        self.child.kill();
    }

    fn restart(&mut self) {
        self.child =
            run((self.command)(&self.folder, self.port), self.port).expect("it does not start again");
    }
}

fn run(mut command: Command, port: u16) -> Option<Kept> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Kept::spawn(&mut command).ok()?;
    until("the database to answer", || (get(port, "/-/ready").0 == 200).then_some(()));
    Some(child)
}

fn victoria_metrics(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!("-storageDataPath={}", folder.join("data").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command
}

fn prometheus(folder: &Path, port: u16) -> Command {
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-remote-write-receiver");
    command
}

/// Status and body; status 0 where nobody answers.
fn get(port: u16, path: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return (0, String::new()) };
    let asked = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let mut answer = Vec::new();
    if stream.write_all(asked.as_bytes()).and_then(|()| stream.read_to_end(&mut answer)).is_err() {
        return (0, String::new());
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// What a VictoriaMetrics has of the series with this label.
fn exported(port: u16, label: &str) -> Values {
    get(port, "/internal/force_flush");
    let (_, lines) = get(port, &format!("/api/v1/export?match[]=%7B{label},device%21=%22%22%7D"));
    let mut values = Values::new();
    for line in lines.lines() {
        let series: Value = serde_json::from_str(line).unwrap();
        let metric = &series["metric"];
        let samples =
            series["timestamps"].as_array().unwrap().iter().zip(series["values"].as_array().unwrap());
        for (ts, value) in samples {
            let Some(value) = value.as_f64() else { continue };
            values.insert(key(metric, ts.as_i64().unwrap()), value);
        }
    }
    values
}

/// What a Prometheus has.
fn queried(port: u16) -> Values {
    let (_, text) = get(port, "/api/v1/query?query=%7B__name__%3D~%22linesman_.%2B%22%7D%5B1h%5D");
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut values = Values::new();
    for series in answer["data"]["result"].as_array().into_iter().flatten() {
        for sample in series["values"].as_array().unwrap() {
            let Ok(value) = sample[1].as_str().unwrap().parse::<f64>() else { continue };
            let ts: f64 = sample[0].as_f64().unwrap() * 1000.0;
            values.insert(key(&series["metric"], format!("{ts:.0}").parse().unwrap()), value);
        }
    }
    values
}

fn key(metric: &Value, ts: i64) -> (String, String, i64) {
    let text = |name: &str| metric[name].as_str().unwrap_or_default().to_owned();
    let name = text("__name__");
    (name.strip_prefix("linesman_").unwrap_or(&name).to_owned(), text("device"), ts)
}

/// What was sampled, as the upstream `file` has written it.
fn sampled(file: &Path) -> Values {
    let mut values = Values::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let reading: Value = serde_json::from_str(line).unwrap();
        for (point, value) in reading["values"].as_object().into_iter().flatten() {
            let Some(value) = value.as_f64() else { continue };
            let device = reading["device"].as_str().unwrap().to_owned();
            values.insert((point.clone(), device, reading["ts"].as_i64().unwrap()), value);
        }
    }
    values
}

fn upstream(url: &str, name: &str) -> Value {
    let status = status_of(url);
    status["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == name).unwrap().clone()
}

/// Eight meters ten times a second, to a file and to these upstreams.
fn gateway(folder: &Path, upstreams: &str) -> (crate::meter::Meters, Gateway, String) {
    let profile = small_profile(folder);
    let meters = meters_for_load(&profile);
    let yaml = under_load(&profile, &meters.place, 1);
    let (head, _) = yaml.split_once("upstreams:").unwrap();
    let file = "  - { name: truth, file: { path: truth.jsonl } }\n";
    let yaml = format!("{head}upstreams:\n{file}{upstreams}http: {{ listen: \"127.0.0.1:0\" }}\n");
    let gateway = Gateway::start(folder, &yaml);
    let url = format!("http://{}", gateway.http());
    (meters, gateway, url)
}

fn delivered(url: &str, name: &str) -> u64 {
    upstream(url, name)["delivered"].as_u64().unwrap()
}

/// Flows, is killed in the middle, is away, comes back, and flows again; then the gateway ends and has delivered all.
fn outage(server: &mut Server, gate: &Gate, url: &str, names: &[&str], flushed: Duration) {
    for name in names {
        until(&format!("records by {name}"), || (delivered(url, name) > 100).then_some(()));
    }
    gate.shut();
    pass(flushed);
    server.kill();
    let before: Vec<u64> = names.iter().map(|name| delivered(url, name)).collect();
    until("a backlog", || (upstream(url, names[0])["pending"].as_u64()? > 100).then_some(()));
    server.restart();
    gate.open();
    for (name, before) in names.iter().zip(before) {
        until(&format!("the backlog by {name}"), || (delivered(url, name) > before + 200).then_some(()));
    }
}

fn nothing_is_missing(what: &str, wanted: &Values, found: impl Fn() -> Values) {
    assert!(wanted.len() > 500, "{}", wanted.len());
    let missing = || {
        let found = found();
        wanted
            .iter()
            .filter(|(key, value)| found.get(*key) != Some(*value))
            .map(|(key, _)| key.clone())
            .collect()
    };
    let mut left: Vec<(String, String, i64)> = Vec::new();
    for _ in 0..40 {
        left = missing();
        if left.is_empty() {
            return;
        }
        pass(Duration::from_millis(250));
    }
    panic!("{what}: {} of {} are missing or other, for example {:?}", left.len(), wanted.len(), left.first());
}

#[test]
fn victoria_metrics_has_every_value_by_line_protocol_and_by_remote_write_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut server) = Server::start(folder.path().join("vm"), victoria_metrics) else {
        panic!("victoria-metrics is missing: run tests/run once");
    };
    let gate = Gate::before(server.port);
    let port = gate.port();
    let (_meters, gateway, url) = gateway(
        folder.path(),
        &format!(
            "  - {{ name: lines, influx: {{ url: \"http://127.0.0.1:{port}\", database: meters }} }}\n  - {{ name: remote, prometheus: {{ url: \"http://127.0.0.1:{port}/api/v1/write\", labels: {{ via: remote }} }} }}\n"
        ),
    );
    outage(&mut server, &gate, &url, &["lines", "remote"], FLUSHED);
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
    let wanted = sampled(&folder.path().join("truth.jsonl"));
    nothing_is_missing("line protocol", &wanted, || exported(server.port, "db=%22meters%22"));
    nothing_is_missing("remote write", &wanted, || exported(server.port, "via=%22remote%22"));
}

#[test]
fn prometheus_has_every_value_by_remote_write_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut server) = Server::start(folder.path().join("prometheus"), prometheus) else {
        skipped("remote write to Prometheus: there is no prometheus (Debian: apt-get install prometheus)");
        return;
    };
    let gate = Gate::before(server.port);
    let (_meters, gateway, url) = gateway(
        folder.path(),
        &format!(
            "  - {{ name: remote, prometheus: {{ url: \"http://127.0.0.1:{}/api/v1/write\" }} }}\n",
            gate.port()
        ),
    );
    outage(&mut server, &gate, &url, &["remote"], Duration::ZERO);
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
    nothing_is_missing("remote write", &sampled(&folder.path().join("truth.jsonl")), || queried(server.port));
}

/// A few lines of Python: a server by TLS that takes everything and prints the octets of each body.
const SERVER: &str = r#"
import http.server, ssl, sys
class Taker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        print("body", len(self.rfile.read(int(self.headers["Content-Length"]))), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("port", server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Taker {
    _child: Kept,
    port: u16,
    said: std::sync::mpsc::Receiver<String>,
}

impl Taker {
    fn start(authority: &Authority, name: &str) -> Taker {
        let mut command = Command::new("python3");
        command
            .args([
                "-c",
                SERVER,
                &authority.file(&format!("{name}.pem")),
                &authority.file(&format!("{name}.key")),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = Kept::spawn(&mut command).expect("python3 is missing");
        let said = child.output();
        let line = said.recv_timeout(PATIENCE).expect("the server did not start");
        let port = line.strip_prefix("port ").unwrap().parse().unwrap();
        Taker { _child: child, port, said }
    }
}

#[test]
fn a_server_by_tls_is_who_it_should_be_or_hears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let others = Authority::new(folder.path(), "others");
    ours.sign("right", "DNS:localhost", "now", 5);
    ours.sign("elsewhere", "DNS:elsewhere.example.org", "now", 300);
    others.sign("stranger", "DNS:localhost", "now", 300);
    let right = Taker::start(&ours, "right");
    let wrong = [
        ("wrong-name", Taker::start(&ours, "elsewhere"), "for another name"),
        ("unknown", Taker::start(&others, "stranger"), "signed by nobody that is believed here"),
    ];
    let ca = ours.file("ca.pem");
    let line = |name: &str, port: u16| {
        format!(
            "  - {{ name: {name}, influx: {{ url: \"https://localhost:{port}\", bucket: b, org: o, ca_file: {ca} }} }}\n"
        )
    };
    let upstreams: String = wrong.iter().map(|(name, taker, _)| line(name, taker.port)).collect();
    let (_meters, _gateway, url) = gateway(folder.path(), &(line("right", right.port) + &upstreams));
    until("records by TLS", || (delivered(&url, "right") > 50).then_some(()));
    let warnings = upstream(&url, "right")["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap(), &["the server's certificate ends in less than 7 days"]);
    assert!(right.said.try_iter().count() > 0);
    for (name, taker, words) in &wrong {
        until(&format!("{name} to be said: {words}"), || {
            upstream(&url, name)["detail"].as_str().filter(|detail| detail.contains(words)).map(drop)
        });
        assert_eq!((delivered(&url, name), taker.said.try_iter().count()), (0, 0), "{name}");
    }
}
