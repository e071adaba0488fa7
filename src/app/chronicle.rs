//! Events of all lines, kept for the upstreams. Owns nothing else.

use super::time::Timeline;
use crate::model::{Chronicle, Event};
use tokio::sync::{mpsc, watch};

/// Runs until the lines are gone, or there is nobody left to tell.
pub(super) async fn run(
    mut events: mpsc::Receiver<Event>,
    chronicle: watch::Sender<Chronicle>,
    time: Timeline,
) {
    while let Some(mut event) = events.recv().await {
        event.ts = time.dated(event.ts);
        chronicle.send_modify(|chronicle| chronicle.add(event));
    }
}
