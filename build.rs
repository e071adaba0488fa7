//! Packs the profile library: each file of `profiles/` by itself, so that the daemon unpacks those that it uses.
//! Nothing has to be registered: a new file only has to be seen.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The best there is: packing happens once, here.
const LEVEL: u8 = 10;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=profiles");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?);
    let mut files: Vec<PathBuf> =
        fs::read_dir("profiles")?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
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

/// Profiles, and the page that has the glossary.
fn is_ours(name: &str) -> bool {
    name.ends_with(".yaml") || name == "README.md"
}

fn pack(from: &Path, to: &Path) -> io::Result<()> {
    fs::write(to, miniz_oxide::deflate::compress_to_vec(&fs::read(from)?, LEVEL))
}
