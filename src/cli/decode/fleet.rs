//! The batches of a fleet as a broker passes them on, each with the names it was made by.
//!
//! Meta is retained, but a broker that has kept batches for us sends them first; so a batch waits a little for its meta,
//! not acknowledged. Meta is asked for with QoS 0, which no broker holds back behind what is not acknowledged yet. Every
//! meta that was seen is kept: a batch made before a change of the configuration may come after it.

use crate::config;
use crate::encode::batch::{self, Decoded, Names, Unreadable};
use crate::model::{Name, Site};
use crate::uplink::Endpoint;
use crate::upstream::Secret;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS, SubscribeFilter};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Batches that wait for their meta, of all gateways together, and how long each does.
const MOST_WAITING: usize = 1024;
const WAIT: Duration = Duration::from_secs(10);
/// Events of the connection that nobody has looked at yet.
const EVENTS: usize = 64;
/// The largest message that is taken: meta of a large site.
const LARGEST_PACKET: usize = 4 << 20;
const REQUESTS: usize = 512;
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const DEFAULT_TOPIC: &str = "linesman/+";

/// Who logs in at the broker.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Login {
    /// Who logs in at the broker.
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// A file that holds the password and nothing else.
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
}

/// A broker, and the levels above all topics there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub broker: Endpoint,
    pub topic: String,
    pub username: Option<String>,
    pub password: String,
}

impl Place {
    /// `mqtt://HOST[:PORT][/TOPIC]`.
    pub(crate) fn of(url: &str, login: &Login) -> Result<Place, String> {
        let rest = url.strip_prefix("mqtt://").unwrap_or_default();
        let (_, topic) = rest.split_once('/').unwrap_or((rest, ""));
        let broker = url.strip_suffix(topic).unwrap_or(url);
        let config::Broker { endpoint, secure } = config::broker(broker)?;
        if secure {
            return Err(
                "TLS is not spoken here yet: run it beside the broker, on its mqtt:// listener".to_owned()
            );
        }
        let topic = topic.trim_matches('/');
        if topic.contains('#') {
            return Err("# would take in more than gateways: write + for a level".to_owned());
        }
        let topic = if topic.is_empty() { DEFAULT_TOPIC } else { topic }.to_owned();
        let password = login.password_file.clone().map(|path| Secret::File(path).read()).transpose()?;
        let (username, password) = (login.username.clone(), password.unwrap_or_default());
        Ok(Place { broker: endpoint, topic, username, password })
    }

    /// A connection that is kept for whoever has this id, or one that the broker forgets.
    pub(crate) fn client(&self, id: Option<&str>) -> (AsyncClient, EventLoop) {
        let passing = format!("linesman-{:08x}", fastrand::u32(..));
        let mut options = MqttOptions::new(id.unwrap_or(&passing), &self.broker.host, self.broker.port);
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
        options.set_clean_session(id.is_none()).set_manual_acks(true);
        if let Some(username) = &self.username {
            options.set_credentials(username, &self.password);
        }
        AsyncClient::new(options, REQUESTS)
    }

    pub(crate) fn said(&self, error: &rumqttc::ConnectionError) -> String {
        format!("{}: {error}", self.broker)
    }
}

/// One batch, decoded.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The levels above all topics of its gateway.
    pub topic: String,
    pub decoded: Decoded,
    pub site: Site,
    /// To be acknowledged once it is safe.
    pub publish: Publish,
}

#[derive(Debug)]
pub(crate) enum Trouble {
    /// This batch is lost to us, and it has been acknowledged; the next may be good.
    Batch(String),
    Connection(String),
}

pub(crate) struct Fleet {
    place: Place,
    client: AsyncClient,
    events: mpsc::Receiver<Result<Event, String>>,
    driver: JoinHandle<()>,
    names: BTreeMap<(String, u32), Names>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    publish: Publish,
    schema: u32,
    since: Instant,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Fleet {
    /// With an id, the broker keeps what comes while we are away.
    pub(crate) fn connect(place: &Place, id: Option<&str>) -> Fleet {
        let (client, mut connection) = place.client(id);
        let (events_tx, events) = mpsc::channel(EVENTS);
        let said = place.clone();
        // A poll must not be cancelled half-way, so it has a task of its own.
        let driver = tokio::spawn(async move {
            loop {
                let event = connection.poll().await.map_err(|error| said.said(&error));
                let last = event.is_err();
                if events_tx.send(event).await.is_err() || last {
                    return;
                }
            }
        });
        let (names, waiting) = (BTreeMap::new(), VecDeque::new());
        Fleet { place: place.clone(), client, events, driver, names, waiting }
    }

    pub(crate) fn acknowledge(&self, publish: &Publish) -> Result<(), Trouble> {
        self.client.try_ack(publish).map_err(|error| Trouble::Connection(error.to_string()))
    }

    pub(crate) async fn next(&mut self) -> Result<Arrived, Trouble> {
        loop {
            if let Some(publish) = self.ready() {
                return self.decode(publish);
            }
            let patience =
                self.waiting.front().map_or(WAIT, |oldest| WAIT.saturating_sub(oldest.since.elapsed()));
            match timeout(patience, self.events.recv()).await {
                Err(_) => {}
                Ok(Some(Ok(Event::Incoming(Packet::ConnAck(_))))) => self.subscribe()?,
                Ok(Some(Ok(Event::Incoming(Packet::Publish(publish))))) => self.take(publish)?,
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(why))) => return Err(Trouble::Connection(why)),
                Ok(None) => return Err(Trouble::Connection("the connection ended".to_owned())),
            }
        }
    }

    fn subscribe(&self) -> Result<(), Trouble> {
        let filter = |end: &str, qos| SubscribeFilter::new(format!("{}/{end}", self.place.topic), qos);
        let filters = [filter("meta", QoS::AtMostOnce), filter("b", QoS::AtLeastOnce)];
        let asked = self.client.try_subscribe_many(filters);
        asked.map_err(|error| Trouble::Connection(error.to_string()))
    }

    fn take(&mut self, publish: Publish) -> Result<(), Trouble> {
        let Some(topic) = publish.topic.strip_suffix("/meta") else {
            let schema = batch::schema_of(&publish.payload).unwrap_or_default();
            self.waiting.push_back(Waiting { publish, schema, since: Instant::now() });
            return Ok(());
        };
        self.acknowledge(&publish)?;
        let text = std::str::from_utf8(&publish.payload).map_err(|error| error.to_string());
        match text.and_then(Names::from_meta) {
            Ok(names) => drop(self.names.insert((topic.to_owned(), names.schema), names)),
            Err(why) => return Err(Trouble::Batch(format!("{}: {why}", publish.topic))),
        }
        Ok(())
    }

    /// The first batch that can be decoded, or that has waited for its names too long.
    fn ready(&mut self) -> Option<Publish> {
        let known = |one: &Waiting| {
            one.schema == 0 || self.names.contains_key(&(topic(&one.publish).to_owned(), one.schema))
        };
        let overdue = |one: &Waiting| one.since.elapsed() >= WAIT;
        let oldest = self.waiting.front().is_some_and(overdue) || self.waiting.len() > MOST_WAITING;
        let place = self.waiting.iter().position(known).or(oldest.then_some(0))?;
        self.waiting.remove(place).map(|one| one.publish)
    }

    fn decode(&mut self, publish: Publish) -> Result<Arrived, Trouble> {
        let topic = topic(&publish).to_owned();
        let schema = batch::schema_of(&publish.payload).unwrap_or_default();
        let names = self.names.get(&(topic.clone(), schema));
        let decoded: Result<Decoded, Unreadable> = batch::decode(&publish.payload, names);
        match decoded {
            Ok(decoded) => {
                // A batch that brings its names has its gateway in the topic only.
                let nobody = || {
                    let gateway = Name::from_host(topic.rsplit('/').next().unwrap_or_default());
                    Site { gateway, config_hash: String::new(), devices: Vec::new() }
                };
                let site = names.map_or_else(nobody, |names| names.site.clone());
                Ok(Arrived { topic, decoded, site, publish })
            }
            Err(error) => {
                self.acknowledge(&publish)?;
                Err(Trouble::Batch(format!("{}: {error}", publish.topic)))
            }
        }
    }
}

fn topic(publish: &Publish) -> &str {
    publish.topic.strip_suffix("/b").unwrap_or(&publish.topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_broker_and_the_levels_above_all_topics() {
        let place = |url| {
            Place::of(url, &Login::default())
                .map(|p| format!("{} {} {}", p.broker.host, p.broker.port, p.topic))
        };
        assert_eq!(place("mqtt://broker").unwrap(), "broker 1883 linesman/+");
        assert_eq!(place("mqtt://broker:1884/").unwrap(), "broker 1884 linesman/+");
        assert_eq!(place("mqtt://[::1]/site/+/x").unwrap(), "::1 1883 site/+/x");
        assert!(place("mqtt://broker/site/#").unwrap_err().contains('+'));
        assert!(place("mqtts://broker/x").is_err() && place("mqtt://a@b").is_err());
    }
}
