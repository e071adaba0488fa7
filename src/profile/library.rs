//! Where profiles come from: a path, the owner's folder, the library inside the binary.

use super::yaml::{Problem, Problems, nearest, node};
use super::{Profile, parse, sunspec};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A file of `profiles/`, packed by `build.rs`.
struct Packed {
    file: &'static str,
    octets: &'static [u8],
    /// Once somebody has asked for it.
    text: OnceLock<String>,
}

include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// No file of the library is longer; a test unpacks them all.
const LONGEST: usize = 1 << 20;

/// The owner's own profiles; they win over built-in ones of the same name.
pub const OWN_FOLDER: &str = "/etc/linesman/profiles";

/// The names of the built-in profiles, in alphabetical order.
pub fn builtin() -> impl Iterator<Item = &'static str> {
    LIBRARY.iter().filter_map(|packed| packed.file.strip_suffix(".yaml"))
}

/// The text of a built-in profile.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    unpacked(LIBRARY.iter().find(|packed| packed.file.strip_suffix(".yaml") == Some(name))?)
}

/// The page about profiles.
pub fn readme() -> &'static str {
    LIBRARY.iter().find(|packed| packed.file == "README.md").and_then(unpacked).unwrap_or_default()
}

fn unpacked(packed: &'static Packed) -> Option<&'static str> {
    if let Some(text) = packed.text.get() {
        return Some(text);
    }
    let octets = miniz_oxide::inflate::decompress_to_vec_with_limit(packed.octets, LONGEST).ok()?;
    let text = String::from_utf8(octets).ok()?;
    Some(packed.text.get_or_init(|| text))
}

/// A path (with `/`, or ending in `.yaml`) or a name.
pub fn is_path(name_or_path: &str) -> bool {
    name_or_path.contains('/') || name_or_path.ends_with(".yaml") || name_or_path.ends_with(".yml")
}

/// A profile's text and where it stands.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file's name without `.yaml`.
    pub name: String,
    /// The file as messages call it.
    pub file: String,
    pub text: String,
    /// It has no text: the device itself says what it offers.
    pub walks: bool,
}

impl Source {
    pub fn parse(&self) -> Result<Profile, Problems> {
        if self.walks { Ok(sunspec::unwalked()) } else { parse(&self.name, &self.file, &self.text) }
    }
}

/// Reads a profile: by path from `base`, else by name from `dirs`, else from the library.
pub fn find(name_or_path: &str, base: &Path, dirs: &[PathBuf]) -> Result<Arc<Profile>, Problems> {
    locate(name_or_path, base, dirs)?.parse().map(Arc::new)
}

/// The same, not parsed yet.
pub fn locate(name_or_path: &str, base: &Path, dirs: &[PathBuf]) -> Result<Source, Problems> {
    if is_path(name_or_path) {
        let mut wanted = name_or_path;
        while let Some(rest) = wanted.strip_prefix("./") {
            wanted = rest;
        }
        return open(&base.join(wanted));
    }
    for dir in dirs {
        let path = dir.join(format!("{name_or_path}.yaml"));
        if path.is_file() {
            return open(&path);
        }
    }
    if name_or_path == sunspec::NAME {
        let (name, file) = (name_or_path.to_owned(), name_or_path.to_owned());
        return Ok(Source { name, file, text: String::new(), walks: true });
    }
    let Some(text) = builtin_text(name_or_path) else {
        return Err(unknown(name_or_path, dirs).into());
    };
    let file = format!("profiles/{name_or_path}.yaml");
    Ok(Source { name: name_or_path.to_owned(), file, text: text.to_owned(), walks: false })
}

/// The owner's own profiles in these folders, by name.
pub fn own(dirs: &[PathBuf]) -> Vec<String> {
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".yaml")?.to_owned()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn unknown(name: &str, dirs: &[PathBuf]) -> Problem {
    let mut names: Vec<String> = builtin().map(str::to_owned).collect();
    names.extend(own(dirs));
    names.push(sunspec::NAME.to_owned());
    let mut problem = Problem::whole(name, format!("no profile is named `{name}`"));
    problem.help = Some(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`linesman profiles list` shows the names; a file is given by its path (./my-meter.yaml)"
            .to_owned(),
    });
    problem
}

/// A profile's file, read and not parsed yet.
pub fn open(path: &Path) -> Result<Source, Problems> {
    let file = path.to_string_lossy().into_owned();
    let octets = node::octets(path)
        .map_err(|error| Problem::whole(&file, format!("cannot read the profile {file}: {error}")))?;
    let text = node::decode(&file, octets)?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Source { name, file, text, walks: false })
}
