//! How long a read occupies the line.

use crate::modbus::ReadRequest;
use crate::modbus::rtu::Pace;
use std::time::Duration;

/// RTU: unit id, PDU of five octets, CRC; and around the data of a reply: unit id, function, byte count, CRC.
const RTU_OCTETS: usize = 8 + 5;
/// ASCII: colon, two digits for each of unit id, five octets of PDU and LRC, CR LF; and around the data of a
/// reply: colon, two digits for each of unit id, function, byte count and LRC, CR LF (Serial Line V1.02, 2.5.2.1).
const ASCII_CHARACTERS: usize = 17 + 11;

/// TCP: what one more request costs beside the device's own delay: two packets through two stacks, and
/// a slow controller that wakes for them.
const TCP_REQUEST: Duration = Duration::from_millis(1);
/// TCP: what one more octet of data costs: the controller that copies it, hardly the network. Small against
/// a request on purpose: even 125 registers that nobody wants are cheaper than asking twice.
const TCP_OCTET: Duration = Duration::from_micros(1);

/// How long a read takes on a line of this kind; the price that planning minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireCost {
    wire: Wire,
    /// Silence before a request that the meter asks for, if that is more than the line's own.
    min_gap: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Rtu(Pace),
    Ascii(Pace),
    Tcp,
}

impl WireCost {
    /// RTU frames on a serial line: silences of 3.5 characters around them.
    pub const fn rtu(pace: Pace) -> WireCost {
        WireCost { wire: Wire::Rtu(pace), min_gap: Duration::ZERO }
    }

    /// ASCII frames on a serial line: two characters an octet, no silences.
    pub const fn ascii(pace: Pace) -> WireCost {
        WireCost { wire: Wire::Ascii(pace), min_gap: Duration::ZERO }
    }

    /// A network: a request costs, an octet hardly. Also for RTU over TCP, where only the far device
    /// server knows the baud rate.
    pub const fn tcp() -> WireCost {
        WireCost { wire: Wire::Tcp, min_gap: Duration::ZERO }
    }

    /// The same for a meter that wants so much silence before each request (`min_gap`). It is part of the
    /// price of asking once more, so gaps are bridged more readily. On a network nobody sees silences.
    #[must_use]
    pub const fn with_min_gap(self, min_gap: Duration) -> WireCost {
        WireCost { min_gap, ..self }
    }

    /// How long this read occupies the line, answered without complaint.
    ///
    /// `turnaround` is measured: from our last octet to the reply's first. On an RTU line it holds the 3.5
    /// characters of silence that the meter itself must keep, so they are counted once: a read of n registers
    /// takes `(8 + 5 + 2n)·c + t3.5 + turnaround` with a turnaround of at least t3.5. ASCII:
    /// `(28 + 4n)·c + turnaround`. Coils take ⌈n/8⌉ octets where registers take 2n.
    pub fn read(&self, request: &ReadRequest, turnaround: Duration) -> Duration {
        Duration::from_nanos(self.nanos(request.reply_data_octets(), turnaround))
    }

    /// The same as a price per request and octet, for comparing plans.
    pub(super) fn price(&self, turnaround: Duration) -> Price {
        let request = self.nanos(0, turnaround);
        Price { request: request.saturating_mul(1000), octet: self.nanos(1000, turnaround) - request }
    }

    /// The same for a reply with so many octets of data, in nanoseconds.
    fn nanos(&self, data_octets: usize, turnaround: Duration) -> u64 {
        let time = match self.wire {
            Wire::Rtu(pace) => {
                let silence = pace.silence();
                pace.octets(RTU_OCTETS + data_octets) + silence.max(self.min_gap) + turnaround.max(silence)
            }
            Wire::Ascii(pace) => pace.octets(ASCII_CHARACTERS + 2 * data_octets) + self.min_gap + turnaround,
            Wire::Tcp => {
                let octets = u32::try_from(data_octets).unwrap_or(u32::MAX);
                TCP_REQUEST + TCP_OCTET.saturating_mul(octets) + self.min_gap + turnaround
            }
        };
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a read costs in picoseconds. A character at 9600 baud is no whole number of nanoseconds, and a nanosecond
/// of rounding in each read would decide between plans that cost the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Price {
    request: u64,
    /// Nanoseconds a thousand octets are picoseconds an octet.
    octet: u64,
}

impl Price {
    pub(super) fn of(&self, data_octets: usize) -> u64 {
        let octets = u64::try_from(data_octets).unwrap_or(u64::MAX);
        self.request.saturating_add(self.octet.saturating_mul(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::ReadFunction;

    fn read(function: ReadFunction, count: u16) -> ReadRequest {
        ReadRequest::new(function, 0, count).unwrap()
    }

    #[test]
    fn a_read_takes_what_the_formula_says() {
        let pace = Pace::new(9600, false, 1);
        let turnaround = Duration::from_millis(20);
        // 13 + 2·36 = 85 characters of 10 bits, 3.5 characters, 20 ms.
        let rtu = WireCost::rtu(pace).read(&read(ReadFunction::InputRegisters, 36), turnaround);
        assert_eq!(rtu, Duration::from_nanos(88_541_666 + 3_645_833 + 20_000_000));
        // 28 + 4·36 = 172 characters.
        let ascii = WireCost::ascii(pace).read(&read(ReadFunction::InputRegisters, 36), turnaround);
        assert_eq!(ascii, Duration::from_nanos(179_166_666 + 20_000_000));
        // 17 coils are three octets.
        let coils = WireCost::rtu(pace).read(&read(ReadFunction::Coils, 17), turnaround);
        assert_eq!(coils, Duration::from_nanos(16_666_666 + 3_645_833 + 20_000_000));
    }

    #[test]
    fn an_ascii_request_and_its_reply_have_the_characters_that_are_counted() {
        // ":010300000002FA\r\n" and ":0103040001000AED\r\n", as they stand on the wire.
        let (request, reply) = (":010300000002FA\r\n".len(), ":01030400010000F7\r\n".len());
        assert_eq!(request + reply, ASCII_CHARACTERS + 2 * 4);
    }

    #[test]
    fn the_meters_own_silence_is_counted_once() {
        let cost = WireCost::rtu(Pace::new(9600, false, 1));
        let one = read(ReadFunction::InputRegisters, 1);
        let t35 = Pace::new(9600, false, 1).silence();
        assert_eq!(cost.read(&one, Duration::ZERO), cost.read(&one, t35));
        assert_eq!(
            cost.read(&one, t35 + Duration::from_millis(1)),
            cost.read(&one, t35) + Duration::from_millis(1)
        );
    }

    #[test]
    fn a_wish_for_silence_takes_the_place_of_the_lines_own() {
        let pace = Pace::new(9600, false, 1);
        let one = read(ReadFunction::InputRegisters, 1);
        let plain = WireCost::rtu(pace).read(&one, Duration::ZERO);
        let gap = |ms| WireCost::rtu(pace).with_min_gap(Duration::from_millis(ms)).read(&one, Duration::ZERO);
        assert_eq!(gap(1), plain);
        assert_eq!(gap(50), plain - pace.silence() + Duration::from_millis(50));
    }

    #[test]
    fn on_a_network_the_widest_gap_is_cheaper_than_another_request() {
        let cost = WireCost::tcp();
        let apart = cost.read(&read(ReadFunction::InputRegisters, 1), Duration::ZERO) * 2;
        assert!(cost.read(&read(ReadFunction::InputRegisters, 125), Duration::ZERO) < apart);
    }
}
