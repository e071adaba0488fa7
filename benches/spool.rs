//! How fast readings go into the spool and come out of it again, on this machine's disk.
//!
//! Records of 30 points each, as an energy meter gives them, through `record` and `spool`; group commit,
//! one writer, one upstream. A reading in the table is one point's value.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a bench prints figures

use linesman::model::{Decimal, Name, Reading, Timestamp, Value};
use linesman::record;
use linesman::spool::{self, Reader, Spool};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const POINTS: usize = 30;
const RECORDS: u64 = 100_000;
/// Records asked for at once, as an upstream that works off its backlog does.
const BITE: usize = 256;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    // Beside the build, not in /tmp: that may be a disk of memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    tokio::runtime::Runtime::new()?.block_on(measure(dir.path()))
}

async fn measure(dir: &Path) -> Outcome {
    println!("{RECORDS} records of {POINTS} readings, committed every 5 s or 64 KiB");
    println!("{:<28} {:>8} {:>11} {:>12} {:>8}", "", "seconds", "records/s", "readings/s", "MB/s");
    let mut spool = open(dir)?;
    let start = Instant::now();
    let octets = fill(&spool).await?;
    row("in, last one durable", start.elapsed(), octets);
    let start = Instant::now();
    drain(&mut spool.reader("out").ok_or("no reader")?).await?;
    row("out, decoded, acknowledged", start.elapsed(), octets);
    let on_disk = spool.status().borrow().octets;
    println!("on disk: {:.1} octets a reading", on_disk as f64 / (RECORDS * POINTS as u64) as f64);
    spool.close().await?;
    let before = resident_mebibytes()?;
    let start = Instant::now();
    spool = open(dir)?;
    let (took, grown) = (start.elapsed(), resident_mebibytes()? - before);
    println!(
        "open with {:.0} MiB: {:.1} ms, {grown:.1} MiB of memory",
        on_disk as f64 / 1_048_576.0,
        took.as_secs_f64() * 1e3
    );
    Ok(spool.close().await?)
}

fn open(dir: &Path) -> Result<Spool, spool::OpenError> {
    let config = spool::Config { dir: dir.to_owned(), ..spool::Config::default() };
    spool::start(config, &["out".to_owned()])
}

async fn fill(spool: &Spool) -> Result<usize, Box<dyn Error>> {
    let (writer, device) = (spool.writer(), "incomer".parse::<Name>()?);
    let points: Vec<Name> = (0..POINTS).map(|n| format!("voltage_{n}").parse()).collect::<Result<_, _>>()?;
    let mut octets = 0;
    for n in 0..RECORDS {
        let value =
            |point: usize| Value::Number(Decimal::new(i128::from(n % 1000) + 22_500 + point as i128, -2));
        let samples = points.iter().enumerate().map(|(point, name)| (name.clone(), Ok(value(point))));
        let reading = Reading {
            device: device.clone(),
            ts: Timestamp(1_763_766_000_000 + i64::try_from(n)?),
            took: Duration::from_millis(300),
            clock_unsure: false,
            boot: None,
            samples: samples.collect(),
        };
        let record = record::encode(&reading);
        octets += record.len();
        writer.append(reading.ts.0, record).await?;
    }
    spool.commit().await?;
    Ok(octets)
}

async fn drain(reader: &mut Reader) -> Outcome {
    let (mut after, mut points) = (0, 0);
    while after < reader.head() {
        let records = reader.read(after, BITE, 1 << 20).await?;
        for stored in &records {
            points += record::decode(&stored.octets)?.samples.len();
        }
        after = records.last().ok_or("records are missing")?.position;
        reader.ack(after).await?;
    }
    let expected = usize::try_from(RECORDS)? * POINTS;
    if points == expected { Ok(()) } else { Err(format!("{points} readings of {expected}").into()) }
}

fn row(what: &str, took: Duration, octets: usize) {
    let seconds = took.as_secs_f64();
    let rate = RECORDS as f64 / seconds;
    println!(
        "{what:<28} {seconds:>8.2} {rate:>11.0} {:>12.0} {:>8.1}",
        rate * POINTS as f64,
        octets as f64 / seconds / 1e6
    );
}

fn resident_mebibytes() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<f64>()? / 1024.0)
}
