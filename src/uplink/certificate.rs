//! Until when a certificate is valid.

use crate::model::Timestamp;
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};

/// The end of its validity (X.509, RFC 5280 section 4.1.2.5); nothing for one that cannot be read.
pub(super) fn valid_until(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    i64::try_from(end.as_millis()).ok().map(Timestamp)
}

/// A moment as it is written in a certificate, `2026-11-25T15:46:16Z`.
pub(super) fn moment(seconds: u64) -> String {
    let moment = DateTime::from_unix_duration(Duration::from_secs(seconds));
    moment.map_or_else(|_| format!("{seconds} s after 1970"), |moment| moment.to_string())
}
