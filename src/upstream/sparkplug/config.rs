//! Upstream `sparkplug`: how it is configured.

use crate::upstream::mqtt::Access;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub access: Access,
    pub group: String,
    /// The edge node, which is this gateway.
    pub node: String,
    /// The host application without which nothing is said; none is waited for when not given.
    pub primary_host: Option<String>,
    /// Data carries each metric's datatype too, for hosts that do not remember it from the birth.
    pub include_datatype: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            access: Access::default(),
            group: "linesman".to_owned(),
            node: "gateway".to_owned(),
            primary_host: None,
            include_datatype: false,
        }
    }
}
