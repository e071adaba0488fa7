//! Chains as devices have them: what a walk finds of them, and what is read of it then.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A device's registers; all others are refused.
#[derive(Debug, Clone, Default)]
struct Registers(BTreeMap<u16, u16>);

impl Registers {
    fn put(&mut self, address: u16, registers: &[u16]) {
        self.0.extend((address..).zip(registers.iter().copied()));
    }

    /// These models, ids and lengths, with zeros in them, and the end.
    fn of(base: u16, models: &[(u16, u16)]) -> Registers {
        let mut device = Registers::default();
        device.put(base, &walk::MARKER);
        let mut at = base + 2;
        for (id, length) in models {
            device.put(at, &[*id, *length]);
            device.put(at + 2, &vec![0; usize::from(*length)]);
            at += 2 + length;
        }
        device.put(at, &[0xFFFF, 0]);
        device
    }

    fn named(mut self, at: u16, text: &str) -> Registers {
        let mut octets = text.as_bytes().to_vec();
        octets.resize(octets.len().next_multiple_of(2), 0);
        let registers: Vec<u16> =
            octets.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        self.put(at, &registers);
        self
    }

    fn read(&self, read: Read) -> Option<Vec<u8>> {
        let addresses = (0..read.count).map(|n| read.address.checked_add(n));
        addresses
            .map(|address| Some(self.0.get(&address?)?.to_be_bytes()))
            .collect::<Option<Vec<_>>>()
            .map(|o| o.concat())
    }
}

/// Walks to the end; what was read on the way.
fn walk(mut walk: Walk, device: &Registers) -> (Walk, Vec<Read>) {
    let mut reads = Vec::new();
    while let Some(read) = walk.next() {
        reads.push(read);
        match device.read(read) {
            Some(octets) => walk.answered(&octets),
            None => walk.refused(2),
        }
        assert!(reads.len() <= MOST_READS, "{reads:?}");
    }
    (walk, reads)
}

fn found(device: &Registers) -> Chain {
    walk(Walk::new(0), device).0.outcome().unwrap().unwrap().clone()
}

fn broken(device: &Registers) -> Broken {
    walk(Walk::new(0), device).0.outcome().unwrap().unwrap_err()
}

fn names(chain: &Chain) -> Vec<String> {
    chain.profile().points.iter().map(|point| point.name.to_string()).collect()
}

#[test]
fn a_vendors_model_is_skipped_by_its_length_and_the_device_says_its_name() {
    let models = [(1, 66), (103, 50), (64_120, 7), (203, 105)];
    let device =
        Registers::of(40_000, &models).named(40_004, "Acme").named(40_020, "X1").named(40_052, "4711");
    let (walk, reads) = walk(Walk::new(0), &device);
    let chain = walk.outcome().unwrap().unwrap();
    assert_eq!(chain.to_string(), "Acme X1: models 1, 103, 64120, 203 at 40000");
    assert_eq!((chain.serial.as_str(), reads.len()), ("4711", 7), "marker, four headers, the name, the end");
    assert!(chain.is_sound());
    assert!(!walk.is_as_known());
}

#[test]
fn the_marker_is_looked_for_at_each_base_and_a_silent_one_is_begun_with_in_turn() {
    for base in BASES {
        let device = Registers::of(base, &[(1, 65), (101, 50)]);
        for first in 0..4 {
            let chain = walk(Walk::new(first), &device).0.outcome().unwrap().unwrap().clone();
            assert_eq!((chain.base, chain.models[1].address), (base, base + 2 + 67));
        }
    }
    assert_eq!(Walk::new(1).next().unwrap().address, 50_000);
}

#[test]
fn what_is_no_chain_is_told_in_words() {
    let nothing = Registers::default();
    assert_eq!(broken(&nothing), Broken::NoMarker(Some(2)));
    assert_eq!(broken(&nothing).exception(), Some(2));
    let mut zeros = Registers::default();
    for base in BASES {
        zeros.put(base, &[0, 0]);
    }
    assert_eq!(broken(&zeros), Broken::NoMarker(None));
    assert_eq!(broken(&Registers::of(0, &[(103, 50)])), Broken::NotCommon { found: 103 });
    assert_eq!(broken(&Registers::of(0, &[(1, 66), (160, 88)])), Broken::NothingKnown);
    assert_eq!(broken(&Registers::of(0, &[(1, 66), (160, 0)])), Broken::NoLength { id: 160, address: 70 });
    let far = [(1, 66), (64_001, 20_000), (64_002, 0xFFF0)];
    let mut device = Registers::of(40_000, &far[..2]);
    device.put(60_072, &[64_002, 0xFFF0]);
    assert_eq!(broken(&device), Broken::Beyond { id: 64_002, address: 60_072 });
    let mut many = vec![(1, 66)];
    many.extend([(160, 1); 60]);
    assert_eq!(broken(&Registers::of(0, &many)), Broken::Endless);
}

#[test]
fn what_stands_before_a_break_is_read_and_the_break_is_told() {
    let whole = Registers::of(40_000, &[(1, 66), (103, 50)]);
    let mut without_end = whole.clone();
    without_end.0.remove(&40_122);
    let chain = found(&without_end);
    assert_eq!(
        chain.broken_off.as_deref(),
        Some("the header of the model at 40122 is refused with exception 2")
    );
    assert_eq!(names(&chain), names(&found(&whole)));
    let mut zeros = whole;
    zeros.put(40_122, &[0, 0]);
    assert_eq!(found(&zeros).broken_off.as_deref(), Some("model 0 at 40122 has a length of 0"));
    // Busy is for now: nothing is concluded from it.
    let mut walk = Walk::new(0);
    while let Some(read) = walk.next() {
        if read.address == 40_122 { walk.refused(6) } else { walk.answered(&without_end.read(read).unwrap()) }
    }
    assert_eq!(walk.outcome(), Some(Err(Broken::Refused { address: 40_122, code: 6 })));
}

#[test]
fn a_known_chain_is_looked_at_by_its_headers_and_walked_anew_where_one_differs() {
    let device = Registers::of(40_000, &[(1, 66), (103, 50), (64_120, 7), (203, 105)]);
    let chain = found(&device);
    let (same, reads) = walk(Walk::again(&chain), &device);
    let addresses: Vec<u16> = reads.iter().map(|read| read.address).collect();
    assert_eq!(addresses, [40_000, 40_002, 40_070, 40_131, 40_238]);
    assert!(same.is_as_known() && same.outcome() == Some(Ok(&chain)));
    let newer = Registers::of(40_000, &[(1, 66), (103, 50), (64_120, 9), (203, 105)]);
    let (other, reads) = walk(Walk::again(&chain), &newer);
    assert!(!other.is_as_known());
    assert_eq!((other.outcome(), reads.len()), (Some(Ok(&found(&newer))), 4 + 7));
}

#[test]
fn a_model_that_was_added_behind_the_others_is_found_and_so_is_one_behind_a_break() {
    let (before, after) = ([(1, 66), (103, 50)], [(1, 66), (103, 50), (203, 105)]);
    let (old, new) = (found(&Registers::of(0, &before)), Registers::of(0, &after));
    assert_eq!(walk(Walk::again(&old), &new).0.outcome(), Some(Ok(&found(&new))));
    let mut starting = new.clone();
    starting.0.remove(&123);
    let old = found(&starting);
    assert!(old.broken_off.is_some() && old.models.len() == 2);
    assert_eq!(walk(Walk::again(&old), &new).0.outcome(), Some(Ok(&found(&new))));
}

#[test]
fn no_read_of_a_chains_points_leaves_its_model() {
    let chain = found(&Registers::of(40_000, &[(1, 65), (103, 50), (203, 105), (213, 124)]));
    let profile = chain.profile();
    let in_hole = |address: u16| profile.habits.holes.iter().any(|hole| hole.contains(&address));
    for model in &chain.models {
        assert!(in_hole(model.address) && in_hole(model.address + 1), "{model:?}");
    }
    for point in &profile.points {
        let last = point.address + point.format.count() - 1;
        assert!(!(point.address..=last).any(in_hole), "{}", point.name);
        let model = chain.models.iter().rev().find(|model| model.address < point.address).unwrap();
        assert!(last < model.address + 2 + model.length, "{}", point.name);
    }
    assert_eq!((profile.habits.holes[0].clone(), in_hole(65_535)), (0..=40_003, true));
}

#[test]
fn a_second_device_of_a_chain_has_its_kind_before_its_names() {
    let behind = [(1, 66), (103, 50), (1, 66), (203, 105), (1, 66), (203, 105)];
    let names = names(&found(&Registers::of(40_000, &behind)));
    for name in [
        "serial_number",
        "active_power_export",
        "meter_active_power",
        "meter_serial_number",
        "meter2_active_power",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}");
        assert!(may_have(name), "{name}");
    }
    assert!(!names.contains(&"active_power".to_owned()));
    for wrong in ["meter1_active_power", "meter_a_sf", "actve_power", "heater_active_power", "meterx_state"] {
        assert!(!may_have(wrong), "{wrong}");
    }
}

#[test]
fn floats_beside_the_same_in_integers_are_one_device() {
    let twins = names(&found(&Registers::of(0, &[(1, 66), (103, 50), (113, 60), (160, 8)])));
    assert_eq!(twins, names(&found(&Registers::of(0, &[(1, 66), (103, 50)]))));
    let two = names(&found(&Registers::of(0, &[(1, 66), (103, 50), (1, 66), (113, 60)])));
    assert!(two.contains(&"inverter2_active_power_export".to_owned()));
}

#[test]
fn a_shorter_model_lacks_what_lies_beyond_its_length_and_a_longer_one_is_read_to_what_is_known() {
    let of = |length| found(&Registers::of(0, &[(1, 66), (103, length)]));
    let (short, usual, long) = (names(&of(24)), names(&of(50)), names(&of(58)));
    assert!(short.contains(&"frequency".to_owned()) && !short.contains(&"energy_export".to_owned()));
    assert_eq!(usual, long);
    // A value without its scale factor is none.
    assert!(
        !names(&of(23)).contains(&"power_factor".to_owned()) || names(&of(23)).contains(&"pf_sf".to_owned())
    );
}

#[test]
fn one_phase_has_no_others() {
    let single = names(&found(&Registers::of(0, &[(1, 66), (101, 50)])));
    assert!(
        single.contains(&"current_l1".to_owned())
            && !single.iter().any(|name| name.contains("_l2") && name != "voltage_l1_l2")
    );
    let split = names(&found(&Registers::of(0, &[(1, 66), (202, 105)])));
    assert!(split.contains(&"current_l2".to_owned()) && !split.contains(&"current_l3".to_owned()));
}

#[test]
fn a_chain_that_was_kept_is_not_believed_blindly() {
    assert!(Chain::usual().is_sound());
    let mut moved = Chain::usual();
    moved.models[1].address += 1;
    let long = Chain { base: 65_000, ..Chain::of(65_000, &[(1, 66), (103, 500)]) };
    let to_the_last = Chain::of(65_535 - 121, &[(1, 66), (103, 50)]);
    for wrong in
        [moved, long, to_the_last, Chain::default(), Chain::of(0, &[(103, 50)]), Chain::of(0, &[(1, 66)])]
    {
        assert!(!wrong.is_sound(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn whatever_a_device_says_a_walk_ends_and_reads_nothing_beyond_the_last_register(
        answers in proptest::collection::vec((any::<u8>(), any::<u16>(), any::<u16>(), any::<bool>()), 200),
        first in 0usize..5,
        known in any::<bool>(),
    ) {
        let mut walk = if known { Walk::again(&Chain::usual()) } else { Walk::new(first) };
        let mut reads = 0;
        for (what, a, b, short) in answers {
            let Some(read) = walk.next() else { break };
            reads += 1;
            prop_assert!(u32::from(read.address) + u32::from(read.count) <= 65_536 && read.count > 0);
            let words = match what {
                0..=40 => { walk.refused(what % 12); continue }
                // Mostly what keeps a walk going.
                41..=100 if read.count == 2 => walk::MARKER,
                101..=180 => [1 + a % 3, b % 200],
                181..=200 => [103, 50],
                _ => [a, b],
            };
            let mut octets: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            octets.resize(usize::from(read.count) * 2 - usize::from(short && what > 250), b'x');
            walk.answered(&octets);
        }
        prop_assert!(reads <= MOST_READS && walk.next().is_none());
        if let Some(Ok(chain)) = walk.outcome() {
            prop_assert!(chain.is_sound(), "{chain:?}");
            let profile = chain.profile();
            for point in &profile.points {
                prop_assert!(u32::from(point.address) + u32::from(point.format.count()) <= 65_536);
            }
        }
    }

    #[test]
    fn any_chain_is_found_as_it_is(
        base in 0usize..3,
        models in proptest::collection::vec((2u16..300, 1u16..130), 0..30),
    ) {
        let mut all = vec![(1, 66), (101, 50)];
        all.extend(models);
        let chain = found(&Registers::of(BASES[base], &all));
        prop_assert_eq!(&chain.models, &Chain::of(BASES[base], &all).models);
        let profile = chain.profile();
        let mut names: Vec<&str> = profile.points.iter().map(|point| point.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        prop_assert_eq!(names.len(), count, "each name once");
    }
}
