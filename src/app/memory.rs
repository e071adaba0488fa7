//! What devices have taught their lines, kept over a restart: `learned.json` in the spool's folder.
//!
//! `{"format":1,"devices":{NAME:{"profile","unit","holes":[…],"most_registers":{…},"refused":[…],"chain":{…}}}}`. The file is
//! replaced whole, and only when something new was learned. It saves a search and no more: one that can't be
//! read is no reason not to start, and one that can't be written is tried again with the next lesson.

use super::Gateway;
use crate::bus;
use crate::config::Chains;
use crate::spool::document;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;

const FILE: &str = "learned.json";
const FORMAT: u32 = 1;
/// A thousand devices with a hundred lessons each; what is larger is not ours.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    devices: bus::Memory,
}

/// The file, and what stands in it.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    kept: bus::Memory,
    /// What devices have said that they offer, as the far end was told of it.
    pub(super) told: Chains,
    /// A slow card holds up nobody.
    writing: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Reads what was kept.
    pub(super) fn open(folder: &Path) -> Keeper {
        let path = folder.join(FILE);
        let kept = match document::read(&path, FORMAT, LARGEST) {
            Ok(Document { devices, .. }) => devices,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bus::Memory::new(),
            Err(error) => {
                let file = path.display();
                tracing::warn!(%file, %error, "what was learned of the meters can't be read; it is learned anew");
                bus::Memory::new()
            }
        };
        Keeper { path, kept, told: Chains::new(), writing: None }
    }

    pub(super) fn kept(&self) -> &bus::Memory {
        &self.kept
    }

    /// Begins to write what is known now, if that is news and the last writing is over.
    pub(super) fn keep(&mut self, known: bus::Memory) {
        let busy = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if busy || known == self.kept {
            return;
        }
        let path = self.path.clone();
        self.kept = known.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&path, &known) {
                let file = path.display();
                tracing::warn!(%file, %error, "what was learned of the meters can't be kept for the next start");
            }
        }));
    }
}

impl Gateway {
    /// What the devices of the configuration have taught; the far end is told where one has said what it offers. Written here, where a slow card holds up nobody
    /// but the supervisor, and only when there is news: some times in a meter's life.
    pub(super) fn keep_memory(&mut self) {
        let mut known = bus::Memory::new();
        for line in self.parts.memories() {
            let line = line.borrow();
            known.extend(line.iter().map(|(name, memory)| (name.clone(), memory.clone())));
        }
        self.memory.keep(known);
        if self.found_chains() != self.memory.told {
            self.name_the_meters();
        }
    }
}

fn write(path: &Path, known: &bus::Memory) -> io::Result<()> {
    let document = Document { format: FORMAT, devices: known.clone() };
    document::replace(path, &serde_json::to_vec_pretty(&document)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{DeviceMemory, HoleMemory};
    use std::fs;

    fn known() -> bus::Memory {
        let hole = HoleMemory { table: "input".into(), from: 3, to: 9, since: 5 };
        let memory = DeviceMemory {
            profile: "p".into(),
            unit: 1,
            holes: vec![hole],
            most_registers: None,
            refused: vec![],
            chain: Some(crate::profile::sunspec::Chain::usual()),
        };
        bus::Memory::from([("a".to_owned(), memory)])
    }

    #[tokio::test]
    async fn what_was_learned_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(dir.path());
        assert!(keeper.kept().is_empty());
        keeper.keep(known());
        keeper.writing.take().unwrap().await.unwrap();
        assert_eq!(Keeper::open(dir.path()).kept(), &known());
    }

    #[test]
    fn a_file_that_is_not_ours_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "not json", r#"{"format":2,"devices":{}}"#, r#"{"format":1,"devices":[]}"#] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert!(Keeper::open(dir.path()).kept().is_empty(), "{text}");
        }
    }
}
