//! Octets on their way to the socket.

use crate::uplink::Connection;
use bytes::BytesMut;
use std::io;
use tokio::io::{AsyncWriteExt, WriteHalf};

/// Writes some of it, or, where there is nothing left to write, sees to it that all goes out: `true`. Nothing is lost where
/// this is not waited for to the end.
pub(super) async fn push(writer: &mut WriteHalf<Connection>, output: &mut BytesMut) -> io::Result<bool> {
    if output.is_empty() {
        writer.flush().await.map(|()| true)
    } else {
        writer.write_buf(output).await.map(|_| false)
    }
}
