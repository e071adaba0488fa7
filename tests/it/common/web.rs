//! An HTTP server of a few lines: what it is asked is kept, what it answers is the test's.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct StubWeb {
    listener: TcpListener,
}

/// One connection to it.
pub struct Talk {
    stream: TcpStream,
    rest: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    /// As they stand, in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl StubWeb {
    pub async fn start() -> StubWeb {
        StubWeb { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub async fn accept(&self) -> Talk {
        let accepted = timeout(PATIENCE, self.listener.accept()).await.expect("nobody comes");
        Talk { stream: accepted.unwrap().0, rest: Vec::new() }
    }

    /// Whoever asks first, over a connection of its own.
    pub async fn asked(&self) -> (Talk, Request) {
        loop {
            let mut talk = self.accept().await;
            if let Some(request) = talk.request().await {
                return (talk, request);
            }
        }
    }
}

impl Talk {
    /// The next request; `None` where the connection ends before.
    pub async fn request(&mut self) -> Option<Request> {
        let head = loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.rest.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            self.more().await?;
        };
        let mut lines = head.trim_end().lines();
        let line = lines.next().unwrap().to_owned();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length").unwrap().1.parse().unwrap();
        while self.rest.len() < length {
            self.more().await?;
        }
        let body = self.rest.drain(..length).collect();
        Some(Request { line, headers, body })
    }

    async fn more(&mut self) -> Option<()> {
        let mut octets = [0; 16 << 10];
        let count = timeout(PATIENCE, self.stream.read(&mut octets)).await.expect("nothing comes").ok()?;
        self.rest.extend(&octets[..count]);
        (count > 0).then_some(())
    }

    /// A status line's end, headers with their line ends, a body.
    pub async fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn taken(&mut self) {
        self.stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    }

    pub async fn say(&mut self, octets: &str) {
        self.stream.write_all(octets.as_bytes()).await.unwrap();
    }

    /// The same, where the other one may be gone.
    pub async fn try_taken(&mut self) -> bool {
        self.stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_ok()
    }

    /// Until the other one has gone.
    pub async fn gone(&mut self) {
        let mut octets = [0; 1024];
        while let Ok(1..) = self.stream.read(&mut octets).await {}
    }
}
