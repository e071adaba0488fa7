//! What became known of each boot, kept over restarts: `clock.json` in the spool's folder.
//!
//! `{"format":1,"boots":[{"boot":"32 hexadecimal digits","zero_ms":N}]}`: `zero_ms` is the UTC, in ms since 1970, at
//! which that boot's clock stood at zero. Replaced whole, when something became known. A file that can't be read costs the
//! dates of readings that an earlier boot took while its clock was unsure, and nothing else: they stay marked.

use crate::model::{BootId, Dating};
use crate::spool::document;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "clock.json";
const FORMAT: u32 = 1;
/// Sixty-four boots take some 5 KiB; what is larger is not ours.
const LARGEST: u64 = 64 << 10;
const KERNELS: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    boots: Vec<Boot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Boot {
    boot: String,
    zero_ms: i64,
}

/// The file.
#[derive(Debug, Clone)]
pub(in crate::app) struct Boots {
    path: PathBuf,
}

impl Boots {
    pub(in crate::app) fn in_folder(folder: &Path) -> Boots {
        Boots { path: folder.join(FILE) }
    }

    pub(super) fn read(&self) -> Dating {
        let mut dating = Dating::default();
        match document::read::<Document>(&self.path, FORMAT, LARGEST) {
            Ok(document) => {
                for boot in document.boots {
                    if let Some(id) = BootId::parse(&boot.boot) {
                        dating.know(id, boot.zero_ms);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "the dates of earlier boots can't be read; what waits of them stays marked");
            }
        }
        dating
    }

    pub(super) fn write(&self, dating: &Dating) -> io::Result<()> {
        let boots =
            dating.in_order().iter().map(|(id, zero_ms)| Boot { boot: id.to_string(), zero_ms: *zero_ms });
        let document = Document { format: FORMAT, boots: boots.collect() };
        document::replace(&self.path, &serde_json::to_vec(&document)?)
    }
}

/// This boot. Where the kernel does not say, this run of the process stands for it: then only a restart of the
/// process in between leaves readings marked.
pub(in crate::app) fn this_boot() -> BootId {
    let kernels = fs::read_to_string(KERNELS).ok().and_then(|text| BootId::parse(&text));
    kernels.unwrap_or_else(|| BootId(fastrand::u128(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_known_is_there_after_a_restart_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let boots = Boots::in_folder(dir.path());
        assert_eq!(boots.read(), Dating::default());
        let mut dating = Dating::default();
        dating.know(BootId(9), 1_700_000_000_000);
        dating.know(BootId(u128::MAX), -5);
        boots.write(&dating).unwrap();
        assert_eq!(Boots::in_folder(dir.path()).read(), dating);
    }

    #[test]
    fn a_file_that_is_not_ours_costs_nothing_but_the_dates() {
        let dir = tempfile::tempdir().unwrap();
        let other = r#"{"format":1,"boots":[{"boot":"no","zero_ms":1}]}"#;
        for text in ["", "{}", r#"{"format":2,"boots":[]}"#, other] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(Boots::in_folder(dir.path()).read(), Dating::default(), "{text}");
        }
    }

    #[test]
    fn one_boot_is_one_boot() {
        assert_eq!(this_boot(), this_boot());
    }
}
