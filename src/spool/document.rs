//! A small document that others keep in the spool's folder, as `learned.json`: JSON with its `format` in front, replaced
//! whole. The spool does not know what stands in it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// What stands in it.
///
/// # Errors
/// Also for one of another format, or of more than `largest` octets: that is not ours.
pub fn read<T: DeserializeOwned>(path: &Path, format: u32, largest: u64) -> io::Result<T> {
    let size = fs::metadata(path)?.len();
    if size > largest {
        return Err(io::Error::other(format!("{size} octets are too many")));
    }
    let octets = fs::read(path)?;
    let found = serde_json::from_slice::<Head>(&octets)?.format;
    if found != format {
        return Err(io::Error::other(format!("format {found} is not known here")));
    }
    Ok(serde_json::from_slice(&octets)?)
}

/// Whatever happens meanwhile, the old one is there or the new one.
///
/// # Errors
/// What the disk says.
pub fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(octets)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}
