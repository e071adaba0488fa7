//! The port or connection comes and goes, and the end.

use super::Owner;
use crate::bus::device::Ready;
use crate::bus::health::ProbeShare;
use crate::model::{Bad, FindingKind, Mono};

impl Owner {
    /// The port or connection is there, with what its adapter says of itself. That the line is up is said when
    /// it has served: one that opens and goes at once would fill the log.
    pub(in crate::bus) fn opened(&mut self, hints: &[(FindingKind, String)]) {
        let now = self.clock.mono();
        self.devices.iter_mut().for_each(|device| {
            device.health.forgive(now);
            device.look_again();
        });
        self.doctor.opened(self.clock.utc(), hints);
        self.say_what_changed();
    }

    /// The port or connection has gone: scans under way end here.
    pub(in crate::bus) fn down(&mut self, why: &str) {
        self.ledger.down(why);
        for index in 0..self.devices.len() {
            if let Some(device) = self.devices.get_mut(index) {
                device.abandon(Bad::LineDown);
            }
            self.finish(index, false);
        }
    }

    /// The line stops: what was read so far is handed on, what was not asked is not in it.
    pub(in crate::bus) fn stop_all(&mut self) {
        for index in 0..self.devices.len() {
            if let Some(device) = self.devices.get_mut(index) {
                device.cut_off();
            }
            self.finish(index, true);
        }
    }

    /// While the port or connection is away: what is due says so. Returns until when there is nothing to do.
    pub(in crate::bus) fn say_that_the_line_is_down(&mut self, until: Mono) -> Mono {
        self.ledger.beat();
        let mut next = until;
        for index in 0..self.devices.len() {
            let (now, utc) = (self.clock.mono(), self.clock.utc());
            let Some(device) = self.devices.get_mut(index) else { continue };
            match device.ready(now, &ProbeShare::new(now), &|_, _| None) {
                Ready::Wait(at) => next = next.min(at),
                Ready::Nothing => {}
                Ready::Ask(..) | Ready::Begin(_) | Ready::Clear(_) | Ready::Part(_) | Ready::GiveUp => {
                    device.begin(false, now, utc);
                    device.abandon(Bad::LineDown);
                    device.rest_until = until;
                    self.finish(index, false);
                }
            }
        }
        next
    }
}
