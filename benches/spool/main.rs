//! How fast readings go into the spool and come out of it again, what they take, and what a full spool costs at the
//! start; on this machine's disk.
//!
//! The reference site: 10 meters of 30 points, each every 10 s, through `record` and `spool`; group commit, one writer,
//! one upstream. A reading in the table is one point's value.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a bench prints figures

mod medium;
mod site;

use linesman::record;
use linesman::spool::{self, Reader, Spool};
use medium::Medium;
use site::{A_COMMIT, A_DAY, POINTS, Site};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Records asked for at once, as an upstream that works off its backlog does.
const BITE: usize = 256;
/// Commits of the test on a device of its own: an hour and a half.
const COMMITS: u64 = 1_000;
const COMMITS_A_DAY: u64 = A_DAY / A_COMMIT;
/// The spool that is full at the start.
const FULL: u64 = 1 << 30;
/// Octets that don't pack, to fill a spool quickly: what counts at the start is how many segments there are.
const FILLER: usize = 60 << 10;
/// Records by which the full spool is compared with an empty one.
const SOME: u64 = 30_000;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, dir] = &arguments[..]
        && command == "start"
    {
        return runtime.block_on(start_with(Path::new(dir)));
    }
    // Beside the build, not in /tmp: that may be a disk of memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    runtime.block_on(async {
        a_day(&dir.path().join("day")).await?;
        wear(dir.path()).await?;
        full(&dir.path().join("full")).await
    })
}

async fn a_day(dir: &Path) -> Outcome {
    println!("a day of the reference site: {A_DAY} records of {POINTS} readings");
    println!("{:<34} {:>8} {:>11} {:>12}", "", "seconds", "records/s", "readings/s");
    let spool = open(dir, "out")?;
    let mut site = Site::new()?;
    let records = (0..A_DAY).map(|_| site.next()).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let (writer, start) = (spool.writer(), Instant::now());
    for reading in &records {
        writer.append(reading.ts.0, record::encode(reading)).await?;
    }
    spool.commit().await?;
    row("in, last one durable", A_DAY, start.elapsed());
    let start = Instant::now();
    drain(&mut spool.reader("out").ok_or("no reader")?, A_DAY).await?;
    row("out, decoded, acknowledged", A_DAY, start.elapsed());
    spool.close().await?;
    let octets = octets_of(dir)?;
    println!("at rest: {:.2} octets a reading", octets as f64 / (A_DAY * POINTS as u64) as f64);
    Ok(())
}

/// What reaches the medium when five records are committed every five seconds and acknowledged at once.
async fn wear(dir: &Path) -> Outcome {
    let medium = match Medium::mount(dir) {
        Ok(medium) => medium,
        Err(why) => {
            println!("octets written a day: skipped, because there is no device to count them: {why}");
            return Ok(());
        }
    };
    let spool = open(&medium.folder.join("spool"), "out")?;
    let (writer, reader, mut site) = (spool.writer(), spool.reader("out").ok_or("no reader")?, Site::new()?);
    let before = medium.written()?;
    for n in 1..=COMMITS {
        for _ in 0..A_COMMIT {
            let reading = site.next()?;
            writer.append(reading.ts.0, record::encode(&reading)).await?;
        }
        reader.ack(n * A_COMMIT).await?;
        spool.commit().await?;
    }
    let each = (medium.written()? - before) as f64 / COMMITS as f64;
    println!(
        "written to ext4 on a loop device: {:.1} KiB a commit, {:.0} MB a day at 5 s",
        each / 1024.0,
        each * COMMITS_A_DAY as f64 / 1e6
    );
    Ok(spool.close().await?)
}

async fn full(dir: &Path) -> Outcome {
    let spool = open(dir, "out")?;
    let fresh = in_and_out(&spool, 0).await?;
    let writer = spool.writer();
    let filler = FULL / (FILLER as u64 + 100) + 2;
    for n in 0..filler {
        writer.append(1_763_766_000_000, vec![1; FILLER]).await?;
        if n % 32 == 0 {
            spool.commit().await?;
        }
    }
    spool.commit().await?;
    let oldest = spool.reader("out").ok_or("no reader")?.head();
    let loaded = in_and_out(&spool, oldest).await?;
    let on_disk = spool.status().borrow().octets;
    spool.close().await?;
    println!(
        "{:.0} MiB on disk; {SOME} records in and out of an empty spool and of this one:",
        on_disk as f64 / 1_048_576.0
    );
    row("in, empty", SOME, fresh.0);
    row("in, full", SOME, loaded.0);
    row("out, empty", SOME, fresh.1);
    row("out, full", SOME, loaded.1);
    // In a process of its own, whose memory nothing else has touched.
    let done = Command::new(std::env::current_exe()?).arg("start").arg(dir).output()?;
    print!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if done.status.success() { Ok(()) } else { Err("the full spool did not start".into()) }
}

async fn in_and_out(spool: &Spool, after: u64) -> Result<(Duration, Duration), Box<dyn Error>> {
    let (writer, mut site) = (spool.writer(), Site::new()?);
    let mut reader = spool.reader("out").ok_or("no reader")?;
    let start = Instant::now();
    for _ in 0..SOME {
        let reading = site.next()?;
        writer.append(reading.ts.0, record::encode(&reading)).await?;
    }
    spool.commit().await?;
    let took = start.elapsed();
    reader.ack(after).await?;
    let start = Instant::now();
    drain(&mut reader, SOME).await?;
    Ok((took, start.elapsed()))
}

/// Opens a spool and reads the first record of its backlog.
async fn start_with(dir: &Path) -> Outcome {
    let before = resident_mebibytes()?;
    let start = Instant::now();
    let spool = open(dir, "another")?;
    spool.reader("another").ok_or("no reader")?.read(0, 1, 1).await?;
    let (took, grown) = (start.elapsed(), resident_mebibytes()? - before);
    println!("started: ready after {:.0} ms, {grown:.1} MiB of memory", took.as_secs_f64() * 1e3);
    Ok(spool.close().await?)
}

fn open(dir: &Path, upstream: &str) -> Result<Spool, spool::OpenError> {
    // Nothing gives way here.
    let (max_size, max_age) = (2 * FULL, None);
    let config = spool::Config { dir: dir.to_owned(), max_size, max_age, ..spool::Config::default() };
    spool::start(config, &[upstream.to_owned()])
}

async fn drain(reader: &mut Reader, records: u64) -> Outcome {
    let (mut after, mut points) = (reader.cursor(), 0);
    while after < reader.head() {
        let records = reader.read(after, BITE, 1 << 20).await?;
        for stored in &records {
            points += record::decode(&stored.octets)?.samples.len();
        }
        after = records.last().ok_or("records are missing")?.position;
        reader.ack(after).await?;
    }
    let expected = usize::try_from(records)? * POINTS;
    if points == expected { Ok(()) } else { Err(format!("{points} readings of {expected}").into()) }
}

fn row(what: &str, records: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    let rate = records as f64 / seconds;
    println!("{what:<34} {seconds:>8.2} {rate:>11.0} {:>12.0}", rate * POINTS as f64);
}

/// What the segments take once the last one is closed.
fn octets_of(dir: &Path) -> Result<u64, Box<dyn Error>> {
    let spool = open(dir, "out")?;
    let octets = std::fs::read_dir(dir.join("v1"))?.filter_map(|entry| {
        let entry = entry.ok()?;
        (entry.path().extension()? == "seg")
            .then(|| entry.metadata().map(|metadata| metadata.len()).unwrap_or(0))
    });
    let octets = octets.sum();
    drop(spool);
    Ok(octets)
}

fn resident_mebibytes() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<f64>()? / 1024.0)
}
