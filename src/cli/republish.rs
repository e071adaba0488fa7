//! `linesman republish`: on the server's side, compact batches of a fleet become plain JSON at a broker, or lines.
//!
//! A batch is acknowledged once all that was made of it is safe: acknowledged by the other broker, or written and
//! flushed. The broker keeps what comes while this is away, under its client id; so nothing is lost, and what was
//! passed on just before a break is passed on again with the same (`epoch`, `seq`).

use super::decode::fleet::{Arrived, Fleet, Login, Place, Trouble};
use super::decode::{Form, Show};
use super::{Exit, complain};
use crate::encode::json;
use rumqttc::{AsyncClient, Event, Packet, QoS};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// After trouble, and doubled each time up to the second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A broker that acknowledges nothing for so long will not on this connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledgements that were not looked at yet: more than the client holds publishes.
const EVENTS: usize = 512;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the batches come from: `mqtt://HOST[:PORT][/TOPIC]`, as `decode` has it.
    #[arg(value_name = "mqtt://…")]
    from: String,
    /// Publish JSON here, `mqtt://HOST[:PORT]`, under each gateway's own topics d/… and h/…; may be the same broker.
    #[arg(long, value_name = "mqtt://…", conflicts_with = "form")]
    to: Option<String>,
    /// Without --to: how lines are written on standard output.
    #[arg(long = "as", value_enum, default_value_t = Form::Line)]
    form: Form,
    /// Under this id the broker keeps what comes meanwhile; one for each such process.
    #[arg(long, value_name = "ID", default_value = "linesman-republish")]
    client_id: String,
    #[command(flatten)]
    login: Login,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    let place = |url: &str| {
        Place::of(url, &arguments.login)
            .map_err(|why| complain(&format_args!("linesman republish: {url}: {why}")))
    };
    let (Ok(from), Ok(to)) = (place(&arguments.from), arguments.to.as_deref().map(place).transpose()) else {
        return Exit::Usage;
    };
    let runtime = match super::runtime(2) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("linesman republish: {error}"));
            return Exit::Io;
        }
    };
    runtime.block_on(async {
        let work = pass_on(&arguments, &from, to.as_ref());
        tokio::select! {
            exit = work => exit,
            _ = stopped() => Exit::Done,
        }
    })
}

/// SIGINT or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

/// One session after the other; ends only when nobody reads standard output any more.
async fn pass_on(arguments: &Arguments, from: &Place, to: Option<&Place>) -> Exit {
    let mut show = Show::new(arguments.form);
    let mut wait = FIRST_WAIT;
    loop {
        let mut passed = false;
        match session(arguments, from, to, &mut show, &mut passed).await {
            Ok(()) => return Exit::Done,
            Err(why) => complain(&format_args!("linesman republish: {why}")),
        }
        wait = if passed { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
        tokio::time::sleep(wait).await;
    }
}

async fn session(
    arguments: &Arguments,
    from: &Place,
    to: Option<&Place>,
    show: &mut Show,
    passed: &mut bool,
) -> Result<(), String> {
    let mut fleet = Fleet::connect(from, Some(&arguments.client_id));
    let mut outlet = to.map(Outlet::connect);
    loop {
        let arrived = match fleet.next().await {
            Ok(arrived) => arrived,
            Err(Trouble::Batch(why)) => {
                complain(&format_args!("linesman republish: {why}"));
                continue;
            }
            Err(Trouble::Connection(why)) => return Err(why),
        };
        match &mut outlet {
            Some(outlet) => outlet.publish(&arrived).await?,
            None if !show.batch(&arrived.decoded, Some(&arrived.site)) || show.flush().is_err() => {
                return Ok(());
            }
            None => {}
        }
        *passed = true;
        if let Err(Trouble::Connection(why) | Trouble::Batch(why)) = fleet.acknowledge(&arrived.publish) {
            return Err(why);
        }
    }
}

/// The other broker.
struct Outlet {
    client: AsyncClient,
    /// An acknowledgement each, or why there will be none.
    acknowledged: mpsc::Receiver<Result<(), String>>,
    driver: JoinHandle<()>,
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Outlet {
    fn connect(to: &Place) -> Outlet {
        let (client, mut connection) = to.client(None);
        let (events_tx, acknowledged) = mpsc::channel(EVENTS);
        let to = to.clone();
        let driver = tokio::spawn(async move {
            loop {
                let event = match connection.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(_))) => Ok(()),
                    Ok(_) => continue,
                    Err(error) => Err(to.said(&error)),
                };
                let last = event.is_err();
                if events_tx.send(event).await.is_err() || last {
                    return;
                }
            }
        });
        Outlet { client, acknowledged, driver }
    }

    /// Every reading of a batch, as the gateway itself would have published it; returns when all are acknowledged.
    async fn publish(&mut self, arrived: &Arrived) -> Result<(), String> {
        let lane = if arrived.decoded.backlog { "h" } else { "d" };
        let mut open = 0usize;
        for (reading, number) in &arrived.decoded.readings {
            let topic = format!("{}/{lane}/{}", arrived.topic, reading.device);
            let payload = json::reading(reading, *number, None);
            let handed = self.client.publish(topic, QoS::AtLeastOnce, false, payload);
            timeout(PATIENCE, handed).await.map_err(|_| silent())?.map_err(|error| error.to_string())?;
            open += 1;
            while let Ok(acknowledged) = self.acknowledged.try_recv() {
                acknowledged?;
                open = open.saturating_sub(1);
            }
        }
        while open > 0 {
            let acknowledged = timeout(PATIENCE, self.acknowledged.recv()).await.map_err(|_| silent())?;
            acknowledged.unwrap_or_else(|| Err("the connection ended".to_owned()))?;
            open -= 1;
        }
        Ok(())
    }
}

fn silent() -> String {
    format!("the broker that is published to has not answered for {} s", PATIENCE.as_secs())
}
