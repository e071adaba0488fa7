//! One connection: subscriptions, the primary host, births, then records, until trouble or the stop.

use super::births::Birth;
use super::ending::Stopping;
use super::flight::Flight;
use super::host::{Host, Turn};
use super::lanes::Lanes;
use super::topics::Verb;
use super::values::{Said, millis};
use super::wire::{Metric, Payload};
use super::{Config, Node};
use crate::model::{Name, Site};
use crate::spool::Stored;
use crate::uplink::{Endpoint, Validity};
use crate::upstream::backoff::Backoff;
use crate::upstream::mqtt::greeting::connect;
use crate::upstream::mqtt::pipe::{Happened, Pipe};
use crate::upstream::mqtt::walk::Ended;
use crate::upstream::mqtt::wire::{Greeting, Will};
use crate::upstream::pace::Pace;
use crate::upstream::standing::standing;
use crate::upstream::{Order, Work};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// How long history that may yet be dated waits for its date.
const HOLD: Duration = Duration::from_secs(60);
/// How long a broker may take to say whether the primary host is there, where there is another broker to ask.
const HOST_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Session<'a> {
    pub(super) broker: &'a Endpoint,
    pub(super) work: &'a mut Work,
    pub(super) node: &'a mut Node,
    pub(super) backoff: &'a mut Backoff,
    pub(super) config: Config,
    pub(super) pipe: Pipe,
    pub(super) greeting: Greeting,
    validity: Validity,
    /// `bdSeq`.
    pub(super) number: u8,
    /// Of the next message.
    pub(super) seq: u8,
    /// The subscription that is not granted yet.
    subscription: Option<u16>,
    /// Where one is waited for, and until when if there is another broker.
    pub(super) host: Option<Host>,
    host_by: Option<Instant>,
    pub(super) birth: Birth,
    pub(super) born_at: Option<Instant>,
    /// Devices that are born in this session, and those of them that are lost and have a backlog.
    pub(super) born: BTreeSet<Name>,
    pub(super) lent: BTreeSet<Name>,
    /// Those whose birth is too large.
    pub(super) unbearable: BTreeSet<Name>,
    pub(super) node_said: Said,
    pub(super) live_said: Said,
    pub(super) history_said: Said,
    pub(super) flight: Flight,
    /// Whose the records in flight are.
    pub(super) whose: BTreeMap<u64, Name>,
    /// From the first birth on.
    pub(super) lanes: Option<Lanes>,
    pub(super) pace: Pace,
    pub(super) hold_until: Instant,
    /// Live has grown old: once nothing is in flight, the lanes are cut anew.
    pub(super) recut: bool,
    /// What is suspected and goes alone, and whether it has gone out.
    pub(super) alone: Option<(Stored, bool)>,
    pub(super) told: u64,
    pub(super) gap_told: Option<u64>,
    pub(super) pending_told: u64,
    pub(super) pending_due: Instant,
    pub(super) every: BTreeMap<Name, Duration>,
    /// As the last births have described it.
    pub(super) site: Arc<Site>,
    pub(super) stopping: Option<Stopping>,
    /// Octets of topics and payloads so far.
    pub(super) octets: usize,
}

impl<'a> Session<'a> {
    pub(super) async fn run(
        broker: &'a Endpoint,
        work: &'a mut Work,
        node: &'a mut Node,
        backoff: &'a mut Backoff,
    ) -> Ended {
        let config = node.config.clone();
        let number = node.kept.next_session();
        let (topic, note) = (config.of_node(Verb::NodeDeath), node.kept.note(number));
        let payload = super::births::death(number, work.clock.utc());
        let will = async move {
            note.await;
            Ok(Some(Will { topic, payload, retain: false }))
        };
        let (pipe, greeting, validity) = match connect(&config.access, broker, will, work).await {
            Ok(greeted) => greeted,
            Err(ended) => return ended,
        };
        work.report.connected();
        let mut session = Session::begin((broker, config), work, node, backoff, (pipe, number));
        (session.greeting, session.validity) = (greeting, validity);
        session.warn();
        let ended = session.deliver().await;
        match ended {
            Ok(()) if session.stopping.is_some_and(|stopping| stopping.moving) => Ended::Moved,
            Ok(()) => Ended::AsAsked,
            Err(Ended::Trouble(why)) => {
                session.convict(&why).await;
                Ended::Trouble(why)
            }
            Err(ended) => ended,
        }
    }

    fn begin(
        (broker, config): (&'a Endpoint, Config),
        work: &'a mut Work,
        node: &'a mut Node,
        backoff: &'a mut Backoff,
        (pipe, number): (Pipe, u8),
    ) -> Session<'a> {
        let now = Instant::now();
        let several = config.access.brokers.len() > 1;
        let site = Arc::clone(&work.site.borrow());
        Session {
            broker,
            pipe,
            greeting: Greeting::default(),
            validity: Validity::default(),
            number,
            seq: 0,
            subscription: None,
            host: config.primary_host.is_some().then(Host::default),
            host_by: several.then_some(now + HOST_PATIENCE),
            birth: Birth::Waiting,
            born_at: None,
            born: BTreeSet::new(),
            lent: BTreeSet::new(),
            unbearable: BTreeSet::new(),
            node_said: Said::default(),
            live_said: Said::default(),
            history_said: Said::default(),
            flight: Flight::default(),
            whose: BTreeMap::new(),
            lanes: None,
            pace: Pace::new(node.ways.history_rate),
            hold_until: now + HOLD,
            recut: false,
            alone: None,
            told: work.told,
            gap_told: None,
            pending_told: 0,
            pending_due: now,
            every: BTreeMap::new(),
            site,
            stopping: None,
            octets: 0,
            config,
            work,
            node,
            backoff,
        }
    }

    async fn deliver(&mut self) -> Result<(), Ended> {
        let mut filters = vec![self.config.of_node(Verb::NodeCommand)];
        filters.extend(self.config.of_host());
        self.subscription = Some(self.pipe.subscribe(filters).map_err(Ended::Trouble)?);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.work.stop.clone();
        let tls = self.config.access.tls.clone();
        let mut events = true;
        loop {
            let wake = self.fill().await?;
            if self.is_finished()? {
                return Ok(());
            }
            tokio::select! {
                happened = self.pipe.next() => {
                    if self.take_all(happened).await? {
                        return Ok(());
                    }
                }
                () = more(&mut self.lanes) => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                changed = self.work.site.changed() => {
                    if changed.is_ok() { self.look_at_the_site(); }
                }
                // Only to wake: what is new is told with the records.
                changed = self.work.events.changed(), if events => events = changed.is_ok(),
                () = stop.cancelled(), if self.stopping.is_none() => self.begin_stop(),
                () = self.work.link.moved(self.broker, tls.as_ref()), if self.stopping.is_none() => self.move_on()?,
                _ = ticks.tick() => self.look()?,
            }
        }
    }

    /// Says what there is to say while there is room. When something has to wait: until when.
    async fn fill(&mut self) -> Result<Option<Instant>, Ended> {
        if self.stopping.is_some_and(|stopping| stopping.is_dying()) {
            return Ok(None);
        }
        if self.stopping.is_some_and(|stopping| stopping.moving) {
            return self.close_off().map(|()| None);
        }
        let wake = self.bear().await?;
        let wake = if self.birth.is_done() { self.fill_born().await? } else { wake };
        self.close_off()?;
        Ok(wake)
    }

    async fn fill_born(&mut self) -> Result<Option<Instant>, Ended> {
        if self.work.link.policy().allow.alarm {
            self.tell_events()?;
            self.tell_gaps().await?;
        }
        self.tell_pending()?;
        self.mourn()?;
        if self.alone.is_some() && !self.try_alone().await? {
            return Ok(None);
        }
        self.cut_anew();
        let wake = self.fill_records().await?;
        if self.work.thin.is_some() && self.alone.is_none() {
            // What a filter has left out waits for no barrier.
            self.settle_thinned(&mut Vec::new()).await?;
        }
        self.mourn()?;
        if self.lanes.as_ref().is_some_and(Lanes::is_over) {
            return Err(Ended::SpoolClosed);
        }
        Ok(wake)
    }

    /// A barrier behind what was said, if that is worth it.
    pub(super) fn close_off(&mut self) -> Result<(), Ended> {
        if self.flight.wants_barrier() {
            let barrier = self.pipe.ask_how_far().map_err(Ended::Trouble)?;
            self.flight.closed_off(barrier, Instant::now());
        }
        Ok(())
    }

    pub(super) fn say(
        &mut self,
        verb: Verb,
        device: Option<&Name>,
        metrics: Vec<Metric>,
    ) -> Result<(), Ended> {
        let topic = match device {
            Some(device) => self.config.of_device(verb, device.as_str()),
            None => self.config.of_node(verb),
        };
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let timestamp = Some(millis(self.work.clock.utc()));
        let payload = Payload { timestamp, metrics, seq: Some(seq.into()) };
        let octets = payload.encode_to_vec();
        self.octets += topic.len() + octets.len();
        self.pipe.publish_unacknowledged(&topic, octets).map_err(Ended::Trouble)?;
        self.flight.said();
        Ok(())
    }

    /// Says what does not stop anything and should not stay so.
    pub(super) fn warn(&self) {
        let plain = self.config.access.tls.is_none().then_some(self.broker);
        let now = self.work.clock.utc();
        let mut warnings = standing(("broker", "mqtts://"), plain, self.validity, now);
        if let (Some(id), Some(host)) = (&self.config.primary_host, &self.host)
            && !host.is_online()
        {
            warnings.push(format!("the primary host {id} is not there: readings wait for it"));
        }
        self.work.report.warn(warnings);
    }

    /// All that has happened by now; `true` when our good-bye is out.
    async fn take_all(&mut self, first: Happened) -> Result<bool, Ended> {
        let mut next = Some(first);
        while let Some(happened) = next {
            if self.take(happened).await? {
                return Ok(true);
            }
            next = self.pipe.ready();
        }
        Ok(false)
    }

    async fn take(&mut self, happened: Happened) -> Result<bool, Ended> {
        let confused = |what: &str| Ended::Trouble(format!("the broker {what}; the connection is made anew"));
        match happened {
            Happened::ReadSoFar(barrier) => {
                let passed = self.flight.passed(barrier);
                self.settle(passed).await?;
            }
            Happened::Subscribed(packet, granted) if self.subscription == Some(packet) => {
                self.subscription = None;
                if !granted {
                    let topic = self.config.of_node(Verb::NodeCommand);
                    return Err(Ended::Trouble(format!(
                        "the broker does not let us subscribe to {topic} and, where there is a primary host, to its STATE: an edge node needs both"
                    )));
                }
                self.begin_if_host_is_there();
            }
            Happened::Message { topic, payload, .. } => self.hear(&topic, &payload)?,
            Happened::Acknowledged(packet) => self.heard_of_death(packet),
            Happened::Refused(packet, _) => self.heard_of_death(packet),
            Happened::Subscribed(..) => {}
            Happened::Closed => return self.is_asked_for(),
            Happened::Trouble(_) if self.stopping.is_some_and(|stopping| stopping.closing) => {
                return self.is_asked_for();
            }
            Happened::Trouble(why) => return Err(Ended::Trouble(why)),
            Happened::Connected(..) => return Err(confused("greets twice")),
        }
        Ok(false)
    }

    fn hear(&mut self, topic: &str, payload: &[u8]) -> Result<(), Ended> {
        if self.config.of_host().as_deref() == Some(topic) {
            let turn = self.host.as_mut().and_then(|host| host.hear(payload));
            self.warn();
            match turn {
                Some(Turn::Online) => self.begin_if_host_is_there(),
                Some(Turn::Offline) => self.host_has_gone()?,
                None => {}
            }
        } else if topic == self.config.of_node(Verb::NodeCommand) {
            self.command(payload);
        }
        Ok(())
    }

    /// Births may come, now that we are subscribed and whoever is waited for is there.
    fn begin_if_host_is_there(&mut self) {
        let is_there = self.host.as_ref().is_none_or(Host::is_online);
        if self.subscription.is_none() && is_there && matches!(self.birth, Birth::Waiting) {
            self.birth = Birth::Due(Instant::now());
        }
    }

    /// The host is not there: what was born dies; what was not yet waits here, if there is no other broker.
    fn host_has_gone(&mut self) -> Result<(), Ended> {
        if !matches!(self.birth, Birth::Waiting) || self.host_by.is_some() {
            self.die_for_want_of_host()?;
        }
        Ok(())
    }

    /// Whether a broker has been silent about the host for too long.
    pub(super) fn look_for_host(&mut self) -> Result<(), Ended> {
        let waits = self.host.as_ref().is_some_and(|host| !host.is_online());
        if waits && self.stopping.is_none() && self.host_by.is_some_and(|by| Instant::now() >= by) {
            self.die_for_want_of_host()?;
        }
        Ok(())
    }

    pub(super) fn is_strict(&self) -> bool {
        self.node.ways.order == Order::Strict
    }
}

/// Lanes that are not there never have more.
async fn more(lanes: &mut Option<Lanes>) {
    match lanes {
        Some(lanes) => lanes.more().await,
        None => std::future::pending().await,
    }
}
