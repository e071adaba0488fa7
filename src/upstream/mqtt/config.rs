//! Upstream `mqtt`: how it is configured.

use super::layout::{Hub, Layout};
use crate::encode::Encoding;
use crate::uplink::{Endpoint, Tls};
use crate::upstream::Secret;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub access: Access,
    /// Who listens there.
    pub layout: Layout,
    /// `P` of the topic layout, the gateway's name already filled in.
    pub topic: String,
    /// `json`, `line`, `senml`, `template`: a message a reading; `batch`, and layouts that pack: one in `batch_every`.
    pub encoding: Encoding,
    pub batch_every: Duration,
}

/// How a broker is reached, and who we are there: the same for whatever speaks MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Tried in this order; at least one.
    pub brokers: Vec<Endpoint>,
    /// `mqtts://`.
    pub tls: Option<Tls>,
    pub username: Option<String>,
    /// Stands in the place of the user name, and is as secret as a password (ThingsBoard's access token).
    pub token: Option<Secret>,
    /// Read at every connection, so that a changed password needs no restart.
    pub password: Option<Secret>,
    /// The password is not sent: it signs one that is good for an hour.
    pub signing: Option<Hub>,
    /// `linesman-{gateway}-{upstream}` when not given.
    pub client_id: Option<String>,
    pub keep_alive: Duration,
    pub version: Version,
}

impl Access {
    /// A broker on this machine.
    pub fn here(port: u16) -> Access {
        let brokers = vec![Endpoint { host: "127.0.0.1".to_owned(), port }];
        Access { brokers, ..Access::default() }
    }
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
            access: Access::default(),
            layout: Layout::default(),
            topic: "linesman/{gateway}".to_owned(),
            encoding: Encoding::Json,
            batch_every: Duration::from_secs(300),
        }
    }
}

impl Default for Access {
    fn default() -> Access {
        Access {
            brokers: vec![Endpoint { host: "127.0.0.1".to_owned(), port: 1883 }],
            tls: None,
            username: None,
            token: None,
            password: None,
            signing: None,
            client_id: None,
            keep_alive: Duration::from_secs(30),
            version: Version::default(),
        }
    }
}
