//! From scan to record: normalises, packs, hands to the spool. Owns nothing.

use super::meters::Meters;
use super::time::Timeline;
use crate::bus::Scan;
use crate::model::Reading;
use crate::{record, spool};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Scans handed on together at most.
const BATCH: usize = 64;
/// Where scans come thick and fast they are handed on no sooner than this after the ones before, unless a
/// whole batch waits: each time wakes the spool's thread, every upstream, and the far end. A scan that comes
/// after a pause goes on at once.
const BETWEEN: Duration = Duration::from_millis(10);

/// Runs until the lines are gone. `stop` is for the end only, when a line that hangs in its driver
/// still holds a sender: then what is queued is handed on and the pump ends all the same. `batches` shows the
/// watchdog that it turns.
pub(super) async fn run(
    mut scans: mpsc::Receiver<Scan>,
    spool: spool::Writer,
    time: Timeline,
    onlooker: Option<mpsc::Sender<Reading>>,
    batches: watch::Sender<u64>,
    mut meters: Meters,
    stop: CancellationToken,
) {
    let (mut batch, mut not_before) = (Vec::with_capacity(BATCH), Instant::now());
    loop {
        let taken = tokio::select! {
            biased;
            taken = scans.recv_many(&mut batch, BATCH) => taken,
            () = stop.cancelled() => 0,
        };
        if taken == 0 {
            return meters.close().await;
        }
        if taken < BATCH && Instant::now() < not_before {
            sleep_until(not_before).await;
            while batch.len() < BATCH
                && let Ok(scan) = scans.try_recv()
            {
                batch.push(scan);
            }
        }
        not_before = Instant::now() + BETWEEN;
        let stamped = |scan: Scan| {
            let mut reading = meters.reading(&scan);
            time.stamp(&mut reading);
            reading
        };
        let readings: Vec<Reading> = batch.drain(..).map(stamped).collect();
        meters.look();
        let records = readings.iter().map(|reading| (reading.ts.0, record::encode(reading)));
        if spool.append_all(records.collect()).await.is_err() {
            return meters.close().await;
        }
        batches.send_modify(|batches| *batches += 1);
        if let Some(onlooker) = &onlooker {
            for reading in readings {
                // The onlooker only looks on: what it has no room for passes it by.
                let _ = onlooker.try_send(reading);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::meters::tests::meters;
    use crate::model::Timestamp;
    use crate::profile;
    use std::path::Path;
    use std::sync::Arc;

    fn scan(n: i64, profile: &Arc<profile::Profile>) -> Scan {
        let (device, profile) = ("m".parse().unwrap(), Arc::clone(profile));
        Scan { device, profile, ts: Timestamp(n), took: Duration::ZERO, fields: Vec::new() }
    }

    #[tokio::test]
    async fn every_scan_becomes_one_record_in_order_however_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let config = spool::Config { dir: dir.path().to_owned(), ..spool::Config::default() };
        let spool = spool::start(config, &["u".to_owned()]).unwrap();
        let profile = profile::find("eastron-sdm120", Path::new("."), &[]).unwrap();
        let (scans, scans_in) = mpsc::channel(1024);
        let (meters, ..) = meters(dir.path());
        let pump = tokio::spawn(run(
            scans_in,
            spool.writer(),
            Timeline::still(),
            None,
            watch::Sender::new(0),
            meters,
            CancellationToken::new(),
        ));
        // One alone, some that come while the pump waits, more than a batch, and what is left at the end.
        let mut sent = 0;
        for burst in [1, 5, 200, 3] {
            for _ in 0..burst {
                sent += 1;
                scans.send(scan(sent, &profile)).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
        drop(scans);
        pump.await.unwrap();
        spool.commit().await.unwrap();
        let reader = spool.reader("u").unwrap();
        let mut stamps = Vec::new();
        while stamps.len() < reader.head() as usize {
            let records = reader.read(stamps.len() as u64, 64, 1 << 20).await.unwrap();
            stamps.extend(records.iter().map(|stored| record::decode(&stored.octets).unwrap().ts.0));
        }
        assert_eq!(stamps, (1..=209).collect::<Vec<_>>());
        spool.close().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_after_a_pause_goes_on_at_once_and_those_that_follow_wait_for_company() {
        let dir = tempfile::tempdir().unwrap();
        let config = spool::Config { dir: dir.path().to_owned(), ..spool::Config::default() };
        let spool = spool::start(config, &["u".to_owned()]).unwrap();
        let profile = profile::find("eastron-sdm120", Path::new("."), &[]).unwrap();
        let (scans, scans_in) = mpsc::channel(1024);
        let (shown, mut seen) = mpsc::channel(1024);
        let (meters, ..) = meters(dir.path());
        tokio::spawn(run(
            scans_in,
            spool.writer(),
            Timeline::still(),
            Some(shown),
            watch::Sender::new(0),
            meters,
            CancellationToken::new(),
        ));
        let start = Instant::now();
        let mut arrived = Vec::new();
        for n in 1..=3 {
            scans.send(scan(n, &profile)).await.unwrap();
            if n != 2 {
                arrived.push((seen.recv().await.unwrap().ts.0, start.elapsed() < BETWEEN));
            }
        }
        arrived.push((seen.recv().await.unwrap().ts.0, start.elapsed() < BETWEEN));
        assert_eq!(arrived, [(1, true), (2, false), (3, false)]);
    }
}
