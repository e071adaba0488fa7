//! Upstreams `influx`, `http` and `prometheus`: how they are configured.

use crate::encode::Encoding;
use crate::uplink::{Endpoint, Tls};
use crate::upstream::Secret;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use std::time::Duration;

/// Lines in one request, which are readings: the best size of a batch (InfluxDB's manual, "Optimize writes to InfluxDB").
pub const MOST_LINES: usize = 5000;
/// Readings in one request of the others, unless given.
pub const MOST_READINGS: usize = 500;
/// Octets in one request before compression, unless given: what nginx lets through (`client_max_body_size`).
pub const LARGEST: usize = 1 << 20;
/// How long a far end may take to answer, unless given: databases fold, and cellular links are slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub endpoint: Endpoint,
    /// `https://`.
    pub tls: Option<Tls>,
    pub method: Method,
    /// Path and query, from the slash on.
    pub path: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub sign: Option<Sign>,
    pub body: Form,
    pub compression: Compression,
    /// With `http`: the content type that an answer must have.
    pub expect: Option<String>,
    /// Readings in one request, at most.
    pub most: usize,
    /// Octets in one request before compression, at most.
    pub largest: usize,
    pub timeout: Duration,
}

/// How a request says who it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// A header with a secret, behind a scheme (`Bearer `) where it has one.
    Token { header: HeaderName, scheme: &'static str, token: Secret },
    /// `Authorization: Basic` (RFC 7617).
    Basic { username: String, password: Secret },
}

/// What a body is made of, and so which answers count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    Influx,
    Http(Encoding),
    /// With labels that each series has.
    Prometheus(Vec<(String, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    /// Its block format, which remote write demands.
    Snappy,
}
