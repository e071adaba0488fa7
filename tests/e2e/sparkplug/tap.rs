//! What an edge node and its brokers say to each other, seen from the wire: a tap before each broker, and what passed it read
//! as MQTT.

use super::payload::{self, Payload};
use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Octets as they passed; none where the connection ended.
struct Chunk {
    connection: usize,
    broker: usize,
    from_node: bool,
    octets: Vec<u8>,
}

/// All that passed, over all brokers, in its order.
#[derive(Clone, Default)]
pub struct Recorder {
    chunks: Arc<Mutex<Vec<Chunk>>>,
    connections: Arc<AtomicUsize>,
}

/// A way to one broker.
pub struct Tap {
    port: u16,
    open: Arc<AtomicBool>,
    passing: Arc<Mutex<Vec<TcpStream>>>,
}

impl Tap {
    pub fn before(port: u16, broker: usize, recorder: &Recorder) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let passing = Arc::new(Mutex::new(Vec::new()));
        let (watched, kept, recorder) = (open.clone(), passing.clone(), recorder.clone());
        thread::spawn(move || {
            for node in listener.incoming().map_while(Result::ok) {
                if watched.load(Ordering::SeqCst)
                    && let Ok(far) = TcpStream::connect(("127.0.0.1", port))
                {
                    recorder.join(broker, &node, &far);
                    kept.lock().unwrap().extend([node, far]);
                } else {
                    recorder.turn_away(broker, node);
                }
            }
        });
        Tap { port: address.port(), open, passing }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends what passes, and lets nothing pass.
    pub fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.passing.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

impl Recorder {
    fn join(&self, broker: usize, node: &TcpStream, far: &TcpStream) {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        for (mut from, mut to, from_node) in [(copy(node), copy(far), true), (copy(far), copy(node), false)] {
            let chunks = self.chunks.clone();
            thread::spawn(move || {
                let mut octets = [0; 4096];
                while let Ok(count @ 1..) = from.read(&mut octets) {
                    let octets = octets[..count].to_vec();
                    // On record before it is passed on, so that an answer never stands before its question.
                    chunks.lock().unwrap().push(Chunk {
                        connection,
                        broker,
                        from_node,
                        octets: octets.clone(),
                    });
                    if to.write_all(&octets).is_err() {
                        break;
                    }
                }
                if from_node {
                    chunks.lock().unwrap().push(Chunk { connection, broker, from_node, octets: Vec::new() });
                }
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
        }
    }

    /// What a node says that is let in and no further: its CONNECT is on record.
    fn turn_away(&self, broker: usize, mut node: TcpStream) {
        let mut octets = vec![0; 4096];
        let count = node.read(&mut octets).unwrap_or(0);
        octets.truncate(count);
        if count > 0 {
            let connection = self.connections.fetch_add(1, Ordering::SeqCst);
            let said = [octets, Vec::new()];
            let chunks = said.map(|octets| Chunk { connection, broker, from_node: true, octets });
            self.chunks.lock().unwrap().extend(chunks);
        }
    }

    /// All connections so far, in the order in which they were made.
    pub fn trace(&self) -> Trace {
        let chunks = self.chunks.lock().unwrap();
        let mut trace = Trace::default();
        let mut inputs: Vec<[BytesMut; 2]> = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            while trace.sessions.len() <= chunk.connection {
                trace.sessions.push(Session::default());
                inputs.push([BytesMut::new(), BytesMut::new()]);
            }
            let session = &mut trace.sessions[chunk.connection];
            session.broker = chunk.broker;
            if session.opened == 0 {
                session.opened = at + 1;
            }
            if chunk.octets.is_empty() {
                session.said.push(Said::End);
                session.closed.get_or_insert(at + 1);
                continue;
            }
            let input = &mut inputs[chunk.connection][usize::from(chunk.from_node)];
            input.extend_from_slice(&chunk.octets);
            session.read(input);
            if session.said.iter().any(|said| matches!(said, Said::Disconnect(_))) {
                session.closed.get_or_insert(at + 1);
            }
        }
        trace.sessions.retain(|session| session.will.is_some());
        trace
    }
}

/// Connections, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    pub sessions: Vec<Session>,
    /// What a scenario has seen happen beside.
    pub notes: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Will {
    pub topic: String,
    pub octets: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

/// One connection.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub broker: usize,
    /// When it began and ended, in the order of all that passed.
    pub opened: usize,
    pub closed: Option<usize>,
    /// 4 or 5; 0 before the CONNECT.
    pub level: u8,
    pub clean: bool,
    pub expiry: u32,
    pub will: Option<Will>,
    pub said: Vec<Said>,
}

#[derive(Debug, Clone)]
pub enum Said {
    Subscribe(Vec<(String, u8)>),
    /// The node's own.
    Publish {
        topic: String,
        qos: u8,
        retain: bool,
        payload: Option<Payload>,
        octets: Vec<u8>,
    },
    /// To the node.
    Message {
        topic: String,
        octets: Vec<u8>,
    },
    Disconnect(u8),
    End,
}

impl Session {
    fn read(&mut self, input: &mut BytesMut) {
        if let (0, Some(at)) = (self.level, input.windows(4).position(|octets| octets == b"MQTT")) {
            self.level = input.get(at + 4).copied().unwrap_or(0);
        }
        loop {
            // A DISCONNECT of nothing but its head, which the library of MQTT 5 does not read.
            if input.starts_with(b"\xe0\x00") {
                let _ = input.split_to(2);
                self.said.push(Said::Disconnect(0));
                continue;
            }
            if input.starts_with(b"\xe0\x02") && input.len() >= 4 {
                let octets = input.split_to(4);
                self.said.push(Said::Disconnect(octets[2]));
                continue;
            }
            let more = match self.level {
                0 => false,
                5 => v5::Packet::read(input, Some(1 << 20)).map(|packet| self.take_five(packet)).is_ok(),
                _ => v4::Packet::read(input, 1 << 20).map(|packet| self.take_four(packet)).is_ok(),
            };
            if !more {
                return;
            }
        }
    }

    fn take_four(&mut self, packet: v4::Packet) {
        match packet {
            v4::Packet::Connect(connect) => {
                self.clean = connect.clean_session;
                self.will = connect.last_will.map(|will| Will {
                    topic: will.topic,
                    octets: will.message.to_vec(),
                    qos: will.qos as u8,
                    retain: will.retain,
                });
            }
            v4::Packet::Subscribe(subscribe) => {
                let filters = subscribe.filters.into_iter().map(|filter| (filter.path, filter.qos as u8));
                self.said.push(Said::Subscribe(filters.collect()));
            }
            v4::Packet::Publish(publish) => {
                self.publish(publish.topic, publish.qos as u8, publish.retain, &publish.payload);
            }
            _ => {}
        }
    }

    fn take_five(&mut self, packet: v5::Packet) {
        match packet {
            v5::Packet::Connect(connect, will, _) => {
                self.clean = connect.clean_start;
                self.expiry =
                    connect.properties.and_then(|properties| properties.session_expiry_interval).unwrap_or(0);
                self.will = will.map(|will| Will {
                    topic: String::from_utf8(will.topic.to_vec()).unwrap(),
                    octets: will.message.to_vec(),
                    qos: will.qos as u8,
                    retain: will.retain,
                });
            }
            v5::Packet::Subscribe(subscribe) => {
                let filters = subscribe.filters.into_iter().map(|filter| (filter.path, filter.qos as u8));
                self.said.push(Said::Subscribe(filters.collect()));
            }
            v5::Packet::Publish(publish) => {
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                self.publish(topic, publish.qos as u8, publish.retain, &publish.payload);
            }
            _ => {}
        }
    }

    /// Only a node speaks of births, data and deaths, and only hosts of commands and of their state.
    fn publish(&mut self, topic: String, qos: u8, retain: bool, octets: &[u8]) {
        let octets = octets.to_vec();
        if topic.contains("/NCMD/") || topic.contains("/DCMD/") || topic.contains("/STATE/") {
            self.said.push(Said::Message { topic, octets });
        } else {
            let payload = payload::read(&octets);
            self.said.push(Said::Publish { topic, qos, retain, payload, octets });
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.said.last(), Some(Said::End))
    }

    /// What the node has published, in order.
    pub fn published(&self) -> impl Iterator<Item = Published<'_>> {
        self.said.iter().enumerate().filter_map(|(at, said)| match said {
            Said::Publish { topic, qos, retain, payload, octets } => {
                Some(Published { at, topic, qos: *qos, retain: *retain, payload: payload.as_ref(), octets })
            }
            _ => None,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    pub at: usize,
    pub topic: &'a str,
    pub qos: u8,
    pub retain: bool,
    pub payload: Option<&'a Payload>,
    pub octets: &'a [u8],
}

impl Published<'_> {
    pub fn verb(&self) -> &str {
        self.topic.split('/').nth(2).unwrap_or_default()
    }

    pub fn device(&self) -> Option<&str> {
        self.topic.split('/').nth(4)
    }

    pub fn payload(&self) -> Payload {
        self.payload.cloned().unwrap_or_default()
    }
}
