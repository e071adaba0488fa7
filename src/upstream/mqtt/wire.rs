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
pub(in crate::upstream) const LARGEST_PAYLOAD: usize = 120 << 10;
/// The largest packet, in and out.
pub(in crate::upstream) const LARGEST_PACKET: usize = 128 << 10;
/// What a publish has beside topic and payload: type, length, the topic's length, identifier, properties.
const AROUND: usize = 16;

/// What the broker says on our behalf when we are gone, with QoS 1.
#[derive(Debug, Clone)]
pub(in crate::upstream) struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

/// How a session is asked for.
#[derive(Debug)]
pub(in crate::upstream) struct Hello {
    pub client_id: String,
    pub keep_alive: Duration,
    pub will: Option<Will>,
    /// User name and password.
    pub login: Option<(String, String)>,
}

/// What the broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) struct Greeting {
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
    pub(in crate::upstream) fn room(&self, topic: &str) -> usize {
        LARGEST_PAYLOAD.min(self.largest.saturating_sub(AROUND + topic.len()))
    }
}

/// What the broker has said.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Heard {
    Greeted(Greeting),
    Acknowledged(u16),
    /// Never to be taken, for this reason.
    Refused(u16, &'static str),
    /// A subscription, and whether all of it was granted.
    Subscribed(u16, bool),
    /// What we have subscribed to.
    Message(Letter),
    /// The answer to a ping.
    Pong,
    /// Nothing that matters beside that it lives.
    Life,
}

/// A publish, of ours or of others.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Letter {
    /// With QoS 1, its identifier; without one it has QoS 0.
    pub packet: Option<u16>,
    pub topic: String,
    pub retain: bool,
    pub payload: Vec<u8>,
}

impl Version {
    pub(in crate::upstream) fn connect(self, hello: &Hello, out: &mut BytesMut) -> Result<(), String> {
        let keep_alive = u16::try_from(hello.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let written = match self {
            Version::V311 => {
                let mut connect = mqttbytes::v4::Connect::new(&hello.client_id);
                connect.keep_alive = keep_alive;
                connect.last_will = hello.will.as_ref().map(|Will { topic, payload, retain }| {
                    mqttbytes::v4::LastWill::new(topic, payload.as_slice(), QoS::AtLeastOnce, *retain)
                });
                if let Some((user, password)) = &hello.login {
                    connect.set_login(user, password);
                }
                connect.write(out).map_err(|error| error.to_string())
            }
            Version::V5 => connect_five(hello, keep_alive, out).map_err(|error| error.to_string()),
        };
        written.map(|_| ()).map_err(|error| format!("the session cannot be asked for: {error}"))
    }

    pub(in crate::upstream) fn publish(self, letter: Letter, out: &mut BytesMut) -> Result<(), String> {
        let Letter { packet, topic, retain, payload } = letter;
        let written = match self {
            Version::V311 => {
                let qos = packet.map_or(QoS::AtMostOnce, |_| QoS::AtLeastOnce);
                let mut publish = Publish::from_bytes(topic, qos, Bytes::from(payload));
                (publish.pkid, publish.retain) = (packet.unwrap_or(0), retain);
                publish.write(out).map_err(|error| error.to_string())
            }
            Version::V5 => {
                let qos = packet.map_or(five_bytes::QoS::AtMostOnce, |_| five_bytes::QoS::AtLeastOnce);
                let mut publish = five::Publish::new(topic, qos, payload, None);
                (publish.pkid, publish.retain) = (packet.unwrap_or(0), retain);
                publish.write(out).map_err(|error| error.to_string())
            }
        };
        written.map(|_| ()).map_err(|error| format!("a publish cannot be written: {error}"))
    }

    /// With QoS 1 at most.
    pub(in crate::upstream) fn subscribe(
        self,
        packet: u16,
        filters: Vec<String>,
        out: &mut BytesMut,
    ) -> Result<(), String> {
        let written = match self {
            Version::V311 => {
                let filter = |path| mqttbytes::v4::SubscribeFilter::new(path, QoS::AtLeastOnce);
                let mut subscribe = mqttbytes::v4::Subscribe::new_many(filters.into_iter().map(filter));
                subscribe.pkid = packet;
                subscribe.write(out).map_err(|error| error.to_string())
            }
            Version::V5 => {
                let filter = |path: String| five::Filter::new(path, five_bytes::QoS::AtLeastOnce);
                let mut subscribe = five::Subscribe::new_many(filters.into_iter().map(filter), None);
                subscribe.pkid = packet;
                subscribe.write(out).map_err(|error| error.to_string())
            }
        };
        written.map(|_| ()).map_err(|error| format!("a subscription cannot be written: {error}"))
    }

    /// That a message with QoS 1 has arrived.
    pub(in crate::upstream) fn acknowledge(self, packet: u16, out: &mut BytesMut) -> Result<(), String> {
        let written = match self {
            Version::V311 => mqttbytes::v4::PubAck::new(packet).write(out).map_err(|error| error.to_string()),
            Version::V5 => five::PubAck::new(packet, None).write(out).map_err(|error| error.to_string()),
        };
        written.map(|_| ())
    }

    pub(in crate::upstream) fn ping(self, out: &mut BytesMut) -> Result<(), String> {
        let written = match self {
            Version::V311 => mqttbytes::v4::PingReq.write(out).map_err(|error| error.to_string()),
            Version::V5 => five::PingReq::write(out).map_err(|error| error.to_string()),
        };
        written.map(|_| ())
    }

    pub(in crate::upstream) fn disconnect(self, with_will: bool, out: &mut BytesMut) -> Result<(), String> {
        let written = match self {
            Version::V311 => mqttbytes::v4::Disconnect.write(out).map_err(|error| error.to_string()),
            Version::V5 if with_will => {
                // The library writes a length that is one too short. DISCONNECT, two octets: reason 0x04, no properties.
                out.extend_from_slice(b"\xe0\x02\x04\x00");
                Ok(4)
            }
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
    pub(in crate::upstream) fn hear(self, input: &mut BytesMut) -> Result<Option<Heard>, String> {
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
    let qos = five_bytes::QoS::AtLeastOnce;
    let will = hello.will.as_ref().map(|Will { topic, payload, retain }| {
        five::LastWill::new(topic, payload.as_slice(), qos, *retain, None)
    });
    let login = hello.login.as_ref().map(|(user, password)| five::Login::new(user, password));
    connect.write(&will, &login, out)
}

fn no_mqtt(error: &str) -> String {
    format!("says what is no MQTT ({error}): is something else listening on this port?")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is for servers")]
fn said(packet: Packet) -> Result<Heard, String> {
    use mqttbytes::v4::SubscribeReasonCode as Code;
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
        Packet::SubAck(ack) => {
            let granted = |code: &Code| matches!(code, Code::Success(_));
            Ok(Heard::Subscribed(ack.pkid, ack.return_codes.iter().all(granted)))
        }
        Packet::Publish(Publish { qos: QoS::ExactlyOnce, .. }) => Err(TWICE.to_owned()),
        Packet::Publish(Publish { topic, pkid, retain, payload, .. }) => {
            let packet = (pkid > 0).then_some(pkid);
            Ok(Heard::Message(Letter { packet, topic, retain, payload: payload.to_vec() }))
        }
        Packet::PingResp => Ok(Heard::Pong),
        _ => Ok(Heard::Life),
    }
}

const TWICE: &str = "sends a message with QoS 2, which nobody has subscribed to";
const WRONG_LOGIN: &str = "says that the user name or password is wrong";
const NOT_AUTHORISED: &str =
    "says that this client is not authorised: are user name or password missing or wrong, or the client id?";
const WRONG_ID: &str = "does not accept the client id";
const UNAVAILABLE: &str = "says that it is unavailable";

#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is for servers")]
fn said_five(packet: five::Packet) -> Result<Heard, String> {
    use five::SubscribeReasonCode as Code;
    match packet {
        five::Packet::ConnAck(ack) => greeted(&ack),
        five::Packet::PubAck(ack) => answered(&ack),
        five::Packet::SubAck(ack) => {
            let granted = |code: &Code| matches!(code, Code::Success(_));
            Ok(Heard::Subscribed(ack.pkid, ack.return_codes.iter().all(granted)))
        }
        five::Packet::Publish(five::Publish { qos: five_bytes::QoS::ExactlyOnce, .. }) => {
            Err(TWICE.to_owned())
        }
        five::Packet::Publish(five::Publish { topic, pkid, retain, payload, .. }) => {
            let topic = String::from_utf8_lossy(&topic).into_owned();
            let packet = (pkid > 0).then_some(pkid);
            Ok(Heard::Message(Letter { packet, topic, retain, payload: payload.to_vec() }))
        }
        five::Packet::PingResp(_) => Ok(Heard::Pong),
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

/// What an MQTT 5 broker says when another client has our identifier.
pub(super) const TAKEN_OVER: &str = "somebody else has connected with the same client id";

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn dismissed(code: five::DisconnectReasonCode) -> String {
    use five::DisconnectReasonCode as Code;
    let why = match code {
        Code::SessionTakenOver => {
            format!("{TAKEN_OVER}: give each gateway its own (`client_id`)")
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
        let will = Some(Will { topic: "t".to_owned(), payload: b"w".to_vec(), retain: true });
        let login = Some(("u".to_owned(), "p".to_owned()));
        let hello = Hello { client_id: "id".to_owned(), keep_alive: Duration::from_secs(30), will, login };
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
                Letter { packet: Some(258), topic: "t".to_owned(), retain: true, payload: b"abc".to_vec() };
            version.publish(letter, &mut out).unwrap();
            assert_eq!(&out[..], expected);
        }
    }

    #[test]
    fn a_publish_without_an_identifier_is_one_that_nobody_acknowledges() {
        for (version, expected) in
            [(Version::V311, &b"\x30\x06\x00\x01tabc"[..]), (Version::V5, b"\x30\x07\x00\x01t\x00abc")]
        {
            let mut out = BytesMut::new();
            let letter =
                Letter { packet: None, topic: "t".to_owned(), retain: false, payload: b"abc".to_vec() };
            version.publish(letter, &mut out).unwrap();
            assert_eq!(&out[..], expected);
        }
    }

    #[test]
    fn what_is_subscribed_to_is_asked_for_granted_and_heard() {
        for (version, asked, granted, refused) in [
            (
                Version::V311,
                &b"\x82\x0a\x00\x07\x00\x01a\x01\x00\x01b\x01"[..],
                &b"\x90\x04\x00\x07\x01\x00"[..],
                &b"\x90\x04\x00\x07\x01\x80"[..],
            ),
            (
                Version::V5,
                b"\x82\x0b\x00\x07\x00\x00\x01a\x01\x00\x01b\x01",
                b"\x90\x05\x00\x07\x00\x01\x00",
                b"\x90\x05\x00\x07\x00\x01\x87",
            ),
        ] {
            let mut out = BytesMut::new();
            version.subscribe(7, vec!["a".to_owned(), "b".to_owned()], &mut out).unwrap();
            assert_eq!(&out[..], asked);
            assert_eq!(hear(version, granted), Ok(Some(Heard::Subscribed(7, true))));
            assert_eq!(hear(version, refused), Ok(Some(Heard::Subscribed(7, false))));
        }
        let letter = |packet, retain| {
            Heard::Message(Letter { packet, topic: "t".to_owned(), retain, payload: b"abc".to_vec() })
        };
        assert_eq!(hear(Version::V311, b"\x33\x08\x00\x01t\x01\x02abc"), Ok(Some(letter(Some(258), true))));
        assert_eq!(hear(Version::V5, b"\x30\x07\x00\x01t\x00abc"), Ok(Some(letter(None, false))));
        assert!(hear(Version::V311, b"\x35\x08\x00\x01t\x01\x02abc").unwrap_err().contains("QoS 2"));
        assert_eq!(hear(Version::V5, b"\xd0\x00"), Ok(Some(Heard::Pong)));
        for version in [Version::V311, Version::V5] {
            let mut out = BytesMut::new();
            version.acknowledge(258, &mut out).unwrap();
            assert_eq!(&out[..], b"\x40\x02\x01\x02");
        }
    }

    #[test]
    fn a_good_bye_leaves_the_will_to_the_broker_where_that_is_asked_for() {
        for (version, with_will, expected) in [
            (Version::V311, true, &b"\xe0\x00"[..]),
            (Version::V5, true, b"\xe0\x02\x04\x00"),
            (Version::V5, false, b"\xe0\x00"),
        ] {
            let mut out = BytesMut::new();
            version.disconnect(with_will, &mut out).unwrap();
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
