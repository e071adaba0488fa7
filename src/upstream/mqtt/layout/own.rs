//! Our own topics (the contract, section 5.4): `P/status`, `P/meta`.

use super::{Meta, Said, Speaker};
use crate::encode::json;

pub(super) fn will(speaker: &Speaker<'_>) -> Said {
    Said::kept(format!("{}/status", speaker.topic), json::offline(None))
}

pub(super) fn meta(speaker: &Speaker<'_>, room: &impl Fn(&str) -> usize) -> Result<Meta, serde_json::Error> {
    let topic = format!("{}/meta", speaker.topic);
    let most = room(&topic);
    Ok(match json::meta(speaker.site, most)? {
        Some(payload) => {
            Meta { said: vec![Said::kept(topic, payload)], describes: true, left_out: Vec::new() }
        }
        None => Meta {
            left_out: vec![format!(
                "meta has more than the {most} octets that are sent at once; batches bring their names, which costs"
            )],
            ..Meta::default()
        },
    })
}
