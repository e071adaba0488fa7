//! Any part that ends unasked ends the gateway, with its name: never half a gateway.
//!
//! The fault is a clock that panics, or does not return, for whoever runs where the test says; everybody asks the clock.

use linesman::app::{self, Outside, RunError};
use linesman::config::{self, Config, Overlays};
use linesman::model::{Clock, Mono, SystemClock, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// Fails where `victim` says so, after some calls there that went well.
struct Failing {
    victim: fn(&str) -> bool,
    calls: AtomicU32,
}

impl Failing {
    fn look(&self) {
        let here = std::thread::current().name().is_some_and(self.victim);
        if here && self.calls.fetch_add(1, Ordering::SeqCst) == 3 {
            panic!("on purpose");
        }
    }
}

impl Clock for Failing {
    fn utc(&self) -> Timestamp {
        self.look();
        SystemClock.utc()
    }

    fn mono(&self) -> Mono {
        self.look();
        SystemClock.mono()
    }
}

fn config(folder: &Path) -> Config {
    let text = "\
gateway: { id: g }
lines:
  - name: a
    serial: { port: ./no-such-port }
    devices: [ { name: m, profile: eastron-sdm120, unit: 1 } ]
spool: { dir: spool }
upstreams: [ { name: f, file: { path: out.jsonl } } ]
";
    let config = config::parse("linesman.yaml", text, &Overlays::default(), folder, &[]);
    config.map_err(|problems| problems.to_string()).unwrap()
}

/// Runs a gateway until it ends; one that is told to stop ends well.
async fn run(folder: &Path, victim: fn(&str) -> bool, stop: CancellationToken) -> Result<(), RunError> {
    let (_orders, orders) = mpsc::channel(1);
    let outside = Outside {
        clock: Arc::new(Failing { victim, calls: AtomicU32::new(0) }),
        stop,
        orders,
        loader: Box::new(|| Err(config::Problems::one("no reload here"))),
        onlooker: None,
        capture: None,
        started: Box::new(drop),
    };
    timeout(PATIENCE, app::run(config(folder), outside)).await.expect("half a gateway goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lines_thread_that_panics_ends_the_gateway_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(dir.path(), |thread| thread == "line-a", CancellationToken::new()).await;
    let why = ended.unwrap_err().to_string();
    assert!(why.starts_with("line a ended unexpectedly"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_ends_the_gateway_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    // Three tasks ask the clock while nothing is read but that the port is away; it fails for whichever comes first.
    let ended = run(dir.path(), |thread| thread.starts_with("tokio"), CancellationToken::new()).await;
    let why = ended.unwrap_err().to_string();
    let tasks = ["the keeper of the time", "the chronicle of events", "the pump"];
    assert!(tasks.iter().any(|task| why.starts_with(&format!("{task} ended unexpectedly"))), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_fails_only_the_stop_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(run(dir.path(), |_| false, stop).await.is_ok());
}

/// Does not return to the thread of line a while it is held.
#[derive(Default)]
struct Held {
    held: AtomicBool,
    waits: AtomicBool,
}

impl Held {
    fn look(&self) {
        if std::thread::current().name() == Some("line-a") {
            while self.held.load(Ordering::SeqCst) {
                self.waits.store(true, Ordering::SeqCst);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
}

impl Clock for Held {
    fn utc(&self) -> Timestamp {
        self.look();
        SystemClock.utc()
    }

    fn mono(&self) -> Mono {
        self.look();
        SystemClock.mono()
    }
}

// The runtime's clock moves only while everybody waits: what is waited for five seconds takes none.
#[tokio::test(start_paused = true)]
async fn a_line_that_takes_long_to_stop_at_a_reload_begins_again_when_it_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let old = config(dir.path());
    let mut new = old.clone();
    new.lines[0].port =
        linesman::bus::PortConfig::Serial(linesman::bus::SerialConfig::new("/no-other", 9600));
    let clock = Arc::new(Held::default());
    let stop = CancellationToken::new();
    let (orders, orders_in) = mpsc::channel(1);
    let (told, started) = tokio::sync::oneshot::channel();
    let outside = Outside {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        stop: stop.clone(),
        orders: orders_in,
        loader: Box::new(move || Ok(new.clone())),
        onlooker: None,
        capture: None,
        started: Box::new(|started| told.send(started).unwrap_or(())),
    };
    let running = tokio::spawn(app::run(old, outside));
    let sources = started.await.unwrap().sources;
    let before = sources.borrow().lines[0].clone();
    clock.held.store(true, Ordering::SeqCst);
    until("the line is held", || clock.waits.load(Ordering::SeqCst)).await;
    orders.send(app::Order::Reload).await.unwrap();
    until("the reload is over", || sources.has_changed().unwrap()).await;
    clock.held.store(false, Ordering::SeqCst);
    let anew = || sources.borrow().lines.first().is_some_and(|line| !line.same_channel(&before));
    until("the line begins again", anew).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// By the clock on the wall: the runtime's own does not tell how long a thread has had.
async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}: it does not come to that");
        std::thread::park_timeout(Duration::from_millis(1));
        sleep(Duration::from_millis(10)).await;
    }
}
