//! Which adapter a port's name means, when names change: pure.
//!
//! The kernel gives `ttyUSB0` to whichever adapter comes first. An adapter that is plugged in again is known by
//! its USB serial number, wherever it sits; one without, or with one that tells nothing, by its socket. A value
//! must never come from another meter: where it is not sure that an adapter is the one it was, the line stays
//! down and says why.

use std::fmt;

/// A USB serial adapter, or one port of one that has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Adapter {
    /// Vendor and product, as `0403:6001`.
    pub model: String,
    /// Only one that tells this adapter from others.
    pub serial: Option<String>,
    /// The whole USB device, as a path below `/sys/devices`.
    pub device: String,
    /// The interface of the device: it has several where it is several adapters in one.
    pub interface: String,
    /// The port of the interface.
    pub port: String,
}

impl Adapter {
    fn same_port(&self, other: &Adapter) -> bool {
        self.interface == other.interface && self.port == other.port
    }

    pub(super) fn same_socket(&self, other: &Adapter) -> bool {
        self.device == other.device && self.same_port(other)
    }

    /// Surely the same: by number, or without one by socket.
    fn same(&self, other: &Adapter) -> bool {
        self.model == other.model
            && self.same_port(other)
            && match (&self.serial, &other.serial) {
                (Some(one), Some(two)) => one == two,
                (None, None) => self.device == other.device,
                _ => false,
            }
    }

    /// Nothing but the socket tells these two apart, so that one name by id means both.
    fn is_twin_of(&self, other: &Adapter) -> bool {
        self.model == other.model && self.same_port(other) && self.serial.is_none() && other.serial.is_none()
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.device.rsplit('/').next().unwrap_or(&self.device);
        match &self.serial {
            Some(serial) => write!(f, "{} number {serial} in socket {socket}", self.model),
            None => write!(f, "{} without a serial number in socket {socket}", self.model),
        }
    }
}

/// The adapters that are there, each with its name of the moment, such as `ttyUSB0`.
pub(super) type View = Vec<(String, Adapter)>;

/// Whether a serial number can be this adapter's own: many makers give all the same, such as `0001`.
pub(super) fn tells_apart(serial: &str) -> bool {
    let mut letters: Vec<char> = serial.chars().collect();
    let counts_up = letters.windows(2).filter(|pair| u32::from(pair[0]) + 1 == u32::from(pair[1])).count();
    let ascending = counts_up + 2 >= letters.len();
    letters.sort_unstable();
    letters.dedup();
    letters.len() >= 4 && !ascending
}

/// Numbers that two devices have at once are no numbers.
pub(super) fn without_shared_numbers(mut view: View) -> View {
    let all = view.clone();
    for (_, adapter) in &mut view {
        let shared = all.iter().any(|(_, other)| {
            other.model == adapter.model && other.serial == adapter.serial && other.device != adapter.device
        });
        if shared {
            adapter.serial = None;
        }
    }
    view
}

/// What kind of name the configuration uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// `/dev/ttyUSB0`: the kernel's, by the order of appearance.
    Kernel,
    /// `/dev/serial/by-id/…`: model and serial number.
    ById,
    /// By path, or a name that the owner gave: means what it means.
    Other,
}

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    AsNamed,
    /// The same adapter has this name now.
    Instead(String),
    Refuse(String),
}

/// Chooses between the name and what is there. `known` is the adapter that was opened before, `here` the
/// kernel's name of what the configured name leads to now.
pub(super) fn choose(naming: Naming, known: Option<&Adapter>, here: Option<&str>, view: &View) -> Choice {
    let found = view.iter().find(|(name, _)| Some(name.as_str()) == here).map(|(_, adapter)| adapter);
    match (naming, known, found) {
        (Naming::ById, _, Some(found)) => by_id(known, found, view),
        (Naming::Kernel, Some(known), _) => by_kernel(known, here, found, view),
        (Naming::ById | Naming::Other, _, _) | (Naming::Kernel, None, _) => Choice::AsNamed,
    }
}

fn by_id(known: Option<&Adapter>, found: &Adapter, view: &View) -> Choice {
    if found.serial.is_some() {
        return Choice::AsNamed;
    }
    let twins: Vec<&str> =
        view.iter().filter(|(_, other)| found.is_twin_of(other)).map(|(name, _)| name.as_str()).collect();
    if twins.len() > 1 {
        return Choice::Refuse(format!(
            "this name means {} adapters at once ({}), which have no serial number of their own: use the name \
             of the socket, from /dev/serial/by-path",
            twins.len(),
            twins.join(", ")
        ));
    }
    match known {
        Some(known) if !known.same_socket(found) => Choice::Refuse(format!(
            "this may be another adapter than before: it was {known}, now there is {found}. Put it back, use \
             the name of the socket, from /dev/serial/by-path, or restart linesman to take what is there"
        )),
        _ => Choice::AsNamed,
    }
}

fn by_kernel(known: &Adapter, here: Option<&str>, found: Option<&Adapter>, view: &View) -> Choice {
    if found.is_some_and(|found| found.same(known)) {
        return Choice::AsNamed;
    }
    if let Some((name, _)) =
        view.iter().find(|(name, other)| Some(name.as_str()) != here && other.same(known))
    {
        return Choice::Instead(name.clone());
    }
    match found {
        // Another adapter in the same socket was put there by somebody: a spare one.
        Some(found) if !found.same_socket(known) => Choice::Refuse(format!(
            "this name belongs to another adapter now: it was {known}, now it is {found}. Use a name from \
             /dev/serial/by-id or by-path, or restart linesman to take what is there"
        )),
        _ => Choice::AsNamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(serial: Option<&str>, socket: &str) -> Adapter {
        Adapter {
            model: "1a86:7523".to_owned(),
            serial: serial.map(str::to_owned),
            device: format!("pci0000:00/0000:00:14.0/usb1/{socket}"),
            interface: "00".to_owned(),
            port: "0".to_owned(),
        }
    }

    fn view(rows: &[(&str, Option<&str>, &str)]) -> View {
        let rows = rows.iter().map(|(name, serial, socket)| ((*name).to_owned(), adapter(*serial, socket)));
        without_shared_numbers(rows.collect())
    }

    const A: Option<&str> = Some("A5XK3RJT");
    const B: Option<&str> = Some("FTB6SPL3");

    fn kernel(known: &Adapter, here: Option<&str>, rows: &[(&str, Option<&str>, &str)]) -> Choice {
        choose(Naming::Kernel, Some(known), here, &view(rows))
    }

    fn refused(choice: &Choice, word: &str) -> bool {
        matches!(choice, Choice::Refuse(why) if why.contains(word))
    }

    #[test]
    fn an_adapter_with_a_number_is_found_under_another_name_and_in_another_socket() {
        let known = adapter(A, "1-1");
        let there = Choice::Instead("ttyUSB1".to_owned());
        assert_eq!(kernel(&known, None, &[("ttyUSB1", A, "1-1")]), there);
        assert_eq!(kernel(&known, None, &[("ttyUSB2", B, "1-1"), ("ttyUSB1", A, "1-3")]), there);
        assert_eq!(kernel(&known, Some("ttyUSB0"), &[("ttyUSB0", A, "1-4")]), Choice::AsNamed);
    }

    #[test]
    fn two_adapters_that_have_changed_names_are_told_apart() {
        let swapped = [("ttyUSB0", B, "1-2"), ("ttyUSB1", A, "1-1")];
        let known = adapter(A, "1-1");
        assert_eq!(kernel(&known, Some("ttyUSB0"), &swapped), Choice::Instead("ttyUSB1".to_owned()));
        let without = [("ttyUSB0", None, "1-2"), ("ttyUSB1", None, "1-1")];
        let known = adapter(None, "1-1");
        assert_eq!(kernel(&known, Some("ttyUSB0"), &without), Choice::Instead("ttyUSB1".to_owned()));
    }

    #[test]
    fn another_adapter_is_never_taken_for_the_one_that_is_gone() {
        for (known, other) in [(A, B), (A, None), (None, A), (None, None)] {
            let known = adapter(known, "1-1");
            assert_eq!(kernel(&known, None, &[("ttyUSB1", other, "1-2")]), Choice::AsNamed, "{known}");
            let took_its_name = kernel(&known, Some("ttyUSB0"), &[("ttyUSB0", other, "1-2")]);
            assert!(refused(&took_its_name, "another adapter"), "{took_its_name:?}");
        }
    }

    #[test]
    fn the_ports_of_one_adapter_are_not_mixed_up() {
        let mut rows = view(&[("ttyUSB0", A, "1-1"), ("ttyUSB1", A, "1-1")]);
        rows[1].1.interface = "01".to_owned();
        let rows = without_shared_numbers(rows);
        assert_eq!(rows[0].1.serial.as_deref(), A, "one device has its number twice");
        let second = rows[1].1.clone();
        let gone = choose(Naming::Kernel, Some(&second), None, &vec![rows[0].clone()]);
        assert_eq!(gone, Choice::AsNamed);
        let moved = vec![("ttyUSB7".to_owned(), rows[0].1.clone()), ("ttyUSB6".to_owned(), second.clone())];
        let choice = choose(Naming::Kernel, Some(&second), None, &moved);
        assert_eq!(choice, Choice::Instead("ttyUSB6".to_owned()));
    }

    #[test]
    fn a_spare_adapter_in_the_same_socket_is_taken_under_the_same_name() {
        let known = adapter(A, "1-1");
        assert_eq!(kernel(&known, Some("ttyUSB0"), &[("ttyUSB0", B, "1-1")]), Choice::AsNamed);
    }

    #[test]
    fn a_name_by_id_that_means_two_adapters_is_refused() {
        let twins = view(&[("ttyUSB0", None, "1-1"), ("ttyUSB1", None, "1-2")]);
        let choice = choose(Naming::ById, None, Some("ttyUSB1"), &twins);
        assert!(refused(&choice, "2 adapters at once (ttyUSB0, ttyUSB1)"), "{choice:?}");
        assert!(refused(&choice, "/dev/serial/by-path"));
        let numbered = view(&[("ttyUSB0", A, "1-1"), ("ttyUSB1", B, "1-2")]);
        assert_eq!(choose(Naming::ById, None, Some("ttyUSB1"), &numbered), Choice::AsNamed);
        let same_number = view(&[("ttyUSB0", A, "1-1"), ("ttyUSB1", A, "1-2")]);
        assert!(refused(&choose(Naming::ById, None, Some("ttyUSB1"), &same_number), "2 adapters"));
        assert_eq!(choose(Naming::Other, None, Some("ttyUSB1"), &twins), Choice::AsNamed);
    }

    #[test]
    fn a_name_by_id_without_a_number_stays_with_its_socket() {
        let only = view(&[("ttyUSB0", None, "1-2")]);
        assert_eq!(choose(Naming::ById, None, Some("ttyUSB0"), &only), Choice::AsNamed);
        let same = adapter(None, "1-2");
        assert_eq!(choose(Naming::ById, Some(&same), Some("ttyUSB0"), &only), Choice::AsNamed);
        let elsewhere = adapter(None, "1-1");
        let choice = choose(Naming::ById, Some(&elsewhere), Some("ttyUSB0"), &only);
        assert!(refused(&choice, "may be another adapter"), "{choice:?}");
    }

    #[test]
    fn numbers_that_all_adapters_of_a_make_have_tell_nothing() {
        for serial in ["", "0001", "00000000", "0000", "12345678", "0123456789", "1111"] {
            assert!(!tells_apart(serial), "{serial}");
        }
        for serial in ["A5XK3RJT", "FTB6SPL3", "a1b2c3d4e5f60718", "5573332373135131F0E1", "2409"] {
            assert!(tells_apart(serial), "{serial}");
        }
    }
}
