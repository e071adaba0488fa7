//! What is offered on site: health, metrics and status over HTTP.
//!
//! # Promises
//! - No `http:` key in the configuration, no listener. Loopback unless the owner opens it.
//! - Read-only: nothing here changes anything, and nothing here is asked of a meter. Every answer is
//!   made from the `watch` values that the rooms publish, so a slow reader slows nobody.
//! - Paths: `/healthz` (200 or 503 in plain text), `/metrics` (Prometheus text exposition, names
//!   `linesman_…`), `/api/status` (the JSON that `linesman status --json` prints).

pub mod metrics;
pub mod status;

use crate::model::Name;
use crate::model::status::{ClockStatus, LineStatus, MeterStatus, UplinkStatus, UpstreamStatus};
use crate::spool;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub listen: SocketAddr,
}

/// What the running parts publish; replaced as a whole when a reload changes the parts.
#[derive(Debug, Clone)]
pub struct Sources {
    pub gateway: String,
    pub version: &'static str,
    /// Hash of the configuration in force.
    pub config: String,
    pub epoch: u32,
    pub lines: Vec<watch::Receiver<LineStatus>>,
    /// Lines whose owner has stopped turning, by name: their driver hangs.
    pub stuck: watch::Receiver<Vec<String>>,
    pub spool: watch::Receiver<spool::Status>,
    pub upstreams: Vec<watch::Receiver<UpstreamStatus>>,
    /// The serial number that each device's meter has said, and whether its values are held back.
    pub meters: watch::Receiver<Arc<BTreeMap<Name, MeterStatus>>>,
    /// What the watchdog sees: the spool and the supervisor make progress.
    pub progress: watch::Receiver<bool>,
    /// Whether the wall clock is known to be right, and what to add to the lines' stamps.
    pub clock: watch::Receiver<ClockStatus>,
    /// Nothing where the system's default route is taken.
    pub uplinks: Option<watch::Receiver<Vec<UplinkStatus>>>,
}

/// Serves until `stop`; the listener is handed in so that the caller can say where it is.
pub async fn run(
    listener: TcpListener,
    sources: watch::Receiver<Arc<Sources>>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_text))
        .route("/api/status", get(status_json))
        .with_state(sources);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

type Shared = State<watch::Receiver<Arc<Sources>>>;

async fn healthz(State(sources): Shared) -> Response {
    let sources = sources.borrow().clone();
    if *sources.progress.borrow() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the spool or the supervisor makes no progress\n").into_response()
    }
}

async fn metrics_text(State(sources): Shared) -> Response {
    let sources = sources.borrow().clone();
    match metrics::text(&status::snapshot(&sources)) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn status_json(State(sources): Shared) -> Response {
    let sources = sources.borrow().clone();
    axum::Json(status::snapshot(&sources)).into_response()
}
