//! Connections to far ends: found, opened, secured, and known to be dead when they are.
//!
//! # Promises
//! - **A dead path is noticed.** What was written and is not acknowledged by the far end's kernel within
//!   half a minute breaks the connection; the system's own default waits for a quarter of an hour.
//! - **One dead address does not hide the living one.** All addresses of a name are tried, the next one a quarter of a
//!   second after the one before it, and the first that answers is taken (RFC 8305 without its finer points).
//! - **Nothing is said before it is known to whom.** With TLS the far end's certificate is checked against the given
//!   authorities, or the system's, and against the name that was dialled, before one octet of ours goes out. TLS 1.2 and
//!   1.3; nothing turns the check off.
//! - **Files are read at every connection**, so that a renewed certificate needs no restart.
//! - **Errors say what to do**, in words: which file, which name, until when a certificate was valid.
//!
//! The choice between Ethernet and cellular, budgets and failover will live here too; until then connections take the
//! system's default route.

mod certificate;
mod dial;
mod tls;

pub use dial::{Connection, DialError, Endpoint, Validity, dial};
pub use tls::{Identity, Problem, Tls, TlsError, said_by_tls};
