//! What a driver and a line may do to the real process: reads that fail, a write that hangs (both put there with
//! strace), and a line that is never silent. The other line goes on as if nothing were.

use crate::broker::Broker;
use crate::gateway::{Gateway, Kept, is_long, until};
use crate::inbox::{Inbox, Record};
use crate::strace;
use linesman::profile;
use linesman::sim::wire::{self, Wire, WireConfig};
use linesman::sim::{Faults, Meter};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const PERIOD_MS: i64 = 100;

/// What was promised; a machine that has other work may take three times as long.
fn within(promised: Duration) -> Duration {
    if is_long() { promised } else { 3 * promised }
}

/// A simulated meter at 115 200 baud.
fn meter(path: &Path, faults: &[&str]) -> Wire {
    let profile = profile::find("xy-md02-sht20", Path::new("."), &[]).unwrap();
    let faults = Faults::new(faults.iter().map(|word| word.parse().unwrap()).collect(), 1);
    let (path, turnaround) = (Some(path.to_owned()), Duration::from_millis(2));
    let meters = vec![Meter::new(profile, 1, 1)];
    wire::start(WireConfig { path, turnaround, faults, ..WireConfig::new(meters, 115_200) }).unwrap()
}

/// Two lines with one meter each: `sick`, whose port is what the test is about, and `other`.
struct Plant {
    gateway: Gateway,
    inbox: Inbox,
    _broker: Broker,
    _other: Wire,
    folder: tempfile::TempDir,
}

impl Plant {
    fn start(sick: impl FnOnce(&Path) -> Wire) -> (Plant, Wire) {
        let folder = tempfile::tempdir().unwrap();
        let ports = ["sick", "other"].map(|name| folder.path().join(name));
        let (sick, other) = (sick(&ports[0]), meter(&ports[1], &[]));
        let broker = Broker::start(folder.path());
        let inbox = Inbox::open(broker.port(), "plant-7");
        let line = |name: &str, port: &Path| {
            format!(
                "  - name: line-{name}\n    serial: {{ port: {}, baud: 115200 }}\n    devices:\n      - {{ name: \
                 {name}, profile: xy-md02-sht20, unit: 1, every: {PERIOD_MS}ms, timeout: 100ms }}\n",
                port.display()
            )
        };
        let yaml = format!(
            "gateway: {{ id: plant-7 }}\nlines:\n{}{}spool: {{ dir: spool }}\nupstreams:\n  - name: scada\n    mqtt: \
             {{ url: \"mqtt://127.0.0.1:{}\" }}\n",
            line("sick", &ports[0]),
            line("other", &ports[1]),
            broker.port()
        );
        let gateway = Gateway::start(folder.path(), &yaml);
        let mut plant = Plant { gateway, inbox, _broker: broker, _other: other, folder };
        plant.inbox.until("both meters", |all| {
            ["sick", "other"].iter().all(|name| all.iter().any(|one| one.device == *name)).then_some(())
        });
        (plant, sick)
    }

    /// Puts this into the gateway's calls for the sick line's port, from now on; none where that is not possible here.
    fn inject(&self, calls: &str, what: &str) -> Option<Injected> {
        let terminal = fs::read_link(self.folder.path().join("sick")).unwrap();
        let log = self.folder.path().join("strace.log");
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{what}"));
        let arguments = ["-P", terminal.to_str().unwrap(), "-e", &trace, "-e", &inject];
        let strace = strace::attach(self.gateway.pid(), &arguments, &log)?;
        Some(Injected { _strace: strace, log })
    }

    /// The records of a line's meter from a moment on.
    fn of<'a>(&'a self, device: &'a str, from: i64) -> impl Iterator<Item = &'a Record> {
        self.inbox.records.iter().filter(move |one| one.device == device && one.ts >= from)
    }

    /// How much later than its period the other line's meter was read, at worst of all but one percent.
    fn others_lateness(&self, from: i64) -> Duration {
        let stamps: Vec<i64> = self.of("other", from).map(|record| record.ts).collect();
        let mut late: Vec<i64> = stamps.windows(2).map(|pair| pair[1] - pair[0] - PERIOD_MS).collect();
        late.sort_unstable();
        let worst = late[late.len() * 99 / 100];
        Duration::from_millis(u64::try_from(worst).unwrap_or(0))
    }

    /// Waits for a good reading of the sick line's meter that was taken after this moment.
    fn is_read_again(&mut self, after: i64) -> i64 {
        self.inbox.until("a value again", |all| {
            let good = |one: &&Record| one.device == "sick" && one.ts > after && one.bad().is_empty();
            all.iter().find(good).map(|record| record.ts)
        })
    }
}

/// As long as this lives the gateway is traced.
struct Injected {
    _strace: Kept,
    log: std::path::PathBuf,
}

impl Injected {
    /// When something was put into a call, in milliseconds since 1970.
    fn moments(&self) -> Vec<i64> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let of_ours = text.lines().filter(|line| line.contains("INJECTED") || line.contains("DELAYED"));
        // The number of the thread, then seconds with six digits behind the point.
        let stamps = of_ours.filter_map(|line| line.split_whitespace().nth(1));
        stamps.map(|stamp| stamp.replace('.', "").parse::<i64>().unwrap() / 1000).collect()
    }
}

#[test]
fn reads_that_fail_four_times_cost_a_line_two_seconds_and_the_other_nothing() {
    let (mut plant, _sick) = Plant::start(|path| meter(path, &[]));
    let Some(injected) = plant.inject("read", "error=EIO:when=1..4") else { return };
    until("four failures", || (injected.moments().len() == 4).then_some(()));
    let failed = injected.moments();
    let again = plant.is_read_again(failed[3]);
    let (all, rest) = (again - failed[0], again - failed[3]);
    if is_long() {
        println!("EIO four times: read again {rest} ms after the last, {all} ms after the first");
    }
    let most = i64::try_from(within(Duration::from_secs(2)).as_millis()).unwrap();
    assert!(rest <= most, "read again {rest} ms after the last failure, {all} ms after the first");
    let lost = plant.of("sick", failed[0]).filter(|one| one.ts < again && !one.bad().is_empty()).count();
    assert!(lost > 0, "nothing was said of the time between");
    let late = plant.others_lateness(failed[0] - 1000);
    assert!(late <= within(Duration::from_millis(100)), "the other line was late: {late:?}");
    assert!(plant.gateway.alive(), "{}", plant.gateway.log());
}

#[test]
fn a_write_that_hangs_for_a_quarter_of_a_minute_is_flagged_and_the_other_line_does_not_notice() {
    let (mut plant, _sick) = Plant::start(|path| meter(path, &[]));
    let (began, delay) = (plant.gateway.now_ms(), Duration::from_secs(15));
    let what = format!("delay_enter={}:when=1", delay.as_micros());
    let Some(injected) = plant.inject("write", &what) else { return };
    until("the line to be flagged", || plant.gateway.log().contains("flagged stuck").then_some(()));
    let flagged = plant.gateway.now_ms();
    until("the driver to be back", || plant.gateway.log().contains("no longer stuck").then_some(()));
    plant.is_read_again(flagged);
    drop(injected);
    assert_eq!(plant.of("sick", began + 2000).filter(|one| one.ts < flagged).count(), 0, "who read it?");
    let late = plant.others_lateness(began);
    if is_long() {
        println!("a hung write: flagged after {} ms, the other line late by {late:?}", flagged - began);
    }
    // All the time that a call may take without being unusual, and the look around once a second.
    assert!(flagged - began <= 13_000, "flagged after {} ms", flagged - began);
    assert!(late <= within(Duration::from_millis(100)), "the other line was late: {late:?}");
    let others = plant.of("other", began).filter(|one| one.ts <= flagged).count();
    assert!(i64::try_from(others).unwrap() >= (flagged - began) / PERIOD_MS * 9 / 10, "{others} readings");
    assert!(plant.gateway.alive(), "{}", plant.gateway.log());
}

/// The processor's time that this process has had, and the memory that it holds.
fn costs(process: u32) -> (Duration, u64) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap();
    let stat = read("stat");
    let numbers: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = numbers[11].parse::<u32>().unwrap() + numbers[12].parse::<u32>().unwrap();
    let status = read("status");
    let held = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (Duration::from_millis(10) * ticks, held.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn a_line_that_babbles_costs_the_whole_process_a_tenth_of_a_core_at_most_and_no_memory() {
    // Whole seconds since the wire was there.
    let (from, to) = (4, 9);
    let began = Instant::now();
    let (mut plant, _sick) = Plant::start(|path| meter(path, &[&format!("babble@{from}-{to}")]));
    let (_, before) = costs(plant.gateway.pid());
    let says = |plant: &Plant| plant.gateway.log().contains("babble");
    until("babble to be said", || says(&plant).then_some(()));
    let told = began.elapsed().saturating_sub(Duration::from_secs(from));
    let ((used, held), since) = (costs(plant.gateway.pid()), Instant::now());
    let end = began + Duration::from_secs(to);
    let mut most = held;
    until("the end of babble", || {
        most = most.max(costs(plant.gateway.pid()).1);
        (Instant::now() >= end).then_some(())
    });
    let (now, _) = costs(plant.gateway.pid());
    let (share, more) =
        ((now - used).as_secs_f64() / since.elapsed().as_secs_f64(), most.saturating_sub(before));
    let ended = plant.gateway.now_ms();
    let again = plant.is_read_again(ended) - ended;
    if is_long() {
        let share = share * 100.0;
        println!(
            "babble: said after {told:?}, {share:.1} % of a core, {more} KiB more, read again after {again} ms"
        );
    }
    assert!(told <= within(Duration::from_secs(3)), "said after {told:?}");
    assert!(share <= if is_long() { 0.1 } else { 0.3 }, "{share} of a core");
    assert!(again <= i64::try_from(within(Duration::from_secs(5)).as_millis()).unwrap(), "{again} ms");
    assert!(more <= 3 * 1024, "{more} KiB more");
}
