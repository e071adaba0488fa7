//! Upstreams `influx`, `http` and `prometheus`: bodies by HTTP, one request after the other.
//!
//! # What counts as taken
//! | | taken | sources |
//! | --- | --- | --- |
//! | `influx` | 204 and nothing else | what `/api/v2/write` and `/write` of InfluxDB 1, 2 and 3 and of VictoriaMetrics answer (their API pages) |
//! | `prometheus` | 204, or any 2xx without a body | remote write 1.0, "Retries & Backoff"; Prometheus and VictoriaMetrics say 204, Mimir and Thanos an empty 200 |
//! | `http` | a 2xx of the content type in `expect`; without that, any 2xx that is no web page (`text/html`) | |
//!
//! A captive portal or proxy that answers 200 with its page has taken nothing; redirections are never followed. Everything
//! else is tried again with a growing pause, or after `Retry-After` (15 min at most); but
//! - what the far end calls malformed or too large (400, 413, 415, 422) is halved until the record is found, which is set
//!   aside: InfluxDB answers so to a *partial write* too, and has taken the other lines of it. A database's 400 with
//!   a web page comes from somebody in between and is tried again;
//! - what a database calls too late (`out of order`, `too old`, `beyond retention policy`, …) is given up by that name at
//!   once, for it will be refused for ever.
//!
//! Writing twice is harmless to a time series database: same series, same time, same value. Prometheus takes it for out
//! of order where something newer has arrived since, so there bodies travel in strict order; and records whose answer was lost
//! may count as `too-late` although they are there, unless it has an `out_of_order_time_window`.
//!
//! # Bodies
//! At most [`config::MOST_LINES`] lines for `influx`, and no more octets than [`Config::largest`] before compression. JSON
//! objects, lines and rows stand one behind the other; an array or a pack is a body of its own.
//!
//! # Secrets
//! Read for every request, so that a changed one needs no restart; they stand in no message, and a header that holds one
//! is marked as sensitive.

mod config;
mod exchange;
mod heard;
mod pack;
mod remote_write;
mod verdict;

pub use config::{Compression, Config, Form, LARGEST, MOST_LINES, MOST_READINGS, PATIENCE, Sign};
pub use remote_write::OURS as OUR_LABELS;

use super::bodies::{Refusal, Sink};
use super::standing::standing;
use crate::encode::{Encoding, Loss, Numbered, Payload, Refused};
use crate::model::{Site, Timestamp};
use crate::uplink::Link;
use crate::upstream::coding::base64;
use exchange::{Exchange, Target};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::task::spawn_blocking;
use verdict::Accept;

#[derive(Debug)]
pub(super) struct WebSink {
    config: Config,
    target: Target,
    exchange: Exchange,
}

impl WebSink {
    pub(super) fn new(config: Config, link: Link) -> WebSink {
        let target = Target {
            endpoint: config.endpoint.clone(),
            tls: config.tls.clone(),
            method: config.method.clone(),
            path: config.path.clone(),
            headers: config.headers.clone(),
            timeout: config.timeout,
        };
        WebSink { config, target, exchange: Exchange::over(link) }
    }
}

impl Sink for WebSink {
    fn most(&self) -> usize {
        self.config.most
    }

    fn largest(&self) -> usize {
        self.config.largest
    }

    fn joins(&self) -> bool {
        match &self.config.body {
            Form::Influx | Form::Prometheus(_) => true,
            Form::Http(encoding) => {
                matches!(encoding, Encoding::Json | Encoding::Line | Encoding::Csv | Encoding::Template(_))
            }
        }
    }

    fn encode(&self, readings: &[Numbered<'_>], site: &Site, room: usize) -> Result<Payload, Refused> {
        match &self.config.body {
            Form::Influx => Encoding::Line.encode(readings, site, room),
            Form::Http(encoding) => encoding.encode(readings, site, room),
            Form::Prometheus(labels) => remote_write::encode(readings, site, labels, room),
        }
    }

    fn gap(&self, now: Timestamp, loss: &Loss<'_>, site: &Site) -> Option<Vec<u8>> {
        let said = match &self.config.body {
            Form::Influx => Encoding::Line.gap(now, loss, site),
            Form::Http(encoding) => encoding.gap(now, loss, site),
            Form::Prometheus(_) => None,
        };
        said.map(String::into_bytes)
    }

    async fn write(&mut self, body: Vec<u8>) -> Result<(), Refusal> {
        let config = self.config.clone();
        // Files may hang, and compression takes its time.
        let ready = spawn_blocking(move || prepared(&config, body)).await;
        let ready = ready.map_err(|error| Refusal::Later(error.to_string()))?;
        let (headers, body) = ready.map_err(Refusal::Later)?;
        let answer = self.exchange.send(&self.target, &headers, body).await.map_err(Refusal::Later)?;
        let accept = Accept::of(&self.config.body, self.config.expect.as_deref());
        let judged = verdict::of(&answer, accept, &self.config.endpoint);
        // Whoever answers oddly is not spoken to again on this connection: it may be somebody in between.
        if matches!(judged, Err(Refusal::Later(_))) {
            self.exchange.close();
        }
        judged
    }

    fn legible(&self, body: &[u8]) -> String {
        match &self.config.body {
            Form::Prometheus(_) => remote_write::legible(body),
            Form::Influx | Form::Http(_) => String::from_utf8_lossy(body).into_owned(),
        }
    }

    fn warnings(&self, now: Timestamp) -> Vec<String> {
        let plain = self.config.tls.is_none().then_some(&self.config.endpoint);
        standing(("server", "https://"), plain, self.exchange.validity(), now)
    }
}

type Headers = Vec<(HeaderName, HeaderValue)>;

/// The headers and the body as they travel; or why not, in words.
fn prepared(config: &Config, body: Vec<u8>) -> Result<(Headers, Vec<u8>), String> {
    let (body, coding) = pack::packed(body, config.compression).map_err(|error| error.to_string())?;
    let content_type = match &config.body {
        Form::Influx => Encoding::Line.row().content_type,
        Form::Http(encoding) => encoding.row().content_type,
        Form::Prometheus(_) => "application/x-protobuf",
    };
    let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))];
    headers.extend(coding.map(|coding| (CONTENT_ENCODING, HeaderValue::from_static(coding))));
    if matches!(config.body, Form::Prometheus(_)) {
        let version = HeaderName::from_static("x-prometheus-remote-write-version");
        headers.push((version, HeaderValue::from_static("0.1.0")));
    }
    headers.extend(config.sign.as_ref().map(signed).transpose()?);
    Ok((headers, body))
}

fn signed(sign: &Sign) -> Result<(HeaderName, HeaderValue), String> {
    let (header, text) = match sign {
        Sign::Token { header, scheme, token } => (header.clone(), format!("{scheme}{}", token.read()?)),
        Sign::Basic { username, password } => {
            let pair = format!("{username}:{}", password.read()?);
            (AUTHORIZATION, format!("Basic {}", base64(pair.as_bytes())))
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the token has a character that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok((header, value))
}
