//! The way of a connection: sockets that are bound to it, and what is told of it.

use super::config::Config;
use super::dial::USER_TIMEOUT;
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// Name, addresses and TLS share this at most.
const PATIENCE: Duration = Duration::from_secs(25);
/// Beside the user timeout: how long it may take to find out that a path is dead.
const GRACE: Duration = Duration::from_secs(3);
/// On a path that is not paid by the octet: a silent connection is asked whether it lives.
const WIRED_IDLE: Duration = Duration::from_secs(30);
/// How often it is asked before it is dead.
const ASKED: u32 = 3;

/// What happened on a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// A connection was made.
    Opened,
    /// An octet arrived.
    Heard,
    /// A connection died of silence.
    Dead(String),
    /// A connection could not be made.
    Failed(String),
    /// A session is not answered.
    Unanswered,
}

#[derive(Debug)]
pub(super) struct Report {
    pub(super) index: usize,
    pub(super) news: News,
}

/// Over an uplink, or by the system's default route. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Path(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    index: usize,
    config: Config,
    reports: mpsc::Sender<Report>,
}

impl Path {
    pub(super) fn over(index: usize, config: Config, reports: mpsc::Sender<Report>) -> Path {
        Path(Some(Arc::new(Way { index, config, reports })))
    }

    pub(super) fn config(&self) -> Option<&Config> {
        self.0.as_ref().map(|way| &way.config)
    }

    pub(super) fn interface(&self) -> Option<&str> {
        self.config().map(|config| config.interface.as_str())
    }

    /// How long a connection may take to be made.
    pub(super) fn patience(&self) -> Duration {
        self.config().map_or(PATIENCE, |config| PATIENCE.min(config.user_timeout + GRACE))
    }

    /// What does not come through is told again by the next.
    pub(super) fn tell(&self, news: News) {
        if let Some(way) = &self.0 {
            let _ = way.reports.try_send(Report { index: way.index, news });
        }
    }

    /// A socket that is connected over this path, and knows when it is dead.
    pub(super) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(interface) = self.interface_to(to) {
            bound(interface, socket.bind_device(Some(interface.as_bytes())))?;
        }
        let timeout = self.config().map_or(USER_TIMEOUT, |config| config.user_timeout);
        sockopt::set_tcp_user_timeout(&socket, u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))?;
        if let Some(config) = self.config() {
            let idle = config.keep_alive.unwrap_or(WIRED_IDLE).max(Duration::from_secs(1));
            sockopt::set_socket_keepalive(&socket, true)?;
            sockopt::set_tcp_keepidle(&socket, idle)?;
            sockopt::set_tcp_keepintvl(&socket, (timeout / ASKED).max(Duration::from_secs(1)))?;
            sockopt::set_tcp_keepcnt(&socket, ASKED)?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A socket to a name server.
    pub(super) async fn udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        if let Some(interface) = self.interface_to(to) {
            bound(interface, socket.bind_device(Some(interface.as_bytes())))?;
        }
        socket.connect(to).await?;
        Ok(socket)
    }

    /// What never leaves the machine goes over no interface.
    fn interface_to(&self, to: SocketAddr) -> Option<&str> {
        self.interface().filter(|_| !to.ip().is_loopback())
    }
}

/// Why a socket can't be bound to an interface, in words.
fn bound(interface: &str, bound: io::Result<()>) -> io::Result<()> {
    bound.map_err(|error| {
        let text = if error.kind() == io::ErrorKind::PermissionDenied {
            format!(
                "not allowed to bind to the interface {interface}: before Linux 5.7 that needs CAP_NET_RAW"
            )
        } else {
            format!("cannot bind to the interface {interface}: {error}")
        };
        io::Error::new(error.kind(), text)
    })
}

/// Whether an error says that the path is dead, and not that somebody at its end has hung up.
#[expect(clippy::wildcard_enum_match_arm, reason = "an open set")]
pub(super) fn is_of_the_path(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => true,
        // The interface is gone.
        _ => error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()),
    }
}
