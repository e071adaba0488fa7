//! What has to be the same after a restart: the aliases, and the number of the last session.
//!
//! `sparkplug/NAME.json` in the spool's folder: `{"format":1,"next":8,"node":{NAME:ALIAS},"devices":{DEVICE:{POINT:ALIAS}}}`.
//! Aliases count up over node and devices from 1 and are never given again.
//! `sparkplug/NAME.bdseq.json`: `{"format":1,"bdseq":0}`, the number that the last CONNECT took, written before it goes out.
//! A disk that does not take them stops nobody: each birth says again what an alias means.

use crate::model::Name;
use crate::spool::document;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::task::spawn_blocking;

const FORMAT: u32 = 1;
/// A thousand devices of a hundred points have 3 MB.
const LARGEST: u64 = 64 << 20;
/// No session yet.
const NONE: u16 = u16::MAX;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Aliases {
    format: u32,
    next: u64,
    node: BTreeMap<String, u64>,
    devices: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Session {
    format: u32,
    bdseq: u8,
}

#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    name: Name,
    aliases: Aliases,
    is_saved: bool,
    /// The number of the last session that was asked for, or [`NONE`].
    bdseq: Arc<AtomicU16>,
}

impl Kept {
    /// What is known from before; what cannot be read is begun anew.
    pub(super) fn load(folder: &Path, name: &Name) -> Kept {
        let folder = folder.join("sparkplug");
        let empty = Aliases { format: FORMAT, next: 1, node: BTreeMap::new(), devices: BTreeMap::new() };
        let aliases = read(&folder.join(format!("{name}.json")), name).unwrap_or(empty);
        let session: Option<Session> = read(&folder.join(format!("{name}.bdseq.json")), name);
        let bdseq = Arc::new(AtomicU16::new(session.map_or(NONE, |session| session.bdseq.into())));
        Kept { folder, name: name.clone(), aliases, is_saved: true, bdseq }
    }

    /// The alias of a device's point, or of a metric of the node itself.
    pub(super) fn alias(&mut self, device: Option<&Name>, metric: &str) -> u64 {
        let metrics = match device {
            Some(device) => self.aliases.devices.entry(device.to_string()).or_default(),
            None => &mut self.aliases.node,
        };
        *metrics.entry(metric.to_owned()).or_insert_with(|| {
            self.is_saved = false;
            self.aliases.next += 1;
            self.aliases.next - 1
        })
    }

    /// Writes down what is new, before anybody is told.
    pub(super) async fn save(&mut self) {
        if std::mem::replace(&mut self.is_saved, true) {
            return;
        }
        let path = self.folder.join(format!("{}.json", self.name));
        match serde_json::to_vec(&self.aliases) {
            Ok(octets) => write(path, octets, &self.name).await,
            Err(error) => tracing::warn!(upstream = %self.name, %error, "aliases cannot be written down"),
        }
    }

    /// The number of the session that is asked for next: one more than the last, and 0 after 255.
    pub(super) fn next_session(&self) -> u8 {
        let last = self.bdseq.load(Ordering::Relaxed);
        u8::try_from(last).map_or(0, |last| last.wrapping_add(1))
    }

    /// To be awaited when that session is about to be asked for.
    pub(super) fn note(&self, session: u8) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (last, name) = (Arc::clone(&self.bdseq), self.name.clone());
        let path = self.folder.join(format!("{name}.bdseq.json"));
        async move {
            last.store(session.into(), Ordering::Relaxed);
            let octets = serde_json::to_vec(&Session { format: FORMAT, bdseq: session }).unwrap_or_default();
            write(path, octets, &name).await;
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path, name: &Name) -> Option<T> {
    match document::read(path, FORMAT, LARGEST) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let file = path.display();
            tracing::warn!(upstream = %name, %file, %error, "what Sparkplug has to know again cannot be read; it is begun anew");
            None
        }
    }
}

async fn write(path: PathBuf, octets: Vec<u8>, name: &Name) {
    let file = path.display().to_string();
    let written = spawn_blocking(move || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        document::replace(&path, &octets)
    });
    let error = match written.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(upstream = %name, file, error, "what Sparkplug has to know again after a restart cannot be written down");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn aliases_and_sessions_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::load(dir.path(), &name("u"));
        let (a, b) = (name("a"), name("b"));
        let given = [kept.alias(Some(&a), "v"), kept.alias(Some(&b), "v"), kept.alias(None, "v")];
        assert_eq!(given, [1, 2, 3]);
        assert_eq!(kept.alias(Some(&a), "v"), 1);
        kept.save().await;
        assert_eq!(kept.next_session(), 0);
        // Not asked for yet: the broker could not be reached.
        assert_eq!(kept.next_session(), 0);
        kept.note(0).await;
        assert_eq!(kept.next_session(), 1);
        kept.note(255).await;
        assert_eq!(kept.next_session(), 0);
        kept.note(41).await;
        let mut again = Kept::load(dir.path(), &name("u"));
        assert_eq!(again.next_session(), 42);
        let given = [again.alias(None, "new"), again.alias(Some(&b), "v"), again.alias(Some(&a), "w")];
        assert_eq!(given, [4, 2, 5]);
        // Another upstream has its own.
        assert_eq!(Kept::load(dir.path(), &name("other")).alias(Some(&b), "v"), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sparkplug")).unwrap();
        std::fs::write(dir.path().join("sparkplug/u.json"), "{\"format\":9}").unwrap();
        std::fs::write(dir.path().join("sparkplug/u.bdseq.json"), "no").unwrap();
        let mut kept = Kept::load(dir.path(), &name("u"));
        assert_eq!((kept.alias(None, "v"), kept.next_session()), (1, 0));
    }
}
