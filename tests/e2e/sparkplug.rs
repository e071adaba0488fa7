//! Sparkplug B against brokers and decoders that are not ours: what passes between an edge node and its brokers is read from
//! the wire and held against the specification's assertions, by their ids; a foreign host sends commands and its state.
//!
//! `cargo test --test e2e sparkplug_assertions -- --nocapture` prints the table that stands in `docs/sparkplug.md`.

#![allow(clippy::wildcard_enum_match_arm, reason = "of packets and values, what matters here is named")]

mod payload;
mod plant;
mod rules;
mod station;
mod tap;

use crate::skipped::skipped;
use payload::{Metric, Payload, Value};
use plant::Plant;
use rules::{RULES, Tally};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tap::{Published, Session, Trace};

pub const GROUP: &str = "plant 7";
pub const NODE: &str = "edge-1";
pub const HOST: &str = "scada";

/// The alias of a device's metric in a session, by its last birth.
fn alias(session: &Session, device: &str, name: &str) -> Option<u64> {
    let births =
        session.published().filter(|message| message.verb() == "DBIRTH" && message.device() == Some(device));
    let metrics = births.last()?.payload().metrics;
    metrics.into_iter().find(|metric| metric.name.as_deref() == Some(name))?.alias
}

/// Everything that was said of a device's metric in a session, its births included, in order.
fn said_of(session: &Session, device: &str, name: &str) -> Vec<Metric> {
    let Some(alias) = alias(session, device, name) else { return Vec::new() };
    let all = session.published().filter(|message| message.device() == Some(device));
    all.flat_map(|message| message.payload().metrics).filter(|metric| metric.alias == Some(alias)).collect()
}

fn verbs(session: &Session) -> Vec<(String, Option<String>)> {
    session
        .published()
        .map(|message| (message.verb().to_owned(), message.device().map(str::to_owned)))
        .collect()
}

fn count(session: &Session, verb: &str, device: Option<&str>) -> usize {
    session.published().filter(|message| message.verb() == verb && message.device() == device).count()
}

/// The last session has so many of these.
fn has(trace: &Trace, verb: &str, device: Option<&str>, many: usize) -> Option<()> {
    (count(trace.sessions.last()?, verb, device) >= many).then_some(())
}

/// A node's life: born, values good and bad, a meter that dies and comes back, births asked for, a clean end.
fn life(version: &str, more: &str) -> Trace {
    let plant = Plant::start(1, &format!("version: {version}, {more}"), "");
    let gateway = plant.run();
    plant.until("births", |trace| {
        has(trace, "NBIRTH", None, 1)?;
        has(trace, "DBIRTH", Some("meter-1"), 1)?;
        has(trace, "DBIRTH", Some("meter-2"), 1)
    });
    plant.station.set(1, 215);
    plant
        .until_said("meter-1", "level", |metric| metric.number() == Some(21.5) && metric.quality().is_none());
    plant.note("a change arrived");
    plant.station.set(2, 7);
    plant.until_said("meter-1", "state", |metric| metric.is_null && metric.quality() == Some(0));
    plant.station.set(2, 1);
    plant.until_said("meter-1", "state", |metric| {
        metric.value == Some(Value::Text("on".to_owned())) && metric.quality() == Some(192)
    });
    plant.station.count(true);
    plant.until("more than the numbers of a circle", |trace| has(trace, "DDATA", Some("meter-1"), 300));
    plant.station.silence(2, true);
    plant.until("the death of a silent meter", |trace| has(trace, "DDEATH", Some("meter-2"), 1));
    plant.note("a lost device died");
    plant.until("the event of that", |trace| {
        let texts = trace.sessions.last()?.published().filter(|message| message.verb() == "NDATA");
        let mut metrics = texts.flat_map(|message| message.payload().metrics);
        metrics
            .any(|metric| matches!(metric.value, Some(Value::Text(text)) if text.contains("device-lost")))
            .then_some(())
    });
    plant.note("an event of the node arrived");
    plant.ask_for_births();
    plant.until("births that a host has asked for", |trace| has(trace, "NBIRTH", None, 2));
    plant.until("the living meter's", |trace| has(trace, "DBIRTH", Some("meter-1"), 2));
    plant.station.silence(2, false);
    plant.until("the meter that is back", |trace| has(trace, "DBIRTH", Some("meter-2"), 2));
    for _ in 0..5 {
        plant.ask_for_births();
    }
    plant.until("births that many hosts have asked for", |trace| {
        has(trace, "NBIRTH", None, 3)?;
        has(trace, "DBIRTH", Some("meter-2"), 3)
    });
    plant.station.count(false);
    plant.end(gateway);
    plant.trace()
}

fn life_by_3() -> &'static Trace {
    static LIFE: OnceLock<Trace> = OnceLock::new();
    LIFE.get_or_init(|| life("3.1.1", ""))
}

fn life_by_5() -> &'static Trace {
    static LIFE: OnceLock<Trace> = OnceLock::new();
    LIFE.get_or_init(|| {
        let mut trace = life("5", "include_datatype: true");
        trace.notes.push("with datatypes");
        trace
    })
}

#[test]
fn a_node_is_born_speaks_loses_a_meter_is_born_again_and_dies_over_both_versions_of_mqtt() {
    for trace in [life_by_3(), life_by_5()] {
        assert_eq!(trace.sessions.len(), 1, "one connection for one life");
        let session = &trace.sessions[0];
        let all = verbs(session);
        assert_eq!(all[0].0, "NBIRTH");
        assert_eq!(all.last().unwrap().0, "NDEATH");
        assert!(count(session, "NBIRTH", None) <= 5, "five hosts at once are five births: {all:?}");
        assert_eq!(count(session, "DDEATH", Some("meter-2")), 1);
        assert_eq!(count(session, "DDEATH", Some("meter-1")), 0);
        let silent = all.iter().position(|(verb, _)| verb == "DDEATH").unwrap();
        let back =
            all[silent..].iter().position(|said| *said == ("DBIRTH".to_owned(), Some("meter-2".to_owned())));
        let between = &all[silent + 1..silent + back.unwrap()];
        assert!(
            between.iter().all(|(_, device)| device.as_deref() != Some("meter-2")),
            "the dead speak: {between:?}"
        );
        assert_units(session);
    }
}

fn assert_units(session: &Session) {
    let birth = session.published().find(|message| message.device() == Some("meter-1")).unwrap().payload();
    let level = birth.metrics.iter().find(|metric| metric.name.as_deref() == Some("level")).unwrap();
    let unit = level.properties.iter().find(|(key, ..)| key == "engUnit").unwrap();
    assert_eq!((unit.1, &unit.2), (Some(12), &Value::Text("°C".to_owned())));
    let types: BTreeMap<String, u64> =
        birth.metrics.iter().map(|metric| (metric.name.clone().unwrap(), metric.datatype.unwrap())).collect();
    let expected = [("count", 4), ("level", 10), ("running", 11), ("state", 12)];
    assert_eq!(types, expected.map(|(name, datatype)| (name.to_owned(), datatype)).into());
}

/// Two brokers and a primary host that is at the second one, and then at the first.
fn walk() -> Trace {
    let plant = Plant::start(2, "primary_host: scada", "");
    plant.state(0, "other", true, 5000, true);
    plant.state(1, HOST, true, 1000, true);
    let gateway = plant.run();
    plant.until("births where the host is", |trace| {
        let session = trace.sessions.iter().find(|session| session.broker == 1)?;
        (count(session, "DBIRTH", Some("meter-2")) > 0).then_some(())
    });
    let trace = plant.trace();
    assert_eq!(trace.sessions[0].broker, 0, "the first broker is tried first");
    assert_eq!(
        verbs(&trace.sessions[0]),
        [("NDEATH".to_owned(), None)],
        "nothing is born where the host is not"
    );
    plant.note("another host's state was passed over");
    // Of a session of the host that is long over.
    plant.state(1, HOST, false, 999, false);
    plant.station.set(1, 100);
    plant.until_said("meter-1", "level", |metric| metric.number() == Some(10.0));
    plant.note("an old state was passed over");
    plant.note("an old good-bye was passed over");
    assert_eq!(plant.trace().sessions.len(), trace.sessions.len(), "still the same connection");
    plant.state(0, HOST, true, 2000, true);
    plant.state(1, HOST, false, 1000, true);
    plant.until("births at the next broker", |trace| {
        let session = trace.sessions.last().filter(|session| session.broker == 0)?;
        (count(session, "DBIRTH", Some("meter-2")) > 0).then_some(())
    });
    plant.note("the next broker was tried");
    plant.station.set(1, 120);
    plant.until_said("meter-1", "level", |metric| metric.number() == Some(12.0));
    plant.end(gateway);
    plant.trace()
}

fn walked() -> &'static Trace {
    static WALK: OnceLock<Trace> = OnceLock::new();
    WALK.get_or_init(walk)
}

#[test]
fn a_node_goes_where_its_primary_host_is_and_leaves_when_it_leaves() {
    let trace = walked();
    let brokers: Vec<usize> = trace.sessions.iter().map(|session| session.broker).collect();
    assert_eq!((brokers[0], brokers[1], *brokers.last().unwrap()), (0, 1, 0));
    let left = verbs(&trace.sessions[1]);
    assert_eq!(left.last().unwrap().0, "NDEATH");
}

/// A node that waits for a host where there is but one broker.
fn wait() -> Trace {
    let plant = Plant::start(1, "primary_host: scada", "");
    plant.state(0, HOST, false, 1000, true);
    let gateway = plant.run();
    plant.until("a subscription", |trace| {
        let said = &trace.sessions.last()?.said;
        said.iter().any(|said| matches!(said, tap::Said::Message { .. })).then_some(())
    });
    plant.station.set(1, 50);
    // What is sampled meanwhile waits in the spool.
    plant.until_spooled(20);
    assert_eq!(plant.trace().sessions.len(), 1, "it stays where it is");
    assert_eq!(verbs(&plant.trace().sessions[0]), []);
    plant.state(0, HOST, true, 1001, true);
    plant.until_said("meter-1", "level", |metric| metric.number() == Some(5.0) && metric.is_historical);
    plant.end(gateway);
    plant.trace()
}

fn waited() -> &'static Trace {
    static WAIT: OnceLock<Trace> = OnceLock::new();
    WAIT.get_or_init(wait)
}

#[test]
fn with_one_broker_the_node_waits_there_for_its_host_and_tells_then_what_was_before() {
    assert_eq!(count(&waited().sessions[0], "NBIRTH", None), 1);
}

/// A `kill -9` and an outage.
fn again() -> Trace {
    let plant = Plant::start(1, "", "history_rate: 300, ");
    plant.station.count(true);
    let gateway = plant.run();
    plant.until("data", |trace| has(trace, "DDATA", Some("meter-2"), 50));
    gateway.kill();
    plant.until("the end of that", |trace| trace.sessions.last()?.is_over().then_some(()));
    let gateway = plant.run();
    plant.until("data of the next start", |trace| {
        (trace.sessions.len() > 1).then(|| has(trace, "DDATA", Some("meter-2"), 50)).flatten()
    });
    let before = plant.trace().sessions.len();
    plant.taps[0].shut();
    plant.until_spooled(300);
    plant.taps[0].open();
    plant.until("data after the outage", |trace| {
        (trace.sessions.len() > before).then(|| has(trace, "DDATA", Some("meter-2"), 200)).flatten()
    });
    plant.until("all of the backlog", |_| (plant.pending() < 20).then_some(()));
    plant.station.count(false);
    plant.end(gateway);
    plant.trace()
}

fn came_again() -> &'static Trace {
    static AGAIN: OnceLock<Trace> = OnceLock::new();
    AGAIN.get_or_init(again)
}

#[test]
fn after_a_kill_the_number_goes_on_and_aliases_are_the_same() {
    let trace = came_again();
    assert!(trace.sessions.len() >= 3, "{}", trace.sessions.len());
    let aliases = |session: &Session| {
        let births = session.published().filter(|message| message.verb().contains("BIRTH"));
        births
            .flat_map(|message| {
                let device = message.device().map(str::to_owned);
                message
                    .payload()
                    .metrics
                    .into_iter()
                    .map(move |metric| (device.clone(), metric.name, metric.alias))
            })
            .collect::<BTreeSet<_>>()
    };
    let first = aliases(&trace.sessions[0]);
    for session in trace.sessions.iter().filter(|session| !verbs(session).is_empty()) {
        assert_eq!(aliases(session), first);
    }
}

#[test]
fn an_outage_costs_nothing_and_its_backlog_goes_as_history_beside_what_is_live() {
    let trace = came_again();
    // Each question is another number, over both meters. What the second start sampled itself begins with its first live one: the
    // kill may have taken what the first one had not committed yet, and the backlog before that hole comes all the same.
    let number = |metric: &Metric| match metric.value {
        Some(Value::Long(number)) => Some((number, metric.is_historical)),
        _ => None,
    };
    let mut numbers: BTreeSet<(u64, bool)> = BTreeSet::new();
    for session in &trace.sessions[1..] {
        for device in ["meter-1", "meter-2"] {
            numbers.extend(said_of(session, device, "count").iter().filter_map(number));
        }
    }
    let first = numbers.iter().find(|(_, is_history)| !is_history).unwrap().0;
    let numbers: BTreeSet<u64> = numbers.iter().map(|(number, _)| *number).collect();
    let last = *numbers.last().unwrap();
    let missing: Vec<u64> = (first..=last).filter(|number| !numbers.contains(number)).collect();
    assert!(missing.is_empty(), "{missing:?} of {first} to {last} never came");
    let session = trace.sessions.last().unwrap();
    let data: Vec<bool> = session
        .published()
        .filter(|message| message.verb() == "DDATA")
        .map(|message| message.payload().metrics.iter().any(|metric| metric.is_historical))
        .collect();
    let last_of_history = data.iter().rposition(|is_history| *is_history).expect("no history");
    assert!(data[..last_of_history].iter().any(|is_history| !is_history), "live waited for history");
    let largest = session.published().map(|message| message.payload().metrics.len()).max();
    assert!(largest.is_some_and(|most| most <= 500), "{largest:?}");
}

/// What a decoder has to say of a message.
fn expected(message: &Published<'_>, with_quality: bool) -> serde_json::Value {
    let Payload { timestamp, seq, metrics } = message.payload();
    let value = |metric: &Metric| match &metric.value {
        Some(Value::Long(number)) if metric.datatype == Some(4) => {
            json!({ "whole": number.cast_signed().to_string() })
        }
        Some(Value::Long(number)) => json!({ "whole": number.to_string() }),
        Some(Value::Double(number)) => json!({ "double": number }),
        Some(Value::Boolean(flag)) => json!({ "boolean": flag }),
        Some(Value::Text(text)) => json!({ "text": text }),
        Some(Value::Int(_) | Value::Other) | None => serde_json::Value::Null,
    };
    let metrics: Vec<serde_json::Value> = metrics
        .iter()
        .map(|metric| {
            let mut said = json!({
                "name": metric.name,
                "alias": metric.alias,
                "timestamp": metric.timestamp,
                "datatype": metric.datatype,
                "historical": metric.is_historical,
                "value": value(metric),
            });
            if with_quality {
                said["quality"] = json!(metric.quality());
            }
            said
        })
        .collect();
    json!({ "timestamp": timestamp, "seq": seq, "metrics": metrics })
}

/// Gives all messages to a decoder; its answers, a line each.
fn decoded(command: &mut Command, messages: &[Published<'_>]) -> Vec<serde_json::Value> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let lines: String = messages
        .iter()
        .map(|message| {
            let octets: String = message.octets.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("{} {} {octets}\n", message.verb(), message.device().unwrap_or("-"))
        })
        .collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn pysparkplug_reads_every_payload_as_it_was_meant() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let has = Command::new(&python).args(["-c", "import pysparkplug"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        skipped("there is no pysparkplug in .venv: tests/run");
        return;
    }
    let session = &life_by_5().sessions[0];
    let messages: Vec<Published<'_>> = session.published().collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/sparkplug/decode.py");
    let all = decoded(Command::new(python).arg(script), &messages);
    assert_eq!(all.len(), messages.len());
    let mut names: BTreeMap<(Option<String>, u64), String> = BTreeMap::new();
    for (said, message) in all.iter().zip(&messages) {
        let mut expected = expected(message, false);
        if message.verb() == "NDEATH" {
            // It gives nothing but the metric.
            expected = json!({ "metrics": expected["metrics"] });
        }
        // It puts the names of the birth where there are aliases.
        for metric in expected["metrics"].as_array_mut().unwrap() {
            let key = (message.device().map(str::to_owned), metric["alias"].as_u64().unwrap_or(0));
            match metric["name"].as_str() {
                Some(name) => drop(names.insert(key, name.to_owned())),
                None => metric["name"] = json!(names[&key]),
            }
        }
        assert_eq!(*said, expected, "{}", message.topic);
    }
}

#[test]
fn sparkplug_payload_reads_every_payload_as_it_was_meant() {
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join(".node/node_modules");
    let has_node = Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_node || !node.join("sparkplug-payload").exists() {
        skipped("there is no node, or no sparkplug-payload in .node: tests/run");
        return;
    }
    let session = &life_by_5().sessions[0];
    let messages: Vec<Published<'_>> = session.published().collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/sparkplug/decode.js");
    let mut all = decoded(Command::new("node").arg(script).env("NODE_PATH", node), &messages);
    assert_eq!(all.len(), messages.len());
    // JavaScript writes 0.0 as 0.
    for metric in all.iter_mut().flat_map(|said| said["metrics"].as_array_mut().unwrap()) {
        if let Some(number) = metric["value"]["double"].as_f64() {
            metric["value"]["double"] = json!(number);
        }
    }
    for (said, message) in all.iter().zip(&messages) {
        assert_eq!(*said, expected(message, true), "{}", message.topic);
    }
}

/// The assertions that are not an edge node's, each with the reason.
fn others() -> Vec<(&'static str, &'static str)> {
    include_str!("sparkplug/others.txt").lines().filter_map(|line| line.split_once(": ")).collect()
}

#[test]
fn sparkplug_assertions() {
    let traces = [life_by_3(), life_by_5(), walked(), waited(), came_again()];
    let mut rows: BTreeMap<&str, (String, String)> = BTreeMap::new();
    let mut broken = Vec::new();
    for (id, rule) in RULES {
        let mut tally = Tally::default();
        for trace in traces {
            // That one is asked for by a key.
            if *id != "payloads-metric-datatype-not-req" || !trace.notes.contains(&"with datatypes") {
                tally.add(rule(trace));
            }
        }
        let verdict = if tally.seen > 0 && tally.broken.is_empty() { "pass" } else { "fail" };
        println!("{verdict:4} tck-id-{id} ({} seen)", tally.seen);
        if verdict == "fail" {
            broken.push(format!("tck-id-{id}: seen {}, broken by {:#?}", tally.seen, tally.broken.first()));
        }
        assert!(rows.insert(id, (verdict.to_owned(), String::new())).is_none(), "{id} twice");
    }
    for (id, why) in others() {
        println!("n/a  tck-id-{id}: {why}");
        assert!(rows.insert(id, ("n/a".to_owned(), why.to_owned())).is_none(), "{id} twice");
    }
    println!("{} pass, {} fail, {} n/a", RULES.len() - broken.len(), broken.len(), others().len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    // As many as the specification has.
    assert_eq!(rows.len(), 299);
    let table: String =
        rows.iter().map(|(id, (verdict, why))| format!("| `tck-id-{id}` | {verdict} | {why} |\n")).collect();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sparkplug.md"));
    assert!(page.is_ok_and(|page| page.contains(&table)), "docs/sparkplug.md lacks this table:\n{table}");
}
