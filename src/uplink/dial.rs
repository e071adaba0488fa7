//! Opens a connection: name, addresses, TCP, and TLS where it is asked for.

use super::path::{News, Path, is_of_the_path};
use super::resolve;
use super::tls::{Secured, Tls, TlsError};
use crate::model::Timestamp;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;

/// Between one address and the next (RFC 8305, section 5: 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// More than these are not tried.
const ADDRESSES: usize = 8;
/// Of a connection that hears all the time this is told so often.
const HEARD_EVERY: Duration = Duration::from_secs(1);
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
    path: Path,
    /// When it was last told that something was heard.
    heard: Option<Instant>,
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
    /// As those of [`Dialler::dial`](super::Dialler::dial).
    pub async fn secure(self, to: &Endpoint, tls: &Tls) -> Result<Connection, DialError> {
        match timeout(self.path.patience(), secured(self, to, tls)).await {
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

/// Connects over a path, which is told what came of it, and with `tls` secures the connection before it returns.
///
/// # Errors
/// In words for an operator; none of them is a reason to stop trying.
pub(super) async fn dial_over(
    path: &Path,
    to: &Endpoint,
    tls: Option<&Tls>,
) -> Result<Connection, DialError> {
    let opened = match timeout(path.patience(), open(path, to, tls)).await {
        Ok(opened) => opened,
        Err(_) => Err(DialError::Silent(to.clone())),
    };
    match &opened {
        Ok(_) => path.tell(News::Opened),
        // What it refuses, it refuses on each path.
        Err(DialError::Refused(_) | DialError::Tls(..)) => {}
        Err(error @ (DialError::Name(..) | DialError::Silent(_) | DialError::Tcp(..))) => {
            path.tell(News::Failed(error.to_string()));
        }
    }
    opened
}

/// Whether the far end can be reached over this path; one that refuses can.
pub(super) async fn probe(path: &Path, to: &Endpoint) -> Result<(), DialError> {
    match timeout(path.patience(), reach(path, to)).await {
        Ok(Ok(_) | Err(DialError::Refused(_))) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(DialError::Silent(to.clone())),
    }
}

async fn reach(path: &Path, to: &Endpoint) -> Result<TcpStream, DialError> {
    let found = resolve::addresses(path, &to.host, to.port).await;
    let mut addresses = found.map_err(|error| DialError::Name(to.clone(), error))?;
    addresses.truncate(ADDRESSES);
    race(path, addresses).await.map_err(|error| no_tcp(to, error))
}

async fn open(path: &Path, to: &Endpoint, tls: Option<&Tls>) -> Result<Connection, DialError> {
    let stream = Stream::Plain(reach(path, to).await?);
    let plain = Connection { stream, validity: Validity::default(), path: path.clone(), heard: None };
    match tls {
        Some(tls) => secured(plain, to, tls).await,
        None => Ok(plain),
    }
}

async fn secured(connection: Connection, to: &Endpoint, tls: &Tls) -> Result<Connection, DialError> {
    let Connection { stream: Stream::Plain(stream), path, heard, .. } = connection else {
        return Ok(connection);
    };
    let secured = tls.secure(stream, &to.host).await.map_err(|error| DialError::Tls(to.clone(), error))?;
    let Secured { stream, validity } = secured;
    Ok(Connection { stream: Stream::Secure(Box::new(stream)), validity, path, heard })
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
async fn race(path: &Path, addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = true;
    loop {
        if next && let Some(address) = waiting.next() {
            let path = path.clone();
            attempts.spawn(async move { path.connect(address).await });
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

impl Connection {
    /// What an attempt to read or write says of the path.
    fn judge<T>(&mut self, is_life: bool, tried: &Poll<io::Result<T>>) {
        match tried {
            Poll::Ready(Ok(_)) if is_life => {
                let now = Instant::now();
                if self.heard.is_none_or(|told| now.duration_since(told) >= HEARD_EVERY) {
                    self.heard = Some(now);
                    self.path.tell(News::Heard);
                }
            }
            Poll::Ready(Err(error)) if is_of_the_path(error) => self.path.tell(News::Dead(error.to_string())),
            Poll::Ready(_) | Poll::Pending => {}
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buf.filled().len());
        let read = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Secure(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        this.judge(buf.filled().len() > before, &read);
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Secure(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        };
        this.judge(false, &written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Secure(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        };
        this.judge(false, &flushed);
        flushed
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
        let (alive, here) = (listener.local_addr().unwrap(), Path::default());
        assert_eq!(race(&here, vec![dead, alive]).await.unwrap().peer_addr().unwrap(), alive);
        assert_eq!(race(&here, vec![dead, dead]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(race(&here, vec![]).await.is_err());
    }

    #[tokio::test]
    async fn a_dead_path_is_noticed_by_the_socket_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let opened = dial_over(&Path::default(), &Endpoint { host: "127.0.0.1".to_owned(), port }, None)
            .await
            .unwrap();
        let Stream::Plain(stream) = &opened.stream else { panic!("not plain") };
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(stream).unwrap(), 30_000);
        assert!(stream.nodelay().unwrap());
    }
}
