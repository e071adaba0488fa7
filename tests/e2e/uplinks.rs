//! Ethernet or cellular: two wires to the same broker, and what happens when one of them is dead.
//!
//! Printed with `--nocapture`: how long it took from the fault to the first value over the other path, and back.

use crate::broker::Broker;
use crate::gateway::{Gateway, Kept, is_long, until};
use crate::inbox::{Inbox, Record, assert_none_missing, missing};
use crate::meter::{Meters, small_profile};
use crate::netns::{FAR, Site, inside};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const PORT: u16 = 1883;
const USER_TIMEOUT: Duration = Duration::from_secs(3);
const STABLE_FOR: Duration = Duration::from_secs(3);
const METERS: u8 = 2;

/// Two meters, five scans a second each; what is given stands under the cellular uplink and under the upstream.
fn config(profile: &Path, line: &Path, host: &str, lte: &str, upstream: &str) -> String {
    let (profile, line) = (profile.display(), line.display());
    let devices: Vec<String> = (1..=METERS)
        .map(|unit| format!("      - {{ name: m{unit}, profile: {profile}, unit: {unit}, every: 200ms }}\n"))
        .collect();
    format!(
        "gateway: {{ id: plant-7 }}
lines:
  - name: rs485
    serial: {{ port: {line}, baud: 115200 }}
    devices:
{}spool: {{ dir: spool, commit_every: 1s }}
uplinks:
  - {{ name: ethernet, interface: eth0, user_timeout: {}s, stable_for: {}s, probe_every: 1s }}
  - {{ name: lte, interface: wwan0, metered: true, user_timeout: 5s{lte} }}
upstreams:
  - name: scada
    mqtt: {{ url: \"mqtt://{host}:{PORT}\", insecure: true }}
{upstream}http: {{ listen: \"127.0.0.1:0\" }}
",
        devices.concat(),
        USER_TIMEOUT.as_secs(),
        STABLE_FOR.as_secs(),
    )
}

/// The whole site as it runs.
struct Plant {
    site: Site,
    folder: tempfile::TempDir,
    _meters: Meters,
    _broker: Broker,
    inbox: Inbox,
    gateway: Gateway,
    /// Where the gateway answers in its namespace.
    url: String,
}

impl Plant {
    fn start(site: Site, host: &str, lte: &str, upstream: &str) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let profile = small_profile(folder.path());
        let line = folder.path().join("ttyRS485");
        let units: Vec<_> = (1..=METERS).map(|unit| (profile.clone(), unit)).collect();
        let meters = Meters::rtu(&line, &units);
        let broker = Broker::inside(&site.far(), folder.path(), PORT);
        let inbox = Inbox::inside(&site.far(), PORT, "plant-7");
        let yaml = config(&profile, &line, host, lte, upstream);
        let gateway = Gateway::inside(&site.near(), folder.path(), &yaml);
        let url = format!("http://{}", gateway.http());
        Plant { site, folder, _meters: meters, _broker: broker, inbox, gateway, url }
    }

    fn status(&self) -> serde_json::Value {
        let mut command = inside(&self.site.near(), env!("CARGO_BIN_EXE_linesman"));
        let output = command.args(["status", "--url", &self.url, "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until status names this uplink; how long it took.
    fn until_over(&mut self, uplink: &str) -> Duration {
        let (start, word) = (Instant::now(), format!("\"uplink\":\"{uplink}\""));
        until(&format!("sessions over {uplink}"), || {
            self.inbox.take();
            let last = self.inbox.others.iter().rev().find(|(topic, _)| topic == "status")?;
            last.1.contains(&word).then_some(())
        });
        start.elapsed()
    }

    fn until_values(&mut self, what: &str, count: usize) {
        let before = self.inbox.records.len();
        self.inbox.until(what, |records| (records.len() > before + count).then_some(()));
    }

    fn pass(&mut self, span: Duration) {
        let start = Instant::now();
        until("time to pass", || {
            self.inbox.take();
            (start.elapsed() >= span).then_some(())
        });
    }

    /// From a fault to the first value that came by another way: nothing comes over a wire that is dead.
    fn first_value_after(&mut self, fault: i64) -> Duration {
        let first = |records: &[Record]| {
            let after = records.iter().filter(|record| record.seen > fault + 200 && record.ts > fault);
            after.map(|record| record.seen).min()
        };
        let seen = self.inbox.until("a value by another way", first);
        Duration::from_millis(u64::try_from(seen - fault).unwrap())
    }

    fn events(&self, kind: &str) -> Vec<String> {
        let word = format!("\"type\":\"{kind}\"");
        let events =
            self.inbox.others.iter().filter(|(topic, text)| topic == "event" && text.contains(&word));
        events.map(|(_, text)| text.clone()).collect()
    }

    /// Stops it; nothing may be missing. How many came twice.
    fn stop(mut self) -> usize {
        self.gateway.signal(Signal::TERM);
        let (status, _) = self.gateway.wait();
        assert!(status.success(), "{status}");
        let inbox = &mut self.inbox;
        until("the good-bye", || {
            inbox.take();
            let last = inbox.others.iter().rev().find(|(topic, _)| topic == "status");
            last.filter(|(_, status)| status.contains("\"online\":false")).map(drop)
        });
        let epochs = inbox.epochs();
        assert_eq!(epochs.len(), 1);
        assert_none_missing(inbox, &epochs[0].0);
        let once: BTreeSet<u64> = epochs[0].1.iter().copied().collect();
        drop(self.folder);
        epochs[0].1.len() - once.len()
    }
}

/// How a path dies, and comes back.
type Fault = (&'static str, fn(&Site), fn(&Site));

const FAULTS: [Fault; 3] = [
    ("the plug pulled here", Site::unplug, Site::plug_in),
    ("no power at the switch", |site| site.power(false), |site| site.power(true)),
    ("a silent black hole", |site| site.swallow("eth0"), |site| site.let_through("eth0")),
];

#[test]
fn a_dead_path_costs_no_reading_and_the_better_one_is_taken_again_when_it_has_been_stable() {
    let Some(site) = Site::build() else { return };
    let mut plant = Plant::start(site, FAR, "", "");
    plant.until_over("ethernet");
    let rounds = if is_long() { 5 } else { 1 };
    for (round, (name, kill, heal)) in (0..rounds).flat_map(|round| FAULTS.map(|fault| (round, fault))) {
        // So long that the return before is forgiven: one that fails soon doubles the time to the next.
        plant.pass(STABLE_FOR * 2 + Duration::from_secs(1));
        let fault = plant.gateway.now_ms();
        kill(&plant.site);
        let took = plant.first_value_after(fault);
        plant.until_over("lte");
        plant.until_values("values over lte", 20);
        assert!(took <= USER_TIMEOUT + Duration::from_secs(8), "{name}: the first value after {took:?}");
        heal(&plant.site);
        let back = plant.until_over("ethernet");
        assert!(back + Duration::from_millis(200) >= STABLE_FOR, "{name}: back after {back:?}");
        let most = STABLE_FOR * if is_long() { 2 } else { 6 };
        assert!(back < most, "{name}: back after {back:?}");
        println!("{round} {name}: first value over lte after {took:?}, back on ethernet after {back:?}");
    }
    plant.until_values("values over ethernet", 20);
    let faults = rounds * FAULTS.len();
    until("all changes to be told", || {
        plant.inbox.take();
        (plant.events("uplink-changed").len() >= 2 * faults).then_some(())
    });
    assert_eq!(
        plant.events("uplink-changed").len(),
        2 * faults,
        "it flaps: {:?}",
        plant.events("uplink-changed")
    );
    let status = plant.status();
    assert_eq!(status["uplinks"][0]["in_use"], true, "{status}");
    assert!(status["uplinks"][1]["octets"].as_u64().unwrap() > 10_000, "{status}");
    let twice = plant.stop();
    println!("{twice} records came twice over {faults} faults");
    // What was in flight when a wire died, never more than a window; a return costs nothing.
    assert!(twice <= faults * 32, "{twice}");
}

#[test]
fn a_name_is_resolved_on_the_path_that_is_taken() {
    let Some(site) = Site::build() else { return };
    site.ask_for_names_at(FAR);
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/names.py");
    let mut command = inside(&site.far(), "python3");
    let mut child = Kept::spawn(
        command.arg(server).args([FAR, "53", "broker.plant.example", FAR]).stdout(Stdio::piped()),
    )
    .unwrap();
    let asked = child.output();
    assert_eq!(asked.recv_timeout(crate::gateway::PATIENCE).unwrap(), "ready");
    // The system's own route to the name server is this one, and dead from the beginning.
    site.swallow("eth0");
    let mut plant = Plant::start(site, "broker.plant.example", "", "");
    plant.until_over("lte");
    plant.until_values("values over lte", 10);
    let mut askers: Vec<String> = Vec::new();
    askers.extend(asked.try_iter());
    assert!(!askers.is_empty() && askers.iter().all(|line| line.starts_with("10.2.0.1 ")), "{askers:?}");
    plant.site.let_through("eth0");
    plant.until_over("ethernet");
    askers.extend(asked.try_iter());
    assert!(askers.iter().any(|line| line.starts_with("10.1.0.1 ")), "{askers:?}");
    plant.stop();
}

#[test]
fn a_budget_that_is_used_up_lets_alarms_through_alone_and_what_waited_is_delivered_by_wire() {
    let Some(site) = Site::build() else { return };
    let mut plant = Plant::start(site, FAR, ", batch: 1s, budget: { month: 60kB }", "");
    plant.until_over("ethernet");
    plant.until_values("values over ethernet", 10);
    plant.site.swallow("eth0");
    plant.until_over("lte");
    for event in ["budget-low", "budget-spent"] {
        until(event, || {
            plant.inbox.take();
            (!plant.events(event).is_empty()).then_some(())
        });
    }
    let used = |plant: &Plant| plant.status()["uplinks"][1]["octets"].as_u64().unwrap();
    let before = (used(&plant), plant.inbox.records.len());
    assert!((60_000..75_000).contains(&before.0), "{before:?}");
    plant.pass(Duration::from_secs(4));
    let late = plant.inbox.records.len() - before.1;
    let after = used(&plant);
    // What was on its way when the budget ended.
    assert!(late <= 32 && after - before.0 < 10_000, "{late} records, {} octets", after - before.0);
    println!("budget of 60 kB: {after} octets used, {late} records after it was spent");
    assert_eq!(plant.status()["uplinks"][1]["stage"], "spent");
    plant.site.let_through("eth0");
    plant.until_over("ethernet");
    let epoch = plant.inbox.epochs()[0].0.clone();
    until("what waited", || {
        plant.inbox.take();
        let live = plant.inbox.records.iter().filter(|record| record.lane == "d").count();
        (live > 0 && missing(&plant.inbox, &epoch).is_empty()).then_some(())
    });
    let kept = std::fs::read_to_string(plant.folder.path().join("spool/uplinks.json")).unwrap();
    assert!(kept.contains("\"told\": \"spent\""), "{kept}");
    plant.stop();
}

#[test]
fn a_backlog_that_is_for_the_wire_alone_waits_for_it_while_live_readings_go_over_the_other_path() {
    let Some(site) = Site::build() else { return };
    site.swallow("eth0");
    site.swallow("wwan0");
    let mut plant = Plant::start(site, FAR, "", "    history: wired-only\n");
    let backlog = until("a backlog", || {
        let pending = plant.status()["upstreams"][0]["pending"].as_u64()?;
        (pending > 50).then_some(pending)
    });
    plant.site.let_through("wwan0");
    plant.until_over("lte");
    let live = |records: &[Record]| (records.iter().filter(|r| r.lane == "d").count() > 30).then_some(());
    plant.inbox.until("live readings over lte", live);
    let early = plant.inbox.records.iter().filter(|record| record.lane == "h").count();
    assert_eq!(early, 0, "history over the metered path");
    plant.site.let_through("eth0");
    plant.until_over("ethernet");
    let count = usize::try_from(backlog).unwrap();
    plant.inbox.until("the backlog by wire", |records| {
        (records.iter().filter(|record| record.lane == "h").count() >= count).then_some(())
    });
    plant.stop();
}

/// Takes every body and prints it.
const WEB_SERVER: &str = r#"
import http.server
class Taker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for line in body.decode().splitlines():
            print(self.client_address[0], line, flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
print("ready", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Taker).serve_forever()
"#;

#[test]
fn what_goes_by_http_takes_the_other_path_too_and_comes_back() {
    let Some(site) = Site::build() else { return };
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let line = folder.path().join("ttyRS485");
    let units: Vec<_> = (1..=METERS).map(|unit| (profile.clone(), unit)).collect();
    let _meters = Meters::rtu(&line, &units);
    let mut command = inside(&site.far(), "python3");
    let mut server = Kept::spawn(command.args(["-u", "-c", WEB_SERVER]).stdout(Stdio::piped())).unwrap();
    let lines = server.output();
    assert_eq!(lines.recv_timeout(crate::gateway::PATIENCE).unwrap(), "ready");
    let yaml = config(&profile, &line, FAR, "", "");
    let mqtt = format!("mqtt: {{ url: \"mqtt://{FAR}:{PORT}\"");
    assert!(yaml.contains(&mqtt));
    let yaml = yaml.replace(&mqtt, &format!("http: {{ url: \"http://{FAR}:8080/in\""));
    let gateway = Gateway::inside(&site.near(), folder.path(), &yaml);
    let mut heard: Vec<(String, u64)> = Vec::new();
    let mut until_over = |what: &str, address: &str| {
        until(what, || {
            let before = heard.len();
            heard.extend(lines.try_iter().filter_map(|line| {
                let (from, line) = line.split_once(' ')?;
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                Some((from.to_owned(), line["seq"].as_u64()?))
            }));
            heard[before..].iter().any(|(from, _)| from == address).then_some(())
        });
    };
    until_over("bodies over ethernet", "10.1.0.1");
    site.swallow("eth0");
    until_over("bodies over lte", "10.2.0.1");
    site.let_through("eth0");
    until_over("bodies over ethernet again", "10.1.0.1");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().0.success());
    heard.extend(lines.try_iter().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line.split_once(' ')?.1).ok()?;
        Some((String::new(), line["seq"].as_u64()?))
    }));
    let came: BTreeSet<u64> = heard.iter().map(|(_, seq)| *seq).collect();
    let missing: Vec<u64> = (1..=came.last().copied().unwrap()).filter(|seq| !came.contains(seq)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn an_edge_node_is_born_again_over_each_path_and_dies_in_order_on_one_that_works() {
    let Some(site) = Site::build() else { return };
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let line = folder.path().join("ttyRS485");
    let units: Vec<_> = (1..=METERS).map(|unit| (profile.clone(), unit)).collect();
    let _meters = Meters::rtu(&line, &units);
    let _broker = Broker::inside(&site.far(), folder.path(), PORT);
    let mut command = inside(&site.far(), "stdbuf");
    command.args(["-oL", "mosquitto_sub", "-d", "-t", "spBv1.0/#", "-F", "%t", "-p"]).arg(PORT.to_string());
    let mut child = Kept::spawn(command.stdout(Stdio::piped())).unwrap();
    let topics = child.output();
    until("a subscription", || topics.try_iter().any(|line| line.starts_with("Subscribed")).then_some(()));
    let yaml = config(&profile, &line, FAR, "", "").replace("mqtt: {", "sparkplug: { group: plant,");
    let gateway = Gateway::inside(&site.near(), folder.path(), &yaml);
    let mut said: Vec<String> = Vec::new();
    let mut until_births = |count: usize| {
        until(&format!("birth {count}, and data behind it"), || {
            said.extend(topics.try_iter().filter(|line| line.starts_with("spBv1.0/")));
            let births = said.iter().enumerate().filter(|(_, topic)| topic.contains("/NBIRTH/"));
            let last = births.map(|(at, _)| at).nth(count - 1)?;
            let devices = said[last..].iter().filter(|topic| topic.contains("/DBIRTH/")).count();
            (devices >= usize::from(METERS)).then(|| said.clone())
        })
    };
    until_births(1);
    // Its registers do not change, so nothing is sent that could be missed: only the carrier tells.
    site.unplug();
    until_births(2);
    site.plug_in();
    let said = until_births(3);
    let births: Vec<usize> =
        said.iter().enumerate().filter(|(_, topic)| topic.contains("/NBIRTH/")).map(|(at, _)| at).collect();
    assert!(said[births[1]..births[2]].iter().any(|topic| topic.contains("/NDEATH/")), "{said:?}");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().0.success());
}
