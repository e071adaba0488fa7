//! Numbers, texts and options out of blocks, in either order of octets.

use super::pcapng::option;

/// Which octet of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// A text of somebody else's, fit for a terminal.
pub(super) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).chars().filter(|c| !c.is_control()).collect()
}

/// Code and value of each option [3.5], up to the end or to where they no longer fit.
pub(super) fn options(octets: &[u8], order: Order) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let code = u16_at(rest, 0, order).filter(|code| *code != option::END)?;
        let length = usize::from(u16_at(rest, 2, order)?);
        let value = rest.get(4..4 + length)?;
        rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

fn array_at<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(octets: &[u8], at: usize, order: Order) -> Option<u16> {
    let octets = array_at(octets, at)?;
    Some(if order == Order::Big { u16::from_be_bytes(octets) } else { u16::from_le_bytes(octets) })
}

pub(super) fn u32_at(octets: &[u8], at: usize, order: Order) -> Option<u32> {
    let octets = array_at(octets, at)?;
    Some(if order == Order::Big { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) })
}

pub(super) fn u64_at(octets: &[u8], at: usize, order: Order) -> Option<u64> {
    let octets = array_at(octets, at)?;
    Some(if order == Order::Big { u64::from_be_bytes(octets) } else { u64::from_le_bytes(octets) })
}

pub(super) fn usize_at(octets: &[u8], at: usize, order: Order) -> Option<usize> {
    usize::try_from(u32_at(octets, at, order)?).ok()
}
