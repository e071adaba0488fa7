//! A broker of MQTT 5 that is not ours, with a list of who may say what (mosquitto's `acl_file`).

use crate::broker::Broker;
use crate::gateway::{Gateway, status_of, until};
use crate::inbox::Inbox;
use crate::meter::{Meters, small_profile};
use crate::outage::{LOAD, meters_for_load, under_load};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const OTHERS: &str = "topic read #\ntopic write linesman/plant-7/status\ntopic write linesman/plant-7/meta\n";

/// The list that names the first so many of the meters.
fn list(meters: std::ops::RangeInclusive<u8>) -> String {
    let each = meters.map(|n| format!("topic write linesman/plant-7/+/meter-{n}\n"));
    OTHERS.to_owned() + "topic write linesman/plant-7/event\n" + &each.collect::<String>()
}

/// The meters, and the configuration: MQTT 5 and a page.
fn loaded(folder: &Path, broker: &Broker) -> (Meters, String) {
    let profile = small_profile(folder);
    let meters = meters_for_load(&profile);
    let yaml = under_load(&profile, &meters.place, broker.port()).replace("mqtt: { ", "mqtt: { version: 5, ");
    (meters, yaml + "http: { listen: \"127.0.0.1:0\" }\n")
}

/// mosquitto that lets nobody do what its list does not name.
fn with_list(folder: &Path, list: &str) -> Broker {
    fs::write(folder.join("acl"), list).unwrap();
    let acl = format!("acl_file {}", folder.join("acl").display());
    // Without a limit mosquitto 2.0 ends the session of whoever it refuses something.
    Broker::with(folder, &[acl, "max_queued_messages 100000".to_owned(), "user root".to_owned()])
}

fn upstream(url: &str) -> Value {
    status_of(url)["upstreams"][0].clone()
}

fn assert_adds_up(account: &Value) {
    let of = |key: &str| account[key].as_u64().unwrap();
    let dropped: u64 = account["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(of("sampled"), of("delivered") + of("pending") + of("left_out") + dropped, "{account}");
}

#[test]
fn a_meter_that_the_broker_refuses_costs_only_itself_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // All but the first.
    let broker = with_list(folder.path(), &list(2..=LOAD));
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let (_meters, yaml) = loaded(folder.path(), &broker);
    for _ in 0..2 {
        let gateway = Gateway::start(folder.path(), &yaml);
        let url = format!("http://{}", gateway.http());
        let account = until("some to be refused, and told", || {
            inbox.take();
            let account = upstream(&url);
            let refused = account["dropped"]["refused"].as_u64().unwrap_or(0);
            let is_named = account["warnings"].is_array();
            (is_named && refused >= 20 && account["delivered"].as_u64()? >= 200).then_some(account)
        });
        assert_eq!(account["state"], "connected", "{account}");
        assert_eq!(account["reconnects"].as_u64().unwrap_or(0), 0, "{account}");
        let [warning] = &account["warnings"].as_array().unwrap()[..] else { panic!("{account}") };
        let warning = warning.as_str().unwrap();
        // One that comes from the backlog is refused there too.
        let beginning = "the broker refuses what meter-1 says on linesman/plant-7/";
        assert!(warning.starts_with(beginning) && warning.ends_with(": not authorised (0x87)"), "{warning}");
        assert_adds_up(&account);
        gateway.signal(Signal::TERM);
        assert!(gateway.wait().0.success());
    }
    inbox.take();
    let distinct: BTreeSet<_> = inbox.records.iter().map(|record| (&record.epoch, record.seq)).collect();
    assert_eq!(distinct.len(), inbox.records.len(), "some came twice");
    assert!(inbox.records.iter().all(|record| record.device != "meter-1"));
    let gaps = inbox.others.iter().filter(|(topic, text)| topic == "event" && text.contains("\"refused\""));
    assert!(gaps.count() > 0, "the loss is announced");
    let aside = fs::read_to_string(folder.path().join("spool/refused/scada.jsonl")).unwrap();
    for line in aside.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["device"], &line["reason"]), (&"meter-1".into(), &"not authorised (0x87)".into()));
    }
}

#[test]
fn a_list_that_is_gone_by_mistake_costs_three_readings_at_most_which_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let broker = with_list(folder.path(), OTHERS);
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let (_meters, yaml) = loaded(folder.path(), &broker);
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    let account = until("the upstream to back off, twice", || {
        let account = upstream(&url);
        (gateway.log().matches("upstream connected").count() >= 2 && account["state"] != "connected")
            .then_some(account)
    });
    let refused = account["dropped"]["refused"].as_u64().unwrap_or(0);
    // Until nobody is left who could prove that it is the record's fault.
    assert!(refused <= 3 && account["delivered"] == 0, "{account}");
    fs::write(folder.path().join("acl"), list(1..=LOAD)).unwrap();
    broker.signal(Signal::HUP);
    let account = until("the backlog to be delivered", || {
        inbox.take();
        let account = upstream(&url);
        (account["delivered"].as_u64()? > 200 && account["pending"].as_u64()? < 40).then_some(account)
    });
    assert_adds_up(&account);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().0.success());
    inbox.take();
    let path = folder.path().join("spool/refused/scada.jsonl");
    let aside = fs::read_to_string(path).unwrap_or_default();
    let aside: Vec<Value> = aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(aside.len() <= 3, "{} set aside", aside.len());
    let here = inbox.records.iter().map(|record| record.seq);
    let seen: BTreeSet<u64> = here.chain(aside.iter().map(|line| line["seq"].as_u64().unwrap())).collect();
    let last = *seen.last().unwrap();
    let missing: Vec<u64> = (1..=last).filter(|seq| !seen.contains(seq)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
