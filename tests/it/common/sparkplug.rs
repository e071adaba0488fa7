//! A broker that an edge node of Sparkplug speaks to, and that answers only when the test says so.

use linesman::upstream::{Kind, mqtt, sparkplug};
use payload::Payload;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

#[path = "../../e2e/sparkplug/payload.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the end-to-end tests")]
pub mod payload;

const PATIENCE: Duration = Duration::from_secs(30);

/// An edge node `E` of the group `G`, by a broker of this machine.
pub fn kind(port: u16) -> Kind {
    Kind::Sparkplug(sparkplug::Config {
        access: mqtt::Access::here(port),
        group: "G".into(),
        node: "E".into(),
        ..sparkplug::Config::default()
    })
}

/// The broker: one socket.
pub struct Broker(TcpListener);

#[derive(Debug)]
pub enum Heard {
    Connect,
    Subscribe,
    Publish(String, Payload),
    Ping,
    Disconnect,
    Closed,
}

pub struct Client(TcpStream);

impl Broker {
    pub async fn start() -> Broker {
        Broker(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// The next connection, however long it takes.
    pub async fn accept_whenever(&self) -> Client {
        Client(self.0.accept().await.unwrap().0)
    }

    /// The next client, greeted.
    pub async fn welcome(&self) -> Client {
        let accepted = timeout(PATIENCE, self.0.accept()).await.expect("no client came").unwrap();
        let mut client = Client(accepted.0);
        assert!(matches!(client.next().await, Heard::Connect));
        client.send(b"\x20\x02\x00\x00").await;
        client
    }

    /// The same, with what it subscribes to granted.
    pub async fn admit(&self) -> Client {
        let mut client = self.welcome().await;
        assert!(matches!(client.next().await, Heard::Subscribe));
        client.send(b"\x90\x03\x00\x01\x01").await;
        client
    }
}

impl Client {
    pub async fn send(&mut self, octets: &[u8]) {
        // Who has gone already does not hear it.
        let _ = self.0.write_all(octets).await;
    }

    pub async fn next(&mut self) -> Heard {
        timeout(PATIENCE, self.read()).await.expect("the node says nothing")
    }

    pub async fn read(&mut self) -> Heard {
        let Ok(head) = self.0.read_u8().await else { return Heard::Closed };
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let Ok(octet) = self.0.read_u8().await else { return Heard::Closed };
            length |= usize::from(octet & 0x7F) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        if self.0.read_exact(&mut body).await.is_err() {
            return Heard::Closed;
        }
        match head >> 4 {
            1 => Heard::Connect,
            8 => Heard::Subscribe,
            12 => Heard::Ping,
            14 => Heard::Disconnect,
            _ => {
                let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let qos = (head >> 1) & 3;
                let payload = payload::read(&body[topic + 2 * usize::from(qos > 0)..]).unwrap();
                Heard::Publish(String::from_utf8(body[2..topic].to_vec()).unwrap(), payload)
            }
        }
    }

    /// The next publish of these kinds; pings before it are answered.
    pub async fn publish(&mut self, verbs: &[&str]) -> (String, Payload) {
        loop {
            match self.next().await {
                Heard::Publish(topic, payload) if verbs.iter().any(|verb| topic.contains(verb)) => {
                    return (topic, payload);
                }
                Heard::Publish(..) => {}
                Heard::Ping => self.send(b"\xd0\x00").await,
                other @ (Heard::Connect | Heard::Subscribe | Heard::Disconnect | Heard::Closed) => {
                    panic!("{other:?} while waiting for {verbs:?}")
                }
            }
        }
    }

    pub async fn data(&mut self) -> (String, Payload) {
        self.publish(&["/DDATA/"]).await
    }
}
