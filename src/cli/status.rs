//! `linesman status`: asks the running gateway and prints what it says, as tables or JSON.

use super::{Exit, complain, say};
use crate::config::{self, Overlays};
use comfy_table::{Table, presets};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;

/// A gateway that hangs is said to be unreachable after this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Far above any site's status; what is larger is not a linesman.
const LARGEST_ANSWER: usize = 16 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the gateway listens, as in `http://127.0.0.1:8580`.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    url: Option<String>,
    /// Take the address from this configuration's `http:`.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// The document as it came.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let address = match address(&arguments) {
        Ok(address) => address,
        Err(exit) => return exit,
    };
    let answer = super::runtime(1).map_err(Box::<dyn Error>::from).and_then(|runtime| {
        runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, fetch(&address, "/api/status")).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs()).into()),
            }
        })
    });
    let body = match answer {
        Ok(body) => body,
        Err(error) => {
            complain(&format_args!("linesman: the gateway at {address} cannot be asked: {error}"));
            return Exit::Io;
        }
    };
    if arguments.json {
        say(&body.trim_end());
        return Exit::Done;
    }
    match serde_json::from_str::<Value>(&body) {
        Ok(status) => {
            say(&tables(&status));
            Exit::Done
        }
        Err(error) => {
            complain(&format_args!("linesman: {address} answers, but not with a status: {error}"));
            Exit::Io
        }
    }
}

fn address(arguments: &Arguments) -> Result<String, Exit> {
    if let Some(url) = &arguments.url {
        let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if rest.is_empty() || rest.contains('/') {
            complain(&format_args!("linesman: {url:?} is not of the form http://HOST:PORT"));
            return Err(Exit::Usage);
        }
        return Ok(if rest.contains(':') { rest.to_owned() } else { format!("{rest}:80") });
    }
    let overlays = Overlays::from_environment(Vec::new());
    let config = config::load(&arguments.config, &overlays).map_err(|problems| {
        complain(&problems);
        Exit::Config
    })?;
    config.http.map(|http| http.listen.to_string()).ok_or_else(|| {
        let file = arguments.config.display();
        complain(&format_args!("linesman: {file} has no `http:`, so its gateway cannot be asked"));
        Exit::Io
    })
}

async fn fetch(address: &str, path: &str) -> Result<String, Box<dyn Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", address).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("it answers {}", response.status()).into());
    }
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    Ok(String::from_utf8(body.to_bytes().to_vec())?)
}

const CLOCK_UNSURE: &str =
    "\nthe wall clock is not known to be right yet: readings are marked, and dated when it is";

/// The document for people.
fn tables(status: &Value) -> String {
    let text = |value: &Value, key: &str| plain(&value[key]);
    let rows = |key: &str| status[key].as_array().cloned().unwrap_or_default();
    let mut lines =
        table(&["line", "state", "load %", "requests", "timeouts", "garbled", "exceptions", "detail"]);
    for line in rows("lines") {
        let counters = &line["counters"];
        let garbled =
            counters["crc_errors"].as_u64().unwrap_or(0) + counters["short_frames"].as_u64().unwrap_or(0);
        lines.add_row(vec![
            text(&line, "name"),
            text(&line, "state"),
            text(&line, "load_pct"),
            text(counters, "requests"),
            text(counters, "timeouts"),
            garbled.to_string(),
            text(counters, "exceptions"),
            text(&line, "detail"),
        ]);
    }
    let mut devices =
        table(&["device", "line", "unit", "state", "reason", "answers in ms", "late ms", "refuses"]);
    for device in rows("devices") {
        let keys = ["name", "line", "unit", "state", "reason", "latency_ms", "lateness_ms", "refused"];
        devices.add_row(keys.map(|key| text(&device, key)));
    }
    let found: String = rows("lines").iter().chain(&rows("devices")).flat_map(findings).collect();
    let mut upstreams =
        table(&["upstream", "state", "delivered", "pending", "left out", "dropped", "detail"]);
    for upstream in rows("upstreams") {
        let keys = ["name", "state", "delivered", "pending", "left_out", "dropped", "detail"];
        upstreams.add_row(keys.map(|key| text(&upstream, key)));
    }
    let mut uplinks =
        table(&["uplink", "interface", "state", "in use", "octets", "budget", "stage", "detail"]);
    for uplink in rows("uplinks") {
        let keys = ["name", "interface", "state", "in_use", "octets", "budget", "stage", "detail"];
        uplinks.add_row(keys.map(|key| text(&uplink, key)));
    }
    let uplinks = if rows("uplinks").is_empty() { String::new() } else { format!("\n\n{uplinks}") };
    let spool = &status["spool"];
    format!(
        "gateway {}, linesman {}, configuration {}, epoch {}{}\nspool: {} records, {} octets{}\n\n{lines}\n\n{devices}\n{found}\n{upstreams}{uplinks}",
        text(status, "gateway"),
        text(status, "version"),
        text(status, "config"),
        text(status, "epoch"),
        if status["clock"] == "unsure" { CLOCK_UNSURE } else { "" },
        text(spool, "records"),
        text(spool, "octets"),
        spool["detail"].as_str().map(|detail| format!(" ({detail})")).unwrap_or_default(),
    )
}

/// What is wrong with a line or a device, a line each.
fn findings(of: &Value) -> Vec<String> {
    let all = of["findings"].as_array().cloned().unwrap_or_default();
    let told = |finding: &Value| {
        format!("{}: {}: {}\n", plain(&of["name"]), plain(&finding["kind"]), plain(&finding["text"]))
    };
    all.iter().map(told).collect()
}

fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(headings.iter().copied());
    table
}

/// A JSON value as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}
