//! From scan to record: normalises, packs, hands to the spool. Owns nothing.

use crate::bus::Scan;
use crate::model::Reading;
use crate::{normalize, record, spool};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs until the lines are gone. `stop` is for the end only, when a line that hangs in its driver
/// still holds a sender: then what is queued is handed on and the pump ends all the same.
pub(super) async fn run(
    mut scans: mpsc::Receiver<Scan>,
    spool: spool::Writer,
    onlooker: Option<mpsc::Sender<Reading>>,
    stop: CancellationToken,
) {
    loop {
        let scan = tokio::select! {
            biased;
            scan = scans.recv() => scan,
            () = stop.cancelled() => None,
        };
        let Some(scan) = scan else { return };
        let reading = normalize::reading(&scan, false);
        let octets = record::encode(&reading);
        if spool.append(reading.ts.0, octets).await.is_err() {
            return;
        }
        if let Some(onlooker) = &onlooker {
            // The onlooker only looks on: what it has no room for passes it by.
            let _ = onlooker.try_send(reading);
        }
    }
}
