//! The same for MQTT 5, whose types are others of the same names in the client. Source of the reason codes: MQTT 5.0,
//! 3.4.2.1 (PUBACK), 3.2.2.2 (CONNACK), 3.14.2.1 (DISCONNECT).

use super::config::Config;
use super::pipe::{
    CONNECT_SECONDS, Happened, LARGEST_PACKET, REQUESTS, Will, io_sentence, network, password,
    shared_identifier, stalled, told,
};
use super::window::{PACKET_IDS, WINDOW};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, LastWill, Packet, PubAck, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(super) fn client(
    config: &Config,
    client_id: &str,
    will: Will,
) -> Result<(AsyncClient, EventLoop), String> {
    let mut options = MqttOptions::new(client_id, &config.host, config.port);
    options
        .set_keep_alive(config.keep_alive)
        .set_clean_start(true)
        .set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true, None))
        .set_max_packet_size(u32::try_from(LARGEST_PACKET).ok())
        .set_connection_timeout(CONNECT_SECONDS)
        .set_outgoing_inflight_upper_limit(PACKET_IDS);
    if let Some(username) = &config.username {
        options.set_credentials(username, password(config)?);
    }
    options.set_network_options(network());
    Ok(AsyncClient::new(options, REQUESTS))
}

pub(super) async fn drive(
    mut driver: EventLoop,
    events: mpsc::Sender<Happened>,
    stall: Duration,
    broker: String,
) {
    loop {
        let happened = match timeout(stall, driver.poll()).await {
            Err(_) => stalled(&broker, stall),
            Ok(Err(error)) => Happened::Trouble(sentence(&error, &broker)),
            Ok(Ok(Event::Incoming(Packet::ConnAck(greeting)))) => Happened::Connected(window_of(&greeting)),
            Ok(Ok(Event::Incoming(Packet::PubAck(ack)))) => answered(&ack, &broker),
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

/// The client goes through no more identifiers than the broker takes publishes at once (Receive Maximum).
fn window_of(greeting: &ConnAck) -> usize {
    let most = greeting.properties.as_ref().and_then(|properties| properties.receive_max);
    most.map_or(WINDOW, |most| usize::from(most).clamp(1, WINDOW))
}

/// What can never be taken is refused for good; what might be another time breaks the session.
fn answered(ack: &PubAck, broker: &str) -> Happened {
    let trouble = |why: &str| Happened::Trouble(format!("{broker} refuses a publish: {why}"));
    match ack.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Happened::Acknowledged(ack.pkid),
        PubAckReason::NotAuthorized => Happened::Refused(ack.pkid, "not authorised (0x87)"),
        PubAckReason::TopicNameInvalid => Happened::Refused(ack.pkid, "topic name not valid (0x90)"),
        PubAckReason::PayloadFormatInvalid => Happened::Refused(ack.pkid, "payload format not valid (0x99)"),
        PubAckReason::UnspecifiedError => trouble("for a reason that it does not say (0x80)"),
        PubAckReason::ImplementationSpecificError => trouble("it is not able to (0x83)"),
        PubAckReason::PacketIdentifierInUse => trouble("its identifier is in use (0x91)"),
        PubAckReason::QuotaExceeded => trouble("its quota is exceeded (0x97)"),
    }
}

/// What went wrong, so that somebody can act on it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the client's errors are an open set; its own words do for the others"
)]
fn sentence(error: &ConnectionError, broker: &str) -> String {
    match error {
        ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => {
            io_sentence(error, broker)
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            format!("{broker} closed the connection")
        }
        ConnectionError::Timeout(_) => format!("{broker} does not answer"),
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => match code {
            ConnectReturnCode::BadUserNamePassword => format!("{broker}: the user name or password is wrong"),
            ConnectReturnCode::NotAuthorized => format!("{broker}: this client is not authorised"),
            ConnectReturnCode::ClientIdentifierNotValid => format!("{broker} does not accept the client id"),
            ConnectReturnCode::UnsupportedProtocolVersion => {
                format!("{broker} does not speak MQTT 5: leave `version: 5` out")
            }
            _ => format!("{broker} refuses the session: {code:?}"),
        },
        ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { pkt_size, max }) => {
            format!("{broker} takes packets of up to {max} octets, and one has {pkt_size}")
        }
        other => format!("{broker}: {other}"),
    }
}
