//! How a connection begins, for whatever speaks MQTT: who we are, and what the broker answers.

use super::config::Access;
use super::pipe::{Happened, Pipe};
use super::walk::Ended;
use super::wire::{Greeting, Hello, Will};
use crate::uplink::{Endpoint, Validity};
use crate::upstream::{Secret, Work};

/// Connects and is greeted. The will is made when the broker has been reached.
pub(in crate::upstream) async fn connect(
    access: &Access,
    broker: &Endpoint,
    will: impl Future<Output = Result<Will, String>> + Send + 'static,
    work: &Work,
) -> Result<(Pipe, Greeting, Validity), Ended> {
    let gateway = work.site.borrow().gateway.clone();
    let client_id = access.client_id.clone().unwrap_or_else(|| format!("linesman-{gateway}-{}", work.name));
    let login = login(access).map_err(Ended::Trouble)?;
    // A certificate's dates may only seem wrong.
    let clock_unsure = work.dating.borrow().is_waiting();
    let keep_alive = access.keep_alive;
    let hello = async move { Ok(Hello { client_id, keep_alive, will: will.await?, login }) };
    let mut pipe = Pipe::connect(access, broker, clock_unsure, hello);
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

/// User name and password.
fn login(access: &Access) -> Result<Option<(String, String)>, String> {
    let Some(user) = &access.username else { return Ok(None) };
    let password = access.password.as_ref().map(Secret::read).transpose()?;
    Ok(Some((user.clone(), password.unwrap_or_default())))
}
