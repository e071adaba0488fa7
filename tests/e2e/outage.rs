//! The broker is killed under load and comes back: every record arrives, in order, none missing.

use crate::broker::{Broker, Gate};
use crate::gateway::{Gateway, until};
use crate::inbox::{Inbox, assert_none_missing};
use crate::meter::{Meters, small_profile};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the broker is away.
const AWAY: Duration = Duration::from_secs(4);

/// Lets time pass, so that a backlog gathers.
pub fn pass(span: Duration) {
    let start = Instant::now();
    until("time to pass", || (start.elapsed() >= span).then_some(()));
}

/// Meters that fill the wire: each is asked again as soon as it is due, ten times a second.
pub const LOAD: u8 = 8;

/// A configuration under load: eight meters, ten scans a second each.
pub fn under_load(profile: &Path, place: &str, port: u16) -> String {
    let devices: Vec<String> = (1..=LOAD)
        .map(|unit| {
            let profile = profile.display();
            format!("      - {{ name: meter-{unit}, profile: {profile}, unit: {unit}, every: 100ms }}\n")
        })
        .collect();
    format!(
        r#"gateway: {{ id: plant-7 }}
lines:
  - name: lan
    tcp: {{ address: "{place}" }}
    devices:
{devices}spool: {{ dir: spool, commit_every: 1s }}
upstreams:
  - name: scada
    mqtt: {{ url: "mqtt://127.0.0.1:{port}" }}
"#,
        devices = devices.concat(),
    )
}

/// The meters of that configuration.
pub fn meters_for_load(profile: &Path) -> Meters {
    let meters: Vec<_> = (1..=LOAD).map(|unit| (profile.to_owned(), unit)).collect();
    Meters::tcp(&meters)
}

/// These meters, a broker, who listens there, and the configuration between them.
pub fn loaded(folder: &Path) -> (Meters, Broker, Inbox, String) {
    let profile = small_profile(folder);
    let (meters, broker) = (meters_for_load(&profile), Broker::start(folder));
    let inbox = Inbox::open(broker.port(), "plant-7");
    let yaml = under_load(&profile, &meters.place, broker.port());
    (meters, broker, inbox, yaml)
}

#[test]
fn a_broker_that_is_killed_under_load_and_forgets_everything_costs_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = meters_for_load(&profile);
    let mut broker = Broker::start(folder.path());
    let gate = Gate::before(broker.port());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let gateway = Gateway::start(folder.path(), &under_load(&profile, &meters.place, gate.port()));
    for outage in 1..=3 {
        let before = inbox.records.len();
        inbox.until("records to flow", |records| (records.len() > before + 100).then_some(()));
        // Killed with publishes in flight; the gate keeps the gateway out until the next subscriber is in place.
        broker.kill();
        gate.shut();
        pass(AWAY);
        inbox.take();
        let so_far = std::mem::take(&mut inbox.records);
        broker.restart();
        inbox = Inbox::open(broker.port(), "plant-7");
        inbox.records = so_far;
        gate.open();
        let behind = inbox.records.len();
        inbox.until(&format!("the backlog of outage {outage}"), |records| {
            // Eight meters ten times a second for four seconds: a third of it even on a busy machine.
            (records.len() > behind + 100).then_some(())
        });
    }
    gateway.signal(rustix::process::Signal::TERM);
    let (status, _) = gateway.wait();
    assert!(status.success(), "{status}");
    inbox.take();
    let epochs = inbox.epochs();
    assert_eq!(epochs.len(), 1, "one start, one epoch");
    for (epoch, _) in &epochs {
        assert_none_missing(&inbox, epoch);
    }
    let repeated =
        inbox.records.len() - epochs[0].1.iter().max().map_or(0, |&last| usize::try_from(last).unwrap());
    assert!(repeated < 3 * 100, "{repeated} records came twice: more than what can have been in flight");
}

#[test]
fn polling_keeps_its_beat_while_the_broker_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = meters_for_load(&profile);
    let broker = Broker::start(folder.path());
    let gate = Gate::before(broker.port());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let gateway = Gateway::start(folder.path(), &under_load(&profile, &meters.place, gate.port()));
    inbox.until("records to flow", |records| (records.len() > 50).then_some(()));
    gate.shut();
    let away = inbox.records.len();
    pass(AWAY);
    gate.open();
    let since = gateway.now_ms();
    inbox.until("what was taken after the return", |records| {
        records[away..].iter().find(|record| record.ts > since).map(drop)
    });
    let mut stamps: Vec<i64> = inbox.records.iter().filter(|r| r.device == "meter-1").map(|r| r.ts).collect();
    stamps.sort_unstable();
    let longest = stamps.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    // A tenth of a second is the period; an outage of four seconds that stopped the polling would show.
    assert!(longest < 2000, "no reading for {longest} ms");
}
