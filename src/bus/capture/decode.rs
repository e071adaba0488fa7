//! Octets → packets: pcap-ng in either order of octets, and classic pcap, whoever wrote them.
//!
//! Sans I/O: octets are pushed in as they are read, packets are taken out. Blocks and options that are not
//! known are passed over, as the draft wants it [3.1]. What can't be followed is refused with its place.

use super::fields::{Order, options, text, u16_at, u32_at, u64_at, usize_at};
use super::pcapng::{self, Direction, option};

/// A block that claims more is damaged: what is worth a look here is a frame of some hundred octets.
const LONGEST_BLOCK: u32 = 16 << 20;
/// Type, length, and the length once more.
const AROUND_BLOCK: usize = 12;
/// Packet Block, obsolete since 2004 and still written by some [appendix A].
const OLD_PACKET: u32 = 2;
/// Simple Packet Block: no stamp, no direction [4.4].
const SIMPLE_PACKET: u32 = 3;
/// Stamps are microseconds where nothing else is said [4.2].
const MICROSECONDS: u8 = 6;
/// Classic pcap (draft-ietf-opsawg-pcap): stamps in microseconds, or in nanoseconds.
const CLASSIC: [(u32, u8); 2] = [(0xA1B2_C3D4, 6), (0xA1B2_3C4D, 9)];
const CLASSIC_HEADER: usize = 24;
const CLASSIC_RECORD: usize = 16;

/// Why a capture can't be read on, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("octet {offset}: {why}")]
pub struct Unreadable {
    pub offset: u64,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("neither pcap-ng nor pcap: it begins with {0:#010x}")]
    NoCapture(u32),
    #[error("too short for a capture")]
    Empty,
    #[error("pcap-ng version {0}, where only version 1 is known")]
    Version(u16),
    #[error("a section whose order of octets is {0:#010x}, where 0x1a2b3c4d was due")]
    Order(u32),
    #[error("a block of {0} octets, where 12 to 16777216, a multiple of 4, were due")]
    Length(u32),
    #[error("a block begins with the length {0} and ends with the length {1}")]
    Lengths(u32, u32),
    #[error("a block of type {0} that is too short for what it must hold")]
    Short(u32),
    #[error("a packet of interface {0}, which has not been described")]
    Interface(u32),
}

/// Where packets come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The number of the link type in the register of tcpdump.org.
    pub link: u16,
    pub name: String,
    pub description: String,
    /// Bits per second.
    pub speed: Option<u64>,
    /// Written by linesman.
    pub ours: bool,
    resolution: u8,
    offset_seconds: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Index into [`Decoder::interfaces`].
    pub interface: usize,
    pub utc_nanos: Option<i64>,
    pub direction: Option<Direction>,
    /// Where its block begins in the file.
    pub offset: u64,
    pub octets: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Packet(Packet),
    /// So many packets of an interface are missing since its capture began.
    Lost {
        interface: usize,
        packets: u64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Unknown,
    Blocks(Order),
    Classic(Order),
}

enum Step {
    Item(Item),
    /// Something was read that is no item.
    On,
    /// More octets are needed.
    NotYet,
}

/// A capture being read.
#[derive(Debug)]
pub struct Decoder {
    arrived: Vec<u8>,
    /// How far `arrived` has been used up, …
    used: usize,
    /// … and what place in the file that is.
    offset: u64,
    shape: Shape,
    interfaces: Vec<Interface>,
    /// The first interface of this section: their numbers begin anew with each.
    first: usize,
    ours: bool,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            arrived: Vec::new(),
            used: 0,
            offset: 0,
            shape: Shape::Unknown,
            interfaces: Vec::new(),
            first: 0,
            ours: false,
        }
    }
}

impl Decoder {
    pub fn push(&mut self, octets: &[u8]) {
        self.arrived.drain(..self.used);
        self.used = 0;
        self.arrived.extend_from_slice(octets);
    }

    /// The next packet; nothing when more octets are needed for it. Each fault is told once more at
    /// every further call.
    pub fn next_item(&mut self) -> Result<Option<Item>, Unreadable> {
        loop {
            let step = match self.shape {
                Shape::Unknown => self.begin(),
                Shape::Blocks(order) => self.block(order),
                Shape::Classic(order) => self.record(order),
            };
            match step.map_err(|why| Unreadable { offset: self.offset, why })? {
                Step::Item(item) => return Ok(Some(item)),
                Step::On => {}
                Step::NotYet => return Ok(None),
            }
        }
    }

    /// All interfaces so far, over all sections.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Nothing more comes: how many octets of a last block are there that is not whole?
    pub fn end(&self) -> Result<usize, Unreadable> {
        match self.shape {
            Shape::Unknown => Err(Unreadable { offset: self.offset, why: Why::Empty }),
            Shape::Blocks(_) | Shape::Classic(_) => Ok(self.rest().len()),
        }
    }

    /// The section that is being read was written by linesman.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Where the last whole block ended.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn rest(&self) -> &[u8] {
        self.arrived.get(self.used..).unwrap_or_default()
    }

    fn use_up(&mut self, octets: usize) {
        self.used += octets;
        self.offset += octets as u64;
    }

    fn begin(&mut self) -> Result<Step, Why> {
        let rest = self.rest();
        let Some(magic) = u32_at(rest, 0, Order::Little) else { return Ok(Step::NotYet) };
        if magic == pcapng::SECTION {
            self.shape = Shape::Blocks(Order::Little);
            return Ok(Step::On);
        }
        for order in [Order::Little, Order::Big] {
            let magic = u32_at(rest, 0, order);
            if let Some((_, resolution)) = CLASSIC.iter().find(|(known, _)| Some(*known) == magic) {
                let Some(link) = link_of_classic(rest, order) else { return Ok(Step::NotYet) };
                self.interfaces.push(Interface { link, resolution: *resolution, ..Interface::plain() });
                self.shape = Shape::Classic(order);
                self.use_up(CLASSIC_HEADER);
                return Ok(Step::On);
            }
        }
        Err(Why::NoCapture(u32_at(rest, 0, Order::Big).unwrap_or(0)))
    }

    fn block(&mut self, order: Order) -> Result<Step, Why> {
        let Some(kind) = u32_at(self.rest(), 0, order) else { return Ok(Step::NotYet) };
        let order = if kind == pcapng::SECTION {
            match section_order(self.rest())? {
                Some(order) => order,
                None => return Ok(Step::NotYet),
            }
        } else {
            order
        };
        self.shape = Shape::Blocks(order);
        let Some(length) = u32_at(self.rest(), 4, order) else { return Ok(Step::NotYet) };
        let whole = usize::try_from(length).ok().filter(|_| length <= LONGEST_BLOCK);
        let whole = whole.filter(|n| *n >= AROUND_BLOCK && n.is_multiple_of(4)).ok_or(Why::Length(length))?;
        let Some(block) = self.rest().get(..whole) else { return Ok(Step::NotYet) };
        let again = u32_at(block, whole - 4, order).unwrap_or(0);
        if again != length {
            return Err(Why::Lengths(length, again));
        }
        let body = block.get(8..whole - 4).unwrap_or_default().to_vec();
        let step = self.take(kind, &body, order)?;
        self.use_up(whole);
        Ok(step)
    }

    fn take(&mut self, kind: u32, body: &[u8], order: Order) -> Result<Step, Why> {
        let short = Why::Short(kind);
        match kind {
            pcapng::SECTION => {
                let version = u16_at(body, 4, order).ok_or(short)?;
                if version != 1 {
                    return Err(Why::Version(version));
                }
                let application = options(body.get(16..).ok_or(short)?, order)
                    .find(|(code, _)| *code == option::SHB_USERAPPL);
                self.ours =
                    application.is_some_and(|(_, text)| text.starts_with(super::APPLICATION.as_bytes()));
                self.first = self.interfaces.len();
                Ok(Step::On)
            }
            pcapng::INTERFACE => {
                self.interfaces.push(interface(body, order, self.ours).ok_or(short)?);
                Ok(Step::On)
            }
            pcapng::PACKET => self.packet(body, order, u32_at(body, 0, order).ok_or(short)?, short),
            OLD_PACKET => self.packet(body, order, u32::from(u16_at(body, 0, order).ok_or(short)?), short),
            SIMPLE_PACKET => self.simple(body, order, short),
            pcapng::STATISTICS => self.statistics(body, order, short),
            _ => Ok(Step::On),
        }
    }

    fn known(&self, number: u32) -> Result<usize, Why> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_add(self.first));
        index.filter(|index| *index < self.interfaces.len()).ok_or(Why::Interface(number))
    }

    fn packet(&self, body: &[u8], order: Order, number: u32, short: Why) -> Result<Step, Why> {
        let interface = self.known(number)?;
        let stamp = stamp(body, order).ok_or(short)?;
        let length = usize_at(body, 12, order).ok_or(short)?;
        let end = length.checked_add(20).ok_or(short)?;
        let octets = body.get(20..end).ok_or(short)?.to_vec();
        let after = body.get(end.next_multiple_of(4)..).unwrap_or_default();
        let flags = options(after, order).find(|(code, _)| *code == option::EPB_FLAGS);
        let direction = flags.and_then(|(_, value)| u32_at(value, 0, order)).and_then(Direction::from_bits);
        let utc_nanos = self.interfaces.get(interface).and_then(|interface| interface.nanos(stamp));
        Ok(Step::Item(Item::Packet(Packet { interface, utc_nanos, direction, offset: self.offset, octets })))
    }

    fn simple(&self, body: &[u8], order: Order, short: Why) -> Result<Step, Why> {
        let interface = self.known(0)?;
        let original = usize_at(body, 0, order).ok_or(short)?;
        let held = body.get(4..).ok_or(short)?;
        let octets = held.get(..original.min(held.len())).unwrap_or_default().to_vec();
        let (utc_nanos, direction, offset) = (None, None, self.offset);
        Ok(Step::Item(Item::Packet(Packet { interface, utc_nanos, direction, offset, octets })))
    }

    fn statistics(&self, body: &[u8], order: Order, short: Why) -> Result<Step, Why> {
        let interface = self.known(u32_at(body, 0, order).ok_or(short)?)?;
        let dropped = options(body.get(12..).ok_or(short)?, order)
            .find(|(code, _)| *code == option::ISB_IFDROP)
            .and_then(|(_, value)| u64_at(value, 0, order));
        Ok(dropped.map_or(Step::On, |packets| Step::Item(Item::Lost { interface, packets })))
    }

    fn record(&mut self, order: Order) -> Result<Step, Why> {
        let rest = self.rest();
        let (Some(seconds), Some(fraction), Some(length)) =
            (u32_at(rest, 0, order), u32_at(rest, 4, order), u32_at(rest, 8, order))
        else {
            return Ok(Step::NotYet);
        };
        let size = usize::try_from(length).ok().filter(|_| length <= LONGEST_BLOCK);
        let end = CLASSIC_RECORD + size.ok_or(Why::Length(length))?;
        let Some(octets) = rest.get(CLASSIC_RECORD..end).map(<[u8]>::to_vec) else {
            return Ok(Step::NotYet);
        };
        let resolution = self.interfaces.first().map_or(MICROSECONDS, |interface| interface.resolution);
        let fraction = i64::from(fraction) * if resolution == MICROSECONDS { 1000 } else { 1 };
        let utc_nanos = Some(i64::from(seconds) * 1_000_000_000 + fraction);
        let packet = Packet { interface: 0, utc_nanos, direction: None, offset: self.offset, octets };
        self.use_up(end);
        Ok(Step::Item(Item::Packet(packet)))
    }
}

impl Interface {
    fn plain() -> Interface {
        Interface {
            link: 0,
            name: String::new(),
            description: String::new(),
            speed: None,
            ours: false,
            resolution: MICROSECONDS,
            offset_seconds: 0,
        }
    }

    /// A stamp in nanoseconds since 1970; nothing when it lies beyond the year 2262.
    fn nanos(&self, stamp: u64) -> Option<i64> {
        let units = u128::from(stamp);
        let power = u32::from(self.resolution & 0x7F);
        let nanos = if self.resolution & 0x80 != 0 {
            (units * 1_000_000_000).checked_shr(power).unwrap_or(0)
        } else if power <= 9 {
            units * 10u128.pow(9 - power)
        } else {
            10u128.checked_pow(power - 9).map_or(0, |divisor| units / divisor)
        };
        let offset = self.offset_seconds.checked_mul(1_000_000_000)?;
        i64::try_from(nanos).ok()?.checked_add(offset)
    }
}

/// The order in which a section is written; nothing when its beginning is not there yet.
fn section_order(block: &[u8]) -> Result<Option<Order>, Why> {
    let Some(magic) = u32_at(block, 8, Order::Little) else { return Ok(None) };
    match magic {
        pcapng::ORDER_MAGIC => Ok(Some(Order::Little)),
        other if other.swap_bytes() == pcapng::ORDER_MAGIC => Ok(Some(Order::Big)),
        other => Err(Why::Order(other)),
    }
}

fn interface(body: &[u8], order: Order, ours: bool) -> Option<Interface> {
    let mut interface = Interface { link: u16_at(body, 0, order)?, ours, ..Interface::plain() };
    for (code, value) in options(body.get(8..)?, order) {
        match code {
            option::IF_NAME => interface.name = text(value),
            option::IF_DESCRIPTION => interface.description = text(value),
            option::IF_SPEED => interface.speed = u64_at(value, 0, order),
            option::IF_TSRESOL => interface.resolution = value.first().copied().unwrap_or(MICROSECONDS),
            option::IF_TSOFFSET => {
                interface.offset_seconds = u64_at(value, 0, order).map_or(0, u64::cast_signed);
            }
            _ => {}
        }
    }
    Some(interface)
}

/// The link type of classic pcap: the lower half of a word whose upper half says other things.
fn link_of_classic(header: &[u8], order: Order) -> Option<u16> {
    u16::try_from(u32_at(header, 20, order)? & 0xFFFF).ok()
}

/// Two words of 32 bits, the upper first [4.3].
fn stamp(body: &[u8], order: Order) -> Option<u64> {
    Some(u64::from(u32_at(body, 4, order)?) << 32 | u64::from(u32_at(body, 8, order)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything in a capture, given in pieces of so many octets.
    fn decode(octets: &[u8], stride: usize) -> (Vec<Item>, Decoder, Result<usize, Unreadable>) {
        let (mut decoder, mut items) = (Decoder::default(), Vec::new());
        for piece in octets.chunks(stride.max(1)) {
            decoder.push(piece);
            loop {
                match decoder.next_item() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(error) => return (items, decoder, Err(error)),
                }
            }
        }
        let end = decoder.end();
        (items, decoder, end)
    }

    /// Interface, stamp, direction, octets.
    type Plain = (usize, Option<i64>, Option<Direction>, Vec<u8>);

    fn packets(items: &[Item]) -> Vec<Plain> {
        let packet = |item: &Item| match item {
            Item::Packet(p) => Some((p.interface, p.utc_nanos, p.direction, p.octets.clone())),
            Item::Lost { .. } => None,
        };
        items.iter().filter_map(packet).collect()
    }

    /// A block in the order of a section, which need not be that of this machine.
    fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
        let word = |n: u32| if order == Order::Big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = word(u32::try_from(body.len()).unwrap() + 12);
        [&word(kind)[..], &length, &body, &length].concat()
    }

    const BIG_SECTION: &[u8] =
        &[0x1A, 0x2B, 0x3C, 0x4D, 0, 1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

    /// A big-endian section: nanoseconds, an option and a block that nobody knows, an old packet, a simple one.
    fn foreign() -> Vec<u8> {
        let big = |kind, body: &[u8]| block(Order::Big, kind, body);
        let stamp: &[u8] = &[0x18, 0x7A, 0x1B, 0x2C, 0, 0, 0, 5];
        let interface =
            [&[0, 147, 0, 0, 0, 0, 0, 0][..], &[0, 9, 0, 1, 9, 0, 0, 0], &[0x12, 0x34, 0, 2, 1, 2, 0, 0]];
        let enhanced =
            [&[0, 0, 0, 0][..], stamp, &[0, 0, 0, 2, 0, 0, 0, 2, 7, 8, 0, 0], &[0, 2, 0, 4, 0, 0, 0, 1]];
        let old = [&[0, 0, 0, 3][..], stamp, &[0, 0, 0, 1, 0, 0, 0, 1, 9, 0, 0, 0]];
        [
            big(pcapng::SECTION, BIG_SECTION),
            big(1, &interface.concat()),
            big(0x0BAD, &[1, 2, 3]),
            big(6, &enhanced.concat()),
            big(2, &old.concat()),
            big(3, &[0, 0, 0, 1, 5, 0, 0, 0]),
        ]
        .concat()
    }

    #[test]
    fn a_section_of_the_other_order_with_unknown_blocks_and_options_is_read() {
        let at = Some(0x187A_1B2C_0000_0005);
        let (items, decoder, end) = decode(&foreign(), 7);
        assert_eq!(
            packets(&items),
            [(0, at, Some(Direction::Heard), vec![7, 8]), (0, at, None, vec![9]), (0, None, None, vec![5])]
        );
        assert_eq!((decoder.interfaces()[0].link, decoder.is_ours(), end), (147, false, Ok(0)));
    }

    #[test]
    fn a_second_section_numbers_its_interfaces_anew() {
        let ours = [
            pcapng::section("linesman 1"),
            pcapng::interface(252, "a", "x, 9600 8N1", Some(9600)),
            pcapng::packet(0, 1_763_766_000_123_456_789, Direction::Sent, &[1], &[2, 3]),
        ];
        let (items, decoder, _) = decode(&[foreign(), ours.concat()].concat(), 64);
        let at = Some(1_763_766_000_123_456_000);
        assert_eq!(packets(&items)[3], (1, at, Some(Direction::Sent), vec![1, 2, 3]));
        let Interface { name, description, speed, ours, .. } = &decoder.interfaces()[1];
        assert_eq!(
            (name.as_str(), description.as_str(), *speed, *ours),
            ("a", "x, 9600 8N1", Some(9600), true)
        );
    }

    #[test]
    fn stamps_of_every_resolution_are_nanoseconds() {
        for (resolution, offset_seconds, stamp, nanos) in [
            (6, 0, 7, Some(7000)),
            (9, 0, 7, Some(7)),
            (0, 0, 7, Some(7_000_000_000)),
            (12, 0, 7000, Some(7)),
            (0x80 | 10, 0, 512, Some(500_000_000)),
            (6, 2, 0, Some(2_000_000_000)),
            (6, -2, 0, Some(-2_000_000_000)),
            (0, 0, u64::MAX, None),
            (127, i64::MAX, u64::MAX, None),
            (0xFF, 0, u64::MAX, Some(0)),
        ] {
            let interface = Interface { resolution, offset_seconds, ..Interface::plain() };
            assert_eq!(interface.nanos(stamp), nanos, "{resolution} {offset_seconds} {stamp}");
        }
    }

    #[test]
    fn classic_pcap_is_read_in_both_orders_and_resolutions() {
        let little = [
            &[0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0][..],
            &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xAA],
        ];
        let big = [
            &[0xA1, 0xB2, 0x3C, 0x4D, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0x14, 0, 0, 1][..],
            &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0xAA],
        ];
        for (octets, link, nanos) in [(little.concat(), 101, 2000), (big.concat(), 1, 2)] {
            let (items, decoder, end) = decode(&octets, 5);
            assert_eq!(packets(&items), [(0, Some(1_000_000_000 + nanos), None, vec![0xAA])]);
            assert_eq!((decoder.interfaces()[0].link, end), (link, Ok(0)));
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused_with_its_place() {
        let good = [pcapng::section("linesman"), pcapng::interface(252, "a", "", None)].concat();
        let offset = good.len() as u64;
        let after = |tail: &[u8]| decode(&[&good[..], tail].concat(), 4096).2;
        let fault = |why| Err(Unreadable { offset, why });
        assert_eq!(after(&[6, 0, 0, 0, 13, 0, 0, 0]), fault(Why::Length(13)));
        assert_eq!(after(&[6, 0, 0, 0, 8, 0, 0, 0]), fault(Why::Length(8)));
        assert_eq!(after(&[6, 0, 0, 0, 0, 0, 0, 0x40]), fault(Why::Length(0x4000_0000)));
        assert_eq!(after(&[9, 0, 0, 0, 12, 0, 0, 0, 16, 0, 0, 0]), fault(Why::Lengths(12, 16)));
        assert_eq!(after(&block(Order::Little, 6, &[0; 8])), fault(Why::Short(6)));
        assert_eq!(after(&pcapng::packet(5, 0, Direction::Sent, &[], &[1])), fault(Why::Interface(5)));
        let begin = |octets: &[u8]| decode(octets, 4096).2.unwrap_err().why;
        assert_eq!(begin(b"#!/bin/sh"), Why::NoCapture(0x2321_2F62));
        assert_eq!(begin(b"\x0a\x0d"), Why::Empty);
        assert_eq!(begin(&[]), Why::Empty);
        assert_eq!(begin(b"\x0a\x0d\x0d\x0a\x1c\0\0\0abcd"), Why::Order(0x6463_6261));
        let mut second = BIG_SECTION.to_vec();
        second[5] = 2;
        assert_eq!(begin(&block(Order::Big, pcapng::SECTION, &second)), Why::Version(2));
        // Cut off within a block: no fault, but said.
        assert_eq!(after(&[6, 0, 0]), Ok(3));
    }

    fn a_packet() -> impl Strategy<Value = (u32, i64, bool, Vec<u8>)> {
        (0u32..3, 0i64..4_000_000_000_000_000, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60))
    }

    fn written(given: &[(u32, i64, bool, Vec<u8>)]) -> Vec<u8> {
        let mut octets = pcapng::section("linesman 0.1.0");
        for name in ["a", "rs485-1", "ünit"] {
            octets.extend(pcapng::interface(252, name, "port", Some(9600)));
        }
        for (interface, micros, sent, frame) in given {
            let direction = if *sent { Direction::Sent } else { Direction::Heard };
            octets.extend(pcapng::packet(*interface, micros * 1000, direction, &[], frame));
        }
        octets.extend(pcapng::losses(1, 0, 3));
        octets
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_is_cut(given in proptest::collection::vec(a_packet(), 0..20), stride in 1usize..200) {
            let (mut items, _, end) = decode(&written(&given), stride);
            prop_assert_eq!(end, Ok(0));
            prop_assert_eq!(items.pop(), Some(Item::Lost { interface: 1, packets: 3 }));
            let expected: Vec<_> = given
                .into_iter()
                .map(|(interface, micros, sent, frame)| {
                    let direction = if sent { Direction::Sent } else { Direction::Heard };
                    (interface as usize, Some(micros * 1000), Some(direction), frame)
                })
                .collect();
            prop_assert_eq!(packets(&items), expected);
        }

        #[test]
        fn no_mutation_of_a_capture_makes_it_panic(
            given in proptest::collection::vec(a_packet(), 0..8),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            cut in any::<prop::sample::Index>(), stride in 1usize..200, big: bool,
        ) {
            let mut octets = if big { [foreign(), written(&given)].concat() } else { written(&given) };
            for (at, value) in flips {
                let at = at.index(octets.len());
                octets[at] = value;
            }
            octets.truncate(cut.index(octets.len()) + 1);
            let (_, decoder, end) = decode(&octets, stride);
            prop_assert!(decoder.offset() <= octets.len() as u64);
            if let Ok(rest) = end {
                prop_assert_eq!(decoder.offset() + rest as u64, octets.len() as u64);
            }
        }

        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>, pcap: bool) {
            let begin: &[u8] = if pcap { &[0xD4, 0xC3, 0xB2, 0xA1] } else { &[0x0A, 0x0D, 0x0D, 0x0A] };
            let _ = decode(&[begin, &octets].concat(), 16);
        }
    }
}
