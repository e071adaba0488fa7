//! What an upstream says of itself: the account that the spool keeps, and the state of the connection.

use crate::model::status::{UpstreamState, UpstreamStatus};
use crate::model::{Name, Timestamp};
use crate::spool::Account;
use std::collections::BTreeMap;
use tokio::sync::watch;

#[derive(Debug, Clone)]
pub(super) struct Report {
    name: Name,
    status: watch::Sender<UpstreamStatus>,
}

impl Report {
    pub(super) fn new(
        name: &Name,
        kind: &'static str,
        account: watch::Receiver<Account>,
    ) -> (Report, watch::Receiver<UpstreamStatus>) {
        let status = watch::Sender::new(UpstreamStatus {
            name: name.clone(),
            kind,
            state: UpstreamState::Connecting,
            detail: None,
            sampled: 0,
            delivered: 0,
            pending: 0,
            left_out: 0,
            dropped: BTreeMap::new(),
            last_delivery: None,
            reconnects: 0,
            heartbeat: 0,
            warnings: Vec::new(),
        });
        let receiver = status.subscribe();
        tokio::spawn(keep_account(status.clone(), account));
        (Report { name: name.clone(), status }, receiver)
    }

    pub(super) fn connected(&self) {
        self.change(UpstreamState::Connected, None);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.status.borrow().state == UpstreamState::Connected
    }

    pub(super) fn reconnecting(&self) {
        self.status.send_modify(|status| {
            status.reconnects += 1;
            status.state = UpstreamState::Connecting;
        });
    }

    pub(super) fn trouble(&self, why: &str) {
        self.change(UpstreamState::BackingOff, Some(why));
    }

    pub(super) fn stopped(&self, why: Option<&str>) {
        self.change(UpstreamState::Stopped, why);
    }

    /// The session has gone round its loop.
    pub(super) fn turned(&self) {
        self.status.send_modify(|status| status.heartbeat += 1);
    }

    /// What stays so and should not; said in the log when it is news.
    pub(super) fn warn(&self, warnings: Vec<String>) {
        self.status.send_if_modified(|status| {
            for warning in warnings.iter().filter(|warning| !status.warnings.contains(warning)) {
                tracing::warn!(upstream = %self.name, "{warning}");
            }
            let changed = status.warnings != warnings;
            status.warnings = warnings;
            changed
        });
    }

    pub(super) fn delivered(&self, at: Timestamp) {
        self.status.send_modify(|status| status.last_delivery = Some(at));
    }

    /// Said in the log only when it is news: not each attempt, but each new state and each new reason.
    fn change(&self, state: UpstreamState, detail: Option<&str>) {
        let mut news = false;
        self.status.send_if_modified(|status| {
            let same_reason = detail.is_none() || status.detail.as_deref() == detail;
            news = status.state != state
                && !(state == UpstreamState::BackingOff && same_reason && detail.is_some());
            let changed = status.state != state || status.detail.as_deref() != detail;
            status.state = state;
            status.detail = detail.map(str::to_owned);
            changed
        });
        match (news, state, detail) {
            (true, UpstreamState::Connected, _) => {
                tracing::info!(upstream = %self.name, "upstream connected")
            }
            (true, UpstreamState::BackingOff, Some(why)) => {
                tracing::warn!(upstream = %self.name, why, "upstream is away; readings wait in the spool");
            }
            (true, UpstreamState::Stopped, Some(why)) => {
                tracing::warn!(upstream = %self.name, why, "upstream stopped")
            }
            _ => {}
        }
    }
}

/// Carries the account over until the spool or everybody who looks is gone.
async fn keep_account(status: watch::Sender<UpstreamStatus>, mut account: watch::Receiver<Account>) {
    loop {
        let now = account.borrow_and_update().clone();
        status.send_modify(|status| {
            status.sampled = now.sampled;
            status.delivered = now.delivered;
            status.pending = now.pending;
            status.left_out = now.left_out;
            status.dropped = now.dropped;
        });
        tokio::select! {
            changed = account.changed() => if changed.is_err() { return },
            () = status.closed() => return,
        }
    }
}
