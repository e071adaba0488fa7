//! One request after the other over a connection that is kept while the far end keeps it: send octets, hear what it says.
//!
//! A connection that was kept may be closed by the far end at the very moment in which the next request leaves. Where not
//! one octet of an answer came, the request is sent again at once over a new connection, once: that is how HTTP works
//! (RFC 9112, section 9.3.1) and no trouble of the far end's. On a new connection nothing is excused.

use super::heard::Heard;
use crate::uplink::{Endpoint, Link, Tls, Validity, said_by_tls};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// What is read of an answer, for its words.
const LARGEST_ANSWER: usize = 16 << 10;
/// What is told of it.
const WORDS: usize = 300;

/// Where to, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub endpoint: Endpoint,
    pub tls: Option<Tls>,
    pub method: Method,
    /// Path and query, from the slash on.
    pub path: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub timeout: Duration,
}

/// What the far end said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub retry_after: Option<Duration>,
    /// The beginning of its body, for people.
    pub words: String,
}

/// Keeps a connection between requests.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Over which path the next connection goes.
    link: Link,
    open: Option<Open>,
    validity: Validity,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    /// Octets that the far end has sent.
    heard: Arc<AtomicU64>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Exchange {
    pub(super) fn over(link: Link) -> Exchange {
        Exchange { link, ..Exchange::default() }
    }

    /// Until when the certificates of the last connection are valid.
    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// Ends the connection, if there is one.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Sends one request, on the connection of the one before if that still stands.
    ///
    /// # Errors
    /// In words, where there is no whole answer: the far end may have got it all the same.
    pub(super) async fn send(
        &mut self,
        target: &Target,
        more: &[(HeaderName, HeaderValue)],
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        // Left behind where this is dropped in the middle: no other request may follow on such a connection.
        // Where another path is taken by now, the next one goes over that.
        let kept = self.open.take().filter(|_| !self.link.has_moved());
        let answered = timeout(target.timeout, self.exchange(kept, target, more, Bytes::from(body))).await;
        let answered = answered.unwrap_or_else(|_| {
            self.link.unanswered();
            Err(format!("{} has not answered for {} s", target.endpoint, target.timeout.as_secs()))
        });
        if answered.is_err() {
            self.open = None;
        }
        answered
    }

    async fn exchange(
        &mut self,
        kept: Option<Open>,
        target: &Target,
        more: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, String> {
        if let Some(mut open) = kept
            && open.sender.ready().await.is_ok()
        {
            let before = open.heard.load(Ordering::Relaxed);
            match open.sender.send_request(request(target, more, body.clone())?).await {
                Ok(response) => return self.answer(open, target, response).await,
                Err(error) if open.heard.load(Ordering::Relaxed) != before => {
                    return Err(in_words(target, &error));
                }
                // Closed while nobody spoke.
                Err(_) => {}
            }
        }
        let mut open = self.opened(target).await?;
        let response = open.sender.send_request(request(target, more, body)?).await;
        let response = response.map_err(|error| in_words(target, &error))?;
        self.answer(open, target, response).await
    }

    async fn opened(&mut self, target: &Target) -> Result<Open, String> {
        let dialled = self.link.dialler(&target.endpoint).dial(&target.endpoint, target.tls.as_ref()).await;
        let connection = dialled.map_err(|error| error.to_string())?;
        self.validity = connection.validity();
        let (connection, heard) = Heard::on(connection);
        let shaken = handshake(TokioIo::new(connection)).await;
        let (sender, driver) = shaken.map_err(|error| in_words(target, &error))?;
        // It ends with the connection; what went wrong is heard by who sends.
        let driver = tokio::spawn(async move { drop(driver.await) }).abort_handle();
        Ok(Open { sender, driver, heard })
    }

    /// The whole answer: one that is cut off is none.
    async fn answer(
        &mut self,
        open: Open,
        target: &Target,
        response: Response<Incoming>,
    ) -> Result<Answer, String> {
        let (head, body) = response.into_parts();
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(CONTENT_TYPE).map(str::to_owned);
        let retry_after = text(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
        let words = match Limited::new(body, LARGEST_ANSWER).collect().await {
            Ok(body) => {
                self.open = Some(open);
                shortened(&body.to_bytes())
            }
            // A long one is no mistake of what was sent; its connection is not used again.
            Err(error) if error.is::<LengthLimitError>() => "a long answer".to_owned(),
            Err(error) => return Err(in_words(target, error.as_ref())),
        };
        let retry_after = retry_after.map(Duration::from_secs);
        Ok(Answer { status: head.status.as_u16(), content_type, retry_after, words })
    }
}

fn request(
    target: &Target,
    more: &[(HeaderName, HeaderValue)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder()
        .method(target.method.clone())
        .uri(&target.path)
        .header(HOST, host(target))
        .header(USER_AGENT, concat!("linesman/", env!("CARGO_PKG_VERSION")));
    // One of ours gives way to one that is configured.
    let own = more.iter().filter(|(name, _)| target.headers.iter().all(|(given, _)| given != name));
    for (name, value) in target.headers.iter().chain(own) {
        request = request.header(name, value);
    }
    request.body(Full::new(body)).map_err(|error| format!("no request: {error}"))
}

/// Without the port that the scheme has anyway (RFC 9110, section 4.2.3): some compare it letter by letter.
fn host(target: &Target) -> String {
    let usual = if target.tls.is_some() { ":443" } else { ":80" };
    let host = target.endpoint.to_string();
    host.strip_suffix(usual).map_or_else(|| host.clone(), str::to_owned)
}

fn in_words(target: &Target, error: &(dyn Error + 'static)) -> String {
    let to = &target.endpoint;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref::<io::Error>().and_then(said_by_tls) {
            return format!("{to}: {said}");
        }
        cause = error.source();
    }
    let cut = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
    if cut { format!("{to} closed the connection before it had answered") } else { format!("{to}: {error}") }
}

/// One line, and not too long.
fn shortened(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(WORDS).collect()
}
