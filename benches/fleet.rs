//! A large fleet on Modbus TCP: 1 000 hosts, 50 registers each, every second, published by MQTT.
//!
//! ```text
//! cargo bench --bench fleet                    1 000 hosts, half a minute
//! cargo bench --bench fleet -- --hosts 200     fewer
//! cargo bench --bench fleet -- --answer 20     each host thinks for up to 20 ms before it answers
//! cargo bench --bench fleet -- --long          five minutes
//! ```
//!
//! The real binary with a configuration of a line for each host, publishing with QoS 1 in the default layout
//! to a real `mosquitto` on loopback (`tests/run` installs it). The hosts and the subscriber live in the
//! bench's own process, so that they are not in the figures, although they share the machine's processors.
//!
//! *Missed* comes from what the subscriber got: between two records of a device lie as many periods as
//! their stamps say; each beyond the first is a cycle that was not there. Beside it stand what the hosts saw
//! (the longest time between two requests) and what the gateway says of itself.
//!
//! A bench is no test: the exit status is 0 whatever the figures; the last line counts the bars that were met.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a bench prints figures

#[path = "common/process.rs"]
mod process;

use linesman::model::{Clock, SystemClock};
use process::{ARENAS, LINESMAN, broker, free_port, mebibytes, pause, processor_seconds, spawn, wait_for};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T> = Result<T, Box<dyn Error>>;

const REGISTERS: u16 = 50;
const PERIOD_MS: i64 = 1000;
/// After every host has been heard of: not counted.
const SETTLE: Duration = Duration::from_secs(5);
/// What was sampled last is still on its way.
const STRAGGLERS: Duration = Duration::from_secs(2);
const CPU_BAR: f64 = 20.0;
const MEMORY_BAR: f64 = 48.0;

struct Wanted {
    hosts: usize,
    /// Milliseconds; each answer comes after a time of its own below this.
    answer: u64,
    measure: Duration,
}

fn main() -> Outcome<()> {
    let mut wanted = Wanted { hosts: 1000, answer: 0, measure: Duration::from_secs(30) };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {}
            "--long" => wanted.measure *= 10,
            "--hosts" => wanted.hosts = words.next().ok_or("--hosts takes a number")?.parse()?,
            "--answer" => wanted.answer = words.next().ok_or("--answer takes milliseconds")?.parse()?,
            other => return Err(format!("{other:?} is none of --hosts N, --answer MS, --long").into()),
        }
    }
    open_many_files()?;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let hosts = runtime.block_on(start_hosts(&wanted))?;
    // A subscriber that falls behind for a moment must not make the broker drop records.
    let (_broker, port) = broker(dir.path(), "max_queued_messages 0\n")?;
    wait_for("the broker", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    let got = Arc::new(Mutex::new(Got::default()));
    let subscriber = runtime.spawn(subscribe(port, Arc::clone(&got)));
    let outcome = measure(&wanted, dir.path(), &hosts, port, &got);
    // Before the broker goes: that it is gone is no news at the end.
    subscriber.abort();
    let _ = runtime.block_on(subscriber);
    outcome
}

/// One descriptor for each host's listener and each end of its connection; the gateway inherits the limit.
fn open_many_files() -> Outcome<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

fn measure(wanted: &Wanted, dir: &Path, hosts: &[Arc<Host>], broker: u16, got: &Mutex<Got>) -> Outcome<()> {
    let (config, http) = (dir.join("linesman.yaml"), free_port()?);
    fs::write(dir.join("fifty.yaml"), profile())?;
    fs::write(&config, configuration(dir, hosts, broker, http))?;
    println!(
        "{} hosts × {REGISTERS} registers × {PERIOD_MS} ms by Modbus TCP, answers after up to {} ms, MQTT QoS 1; {} s",
        wanted.hosts,
        wanted.answer,
        wanted.measure.as_secs()
    );
    let gateway =
        spawn(Command::new(LINESMAN).arg("run").arg("--config").arg(&config).env(ARENAS.0, ARENAS.1))?;
    let (pid, start) = (gateway.pid(), Instant::now());
    wait_for("a record of every device", || locked(got).devices.len() == wanted.hosts)?;
    println!("every host published after {:.1} s", start.elapsed().as_secs_f64());
    pause(SETTLE);
    hosts.iter().for_each(|host| host.forget());
    let (before, from, start) = (processor_seconds(pid)?, now_ms(), Instant::now());
    pause(wanted.measure);
    let cpu = (processor_seconds(pid)? - before) / start.elapsed().as_secs_f64() * 100.0;
    let (upto, slowest) = (now_ms(), hosts.iter().map(|host| host.longest()).max().unwrap_or_default());
    let (steady, peak) = (mebibytes(pid, "VmRSS:")?, mebibytes(pid, "VmHWM:")?);
    pause(STRAGGLERS);
    let (late, lost) = own_word(http)?;
    let sum = locked(got).sum(from, upto);
    println!(
        "records {}; incomplete {}; missing in the numbering {}; from stamp to subscriber: median {} ms, 99 % {} ms, worst {} ms",
        sum.records,
        sum.incomplete,
        sum.lost,
        sum.delay(50),
        sum.delay(99),
        sum.delay(100)
    );
    println!(
        "longest time between two requests to one host {} ms; the gateway: last scans at most {late} ms late, {lost} scans lost",
        slowest.as_millis()
    );
    let bars = [
        ("missed cycles", sum.missed as f64, 0.0, ""),
        ("processor", cpu, CPU_BAR, " % of one core"),
        ("resident, peak", peak, MEMORY_BAR, " MiB"),
    ];
    for (what, figure, bar, unit) in bars {
        let word = if figure <= bar { "ok" } else { "MISSED" };
        println!("{what:<16} {figure:>8.1}{unit} (≤ {bar}) {word}");
    }
    println!("resident, steady {steady:>8.1} MiB");
    let met = bars.iter().filter(|(_, figure, bar, _)| figure <= bar).count();
    println!("\nbars met: {met} of {}", bars.len());
    Ok(())
}

fn profile() -> String {
    let head = "profile: 1\nvendor: Bench\nmodel: Fifty registers\nkind: energy-meter\npoints:\n";
    let point = |n: u16| format!("  r{n}: {{ holding: {n}, type: u16, quantity: other, scale: 0.1 }}\n");
    head.to_owned() + &(0..REGISTERS).map(point).collect::<String>()
}

fn configuration(dir: &Path, hosts: &[Arc<Host>], broker: u16, http: u16) -> String {
    let mut yaml = String::from("gateway: { id: bench }\nlines:\n");
    for (index, host) in hosts.iter().enumerate() {
        yaml += &format!("  - name: l{index}\n    tcp: {{ address: \"127.0.0.1:{}\" }}\n", host.port);
        yaml += &format!(
            "    devices: [ {{ name: d{index}, profile: ./fifty.yaml, unit: 1, every: {PERIOD_MS}ms }} ]\n"
        );
    }
    yaml += &format!("spool: {{ dir: {} }}\n", dir.join("spool").display());
    yaml += &format!("http: {{ listen: \"127.0.0.1:{http}\" }}\n");
    yaml + &format!("upstreams:\n  - name: scada\n    mqtt: {{ url: \"mqtt://127.0.0.1:{broker}\" }}\n")
}

/// What the gateway says: the worst lateness of the last scans, and scans that it had no room for.
fn own_word(http: u16) -> Outcome<(u64, u64)> {
    let url = format!("http://127.0.0.1:{http}");
    let said = Command::new(LINESMAN).args(["status", "--json", "--url", &url]).output()?;
    let status: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    let devices = status["devices"].as_array().ok_or("a status without devices")?;
    let late = devices.iter().filter_map(|device| device["lateness_ms"].as_u64()).max();
    let lost = devices.iter().filter_map(|device| device["counters"]["scans_lost"].as_u64()).sum();
    Ok((late.unwrap_or_default(), lost))
}

fn now_ms() -> i64 {
    SystemClock.utc().0
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One simulated device: answers reads of holding registers.
struct Host {
    port: u16,
    answer: u64,
    started: Instant,
    /// Nanoseconds since the start.
    last: AtomicU64,
    longest: AtomicU64,
}

async fn start_hosts(wanted: &Wanted) -> Outcome<Vec<Arc<Host>>> {
    let (mut hosts, started) = (Vec::new(), Instant::now());
    for _ in 0..wanted.hosts {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (last, longest) = (AtomicU64::new(0), AtomicU64::new(0));
        let (port, answer) = (listener.local_addr()?.port(), wanted.answer);
        let host = Arc::new(Host { port, answer, started, last, longest });
        hosts.push(Arc::clone(&host));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&host).serve(stream));
            }
        });
    }
    Ok(hosts)
}

impl Host {
    async fn serve(self: Arc<Host>, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut request, mut reply) = ([0; 12], Vec::with_capacity(260));
        loop {
            // MBAP header, unit id, function code, address, count: twelve octets (Modbus TCP V1.0b, 3.1.3).
            stream.read_exact(&mut request).await?;
            self.note();
            let second = self.started.elapsed().as_secs();
            let [t0, t1, _, _, _, _, unit, function, a0, a1, _, count] = request;
            reply.clear();
            reply.extend_from_slice(&[
                t0,
                t1,
                0,
                0,
                0,
                count.wrapping_mul(2).wrapping_add(3),
                unit,
                function,
            ]);
            reply.push(count.wrapping_mul(2));
            for register in 0..u64::from(count) {
                let value = u64::from(u16::from_be_bytes([a0, a1])) + register * 97 + second;
                reply.extend_from_slice(&value.to_be_bytes()[6..]);
            }
            if self.answer > 0 {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..self.answer))).await;
            }
            stream.write_all(&reply).await?;
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let before = self.last.swap(now, Ordering::Relaxed);
        if before > 0 {
            self.longest.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
        }
    }

    fn forget(&self) {
        self.longest.store(0, Ordering::Relaxed);
    }

    /// The longest time between two requests; up to now, if that is longer.
    fn longest(&self) -> Duration {
        let since =
            self.started.elapsed().saturating_sub(Duration::from_nanos(self.last.load(Ordering::Relaxed)));
        since.max(Duration::from_nanos(self.longest.load(Ordering::Relaxed)))
    }
}

#[derive(serde::Deserialize)]
struct Record {
    ts: i64,
    seq: u64,
    values: BTreeMap<String, IgnoredAny>,
}

/// All that the subscriber got, by device: stamp, delay, whether all values were there.
#[derive(Default)]
struct Got {
    devices: BTreeMap<String, Vec<(i64, i64, bool)>>,
    seqs: Vec<u64>,
}

#[derive(Default)]
struct Sum {
    records: usize,
    incomplete: usize,
    missed: i64,
    lost: u64,
    delays: Vec<i64>,
}

impl Got {
    fn take(&mut self, topic: &str, payload: &[u8]) -> Outcome<()> {
        let record: Record = serde_json::from_slice(payload)?;
        let whole = record.values.len() == usize::from(REGISTERS);
        let device = topic.rsplit('/').next().unwrap_or_default().to_owned();
        self.devices.entry(device).or_default().push((record.ts, now_ms() - record.ts, whole));
        self.seqs.push(record.seq);
        Ok(())
    }

    /// Of what was sampled in this time.
    fn sum(&mut self, from: i64, upto: i64) -> Sum {
        let mut sum = Sum::default();
        for records in self.devices.values_mut() {
            records.sort_unstable();
            let inside: Vec<_> = records.iter().filter(|(ts, ..)| (from..upto).contains(ts)).collect();
            sum.records += inside.len();
            sum.incomplete += inside.iter().filter(|(_, _, whole)| !whole).count();
            sum.delays.extend(inside.iter().map(|(_, delay, _)| *delay));
            // The window's ends count as stamps: a device that falls silent is missed to the end.
            let ends = [from].into_iter().chain(inside.iter().map(|(ts, ..)| *ts)).chain([upto]);
            let stamps: Vec<i64> = ends.collect();
            let periods = |two: &[i64]| (two[1] - two[0] + PERIOD_MS / 2) / PERIOD_MS;
            sum.missed += stamps.windows(2).map(|two| (periods(two) - 1).max(0)).sum::<i64>();
        }
        sum.delays.sort_unstable();
        self.seqs.sort_unstable();
        sum.lost = self.seqs.windows(2).map(|two| (two[1] - two[0]).saturating_sub(1)).sum();
        sum
    }
}

impl Sum {
    fn delay(&self, percent: usize) -> i64 {
        let at = self.delays.len().saturating_sub(1) * percent / 100;
        self.delays.get(at).copied().unwrap_or_default()
    }
}

async fn subscribe(port: u16, got: Arc<Mutex<Got>>) {
    let mut options = MqttOptions::new("bench-subscriber", "127.0.0.1", port);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 100);
    for lane in ["d", "h"] {
        let _ = client.subscribe(format!("linesman/bench/{lane}/+"), QoS::AtLeastOnce).await;
    }
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let taken = locked(&got).take(&publish.topic, &publish.payload);
                if let Err(error) = taken {
                    println!("{}: no record: {error}", publish.topic);
                }
            }
            Ok(_) => {}
            Err(error) => return println!("the subscriber lost the broker: {error}"),
        }
    }
}
