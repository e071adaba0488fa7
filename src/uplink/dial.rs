//! Opens a connection: name, addresses, TCP, and TLS where it is asked for.

use super::tls::{Secured, Tls, TlsError};
use crate::model::Timestamp;
use rustix::net::sockopt;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

/// Name, addresses and TLS share this.
const PATIENCE: Duration = Duration::from_secs(25);
/// Between one address and the next (RFC 8305, section 5: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// More than these are not tried.
const ADDRESSES: usize = 8;
/// How long what was sent may wait for the far end's acknowledgement before the connection is dead. Long enough for
/// a cellular cell change, short against the system's default of about fifteen minutes.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A far end as it is written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// Never leaves the machine.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{0}: the name is not known: {1}")]
    Name(Endpoint, io::Error),
    #[error("{0} refuses the connection: does it run, and listen on this port?")]
    Refused(Endpoint),
    #[error("{0} does not answer")]
    Silent(Endpoint),
    #[error("{0}: {1}")]
    Tcp(Endpoint, io::Error),
    #[error("{0}: {1}")]
    Tls(Endpoint, TlsError),
}

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    validity: Validity,
}

/// Until when certificates are valid, where there are some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// The far end's.
    pub theirs: Option<Timestamp>,
    pub ours: Option<Timestamp>,
}

impl Connection {
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Secures an open connection, for protocols that ask for TLS themselves; one that is secure stays as it is.
    ///
    /// # Errors
    /// As those of [`dial`].
    pub async fn secure(self, to: &Endpoint, tls: &Tls) -> Result<Connection, DialError> {
        match timeout(PATIENCE, secured(self, to, tls)).await {
            Ok(opened) => opened,
            Err(_) => Err(DialError::Silent(to.clone())),
        }
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// Connects, and with `tls` secures the connection, before it returns.
///
/// # Errors
/// In words for an operator; none of them is a reason to stop trying.
pub async fn dial(to: &Endpoint, tls: Option<&Tls>) -> Result<Connection, DialError> {
    match timeout(PATIENCE, open(to, tls)).await {
        Ok(opened) => opened,
        Err(_) => Err(DialError::Silent(to.clone())),
    }
}

async fn open(to: &Endpoint, tls: Option<&Tls>) -> Result<Connection, DialError> {
    let found = lookup_host((to.host.as_str(), to.port)).await;
    let addresses = found.map_err(|error| DialError::Name(to.clone(), error))?;
    let stream = race(addresses.take(ADDRESSES).collect()).await.map_err(|error| no_tcp(to, error))?;
    set_up(&stream).map_err(|error| DialError::Tcp(to.clone(), error))?;
    let plain = Connection { stream: Stream::Plain(stream), validity: Validity::default() };
    match tls {
        Some(tls) => secured(plain, to, tls).await,
        None => Ok(plain),
    }
}

async fn secured(connection: Connection, to: &Endpoint, tls: &Tls) -> Result<Connection, DialError> {
    let Stream::Plain(stream) = connection.stream else { return Ok(connection) };
    let secured = tls.secure(stream, &to.host).await.map_err(|error| DialError::Tls(to.clone(), error))?;
    let Secured { stream, validity } = secured;
    Ok(Connection { stream: Stream::Secure(Box::new(stream)), validity })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn no_tcp(to: &Endpoint, error: io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused(to.clone()),
        io::ErrorKind::TimedOut => DialError::Silent(to.clone()),
        _ => DialError::Tcp(to.clone(), error),
    }
}

/// The first address that answers; with none, what the last one said.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = true;
    loop {
        if next && let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let some_wait = !waiting.as_slice().is_empty();
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => (last, next) = (error, true),
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(last),
            },
            () = sleep(STAGGER), if some_wait => next = true,
        }
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(())
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Secure(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Secure(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Secure(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Secure(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn only_what_never_leaves_the_machine_is_loopback() {
        let is = |host: &str| Endpoint { host: host.to_owned(), port: 1 }.is_loopback();
        assert!(is("localhost") && is("127.0.0.1") && is("127.8.8.8") && is("::1"));
        assert!(!is("broker") && !is("10.0.0.1") && !is("localhost.example.org") && !is("0.0.0.0"));
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_next() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = closed.local_addr().unwrap();
        drop(closed);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        assert_eq!(race(vec![dead, alive]).await.unwrap().peer_addr().unwrap(), alive);
        assert_eq!(race(vec![dead, dead]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(race(vec![]).await.is_err());
    }

    #[tokio::test]
    async fn a_dead_path_is_noticed_by_the_socket_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let opened = dial(&Endpoint { host: "127.0.0.1".to_owned(), port }, None).await.unwrap();
        let Stream::Plain(stream) = &opened.stream else { panic!("not plain") };
        assert_eq!(sockopt::tcp_user_timeout(stream).unwrap(), 30_000);
        assert!(stream.nodelay().unwrap());
    }
}
