//! A far end: what it is told to do, and what has arrived there.

use linesman::upstream::Kind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Device and stamp: no two records of these tests have both the same.
pub type Id = (String, i64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// Hangs up on whoever comes.
    Away,
    /// Takes, after so long.
    Slow(Duration),
    /// Hangs up without an answer to every so many messages.
    CutsAfter(usize),
    /// Hears and does not answer.
    Silent,
    /// Will never have this record.
    Refuses(Id),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub device: String,
    pub ts: i64,
    /// The value that each of these records has; `None` where it has others.
    pub n: Option<i64>,
    /// Where the format has them.
    pub number: Option<(String, u64)>,
}

impl Arrival {
    pub fn id(&self) -> Id {
        (self.device.clone(), self.ts)
    }
}

/// What is shared with the far end's thread.
#[derive(Debug)]
pub struct Shared {
    pub mood: Mood,
    pub arrived: Vec<Arrival>,
}

/// A far end that runs until it is dropped.
pub struct Far {
    shared: Arc<Mutex<Shared>>,
    /// Ends it.
    _alive: Box<dyn Send>,
    kind: Box<dyn Fn(&Path) -> Kind + Send>,
}

impl Far {
    pub fn new(
        shared: Arc<Mutex<Shared>>,
        alive: impl Send + 'static,
        kind: impl Fn(&Path) -> Kind + Send + 'static,
    ) -> Far {
        Far { shared, _alive: Box::new(alive), kind: Box::new(kind) }
    }

    pub fn mood(&self, mood: Mood) {
        self.shared.lock().unwrap().mood = mood;
    }

    pub fn arrived(&self) -> Vec<Arrival> {
        self.shared.lock().unwrap().arrived.clone()
    }

    /// How an upstream reaches it; files that it needs are put into the folder.
    pub fn kind(&self, folder: &Path) -> Kind {
        (self.kind)(folder)
    }
}

/// A kind as the contract sees it.
pub struct End {
    pub word: &'static str,
    /// A far end of it can refuse one record for good.
    pub refuses: bool,
    /// There is a size beyond which one record is given up.
    pub has_limit: bool,
    /// Starts a far end; it may use the folder.
    pub start: Box<dyn Fn(&Path) -> Far + Send + Sync>,
}

pub fn shared() -> Arc<Mutex<Shared>> {
    Arc::new(Mutex::new(Shared { mood: Mood::Takes, arrived: Vec::new() }))
}
