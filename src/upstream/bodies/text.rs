//! Sinks of text on this machine: a file, a pipe. They may block for seconds, so they write off the runtime's own threads.

use super::{Refusal, Sink};
use crate::encode::{Encoding, Loss, Numbered, Payload, Refused};
use crate::model::{Site, Timestamp};

/// Takes text and keeps it; may block.
pub(in crate::upstream) trait WriteText: Send + 'static {
    fn write(&mut self, text: &[u8]) -> Result<(), Refusal>;
}

pub(in crate::upstream) struct TextSink<W> {
    /// Away while it writes.
    inner: Option<W>,
    encoding: Encoding,
}

impl<W: WriteText> TextSink<W> {
    pub(in crate::upstream) fn new(inner: W, encoding: Encoding) -> TextSink<W> {
        TextSink { inner: Some(inner), encoding }
    }
}

impl<W: WriteText> Sink for TextSink<W> {
    fn encode(&self, readings: &[Numbered<'_>], site: &Site, room: usize) -> Result<Payload, Refused> {
        self.encoding.encode(readings, site, room)
    }

    fn gap(&self, now: Timestamp, loss: &Loss<'_>, site: &Site) -> Option<Vec<u8>> {
        self.encoding.gap(now, loss, site).map(String::into_bytes)
    }

    async fn write(&mut self, body: Vec<u8>) -> Result<(), Refusal> {
        let gone = || Refusal::Gone("the thread that writes has ended".to_owned());
        let mut inner = self.inner.take().ok_or_else(gone)?;
        let written = tokio::task::spawn_blocking(move || (inner.write(&body), inner)).await;
        let (written, inner) = written.map_err(|_| gone())?;
        self.inner = Some(inner);
        written
    }
}
