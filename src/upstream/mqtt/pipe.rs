//! The MQTT client behind four verbs: connect, publish, next event, close. What is peculiar to the client
//! stays in this file; another one could take its place.

use super::config::{Config, Version};
use super::pipe5;
use super::window::{PACKET_IDS, WINDOW};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, v5,
};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The largest payload that is sent: the least that cloud brokers take, less room for the topic.
pub(super) const LARGEST_PAYLOAD: usize = 120 << 10;
/// The client's own limit, in and out; its default of 10 KiB would fail on a large meter.
pub(super) const LARGEST_PACKET: usize = 128 << 10;
/// Name resolution, all addresses and the broker's answer share this.
pub(super) const CONNECT_SECONDS: u64 = 30;
/// Requests the client may hold: the window, status, meta and good-bye.
pub(super) const REQUESTS: usize = 64;
/// Events that the session has not looked at yet.
const EVENTS: usize = 128;

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// So many publishes the broker takes at once, at most.
    Connected(usize),
    /// The next publish in order went out under this identifier.
    Sent(u16),
    Acknowledged(u16),
    /// Never to be taken, for this reason.
    Refused(u16, &'static str),
    /// Our good-bye is out.
    Closed,
    Trouble(String),
}

enum Client {
    V311(AsyncClient),
    V5(v5::AsyncClient),
}

/// What the broker says on our behalf when we are gone.
pub(super) struct Will {
    pub topic: String,
    pub payload: String,
}

/// One connection. Dropping it drops the client with all that it still holds.
pub(super) struct Pipe {
    client: Client,
    events: mpsc::Receiver<Happened>,
    driver: JoinHandle<()>,
}

impl Pipe {
    /// Begins to connect; the first event says what came of it.
    pub(super) fn connect(config: &Config, client_id: &str, will: Will) -> Result<Pipe, String> {
        let (events_tx, events) = mpsc::channel(EVENTS);
        let stall = (config.keep_alive * 2).max(Duration::from_secs(CONNECT_SECONDS + 5));
        let broker = format!("{}:{}", config.host, config.port);
        if config.version == Version::V5 {
            let (client, driver) = pipe5::client(config, client_id, will)?;
            let driver = tokio::spawn(pipe5::drive(driver, events_tx, stall, broker));
            return Ok(Pipe { client: Client::V5(client), events, driver });
        }
        let will = LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true);
        let mut options = MqttOptions::new(client_id, &config.host, config.port);
        options
            .set_keep_alive(config.keep_alive)
            .set_clean_session(true)
            .set_last_will(will)
            .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET)
            .set_inflight(PACKET_IDS);
        if let Some(username) = &config.username {
            options.set_credentials(username, password(config)?);
        }
        let (client, mut driver) = AsyncClient::new(options, REQUESTS);
        driver.set_network_options(network());
        // The event loop must not be cancelled half-way through a poll, so it has a task of its own.
        let driver = tokio::spawn(drive(driver, events_tx, stall, broker));
        Ok(Pipe { client: Client::V311(client), events, driver })
    }

    /// Hands a publish with QoS 1 to the client.
    pub(super) fn publish(
        &self,
        topic: &str,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<(), String> {
        let payload: Vec<u8> = payload.into();
        let refused =
            |error: &dyn std::fmt::Display| format!("the MQTT client does not take a publish: {error}");
        match &self.client {
            Client::V311(client) => {
                client.try_publish(topic, QoS::AtLeastOnce, retain, payload).map_err(|error| refused(&error))
            }
            Client::V5(client) => client
                .try_publish(topic, v5::mqttbytes::QoS::AtLeastOnce, retain, payload)
                .map_err(|error| refused(&error)),
        }
    }

    pub(super) async fn next(&mut self) -> Happened {
        self.events.recv().await.unwrap_or_else(|| Happened::Trouble("the connection ended".to_owned()))
    }

    /// What has happened already, without waiting.
    pub(super) fn ready(&mut self) -> Option<Happened> {
        self.events.try_recv().ok()
    }

    /// A proper DISCONNECT; `Closed` follows when it is out.
    pub(super) fn close(&self) {
        // A queue that is full at this point means a broker that does not read: dropping will do.
        match &self.client {
            Client::V311(client) => drop(client.try_disconnect()),
            Client::V5(client) => drop(client.try_disconnect()),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub(super) fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_SECONDS);
    network.set_tcp_nodelay(true);
    network
}

pub(super) fn password(config: &Config) -> Result<String, String> {
    let Some(path) = &config.password_file else { return Ok(String::new()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the password from {}: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Passes it on; `false` when there is nothing to follow. After trouble the client would connect again by itself, with
/// a queue that may have lost something.
pub(super) async fn told(events: &mpsc::Sender<Happened>, happened: Happened) -> bool {
    let last = matches!(happened, Happened::Trouble(_) | Happened::Closed);
    events.send(happened).await.is_ok() && !last
}

pub(super) fn stalled(broker: &str, stall: Duration) -> Happened {
    Happened::Trouble(format!("{broker} has not answered for {} s", stall.as_secs()))
}

pub(super) fn shared_identifier() -> Happened {
    Happened::Trouble("two publishes share an identifier; the connection is made anew".to_owned())
}

async fn drive(mut driver: EventLoop, events: mpsc::Sender<Happened>, stall: Duration, broker: String) {
    loop {
        let happened = match timeout(stall, driver.poll()).await {
            Err(_) => stalled(&broker, stall),
            Ok(Err(error)) => Happened::Trouble(sentence(&error, &broker)),
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => Happened::Connected(WINDOW),
            Ok(Ok(Event::Incoming(Packet::PubAck(ack)))) => Happened::Acknowledged(ack.pkid),
            Ok(Ok(Event::Outgoing(Outgoing::Publish(packet)))) => Happened::Sent(packet),
            Ok(Ok(Event::Outgoing(Outgoing::Disconnect))) => Happened::Closed,
            Ok(Ok(Event::Outgoing(Outgoing::AwaitAck(_)))) => shared_identifier(),
            Ok(Ok(_)) => continue,
        };
        if !told(&events, happened).await {
            return;
        }
    }
}

/// What went wrong, so that somebody can act on it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the client's errors are an open set; its own words do for the others"
)]
fn sentence(error: &ConnectionError, broker: &str) -> String {
    match error {
        ConnectionError::Io(error) => io_sentence(error, broker),
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword => format!("{broker}: the user name or password is wrong"),
            ConnectReturnCode::NotAuthorized => format!("{broker}: this client is not authorised"),
            ConnectReturnCode::BadClientId => format!("{broker} does not accept the client id"),
            ConnectReturnCode::ServiceUnavailable => format!("{broker} is unavailable"),
            _ => format!("{broker} refuses the session: {code:?}"),
        },
        ConnectionError::NetworkTimeout => format!("{broker} does not answer"),
        ConnectionError::FlushTimeout => format!("{broker} does not read what is sent"),
        other => format!("{broker}: {other}"),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
pub(super) fn io_sentence(error: &io::Error, broker: &str) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{broker} refuses the connection: is the broker running?")
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            format!("{broker} closed the connection")
        }
        _ => format!("{broker}: {error}"),
    }
}
