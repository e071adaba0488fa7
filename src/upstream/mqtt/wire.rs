//! MQTT's packets, 3.1.1 and 5, as octets and back. Pure; the library writes and reads each packet, and here stands what
//! of them means something to us. Source of the reason codes: MQTT 5.0, 3.4.2.1 (PUBACK), 3.2.2.2 (CONNACK), 3.14.2.1
//! (DISCONNECT).

use super::config::Version;
use super::window::WINDOW;
use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes as five_bytes;
use rumqttc::v5::mqttbytes::v5 as five;
use rumqttc::{ConnectReturnCode, Packet, Publish, QoS, mqttbytes};
use std::time::Duration;

/// The largest payload that is sent: the least that cloud brokers take, less room for the topic.
pub(super) const LARGEST_PAYLOAD: usize = 120 << 10;
/// The largest packet, in and out.
pub(super) const LARGEST_PACKET: usize = 128 << 10;
/// What a publish has beside topic and payload: type, length, the topic's length, identifier, properties.
const AROUND: usize = 16;

/// What the broker says on our behalf when we are gone.
#[derive(Debug, Clone)]
pub(super) struct Will {
    pub topic: String,
    pub payload: String,
}

/// How a session is asked for.
#[derive(Debug)]
pub(super) struct Hello {
    pub client_id: String,
    pub keep_alive: Duration,
    pub will: Will,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// The wall clock is not known to be right: a certificate's dates may only seem wrong.
    pub clock_unsure: bool,
}

/// What the broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Publishes at once (Receive Maximum).
    pub at_once: usize,
    /// Octets of a packet (Maximum Packet Size).
    pub largest: usize,
    /// The longest silence, if the broker says another one (Server Keep Alive).
    pub keep_alive: Option<Duration>,
    /// It keeps what is retained (Retain Available).
    pub retains: bool,
}

impl Default for Greeting {
    fn default() -> Greeting {
        Greeting { at_once: WINDOW, largest: LARGEST_PACKET, keep_alive: None, retains: true }
    }
}

impl Greeting {
    /// Octets of payload that the broker takes under a topic.
    pub(super) fn room(&self, topic: &str) -> usize {
        LARGEST_PAYLOAD.min(self.largest.saturating_sub(AROUND + topic.len()))
    }
}

/// What the broker has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Greeted(Greeting),
    Acknowledged(u16),
    /// Never to be taken, for this reason.
    Refused(u16, &'static str),
    /// Nothing that matters beside that it lives.
    Life,
}

/// A publish with QoS 1.
#[derive(Debug)]
pub(super) struct Letter {
    pub packet: u16,
    pub topic: String,
    pub retain: bool,
    pub payload: Vec<u8>,
}

impl Version {
    pub(super) fn connect(self, hello: &Hello, out: &mut BytesMut) -> Result<(), String> {
        let keep_alive = u16::try_from(hello.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let written = match self {
            Version::V311 => {
                let mut connect = mqttbytes::v4::Connect::new(&hello.client_id);
                connect.keep_alive = keep_alive;
                let Will { topic, payload } = &hello.will;
                let will = mqttbytes::v4::LastWill::new(topic, payload.as_str(), QoS::AtLeastOnce, true);
                connect.last_will = Some(will);
                if let Some((user, password)) = &hello.login {
                    connect.set_login(user, password);
                }
                connect.write(out).map_err(|error| error.to_string())
            }
            Version::V5 => connect_five(hello, keep_alive, out).map_err(|error| error.to_string()),
        };
        written.map(|_| ()).map_err(|error| format!("the session cannot be asked for: {error}"))
    }

    pub(super) fn publish(self, letter: Letter, out: &mut BytesMut) -> Result<(), String> {
        let Letter { packet, topic, retain, payload } = letter;
        let written = match self {
            Version::V311 => {
                let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, Bytes::from(payload));
                (publish.pkid, publish.retain) = (packet, retain);
                publish.write(out).map_err(|error| error.to_string())
            }
            Version::V5 => {
                let mut publish = five::Publish::new(topic, five_bytes::QoS::AtLeastOnce, payload, None);
                (publish.pkid, publish.retain) = (packet, retain);
                publish.write(out).map_err(|error| error.to_string())
            }
        };
        written.map(|_| ()).map_err(|error| format!("a publish cannot be written: {error}"))
    }

    pub(super) fn ping(self, out: &mut BytesMut) -> Result<(), String> {
        let written = match self {
            Version::V311 => mqttbytes::v4::PingReq.write(out).map_err(|error| error.to_string()),
            Version::V5 => five::PingReq::write(out).map_err(|error| error.to_string()),
        };
        written.map(|_| ())
    }

    pub(super) fn disconnect(self, out: &mut BytesMut) -> Result<(), String> {
        let written = match self {
            Version::V311 => mqttbytes::v4::Disconnect.write(out).map_err(|error| error.to_string()),
            Version::V5 => five::Disconnect::new(five::DisconnectReasonCode::NormalDisconnection)
                .write(out)
                .map_err(|error| error.to_string()),
        };
        written.map(|_| ())
    }

    /// Takes the next whole packet out; nothing where more octets have to come.
    ///
    /// # Errors
    /// What ends the connection, in words that follow the broker's name.
    pub(super) fn hear(self, input: &mut BytesMut) -> Result<Option<Heard>, String> {
        match self {
            Version::V311 => match Packet::read(input, LARGEST_PACKET) {
                Ok(packet) => said(packet).map(Some),
                Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => Err(no_mqtt(&error.to_string())),
            },
            Version::V5 => {
                // A DISCONNECT of nothing but its head is one without a reason; the library wants a body.
                let is_bare_end = input.starts_with(&[0xE0, 0]);
                let most = u32::try_from(LARGEST_PACKET).ok();
                match five::Packet::read(input, most) {
                    Ok(packet) => said_five(packet).map(Some),
                    Err(five_bytes::Error::InsufficientBytes(_)) => Ok(None),
                    Err(_) if is_bare_end => Err("closed the connection".to_owned()),
                    Err(error) => Err(no_mqtt(&error.to_string())),
                }
            }
        }
    }
}

fn connect_five(hello: &Hello, keep_alive: u16, out: &mut BytesMut) -> Result<usize, five_bytes::Error> {
    let mut properties = five::ConnectProperties::new();
    properties.max_packet_size = u32::try_from(LARGEST_PACKET).ok();
    let connect = five::Connect {
        keep_alive,
        client_id: hello.client_id.clone(),
        clean_start: true,
        properties: Some(properties),
    };
    let Will { topic, payload } = &hello.will;
    let will = five::LastWill::new(topic, payload.as_str(), five_bytes::QoS::AtLeastOnce, true, None);
    let login = hello.login.as_ref().map(|(user, password)| five::Login::new(user, password));
    connect.write(&Some(will), &login, out)
}

fn no_mqtt(error: &str) -> String {
    format!("says what is no MQTT ({error}): is something else listening on this port?")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is for subscribers and servers")]
fn said(packet: Packet) -> Result<Heard, String> {
    match packet {
        Packet::ConnAck(greeting) => match greeting.code {
            ConnectReturnCode::Success => Ok(Heard::Greeted(Greeting::default())),
            ConnectReturnCode::BadUserNamePassword => Err(WRONG_LOGIN.to_owned()),
            ConnectReturnCode::NotAuthorized => Err(NOT_AUTHORISED.to_owned()),
            ConnectReturnCode::BadClientId => Err(WRONG_ID.to_owned()),
            ConnectReturnCode::ServiceUnavailable => Err(UNAVAILABLE.to_owned()),
            ConnectReturnCode::RefusedProtocolVersion => {
                Err("does not speak MQTT 3.1.1: try `version: 5`".to_owned())
            }
        },
        Packet::PubAck(ack) => Ok(Heard::Acknowledged(ack.pkid)),
        _ => Ok(Heard::Life),
    }
}

const WRONG_LOGIN: &str = "says that the user name or password is wrong";
const NOT_AUTHORISED: &str = "says that this client is not authorised";
const WRONG_ID: &str = "does not accept the client id";
const UNAVAILABLE: &str = "says that it is unavailable";

#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is for subscribers and servers")]
fn said_five(packet: five::Packet) -> Result<Heard, String> {
    match packet {
        five::Packet::ConnAck(ack) => greeted(&ack),
        five::Packet::PubAck(ack) => answered(&ack),
        five::Packet::Disconnect(end) => Err(dismissed(end.reason_code)),
        _ => Ok(Heard::Life),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn greeted(ack: &five::ConnAck) -> Result<Heard, String> {
    use five::ConnectReturnCode as Code;
    match ack.code {
        Code::Success => {}
        Code::BadUserNamePassword => return Err(WRONG_LOGIN.to_owned()),
        Code::NotAuthorized => return Err(NOT_AUTHORISED.to_owned()),
        Code::ClientIdentifierNotValid | Code::BadClientId => return Err(WRONG_ID.to_owned()),
        Code::ServiceUnavailable | Code::ServerUnavailable | Code::ServerBusy => {
            return Err(UNAVAILABLE.to_owned());
        }
        Code::Banned => return Err("has banned this client".to_owned()),
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => {
            return Err("does not speak MQTT 5: leave `version: 5` out".to_owned());
        }
        code => return Err(format!("refuses the session: {code:?}")),
    }
    let properties = ack.properties.as_ref();
    if properties.and_then(|all| all.max_qos) == Some(0) {
        return Err("takes no publish that is acknowledged (its Maximum QoS is 0), and nothing else is sent"
            .to_owned());
    }
    let most = properties.and_then(|all| all.receive_max);
    let largest = properties.and_then(|all| all.max_packet_size).and_then(|most| usize::try_from(most).ok());
    let keep_alive = properties.and_then(|all| all.server_keep_alive).filter(|seconds| *seconds > 0);
    Ok(Heard::Greeted(Greeting {
        at_once: most.map_or(WINDOW, |most| usize::from(most).clamp(1, WINDOW)),
        largest: largest.map_or(LARGEST_PACKET, |most| most.min(LARGEST_PACKET)),
        keep_alive: keep_alive.map(|seconds| Duration::from_secs(seconds.into())),
        retains: properties.and_then(|all| all.retain_available) != Some(0),
    }))
}

/// What can never be taken is refused for good; what might be another time breaks the session.
fn answered(ack: &five::PubAck) -> Result<Heard, String> {
    use five::PubAckReason as Reason;
    let trouble = |why: &str| Err(format!("refuses a publish: {why}"));
    match ack.reason {
        Reason::Success | Reason::NoMatchingSubscribers => Ok(Heard::Acknowledged(ack.pkid)),
        Reason::NotAuthorized => Ok(Heard::Refused(ack.pkid, "not authorised (0x87)")),
        Reason::TopicNameInvalid => Ok(Heard::Refused(ack.pkid, "topic name not valid (0x90)")),
        Reason::PayloadFormatInvalid => Ok(Heard::Refused(ack.pkid, "payload format not valid (0x99)")),
        Reason::UnspecifiedError => trouble("for a reason that it does not say (0x80)"),
        Reason::ImplementationSpecificError => trouble("it is not able to (0x83)"),
        Reason::PacketIdentifierInUse => trouble("its identifier is in use (0x91)"),
        Reason::QuotaExceeded => trouble("its quota is exceeded (0x97)"),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn dismissed(code: five::DisconnectReasonCode) -> String {
    use five::DisconnectReasonCode as Code;
    let why = match code {
        Code::SessionTakenOver => {
            "somebody else has connected with the same client id: give each gateway its own (`client_id`)"
                .to_owned()
        }
        Code::ServerShuttingDown => "it is shutting down".to_owned(),
        Code::ServerBusy => "it is busy".to_owned(),
        Code::KeepAliveTimeout => "it has heard nothing of us for too long".to_owned(),
        Code::NotAuthorized => "this client is not authorised".to_owned(),
        Code::QuotaExceeded => "a quota is exceeded".to_owned(),
        Code::MessageRateTooHigh => "it was sent too much in too short a time: see `history_rate`".to_owned(),
        Code::PacketTooLarge => "a packet was too large for it".to_owned(),
        Code::AdministrativeAction => "somebody there has ended it".to_owned(),
        code => format!("{code:?}"),
    };
    format!("ended the connection: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hear(version: Version, octets: &[u8]) -> Result<Option<Heard>, String> {
        version.hear(&mut BytesMut::from(octets))
    }

    #[test]
    fn a_session_is_asked_for_as_the_specification_writes_it() {
        let will = Will { topic: "t".to_owned(), payload: "w".to_owned() };
        let login = Some(("u".to_owned(), "p".to_owned()));
        let hello = Hello {
            client_id: "id".to_owned(),
            keep_alive: Duration::from_secs(30),
            will,
            login,
            clock_unsure: false,
        };
        let mut out = BytesMut::new();
        Version::V311.connect(&hello, &mut out).unwrap();
        // 3.1: level 4; user, password, will retained with QoS 1, clean session; 30 s.
        assert_eq!(
            &out[..],
            b"\x10\x1a\x00\x04MQTT\x04\xee\x00\x1e\x00\x02id\x00\x01t\x00\x01w\x00\x01u\x00\x01p"
        );
        out.clear();
        Version::V5.connect(&hello, &mut out).unwrap();
        // Maximum Packet Size 131 072 (0x27); no properties of the will.
        assert_eq!(
            &out[..],
            b"\x10\x21\x00\x04MQTT\x05\xee\x00\x1e\x05\x27\x00\x02\x00\x00\x00\x02id\x00\x00\x01t\x00\x01w\x00\x01u\x00\x01p"
        );
    }

    #[test]
    fn a_publish_carries_its_own_identifier() {
        for (version, expected) in [
            (Version::V311, &b"\x33\x08\x00\x01t\x01\x02abc"[..]),
            (Version::V5, b"\x33\x09\x00\x01t\x01\x02\x00abc"),
        ] {
            let mut out = BytesMut::new();
            let letter =
                Letter { packet: 258, topic: "t".to_owned(), retain: true, payload: b"abc".to_vec() };
            version.publish(letter, &mut out).unwrap();
            assert_eq!(&out[..], expected);
        }
    }

    #[test]
    fn what_the_broker_takes_is_heard() {
        // Receive Maximum 5, Maximum Packet Size 1024, Server Keep Alive 10, Retain Available 0.
        let octets = b"\x20\x10\x00\x00\x0d\x21\x00\x05\x27\x00\x00\x04\x00\x13\x00\x0a\x25\x00";
        let greeting =
            Greeting { at_once: 5, largest: 1024, keep_alive: Some(Duration::from_secs(10)), retains: false };
        assert_eq!(hear(Version::V5, octets), Ok(Some(Heard::Greeted(greeting))));
        assert_eq!(greeting.room("abcd"), 1004);
        assert_eq!(hear(Version::V311, b"\x20\x02\x00\x00"), Ok(Some(Heard::Greeted(Greeting::default()))));
        assert_eq!(Greeting::default().room("abcd"), LARGEST_PAYLOAD);
        assert!(hear(Version::V5, b"\x20\x05\x00\x00\x02\x24\x00").unwrap_err().contains("Maximum QoS"));
    }

    #[test]
    fn who_ends_the_session_and_why_is_said() {
        assert!(hear(Version::V5, b"\xe0\x02\x8e\x00").unwrap_err().contains("same client id"));
        assert_eq!(hear(Version::V5, b"\xe0\x00").unwrap_err(), "closed the connection");
        assert!(hear(Version::V311, b"\x20\x02\x00\x04").unwrap_err().contains("password is wrong"));
        assert!(hear(Version::V311, b"\x00\x00\x00").unwrap_err().contains("no MQTT"));
    }

    proptest! {
        #[test]
        fn whatever_a_broker_says_is_heard_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            for version in [Version::V311, Version::V5] {
                let mut input = BytesMut::from(&octets[..]);
                while let Ok(Some(_)) = version.hear(&mut input) {}
            }
        }
    }
}
