//! Whatever a broker passes on below some topics: mosquitto_sub in a child process.

use crate::gateway::{Kept, PATIENCE, until};
use std::process::{Command, Stdio};
use std::sync::mpsc;

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub retained: bool,
    pub topic: String,
    pub payload: String,
}

/// A subscriber; gone when it is dropped.
pub struct Ear {
    _child: Kept,
    lines: mpsc::Receiver<String>,
    pub messages: Vec<Message>,
}

impl Ear {
    /// Subscribes; returns once the broker has confirmed it. `more` are flags of mosquitto_sub, for TLS.
    pub fn open(port: u16, filters: &[&str], more: &[&str]) -> Ear {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-q", "1", "-p", &port.to_string(), "-F", "> %r %t %p"]);
        command.args(if more.contains(&"-h") { &[][..] } else { &["-h", "127.0.0.1"][..] }).args(more);
        for filter in filters {
            command.args(["-t", filter]);
        }
        let mut child = Kept::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()))
            .expect("mosquitto_sub is missing");
        let lines = child.output();
        while !lines
            .recv_timeout(PATIENCE)
            .expect("mosquitto_sub did not subscribe")
            .starts_with("Subscribed")
        {}
        Ear { _child: child, lines, messages: Vec::new() }
    }

    /// Takes what has arrived since.
    pub fn take(&mut self) {
        for line in self.lines.try_iter() {
            let Some(rest) = line.strip_prefix("> ") else { continue };
            let (retained, rest) = rest.split_once(' ').unwrap();
            let (topic, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            self.messages.push(Message {
                retained: retained == "1",
                topic: topic.to_owned(),
                payload: payload.to_owned(),
            });
        }
    }

    /// Waits for a message that is so.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Message) -> bool) -> Message {
        until(what, || {
            self.take();
            self.messages.iter().find(|message| is_so(message)).cloned()
        })
    }

    pub fn on(&self, topic: &str) -> Vec<&str> {
        self.messages.iter().filter(|of| of.topic == topic).map(|of| of.payload.as_str()).collect()
    }
}

/// Says something as somebody else.
pub fn say(port: u16, topic: &str, payload: &str, retain: bool) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-q", "1", "-p", &port.to_string(), "-t", topic, "-m", payload]);
    if retain {
        command.arg("-r");
    }
    assert!(command.status().expect("mosquitto_pub is missing").success());
}
