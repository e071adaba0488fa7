//! The topics of one edge node (Sparkplug 3.0.0, section 4).

use super::config::Config;
use std::fmt;

const NAMESPACE: &str = "spBv1.0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    NodeBirth,
    NodeDeath,
    NodeData,
    NodeCommand,
    DeviceBirth,
    DeviceDeath,
    DeviceData,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::NodeBirth => "NBIRTH",
            Verb::NodeDeath => "NDEATH",
            Verb::NodeData => "NDATA",
            Verb::NodeCommand => "NCMD",
            Verb::DeviceBirth => "DBIRTH",
            Verb::DeviceDeath => "DDEATH",
            Verb::DeviceData => "DDATA",
        })
    }
}

impl Config {
    /// A topic of the node itself.
    pub(super) fn of_node(&self, verb: Verb) -> String {
        format!("{NAMESPACE}/{}/{verb}/{}", self.group, self.node)
    }

    pub(super) fn of_device(&self, verb: Verb, device: &str) -> String {
        format!("{NAMESPACE}/{}/{verb}/{}/{device}", self.group, self.node)
    }

    /// Where the primary host says whether it is there.
    pub(super) fn of_host(&self) -> Option<String> {
        self.primary_host.as_ref().map(|host| format!("{NAMESPACE}/STATE/{host}"))
    }
}
