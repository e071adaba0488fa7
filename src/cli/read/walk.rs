//! A device that says itself what it offers is walked before its points are read.

use crate::bus::{Failure, Session, function_of};
use crate::modbus::ReadRequest;
use crate::profile::Table;
use crate::profile::sunspec::{BASES, Broken, Chain, Walk};
use std::time::Duration;

/// No exception has this number: nothing came.
const SILENT: u8 = 0;

/// Why a device's points are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFound {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("unit {unit}: {why}")]
    NoChain { unit: u8, why: Broken },
}

/// Walks. A base at which the device is silent is one that it has not, unless it is silent at all of them.
pub(super) fn walk(session: &mut Session, unit: u8, timeout: Duration) -> Result<Chain, NotFound> {
    let (mut walk, mut silent) = (Walk::new(0), 0);
    while let Some(read) = walk.next() {
        let request = ReadRequest::new(function_of(Table::HoldingRegister), read.address, read.count);
        let Ok(request) = request else { break };
        match session.read(unit, request, timeout) {
            Ok(data) => walk.answered(&data),
            Err(Failure::Exception { code, .. }) => walk.refused(code),
            Err(Failure::Silence { .. }) if silent + 1 < BASES.len() && BASES.contains(&read.address) => {
                silent += 1;
                walk.refused(SILENT);
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    let why = match walk.outcome() {
        Some(Ok(chain)) => return Ok(chain.clone()),
        Some(Err(Broken::NoMarker(_))) if silent > 0 => Broken::NoMarker(None),
        Some(Err(broken)) => broken,
        None => Broken::Short,
    };
    Err(NotFound::NoChain { unit, why })
}
