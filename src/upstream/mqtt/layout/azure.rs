//! Azure IoT Hub over MQTT (learn.microsoft.com, "Communicate with an IoT hub using the MQTT protocol").
//!
//! One topic for all that a device says: `devices/ID/messages/events/` and a bag of properties, by which the hub routes:
//! `kind` (`live`, `history`, `status`, `meta`, `event`), `device` where it is one meter's, and the body's type. The hub
//! is no broker: it keeps nothing, and has no other topics. It bills by 4 KB, so readings go many in one message, an array of
//! JSON objects that begin with `gateway` and `device`.
//!
//! The user name is `HUB/ID/?api-version=…`, the client id is ID. A device is known by its certificate, or by a signature that
//! its key makes for an hour ([`Hub::token`]); the hub hangs up when that is over, and the next one is made for the next
//! connection.

use super::{Meta, Said, Speaker};
use crate::encode::json;
use crate::model::{Name, Timestamp};
use crate::upstream::coding::{base64, percent, unbase64};
use ring::hmac;

const API_VERSION: &str = "2021-04-12";
const TOKEN_SECONDS: i64 = 3600;

/// Which hub, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// `NAME.azure-devices.net`.
    pub host: String,
    pub device: String,
}

impl Hub {
    pub fn username(&self) -> String {
        format!("{}/{}/?api-version={API_VERSION}", self.host, self.device)
    }

    /// The password for an hour from now on, signed with the device's key as the portal shows it ("Control access to IoT
    /// Hub by using shared access signatures").
    ///
    /// # Errors
    /// In words, where the key is no base64.
    pub fn token(&self, key: &str, now: Timestamp) -> Result<String, String> {
        let key = unbase64(key.trim())
            .ok_or("the key is not base64: copy the device's primary key as it is shown")?;
        let resource = percent(&format!("{}/devices/{}", self.host, self.device));
        let until = now.0.div_euclid(1000) + TOKEN_SECONDS;
        let signed = format!("{resource}\n{until}");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
        let signature = percent(&base64(tag.as_ref()));
        Ok(format!("SharedAccessSignature sr={resource}&sig={signature}&se={until}"))
    }

    pub(super) fn topic(&self, kind: &str, device: Option<&Name>) -> String {
        let device = device.map_or_else(String::new, |device| format!("&device={device}"));
        let body = "%24.ct=application%2Fjson&%24.ce=utf-8";
        format!("devices/{}/messages/events/kind={kind}{device}&{body}", self.device)
    }

    pub(super) fn says(&self, kind: &str, device: Option<&Name>, payload: String) -> Said {
        Said::once(self.topic(kind, device), payload)
    }
}

pub(super) fn meta(
    hub: &Hub,
    speaker: &Speaker<'_>,
    room: impl Fn(&str) -> usize,
) -> Result<Meta, serde_json::Error> {
    let topic = hub.topic("meta", None);
    let most = room(&topic);
    let meta = json::meta(speaker.site, most)?;
    let left_out = meta.is_none().then(|| format!("meta has more than the {most} octets that the hub takes"));
    let said = meta.into_iter().map(|payload| Said::once(topic.clone(), payload)).collect();
    Ok(Meta { said, describes: false, left_out: left_out.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Hub {
        Hub { host: "plant.azure-devices.net".into(), device: "gw 7".into() }
    }

    #[test]
    fn the_password_is_a_signature_that_python_makes_too() {
        // hmac.new(base64.b64decode(key), (sr + "\n" + se).encode(), "sha256"), quoted.
        let token = hub().token("c2VjcmV0LWtleQ==\n", Timestamp(1_763_766_000_999)).unwrap();
        assert_eq!(
            token,
            "SharedAccessSignature sr=plant.azure-devices.net%2Fdevices%2Fgw%207&sig=qLGesBZpOkEhWBKhianqgnwdyuKEKefXJWU0uFwWdOQ%3D&se=1763769600"
        );
        assert!(hub().token("?", Timestamp(0)).is_err());
    }

    #[test]
    fn the_hub_is_told_the_kind_and_the_type_of_what_comes() {
        let topic = hub().topic("event", "m1".parse().ok().as_ref());
        let bag = "kind=event&device=m1&%24.ct=application%2Fjson&%24.ce=utf-8";
        assert_eq!(topic, format!("devices/gw 7/messages/events/{bag}"));
        assert_eq!(hub().username(), "plant.azure-devices.net/gw 7/?api-version=2021-04-12");
    }
}
