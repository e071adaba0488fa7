//! Ports that are not on this machine, as commands take them: `tcp://HOST[:PORT]` and `rtu+tcp://HOST[:PORT]`.

use crate::bus::{self, PortConfig};
use crate::config;

const TCP: &str = "tcp://";
/// RTU frames through a device server: `rtu_over_tcp:` in a configuration.
const RTU_OVER_TCP: &str = "rtu+tcp://";

/// What the port of a command means; `None` for a serial port. An error says what would be right.
pub(super) fn port(text: &str) -> Result<Option<PortConfig>, String> {
    let address = |scheme: &str, rest| {
        config::address(rest).map_err(|right| format!("expected {scheme} and HOST[:PORT]: {right}"))
    };
    if let Some(rest) = text.strip_prefix(RTU_OVER_TCP) {
        return Ok(Some(PortConfig::RtuOverTcp { address: address(RTU_OVER_TCP, rest)? }));
    }
    match text.strip_prefix(TCP) {
        Some(rest) => Ok(Some(PortConfig::Tcp { address: address(TCP, rest)?, in_flight: bus::IN_FLIGHT })),
        None if text.contains("://") => Err(format!("expected a serial port, {TCP} or {RTU_OVER_TCP}")),
        None => Ok(None),
    }
}

/// Whether this is none of this machine's serial ports.
pub(super) fn is_network(text: &str) -> bool {
    text.starts_with(TCP) || text.starts_with(RTU_OVER_TCP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_says_what_is_spoken_over_the_network() {
        assert_eq!(port("/dev/ttyUSB0"), Ok(None));
        assert_eq!(
            port("tcp://10.0.0.5"),
            Ok(Some(PortConfig::Tcp { address: "10.0.0.5:502".to_owned(), in_flight: bus::IN_FLIGHT }))
        );
        assert_eq!(
            port("rtu+tcp://server:4001"),
            Ok(Some(PortConfig::RtuOverTcp { address: "server:4001".to_owned() }))
        );
        for wrong in ["tcp://", "rtu+tcp://a b", "udp://x", "tcp://10.0.0.500"] {
            assert!(port(wrong).unwrap_err().starts_with("expected "), "{wrong}");
        }
        assert!(is_network("rtu+tcp://x") && is_network("tcp://x") && !is_network("/dev/ttyS0"));
    }
}
