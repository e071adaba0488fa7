//! A TCP connection to a serial device server as a [`Link`]: RTU frames pass through it as they are.

use super::link::Link;
use super::resolve::Resolver;
use crate::model::{Clock, Mono, SystemClock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a connection may take to be made, to each address of the name.
const CONNECT: Duration = Duration::from_secs(5);
/// The stop is looked at this often, …
const LOOK: Duration = Duration::from_millis(100);
/// … and a wait that ends within this is let end: mostly the transaction is finished by it.
const ENOUGH_TO_FINISH: Duration = Duration::from_millis(300);
/// Octets that the far end's kernel has not acknowledged after this end the connection: a far end that has lost
/// its power says nothing, and the kernel by itself would go on for a quarter of an hour.
pub(super) const UNACKNOWLEDGED_MS: u32 = 10_000;
/// A connection on which nothing is said is asked for after this, so that a far end that is gone is noticed.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct SocketLink {
    stream: TcpStream,
    stop: CancellationToken,
}

impl SocketLink {
    pub fn open(address: &str, stop: CancellationToken) -> io::Result<SocketLink> {
        SocketLink::open_found(&mut Resolver::new(address), stop)
    }

    pub(super) fn open_found(resolver: &mut Resolver, stop: CancellationToken) -> io::Result<SocketLink> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in resolver.find_soon(&stop)? {
            match connect(address, &stop) {
                Ok(stream) => {
                    settle(&stream)?;
                    return Ok(SocketLink { stream, stop });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn wait_for(&self, events: PollFlags, until: Mono) -> io::Result<bool> {
        wait(&self.stream, events, until, &self.stop, ENOUGH_TO_FINISH)
    }
}

/// Small frames at once, and a far end that is gone noticed.
pub(super) fn settle(stream: &impl std::os::fd::AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE)?;
    Ok(())
}

fn connect(address: SocketAddr, stop: &CancellationToken) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let until = SystemClock.mono().plus(CONNECT);
    if !wait(&socket, PollFlags::OUT, until, stop, Duration::ZERO)? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection"));
    }
    sockopt::socket_error(&socket)??;
    Ok(TcpStream::from(socket))
}

/// Waits until the socket is ready or the time has come; an error soon after the stop.
fn wait(
    socket: &impl std::os::fd::AsFd,
    events: PollFlags,
    until: Mono,
    stop: &CancellationToken,
    enough: Duration,
) -> io::Result<bool> {
    loop {
        let rest = until.since(SystemClock.mono());
        if stop.is_cancelled() && rest > enough {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
        }
        let span = rest.min(LOOK);
        let timeout = Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(span.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(socket, events)], Some(&timeout)) {
            Ok(0) if SystemClock.mono() < until => {}
            Ok(n) => return Ok(n > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Link for SocketLink {
    fn now(&self) -> Mono {
        SystemClock.mono()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.stream, buffer) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the far end closed the connection")),
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match rustix::net::send(&self.stream, octets, rustix::net::SendFlags::NOSIGNAL) {
            Ok(n) => Ok(n),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// When its wire has sent them, only the far server knows.
    fn output_is_empty(&self) -> bool {
        true
    }

    fn discard_input(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait_readable(&mut self, until: Mono) -> io::Result<bool> {
        self.wait_for(PollFlags::IN, until)
    }

    fn wait_writable(&mut self, until: Mono) -> io::Result<()> {
        self.wait_for(PollFlags::OUT, until).map(drop)
    }

    fn pause(&mut self, until: Mono) -> io::Result<()> {
        // On a line that babbles nothing else is waited for, and so nowhere else the stop would be seen.
        if self.stop.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
        }
        std::thread::park_timeout(until.since(self.now()));
        Ok(())
    }
}
