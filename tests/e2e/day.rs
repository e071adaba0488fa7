//! A day without a broker, then its return: what the reference site has gathered drains at its limit, beside the live
//! readings of the same meters, and all of it arrives once.

use crate::broker::Broker;
use crate::gateway::{Gateway, is_long, status_of, until};
use crate::inbox::{Inbox, Record, assert_none_missing};
use crate::script::on_one_thread;
use linesman::model::{Clock as _, SystemClock, Timestamp};
use linesman::sim::Meter;
use linesman::sim::wire::{self, Wire, WireConfig};
use linesman::{profile, record, spool};
use site::{METERS, Site};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

#[allow(dead_code, reason = "the benches ask it for more")]
#[path = "../../benches/spool/site.rs"]
mod site;

/// Seconds without a broker: one of the ten meters is read in each.
fn away() -> i64 {
    if is_long() { 86_400 } else { 300 }
}

/// Readings of the backlog a second.
fn rate() -> i64 {
    if is_long() { 400 } else { 100 }
}

/// What the site has gathered in so many seconds until now lies in the spool; the epoch of these records.
pub fn gathered(folder: &Path, seconds: i64) -> String {
    let config = spool::Config { dir: folder.to_owned(), ..spool::Config::default() };
    let spool = crate::script::unlocked(|| spool::start(config.clone(), &["scada".to_owned()]));
    let (mut site, now) = (Site::new().unwrap(), SystemClock.utc().0);
    on_one_thread(async {
        let writer = spool.writer();
        for n in 0..seconds {
            let mut reading = site.next().unwrap();
            reading.ts = Timestamp(now - 1000 * (seconds - n));
            writer.append(reading.ts.0, record::encode(&reading)).await.unwrap();
        }
        let epoch = format!("{:08x}", spool.epoch());
        spool.close().await.unwrap();
        epoch
    })
}

/// The site's meters on a line of their own, and a configuration with them.
fn site_of(folder: &Path, broker: u16) -> (Wire, String) {
    let port = folder.join("line");
    let profile = profile::find("eastron-sdm630", Path::new("."), &[]).unwrap();
    let meters =
        (1..=METERS).map(|unit| Meter::new(profile.clone(), u8::try_from(unit).unwrap(), 1)).collect();
    let turnaround = Duration::from_millis(2);
    let wire =
        wire::start(WireConfig { path: Some(port.clone()), turnaround, ..WireConfig::new(meters, 115_200) });
    let mut yaml = format!(
        "gateway: {{ id: plant-7 }}\nhttp: {{ listen: \"127.0.0.1:0\" }}\nspool: {{ dir: spool }}\nupstreams:\n  - name: scada\n    \
         history_rate: {}\n    mqtt: {{ url: \"mqtt://127.0.0.1:{broker}\" }}\nlines:\n  - name: line\n    serial: {{ port: {}, \
         baud: 115200 }}\n    devices:\n",
        rate(),
        port.display()
    );
    for unit in 1..=METERS {
        let name = format!("meter-{}", unit - 1);
        writeln!(yaml, "      - {{ name: {name}, profile: eastron-sdm630, unit: {unit}, every: 2s }}")
            .unwrap();
    }
    (wire.unwrap(), yaml)
}

#[test]
fn a_days_backlog_arrives_whole_and_once_at_its_rate_while_live_readings_come_within_two_seconds() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let epoch = gathered(&folder.path().join("spool"), away());
    let broker = Broker::start(folder.path());
    let mut inbox = Inbox::open(broker.port(), "plant-7");
    let (_wire, yaml) = site_of(folder.path(), broker.port());
    let gateway = Gateway::start(folder.path(), &yaml);
    let url = format!("http://{}", gateway.http());
    let gathered = usize::try_from(away()).unwrap();
    let (mut old, mut seen) = (0, 0);
    while old < gathered {
        inbox.until("more of the backlog", |records| (records.len() > seen).then_some(()));
        old += inbox.records[seen..].iter().filter(|record| record.epoch == epoch).count();
        seen = inbox.records.len();
    }
    let account = until("the last acknowledgements", || {
        let account = status_of(&url)["upstreams"][0].clone();
        (account["pending"].as_u64()? < 32).then_some(account)
    });
    let of = |key: &str| account[key].as_u64().unwrap();
    assert_eq!(of("sampled"), of("delivered") + of("pending") + of("left_out"), "{account}");
    assert_eq!(account["dropped"], serde_json::json!({}), "{account}");
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait().0.success());
    inbox.take();
    assert_arrived(&inbox, &epoch, gathered);
}

fn assert_arrived(inbox: &Inbox, epoch: &str, gathered: usize) {
    let mut distinct: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    for record in &inbox.records {
        let known = distinct.entry((&record.epoch, record.seq)).or_insert(&record.text);
        assert_eq!(*known, record.text, "one number, two records");
    }
    assert_eq!(distinct.keys().filter(|(of, _)| *of == epoch).count(), gathered);
    let twice = inbox.records.len() - distinct.len();
    assert_eq!(twice, 0, "some came twice, though nobody crashed");
    assert_eq!(inbox.epochs().len(), 2);
    for (epoch, _) in inbox.epochs() {
        assert_none_missing(inbox, &epoch);
    }
    let backlog: Vec<&Record> = inbox.records.iter().filter(|record| record.epoch == epoch).collect();
    assert!(backlog.iter().all(|record| record.lane == "h"), "old, and not marked as history");
    let (first, last) = (backlog[0].seen, backlog[gathered - 1].seen);
    let drained = (i64::try_from(gathered).unwrap() - 1) * 1000 / (last - first);
    let fresh = inbox.records.iter().filter(|record| record.epoch != epoch && record.seen <= last);
    let mut late: Vec<i64> = fresh.map(|record| record.seen - record.ts).collect();
    late.sort_unstable();
    let (count, p99, worst) = (late.len(), late[late.len() * 99 / 100], late[late.len() - 1]);
    if is_long() {
        println!(
            "{gathered} readings of the backlog in {} s, {drained} a second; {count} live ones beside them, 99 % within \
             {p99} ms, all within {worst} ms",
            (last - first) / 1000
        );
    }
    assert!((rate() * 9 / 10..=rate() * 11 / 10).contains(&drained), "{drained} a second");
    assert!(count >= 10, "{count} live readings");
    assert!(p99 <= 2000, "99 % of the live readings came within {p99} ms");
}

/// Octets of all files below a folder.
fn octets(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    // A segment that gives way meanwhile is no longer there.
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    entries.map(|entry| if entry.path().is_dir() { octets(&entry.path()) } else { size(&entry.path()) }).sum()
}

#[test]
fn three_days_through_a_small_spool_never_take_more_than_its_cap_and_what_they_cost_is_counted_to_the_record()
{
    let folder = tempfile::tempdir().unwrap();
    let (cap, seconds) = (1u64 << 20, if is_long() { 3 * 86_400 } else { 40_000 });
    let config =
        spool::Config { dir: folder.path().join("spool"), max_size: cap, ..spool::Config::default() };
    let spool = crate::script::unlocked(|| spool::start(config.clone(), &["scada".to_owned()]));
    let (mut site, mut most) = (Site::new().unwrap(), 0);
    on_one_thread(async {
        let (writer, reader) = (spool.writer(), spool.reader("scada").unwrap());
        for n in 1..=seconds {
            let reading = site.next().unwrap();
            writer.append(reading.ts.0, record::encode(&reading)).await.unwrap();
            if n % 500 == 0 {
                spool.commit().await.unwrap();
                most = octets(&config.dir.join("v1")).max(most);
                assert!(most <= cap, "{most} octets after {n} s");
            }
        }
        spool.commit().await.unwrap();
        let account = reader.account().borrow().clone();
        let (dropped, oldest) = (account.dropped["spool-full"], reader.read(0, 1, usize::MAX).await.unwrap());
        assert_eq!((account.dropped.len(), account.sampled), (1, seconds));
        assert_eq!((dropped, account.pending), (oldest[0].position - 1, seconds - dropped));
        assert_eq!(account.gaps.iter().map(|gap| gap.count.unwrap()).sum::<u64>(), dropped);
        spool.close().await.unwrap();
        if is_long() {
            println!(
                "{seconds} s of the site in {cap} octets: {most} at most, {dropped} dropped and counted"
            );
        }
    });
}
