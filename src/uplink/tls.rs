//! TLS by rustls with ring: who is believed, who we are, and what went wrong in words.

use super::certificate::{moment, valid_until};
use super::dial::Validity;
use crate::model::Timestamp;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How a connection is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the far end's certificate, PEM; the system's authorities when not given.
    pub ca_file: Option<PathBuf>,
    /// Who we are, for a far end that asks (mTLS).
    pub identity: Option<Identity>,
}

/// Our certificate with what leads to its authority, and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// What is wrong with a certificate of the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    Expired,
    NotYetValid,
    /// Signed by nobody we believe.
    Unknown,
    WrongName,
    Other,
}

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{}: {what}", path.display())]
    File { path: PathBuf, what: String },
    #[error("the system has no certificate authorities: name one by `ca_file`, or install ca-certificates")]
    NoAuthorities,
    #[error("its certificate {what}")]
    Certificate { problem: Problem, what: String },
    #[error("it speaks neither TLS 1.2 nor TLS 1.3")]
    TooOld,
    #[error("it does not speak TLS on this port")]
    NoTls,
    #[error("it refuses our certificate: {0}")]
    Refused(String),
    #[error("it asks for a certificate of ours: give `cert_file` and `key_file`")]
    WantsOurs,
    #[error("no secure connection: {0}")]
    Other(String),
}

pub(super) struct Secured {
    pub stream: TlsStream<TcpStream>,
    pub validity: Validity,
}

struct Client {
    config: ClientConfig,
    ours_until: Option<Timestamp>,
}

impl Tls {
    /// Reads all files, to say beforehand what is wrong with them.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn check(&self) -> Result<(), TlsError> {
        self.client().map(|_| ())
    }

    pub(super) async fn secure(&self, stream: TcpStream, host: &str) -> Result<Secured, TlsError> {
        let this = self.clone();
        let client = spawn_blocking(move || this.client()).await;
        let Client { config, ours_until } = client.map_err(|error| TlsError::Other(error.to_string()))??;
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| TlsError::Other(format!("{host} is no name that a certificate has")))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = connecting.await.map_err(|error| in_words(&error))?;
        let theirs = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let validity = Validity { theirs: theirs.and_then(valid_until), ours: ours_until };
        Ok(Secured { stream, validity })
    }

    fn client(&self) -> Result<Client, TlsError> {
        let roots = match &self.ca_file {
            Some(path) => given(path)?,
            None => systems()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder =
            builder.map_err(|error| TlsError::Other(error.to_string()))?.with_root_certificates(roots);
        let Some(Identity { cert_file, key_file }) = &self.identity else {
            return Ok(Client { config: builder.with_no_client_auth(), ours_until: None });
        };
        let chain = certificates(cert_file)?;
        let ours_until = chain.first().and_then(valid_until);
        let config = builder.with_client_auth_cert(chain, key(key_file)?).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                let what = format!("the key does not belong to the certificate in {}", cert_file.display());
                return TlsError::File { path: key_file.clone(), what };
            }
            TlsError::File { path: cert_file.clone(), what: error.to_string() }
        })?;
        Ok(Client { config, ours_until })
    }
}

fn given(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::File {
            path: path.to_owned(),
            what: format!("holds a certificate that is no authority's: {error}"),
        })?;
    }
    Ok(roots)
}

fn systems() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some systems ship a few that rustls does not take: the others do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| file_error(path, error, "a certificate"))?;
    if all.is_empty() {
        return Err(file_error(path, pem::Error::NoItemsFound, "a certificate"));
    }
    Ok(all)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if matches!(error, pem::Error::NoItemsFound) && text.contains("ENCRYPTED") {
            let what =
                "the key is protected by a password, which nobody could type here: store it without one";
            return TlsError::File { path: path.to_owned(), what: what.to_owned() };
        }
        file_error(path, error, "a private key")
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn file_error(path: &Path, error: pem::Error, wanted: &str) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(error) => TlsError::Unreadable { path, error },
        pem::Error::NoItemsFound => {
            TlsError::File { path, what: format!("holds no {} in PEM form", &wanted[2..]) }
        }
        error => TlsError::File { path, what: format!("is not PEM: {error}") },
    }
}

/// What ended a connection that was secured: a far end that asks for a certificate may say so after the handshake.
pub fn said_by_tls(error: &io::Error) -> Option<TlsError> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(of_rustls)
}

/// What a handshake that failed means.
fn in_words(error: &io::Error) -> TlsError {
    match said_by_tls(error) {
        Some(said) => said,
        None if error.kind() == io::ErrorKind::UnexpectedEof
            || error.kind() == io::ErrorKind::ConnectionReset =>
        {
            TlsError::Other("it closed the connection in the middle of the handshake".to_owned())
        }
        None => TlsError::Other(error.to_string()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn of_rustls(error: &rustls::Error) -> TlsError {
    use AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(error),
        rustls::Error::AlertReceived(Alert::ProtocolVersion)
        | rustls::Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | rustls::Error::PeerIncompatible(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig) => {
            TlsError::TooOld
        }
        rustls::Error::InvalidMessage(_) => TlsError::NoTls,
        rustls::Error::AlertReceived(Alert::CertificateRequired) => TlsError::WantsOurs,
        rustls::Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied),
        ) => TlsError::Refused(format!("{alert:?}")),
        error => TlsError::Other(error.to_string()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open set; its own words do for the others")]
fn certificate(error: &CertificateError) -> TlsError {
    let (problem, what) = match error {
        CertificateError::Expired => (Problem::Expired, "has expired".to_owned()),
        CertificateError::ExpiredContext { not_after, .. } => {
            (Problem::Expired, format!("has expired: it was valid until {}", moment(not_after.as_secs())))
        }
        CertificateError::NotValidYet => (Problem::NotYetValid, "is not valid yet".to_owned()),
        CertificateError::NotValidYetContext { not_before, .. } => (
            Problem::NotYetValid,
            format!("is not valid yet: it will be from {} on", moment(not_before.as_secs())),
        ),
        CertificateError::UnknownIssuer => (
            Problem::Unknown,
            "is signed by nobody that is believed here: is `ca_file` the right one?".to_owned(),
        ),
        CertificateError::NotValidForName => (Problem::WrongName, "is for another name".to_owned()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            (Problem::WrongName, format!("is for another name: {}", names(presented)))
        }
        error => (Problem::Other, format!("is not accepted: {error}")),
    };
    TlsError::Certificate { problem, what }
}

/// rustls says `DnsName("host")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let presented: Vec<String> = presented.iter().map(bare).collect();
    if presented.is_empty() {
        "it has none (a common name alone does not count)".to_owned()
    } else {
        presented.join(", ")
    }
}
