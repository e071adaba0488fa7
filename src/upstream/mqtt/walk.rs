//! Which broker is tried when: one session after the other, for whatever speaks MQTT.

use super::config::Access;
use super::wire::TAKEN_OVER;
use crate::model::Mono;
use crate::spool::Closed;
use crate::uplink::Endpoint;
use crate::upstream::Work;
use crate::upstream::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// Why a session is over.
#[derive(Debug)]
pub(in crate::upstream) enum Ended {
    AsAsked,
    SpoolClosed,
    /// Another path is taken: the next session begins at once.
    Moved,
    Trouble(String),
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Ended {
        Ended::SpoolClosed
    }
}

/// What happens on a connection, from the first octet to the last.
pub(in crate::upstream) trait Sessions: Send {
    fn session(
        &mut self,
        broker: &Endpoint,
        work: &mut Work,
        backoff: &mut Backoff,
    ) -> impl Future<Output = Ended> + Send;

    /// What was sent may be why the last session broke.
    fn suspects(&self) -> bool {
        false
    }
}

/// One session after the other, with a pause after those that failed, until told to stop.
pub(in crate::upstream) async fn keep_up(access: &Access, work: &mut Work, mut sessions: impl Sessions) {
    let (mut backoff, mut first) = (Backoff::of(!is_near(access)), true);
    let (mut walk, mut rival) = (Walk::default(), Rival::default());
    let wait = first_delay(access, work.clock.mono(), fastrand::f64());
    let _ = tokio::time::timeout(wait, work.stop.cancelled()).await;
    while !work.stop.is_cancelled() {
        if !first {
            work.report.reconnecting();
        }
        first = false;
        let broker = walk.current(&access.brokers);
        let begun = Instant::now();
        match sessions.session(&broker, work, &mut backoff).await {
            Ended::AsAsked => break,
            Ended::SpoolClosed => return,
            Ended::Moved => {}
            Ended::Trouble(mut why) => {
                let was_connected = work.report.is_connected() && !sessions.suspects();
                let has_rival = rival.is_likely(was_connected, begun.elapsed(), &why);
                if has_rival && !why.contains(TAKEN_OVER) {
                    why.push_str(RIVAL);
                }
                work.report.trouble(&why);
                if !has_rival && walk.goes_on(&access.brokers) {
                    continue;
                }
                let wait = backoff.after_failure(fastrand::f64());
                let wait = if has_rival { wait.max(TRUCE.mul_f64(1.0 + fastrand::f64())) } else { wait };
                work.pause(wait).await;
            }
        }
    }
    work.report.stopped(None);
}

/// Several brokers are tried one after the other, in their order, before there is a pause. A session that ended is followed
/// by one with the first that can be had again.
#[derive(Debug, Default)]
struct Walk {
    at: usize,
}

impl Walk {
    fn current(&self, brokers: &[Endpoint]) -> Endpoint {
        // The configuration has at least one.
        brokers.get(self.at).cloned().unwrap_or_else(|| Endpoint { host: "localhost".to_owned(), port: 1883 })
    }

    /// After trouble with the current one: `true` where the next one is tried at once.
    fn goes_on(&mut self, brokers: &[Endpoint]) -> bool {
        self.at = (self.at + 1) % brokers.len().max(1);
        self.at != 0
    }
}

/// Within so long of the machine's start its upstreams begin at a time by chance: after a power cut a whole fleet starts
/// at once.
const AFTER_BOOT: Duration = Duration::from_secs(300);
const FIRST_DELAY: Duration = Duration::from_secs(10);

fn is_near(access: &Access) -> bool {
    access.brokers.iter().all(Endpoint::is_loopback)
}

/// `dice` is 0 to 1.
fn first_delay(access: &Access, since_boot: Mono, dice: f64) -> Duration {
    if is_near(access) || since_boot >= Mono(0).plus(AFTER_BOOT) {
        return Duration::ZERO;
    }
    FIRST_DELAY.mul_f64(dice.clamp(0.0, 1.0))
}

const RIVAL: &str = "; this again and again, soon after it took us: does another gateway use the same client id (`client_id`)?";
/// So often in a row it is no chance.
const RIVAL_AFTER: u32 = 3;
const SOON: Duration = Duration::from_secs(90);
/// Who has a rival waits at least so long, and up to twice: throwing each other out helps neither.
const TRUCE: Duration = Duration::from_secs(60);

/// Two clients of one identifier throw each other out (MQTT 3.1.1, 3.1.4-2), and only a broker of MQTT 5 says so.
#[derive(Debug, Default)]
struct Rival {
    in_a_row: u32,
}

impl Rival {
    /// After a session that stood so long and ended so.
    fn is_likely(&mut self, was_connected: bool, lasted: Duration, why: &str) -> bool {
        if why.contains(TAKEN_OVER) {
            return true;
        }
        let thrown_out = was_connected && lasted < SOON && why.ends_with("closed the connection");
        self.in_a_row = if thrown_out { self.in_a_row + 1 } else { 0 };
        self.in_a_row >= RIVAL_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(hosts: &[&str]) -> Vec<Endpoint> {
        hosts.iter().map(|host| Endpoint { host: (*host).to_owned(), port: 1883 }).collect()
    }

    #[test]
    fn brokers_are_tried_in_their_order_before_there_is_a_pause() {
        let (brokers, mut walk) = (to(&["a", "b", "c"]), Walk::default());
        let mut tried = Vec::new();
        for _ in 0..4 {
            tried.push((walk.current(&brokers).host, walk.goes_on(&brokers)));
        }
        let tried: Vec<(&str, bool)> = tried.iter().map(|(host, on)| (host.as_str(), *on)).collect();
        assert_eq!(tried, [("a", true), ("b", true), ("c", false), ("a", true)]);
        assert!(!Walk::default().goes_on(&to(&["a"])));
    }

    #[test]
    fn a_fleet_that_starts_at_once_does_not_connect_at_once() {
        let with = |hosts: &[&str]| Access { brokers: to(hosts), ..Access::default() };
        let boot = |seconds: u64| Mono(seconds * 1_000_000_000);
        assert_eq!(first_delay(&with(&["broker"]), boot(30), 0.5), Duration::from_secs(5));
        assert_eq!(first_delay(&with(&["broker"]), boot(300), 0.5), Duration::ZERO);
        assert_eq!(first_delay(&with(&["localhost", "::1"]), boot(30), 0.5), Duration::ZERO);
    }

    #[test]
    fn who_is_thrown_out_again_and_again_is_told_of_a_rival() {
        let (mut rival, closed) = (Rival::default(), "b:1883 closed the connection");
        let soon = Duration::from_secs(2);
        assert!(!rival.is_likely(true, soon, closed) && !rival.is_likely(true, soon, closed));
        assert!(rival.is_likely(true, soon, closed));
        assert!(!rival.is_likely(true, Duration::from_secs(3600), closed));
        assert!(
            !rival.is_likely(false, soon, closed) && !rival.is_likely(true, soon, "b:1883 does not answer")
        );
        let said = format!("b:1883 ended the connection: {TAKEN_OVER}: give each its own");
        assert!(rival.is_likely(true, Duration::from_secs(3600), &said), "once is enough where it is said");
    }
}
