//! What a service owes its operator: a quick clean end, a reload that cannot hurt, one sick meter that costs only itself.

use crate::broker::Broker;
use crate::gateway::{Gateway, PATIENCE, status_of, until};
use crate::inbox::Inbox;
use crate::meter::{Meters, small_profile};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// Meters by unit id on one line, each asked every second.
fn config(profile: &Path, line: &str, units: &[u8], broker: u16) -> String {
    let devices: Vec<String> = units
        .iter()
        .map(|unit| {
            let profile = profile.display();
            format!("      - {{ name: meter-{unit}, profile: {profile}, unit: {unit}, every: 1s }}\n")
        })
        .collect();
    format!(
        r#"gateway: {{ id: plant-7 }}
lines:
  - name: line
    {line}
    devices:
{devices}spool: {{ dir: spool }}
upstreams:
  - name: scada
    mqtt: {{ url: "mqtt://127.0.0.1:{broker}" }}
"#,
        devices = devices.concat(),
    )
}

fn tcp(meters: &Meters) -> String {
    format!("tcp: {{ address: \"{}\" }}", meters.place)
}

#[test]
fn a_gateway_that_is_asked_to_stop_says_good_bye_and_is_gone_within_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let gateway = Gateway::start(folder.path(), &config(&profile, &tcp(&meters), &[1], broker.port()));
    inbox.until("a reading", |records| records.first().map(drop));
    gateway.signal(Signal::TERM);
    let (status, took) = gateway.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let said = until("the last status", || {
        inbox.take();
        let last = inbox.others.iter().rev().find(|(topic, _)| topic == "status");
        last.filter(|(_, status)| status.contains(r#""online":false"#)).cloned()
    });
    assert!(said.1.contains(r#""ts":"#), "the Will spoke, not the gateway: {}", said.1);
}

#[test]
fn a_gateway_whose_broker_cannot_be_reached_stops_as_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let mut broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let gateway = Gateway::start(folder.path(), &config(&profile, &tcp(&meters), &[1], broker.port()));
    inbox.until("a reading", |records| records.first().map(drop));
    broker.kill();
    gateway.signal(Signal::TERM);
    let (status, took) = gateway.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_reload_with_a_bad_configuration_polls_on_and_one_with_a_good_one_applies() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1), (profile.clone(), 2)]);
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let good = config(&profile, &tcp(&meters), &[1], broker.port());
    let mut gateway = Gateway::start(folder.path(), &good);
    inbox.until("a reading", |records| records.first().map(drop));

    let file = folder.path().join("linesman.yaml");
    std::fs::write(&file, good.replace("unit: 1", "unit: 1000")).unwrap();
    gateway.signal(Signal::HUP);
    until("the refusal in the log", || gateway.log().contains("1000").then_some(()));
    let so_far = inbox.records.len();
    inbox.until("polling to go on", |records| (records.len() > so_far + 3).then_some(()));
    assert!(gateway.alive());

    std::fs::write(&file, config(&profile, &tcp(&meters), &[1, 2], broker.port())).unwrap();
    gateway.signal(Signal::HUP);
    inbox
        .until("the new meter", |records| records.iter().find(|record| record.device == "meter-2").map(drop));
    let so_far = inbox.records.len();
    inbox.until("the old meter too", |records| {
        records[so_far..].iter().find(|record| record.device == "meter-1").map(drop)
    });
    assert_eq!(inbox.epochs().len(), 1, "a reload is no restart");
}

#[test]
fn a_bad_configuration_ends_the_start_with_seventy_eight() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), "lines: [ { nmae: x } ]\n");
    assert_eq!(gateway.wait().0.code(), Some(78));
}

#[test]
fn two_living_meters_keep_their_period_beside_a_dead_one() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    // Units 1 and 3 live; nobody answers as 2.
    let meters = Meters::rtu(&folder.path().join("rs485-1"), &[(profile.clone(), 1), (profile.clone(), 3)]);
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let line = format!("serial: {{ port: {}, baud: 9600, parity: none, stop_bits: 1 }}", meters.place);
    let _gateway = Gateway::start(folder.path(), &config(&profile, &line, &[1, 2, 3], broker.port()));
    inbox.until("the dead meter to be given up", |records| {
        records.iter().find(|record| record.device == "meter-2" && !record.bad().is_empty()).map(drop)
    });
    inbox.until("fifteen scans of each living meter", |records| {
        let scans = |device| records.iter().filter(|record| record.device == device).count();
        (scans("meter-1") >= 15 && scans("meter-3") >= 15).then_some(())
    });
    for device in ["meter-1", "meter-3"] {
        let mine: Vec<_> = inbox.records.iter().filter(|record| record.device == device).collect();
        assert!(mine.iter().all(|record| record.bad().is_empty()), "{device} suffers");
        // The stamps are the gateway's own: a period that is kept is kept on average, however busy this machine is.
        let span = mine[mine.len() - 1].ts - mine[0].ts;
        let mean = span / i64::try_from(mine.len() - 1).unwrap();
        assert!((900..=1200).contains(&mean), "{device}: {mean} ms between scans on average, 1000 wanted");
    }
}

#[test]
fn the_gateway_accounts_for_every_record_to_whoever_asks_on_site() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let yaml =
        config(&profile, &tcp(&meters), &[1, 2], broker.port()) + "http: { listen: \"127.0.0.1:0\" }\n";
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    inbox.until("three readings", |records| (records.len() >= 3).then_some(()));
    let status = until("the acknowledgements", || {
        let status = status_of(&url);
        (status["upstreams"][0]["delivered"].as_u64() >= Some(3)).then_some(status)
    });
    assert_eq!(status["gateway"], "plant-7");
    assert_eq!(status["lines"][0]["name"], "line");
    assert_eq!(status["devices"][0]["name"], "meter-1");
    assert_eq!(status["upstreams"][0]["dropped"], serde_json::json!({}));
    assert_eq!(status["epoch"], inbox.records[0].epoch);
}

#[test]
fn systemd_is_told_of_readiness_of_progress_and_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1)]);
    let broker = Broker::start(folder.path());
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = |wanted: &str| {
        until(wanted, || {
            let mut octets = [0; 1024];
            let count = socket.recv(&mut octets).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            String::from_utf8_lossy(&octets[..count]).lines().any(|line| line == wanted).then_some(())
        });
    };
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")];
    let yaml = config(&profile, &tcp(&meters), &[1], broker.port());
    let gateway = Gateway::start_under(folder.path(), &yaml, &environment);
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    gateway.signal(Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(gateway.wait().0.code(), Some(0));
}
