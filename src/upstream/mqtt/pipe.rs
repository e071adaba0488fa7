//! The MQTT client behind four verbs: connect, publish, next event, close. What is peculiar to the client
//! stays in this file; another one could take its place.

use super::config::Config;
use super::window::PACKET_IDS;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS,
};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The largest payload that is sent: the least that cloud brokers take, less room for the topic.
pub(super) const LARGEST_PAYLOAD: usize = 120 << 10;
/// The client's own limit, in and out; its default of 10 KiB would fail on a large meter.
const LARGEST_PACKET: usize = 128 << 10;
/// Name resolution, all addresses and the broker's answer share this.
const CONNECT_SECONDS: u64 = 30;
/// Requests the client may hold: the window, status, meta and good-bye.
const REQUESTS: usize = 64;
/// Events that the session has not looked at yet.
const EVENTS: usize = 128;

/// What happened on the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Connected,
    /// The next publish in order went out under this identifier.
    Sent(u16),
    Acknowledged(u16),
    /// Our good-bye is out.
    Closed,
    Trouble(String),
}

/// One connection. Dropping it drops the client with all that it still holds.
pub(super) struct Pipe {
    client: AsyncClient,
    events: mpsc::Receiver<Happened>,
    driver: JoinHandle<()>,
}

impl Pipe {
    /// Begins to connect; the first event says what came of it.
    pub(super) fn connect(config: &Config, client_id: &str, will: LastWill) -> Result<Pipe, String> {
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
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_SECONDS);
        network.set_tcp_nodelay(true);
        driver.set_network_options(network);
        let (events_tx, events) = mpsc::channel(EVENTS);
        let stall = (config.keep_alive * 2).max(Duration::from_secs(CONNECT_SECONDS + 5));
        let broker = format!("{}:{}", config.host, config.port);
        // The event loop must not be cancelled half-way through a poll, so it has a task of its own.
        let driver = tokio::spawn(drive(driver, events_tx, stall, broker));
        Ok(Pipe { client, events, driver })
    }

    /// Hands a publish with QoS 1 to the client.
    pub(super) fn publish(
        &self,
        topic: &str,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<(), String> {
        self.client
            .try_publish(topic, QoS::AtLeastOnce, retain, payload)
            .map_err(|error| format!("the MQTT client does not take a publish: {error}"))
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
        let _ = self.client.try_disconnect();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn password(config: &Config) -> Result<String, String> {
    let Some(path) = &config.password_file else { return Ok(String::new()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the password from {}: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn drive(mut driver: EventLoop, events: mpsc::Sender<Happened>, stall: Duration, broker: String) {
    loop {
        let happened = match timeout(stall, driver.poll()).await {
            Err(_) => Happened::Trouble(format!("{broker} has not answered for {} s", stall.as_secs())),
            Ok(Err(error)) => Happened::Trouble(sentence(&error, &broker)),
            Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => Happened::Connected,
            Ok(Ok(Event::Incoming(Packet::PubAck(ack)))) => Happened::Acknowledged(ack.pkid),
            Ok(Ok(Event::Outgoing(Outgoing::Publish(packet)))) => Happened::Sent(packet),
            Ok(Ok(Event::Outgoing(Outgoing::Disconnect))) => Happened::Closed,
            Ok(Ok(Event::Outgoing(Outgoing::AwaitAck(_)))) => {
                Happened::Trouble("two publishes share an identifier; the connection is made anew".to_owned())
            }
            Ok(Ok(_)) => continue,
        };
        // After trouble the client would connect again by itself, with a queue that may have lost something.
        let last = matches!(happened, Happened::Trouble(_) | Happened::Closed);
        if events.send(happened).await.is_err() || last {
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
        ConnectionError::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("{broker} refuses the connection: is the broker running?")
            }
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof => {
                format!("{broker} closed the connection")
            }
            _ => format!("{broker}: {error}"),
        },
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
