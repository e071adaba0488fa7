//! What the specification asserts of an edge node, by the ids that it gives (Sparkplug 3.0.0; the TCK goes by the same), each
//! held against what was seen on the wire.

use super::payload::{Metric, Payload, Value};
use super::tap::{Published, Said, Session, Trace, Will};
use super::{GROUP, HOST, NODE};
use std::collections::{BTreeMap, BTreeSet};

/// How often an assertion was looked at, and how it was broken.
#[derive(Debug, Default)]
pub struct Tally {
    pub seen: usize,
    pub broken: Vec<String>,
}

impl Tally {
    fn hold(&mut self, is_so: bool, what: impl FnOnce() -> String) {
        self.seen += 1;
        if !is_so {
            self.broken.push(what());
        }
    }

    pub fn add(&mut self, other: Tally) {
        self.seen += other.seen;
        self.broken.extend(other.broken);
    }
}

pub type Rule = fn(&Trace) -> Tally;

const ALL: &[&str] = &["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"];
const BIRTHS: &[&str] = &["NBIRTH", "DBIRTH"];
const DATA: &[&str] = &["NDATA", "DDATA"];
const METRICS: &[&str] = &["NBIRTH", "DBIRTH", "NDATA", "DDATA"];
const NUMBERED: &[&str] = &["NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH"];
const REBIRTH: &str = "Node Control/Rebirth";

/// Each message of these kinds.
fn messages(
    trace: &Trace,
    verbs: &[&str],
    is_so: impl Fn(&Session, &Published<'_>, &Payload) -> bool,
) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        for message in session.published().filter(|message| verbs.contains(&message.verb())) {
            let payload = message.payload();
            tally.hold(is_so(session, &message, &payload), || format!("{}: {payload:?}", message.topic));
        }
    }
    tally
}

/// Each metric in messages of these kinds.
fn metrics(trace: &Trace, verbs: &[&str], is_so: impl Fn(&Metric) -> bool) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        for message in session.published().filter(|message| verbs.contains(&message.verb())) {
            for metric in message.payload().metrics {
                tally.hold(is_so(&metric), || format!("{}: {metric:?}", message.topic));
            }
        }
    }
    tally
}

fn sessions(trace: &Trace, is_so: impl Fn(&Session) -> Option<bool>) -> Tally {
    let mut tally = Tally::default();
    for (at, session) in trace.sessions.iter().enumerate() {
        if let Some(is_so) = is_so(session) {
            tally.hold(is_so, || {
                format!("connection {at}: {:?}", session.will.as_ref().map(|will| &will.topic))
            });
        }
    }
    tally
}

fn wills(trace: &Trace, is_so: impl Fn(&Will) -> bool) -> Tally {
    sessions(trace, |session| Some(session.will.as_ref().is_some_and(&is_so)))
}

fn noted(trace: &Trace, note: &str) -> Tally {
    Tally { seen: trace.notes.iter().filter(|seen| **seen == note).count(), broken: Vec::new() }
}

fn payload_of(octets: &[u8]) -> Payload {
    super::payload::read(octets).unwrap_or_default()
}

fn named<'a>(payload: &'a Payload, name: &str) -> Option<&'a Metric> {
    payload.metrics.iter().find(|metric| metric.name.as_deref() == Some(name))
}

fn session_number(payload: &Payload) -> Option<u64> {
    let metric = named(payload, "bdSeq").filter(|metric| metric.datatype == Some(4))?;
    if let Some(Value::Long(number)) = metric.value { Some(number) } else { None }
}

fn number_of_will(session: &Session) -> Option<u64> {
    session_number(&payload_of(&session.will.as_ref()?.octets))
}

fn topic(verb: &str, device: Option<&str>) -> String {
    let device = device.map_or_else(String::new, |device| format!("/{device}"));
    format!("spBv1.0/{GROUP}/{verb}/{NODE}{device}")
}

fn is_its_topic(message: &Published<'_>) -> bool {
    message.topic == topic(message.verb(), message.device())
}

fn is_well_formed(trace: &Trace) -> Tally {
    messages(trace, ALL, |_, message, _| {
        let levels: Vec<&str> = message.topic.split('/').collect();
        levels[0] == "spBv1.0"
            && (4..=5).contains(&levels.len())
            && levels.iter().all(|level| !level.is_empty() && !level.contains(['+', '#', '\0']))
    })
}

fn has_device(trace: &Trace) -> Tally {
    messages(trace, &["DBIRTH", "DDATA", "DDEATH"], |_, message, _| message.device().is_some())
}

fn has_no_device(trace: &Trace) -> Tally {
    messages(trace, &["NBIRTH", "NDATA", "NDEATH"], |_, message, _| message.device().is_none())
}

fn is_unretained(trace: &Trace, verb: &str) -> Tally {
    messages(trace, &[verb], |_, message, _| message.qos == 0 && !message.retain)
}

fn is_stamped(trace: &Trace, verbs: &[&str]) -> Tally {
    messages(trace, verbs, |_, _, payload| payload.timestamp.is_some_and(is_now))
}

/// Milliseconds of these years.
fn is_now(ms: u64) -> bool {
    (1_700_000_000_000..4_000_000_000_000).contains(&ms)
}

/// Each message of the kind has the number behind that of the message before it, whatever that was; a birth of the node 0.
fn is_numbered(trace: &Trace, verbs: &[&str]) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        let mut next = 0;
        for message in session.published().filter(|message| NUMBERED.contains(&message.verb())) {
            if message.verb() == "NBIRTH" {
                next = 0;
            }
            let seq = message.payload().seq;
            if verbs.contains(&message.verb()) {
                tally.hold(seq == Some(next), || format!("{}: {seq:?}, not {next}", message.topic));
            }
            next = (next + 1) % 256;
        }
    }
    tally
}

fn has_value_or_null(metric: &Metric) -> bool {
    metric.value.is_some() != metric.is_null
}

fn is_defined(metric: &Metric) -> bool {
    metric.name.is_some() && metric.datatype.is_some() && has_value_or_null(metric)
}

/// What data mentions was in the birth that it belongs to.
fn is_born_first(trace: &Trace, verb: &str) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        let mut born: BTreeMap<String, BTreeSet<Option<u64>>> = BTreeMap::new();
        for message in session.published() {
            let whose = message.device().unwrap_or_default().to_owned();
            let aliases = message.payload().metrics.into_iter().map(|metric| metric.alias).collect();
            match message.verb() {
                "NBIRTH" | "DBIRTH" => {
                    born.insert(whose, aliases);
                }
                "DDEATH" => {
                    born.remove(&whose);
                }
                of if of == verb => {
                    let known = born.get(&whose);
                    let is_known = known.is_some_and(|known| known.is_superset(&aliases));
                    tally.hold(is_known, || format!("{}: {aliases:?} of {known:?}", message.topic));
                }
                _ => {}
            }
        }
    }
    tally
}

/// Every device that is there, and no data between.
fn is_whole(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        let all: Vec<Published<'_>> = session.published().collect();
        let mut dead: BTreeSet<&str> = BTreeSet::new();
        let mut underway: Option<usize> = None;
        for message in &all {
            match (message.verb(), message.device()) {
                ("NBIRTH", _) => underway = Some(0),
                ("DBIRTH", Some(device)) if underway.is_none() => {
                    tally.hold(dead.remove(device), || format!("{} behind data", message.topic));
                }
                ("DBIRTH", _) => underway = underway.map(|count| count + 1),
                ("DDEATH", Some(device)) => {
                    dead.insert(device);
                    underway = None;
                }
                ("NDATA" | "DDATA", _) => {
                    if let Some(count) = underway.take() {
                        tally.hold(count > 0, || format!("no device was born before {}", message.topic));
                    }
                }
                _ => {}
            }
        }
    }
    tally
}

fn is_first(trace: &Trace) -> Tally {
    sessions(trace, |session| {
        let first = session.published().find(|message| message.verb() != "NDEATH")?;
        Some(first.verb() == "NBIRTH")
    })
}

fn follows_the_node(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        let born = session.published().position(|message| message.verb() == "NBIRTH");
        for (at, message) in session.published().enumerate().filter(|(_, message)| message.verb() == "DBIRTH")
        {
            tally.hold(born.is_some_and(|born| born < at), || message.topic.to_owned());
        }
    }
    tally
}

fn says_its_number(trace: &Trace) -> Tally {
    messages(trace, &["NBIRTH"], |session, _, payload| {
        session_number(payload).is_some() && session_number(payload) == number_of_will(session)
    })
}

/// From one CONNECT to the next, the first of all with 0.
fn counts_sessions(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    let mut expected = 0;
    for session in &trace.sessions {
        let number = number_of_will(session);
        tally.hold(number == Some(expected), || format!("{number:?}, not {expected}"));
        expected = (expected + 1) % 256;
    }
    tally
}

fn offers_rebirth(trace: &Trace) -> Tally {
    messages(trace, &["NBIRTH"], |_, _, payload| {
        named(payload, REBIRTH).is_some_and(|metric| {
            metric.datatype == Some(11)
                && metric.value == Some(Value::Boolean(false))
                && metric.alias.is_none()
        })
    })
}

fn is_only_the_number(payload: &Payload) -> bool {
    payload.metrics.len() == 1 && session_number(payload).is_some() && payload.seq.is_none()
}

/// The death, as the Will and as it is published.
fn dies_by_number(trace: &Trace) -> Tally {
    let mut tally = wills(trace, |will| is_only_the_number(&payload_of(&will.octets)));
    tally.add(messages(trace, &["NDEATH"], |session, message, payload| {
        is_its_topic(message)
            && is_only_the_number(payload)
            && session_number(payload) == number_of_will(session)
    }));
    tally
}

fn subscribes(session: &Session, filter: &str) -> Option<bool> {
    let birth = session.published().find(|message| message.verb() == "NBIRTH")?.at;
    let before = session.said.iter().take(birth);
    Some(before.into_iter().any(|said| {
        matches!(said, Said::Subscribe(filters) if filters.iter().any(|(of, qos)| of == filter && *qos == 1))
    }))
}

fn state_topic() -> String {
    format!("spBv1.0/STATE/{HOST}")
}

fn waits_for(session: &Session) -> bool {
    session.said.iter().any(
        |said| matches!(said, Said::Subscribe(filters) if filters.iter().any(|(of, _)| *of == state_topic())),
    )
}

fn state(octets: &[u8]) -> Option<(bool, i64)> {
    let said: serde_json::Value = serde_json::from_slice(octets).ok()?;
    Some((said["online"].as_bool()?, said["timestamp"].as_i64()?))
}

/// Births come while the host is there by its last valid STATE.
fn waits_for_the_host(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    for session in trace.sessions.iter().filter(|session| waits_for(session)) {
        let (mut last, mut online) = (None, false);
        for said in &session.said {
            match said {
                Said::Message { topic, octets } if *topic == state_topic() => {
                    let Some((is_online, at)) = state(octets) else { continue };
                    if last.is_none_or(|last| at >= last) {
                        (last, online) = (Some(at), is_online);
                    }
                }
                Said::Publish { topic, .. } if topic.contains("BIRTH/") => {
                    tally.hold(online, || format!("{topic} without the host"));
                }
                _ => {}
            }
        }
    }
    tally
}

/// Behind the host's valid good-bye come the node's death and the end, and nothing else but what was on its way.
fn leaves_with_the_host(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    for session in trace.sessions.iter().filter(|session| waits_for(session)) {
        let (mut last_online, mut gone) = (None, None);
        for (at, said) in session.said.iter().enumerate() {
            if let Said::Message { topic, octets } = said
                && *topic == state_topic()
                && let Some((is_online, stamp)) = state(octets)
            {
                if is_online {
                    last_online = Some(stamp);
                } else if last_online.is_some_and(|last| stamp >= last) {
                    gone = Some(at);
                }
            }
        }
        let Some(gone) = gone else { continue };
        let after = &session.said[gone..];
        let death = after
            .iter()
            .position(|said| matches!(said, Said::Publish { topic, .. } if topic.contains("/NDEATH/")));
        let end = after.iter().position(|said| matches!(said, Said::Disconnect(_)));
        tally.hold(death.is_some_and(|death| end.is_some_and(|end| death < end)), || format!("{after:?}"));
    }
    tally
}

/// One connection at a time.
fn is_alone(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    for pair in trace.sessions.windows(2) {
        let is_over = pair[0].closed.is_some_and(|closed| closed <= pair[1].opened);
        tally.hold(is_over, || format!("broker {} and {}", pair[0].broker, pair[1].broker));
    }
    tally
}

/// Before a DISCONNECT comes a death, and at MQTT 5 the Will is asked for.
fn dies_before_it_leaves(trace: &Trace, level: Option<u8>) -> Tally {
    sessions(trace, |session| {
        let at = session.said.iter().position(|said| matches!(said, Said::Disconnect(_)))?;
        if level.is_some_and(|level| level != session.level) {
            return None;
        }
        let last = session.published().take_while(|message| message.at < at).last()?;
        let with_will = session.level != 5 || matches!(session.said[at], Said::Disconnect(4));
        Some(last.verb() == "NDEATH" && with_will)
    })
}

fn is_in_order(trace: &Trace, verbs: &[&str]) -> Tally {
    messages(trace, verbs, |_, _, payload| {
        let stamps =
            payload.metrics.iter().filter(|metric| !metric.is_historical).map(|metric| metric.timestamp);
        stamps.is_sorted()
    })
}

/// What is not historical is said once, until it changes.
fn is_by_exception(trace: &Trace, verb: &str) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        let mut last: BTreeMap<u64, Option<Value>> = BTreeMap::new();
        for message in session.published() {
            for metric in message.payload().metrics {
                let Some(alias) = metric.alias.filter(|_| !metric.is_historical) else { continue };
                let before = last.insert(alias, metric.value.clone());
                // That it is bad for another reason is a change too.
                if message.verb() == verb && metric.value.is_some() {
                    tally.hold(before != Some(metric.value.clone()), || {
                        format!("{}: {metric:?}", message.topic)
                    });
                }
            }
        }
    }
    tally
}

/// The commands that ask for births, and what was published behind each.
fn rebirths(session: &Session) -> Vec<Vec<Published<'_>>> {
    let asks = |said: &Said| {
        let Said::Message { topic, octets } = said else { return false };
        let asked = payload_of(octets);
        topic.contains("/NCMD/")
            && named(&asked, REBIRTH).is_some_and(|m| m.value == Some(Value::Boolean(true)))
    };
    let all: Vec<Published<'_>> = session.published().collect();
    let asked = session.said.iter().enumerate().filter(|(_, said)| asks(said));
    asked.map(|(at, _)| all.iter().filter(|message| message.at > at).copied().collect()).collect()
}

fn each_rebirth(trace: &Trace, is_so: impl Fn(&Session, &[Published<'_>]) -> bool) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        for after in rebirths(session) {
            let verbs: Vec<&str> = after.iter().map(|message| message.verb()).collect();
            tally.hold(is_so(session, &after), || format!("{verbs:?}"));
        }
    }
    tally
}

/// No data, but for two messages that were on their way when the command passed the tap.
fn stops_at_once(trace: &Trace) -> Tally {
    each_rebirth(trace, |_, after| {
        after.iter().position(|message| message.verb() == "NBIRTH").is_some_and(|at| at <= 2)
    })
}

fn is_born_again(trace: &Trace) -> Tally {
    each_rebirth(trace, |session, after| {
        let Some(at) = after.iter().position(|message| message.verb() == "NBIRTH") else { return false };
        let of = |message: &Published<'_>| message.device().map(str::to_owned);
        let again: BTreeSet<_> =
            after[at + 1..].iter().take_while(|message| message.verb() == "DBIRTH").map(of).collect();
        let mut alive = BTreeSet::new();
        for message in session.published().filter(|message| message.at < after[at].at) {
            match message.verb() {
                "DBIRTH" => drop(alive.insert(of(&message))),
                "DDEATH" => drop(alive.remove(&of(&message))),
                _ => {}
            }
        }
        !alive.is_empty() && again == alive
    })
}

/// Over node and devices together.
fn has_unique_aliases(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    for session in &trace.sessions {
        let mut names: BTreeMap<u64, (Option<String>, Option<String>)> = BTreeMap::new();
        for message in session.published().filter(|message| BIRTHS.contains(&message.verb())) {
            for metric in message.payload().metrics {
                let Some(alias) = metric.alias else { continue };
                let named = (message.device().map(str::to_owned), metric.name);
                let before = names.entry(alias).or_insert_with(|| named.clone());
                tally.hold(*before == named, || format!("{alias} is {before:?} and {named:?}"));
            }
        }
    }
    tally
}

fn is_named_for_good(metric: &Metric) -> bool {
    let has_none = matches!(metric.name.as_deref(), Some("bdSeq" | REBIRTH));
    metric.name.is_some() && (metric.alias.is_some() || has_none)
}

fn is_by_alias(metric: &Metric) -> bool {
    metric.alias.is_some() && metric.name.is_none()
}

fn has_known_type(metric: &Metric) -> bool {
    metric.datatype.is_none_or(|datatype| (1..=34).contains(&datatype))
}

fn has_paired_properties(metric: &Metric) -> bool {
    metric.keys == metric.values
}

fn has_typed_properties(metric: &Metric) -> bool {
    metric.properties.iter().all(|(_, kind, _)| kind.is_some_and(|kind| (1..=21).contains(&kind)))
}

/// Each `Quality` there is.
fn qualities(trace: &Trace) -> Tally {
    let mut tally = Tally::default();
    for message in trace.sessions.iter().flat_map(Session::published) {
        for metric in message.payload().metrics {
            for (_, kind, value) in metric.properties.iter().filter(|(key, ..)| key == "Quality") {
                let is_one = matches!(value, Value::Int(0 | 192 | 500));
                tally.hold(is_one && *kind == Some(3), || format!("{kind:?} {value:?}"));
            }
        }
    }
    tally
}

/// No two that differ only in their case.
fn differ_beyond_case(trace: &Trace) -> Tally {
    messages(trace, BIRTHS, |_, _, payload| {
        let names: Vec<String> =
            payload.metrics.iter().flat_map(|m| &m.name).map(|name| name.to_lowercase()).collect();
        names.iter().collect::<BTreeSet<_>>().len() == names.len()
    })
}

fn devices_differ_beyond_case(trace: &Trace) -> Tally {
    sessions(trace, |session| {
        let devices: BTreeSet<&str> =
            session.published().filter_map(|message| message.topic.split('/').nth(4)).collect();
        let lower: BTreeSet<String> = devices.iter().map(|device| device.to_lowercase()).collect();
        (!devices.is_empty()).then_some(devices.len() == lower.len())
    })
}

fn is_read(trace: &Trace, verbs: &[&str]) -> Tally {
    messages(trace, verbs, |_, message, _| message.payload.is_some())
}

/// Every assertion that is an edge node's, and how it is held.
#[rustfmt::skip]
pub const RULES: &[(&str, Rule)] = &[
    ("intro-group-id-string", is_well_formed),
    ("intro-group-id-chars", is_well_formed),
    ("intro-edge-node-id-string", is_well_formed),
    ("intro-edge-node-id-chars", is_well_formed),
    ("intro-device-id-string", has_device),
    ("intro-device-id-chars", is_well_formed),
    ("principles-rbe-recommended", |t| is_by_exception(t, "DDATA")),
    ("principles-birth-certificates-order", is_first),
    ("principles-persistence-clean-session-311", |t| sessions(t, |s| (s.level == 4).then_some(s.clean))),
    ("principles-persistence-clean-session-50", |t| sessions(t, |s| (s.level == 5).then_some(s.clean && s.expiry == 0))),
    ("topic-structure", is_well_formed),
    ("topic-structure-namespace-a", is_well_formed),
    ("topic-structure-namespace-valid-group-id", is_well_formed),
    ("topic-structure-namespace-valid-edge-node-id", is_well_formed),
    ("topic-structure-namespace-valid-device-id", is_well_formed),
    ("topic-structure-namespace-unique-device-id", devices_differ_beyond_case),
    ("topic-structure-namespace-device-id-associated-message-types", has_device),
    ("topic-structure-namespace-device-id-non-associated-message-types", has_no_device),
    ("topics-nbirth-topic", |t| messages(t, &["NBIRTH"], |_, m, _| is_its_topic(m))),
    ("topics-nbirth-mqtt", |t| is_unretained(t, "NBIRTH")),
    ("topics-nbirth-seq-num", |t| is_numbered(t, &["NBIRTH"])),
    ("topics-nbirth-timestamp", |t| is_stamped(t, &["NBIRTH"])),
    ("topics-nbirth-metric-reqs", |t| is_born_first(t, "NDATA")),
    ("topics-nbirth-metrics", |t| metrics(t, &["NBIRTH"], is_defined)),
    ("topics-nbirth-bdseq-included", says_its_number),
    ("topics-nbirth-bdseq-matching", says_its_number),
    ("topics-nbirth-bdseq-increment", counts_sessions),
    ("topics-nbirth-rebirth-metric", offers_rebirth),
    ("topics-ndata-topic", |t| messages(t, &["NDATA"], |_, m, _| is_its_topic(m))),
    ("topics-ndata-mqtt", |t| is_unretained(t, "NDATA")),
    ("topics-ndata-seq-num", |t| is_numbered(t, &["NDATA"])),
    ("topics-ndata-timestamp", |t| is_stamped(t, &["NDATA"])),
    ("topics-ndata-payload", |t| noted(t, "an event of the node arrived")),
    ("topics-ndeath-topic", |t| wills(t, |w| w.topic == topic("NDEATH", None))),
    ("topics-ndeath-payload", dies_by_number),
    ("topics-ndeath-seq", dies_by_number),
    ("topics-dbirth-topic", |t| messages(t, &["DBIRTH"], |_, m, _| is_its_topic(m))),
    ("topics-dbirth-mqtt", |t| is_unretained(t, "DBIRTH")),
    ("topics-dbirth-seq", |t| is_numbered(t, &["DBIRTH"])),
    ("topics-dbirth-timestamp", |t| is_stamped(t, &["DBIRTH"])),
    ("topics-dbirth-metric-reqs", |t| is_born_first(t, "DDATA")),
    ("topics-dbirth-metrics", |t| metrics(t, &["DBIRTH"], is_defined)),
    ("topics-ddata-topic", |t| messages(t, &["DDATA"], |_, m, _| is_its_topic(m))),
    ("topics-ddata-mqtt", |t| is_unretained(t, "DDATA")),
    ("topics-ddata-seq-num", |t| is_numbered(t, &["DDATA"])),
    ("topics-ddata-timestamp", |t| is_stamped(t, &["DDATA"])),
    ("topics-ddata-payload", |t| noted(t, "a change arrived")),
    ("topics-ddeath-topic", |t| messages(t, &["DDEATH"], |_, m, _| is_its_topic(m))),
    ("topics-ddeath-mqtt", |t| is_unretained(t, "DDEATH")),
    ("topics-ddeath-seq-num", |t| is_numbered(t, &["DDEATH"])),
    ("case-sensitivity-sparkplug-ids", devices_differ_beyond_case),
    ("case-sensitivity-metric-names", differ_beyond_case),
    ("message-flow-edge-node-ncmd-subscribe", |t| sessions(t, |s| subscribes(s, &topic("NCMD", None)))),
    ("message-flow-edge-node-birth-publish-connect", |t| messages(t, BIRTHS, |s, _, _| s.level > 0)),
    ("message-flow-edge-node-birth-publish-will-message", |t| wills(t, |_| true)),
    ("message-flow-edge-node-birth-publish-will-message-topic", |t| wills(t, |w| w.topic == topic("NDEATH", None))),
    ("message-flow-edge-node-birth-publish-will-message-payload", |t| wills(t, |w| super::payload::read(&w.octets).is_some())),
    ("message-flow-edge-node-birth-publish-will-message-payload-bdSeq", counts_sessions),
    ("message-flow-edge-node-birth-publish-will-message-qos", |t| wills(t, |w| w.qos == 1)),
    ("message-flow-edge-node-birth-publish-will-message-will-retained", |t| wills(t, |w| !w.retain)),
    ("message-flow-edge-node-birth-publish-phid-wait", waits_for_the_host),
    ("message-flow-edge-node-birth-publish-phid-wait-id", |t| noted(t, "another host's state was passed over")),
    ("message-flow-edge-node-birth-publish-phid-wait-online", waits_for_the_host),
    ("message-flow-edge-node-birth-publish-phid-wait-timestamp", |t| noted(t, "an old state was passed over")),
    ("message-flow-edge-node-birth-publish-nbirth-topic", |t| messages(t, &["NBIRTH"], |_, m, _| is_its_topic(m))),
    ("message-flow-edge-node-birth-publish-nbirth-payload", |t| is_read(t, &["NBIRTH"])),
    ("message-flow-edge-node-birth-publish-nbirth-payload-bdSeq", says_its_number),
    ("message-flow-edge-node-birth-publish-nbirth-qos", |t| is_unretained(t, "NBIRTH")),
    ("message-flow-edge-node-birth-publish-nbirth-retained", |t| is_unretained(t, "NBIRTH")),
    ("message-flow-edge-node-birth-publish-nbirth-payload-seq", |t| is_numbered(t, &["NBIRTH"])),
    ("message-flow-edge-node-birth-publish-phid-offline", leaves_with_the_host),
    ("operational-behavior-edge-node-intentional-disconnect-ndeath", |t| dies_before_it_leaves(t, None)),
    ("operational-behavior-edge-node-intentional-disconnect-packet", |t| dies_before_it_leaves(t, None)),
    ("operational-behavior-edge-node-termination-host-offline", leaves_with_the_host),
    ("operational-behavior-edge-node-termination-host-offline-reconnect", |t| noted(t, "the next broker was tried")),
    ("operational-behavior-edge-node-termination-host-offline-timestamp", |t| noted(t, "an old good-bye was passed over")),
    ("message-flow-device-birth-publish-nbirth-wait", follows_the_node),
    ("message-flow-device-birth-publish-dbirth-topic", |t| messages(t, &["DBIRTH"], |_, m, _| is_its_topic(m))),
    ("message-flow-device-birth-publish-dbirth-match-edge-node-topic", |t| messages(t, &["DBIRTH"], |_, m, _| is_its_topic(m))),
    ("message-flow-device-birth-publish-dbirth-payload", |t| is_read(t, &["DBIRTH"])),
    ("message-flow-device-birth-publish-dbirth-qos", |t| is_unretained(t, "DBIRTH")),
    ("message-flow-device-birth-publish-dbirth-retained", |t| is_unretained(t, "DBIRTH")),
    ("message-flow-device-birth-publish-dbirth-payload-seq", |t| is_numbered(t, &["DBIRTH"])),
    ("operational-behavior-device-ddeath", |t| noted(t, "a lost device died")),
    ("operational-behavior-primary-application-state-with-multiple-servers-state-subs", |t| sessions(t, |s| waits_for(s).then(|| subscribes(s, &state_topic())).flatten())),
    ("operational-behavior-primary-application-state-with-multiple-servers-single-server", is_alone),
    ("operational-behavior-primary-application-state-with-multiple-servers-walk", |t| noted(t, "the next broker was tried")),
    ("operational-behavior-edge-node-birth-sequence-wait", waits_for_the_host),
    ("operational-behavior-data-publish-nbirth", |t| is_born_first(t, "NDATA")),
    ("operational-behavior-data-publish-nbirth-values", |t| metrics(t, &["NBIRTH"], has_value_or_null)),
    ("operational-behavior-data-publish-nbirth-change", |t| is_by_exception(t, "NDATA")),
    ("operational-behavior-data-publish-nbirth-order", |t| is_in_order(t, &["NBIRTH", "NDATA"])),
    ("operational-behavior-data-publish-dbirth", |t| is_born_first(t, "DDATA")),
    ("operational-behavior-data-publish-dbirth-values", |t| metrics(t, &["DBIRTH"], has_value_or_null)),
    ("operational-behavior-data-publish-dbirth-change", |t| is_by_exception(t, "DDATA")),
    ("operational-behavior-data-publish-dbirth-order", |t| is_in_order(t, &["DBIRTH", "DDATA"])),
    ("operational-behavior-data-commands-rebirth-name", offers_rebirth),
    ("operational-behavior-data-commands-rebirth-name-aliases", offers_rebirth),
    ("operational-behavior-data-commands-rebirth-datatype", offers_rebirth),
    ("operational-behavior-data-commands-rebirth-value", offers_rebirth),
    ("operational-behavior-data-commands-rebirth-action-1", stops_at_once),
    ("operational-behavior-data-commands-rebirth-action-2", is_born_again),
    ("operational-behavior-data-commands-rebirth-action-3", says_its_number),
    ("payloads-timestamp-in-UTC", |t| is_stamped(t, ALL)),
    ("payloads-sequence-num-always-included", |t| is_numbered(t, NUMBERED)),
    ("payloads-sequence-num-req-nbirth", |t| is_numbered(t, &["NBIRTH"])),
    ("payloads-sequence-num-incrementing", |t| is_numbered(t, NUMBERED)),
    ("payloads-name-requirement", |t| metrics(t, BIRTHS, |m| m.name.is_some())),
    ("payloads-alias-uniqueness", has_unique_aliases),
    ("payloads-alias-birth-requirement", |t| metrics(t, BIRTHS, is_named_for_good)),
    ("payloads-alias-data-cmd-requirement", |t| metrics(t, DATA, is_by_alias)),
    ("payloads-name-birth-data-requirement", |t| metrics(t, METRICS, |m| m.timestamp.is_some())),
    ("payloads-metric-timestamp-in-UTC", |t| metrics(t, METRICS, |m| m.timestamp.is_some_and(is_now))),
    ("payloads-metric-datatype-value-type", |t| metrics(t, BIRTHS, has_known_type)),
    ("payloads-metric-datatype-value", |t| metrics(t, BIRTHS, has_known_type)),
    ("payloads-metric-datatype-req", |t| metrics(t, BIRTHS, |m| m.datatype.is_some())),
    ("payloads-metric-datatype-not-req", |t| metrics(t, DATA, |m| m.datatype.is_none())),
    ("payloads-propertyset-keys-array-size", |t| metrics(t, METRICS, has_paired_properties)),
    ("payloads-propertyset-values-array-size", |t| metrics(t, METRICS, has_paired_properties)),
    ("payloads-metric-propertyvalue-type-type", |t| metrics(t, METRICS, has_typed_properties)),
    ("payloads-metric-propertyvalue-type-value", |t| metrics(t, METRICS, has_typed_properties)),
    ("payloads-metric-propertyvalue-type-req", |t| metrics(t, BIRTHS, has_typed_properties)),
    ("payloads-propertyset-quality-value-type", qualities),
    ("payloads-propertyset-quality-value-value", qualities),
    ("payloads-nbirth-timestamp", |t| is_stamped(t, &["NBIRTH"])),
    ("payloads-nbirth-seq", |t| is_numbered(t, &["NBIRTH"])),
    ("payloads-nbirth-bdseq", says_its_number),
    ("payloads-nbirth-bdseq-repeat", says_its_number),
    ("payloads-nbirth-rebirth-req", offers_rebirth),
    ("payloads-nbirth-qos", |t| is_unretained(t, "NBIRTH")),
    ("payloads-nbirth-retain", |t| is_unretained(t, "NBIRTH")),
    ("payloads-dbirth-timestamp", |t| is_stamped(t, &["DBIRTH"])),
    ("payloads-dbirth-seq", |t| is_numbered(t, &["DBIRTH"])),
    ("payloads-dbirth-seq-inc", |t| is_numbered(t, &["DBIRTH"])),
    ("payloads-dbirth-order", is_whole),
    ("payloads-dbirth-qos", |t| is_unretained(t, "DBIRTH")),
    ("payloads-dbirth-retain", |t| is_unretained(t, "DBIRTH")),
    ("payloads-ndata-timestamp", |t| is_stamped(t, &["NDATA"])),
    ("payloads-ndata-seq", |t| is_numbered(t, &["NDATA"])),
    ("payloads-ndata-seq-inc", |t| is_numbered(t, &["NDATA"])),
    ("payloads-ndata-order", is_whole),
    ("payloads-ndata-qos", |t| is_unretained(t, "NDATA")),
    ("payloads-ndata-retain", |t| is_unretained(t, "NDATA")),
    ("payloads-ddata-timestamp", |t| is_stamped(t, &["DDATA"])),
    ("payloads-ddata-seq", |t| is_numbered(t, &["DDATA"])),
    ("payloads-ddata-seq-inc", |t| is_numbered(t, &["DDATA"])),
    ("payloads-ddata-order", is_whole),
    ("payloads-ddata-qos", |t| is_unretained(t, "DDATA")),
    ("payloads-ddata-retain", |t| is_unretained(t, "DDATA")),
    ("payloads-ndeath-seq", dies_by_number),
    ("payloads-ndeath-will-message", |t| wills(t, |w| w.topic == topic("NDEATH", None))),
    ("payloads-ndeath-will-message-qos", |t| wills(t, |w| w.qos == 1)),
    ("payloads-ndeath-will-message-retain", |t| wills(t, |w| !w.retain)),
    ("payloads-ndeath-bdseq", dies_by_number),
    ("payloads-ndeath-will-message-publisher", |t| dies_before_it_leaves(t, None)),
    ("payloads-ndeath-will-message-publisher-disconnect-mqtt311", |t| dies_before_it_leaves(t, Some(4))),
    ("payloads-ndeath-will-message-publisher-disconnect-mqtt50", |t| dies_before_it_leaves(t, Some(5))),
    ("payloads-ddeath-timestamp", |t| is_stamped(t, &["DDEATH"])),
    ("payloads-ddeath-seq", |t| is_numbered(t, &["DDEATH"])),
    ("payloads-ddeath-seq-inc", |t| is_numbered(t, &["DDEATH"])),
    ("payloads-ddeath-seq-number", |t| is_numbered(t, &["DDEATH"])),
];
