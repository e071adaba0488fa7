//! A spool that is full to the brim at the start: the gateway is ready as soon as with an empty one, and hardly larger.

use crate::broker::Gate;
use crate::gateway::{Gateway, is_long, until};
use crate::meter::small_profile;
use crate::outage::{LOAD, meters_for_load, under_load};
use crate::script::{on_one_thread, unlocked};
use linesman::model::{Clock as _, SystemClock};
use linesman::spool;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Octets in the spool.
fn full() -> u64 {
    if is_long() { 1 << 30 } else { 24 << 20 }
}

/// Records that don't pack: what counts at the start is how many segments there are.
const OCTETS: usize = 60 << 10;

fn fill(folder: &Path) {
    let config = spool::Config { dir: folder.to_owned(), max_size: 2 << 30, ..spool::Config::default() };
    let spool = unlocked(|| spool::start(config.clone(), &["scada".to_owned()]));
    on_one_thread(async {
        let (writer, now) = (spool.writer(), SystemClock.utc().0);
        for n in 0.. {
            writer.append(now, vec![1; OCTETS]).await.unwrap();
            if n % 32 == 0 {
                spool.commit().await.unwrap();
                if spool.status().borrow().octets >= full() {
                    break;
                }
            }
        }
        spool.close().await.unwrap();
    });
}

/// How long a gateway takes until it runs, and what it holds in memory once all meters have answered, in KiB.
fn start(folder: &Path, yaml: &str) -> (Duration, u64) {
    let _ = fs::remove_file(folder.join("gateway.log"));
    let begun = Instant::now();
    let gateway = Gateway::start(folder, yaml);
    until("it to run", || gateway.log().contains("running").then_some(()));
    let took = begun.elapsed();
    let answers = |log: &str| log.matches("device answers").count() >= usize::from(LOAD);
    until("all meters to answer", || answers(&gateway.log()).then_some(()));
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
    (took, held.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn a_start_with_a_full_spool_is_as_soon_as_with_an_empty_one_and_takes_hardly_more_memory() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fill(&folder.path().join("full"));
    let profile = small_profile(folder.path());
    let meters = meters_for_load(&profile);
    let gate = Gate::before(1);
    gate.shut();
    let yaml = under_load(&profile, &meters.place, gate.port());
    let with = |spool: &str| yaml.replace("dir: spool,", &format!("dir: {spool}, max_size: 2GiB,"));
    let empty = start(folder.path(), &with("empty"));
    let loaded = start(folder.path(), &with("full"));
    let more = loaded.1.saturating_sub(empty.1);
    if is_long() {
        println!("with {} octets: runs after {:?}, {more} KiB more; empty: {:?}", full(), loaded.0, empty.0);
    }
    let most = Duration::from_secs(if is_long() { 2 } else { 6 });
    assert!(loaded.0 <= most, "{:?}, empty {:?}", loaded.0, empty.0);
    assert!(more <= 16 << 10, "{more} KiB more");
}
