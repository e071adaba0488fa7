//! A broker made for a test: speaks just enough MQTT 3.1.1 and 5, and answers only when the test says so.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long anything may take that must happen; never what is measured.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct StubBroker {
    listener: TcpListener,
}

/// One client's connection.
pub struct Client {
    stream: TcpStream,
    five: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Connect(Connect),
    Publish {
        topic: String,
        retain: bool,
        packet: u16,
        payload: String,
    },
    Disconnect,
    Other(u8),
    /// The client is gone.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    pub version: u8,
    pub clean: bool,
    pub client_id: String,
    pub will: Option<(String, String, bool)>,
    pub username: Option<String>,
    pub password: Option<String>,
}

impl StubBroker {
    pub async fn start() -> StubBroker {
        StubBroker { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection, not greeted yet.
    pub async fn accept(&self) -> Client {
        let accepted = timeout(PATIENCE, self.listener.accept()).await.expect("no client came");
        Client { stream: accepted.unwrap().0, five: false }
    }

    /// The next connection, however long it takes.
    pub async fn accept_whenever(&self) -> Client {
        Client { stream: self.listener.accept().await.unwrap().0, five: false }
    }

    /// The next connection, greeted.
    pub async fn welcome(&self) -> (Client, Connect) {
        let mut client = self.accept().await;
        let Packet::Connect(connect) = client.next().await else { panic!("a client that does not connect") };
        client.greet(None).await;
        (client, connect)
    }

    /// The same for one who speaks MQTT 5 and takes so many publishes at once.
    pub async fn welcome_with(&self, receive_maximum: u16) -> Client {
        let mut client = self.accept().await;
        let Packet::Connect(connect) = client.next().await else { panic!("a client that does not connect") };
        assert_eq!(connect.version, 5);
        client.greet(Some(receive_maximum)).await;
        client
    }
}

impl Client {
    async fn greet(&mut self, receive_maximum: Option<u16>) {
        match receive_maximum.map(u16::to_be_bytes) {
            Some([high, low]) => self.send(&[0x20, 6, 0, 0, 3, 0x21, high, low]).await,
            None if self.five => self.send(&[0x20, 3, 0, 0, 0]).await,
            None => self.send(&[0x20, 2, 0, 0]).await,
        }
    }

    /// Greets whoever has asked for it.
    pub async fn welcome(&mut self) {
        self.greet(None).await;
    }

    pub fn speaks_five(&self) -> bool {
        self.five
    }

    /// The next packet, however long it takes, pings answered and passed over.
    pub async fn next_or_closed(&mut self) -> Packet {
        loop {
            let packet = self.read().await;
            if packet != Packet::Other(0xC0) {
                return packet;
            }
            self.send(&[0xD0, 0]).await;
        }
    }

    /// A PUBACK of MQTT 5 with a reason code.
    pub async fn refuse(&mut self, packet: u16, reason: u8) {
        let [high, low] = packet.to_be_bytes();
        self.send(&[0x40, 3, high, low, reason]).await;
    }

    /// To whoever may be gone by now.
    pub async fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets).await;
    }

    pub async fn acknowledge(&mut self, packet: u16) {
        let [high, low] = packet.to_be_bytes();
        self.send(&[0x40, 2, high, low]).await;
    }

    /// The next packet, pings answered and passed over.
    pub async fn next(&mut self) -> Packet {
        loop {
            let packet = timeout(PATIENCE, self.read()).await.expect("the client says nothing");
            if packet != Packet::Other(0xC0) {
                return packet;
            }
            self.send(&[0xD0, 0]).await;
        }
    }

    /// The next publish whose topic ends so; those before it are acknowledged.
    pub async fn publish_to(&mut self, topic: &str) -> (u16, String) {
        loop {
            let Packet::Publish { topic: to, packet, payload, .. } = self.next().await else {
                panic!("no publish while waiting for {topic}")
            };
            if to.ends_with(topic) {
                return (packet, payload);
            }
            self.acknowledge(packet).await;
        }
    }

    async fn read(&mut self) -> Packet {
        let Ok(head) = self.stream.read_u8().await else { return Packet::Closed };
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let Ok(octet) = self.stream.read_u8().await else { return Packet::Closed };
            length |= usize::from(octet & 0x7F) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        if self.stream.read_exact(&mut body).await.is_err() {
            return Packet::Closed;
        }
        let packet = packet(head, &body, self.five);
        if let Packet::Connect(connect) = &packet {
            self.five = connect.version == 5;
        }
        packet
    }
}

fn packet(head: u8, body: &[u8], five: bool) -> Packet {
    match head >> 4 {
        1 => Packet::Connect(connect(body)),
        3 => {
            let mut rest = body;
            let topic = text(&mut rest);
            let packet = u16::from_be_bytes([rest[0], rest[1]]);
            assert_eq!((head >> 1) & 3, 1, "a publish that is not QoS 1");
            rest = &rest[2..];
            if five {
                skip_properties(&mut rest);
            }
            // What is no text comes as its octets, a character each.
            let payload = String::from_utf8(rest.to_vec())
                .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect());
            Packet::Publish { topic, retain: head & 1 == 1, packet, payload }
        }
        14 => Packet::Disconnect,
        _ => Packet::Other(head),
    }
}

fn connect(body: &[u8]) -> Connect {
    let mut rest = body;
    assert_eq!(text(&mut rest), "MQTT");
    let (version, flags) = (rest[0], rest[1]);
    assert!(version == 4 || version == 5, "neither MQTT 3.1.1 nor 5");
    rest = &rest[4..];
    if version == 5 {
        skip_properties(&mut rest);
    }
    let client_id = text(&mut rest);
    let will = (flags & 4 != 0).then(|| {
        if version == 5 {
            skip_properties(&mut rest);
        }
        (text(&mut rest), text(&mut rest), flags & 0x20 != 0)
    });
    let username = (flags & 0x80 != 0).then(|| text(&mut rest));
    let password = (flags & 0x40 != 0).then(|| text(&mut rest));
    Connect { version, clean: flags & 2 != 0, client_id, will, username, password }
}

/// Those of the tests are shorter than 128 octets.
fn skip_properties(rest: &mut &[u8]) {
    *rest = &rest[1 + usize::from(rest[0])..];
}

fn text(rest: &mut &[u8]) -> String {
    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    let text = String::from_utf8(rest[2..2 + length].to_vec()).unwrap();
    *rest = &rest[2 + length..];
    text
}
