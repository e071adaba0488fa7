//! What stands around a frame's octets in a packet, put on and taken off.
//!
//! There is no link type for Modbus on a serial line in the register of tcpdump.org. Serial frames
//! therefore go out as Wireshark's own *exported PDUs* (`LINKTYPE_WIRESHARK_UPPER_PDU`), which name their
//! dissector: Wireshark shows them as Modbus RTU with nothing to set. Modbus TCP goes out as IPv4 and TCP
//! with made-up headers to port 502. Of others' captures the user link types (where serial sniffers put
//! RTU frames) and the usual carriers of IP are understood.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Link types (tcpdump.org/linktypes.html).
pub(super) const RAW_IP: u16 = 101;
pub(super) const UPPER_PDU: u16 = 252;
const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const USER_FIRST: u16 = 147;
const USER_LAST: u16 = 162;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

/// Tags of an exported PDU (Wireshark, `epan/exported_pdu.h`); type, length and value are big-endian.
const TAG_END: u16 = 0;
const TAG_DISSECTOR: u16 = 12;
const TAG_IPV4_SOURCE: u16 = 20;
const TAG_IPV4_DESTINATION: u16 = 21;

/// The dissectors' names in Wireshark; what none is known for is shown as octets.
pub(super) const RTU: &str = "mbrtu";
pub(super) const PLAIN: &str = "data";

const ETHERTYPE_VLAN: [u16; 2] = [0x8100, 0x88A8];
const TCP: u8 = 6;
const TCP_HEADER: usize = 20;
const IPV4_HEADER: usize = 20;
/// Acknowledges, and asks for delivery at once.
const PSH_ACK: u8 = 0x18;
const SYN: u8 = 0x02;
/// Where Wireshark looks for Modbus TCP without being told.
pub(super) const MODBUS_PORT: u16 = 502;

/// One end of a made-up connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub address: Ipv4Addr,
    pub port: u16,
    /// The next octet that it sends.
    pub sequence: u32,
}

/// The head of a serial frame. The addresses only keep the lines apart: Wireshark looks for the question
/// to an answer between the same two.
pub(super) fn exported_pdu(dissector: &str, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut head = Vec::with_capacity(40);
    let mut name = dissector.as_bytes().to_vec();
    name.resize(name.len().next_multiple_of(4), 0);
    put_tag(&mut head, TAG_DISSECTOR, &name);
    put_tag(&mut head, TAG_IPV4_SOURCE, &from.octets());
    put_tag(&mut head, TAG_IPV4_DESTINATION, &to.octets());
    put_tag(&mut head, TAG_END, &[]);
    head
}

fn put_tag(head: &mut Vec<u8>, tag: u16, value: &[u8]) {
    head.extend_from_slice(&tag.to_be_bytes());
    head.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    head.extend_from_slice(value);
}

/// The head of a TCP segment with this payload (RFC 791, RFC 9293), checksums and all.
pub(super) fn ip_and_tcp(from: End, to: End, identification: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(IPV4_HEADER + TCP_HEADER + payload.len()).unwrap_or(u16::MAX);
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&length.to_be_bytes());
    ip.extend_from_slice(&identification.to_be_bytes());
    // Don't fragment; 64 hops; TCP; the checksum comes last.
    ip.extend_from_slice(&[0x40, 0, 64, TCP, 0, 0]);
    ip.extend_from_slice(&from.address.octets());
    ip.extend_from_slice(&to.address.octets());
    let checksum = internet_checksum(&[&ip]).to_be_bytes();
    ip[10..12].copy_from_slice(&checksum);

    let mut tcp = Vec::with_capacity(TCP_HEADER);
    tcp.extend_from_slice(&from.port.to_be_bytes());
    tcp.extend_from_slice(&to.port.to_be_bytes());
    tcp.extend_from_slice(&from.sequence.to_be_bytes());
    tcp.extend_from_slice(&to.sequence.to_be_bytes());
    // Five words of header; a full window; checksum, nothing urgent.
    tcp.extend_from_slice(&[0x50, PSH_ACK, 0xFF, 0xFF, 0, 0, 0, 0]);
    let [high, low] = length.saturating_sub(20).to_be_bytes();
    let (source, destination) = (from.address.octets(), to.address.octets());
    let checksum =
        internet_checksum(&[&source, &destination, &[0, TCP, high, low], &tcp, payload]).to_be_bytes();
    tcp[16..18].copy_from_slice(&checksum);
    ip.extend_from_slice(&tcp);
    ip
}

/// RFC 1071, over parts that are each of even length but for the last.
pub(super) fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = pairs
        .map(|pair| match *pair {
            [high, low] => u64::from(u16::from_be_bytes([high, low])),
            [high] => u64::from(u16::from_be_bytes([high, 0])),
            _ => 0,
        })
        .sum();
    let mut folded = sum;
    while folded > 0xFFFF {
        folded = (folded & 0xFFFF) + (folded >> 16);
    }
    !u16::try_from(folded).unwrap_or(0)
}

/// What a packet holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Octets of a serial line, as they came.
    Serial(&'a [u8]),
    Tcp(Segment<'a>),
    /// Nothing that Modbus could be in.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub opens: bool,
    pub payload: &'a [u8],
}

/// Takes the envelope off.
pub(super) fn open(link: u16, octets: &[u8]) -> Content<'_> {
    let opened = match link {
        USER_FIRST..=USER_LAST => Some(Content::Serial(octets)),
        UPPER_PDU => exported(octets),
        RAW_IP | IPV4 | IPV6 => ip(octets),
        NULL | LOOP => octets.get(4..).and_then(ip),
        ETHERNET => ethernet(octets, 12),
        LINUX_SLL => ethernet(octets, 14),
        LINUX_SLL2 => octets.get(20..).and_then(ip),
        _ => None,
    };
    opened.unwrap_or(Content::Other)
}

fn exported(octets: &[u8]) -> Option<Content<'_>> {
    let (mut rest, mut serial) = (octets, false);
    loop {
        let tag = u16_at(rest, 0)?;
        let end = 4 + usize::from(u16_at(rest, 2)?);
        let value = rest.get(4..end)?;
        rest = rest.get(end..)?;
        match tag {
            TAG_END => return Some(if serial { Content::Serial(rest) } else { Content::Other }),
            TAG_DISSECTOR => {
                let name: Vec<u8> = value.iter().copied().take_while(|octet| *octet != 0).collect();
                serial = name == RTU.as_bytes() || name == PLAIN.as_bytes();
            }
            _ => {}
        }
    }
}

/// An EtherType at this place, after any VLAN tags, and IP behind it.
fn ethernet(octets: &[u8], mut at: usize) -> Option<Content<'_>> {
    while ETHERTYPE_VLAN.contains(&u16_at(octets, at)?) {
        at += 4;
    }
    octets.get(at + 2..).and_then(ip)
}

fn ip(octets: &[u8]) -> Option<Content<'_>> {
    match octets.first()? >> 4 {
        4 => ipv4(octets),
        6 => ipv6(octets),
        _ => None,
    }
}

fn ipv4(octets: &[u8]) -> Option<Content<'_>> {
    let header = usize::from(octets.first()? & 0x0F) * 4;
    // A length of zero is what a network card leaves to be filled in.
    let length = Some(usize::from(u16_at(octets, 2)?)).filter(|length| *length > 0).unwrap_or(octets.len());
    let fragment = u16_at(octets, 6)? & 0x3FFF;
    if *octets.get(9)? != TCP || fragment != 0 {
        return None;
    }
    let address = |at: usize| octets.get(at..at + 4)?.try_into().ok().map(|o: [u8; 4]| Ipv4Addr::from(o));
    let (from, to) = (address(12)?, address(16)?);
    let body = octets.get(header..length.min(octets.len()))?;
    segment(IpAddr::V4(from), IpAddr::V4(to), body)
}

fn ipv6(octets: &[u8]) -> Option<Content<'_>> {
    let end = (40 + usize::from(u16_at(octets, 4)?)).min(octets.len());
    if *octets.get(6)? != TCP {
        return None;
    }
    let address = |at: usize| octets.get(at..at + 16)?.try_into().ok().map(|o: [u8; 16]| Ipv6Addr::from(o));
    segment(IpAddr::V6(address(8)?), IpAddr::V6(address(24)?), octets.get(40..end)?)
}

fn segment(from: IpAddr, to: IpAddr, octets: &[u8]) -> Option<Content<'_>> {
    let (from, to) = (SocketAddr::new(from, u16_at(octets, 0)?), SocketAddr::new(to, u16_at(octets, 2)?));
    let sequence = u32::from(u16_at(octets, 4)?) << 16 | u32::from(u16_at(octets, 6)?);
    let header = usize::from(octets.get(12)? >> 4) * 4;
    let opens = octets.get(13)? & SYN != 0;
    Some(Content::Tcp(Segment { from, to, sequence, opens, payload: octets.get(header..)? }))
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GATEWAY: End = End { address: Ipv4Addr::new(192, 0, 2, 1), port: 49_152, sequence: 0xFFFF_FFF0 };
    const METER: End = End { address: Ipv4Addr::new(10, 0, 0, 5), port: 502, sequence: 7 };

    /// A header whose checksum is right sums up to nothing (RFC 1071).
    fn assert_checksums(packet: &[u8]) {
        let (ip, tcp) = packet.split_at(IPV4_HEADER);
        assert_eq!(internet_checksum(&[ip]), 0, "of IP");
        let length = u16::try_from(tcp.len()).unwrap().to_be_bytes();
        assert_eq!(internet_checksum(&[&ip[12..20], &[0, TCP], &length, tcp]), 0, "of TCP");
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // The example of RFC 1071, section 3.
        assert_eq!(!internet_checksum(&[&[0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]]), 0xDDF2);
    }

    #[test]
    fn a_serial_frame_is_what_stands_behind_its_head() {
        let head = exported_pdu(RTU, GATEWAY.address, METER.address);
        assert_eq!(head[..12], *b"\0\x0c\0\x08mbrtu\0\0\0");
        assert_eq!(open(UPPER_PDU, &[&head[..], &[1, 2, 3]].concat()), Content::Serial(&[1, 2, 3]));
        assert_eq!(open(USER_FIRST, &[1, 2, 3]), Content::Serial(&[1, 2, 3]));
        let other = exported_pdu("http", GATEWAY.address, METER.address);
        assert_eq!(open(UPPER_PDU, &other), Content::Other);
    }

    #[test]
    fn ip_is_found_behind_every_usual_link() {
        let payload = [0, 1, 0, 0, 0, 2, 1, 3];
        let packet = [&ip_and_tcp(GATEWAY, METER, 1, &payload)[..], &payload].concat();
        // Ethernet pads short frames: what is beyond the length that IP says is not payload.
        let ethernet = [&[0; 12][..], &[8, 0], &packet, &[0; 6]].concat();
        let vlan = [&[0; 12][..], &[0x81, 0, 0, 5, 8, 0], &packet].concat();
        let cooked = [&[0; 14][..], &[8, 0], &packet].concat();
        let cooked2 = [&[0; 20][..], &packet].concat();
        let null = [&[2, 0, 0, 0][..], &packet].concat();
        for (link, octets) in [
            (RAW_IP, &packet),
            (IPV4, &packet),
            (ETHERNET, &ethernet),
            (ETHERNET, &vlan),
            (LINUX_SLL, &cooked),
            (LINUX_SLL2, &cooked2),
            (NULL, &null),
        ] {
            let Content::Tcp(segment) = open(link, octets) else { panic!("{link}: nothing in it") };
            assert_eq!((segment.to.port(), segment.payload), (502, &payload[..]), "{link}");
        }
    }

    proptest! {
        #[test]
        fn a_segment_is_found_as_it_was_made_and_its_checksums_are_right(
            payload in proptest::collection::vec(any::<u8>(), 0..300), sequence: u32, identification: u16,
        ) {
            let from = End { sequence, ..GATEWAY };
            let packet = [&ip_and_tcp(from, METER, identification, &payload)[..], &payload].concat();
            assert_checksums(&packet);
            let Content::Tcp(segment) = open(RAW_IP, &packet) else { panic!("nothing in it") };
            prop_assert_eq!(segment.sequence, sequence);
            prop_assert_eq!(segment.from.to_string(), "192.0.2.1:49152");
            prop_assert_eq!(segment.payload, &payload[..]);
        }

        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>, link in prop_oneof![0u16..300, Just(UPPER_PDU), Just(RAW_IP)]) {
            let _ = open(link, &octets);
        }
    }
}
