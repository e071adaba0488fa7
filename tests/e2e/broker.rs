//! A broker that is not ours (mosquitto), and a gate before a broker or a meter that can be shut and listens in.

use crate::gateway::{Kept, until};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// mosquitto on a free port of its own, without persistence: what it has not passed on is gone when it is killed.
pub struct Broker {
    child: Kept,
    port: u16,
    folder: PathBuf,
    more: Vec<String>,
}

impl Broker {
    pub fn start(folder: &Path) -> Broker {
        Broker::with(folder, &[])
    }

    /// The same with more lines in its configuration, behind those of the first listener.
    pub fn with(folder: &Path, more: &[String]) -> Broker {
        // The port is free when we look; should somebody else take it before mosquitto does, another is tried.
        for _ in 0..10 {
            let port = free_port();
            if let Some(child) = spawn(folder, port, more) {
                return Broker { child, port, folder: folder.to_owned(), more: more.to_vec() };
            }
        }
        panic!("mosquitto finds no free port");
    }

    /// In a network namespace, where it has all ports and addresses to itself.
    pub fn inside(namespace: &str, folder: &Path, port: u16) -> Broker {
        let config = folder.join("mosquitto.conf");
        let lines =
            ["allow_anonymous true", "persistence false", "max_queued_messages 0", "set_tcp_nodelay true"];
        fs::write(&config, format!("listener {port}\n{}\n", lines.join("\n"))).unwrap();
        let mut command = crate::netns::inside(namespace, program());
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Kept::spawn(&mut command).expect("mosquitto is missing: run tests/run once");
        until("mosquitto to listen", || {
            let mut hello = crate::netns::inside(namespace, "mosquitto_pub");
            hello.args(["-p", &port.to_string(), "-t", "hello", "-n"]).stderr(Stdio::null());
            hello.status().unwrap().success().then_some(())
        });
        Broker { child, port, folder: folder.to_owned(), more: Vec::new() }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        self.child.signal(signal);
    }

    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// The same broker again, on the same port, remembering nothing.
    pub fn restart(&mut self) {
        self.child = until("mosquitto to start again", || spawn(&self.folder, self.port, &self.more));
    }
}

/// Where Debian puts it no path of an ordinary user leads.
fn program() -> &'static str {
    let paths = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    paths.into_iter().find(|path| Path::new(path).exists()).unwrap_or("mosquitto")
}

/// Free when it was looked at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(folder: &Path, port: u16, more: &[String]) -> Option<Kept> {
    let config = folder.join("mosquitto.conf");
    let lines = [
        &format!("listener {port} 127.0.0.1"),
        "allow_anonymous true",
        "persistence false",
        "max_queued_messages 0",
        "set_tcp_nodelay true",
    ];
    fs::write(&config, format!("{}\n{}\n", lines.join("\n"), more.join("\n"))).unwrap();
    let mut command = Command::new(program());
    command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Kept::spawn(&mut command).expect("mosquitto is missing: run tests/run once");
    until("mosquitto to listen, or to give up", || {
        if child.ended().is_some() {
            return Some(false);
        }
        TcpStream::connect(("127.0.0.1", port)).ok().map(|_| true)
    })
    .then_some(child)
}

/// A way to a broker or meter that the test opens and shuts, and that keeps what the gateway says.
pub struct Gate {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    passing: Arc<Mutex<Vec<TcpStream>>>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Gate {
    pub fn before(port: u16) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let passing = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (watched, kept, ear) = (open.clone(), passing.clone(), heard.clone());
        thread::spawn(move || {
            for inside in listener.incoming().map_while(Result::ok) {
                if watched.load(Ordering::SeqCst)
                    && let Ok(outside) = TcpStream::connect(("127.0.0.1", port))
                {
                    join(inside, outside, &kept, &ear);
                }
            }
        });
        Gate { address, open, passing, heard }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All octets that the gateway has sent so far.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
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

fn join(inside: TcpStream, outside: TcpStream, kept: &Mutex<Vec<TcpStream>>, ear: &Arc<Mutex<Vec<u8>>>) {
    let copy = |stream: &TcpStream| stream.try_clone().unwrap();
    kept.lock().unwrap().extend([copy(&inside), copy(&outside)]);
    let ears = [Some(ear.clone()), None];
    for ((mut from, mut to), ear) in
        [(copy(&inside), copy(&outside)), (outside, inside)].into_iter().zip(ears)
    {
        thread::spawn(move || {
            let mut octets = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut octets) {
                if let Some(ear) = &ear {
                    ear.lock().unwrap().extend(&octets[..count]);
                }
                if to.write_all(&octets[..count]).is_err() {
                    break;
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
