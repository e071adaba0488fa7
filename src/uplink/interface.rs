//! What the kernel says of an interface, by files: `/sys/class/net/NAME` (Documentation/ABI/testing/sysfs-class-net).
//! A hardened service has no netlink.

use std::fs;
use std::path::{Path, PathBuf};

/// "ARP hardware types" of `if_arp.h`.
const ETHERNET: u64 = 1;
/// Addresses and type before each packet, which nobody bills.
const ETHERNET_HEADER: u64 = 14;

/// One interface.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    folder: PathBuf,
}

/// Why nothing can go over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    Missing,
    Down,
}

impl Interface {
    pub(super) fn named(name: &str) -> Interface {
        Interface::below(Path::new("/sys/class/net"), name)
    }

    fn below(folder: &Path, name: &str) -> Interface {
        Interface { folder: folder.join(name) }
    }

    /// Whether anything can go over it at all. A modem's and a tunnel's `operstate` is `unknown` while it is up.
    pub(super) fn carrier(&self) -> Result<(), Away> {
        let state = self.word("operstate").ok_or(Away::Missing)?;
        // Reading the carrier of an interface that is set down is an error.
        let carrier = self.word("carrier").is_some_and(|word| word == "1");
        if carrier && matches!(state.as_str(), "up" | "unknown") { Ok(()) } else { Err(Away::Down) }
    }

    /// Octets of IP that went over it, both directions, since it is there.
    pub(super) fn octets(&self) -> Option<u64> {
        let of = |name: &str| self.number(&format!("statistics/{name}"));
        let octets = of("rx_bytes")?.saturating_add(of("tx_bytes")?);
        if self.number("type") != Some(ETHERNET) {
            return Some(octets);
        }
        let packets = of("rx_packets")?.saturating_add(of("tx_packets")?);
        Some(octets.saturating_sub(packets.saturating_mul(ETHERNET_HEADER)))
    }

    /// The kernel's number for it.
    pub(super) fn index(&self) -> Option<u64> {
        self.number("ifindex")
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.word(name)?.parse().ok()
    }

    fn word(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok().map(|text| text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(files: &[(&str, &str)]) -> (tempfile::TempDir, Interface) {
        let dir = tempfile::tempdir().unwrap();
        let interface = Interface::below(dir.path(), "x0");
        for (name, text) in files {
            let path = dir.path().join("x0").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        (dir, interface)
    }

    #[test]
    fn an_interface_is_up_when_its_state_and_its_carrier_say_so() {
        let said = |files: &[(&str, &str)]| interface(files).1.carrier();
        assert_eq!(said(&[]), Err(Away::Missing));
        assert_eq!(said(&[("operstate", "down")]), Err(Away::Down));
        assert_eq!(said(&[("operstate", "up"), ("carrier", "1")]), Ok(()));
        assert_eq!(said(&[("operstate", "unknown"), ("carrier", "1")]), Ok(()), "a modem");
        assert_eq!(said(&[("operstate", "lowerlayerdown"), ("carrier", "0")]), Err(Away::Down));
        assert_eq!(said(&[("operstate", "dormant"), ("carrier", "1")]), Err(Away::Down));
    }

    #[test]
    fn ethernets_header_is_not_billed_and_a_modem_has_none() {
        let counters = [
            ("statistics/rx_bytes", "1000"),
            ("statistics/tx_bytes", "500"),
            ("statistics/rx_packets", "10"),
            ("statistics/tx_packets", "5"),
        ];
        let of = |kind: &'static str| interface(&[&counters[..], &[("type", kind)]].concat()).1.octets();
        assert_eq!((of("1"), of("65534")), (Some(1500 - 15 * 14), Some(1500)));
        assert_eq!(interface(&[]).1.octets(), None);
    }
}
