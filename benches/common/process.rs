//! Other programs in a bench: started, waited for, measured by what the kernel says of them, ended.

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

pub const LINESMAN: &str = env!("CARGO_BIN_EXE_linesman");
/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;
/// Programs come up, and files appear, within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Killed when the bench ends, however it ends.
pub struct Running(Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The unit has it in its environment: `systemd/linesman.service`.
pub const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

pub fn spawn(command: &mut Command) -> Result<Running, Box<dyn Error>> {
    Ok(Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
}

/// A `mosquitto` on loopback with this beside its listener in its configuration.
pub fn broker(dir: &Path, settings: &str) -> Result<(Running, u16), Box<dyn Error>> {
    let port = free_port()?;
    let conf = dir.join("broker.conf");
    fs::write(&conf, format!("listener {port} 127.0.0.1\nallow_anonymous true\n{settings}"))?;
    let mosquitto = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| Path::new(path).exists());
    let running = spawn(Command::new(mosquitto.unwrap_or("mosquitto")).arg("-c").arg(&conf))?;
    Ok((running, port))
}

pub fn free_port() -> Result<u16, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub fn pause(span: Duration) {
    let start = Instant::now();
    while start.elapsed() < span {
        park_timeout(span.saturating_sub(start.elapsed()));
    }
}

pub fn wait_for(what: &str, mut there: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while !there() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{what}: not there after {} s", PATIENCE.as_secs()).into());
        }
        pause(Duration::from_millis(20));
    }
    Ok(())
}

/// Seconds of user and system time so far (proc(5), `/proc/PID/stat`, fields 14 and 15).
pub fn processor_seconds(pid: u32) -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next().ok_or("no such field")?.parse::<f64>().map_err(Box::<dyn Error>::from);
    Ok((next()? + next()?) / TICKS_PER_SECOND)
}

/// `VmRSS`, what is resident now, or `VmHWM`, the most that ever was (proc(5), `/proc/PID/status`).
pub fn mebibytes(pid: u32, key: &str) -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(key)).ok_or("no such line")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<f64>()? / 1024.0)
}
