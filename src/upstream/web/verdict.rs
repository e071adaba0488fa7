//! What an answer means: taken, refused for good, too late, or to be tried again. Pure.

use super::config::Form;
use super::exchange::Answer;
use crate::uplink::Endpoint;
use crate::upstream::bodies::Refusal;

/// How servers say that a sample is older than what they keep or may add to: Prometheus' `storage` errors, Mimir's
/// `err-mimir-sample-…`, InfluxDB's partial writes.
const TOO_LATE: [&str; 6] = [
    "out of order",
    "out-of-order",
    "out of bounds",
    "too old",
    "duplicate sample for timestamp",
    "beyond retention policy",
];

/// Which answers mean that the far end has taken responsibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept<'a> {
    /// 204.
    Influx,
    /// 204, or a 2xx that says nothing.
    Prometheus,
    /// 2xx of this content type, or of any but a web page's.
    Http(Option<&'a str>),
}

impl<'a> Accept<'a> {
    pub(super) fn of(form: &Form, expect: Option<&'a str>) -> Accept<'a> {
        match form {
            Form::Influx => Accept::Influx,
            Form::Prometheus(_) => Accept::Prometheus,
            Form::Http(_) => Accept::Http(expect),
        }
    }

    /// Databases answer no pages.
    fn is_database(self) -> bool {
        !matches!(self, Accept::Http(_))
    }
}

pub(super) fn of(answer: &Answer, accept: Accept<'_>, from: &Endpoint) -> Result<(), Refusal> {
    let status = answer.status;
    let is_page = answer.content_type.as_deref().is_some_and(|kind| has_type(kind, "text/html"));
    let colon = if answer.words.is_empty() || is_page { "" } else { ": " };
    let words = if is_page { "" } else { answer.words.as_str() };
    let said = |what: &str| format!("{from} answers {status}, {what}{colon}{words}");
    let later = |why: String| match answer.retry_after {
        Some(wait) => Refusal::Busy(why, wait),
        None => Refusal::Later(why),
    };
    match status {
        200..=299 => {
            taken(answer, accept, is_page).map_err(|why| later(format!("{from} answers {status} {why}")))
        }
        300..=399 => {
            Err(later(said("which leads elsewhere: is a captive portal in between, or has it moved?")))
        }
        400 | 422 if is_page && accept.is_database() => {
            Err(later(said("a web page: is a proxy or a captive portal in between?")))
        }
        400 | 409 | 422 if is_too_late(answer, accept) => Err(Refusal::TooLate(said("too late for it"))),
        400 | 415 | 422 => Err(Refusal::ForGood(said("malformed"))),
        // nginx says so with a page.
        413 => Err(Refusal::ForGood(said("too large"))),
        401 | 403 => Err(later(said("not authorised: are token, user name and password right?"))),
        404 | 405 => Err(later(said("nothing there: are the path, organisation, bucket or database right?"))),
        429 => Err(later(said("too much at once"))),
        500.. => Err(later(said("an error of its own"))),
        _ => Err(later(said("which is no answer to this"))),
    }
}

/// Whether a 2xx comes from whom it should; else what is odd about it.
fn taken(answer: &Answer, accept: Accept<'_>, is_page: bool) -> Result<(), String> {
    let Answer { status, content_type, words, .. } = answer;
    let found = content_type.as_deref().unwrap_or("no content type");
    match accept {
        _ if *status == 204 && accept.is_database() => Ok(()),
        Accept::Influx => {
            Err("and not 204: is a captive portal or a proxy in between, or the path wrong?".to_owned())
        }
        Accept::Prometheus if !is_page && words.is_empty() => Ok(()),
        Accept::Prometheus => {
            Err(format!("with {found}, where remote write says nothing: is a captive portal in between?"))
        }
        Accept::Http(None) if !is_page => Ok(()),
        Accept::Http(Some(expected))
            if content_type.as_deref().is_some_and(|kind| has_type(kind, expected)) =>
        {
            Ok(())
        }
        Accept::Http(expected) => {
            let right = expected.unwrap_or("anything but a web page");
            Err(format!("with {found}, and not {right}: is a captive portal in between?"))
        }
    }
}

fn is_too_late(answer: &Answer, accept: Accept<'_>) -> bool {
    let words = answer.words.to_ascii_lowercase();
    accept.is_database() && TOO_LATE.iter().any(|said| words.contains(said))
}

/// Without parameters: `application/json; charset=utf-8` is `application/json`.
fn has_type(given: &str, expected: &str) -> bool {
    let bare = given.split(';').next().unwrap_or_default().trim();
    bare.eq_ignore_ascii_case(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ANY: Accept<'_> = Accept::Http(None);

    fn judged(
        status: u16,
        content_type: Option<&str>,
        words: &str,
        accept: Accept<'_>,
    ) -> Result<(), Refusal> {
        let from = Endpoint { host: "db".to_owned(), port: 8086 };
        let answer = Answer {
            status,
            content_type: content_type.map(str::to_owned),
            retry_after: None,
            words: words.to_owned(),
        };
        of(&answer, accept, &from)
    }

    #[test]
    fn a_portal_that_says_200_has_taken_nothing() {
        assert!(
            judged(204, None, "", Accept::Influx).is_ok()
                && judged(204, None, "", Accept::Prometheus).is_ok()
        );
        assert!(judged(200, None, "", Accept::Prometheus).is_ok(), "Mimir and Thanos answer so");
        for (status, kind) in [(200, Some("text/html")), (200, None), (202, None), (302, Some("text/html"))] {
            for accept in [Accept::Influx, Accept::Prometheus] {
                let judged = judged(status, kind, "Welcome", accept);
                assert!(matches!(judged, Err(Refusal::Later(_))), "{status} {kind:?} {accept:?}");
            }
        }
        assert!(judged(200, None, "ok", ANY).is_ok());
        assert!(judged(201, Some("application/json"), "{}", ANY).is_ok());
        assert!(matches!(judged(200, Some("text/HTML; charset=utf-8"), "", ANY), Err(Refusal::Later(_))));
        let json = Accept::Http(Some("application/json"));
        assert!(judged(200, Some("application/json; charset=utf-8"), "{}", json).is_ok());
        assert!(judged(200, Some("text/plain"), "", json).is_err() && judged(204, None, "", json).is_err());
    }

    #[test]
    fn only_what_is_malformed_or_too_large_is_refused_for_good() {
        for status in [400, 413, 415, 422] {
            let Err(Refusal::ForGood(why)) = judged(status, None, "unable to parse", Accept::Influx) else {
                panic!("{status}")
            };
            assert!(why.contains("unable to parse"), "{why}");
        }
        for status in [100, 301, 401, 403, 404, 405, 407, 408, 429, 500, 503, 599] {
            assert!(matches!(judged(status, None, "", Accept::Influx), Err(Refusal::Later(_))), "{status}");
        }
    }

    #[test]
    fn a_proxys_page_says_nothing_of_the_record_unless_it_is_too_large() {
        for accept in [Accept::Influx, Accept::Prometheus] {
            assert!(matches!(judged(400, Some("text/html"), "", accept), Err(Refusal::Later(_))));
            assert!(matches!(judged(413, Some("text/html"), "", accept), Err(Refusal::ForGood(_))));
        }
        assert!(matches!(judged(400, Some("text/html"), "", ANY), Err(Refusal::ForGood(_))));
    }

    #[test]
    fn what_has_come_too_late_is_known_by_its_words_and_at_databases_only() {
        for words in [
            "out of order sample",
            "out of bounds",
            "too old sample",
            "duplicate sample for timestamp",
            "send data to ingesters: failed pushing: user=x: err: out of order sample. timestamp=2026 (err-mimir-sample-out-of-order)",
            r#"{"error":"partial write: points beyond retention policy dropped=3"}"#,
        ] {
            for accept in [Accept::Influx, Accept::Prometheus] {
                assert!(matches!(judged(400, None, words, accept), Err(Refusal::TooLate(_))), "{words}");
            }
            assert!(matches!(judged(400, None, words, ANY), Err(Refusal::ForGood(_))), "{words}");
        }
        assert!(matches!(judged(503, None, "out of order", Accept::Prometheus), Err(Refusal::Later(_))));
    }

    #[test]
    fn who_is_busy_says_for_how_long() {
        let from = Endpoint { host: "db".to_owned(), port: 8086 };
        for status in [429, 503] {
            let retry_after = Some(Duration::from_secs(7));
            let answer = Answer { status, content_type: None, retry_after, words: String::new() };
            let judged = of(&answer, Accept::Influx, &from);
            assert!(matches!(judged, Err(Refusal::Busy(_, wait)) if wait.as_secs() == 7));
        }
    }
}
