//! Whether the primary host is there: pure. Source: Sparkplug 3.0.0, sections 5.4 and 5.9.

use serde::Deserialize;

/// What the host has said on this connection. Each broker has its own history of it (its STATE is retained), so nothing is
/// kept from one connection to the next.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The timestamp of the last STATE that counted.
    last: Option<i64>,
    online: bool,
}

/// What a STATE has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Online,
    Offline,
}

#[derive(Deserialize)]
struct State {
    online: bool,
    timestamp: i64,
}

impl Host {
    pub(super) fn is_online(&self) -> bool {
        self.online
    }

    /// Takes a STATE. One that is older than the last is of a session of the host that is over, and one that cannot be read
    /// says nothing.
    pub(super) fn hear(&mut self, payload: &[u8]) -> Option<Turn> {
        let state: State = serde_json::from_slice(payload).ok()?;
        if self.last.is_some_and(|last| state.timestamp < last) {
            return None;
        }
        self.last = Some(state.timestamp);
        let before = std::mem::replace(&mut self.online, state.online);
        match (before, state.online) {
            (_, false) => Some(Turn::Offline),
            (false, true) => Some(Turn::Online),
            (true, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(online: bool, timestamp: i64) -> Vec<u8> {
        format!("{{\"online\":{online},\"timestamp\":{timestamp}}}").into_bytes()
    }

    #[test]
    fn the_first_state_counts_whatever_its_time() {
        let mut host = Host::default();
        assert_eq!((host.hear(&state(true, 5)), host.is_online()), (Some(Turn::Online), true));
        let mut host = Host::default();
        assert_eq!((host.hear(&state(false, 5)), host.is_online()), (Some(Turn::Offline), false));
    }

    #[test]
    fn a_state_of_the_same_moment_counts_and_an_older_one_does_not() {
        let mut host = Host::default();
        host.hear(&state(true, 100));
        assert_eq!(host.hear(&state(false, 99)), None);
        assert!(host.is_online());
        assert_eq!(host.hear(&state(false, 100)), Some(Turn::Offline));
        assert_eq!(host.hear(&state(true, 99)), None);
        assert!(!host.is_online());
        assert_eq!(host.hear(&state(true, 101)), Some(Turn::Online));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let mut host = Host::default();
        for payload in
            [&b"ONLINE"[..], b"{\"online\":true}", b"{\"online\":\"true\",\"timestamp\":1}", b"\xff"]
        {
            assert_eq!(host.hear(payload), None);
        }
        assert!(!host.is_online());
    }
}
