//! What is offered on site: health, metrics and status over HTTP. (Being written.)

use std::net::SocketAddr;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub listen: SocketAddr,
}
