//! Packs the profile library: each file of `profiles/` by itself, so that the daemon unpacks those that it uses.
//! Nothing has to be registered: a new file only has to be seen. And the program knows when it was built, because no wall
//! clock that says an earlier time can be right; `SOURCE_DATE_EPOCH` (reproducible-builds.org) stands for that time where
//! it is given.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

/// The best there is: packing happens once, here.
const LEVEL: u8 = 10;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=profiles");
    say_when();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?);
    let mut files: Vec<PathBuf> =
        fs::read_dir("profiles")?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    // By name: a dot would come after a hyphen.
    files.sort_by_key(|file| file.file_stem().map(ToOwned::to_owned));
    files.retain(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_ours));
    let mut list = format!("static LIBRARY: [Packed; {}] = [\n", files.len());
    for file in &files {
        if let Some(name) = file.file_name().and_then(|name| name.to_str()) {
            pack(file, &out.join(name))?;
            let _ = writeln!(
                list,
                "Packed {{ file: {name:?}, octets: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/\", {name:?})), text: OnceLock::new() }},"
            );
        }
    }
    list.push_str("];\n");
    fs::write(out.join("library.rs"), list)
}

#[expect(clippy::disallowed_methods, reason = "the time of the build is what is asked for")]
fn say_when() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = env::var("SOURCE_DATE_EPOCH").ok().filter(|text| text.parse::<u64>().is_ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rustc-env=LINESMAN_BUILT={}", given.unwrap_or_else(|| now.to_string()));
}

/// Profiles, and the page that has the glossary.
fn is_ours(name: &str) -> bool {
    name.ends_with(".yaml") || name == "README.md"
}

fn pack(from: &Path, to: &Path) -> io::Result<()> {
    fs::write(to, miniz_oxide::deflate::compress_to_vec(&fs::read(from)?, LEVEL))
}
