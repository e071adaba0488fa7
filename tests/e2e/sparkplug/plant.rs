//! Two meters, a gateway, brokers with taps before them, and a host that is mosquitto's own client.

use super::payload::{Metric, command};
use super::station::Station;
use super::tap::{Recorder, Tap, Trace};
use super::{GROUP, NODE, said_of};
use crate::broker::Broker;
use crate::gateway::{Gateway, status_of, until};
use linesman::model::{Clock as _, SystemClock};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;

const PROFILE: &str = r#"profile: 1
vendor: Nobody
model: Station
kind: other
sources: ["this test"]
points:
  count: { holding: 0, type: u16, quantity: other, unit: "1" }
  level: { holding: 1, type: s16, scale: 0.1, quantity: temperature, unit: "°C" }
  state: { holding: 2, type: u16, quantity: status, enum: { 0: off, 1: on } }
  running: { holding: 3, bit: 0, quantity: status }
"#;

pub struct Plant {
    folder: tempfile::TempDir,
    brokers: Vec<Broker>,
    pub taps: Vec<Tap>,
    recorder: Recorder,
    pub station: Station,
    yaml: String,
    notes: Mutex<Vec<&'static str>>,
    url: Mutex<String>,
}

impl Plant {
    /// With so many brokers, and these keys under `sparkplug` and of the upstream.
    pub fn start(brokers: usize, keys: &str, of_upstream: &str) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("station.yaml"), PROFILE).unwrap();
        let (station, recorder) = (Station::start(), Recorder::default());
        let brokers: Vec<Broker> = (0..brokers)
            .map(|n| {
                let folder = folder.path().join(format!("broker-{n}"));
                fs::create_dir(&folder).unwrap();
                Broker::start(&folder)
            })
            .collect();
        let taps: Vec<Tap> =
            brokers.iter().enumerate().map(|(n, broker)| Tap::before(broker.port(), n, &recorder)).collect();
        let urls: Vec<String> =
            taps.iter().map(|tap| format!("\"mqtt://127.0.0.1:{}\"", tap.port())).collect();
        let yaml = format!(
            r#"gateway: {{ id: gateway-9 }}
lines:
  - name: lan
    tcp: {{ address: "{place}" }}
    devices:
      - {{ name: meter-1, profile: ./station.yaml, unit: 1, every: 20ms, timeout: 300ms }}
      - {{ name: meter-2, profile: ./station.yaml, unit: 2, every: 20ms, timeout: 300ms }}
spool: {{ dir: spool, commit_every: 1s }}
http: {{ listen: "127.0.0.1:0" }}
upstreams:
  - {{ name: scada, {of_upstream}sparkplug: {{ urls: [{urls}], group: {GROUP}, node: {NODE}, {keys} }} }}
"#,
            place = station.place(),
            urls = urls.join(", "),
        );
        let (notes, url) = (Mutex::default(), Mutex::default());
        Plant { folder, brokers, taps, recorder, station, yaml, notes, url }
    }

    pub fn run(&self) -> Gateway {
        let gateway = Gateway::start(self.folder.path(), &self.yaml);
        *self.url.lock().unwrap() = format!("http://{}", gateway.http());
        gateway
    }

    /// A clean stop, all of whose words have passed.
    pub fn end(&self, gateway: Gateway) {
        gateway.signal(Signal::TERM);
        let (status, _) = gateway.wait();
        assert!(status.success(), "{status}");
        self.until("the last word", |trace| trace.sessions.last()?.is_over().then_some(()));
    }

    pub fn trace(&self) -> Trace {
        Trace { notes: self.notes.lock().unwrap().clone(), ..self.recorder.trace() }
    }

    pub fn note(&self, what: &'static str) {
        self.notes.lock().unwrap().push(what);
    }

    pub fn until<T>(&self, what: &str, mut probe: impl FnMut(&Trace) -> Option<T>) -> T {
        until(what, || probe(&self.recorder.trace()))
    }

    /// Until something like this was said of a device's metric last, in the last session.
    pub fn until_said(&self, device: &str, name: &str, is_so: impl Fn(&Metric) -> bool) {
        self.until(&format!("{name} of {device}"), |trace| {
            let said = said_of(trace.sessions.last()?, device, name);
            said.iter().rev().take(50).any(&is_so).then_some(())
        });
    }

    fn account(&self) -> serde_json::Value {
        status_of(&self.url.lock().unwrap())["upstreams"][0].clone()
    }

    pub fn pending(&self) -> u64 {
        self.account()["pending"].as_u64().unwrap()
    }

    /// Until so many records wait.
    pub fn until_spooled(&self, records: u64) {
        until("records to wait", || (self.pending() >= records).then_some(()));
    }

    /// A host says whether it is there.
    pub fn state(&self, broker: usize, host: &str, online: bool, timestamp: i64, retain: bool) {
        let payload = format!("{{\"online\":{online},\"timestamp\":{timestamp}}}");
        let retain: &[&str] = if retain { &["-r"] } else { &[] };
        self.publish(broker, &format!("spBv1.0/STATE/{host}"), "1", retain, payload.as_bytes());
    }

    /// A host asks for births.
    pub fn ask_for_births(&self) {
        let now = u64::try_from(SystemClock.utc().0).unwrap();
        let payload = command("Node Control/Rebirth", now, true);
        self.publish(0, &format!("spBv1.0/{GROUP}/NCMD/{NODE}"), "0", &[], &payload);
    }

    fn publish(&self, broker: usize, topic: &str, qos: &str, more: &[&str], payload: &[u8]) {
        let port = self.brokers[broker].port().to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-t", topic, "-q", qos, "-s"]).args(more);
        let mut child =
            command.stdin(Stdio::piped()).spawn().expect("mosquitto_pub is missing: run tests/run once");
        child.stdin.take().unwrap().write_all(payload).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
