//! The addresses of a host's name, looked up on a thread of its own.
//!
//! The C library asks each name server in turn and waits for seconds, and nobody can call it back. Whoever asks here
//! waits as long as it likes; a look-up that has not come back by then goes on, and its answer, good or bad, is the
//! next one's. There is never more than one of a name under way. An address in figures needs no look-up.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};
use tokio_util::sync::CancellationToken;

/// How long a line's thread waits for a name at a time: meanwhile it gives no sign of life.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks whether the answer, or the stop, has come.
const LOOK: Duration = Duration::from_millis(10);

type Found = io::Result<Vec<SocketAddr>>;
type Lookup = fn(&str) -> Found;

/// Looks one name up, again and again.
#[derive(Debug)]
pub(super) struct Resolver {
    address: String,
    lookup: Lookup,
    under_way: Option<Receiver<Found>>,
}

impl Resolver {
    /// `address` is a host, by name or in figures, and a port.
    pub(super) fn new(address: &str) -> Resolver {
        Resolver::by(address, |address| Ok(address.to_socket_addrs()?.collect()))
    }

    /// With another way to look names up: for tests.
    pub(super) fn by(address: &str, lookup: Lookup) -> Resolver {
        Resolver { address: address.to_owned(), lookup, under_way: None }
    }

    /// Waits until the answer is there. Nothing is lost when this is given up.
    pub(super) async fn find(&mut self) -> Found {
        if let Ok(address) = self.address.parse() {
            return Ok(vec![address]);
        }
        let found = self.under_way()?.await;
        self.under_way = None;
        found.unwrap_or_else(|_| Err(no_answer()))
    }

    /// The same for a thread, which waits for a while only, and no longer than until the stop.
    pub(super) fn find_soon(&mut self, stop: &CancellationToken) -> Found {
        if let Ok(address) = self.address.parse() {
            return Ok(vec![address]);
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.under_way()?.try_recv() {
                Err(TryRecvError::Empty) if stop.is_cancelled() => {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
                }
                Err(TryRecvError::Empty) if Instant::now() < until => std::thread::park_timeout(LOOK),
                Err(TryRecvError::Empty) => return Err(no_answer()),
                Ok(found) => {
                    self.under_way = None;
                    return found;
                }
                Err(TryRecvError::Closed) => {
                    self.under_way = None;
                    return Err(no_answer());
                }
            }
        }
    }

    fn under_way(&mut self) -> io::Result<&mut Receiver<Found>> {
        let under_way = match self.under_way.take() {
            Some(under_way) => under_way,
            None => {
                let (tell, told) = oneshot::channel();
                let (address, lookup) = (self.address.clone(), self.lookup);
                let thread = std::thread::Builder::new().name("look-up".to_owned());
                thread.spawn(move || {
                    // Whoever asked may be gone.
                    let _ = tell.send(lookup(&address));
                })?;
                told
            }
        };
        Ok(self.under_way.insert(under_way))
    }
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer about the name from the name server")
}

#[cfg(test)]
pub(in crate::bus) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A name server that does not answer as long as the process lives.
    pub(in crate::bus) fn never(_: &str) -> Found {
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn an_address_in_figures_is_asked_of_nobody() {
        let stop = CancellationToken::new();
        for address in ["192.0.2.7:502", "[2001:db8::7]:502"] {
            let found = Resolver::by(address, never).find_soon(&stop).unwrap();
            assert_eq!(found, [address.parse::<SocketAddr>().unwrap()]);
        }
    }

    #[test]
    fn a_name_server_that_hangs_holds_up_neither_the_stop_nor_the_line_and_is_asked_once() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let count = |_: &str| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            never("")
        };
        let mut resolver = Resolver::by("server:502", count);
        let stop = CancellationToken::new();
        assert_eq!(resolver.find_soon(&stop).unwrap_err().kind(), io::ErrorKind::TimedOut);
        stop.cancel();
        assert_eq!(resolver.find_soon(&stop).unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_look_up_that_was_given_up_serves_the_next_one() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        static ANSWER: AtomicU32 = AtomicU32::new(0);
        let slow = |_: &str| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            while ANSWER.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            Ok(vec![SocketAddr::from(([192, 0, 2, 7], 502))])
        };
        let mut resolver = Resolver::by("server:502", slow);
        assert!(tokio::time::timeout(Duration::from_millis(1), resolver.find()).await.is_err());
        ANSWER.store(1, Ordering::SeqCst);
        assert_eq!(resolver.find().await.unwrap(), [SocketAddr::from(([192, 0, 2, 7], 502))]);
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        // And then it is looked up anew.
        resolver.find().await.unwrap();
        assert_eq!(ASKED.load(Ordering::SeqCst), 2);
    }
}
