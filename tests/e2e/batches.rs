//! Compact batches through a broker that is not ours, and read by a reader that is not ours (`docs/batch.py`).

use crate::broker::Broker;
use crate::gateway::{Gateway, Kept, PATIENCE, until};
use crate::inbox::Inbox;
use crate::meter::{Meters, small_profile};
use linesman::encode::batch::{self, Options, Schema};
use linesman::encode::{Number, Numbered, json};
use linesman::model::{Bad, Decimal, DeviceInfo, PointInfo, Reading, Sample, Site, Timestamp, Value};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[derive(Debug, serde::Deserialize)]
struct Line {
    device: String,
    ts: i64,
    values: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    bad: BTreeMap<String, String>,
    #[serde(default)]
    took: u64,
    #[serde(default)]
    clock: String,
    seq: u64,
    epoch: String,
}

/// A line with its numbers as numbers, so that 230 and 230.0 are the same; nothing passes through a float.
fn said(line: &str) -> String {
    let Line { device, ts, values, bad, took, clock, seq, epoch } =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let value = |value: &RawValue| match value.get().parse::<Decimal>() {
        Ok(number) => number.to_string(),
        Err(_) => serde_json::from_str::<serde_json::Value>(value.get()).unwrap().to_string(),
    };
    let values: BTreeMap<_, _> = values.iter().map(|(name, given)| (name, value(given))).collect();
    format!("{device} {ts} {values:?} {bad:?} {took} {clock} {seq} {epoch}")
}

fn site() -> Site {
    let point = |n: i32| PointInfo {
        name: format!("point_{n}").parse().unwrap(),
        unit: "V".into(),
        quantity: "voltage".into(),
        phase: None,
        direction: None,
        resolution: (n % 2 == 0).then(|| Decimal::new(1, -(n % 4))),
        range: None,
        index: false,
        form: Default::default(),
    };
    let device = |name: &str| DeviceInfo {
        name: name.parse().unwrap(),
        line: "l".parse().unwrap(),
        unit: 1,
        profile: "p".into(),
        vendor: "v".into(),
        model: "m".into(),
        identity: None,
        every: Duration::from_secs(1),
        points: (0..8).map(point).collect(),
    };
    let devices = ["a", "b", "c"].map(device).to_vec();
    Site { gateway: "g".parse().unwrap(), config_hash: "0".into(), devices }
}

fn sample(random: &mut fastrand::Rng) -> Sample {
    match random.u8(0..12) {
        0 => Err(Bad::NoReply),
        1 => Err(Bad::Exception(random.u8(..))),
        2 => Ok(Value::Bool(random.bool())),
        3 => Ok(Value::Text(["idle", "a \"b\"", "ü\n", ""][random.usize(..4)].into())),
        4 => Ok(Value::Number(Decimal::new(random.i128(..), random.i32(-30..30)))),
        5 => Ok(Value::Number(Decimal::from(random.u64(..)))),
        6 => Ok(Value::Number(Decimal::new(i128::from(random.i64(..)), random.i32(-9..0)))),
        _ => Ok(Value::Number(Decimal::new(i128::from(random.i32(22_900..23_200)), -2))),
    }
}

fn some_readings(random: &mut fastrand::Rng) -> Vec<(Reading, Number)> {
    let (mut ts, mut seq, epoch) = (random.i64(0..1 << 41), random.u64(0..1 << 50), random.u32(..));
    let clock_unsure = random.bool();
    let one = |_| {
        ts += random.i64(-5..20_000);
        seq += random.u64(1..4);
        let points: Vec<String> =
            (0..8).map(|n| format!("point_{n}")).chain(["unknown".to_owned()]).collect();
        let due: Vec<String> = points.into_iter().filter(|_| random.u8(0..4) > 0).collect();
        let samples = due.iter().map(|name| (name.parse().unwrap(), sample(random))).collect();
        let device = ["a", "b", "c", "stranger"][random.usize(..4)].parse().unwrap();
        let took = Duration::from_millis(if random.u8(0..5) == 0 { random.u64(1001..9000) } else { 0 });
        (
            Reading { device, ts: Timestamp(ts), took, clock_unsure, boot: None, samples },
            Number { epoch, seq },
        )
    };
    (0..40).map(one).collect()
}

pub fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/run once", python.display());
    python
}

/// What `docs/batch.py` makes of batches.
fn read_by_python(meta: &Path, batches: &[PathBuf]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/batch.py");
    let output = Command::new(python()).arg(script).arg(meta).args(batches).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(said).collect()
}

#[test]
fn a_reader_that_is_not_ours_reads_every_batch_as_it_was_meant() {
    let (folder, site, mut random) = (tempfile::tempdir().unwrap(), site(), fastrand::Rng::with_seed(7));
    let meta = folder.path().join("meta.json");
    fs::write(&meta, json::meta(&site, usize::MAX).unwrap().unwrap()).unwrap();
    let (mut expected, mut batches) = (Vec::new(), Vec::new());
    for n in 0..200 {
        let readings = some_readings(&mut random);
        let numbered: Vec<Numbered<'_>> =
            readings.iter().map(|(reading, number)| Numbered { reading, number: *number }).collect();
        let options = Options::default();
        let schema =
            if n % 4 == 0 { Schema::unpublished(&site, &options) } else { Schema::of(&site, &options) };
        let payload = batch::encode(&numbered, &schema, false, 1 << 20).unwrap();
        assert_eq!(payload.taken, readings.len());
        batches.push(folder.path().join(format!("{n}.bin")));
        fs::write(&batches[n], payload.octets).unwrap();
        expected.extend(
            readings.iter().map(|(reading, number)| said(&json::reading(reading, *number, Some("g")))),
        );
    }
    assert_eq!(read_by_python(&meta, &batches), expected);
}

fn linesman(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linesman"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What the gateway wrote into its file, by sequence number.
fn truth(folder: &Path) -> BTreeMap<u64, String> {
    let text = fs::read_to_string(folder.join("readings.jsonl")).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| (serde_json::from_str::<Line>(line).unwrap().seq, said(line))).collect()
}

#[test]
fn batches_through_a_broker_become_what_the_gateway_wrote_and_a_republisher_that_dies_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let profile = small_profile(folder.path());
    let meters = Meters::tcp(&[(profile.clone(), 1), (profile.clone(), 2)]);
    let (near, far_folder) = (Broker::start(folder.path()), tempfile::tempdir().unwrap());
    let far = Broker::start(far_folder.path());
    let mut inbox = Inbox::open(far.port(), "plant-7");
    let (from, to) =
        (format!("mqtt://127.0.0.1:{}", near.port()), format!("mqtt://127.0.0.1:{}", far.port()));
    let republish = || Kept::spawn(&mut linesman(&["republish", &from, "--to", &to])).unwrap();
    let mut republisher = republish();
    let yaml = format!(
        r#"gateway: {{ id: plant-7 }}
lines:
  - name: lan
    tcp: {{ address: "{place}" }}
    devices:
      - {{ name: one, profile: {profile}, unit: 1, every: 200ms }}
      - {{ name: two, profile: {profile}, unit: 2, every: 300ms }}
spool: {{ dir: spool, commit_every: 1s }}
upstreams:
  - {{ name: truth, file: {{ path: readings.jsonl }} }}
  - {{ name: sim, mqtt: {{ url: "mqtt://127.0.0.1:{port}", encoding: batch, batch: {{ every: 10s }} }} }}
"#,
        place = meters.place,
        profile = profile.display(),
        port = near.port(),
    );
    let gateway = Gateway::start(folder.path(), &yaml);
    inbox.until("a batch to be passed on", |records| (records.len() > 20).then_some(()));
    republisher.kill();
    let seen = inbox.records.len();
    let mut decoder = Kept::spawn(&mut linesman(&["decode", &from, "--count", "1"])).unwrap();
    let decoded = decoder.output();
    let first =
        decoded.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing decoded: {}", gateway.log()));
    let decoded: Vec<String> = std::iter::once(first).chain(decoded.iter()).collect();
    assert!(decoded.len() > 20, "{decoded:?}");
    let truth_now = until("the file to have them", || {
        let truth = truth(folder.path());
        let has = |line: &String| truth.contains_key(&serde_json::from_str::<Line>(line).unwrap().seq);
        decoded.iter().all(has).then_some(truth)
    });
    for line in &decoded {
        assert_eq!(truth_now.get(&serde_json::from_str::<Line>(line).unwrap().seq), Some(&said(line)));
    }
    // What came while nobody passed it on comes now.
    let _republisher = republish();
    inbox.until("what the broker kept", |records| (records.len() > seen + decoded.len()).then_some(()));
    let truth = truth(folder.path());
    let mut numbers: Vec<u64> = Vec::new();
    for record in &inbox.records {
        let line = record.text.replacen('{', &format!("{{\"device\":\"{}\",", record.device), 1);
        if let Some(expected) = truth.get(&record.seq) {
            assert_eq!(expected, &said(&line));
        }
        numbers.push(record.seq);
    }
    numbers.sort_unstable();
    numbers.dedup();
    let all: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, all, "none is missing");
}
