//! The task of a Modbus TCP line: connects, asks who is due, until it is told to stop.

use super::owner::{Asking, FIRST_RETRY, LONGEST_RETRY, LOOK, Owner};
use super::schedule::Next;
use super::tcp::TcpLink;
use crate::model::Mono;
use crate::model::status::BusCounters;
use std::io;
use std::time::Duration;
use tokio::time::{sleep, timeout};

pub(super) async fn run(mut owner: Owner, address: &str) {
    let mut retry = FIRST_RETRY;
    while !owner.stopping() {
        let opened = connect(&mut owner, address).await;
        match opened {
            None => return,
            Some(Ok(link)) => {
                let opened = owner.clock.mono();
                owner.schedule.forgive(owner.clock.mono());
                owner.ledger.up();
                if let Err(error) = converse(&mut owner, link).await {
                    owner.ledger.down(&format!("{address}: {error}"));
                    // A far end that accepts and closes at once must not keep us, and the journal, busy.
                    let lasted = owner.clock.mono().since(opened) > LONGEST_RETRY;
                    retry = if lasted { FIRST_RETRY } else { (retry * 2).min(LONGEST_RETRY) };
                    wait_without_connection(&mut owner, retry).await;
                }
            }
            Some(Err(error)) => {
                owner.ledger.down(&format!("{address}: {error}"));
                wait_without_connection(&mut owner, retry).await;
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
    }
}

/// Connects. `None` when the stop came first.
async fn connect(owner: &mut Owner, address: &str) -> Option<io::Result<TcpLink>> {
    let mut connecting = Box::pin(TcpLink::open(address));
    let stop = owner.stop.clone();
    loop {
        tokio::select! {
            opened = &mut connecting => return Some(opened),
            () = stop.cancelled() => return None,
            () = sleep(LOOK) => owner.ledger.beat(),
        }
    }
}

async fn converse(owner: &mut Owner, mut link: TcpLink) -> io::Result<()> {
    while !owner.stopping() {
        owner.ledger.beat();
        let now = owner.clock.mono();
        match owner.schedule.next(now) {
            Next::Ask(index) => {
                let Some(mut asking) = owner.begin(index, now) else { return Ok(()) };
                let result = carry_out(owner, &mut link, &mut asking).await;
                owner.conclude(asking, result.is_ok());
                result?;
            }
            Next::Wait(until) => idle(owner, until.since(now)).await,
            Next::Nothing => idle(owner, Duration::from_secs(1)).await,
        }
    }
    Ok(())
}

async fn carry_out(owner: &mut Owner, link: &mut TcpLink, asking: &mut Asking) -> io::Result<()> {
    let (unit, patience, gap) = (asking.device.unit, asking.device.timeout, asking.device.min_gap);
    while let Some(block) = asking.job.next() {
        let request = block.request;
        if owner.stopping() {
            asking.job.cut_off();
            return Ok(());
        }
        if !gap.is_zero() {
            sleep(gap).await;
        }
        let (mut counted, sent) = (BusCounters::default(), owner.clock.mono());
        let stop = owner.stop.clone();
        let result = tokio::select! {
            biased;
            result = link.transact(unit, &request, patience, &mut counted) => result,
            () = stop.cancelled() => continue,
        };
        owner.ledger.add(Some(asking.index), &counted);
        owner.ledger.used(sent, owner.clock.mono());
        owner.heard(asking, result?);
    }
    Ok(())
}

/// Nothing is due: waits, wakes for the stop, and shows a sign of life each second.
async fn idle(owner: &mut Owner, span: Duration) {
    let stop = owner.stop.clone();
    let _ = timeout(span.min(Duration::from_secs(1)), stop.cancelled()).await;
}

async fn wait_without_connection(owner: &mut Owner, span: Duration) {
    let until: Mono = owner.clock.mono().plus(span);
    while owner.clock.mono() < until && !owner.stopping() {
        let next = owner.say_that_the_line_is_down(until);
        idle(owner, next.since(owner.clock.mono()).max(Duration::from_millis(1))).await;
    }
}
