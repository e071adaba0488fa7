//! Upstream `mqtt`: how it is configured.

use crate::uplink::{Endpoint, Tls};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Tried in this order; at least one.
    pub brokers: Vec<Endpoint>,
    /// `mqtts://`.
    pub tls: Option<Tls>,
    /// `P` of the topic layout, the gateway's name already filled in.
    pub topic: String,
    pub username: Option<String>,
    /// Read at every connection, so that a changed password needs no restart.
    pub password: Option<Secret>,
    /// `linesman-{gateway}-{upstream}` when not given.
    pub client_id: Option<String>,
    pub keep_alive: Duration,
    pub version: Version,
}

impl Config {
    /// A broker on this machine.
    pub fn here(port: u16) -> Vec<Endpoint> {
        vec![Endpoint { host: "127.0.0.1".to_owned(), port }]
    }
}

impl Config {
    /// The password, from its file, or nothing.
    ///
    /// # Errors
    /// In words, with the file.
    pub(super) fn password(&self) -> Result<String, String> {
        let path = match &self.password {
            None => return Ok(String::new()),
            Some(Secret::File(path)) => path.clone(),
            Some(Secret::Credential(name)) => credentials()?.join(name),
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read the password from {}: {error}", path.display()))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Where systemd puts what `LoadCredential=` names (systemd.exec(5)).
fn credentials() -> Result<PathBuf, String> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    folder.ok_or_else(|| {
        "no credentials here: `password_credential` needs LoadCredential= in the unit".to_owned()
    })
}

/// Where a password stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    /// One of systemd's credentials, by its name.
    Credential(String),
}

/// Which MQTT is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// 3.1.1, which every broker speaks.
    #[default]
    V311,
    /// 5: the broker can refuse one publish and say why, and says how much it takes at once.
    V5,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            brokers: Config::here(1883),
            tls: None,
            topic: "linesman/{gateway}".to_owned(),
            username: None,
            password: None,
            client_id: None,
            keep_alive: Duration::from_secs(30),
            version: Version::default(),
        }
    }
}
