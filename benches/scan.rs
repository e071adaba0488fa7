//! What a scan takes against what it must take: ten meters at two baud rates, all 247 unit ids, the real binary.
//!
//! The least is computed here from what stands on paper only: candidates × (the question on the wire + the wait), at each baud
//! rate for whoever has not answered yet. The binary's own figure stands beside it. Both leave out what finding out *who*
//! somebody is takes; the whole time has it, and the listening.

#![allow(clippy::print_stdout, clippy::cast_precision_loss)] // a bench prints figures

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LINESMAN: &str = env!("CARGO_BIN_EXE_linesman");
/// `--timeout`'s default.
const WAIT: Duration = Duration::from_millis(80);
/// A question of a scan has eight octets, each of ten bits at 8N1.
const QUESTION_BITS: f64 = 80.0;
const UNITS: usize = 247;
/// Profile, unit id, baud rate.
const TEN: [(&str, u8, u32); 10] = [
    ("eastron-sdm630", 1, 9600),
    ("eastron-sdm120", 2, 9600),
    ("eastron-sdm72d-m-v2", 3, 19_200),
    ("abb-b23-b24", 4, 19_200),
    ("carlo-gavazzi-em330-em340", 5, 9600),
    ("janitza-umg96rm", 7, 9600),
    ("keller-series-30-33x", 100, 9600),
    ("siemens-pac2200", 126, 19_200),
    ("schneider-iem3155-iem3255", 200, 9600),
    ("tuf-2000m", 247, 9600),
];

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let port = dir.path().join("tty");
    let mut meters = meters(&port)?;
    while !port.exists() && meters.try_wait()?.is_none() {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let began = Instant::now();
    let mut scan = Command::new(LINESMAN);
    let done = scan.arg("scan").arg(&port).args(["--bauds", "9600,19200", "--json"]).output();
    let whole = began.elapsed().as_secs_f64();
    meters.kill()?;
    meters.wait()?;
    let done = done?;
    let (found, said) = (String::from_utf8(done.stdout)?, String::from_utf8(done.stderr)?);
    let right = TEN.iter().filter(|meter| is_told(&found, meter)).count();
    println!("found with the right profile at the right rate: {right} of {}", TEN.len());
    let said = said.lines().find(|line| line.contains("questions in")).ok_or("the scan says no time")?;
    println!("the binary says: {said}");
    let searched = seconds(said).ok_or("the scan says no time")?;
    println!(
        "computed minimum {:.1} s, searched for {searched:.0} s: {:.2} times",
        least(),
        searched / least()
    );
    println!("with two seconds of listening, and finding out who they are: {whole:.1} s");
    Ok(())
}

fn meters(port: &Path) -> Result<Child, Box<dyn Error>> {
    let mut meters = Command::new(LINESMAN);
    meters.arg("simulate").arg("--pty").arg(port).args(["--fault", "nameless"]);
    for (profile, unit, baud) in TEN {
        meters.arg("--profile").arg(format!("{profile}@{unit}/{baud}"));
    }
    Ok(meters.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

fn is_told(found: &str, (profile, unit, baud): &(&str, u8, u32)) -> bool {
    let told =
        [format!("\"profile\":\"{profile}\""), format!("\"unit\":{unit},"), format!("\"baud\":{baud},")];
    found.lines().any(|line| told.iter().all(|word| line.contains(word.as_str())))
}

/// Everybody at 9600 baud, and at 19200 whoever was silent there. Who answers has been waited for hardly at all.
fn least() -> f64 {
    let at = |baud: u32| TEN.iter().filter(|(_, _, of)| *of == baud).count();
    let probe = |baud: u32| QUESTION_BITS / f64::from(baud) + WAIT.as_secs_f64();
    let silent_at = [UNITS - at(9600), UNITS - at(9600) - at(19_200)];
    silent_at[0] as f64 * probe(9600) + silent_at[1] as f64 * probe(19_200)
}

/// `… 484 questions in 43 s, …`, or `1 min 3 s`.
fn seconds(said: &str) -> Option<f64> {
    let words = said.split("questions in ").nth(1)?.split(',').next()?;
    let (minutes, rest) = words.split_once(" min ").unwrap_or(("0", words));
    Some(minutes.parse::<f64>().ok()? * 60.0 + rest.trim_end_matches(" s").parse::<f64>().ok()?)
}
