//! What a reading costs on a metered path: compact batches beside JSON and line protocol, from the same readings.
//!
//! Ten meters of thirty points every 10 s, in three hours of a day, delivered every 5 minutes by MQTT with QoS 1. Octets
//! on the wire are computed, both directions: IP and TCP with time stamps 52 a segment, TLS 1.3 22 a record, segments
//! of 1388, the acknowledgements of TCP and of MQTT. Every value is compared after decoding. The last lines say what making
//! the batches takes: processor time, and memory beyond what there was before.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation
)] // a bench prints figures, and its signals are floats

mod signals;

use linesman::encode::batch::{self, Names, Options, Schema, Tolerance, Tolerances};
use linesman::encode::{Encoding, Number, Numbered, json};
use linesman::model::{Decimal, Reading, Site, Value};
use linesman::record;
use signals::{METERS, POINTS, Plant};
use std::error::Error;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const BATCH: Duration = Duration::from_secs(300);
const POLLS: usize = 30;
/// Night, morning, afternoon: the share of the loads that are on.
const HOURS: [f64; 3] = [0.15, 0.7, 0.5];
const LARGEST_PAYLOAD: usize = 120 << 10;

fn main() -> Outcome {
    let site = signals::site()?;
    let batches = readings(&site);
    println!(
        "{METERS} meters x {} points x 10 s, {} batches of 5 min; {:.0} % of the points change per poll",
        POINTS.len(),
        batches.len(),
        changes(&batches) * 100.0
    );
    println!("{:<42} {:>10} {:>12} {:>12}", "", "payload", "on the wire", "MB a month");
    let each_poll = |text: &dyn Fn(&Numbered<'_>) -> usize| {
        let all =
            batches.iter().flatten().map(|(reading, number)| text(&Numbered { reading, number: *number }));
        all.map(|octets| (octets, wire(octets, "linesman/plant-7/d/meter01".len()))).collect::<Vec<_>>()
    };
    row(
        "json, a message a scan, 10 s",
        &each_poll(&|one| json::reading(one.reading, one.number, None).len()),
    );
    for (what, encoding) in [("json-array", Encoding::JsonArray), ("line", Encoding::Line)] {
        let mut sizes = Vec::new();
        for batch in &batches {
            let text = encoding.encode(&numbered(batch), &site, usize::MAX)?.octets;
            let octets = gzip(&text)?;
            sizes.push((octets, wire(octets, 20)));
        }
        row(&format!("{what} + gzip -6, 5 min"), &sizes);
    }
    let all = Some(Tolerance::Percent("0.25".parse()?));
    let bounded = Options { tolerances: Tolerances { all, ..Tolerances::default() } };
    compact("batch, lossless, 5 min", &batches, &site, &Options::default())?;
    compact("batch, within 0.25 % of range, 5 min", &batches, &site, &bounded)?;
    cost(&batches, &site)
}

type Batch = Vec<(Reading, Number)>;

fn readings(site: &Site) -> Vec<Batch> {
    let mut batches = Vec::new();
    for (hour, seed) in HOURS.into_iter().zip(1..) {
        let (mut plant, mut seq) = (Plant::new(site, hour, seed), 0);
        for _ in 0..3600 / BATCH.as_secs() {
            let mut batch = Batch::new();
            for _ in 0..POLLS {
                for reading in plant.poll() {
                    seq += 1;
                    batch.push((reading, Number { epoch: 0x6f1c_02ab, seq }));
                }
            }
            batches.push(batch);
        }
    }
    batches
}

fn numbered(batch: &Batch) -> Vec<Numbered<'_>> {
    batch.iter().map(|(reading, number)| Numbered { reading, number: *number }).collect()
}

/// The share of values that are not as they were a poll before.
fn changes(batches: &[Batch]) -> f64 {
    let (mut changed, mut all) = (0usize, 0usize);
    for batch in batches {
        for (before, after) in batch.iter().zip(&batch[METERS..]) {
            let pairs = before.0.samples.iter().zip(&after.0.samples);
            all += after.0.samples.len();
            changed += pairs.filter(|(before, after)| before != after).count();
        }
    }
    changed as f64 / all as f64
}

fn compact(what: &str, batches: &[Batch], site: &Site, options: &Options) -> Outcome {
    let schema = Schema::of(site, options);
    let names = Names::from_meta(&json::meta(site, usize::MAX)?.ok_or("no meta")?)?;
    let (mut sizes, mut worst) = (Vec::new(), 0.0f64);
    for batch in batches {
        let payload = batch::encode(&numbered(batch), &schema, false, LARGEST_PAYLOAD)?;
        if payload.taken != batch.len() {
            return Err("not in one batch".into());
        }
        let decoded = batch::decode(&payload.octets, Some(&names))?;
        for ((before, number), (after, same)) in batch.iter().zip(&decoded.readings) {
            let lossless = options.tolerances == Tolerances::default();
            if lossless && json::reading(before, *number, None) != json::reading(after, *same, None) {
                return Err(format!("{} is not what it was", number.seq).into());
            }
            worst = worst.max(error(before, after, site)?);
        }
        sizes.push((payload.octets.len(), wire(payload.octets.len(), "linesman/plant-7/b".len())));
    }
    row(what, &sizes);
    println!("{:<42} largest error {worst:.3} % of range, counters exact", "");
    Ok(())
}

/// The largest error among a reading's values, in per cent of their ranges; counters must have none.
fn error(before: &Reading, after: &Reading, site: &Site) -> Outcome<f64> {
    let mut worst = 0.0f64;
    let points = site.devices[0].points.iter();
    for ((point, (_, before)), (_, after)) in points.zip(&before.samples).zip(&after.samples) {
        let (Ok(Value::Number(before)), Ok(Value::Number(after))) = (before, after) else {
            return Err("a value is missing".into());
        };
        let off = before.checked_sub(*after)?;
        if point.index && off != Decimal::ZERO {
            return Err("a counter was rounded".into());
        }
        let (least, most) = point.range.ok_or("no range")?;
        worst = worst.max(off.to_f64().abs() / most.checked_sub(least)?.to_f64() * 100.0);
    }
    Ok(worst)
}

fn row(what: &str, sizes: &[(usize, usize)]) {
    let readings = (HOURS.len() * 3600 / 10 * METERS * POINTS.len()) as f64;
    let sum = |which: fn(&(usize, usize)) -> usize| sizes.iter().map(which).sum::<usize>() as f64 / readings;
    let (payload, wire) = (sum(|size| size.0), sum(|size| size.1));
    let month = wire * (METERS * POINTS.len() * 8640 * 30) as f64 / 1e6;
    println!("{what:<42} {payload:>10.3} {wire:>12.3} {month:>12.0}");
}

/// A PUBLISH with QoS 1 and all that it brings about on the line, in octets.
fn wire(payload: usize, topic: usize) -> usize {
    let rest = 2 + topic + 2 + payload;
    let length = match rest {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    let packet = 1 + length + rest;
    let octets = packet + 22 * packet.div_ceil(16_384);
    let segments = octets.div_ceil(1388);
    let puback = 4 + 22 + 52;
    octets + segments * 52 + (segments / 2) * 52 + puback + 52
}

fn gzip(text: &[u8]) -> Outcome<usize> {
    let mut gzip =
        Command::new("gzip").args(["-6", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = gzip.stdin.take().ok_or("no stdin")?;
    let text = text.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&text));
    let octets = gzip.wait_with_output()?.stdout.len();
    writer.join().map_err(|_| "gzip")??;
    Ok(octets)
}

/// From records, as an upstream reads them, to payloads.
fn cost(batches: &[Batch], site: &Site) -> Outcome {
    let schema = Schema::of(site, &Options::default());
    let stored: Vec<Vec<(Vec<u8>, Number)>> = batches
        .iter()
        .map(|batch| batch.iter().map(|(reading, number)| (record::encode(reading), *number)).collect())
        .collect();
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = memory("VmRSS:")?;
    let start = Instant::now();
    for batch in &stored {
        let mut readings = Batch::new();
        for (octets, number) in batch {
            readings.push((record::decode(octets)?, *number));
        }
        batch::encode(&numbered(&readings), &schema, false, LARGEST_PAYLOAD)?;
    }
    let each = start.elapsed().as_secs_f64() / batches.len() as f64;
    let share = each / BATCH.as_secs_f64() * 100.0;
    let peak = (memory("VmHWM:")? - before) as f64 / 1024.0;
    println!(
        "from records: {:.1} ms a batch, {share:.4} % of a core; {peak:.2} MiB more at the peak",
        each * 1e3
    );
    Ok(())
}

/// Of this process, in KiB.
fn memory(what: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
