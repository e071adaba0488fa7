//! What an upstream refused for good, set aside: `refused/NAME.jsonl` beside the spool, for a person to look at.
//!
//! One object a line: `{"ts","reason","device","seq","epoch","payload"}`; `payload` is the text that was refused.
//! A file of more than 1 MiB becomes `NAME.jsonl.1`, in place of the one before: so a far end that refuses everything
//! costs 2 MiB and no more. What goes from there is gone; that it was refused has been counted and announced.

use super::Work;
use super::witness::number_of;
use crate::encode::Numbered;
use crate::encode::json::Number;
use crate::model::{Name, Timestamp};
use crate::record;
use crate::spool::{Outcome, Stored};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LARGEST: u64 = 1 << 20;

/// One upstream's file.
#[derive(Debug, Clone)]
pub(super) struct Aside {
    path: PathBuf,
}

/// What was refused, and why.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub at: Timestamp,
    pub reason: String,
    pub device: Option<Name>,
    pub number: Number,
    pub payload: String,
}

impl Work {
    /// Sets this record aside as refused, shown as the far end would have seen it, and counts it.
    pub(super) async fn set_aside(&self, stored: &Stored, why: &str, shown: impl Fn(Numbered<'_>) -> String) {
        let reading = record::decode(&stored.octets).ok();
        let number = number_of(stored);
        let payload = reading.as_ref().map(|reading| shown(Numbered { reading, number }));
        let refused = Refused {
            at: self.clock.utc(),
            reason: why.to_owned(),
            device: reading.map(|reading| reading.device),
            number,
            payload: payload.unwrap_or_default(),
        };
        self.aside.put(refused).await;
        let outcome = Outcome::Dropped("refused".to_owned());
        // Should the spool be gone, the process ends.
        let _ = self.reader.settle([stored.position..=stored.position], outcome).await;
    }
}

impl Aside {
    pub(super) fn new(folder: &Path, upstream: &Name) -> Aside {
        Aside { path: folder.join(format!("{upstream}.jsonl")) }
    }

    /// Puts it on disk, off the runtime's threads. A disk that does not take it is said in the log: the far end has
    /// refused all the same.
    pub(super) async fn put(&self, refused: Refused) {
        let (aside, reason) = (self.clone(), refused.reason.clone());
        let written = tokio::task::spawn_blocking(move || aside.append(&refused)).await;
        let file = self.path.display();
        match written {
            Ok(Ok(())) => tracing::error!(%file, reason, "the upstream refuses a record for good; set aside"),
            Ok(Err(error)) => {
                tracing::error!(%file, reason, %error, "a refused record can't be set aside; it is lost")
            }
            Err(_) => {}
        }
    }

    fn append(&self, refused: &Refused) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > LARGEST) {
            fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        let mut line = serde_json::json!({
            "ts": refused.at.0,
            "reason": refused.reason,
            "device": refused.device.as_ref().map(Name::as_str),
            "seq": refused.number.seq,
            "epoch": format!("{:08x}", refused.number.epoch),
            "payload": refused.payload,
        })
        .to_string();
        line.push('\n');
        let mut file: File = OpenOptions::new().append(true).create(true).open(&self.path)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(payload: String) -> Refused {
        let number = Number { epoch: 0xab, seq: 7 };
        Refused { at: Timestamp(5), reason: "too large".into(), device: "m".parse().ok(), number, payload }
    }

    #[test]
    fn what_was_refused_can_be_read_and_never_fills_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let aside = Aside::new(&dir.path().join("refused"), &"scada".parse().unwrap());
        aside.append(&refused("{\"a\":1}".into())).unwrap();
        let text = fs::read_to_string(dir.path().join("refused/scada.jsonl")).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            (&line["reason"], &line["device"], &line["seq"]),
            (&"too large".into(), &"m".into(), &7.into())
        );
        assert_eq!((&line["epoch"], &line["payload"]), (&"000000ab".into(), &"{\"a\":1}".into()));
        for _ in 0..40 {
            aside.append(&refused("x".repeat(100_000))).unwrap();
        }
        let files = fs::read_dir(dir.path().join("refused")).unwrap().map(|file| file.unwrap());
        let sizes: Vec<u64> = files.map(|file| file.metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size < LARGEST + 110_000), "{sizes:?}");
    }
}
