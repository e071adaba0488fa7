//! A card that takes six seconds for every sync (put there with strace): live readings arrive as they do without, and
//! the meters are read as often.

use crate::gateway::{Gateway, is_long, status_of, until};
use crate::inbox::assert_none_missing;
use crate::outage::{LOAD, loaded};
use crate::strace;
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than the gateway waits before it says that the disk stalls, by far longer than a live reading may take.
const STALL: Duration = Duration::from_secs(6);
const PERIOD_MS: i64 = 100;

/// Of all but one percent: how late they came, and how much later than its period each meter was read.
fn lateness(inbox: &crate::inbox::Inbox, from: i64, to: i64) -> (i64, i64) {
    let within = |ts: i64| (from..to).contains(&ts);
    let mut late: Vec<i64> =
        inbox.records.iter().filter(|one| within(one.ts)).map(|one| one.seen - one.ts).collect();
    let mut slips = Vec::new();
    for unit in 1..=LOAD {
        let device = format!("meter-{unit}");
        let of_one = inbox.records.iter().filter(|one| one.device == device && within(one.ts));
        let stamps: Vec<i64> = of_one.map(|one| one.ts).collect();
        slips.extend(stamps.windows(2).map(|pair| pair[1] - pair[0] - PERIOD_MS));
    }
    let worst = |all: &mut Vec<i64>| {
        all.sort_unstable();
        all[all.len() * 99 / 100]
    };
    (worst(&mut late), worst(&mut slips))
}

#[test]
fn while_the_card_stalls_live_readings_arrive_as_ever_and_nothing_is_missing_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (_meters, _broker, mut inbox, config) = loaded(folder.path());
    let gateway = Gateway::start(folder.path(), &(config + "http: { listen: \"127.0.0.1:0\" }\n"));
    let url = format!("http://{}", gateway.http());
    let status = || status_of(&url);
    inbox.until("records to flow", |records| (records.len() > 100).then_some(()));
    let inject = format!("inject=fdatasync:delay_enter={}", STALL.as_micros());
    let arguments = ["-e", "trace=fdatasync", "-e", &inject];
    let Some(strace) = strace::attach(gateway.pid(), &arguments, Path::new("/dev/null")) else { return };
    let (began, start) = (gateway.now_ms(), Instant::now());
    let said = until("the alarm", || {
        // It is dated when it is taken.
        inbox.take();
        let status = status();
        let detail = status["spool"]["detail"].as_str().unwrap_or_default().to_owned();
        detail.contains("the disk stalls since").then_some(status)
    });
    assert_eq!(said["spool"]["healthy"], false, "{said}");
    let account = &said["upstreams"][0];
    let of = |key: &str| account[key].as_u64().unwrap();
    assert_eq!(of("sampled"), of("delivered") + of("pending") + of("left_out"), "{account}");
    until("two stalls to pass", || {
        inbox.take();
        (start.elapsed() >= 2 * STALL).then_some(())
    });
    let ended = gateway.now_ms();
    drop(strace);
    until("the disk to be well", || (status()["spool"]["healthy"] == true).then_some(()));
    gateway.signal(Signal::TERM);
    let log = gateway.log();
    assert!(gateway.wait().0.success(), "{log}");
    inbox.take();

    let (late, slipped) = lateness(&inbox, began, ended);
    if is_long() {
        println!(
            "a card that stalls: 99 % of the live readings within {late} ms, polls late by {slipped} ms"
        );
    }
    assert!(late <= if is_long() { 500 } else { 1500 }, "99 % of the live readings came within {late} ms");
    assert!(slipped <= if is_long() { PERIOD_MS } else { 3 * PERIOD_MS }, "polls were late by {slipped} ms");
    for (epoch, _) in inbox.epochs() {
        assert_none_missing(&inbox, &epoch);
    }
}
