//! How a connection begins, for whatever speaks MQTT: who we are, and what the broker answers.

use super::config::Access;
use super::pipe::{Happened, Pipe};
use super::walk::Ended;
use super::wire::{Greeting, Hello, Will};
use crate::model::Timestamp;
use crate::uplink::{Endpoint, Validity};
use crate::upstream::{Secret, Work};

/// User name and password, or what stands in their place.
fn login(access: &Access, now: Timestamp) -> Result<Option<(String, String)>, String> {
    if let Some(token) = &access.token {
        return Ok(Some((token.read()?, String::new())));
    }
    let Some(user) = &access.username else { return Ok(None) };
    let secret = access.password.as_ref().map(Secret::read).transpose()?;
    let password = match (&access.signing, secret) {
        (Some(hub), Some(key)) => hub.token(&key, now)?,
        (_, secret) => secret.unwrap_or_default(),
    };
    Ok(Some((user.clone(), password)))
}

/// Connects and is greeted. The will is made when the broker has been reached.
pub(in crate::upstream) async fn connect(
    access: &Access,
    broker: &Endpoint,
    will: impl Future<Output = Result<Option<Will>, String>> + Send + 'static,
    work: &mut Work,
) -> Result<(Pipe, Greeting, Validity), Ended> {
    let gateway = work.site.borrow().gateway.clone();
    let client_id = access.client_id.clone().unwrap_or_else(|| format!("linesman-{gateway}-{}", work.name));
    let login = login(access, work.clock.utc()).map_err(Ended::Trouble)?;
    // A certificate's dates may only seem wrong.
    let clock_unsure = work.dating.borrow().is_waiting();
    let by = work.link.dialler(broker);
    // A path that is paid by the octet is not woken up as often.
    let keep_alive = work.link.policy().keep_alive.unwrap_or(access.keep_alive);
    let access = Access { keep_alive, ..access.clone() };
    let hello = async move { Ok(Hello { client_id, keep_alive, will: will.await?, login }) };
    let mut pipe = Pipe::connect(&access, broker, (clock_unsure, hello), by);
    let first = tokio::select! {
        first = pipe.next() => first,
        () = work.stop.cancelled() => return Err(Ended::AsAsked),
    };
    match first {
        Happened::Connected(greeting, validity) => Ok((pipe, greeting, validity)),
        Happened::Trouble(why) => Err(Ended::Trouble(why)),
        Happened::Acknowledged(_)
        | Happened::Refused(..)
        | Happened::Subscribed(..)
        | Happened::Message { .. }
        | Happened::ReadSoFar(_)
        | Happened::Closed => Err(Ended::Trouble("the broker speaks before it has greeted".to_owned())),
    }
}
