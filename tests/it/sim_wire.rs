//! What the simulated line does on a real pseudo-terminal and on TCP, seen by a master of this test's own.

use linesman::modbus::rtu::Pace;
use linesman::modbus::{Ask, AskReply, Framing, ReadFunction, ReadRequest, ascii, mbap, rtu};
use linesman::model::{Clock, Mono, SystemClock};
use linesman::profile;
use linesman::sim::tcp::{self, TcpConfig};
use linesman::sim::wire::{self, Wire, WireConfig};
use linesman::sim::{Faults, Meter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long anything may take that must happen; never what is measured.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any answer here takes.
const NO_MORE: Duration = Duration::from_millis(400);

fn meters(units: &[u8]) -> Vec<Meter> {
    let profile = profile::find("xy-md02-sht20", Path::new("."), &[]).unwrap();
    units.iter().map(|unit| Meter::new(profile.clone(), *unit, 1)).collect()
}

fn faults(words: &[&str]) -> Faults {
    Faults::new(words.iter().map(|word| word.parse().unwrap()).collect(), 1)
}

/// An answer is heard a moment before it is counted.
fn counted(wire: &Wire, requests: u64) -> wire::Statistics {
    let end = now().plus(PATIENCE);
    while wire.statistics().requests < requests && now() < end {
        wait_until(now().plus(Duration::from_millis(1)));
    }
    wire.statistics()
}

fn two_registers() -> Ask {
    Ask::from(ReadRequest::new(ReadFunction::InputRegisters, 1, 2).unwrap())
}

/// A master that says exactly what a test wants, when it wants it.
struct Master {
    fd: OwnedFd,
    heard: Vec<u8>,
}

impl Master {
    fn at(wire: &Wire) -> Master {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
        Master { fd: rustix::fs::open(wire.path(), flags, Mode::empty()).unwrap(), heard: Vec::new() }
    }

    fn say(&self, octets: &[u8]) {
        assert_eq!(rustix::io::write(&self.fd, octets), Ok(octets.len()));
    }

    /// What comes until so many octets are there, or until nothing comes for this long.
    fn hear(&mut self, octets: usize, quiet: Duration) -> Vec<u8> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(quiet.as_nanos()).unwrap() };
        let mut buffer = [0; 1024];
        while self.heard.len() < octets {
            if poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)).unwrap() == 0 {
                break;
            }
            let n = rustix::io::read(&self.fd, &mut buffer).unwrap();
            self.heard.extend_from_slice(&buffer[..n]);
        }
        std::mem::take(&mut self.heard)
    }
}

fn now() -> Mono {
    SystemClock.mono()
}

fn wait_until(moment: Mono) {
    while now() < moment {
        std::hint::spin_loop();
    }
}

#[test]
fn a_master_that_keeps_the_silence_exactly_is_never_said_to_be_too_soon() {
    let config = WireConfig { faults: faults(&["strict"]), ..WireConfig::new(meters(&[1]), 19_200) };
    let pace = config.pace;
    let wire = wire::start(config).unwrap();
    let mut master = Master::at(&wire);
    for _ in 0..30 {
        master.say(&rtu::frame(1, &two_registers().pdu()));
        assert_eq!(master.hear(9, Duration::from_millis(900)).len(), 9, "it is answered");
        wait_until(now().plus(pace.silence()));
    }
    let seen = counted(&wire, 30);
    assert_eq!((seen.requests, seen.too_soon), (30, 0), "{seen:?}");
    assert!(seen.shortest_silence.unwrap() >= pace.silence());
}

#[test]
fn a_request_that_follows_too_soon_is_counted_and_ignored_by_meters_that_insist() {
    for (words, is_answered) in [(vec!["2:strict"], true), (vec!["strict"], false)] {
        // Slow: 3.5 characters are 29 ms, which nobody is late by every time.
        let config = WireConfig { faults: faults(&words), ..WireConfig::new(meters(&[1, 2]), 1200) };
        let pace = config.pace;
        let wire = wire::start(config).unwrap();
        let mut master = Master::at(&wire);
        let request = rtu::frame(1, &two_registers().pdu());
        let mut answered = 0;
        for _ in 0..3 {
            wait_until(now().plus(pace.silence()));
            master.say(&request);
            assert_eq!(master.hear(9, Duration::from_millis(900)).len(), 9);
            master.say(&request);
            answered += u64::from(master.hear(9, NO_MORE).len() == 9);
        }
        let seen = counted(&wire, 6);
        assert!(seen.requests == 6 && seen.too_soon >= 1 && seen.too_soon <= 3, "{seen:?}");
        let due = if is_answered { 3 } else { 3 - seen.too_soon };
        assert_eq!((answered, seen.replies), (due, 3 + due), "{words:?} {seen:?}");
    }
}

#[test]
fn ascii_takes_its_time_with_seven_data_bits_and_is_never_faster_than_the_wire() {
    let pace = Pace::new(9600, true, 1).with_data_bits(7);
    let turnaround = Duration::from_millis(10);
    let config =
        WireConfig { pace, framing: Framing::Ascii, turnaround, ..WireConfig::new(meters(&[1]), 9600) };
    let wire = wire::start(config).unwrap();
    let mut master = Master::at(&wire);
    let ask = two_registers();
    for _ in 0..5 {
        let before = now();
        let octets = ascii::octets_for(ask.longest_reply());
        master.say(&ascii::frame(1, &ask.pdu()));
        let reply = master.hear(octets, Duration::from_millis(900));
        let took = now().since(before);
        let (unit, pdu) = ascii::unframe(&reply).unwrap();
        assert_eq!(unit, 1);
        assert!(matches!(ask.read_reply(&pdu), Ok(AskReply::Data(data)) if data.len() == 4));
        let least = pace.octets(ascii::octets_for(5) + octets) + turnaround;
        assert!(took >= least, "{took:?} where the wire needs {least:?}");
    }
    assert_eq!(wire.statistics().too_soon, 0, "ASCII has no silence to break");
}

#[test]
fn an_echo_comes_before_the_reply_and_only_once() {
    let config = WireConfig { faults: faults(&["echo"]), ..WireConfig::new(meters(&[1]), 19_200) };
    let wire = wire::start(config).unwrap();
    let mut master = Master::at(&wire);
    let request = rtu::frame(1, &two_registers().pdu());
    master.say(&request);
    let heard = master.hear(usize::MAX, NO_MORE);
    assert_eq!(heard.get(..8), Some(&request[..]));
    assert_eq!(rtu::unframe(&heard[8..]).unwrap().1.len(), 6);
    // Nobody has this unit id; the adapter hears itself all the same.
    let request = rtu::frame(9, &two_registers().pdu());
    master.say(&request);
    assert_eq!(master.hear(usize::MAX, NO_MORE), request);
}

#[test]
fn who_babbles_does_so_for_its_time_and_nobody_is_understood_meanwhile() {
    let config = WireConfig { faults: faults(&["babble@0-1"]), ..WireConfig::new(meters(&[1]), 9600) };
    let wire = wire::start(config).unwrap();
    let mut master = Master::at(&wire);
    let request = rtu::frame(1, &two_registers().pdu());
    assert!(master.hear(20, PATIENCE.min(Duration::from_millis(900))).len() >= 20);
    master.say(&request);
    let rest = master.hear(usize::MAX, NO_MORE);
    // A second is 960 characters; some may have been over before the terminal was opened.
    assert!(rest.len() < 960, "{} octets", rest.len());
    assert_eq!(wire.statistics().requests, 0);
    master.say(&request);
    assert_eq!(master.hear(9, Duration::from_millis(900)).len(), 9);
    assert_eq!(counted(&wire, 1).requests, 1);
}

#[test]
fn another_master_is_heard_asking_unit_1_again_and_again() {
    let config = WireConfig { faults: faults(&["master"]), ..WireConfig::new(meters(&[1]), 19_200) };
    let wire = wire::start(config).unwrap();
    let mut master = Master::at(&wire);
    let end = Instant::now() + PATIENCE;
    let mut dialogues = 0;
    while dialogues < 3 {
        assert!(Instant::now() < end, "waited in vain");
        let heard = master.hear(8 + 9, Duration::from_millis(900));
        let Some((request, reply)) = heard.split_at_checked(8) else { continue };
        let (unit, pdu) = rtu::unframe(request).unwrap();
        let asked = Ask::decode(pdu).unwrap();
        assert_eq!((unit, asked.longest_reply()), (1, 6));
        let (unit, pdu) = rtu::unframe(reply).unwrap();
        assert!(unit == 1 && asked.read_reply(pdu).is_ok());
        dialogues += 1;
    }
    assert_eq!(wire.statistics().requests, 0, "they are not ours");
    master.say(&rtu::frame(1, &two_registers().pdu()));
    assert!(master.hear(9, Duration::from_millis(900)).len() >= 9);
}

async fn served(config: TcpConfig, stop: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(tcp::serve_with(listener, config, stop));
    address
}

/// The transaction numbers of the replies to twenty requests in one go, in their order.
async fn order_of_replies(config: TcpConfig) -> Vec<u16> {
    let stop = CancellationToken::new();
    let mut stream = TcpStream::connect(served(config, stop.clone()).await).await.unwrap();
    let requests: Vec<u8> = (0..20).flat_map(|n| mbap::encode(n, 1, &two_registers().pdu())).collect();
    stream.write_all(&requests).await.unwrap();
    let (mut arrived, mut order) = (Vec::new(), Vec::new());
    while order.len() < 20 {
        let mut buffer = [0; 512];
        let n = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(n > 0, "the meters have hung up");
        arrived.extend_from_slice(&buffer[..n]);
        while let Some(adu) = mbap::take(&mut arrived).unwrap() {
            assert!(two_registers().read_reply(&adu.pdu).is_ok() && adu.unit == 1);
            order.push(adu.transaction);
        }
    }
    stop.cancel();
    order
}

#[tokio::test]
async fn replies_on_tcp_come_in_order_or_in_any_order_and_each_once() {
    let in_order: Vec<u16> = (0..20).collect();
    let plain = TcpConfig::new(meters(&[1]));
    let statistics = plain.statistics.subscribe();
    assert_eq!(order_of_replies(plain).await, in_order);
    let seen = *statistics.borrow();
    assert_eq!((seen.requests, seen.replies), (20, 20));
    let shuffled = order_of_replies(TcpConfig { shuffle: true, ..TcpConfig::new(meters(&[1])) }).await;
    assert_ne!(shuffled, in_order);
    let mut sorted = shuffled;
    sorted.sort_unstable();
    assert_eq!(sorted, in_order);
}

#[tokio::test]
async fn serial_frames_over_tcp_have_the_faults_of_frames() {
    for (words, wanted) in [(vec![], 9), (vec!["short=1"], 4), (vec!["twin"], 18), (vec!["drop=1"], 0)] {
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = TcpConfig { faults: faults(&words), ..TcpConfig::new(meters(&[1])) };
        tokio::spawn(tcp::serve_rtu(listener, config, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // In pieces, as a device server may pass them on.
        let request = rtu::frame(1, &two_registers().pdu());
        stream.write_all(&request[..3]).await.unwrap();
        stream.write_all(&request[3..]).await.unwrap();
        let mut heard = Vec::new();
        let mut buffer = [0; 64];
        while let Ok(n) = tokio::time::timeout(NO_MORE, stream.read(&mut buffer)).await {
            heard.extend_from_slice(&buffer[..n.unwrap()]);
        }
        assert_eq!(heard.len(), wanted, "{words:?}");
        stop.cancel();
    }
}
