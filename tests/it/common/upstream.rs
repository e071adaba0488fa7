//! One upstream, `u`, over a spool of its own: what of a gateway it needs, and no more.

use linesman::model::{Chronicle, Dating, Event, EventKind, Site, SystemClock, Timestamp};
use linesman::spool::{self, Account, Spool};
use linesman::upstream::{self, Kind, Running};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A folder with the spool in it, before anybody delivers.
pub struct Ground {
    pub dir: tempfile::TempDir,
    pub spool: Spool,
}

impl Ground {
    pub fn new() -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let config =
            spool::Config { dir: dir.path().join("spool"), max_size: 8 << 20, ..spool::Config::default() };
        let spool = spool::start(config, &["u".to_owned()]).unwrap();
        Ground { dir, spool }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn deliver(self, site: Site, config: upstream::Config) -> Gateway {
        let Ground { dir, spool } = self;
        let (site_tx, site) = watch::channel(Arc::new(site));
        let (events_tx, events) = watch::channel(Chronicle::default());
        let (dating_tx, dating) = watch::channel(Arc::new(Dating::default()));
        let stop = CancellationToken::new();
        let around = upstream::Surroundings {
            site,
            events,
            version: "0",
            refused: dir.path().join("refused"),
            folder: dir.path().to_owned(),
            clock: Arc::new(SystemClock),
            dating,
            link: linesman::uplink::Link::default(),
            stop: stop.clone(),
        };
        let running = upstream::start(config, spool.reader("u").unwrap(), around);
        Gateway { spool, running, stop, events: events_tx, dating: dating_tx, dir, _site: site_tx }
    }
}

/// The upstream's configuration, as where nothing is said but its kind.
pub fn config(kind: Kind) -> upstream::Config {
    upstream::Config::new("u".parse().unwrap(), kind)
}

pub struct Gateway {
    pub spool: Spool,
    pub running: Running,
    pub stop: CancellationToken,
    pub events: watch::Sender<Chronicle>,
    pub dating: watch::Sender<Arc<Dating>>,
    pub dir: tempfile::TempDir,
    /// Kept, so that meta does not end.
    _site: watch::Sender<Arc<Site>>,
}

impl Gateway {
    /// The account as it is now.
    pub fn account(&self) -> Account {
        self.spool.reader("u").unwrap().account().borrow().clone()
    }

    /// A line goes, at this moment.
    pub fn happens(&self, n: i64) {
        let (line, kind) = ("rs485".parse().unwrap(), EventKind::LineDown);
        let event = Event { ts: Timestamp(n), kind, line, device: None, text: "gone".into() };
        self.events.send_modify(|chronicle| chronicle.add(event));
    }

    /// What was set aside, a line each.
    pub fn aside(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("refused/u.jsonl")).unwrap()
    }
}
