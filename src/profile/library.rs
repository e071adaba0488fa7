//! Where profiles come from: a path, the owner's folder, the library inside the binary.

use super::yaml::{Problem, Problems, nearest, node};
use super::{Profile, parse};
use include_dir::{Dir, include_dir};
use std::path::{Path, PathBuf};
use std::sync::Arc;

static LIBRARY: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/profiles");

/// The owner's own profiles; they win over built-in ones of the same name.
pub const OWN_FOLDER: &str = "/etc/linesman/profiles";

/// The names of the built-in profiles, in alphabetical order.
pub fn builtin() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> =
        LIBRARY.files().filter_map(|file| file.path().to_str()?.strip_suffix(".yaml")).collect();
    names.sort_unstable();
    names.into_iter()
}

/// The text of a built-in profile.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    LIBRARY.get_file(format!("{name}.yaml"))?.contents_utf8()
}

/// A path (with `/`, or ending in `.yaml`) or a name.
pub fn is_path(name_or_path: &str) -> bool {
    name_or_path.contains('/') || name_or_path.ends_with(".yaml") || name_or_path.ends_with(".yml")
}

/// Reads a profile: by path from `base`, else by name from `dirs`, else from the library.
pub fn find(name_or_path: &str, base: &Path, dirs: &[PathBuf]) -> Result<Arc<Profile>, Problems> {
    if is_path(name_or_path) {
        return from_file(&base.join(name_or_path), name_or_path).map(Arc::new);
    }
    for dir in dirs {
        let path = dir.join(format!("{name_or_path}.yaml"));
        if path.is_file() {
            return from_file(&path, &path.to_string_lossy()).map(Arc::new);
        }
    }
    let Some(text) = builtin_text(name_or_path) else {
        return Err(unknown(name_or_path, dirs).into());
    };
    parse(name_or_path, &format!("profiles/{name_or_path}.yaml"), text).map(Arc::new)
}

fn unknown(name: &str, dirs: &[PathBuf]) -> Problem {
    let mut names: Vec<String> = builtin().map(str::to_owned).collect();
    for entry in dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
        let file = entry.file_name();
        names.extend(file.to_str().and_then(|file| file.strip_suffix(".yaml")).map(str::to_owned));
    }
    let mut problem = Problem::whole(name, format!("no profile is named `{name}`"));
    problem.help = Some(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`linesman profiles list` shows the names; a file is given by its path (./my-meter.yaml)"
            .to_owned(),
    });
    problem
}

/// Reads a profile's file; `shown` is the file's name in messages.
pub fn from_file(path: &Path, shown: &str) -> Result<Profile, Problems> {
    let octets = std::fs::read(path)
        .map_err(|error| Problem::whole(shown, format!("cannot read the profile: {error}")))?;
    let text = node::decode(shown, octets)?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&name, shown, &text)
}
