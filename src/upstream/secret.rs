//! Passwords and tokens: never in the configuration, read when they are needed.

use std::path::PathBuf;

/// Where a secret stands. Read at every connection, so that a changed one needs no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    /// One of systemd's credentials, by its name.
    Credential(String),
}

impl Secret {
    /// The secret without the line's end.
    ///
    /// # Errors
    /// In words, with the file.
    pub fn read(&self) -> Result<String, String> {
        let path = match self {
            Secret::File(path) => path.clone(),
            Secret::Credential(name) => credentials()?.join(name),
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read the secret in {}: {error}", path.display()))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Where systemd puts what `LoadCredential=` names (systemd.exec(5)).
fn credentials() -> Result<PathBuf, String> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    folder.ok_or_else(|| "no credentials here: they need LoadCredential= in the unit".to_owned())
}
