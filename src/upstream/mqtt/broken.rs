//! Why a connection cannot be made, or has broken, in words.

use crate::uplink::{self, DialError, Endpoint, Problem, TlsError};
use std::io;

/// A wrong clock makes good certificates look bad.
pub(super) fn undialled(error: &DialError, clock_unsure: bool) -> String {
    let by_date = matches!(
        error,
        DialError::Tls(_, TlsError::Certificate { problem: Problem::Expired | Problem::NotYetValid, .. })
    );
    let doubt = if by_date && clock_unsure {
        " (or this machine's clock is wrong: it is not known to be right yet)"
    } else {
        ""
    };
    format!("{error}{doubt}")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
pub(super) fn io_sentence(error: &io::Error, to: &Endpoint) -> String {
    if let Some(said) = uplink::said_by_tls(error) {
        return format!("{to}: {said}");
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => format!("{to} closed the connection"),
        io::ErrorKind::TimedOut => format!("{to} does not acknowledge what is sent: the path is dead"),
        _ => format!("{to}: {error}"),
    }
}
