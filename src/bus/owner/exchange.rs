//! Other devices on a line that goes on: after a reload only those that changed begin anew. Its port stays open, and
//! those that are as they were keep everything: their turns, what is under way, what they have taught, their counts.

use super::{Owner, born};
use crate::bus::DeviceConfig;
use crate::bus::device::Device;
use std::collections::BTreeSet;

impl Owner {
    /// Whether other devices are to be read from now on. Until they are, nothing new is asked: a question that is under way
    /// must find its device.
    pub(in crate::bus) fn has_orders(&mut self) -> bool {
        while let Ok(devices) = self.orders.try_recv() {
            self.ordered = Some(devices);
        }
        self.ordered.is_some()
    }

    /// Takes over the devices that were ordered, if any were. Nothing may be under way.
    pub(in crate::bus) fn follow_orders(&mut self) {
        if !self.has_orders() {
            return;
        }
        let Some(mut wanted) = self.ordered.take() else { return };
        wanted.retain(|device| device.enabled);
        let from: Vec<Option<usize>> =
            wanted.iter().map(|device| self.configs.iter().position(|config| config == device)).collect();
        let staying: BTreeSet<usize> = from.iter().flatten().copied().collect();
        let leaving: Vec<usize> = (0..self.devices.len()).filter(|index| !staying.contains(index)).collect();
        self.say_farewell(&leaving);
        self.rearrange(&wanted, &from);
        self.doctor.rearrange(&from);
        self.ledger.rearrange(&wanted, &from);
        self.forget_the_gone(&wanted);
        tracing::info!(
            anew = ?wanted.iter().zip(&from).filter(|(_, from)| from.is_none()).map(|(device, _)| device.name.as_str()).collect::<Vec<_>>(),
            go_on = staying.len(),
            "devices of the line exchanged"
        );
        self.configs = wanted;
    }

    /// What was read so far is handed on; what was found of them is over.
    fn say_farewell(&mut self, leaving: &[usize]) {
        for index in leaving {
            if let Some(device) = self.devices.get_mut(*index) {
                device.cut_off();
            }
            self.finish(*index, true);
            self.doctor.discharge(*index);
        }
        self.say_what_changed();
    }

    fn rearrange(&mut self, wanted: &[DeviceConfig], from: &[Option<usize>]) {
        let mut before: Vec<Option<Device>> =
            std::mem::take(&mut self.devices).into_iter().map(Some).collect();
        let (now, count) = (self.clock.mono(), wanted.len());
        for (index, (config, from)) in wanted.iter().zip(from).enumerate() {
            let stays = from.and_then(|from| before.get_mut(from)?.take());
            let device = stays.unwrap_or_else(|| {
                let memory = self.memory.borrow();
                born(config, memory.get(config.name.as_str()), &self.terms, (index, count), now)
            });
            self.devices.push(device);
        }
    }

    fn forget_the_gone(&mut self, wanted: &[DeviceConfig]) {
        self.memory.send_if_modified(|all| {
            let before = all.len();
            all.retain(|name, _| wanted.iter().any(|device| device.name.as_str() == name));
            all.len() != before
        });
    }
}
