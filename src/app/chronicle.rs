//! Events of all lines, kept for the upstreams. Owns nothing else.

use crate::model::{Chronicle, Event};
use tokio::sync::{mpsc, watch};

/// Runs until the lines are gone, or there is nobody left to tell.
pub(super) async fn run(mut events: mpsc::Receiver<Event>, chronicle: watch::Sender<Chronicle>) {
    while let Some(event) = events.recv().await {
        chronicle.send_modify(|chronicle| chronicle.add(event));
    }
}
