//! A device that says itself what it offers has said it in the capture, if that begins early enough.

use super::{Arguments, read_all};
use crate::bus::transact::Outcome;
use crate::modbus::ReadFunction;
use crate::profile::Profile;
use crate::profile::sunspec::{Read, Walk};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Illegal data address: what a base is refused with that nobody has asked for.
const NOT_THERE: u8 = 2;

/// Walks through what the device has answered first, register by register.
pub(super) fn profile(arguments: &Arguments) -> Result<Arc<Profile>, String> {
    let mut registers: BTreeMap<u16, [u8; 2]> = BTreeMap::new();
    // What is wrong with the files is told when they are decoded.
    read_all(arguments, false, |source, exchange| {
        let holding = exchange.request.function() == ReadFunction::HoldingRegisters;
        if let (Outcome::Data(data), true) =
            (&exchange.outcome, holding && arguments.wants(source, exchange.unit))
        {
            for (address, pair) in (exchange.request.address()..).zip(data.chunks_exact(2)) {
                registers.entry(address).or_insert([pair[0], pair[1]]);
            }
        }
    });
    let mut walk = Walk::new(0);
    while let Some(Read { address, count }) = walk.next() {
        let there = (0..count).map(|n| registers.get(&address.checked_add(n)?).copied());
        match there.collect::<Option<Vec<_>>>() {
            Some(octets) => walk.answered(octets.as_flattened()),
            None => walk.refused(NOT_THERE),
        }
    }
    match walk.outcome() {
        Some(Ok(chain)) => Ok(Arc::new(chain.profile())),
        Some(Err(_)) | None => Err(
            "the walk along the device's models is not in this capture: begin one before the gateway finds the device \
             (--unit takes one of several)"
                .to_owned(),
        ),
    }
}
