//! How a connection begins, for whatever speaks MQTT: who we are, and what the broker answers.

use super::config::Access;
use super::pipe::{Happened, Pipe};
use super::walk::Ended;
use super::wire::{Greeting, Hello, Will};
use crate::uplink::{Endpoint, Validity};
use crate::upstream::{Secret, Work};

fn hello(access: &Access, will: Will, work: &Work) -> Result<Hello, String> {
    let gateway = work.site.borrow().gateway.clone();
    let client_id = access.client_id.clone().unwrap_or_else(|| format!("linesman-{gateway}-{}", work.name));
    let login = match &access.username {
        Some(user) => {
            let password = access.password.as_ref().map(Secret::read).transpose()?;
            Some((user.clone(), password.unwrap_or_default()))
        }
        None => None,
    };
    let clock_unsure = work.dating.borrow().is_waiting();
    Ok(Hello { client_id, keep_alive: access.keep_alive, will, login, clock_unsure })
}

/// Connects and is greeted.
pub(in crate::upstream) async fn connect(
    access: &Access,
    broker: &Endpoint,
    will: Will,
    work: &Work,
) -> Result<(Pipe, Greeting, Validity), Ended> {
    let mut pipe = Pipe::connect(access, broker, hello(access, will, work).map_err(Ended::Trouble)?);
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
