//! Connections to far ends: over which path, what that may cost, found, opened, secured, and known to be dead when they are.
//!
//! # Promises
//! - **A dead path is noticed.** What was written and is not acknowledged by the far end's kernel within the
//!   `user_timeout` (half a minute where there are no uplinks) breaks the connection; the system's own default waits for a
//!   quarter of an hour.
//! - **One dead address does not hide the living one.** All addresses of a name are tried, the next one a quarter of a
//!   second after the one before it, and the first that answers is taken (RFC 8305 without its finer points).
//! - **Nothing is said before it is known to whom.** With TLS the far end's certificate is checked against the given
//!   authorities, or the system's, and against the name that was dialled, before one octet of ours goes out. TLS 1.2 and
//!   1.3; nothing turns the check off.
//! - **Files are read at every connection**, so that a renewed certificate needs no restart.
//! - **Errors say what to do**, in words: which file, which name, until when a certificate was valid.
//! - **No uplinks configured, nothing changes**: connections take the system's default route, names are resolved by it.
//!
//! # Uplinks
//! An *uplink* is a network interface by name, in the owner's order of preference. Modem, SIM, DHCP and routes stay with
//! the system; a socket is bound to the interface (`SO_BINDTODEVICE`, which needs no privilege for a socket that is not
//! bound yet, Linux 5.7), whatever the default route is. What never leaves the machine takes no uplink.
//!
//! - **A path is judged by what happens on it** (`choice.rs`, pure): octets that arrive, connections that die of silence,
//!   dials that fail, the interface's carrier. A failure counts only where nothing else was heard on that path: a far end
//!   that is down is no path that is down.
//! - **The preferred path that works is taken.** Back to a better one only after it has worked for `stable_for`
//!   on end, by probes (a TCP connection to the far end, closed at once); each return that fails soon doubles that time.
//! - **Make before break.** A session goes back only when a connection over the new path stands; then it ends in order, and
//!   the next one begins on it. Where the old path is dead there is nothing to wait for.
//! - **Octets are counted at the interface** (`/sys/class/net/X/statistics`), both directions, all programs, with IP
//!   and TLS, without Ethernet's header: what the operator of the network counts. The kernel's count of one
//!   connection (`TCP_INFO`) is not to be had without `unsafe`. At 80 % of a budget batches stretch to three times,
//!   at 100 % only alarms go; history never takes more than half of what is left (`budget.rs`, pure).
//!
//! # Names
//! The C library resolves over the default route, which may be the dead one. So with uplinks: literal addresses, then
//! `/etc/hosts`, then a query of our own (`dns.rs`, pure) from a socket bound to the same interface to the servers of
//! `/etc/resolv.conf`, or where those are on this machine, to the ones that systemd-resolved or NetworkManager keep
//! behind it. A server on this machine is asked without binding when there is nothing else. A few lines do: a resolver
//! crate brings a cache, a runtime of its own and some forty crates, and none binds its sockets to an interface.

mod budget;
mod certificate;
mod choice;
mod config;
mod dial;
mod dns;
mod interface;
mod link;
mod path;
mod paths;
mod resolve;
mod tls;

pub use budget::{Ledger, Stage};
pub use config::{Allow, Budget, Config};
pub use dial::{Connection, DialError, Endpoint, Validity};
pub use link::{Dialler, Link, Policy};
pub use paths::{Paths, Surroundings};
pub use tls::{Identity, Problem, Tls, TlsError, said_by_tls};
