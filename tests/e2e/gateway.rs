//! `linesman run` as a child process, in a folder of its own.

use linesman::model::Clock as _;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that must happen; never what is measured.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so; says what was waited for if it never is.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain: {what}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// A child process that does not outlive its owner.
pub struct Kept(Child);

impl Kept {
    pub fn spawn(command: &mut Command) -> std::io::Result<Kept> {
        command.spawn().map(Kept)
    }

    pub fn of(child: Child) -> Kept {
        Kept(child)
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// One that has ended by itself does not mind.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, signal);
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// What it says on standard output, line by line.
    pub fn output(&mut self) -> mpsc::Receiver<String> {
        lines_of(self.0.stdout.take().unwrap())
    }

    /// The same for standard error.
    pub fn errors(&mut self) -> mpsc::Receiver<String> {
        lines_of(self.0.stderr.take().unwrap())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether tests take their time: `tests/run --long`.
pub fn is_long() -> bool {
    std::env::var_os("LINESMAN_LONG").is_some_and(|long| long == "1")
}

/// A running gateway; killed when it is dropped.
pub struct Gateway {
    child: Kept,
    log: PathBuf,
    lines: mpsc::Receiver<String>,
}

impl Gateway {
    /// Starts the gateway on a configuration, which it writes as `linesman.yaml` into the folder.
    pub fn start(folder: &Path, yaml: &str) -> Gateway {
        Gateway::start_under(folder, yaml, &[])
    }

    /// The same with some of what systemd puts into a service's environment.
    pub fn start_under(folder: &Path, yaml: &str, environment: &[(&str, &str)]) -> Gateway {
        Gateway::start_with(folder, yaml, &[], environment)
    }

    /// The same with arguments.
    pub fn start_with(
        folder: &Path,
        yaml: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Gateway {
        let command = Command::new(env!("CARGO_BIN_EXE_linesman"));
        Gateway::start_by(command, folder, yaml, arguments, environment)
    }

    /// In a network namespace.
    pub fn inside(namespace: &str, folder: &Path, yaml: &str) -> Gateway {
        let command = crate::netns::inside(namespace, env!("CARGO_BIN_EXE_linesman"));
        Gateway::start_by(command, folder, yaml, &[], &[])
    }

    fn start_by(
        mut command: Command,
        folder: &Path,
        yaml: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Gateway {
        let config = folder.join("linesman.yaml");
        fs::write(&config, yaml).unwrap();
        let log = folder.join("gateway.log");
        let errors = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        command
            .args(["run", "--config"])
            .arg(&config)
            .args(arguments)
            .env_remove("NOTIFY_SOCKET")
            .envs(environment.iter().copied())
            .env("LINESMAN_LOG", "info")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = Kept::spawn(&mut command).unwrap();
        let lines = child.output();
        Gateway { child, log, lines }
    }

    /// What it logged so far, this start and those before it in the same folder.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The address of its HTTP listener, from the line that `run` prints for each.
    pub fn http(&self) -> String {
        let line =
            self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no listener: {}", self.log()));
        let start = line.find("127.0.0.1:").unwrap_or_else(|| panic!("no address in {line:?}"));
        line[start..].chars().take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ':').collect()
    }

    /// The wall clock that stamps its readings.
    pub fn now_ms(&self) -> i64 {
        linesman::model::time::SystemClock.utc().0
    }

    pub fn alive(&mut self) -> bool {
        self.child.ended().is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.0.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// The end of the process, and how long it took to come.
    pub fn wait(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let status = until("the gateway to end", || self.child.ended());
        (status, asked.elapsed())
    }

    /// SIGKILL: what a power cut is to the process.
    pub fn kill(mut self) {
        self.child.kill();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the gateway's log\n{}", self.log());
        }
    }
}

/// A child's standard output, line by line, from a thread that ends with the child.
fn lines_of(output: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// What a running gateway says of itself, by `linesman status`.
pub fn status_of(url: &str) -> Value {
    let (exit, text) = linesman(&["status", "--url", url, "--json"]);
    assert!(exit.success(), "{exit}");
    serde_json::from_str(&text).unwrap()
}

/// Runs another subcommand to its end: exit status, standard output.
pub fn linesman(arguments: &[&str]) -> (ExitStatus, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_linesman")).args(arguments).output().unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap())
}
