//! Who listens at the broker, and so what is said to it under which topics.
//!
//! | layout | readings | status and Will | what exists | events and losses |
//! | --- | --- | --- | --- | --- |
//! | `mqtt` | `P/d`, `P/h`, `P/b` | `P/status` | `P/meta` | `P/event` |
//! | `homeassistant` | the same | the same | and `PREFIX/device/…/config` | the same |
//! | `aws-iot`, `azure-event-grid` | the same, within their limits | the same | the same | the same |
//! | `thingsboard` | `v1/gateway/telemetry`, many at once | `v1/devices/me/attributes`, no Will | `v1/gateway/connect`, `…/attributes` | `v1/devices/me/telemetry`, `v1/gateway/disconnect` |
//! | `azure-iot` | `devices/ID/messages/events/…`, many at once | the same | the same | the same |
//! | `thin-edge` | `te/device/DEVICE///m/TYPE` | `…/service/linesman/status/health` | `te/device/DEVICE//`, `…/m/TYPE/meta` | `…/e/TYPE`, `…/a/device-lost` |
//!
//! `P` is the upstream's `topic`. All of it is pure: a layout is asked what is to be said, and the session says it.
//! A layout only has to be able to say readings; for what its far end has no place, it says nothing, and that counts as told.

mod azure;
mod homeassistant;
mod own;
mod thin_edge;
mod thingsboard;

pub use azure::Hub;
pub use homeassistant::Discovery;
pub(in crate::upstream) use homeassistant::Heard;
pub use thin_edge::ThinEdge;

use crate::encode::json::Loss;
use crate::encode::{Encoding, Numbered, Payload, Refused, json, thingsboard as thingsboard_payload};
use crate::model::{Event, Name, Site, Timestamp};
use crate::upstream::proof::Way;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// Whom an upstream speaks to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Layout {
    /// Whoever reads our own topics.
    #[default]
    Own,
    HomeAssistant(Discovery),
    AwsIot,
    EventGrid,
    ThingsBoard,
    AzureIot(Hub),
    ThinEdge(ThinEdge),
}

/// What the far end takes, beside what it says when it greets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a payload.
    pub payload: usize,
    /// Publishes a second on one connection.
    pub rate: Option<NonZeroU32>,
    /// Messages can be kept for who comes later.
    pub retains: bool,
}

/// Something to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::upstream) struct Said {
    pub(in crate::upstream) topic: String,
    pub(in crate::upstream) retain: bool,
    pub(in crate::upstream) payload: Vec<u8>,
}

impl Said {
    fn once(topic: String, payload: impl Into<Vec<u8>>) -> Said {
        Said { topic, retain: false, payload: payload.into() }
    }

    fn kept(topic: String, payload: impl Into<Vec<u8>>) -> Said {
        Said { topic, retain: true, payload: payload.into() }
    }
}

/// What exists, as it is said.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Meta {
    pub(in crate::upstream) said: Vec<Said>,
    /// The names and units that a batch may leave to `P/meta` have been said.
    pub(in crate::upstream) describes: bool,
    /// Why something was left out, and for whom.
    pub(in crate::upstream) left_out: Vec<String>,
}

/// What status tells.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct Standing<'a> {
    pub(in crate::upstream) version: &'a str,
    pub(in crate::upstream) backlog: u64,
    /// The network path that this goes over, where there are some to choose from.
    pub(in crate::upstream) uplink: Option<&'a str>,
}

/// A layout with what it speaks of.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct Speaker<'a> {
    pub(in crate::upstream) layout: &'a Layout,
    /// `P`.
    pub(in crate::upstream) topic: &'a str,
    pub(in crate::upstream) site: &'a Site,
    /// The meters that are away, as far as it was told.
    pub(in crate::upstream) lost: &'a BTreeSet<Name>,
    pub(in crate::upstream) now: Timestamp,
}

impl Layout {
    /// Its word in the configuration and in status.
    pub const fn word(&self) -> &'static str {
        match self {
            Layout::Own => "mqtt",
            Layout::HomeAssistant(_) => "homeassistant",
            Layout::AwsIot => "aws-iot",
            Layout::EventGrid => "azure-event-grid",
            Layout::ThingsBoard => "thingsboard",
            Layout::AzureIot(_) => "azure-iot",
            Layout::ThinEdge(_) => "thin-edge",
        }
    }

    pub fn limits(&self) -> Limits {
        let free = Limits { payload: usize::MAX, rate: None, retains: true };
        match self {
            Layout::Own | Layout::HomeAssistant(_) => free,
            // "AWS IoT Core message broker limits": 128 KB a publish, 100 publishes a second on a connection.
            Layout::AwsIot => Limits { payload: 128 << 10, rate: NonZeroU32::new(90), retains: true },
            // "Event Grid quotas and limits": 512 KB a message, 100 messages a second of a session.
            Layout::EventGrid => Limits { payload: 512 << 10, rate: NonZeroU32::new(90), retains: true },
            // 65 536 octets with the topic by default (NETTY_MAX_PAYLOAD_SIZE): more than that and the server hangs up.
            Layout::ThingsBoard => Limits { payload: 48_000, rate: None, retains: false },
            // "IoT Hub quotas": 256 KB a message; the broker keeps nothing.
            Layout::AzureIot(_) => Limits { payload: 255 << 10, rate: None, retains: false },
            // Its mapper to Cumulocity: 16 184 octets.
            Layout::ThinEdge(_) => Limits { payload: 16_000, ..free },
        }
    }

    /// Whether readings go many in one message.
    pub fn packs(&self) -> bool {
        matches!(self, Layout::ThingsBoard | Layout::AzureIot(_))
    }

    /// What is listened to.
    pub(in crate::upstream) fn subscriptions(&self) -> Vec<String> {
        match self {
            Layout::HomeAssistant(discovery) => discovery.subscriptions(),
            Layout::Own
            | Layout::AwsIot
            | Layout::EventGrid
            | Layout::ThingsBoard
            | Layout::AzureIot(_)
            | Layout::ThinEdge(_) => Vec::new(),
        }
    }
}

impl Speaker<'_> {
    /// What the broker says for us when we are gone without a good-bye, and where.
    pub(in crate::upstream) fn will(&self) -> Option<Said> {
        match self.layout {
            Layout::ThingsBoard => None,
            Layout::AzureIot(hub) => Some(hub.says("status", None, json::offline(None))),
            Layout::ThinEdge(_) => Some(thin_edge::health(self, false, None)),
            Layout::Own | Layout::HomeAssistant(_) | Layout::AwsIot | Layout::EventGrid => {
                Some(own::will(self))
            }
        }
    }

    pub(in crate::upstream) fn status(&self, standing: Standing<'_>) -> Vec<Said> {
        let Standing { version, backlog, uplink } = standing;
        let online = json::online(self.now, version, &self.site.config_hash, (backlog, uplink));
        vec![match self.layout {
            Layout::ThingsBoard => {
                Said::once("v1/devices/me/attributes".to_owned(), thingsboard::attributes(self, standing))
            }
            Layout::AzureIot(hub) => hub.says("status", None, online),
            Layout::ThinEdge(_) => thin_edge::health(self, true, Some(self.now)),
            Layout::Own | Layout::HomeAssistant(_) | Layout::AwsIot | Layout::EventGrid => {
                Said::kept(format!("{}/status", self.topic), online)
            }
        }]
    }

    /// The good-bye.
    pub(in crate::upstream) fn offline(&self) -> Vec<Said> {
        match self.layout {
            Layout::ThingsBoard => Vec::new(),
            Layout::AzureIot(hub) => vec![hub.says("status", None, json::offline(Some(self.now)))],
            Layout::ThinEdge(_) => vec![thin_edge::health(self, false, Some(self.now))],
            Layout::Own | Layout::HomeAssistant(_) | Layout::AwsIot | Layout::EventGrid => {
                vec![Said::kept(format!("{}/status", self.topic), json::offline(Some(self.now)))]
            }
        }
    }

    /// What exists; a payload may have `room` octets under a topic of so many.
    ///
    /// # Errors
    /// Where it can't be written at all.
    pub(in crate::upstream) fn meta(
        &self,
        version: &str,
        room: impl Fn(&str) -> usize,
    ) -> Result<Meta, serde_json::Error> {
        match self.layout {
            Layout::ThingsBoard => Ok(thingsboard::meta(self)),
            Layout::AzureIot(hub) => azure::meta(hub, self, room),
            Layout::ThinEdge(edge) => Ok(thin_edge::meta(edge, self)),
            Layout::HomeAssistant(discovery) => {
                let mut meta = own::meta(self, &room)?;
                discovery.announce(self, version, room, &mut meta);
                Ok(meta)
            }
            Layout::Own | Layout::AwsIot | Layout::EventGrid => own::meta(self, &room),
        }
    }

    pub(in crate::upstream) fn event(&self, event: &Event) -> Vec<Said> {
        match self.layout {
            Layout::ThingsBoard => thingsboard::event(event),
            Layout::AzureIot(hub) => {
                vec![hub.says("event", event.device.as_ref(), json::event(event))]
            }
            Layout::ThinEdge(_) => thin_edge::event(event),
            Layout::Own | Layout::HomeAssistant(_) | Layout::AwsIot | Layout::EventGrid => {
                vec![Said::once(format!("{}/event", self.topic), json::event(event))]
            }
        }
    }

    pub(in crate::upstream) fn gap(&self, loss: &Loss<'_>) -> Said {
        match self.layout {
            Layout::ThingsBoard => thingsboard::gap(self.now, loss),
            Layout::AzureIot(hub) => hub.says("event", None, json::gap(self.now, loss, None)),
            Layout::ThinEdge(_) => thin_edge::gap(self.now, loss),
            Layout::Own | Layout::HomeAssistant(_) | Layout::AwsIot | Layout::EventGrid => {
                Said::once(format!("{}/event", self.topic), json::gap(self.now, loss, None))
            }
        }
    }

    /// Where one reading goes by itself.
    pub(in crate::upstream) fn reading_topic(&self, way: Way, device: &Name) -> String {
        match self.layout {
            Layout::ThinEdge(edge) => edge.measurement_topic(device),
            // Those that pack have no topic of a reading.
            Layout::Own
            | Layout::HomeAssistant(_)
            | Layout::AwsIot
            | Layout::EventGrid
            | Layout::ThingsBoard
            | Layout::AzureIot(_) => format!("{}/{}/{device}", self.topic, way.0),
        }
    }

    /// Where many go at once.
    pub(in crate::upstream) fn batch_topic(&self, live: bool) -> String {
        match self.layout {
            Layout::ThingsBoard => "v1/gateway/telemetry".to_owned(),
            Layout::AzureIot(hub) => hub.topic(if live { "live" } else { "history" }, None),
            Layout::Own
            | Layout::HomeAssistant(_)
            | Layout::AwsIot
            | Layout::EventGrid
            | Layout::ThinEdge(_) => format!("{}/b", self.topic),
        }
    }

    /// As many readings as fit into one message, where they go so ([`Layout::packs`]).
    pub(in crate::upstream) fn pack(
        &self,
        readings: &[Numbered<'_>],
        room: usize,
    ) -> Result<Payload, Refused> {
        if matches!(self.layout, Layout::ThingsBoard) {
            return thingsboard_payload::encode(readings, room);
        }
        Encoding::JsonArray.encode(readings, self.site, room)
    }
}
