//! Single values laid over the file: from the environment and from `--set`.

use crate::profile::yaml::{Content, Entry, Node, Place, Report, Scalar};
use std::collections::HashMap;
use std::sync::Arc;

/// `LINESMAN__SPOOL__MAX_SIZE`: only variables with the double underscore are configuration.
const PREFIX: &str = "LINESMAN__";

/// What is laid over the file, the later over the earlier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlays(Vec<Overlay>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Overlay {
    /// The variable or the `--set`, as it is to blame.
    origin: Arc<str>,
    path: Vec<String>,
    text: String,
}

impl Overlays {
    /// This process's environment, and over it the `--set`s of the command line.
    pub fn from_environment(set: Vec<String>) -> Overlays {
        let text =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Overlays::new(text, set)
    }

    /// The same from given variables.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, set: Vec<String>) -> Overlays {
        let mut overlays = from_variables(variables);
        overlays.extend(set.into_iter().map(|set| {
            let (path, text) = set.split_once('=').unwrap_or((&set, ""));
            Overlay {
                origin: Arc::from(format!("--set {set}")),
                path: path.trim().split('.').map(str::to_owned).collect(),
                text: text.trim().to_owned(),
            }
        }));
        Overlays(overlays)
    }

    pub(super) fn apply(&self, root: &mut Node, report: &mut Report<'_>) {
        for overlay in &self.0 {
            let place = Place { overlay: Some(Arc::clone(&overlay.origin)), ..Place::default() };
            if overlay.path.iter().any(String::is_empty) || overlay.text.is_empty() {
                report.at_with_help(&place, "expected key=value", "for instance lines.0.serial.baud=19200");
            } else if let Err(why) = lay(root, &overlay.path, &overlay.text, &place) {
                report.at(&place, why);
            }
        }
    }
}

/// The `config` crate knows how variables become keys: prefix, separators, lower case.
fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Overlay> {
    use config::Source;
    let ours: HashMap<String, String> =
        variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    let names: Vec<String> = ours.keys().cloned().collect();
    let source = config::Environment::with_prefix("LINESMAN")
        .prefix_separator("__")
        .separator("__")
        .source(Some(ours));
    let Ok(values) = source.collect() else { return Vec::new() };
    let mut overlays: Vec<Overlay> = Vec::new();
    for name in names {
        let key = name.strip_prefix(PREFIX).unwrap_or_default().to_lowercase().replace("__", ".");
        let Some(text) = values.get(&key).and_then(|value| value.clone().into_string().ok()) else {
            continue;
        };
        let path = key.split('.').map(str::to_owned).collect();
        overlays.push(Overlay { origin: Arc::from(name), path, text: text.trim().to_owned() });
    }
    overlays.sort_by(|a, b| a.origin.cmp(&b.origin));
    overlays
}

fn lay(node: &mut Node, path: &[String], text: &str, place: &Place) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else {
        node.content = Content::Scalar(scalar(text));
        node.place = place.clone();
        return Ok(());
    };
    if node.is_null() {
        node.content = Content::Map(Vec::new());
        node.place = place.clone();
    }
    match &mut node.content {
        Content::Scalar(_) => Err(format!("there is a value where `{key}` should be a key")),
        Content::List(items) => {
            let count = items.len();
            let item = key.parse::<usize>().ok().and_then(|n| items.get_mut(n));
            let last = count.saturating_sub(1);
            lay(
                item.ok_or_else(|| format!("`{key}` is no item of this list: 0 to {last}"))?,
                rest,
                text,
                place,
            )
        }
        Content::Map(entries) => {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *key) {
                return lay(&mut entry.value, rest, text, place);
            }
            let nothing = Content::Scalar(Scalar { text: String::new(), plain: true });
            let mut value = Node { place: place.clone(), content: nothing };
            lay(&mut value, rest, text, place)?;
            entries.push(Entry { key: key.clone(), at: place.clone(), value });
            Ok(())
        }
    }
}

/// A YAML scalar: quotes make it text.
fn scalar(text: &str) -> Scalar {
    let quoted = ['"', '\''].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q));
    match quoted {
        Some(inner) => Scalar { text: inner.to_owned(), plain: false },
        None => Scalar { text: text.to_owned(), plain: true },
    }
}
