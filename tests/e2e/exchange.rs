//! Meters that are exchanged, that start, that are reset: a meter that is not ours (pymodbus), whose registers somebody
//! else writes (mbpoll) while the gateway reads them.

use crate::broker::Broker;
use crate::gateway::{Gateway, linesman, status_of, until};
use crate::inbox::Inbox;
use crate::meter::Meters;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One meter and whoever listens to it.
struct Site {
    folder: tempfile::TempDir,
    meters: Meters,
    broker: Broker,
    inbox: Inbox,
    /// So many records are old.
    read: usize,
}

impl Site {
    /// A meter that says the serial number 1000 and has counted up to 1007.
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let profile = folder.path().join("counter.yaml");
        let text =
            "profile: 1\nvendor: Nobody\nmodel: Counter\nkind: other\nsources: [\"this test\"]\npoints:
  serial_number: { holding: 0, type: u16, quantity: other, unit: \"1\" }
  energy: { holding: 1, type: u16, quantity: other, unit: \"1\", index: true, total: true }\n";
        fs::write(&profile, text).unwrap();
        let meters = Meters::tcp(&[(profile, 1)]);
        let broker = Broker::start(folder.path());
        let inbox = Inbox::open(broker.port(), "plant-7");
        Site { folder, meters, broker, inbox, read: 0 }
    }

    fn yaml(&self, identity: &str) -> String {
        let (at, broker) = (&self.meters.place, self.broker.port());
        format!(
            r#"gateway: {{ id: plant-7 }}
lines:
  - name: line
    tcp: {{ address: "{at}" }}
    devices: [ {{ name: m, profile: ./counter.yaml, unit: 1, every: 200ms{identity} }} ]
spool: {{ dir: spool }}
upstreams: [ {{ name: scada, mqtt: {{ url: "mqtt://127.0.0.1:{broker}" }} }} ]
http: {{ listen: "127.0.0.1:0" }}
"#
        )
    }

    fn start(&self) -> Gateway {
        Gateway::start(self.folder.path(), &self.yaml(""))
    }

    fn reload(&self, gateway: &Gateway, identity: &str) {
        fs::write(self.folder.path().join("linesman.yaml"), self.yaml(identity)).unwrap();
        gateway.signal(Signal::HUP);
    }

    /// Somebody sets registers of the meter, in one go, from this address on.
    fn set(&self, address: u16, values: &[u16]) {
        let (host, port) = self.meters.place.rsplit_once(':').unwrap();
        let mut command = Command::new("mbpoll");
        command.args(["-m", "tcp", "-a", "1", "-t", "4", "-0", "-q", "-r", &address.to_string(), "-p", port]);
        let output = command.arg(host).args(values.iter().map(u16::to_string)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The next records up to one with these values, by point: `values`, or the word in `bad`.
    fn until(&mut self, energy: &str, total: &str) -> Vec<BTreeMap<String, String>> {
        let (what, read) = (format!("energy {energy}, total {total}"), self.read);
        let is_it =
            |said: &BTreeMap<String, String>| said["energy"] == energy && said["energy_total"] == total;
        let seen = self.inbox.until(&what, |records| {
            let said: Vec<_> =
                records[read..].iter().map(said).filter(|said| said.contains_key("energy")).collect();
            said.iter().any(is_it).then_some(said)
        });
        self.read = self.inbox.records.len();
        seen
    }

    /// An event of this type that has come so far.
    fn event(&mut self, kind: &str) -> Value {
        until(&format!("an event {kind}"), || {
            self.inbox.take();
            let events = self.inbox.others.iter().filter(|(topic, _)| topic == "event");
            let mut events = events.map(|(_, text)| serde_json::from_str::<Value>(text).unwrap());
            events.find(|event| event["type"] == kind)
        })
    }
}

fn said(record: &crate::inbox::Record) -> BTreeMap<String, String> {
    let mut said = record.values();
    said.extend(record.bad());
    said
}

/// Waits until the gateway shows the meter like this: state, reason, serial number.
fn until_shown(http: &str, state: &str, reason: Option<&str>, identity: &str) {
    until(&format!("{state}, {reason:?}, {identity}"), || {
        let device = &status_of(http)["devices"][0];
        let is_it = device["state"] == state && device["reason"].as_str() == reason;
        (is_it && device["identity"] == identity).then_some(())
    });
}

fn assert_none_was_believed(seen: &[BTreeMap<String, String>]) {
    let believed: Vec<_> = seen.iter().filter(|said| said["energy"] != "identity").collect();
    assert!(believed.is_empty(), "{believed:?}");
}

fn on_disk(folder: &Path) -> String {
    fs::read_to_string(folder.join("spool/meters.json")).unwrap_or_default()
}

#[test]
fn an_exchanged_meter_is_held_told_and_shown_also_over_a_kill_until_its_owner_accepts_it() {
    let mut site = Site::new();
    let gateway = site.start();
    let http = gateway.http();
    site.until("1007", "1007");
    until_shown(&http, "ok", None, "1000");
    site.set(0, &[2000, 3]);
    site.until("identity", "identity");
    let event = site.event("other-meter");
    assert_eq!((&event["line"], &event["device"]), (&"line".into(), &"m".into()));
    let text = event["text"].as_str().unwrap();
    assert!(text.contains("2000 instead of 1000") && text.contains(r#"identity: "2000""#), "{text}");
    until_shown(&http, "degraded", Some("identity"), "2000");
    let (_, table) = linesman(&["status", "--url", &http]);
    let row = table.lines().find(|line| line.contains("degraded"));
    assert!(row.is_some_and(|row| row.contains("identity")), "{table}");
    gateway.kill();
    let gateway = site.start();
    let http = gateway.http();
    assert_none_was_believed(&site.until("identity", "identity"));
    until_shown(&http, "degraded", Some("identity"), "2000");
    site.set(1, &[4]);
    assert_none_was_believed(&site.until("identity", "identity"));
    site.reload(&gateway, ", identity: accept");
    site.until("4", "1007");
    let event = site.event("meter-exchanged");
    assert_eq!(event["text"], "the meter 1000 was exchanged for 2000");
    site.set(1, &[6]);
    site.until("6", "1009");
    until_shown(&http, "ok", None, "2000");
}

#[test]
fn a_meter_that_does_not_say_who_it_is_is_told_and_shown_and_freed_when_it_does_or_its_owner_says_so() {
    let mut site = Site::new();
    let gateway = site.start();
    site.until("1007", "1007");
    until("its number on disk", || on_disk(site.folder.path()).contains("1000").then_some(()));
    gateway.kill();
    // It starts, and does not know who it is yet.
    site.set(0, &[0, 1008]);
    let gateway = site.start();
    let http = gateway.http();
    site.until("identity", "identity");
    let event = site.event("nameless-meter");
    assert!(event["text"].as_str().unwrap().contains("identity: accept"), "{event}");
    until_shown(&http, "degraded", Some("identity"), "1000");
    site.reload(&gateway, ", identity: accept");
    site.until("1008", "1008");
    until_shown(&http, "ok", None, "1000");
    site.reload(&gateway, "");
    site.set(0, &[1000, 1009]);
    site.until("1009", "1009");
    until_shown(&http, "ok", None, "1000");
}

#[test]
fn a_counter_that_reads_nothing_for_a_while_or_is_reset_is_told_and_its_total_survives_a_kill() {
    let mut site = Site::new();
    let gateway = site.start();
    site.until("1007", "1007");
    site.set(1, &[0]);
    let seen = site.until("0", "1007");
    assert!(seen.iter().any(|said| said["energy"] == "counter-fell"), "believed at once: {seen:?}");
    site.event("counter-reset");
    site.set(1, &[1010]);
    site.until("1010", "1010");
    site.event("counter-back");
    for count in [2, 3, 5] {
        site.set(1, &[count]);
        site.until(&count.to_string(), if count == 5 { "1013" } else { "1010" });
    }
    until("the total on disk", || on_disk(site.folder.path()).contains("1013").then_some(()));
    gateway.kill();
    site.set(1, &[9]);
    let _gateway = site.start();
    let seen = site.until("9", "1017");
    let totals: Vec<u32> = seen.iter().filter_map(|said| said["energy_total"].parse().ok()).collect();
    assert!(totals.iter().all(|total| *total >= 1013), "{totals:?}");
}

#[test]
fn a_profile_that_reads_a_counter_otherwise_begins_it_anew_with_the_reload() {
    let mut site = Site::new();
    let gateway = site.start();
    site.until("1007", "1007");
    let profile = site.folder.path().join("counter.yaml");
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, text.replace("total: true", "total: true, scale: 0.1")).unwrap();
    gateway.signal(Signal::HUP);
    site.until("100.7", "100.7");
    let event = site.event("counter-reset");
    assert!(event["text"].as_str().unwrap().ends_with("begin anew: energy"), "{event}");
    site.set(1, &[1010]);
    site.until("101", "101");
}
