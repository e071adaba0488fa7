//! What the wire needs at the very least, computed here and not by the product's planner.
//!
//! A read of n registers takes `(8 + 5 + 2n)·c + t3.5 + turnaround`: the request's eight octets, the
//! meter's turnaround (from our last octet to its first, its own silence in it), the reply's five octets and
//! two for each register, the silence before the next request. c is ten bits, 8N1. What must be read are
//! spans of registers; which of them share a read is tried in all ways. Reading a span in two pieces costs a
//! second frame and saves no register, so it is never the best.

/// Most registers in one read (Application Protocol V1.1b3, 6.3 and 6.4).
const MOST: u16 = 125;

/// What a line and a meter are like.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub baud: u32,
    /// Seconds.
    pub turnaround: f64,
}

/// First register, and how many.
pub type Span = (u16, u16);

/// The best way to read the spans: seconds, and reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    pub seconds: f64,
    pub reads: u32,
}

impl Line {
    pub fn character(self) -> f64 {
        10.0 / f64::from(self.baud)
    }

    /// 3.5 characters, fixed above 19 200 baud (Serial Line V1.02, 2.5.1.1).
    pub fn silence(self) -> f64 {
        if self.baud > 19_200 { 0.00175 } else { 3.5 * self.character() }
    }

    pub fn read(self, registers: u16) -> f64 {
        f64::from(13 + 2 * registers) * self.character() + self.silence() + self.turnaround
    }

    /// All 2^(k-1) ways to cut k spans, in ascending order, into reads; a read that is too long, or that
    /// touches a refused register, is no way.
    pub fn best(self, spans: &[Span], refused: &[u16]) -> Best {
        let cuts = spans.len().saturating_sub(1);
        let ways = (0..1_u32 << cuts).filter_map(|way| self.cut(spans, refused, way));
        let none = Best { seconds: f64::INFINITY, reads: 0 };
        ways.fold(none, |best, way| if way.seconds < best.seconds { way } else { best })
    }

    /// Bit k of `way`: the spans k and k + 1 are read apart.
    fn cut(self, spans: &[Span], refused: &[u16], way: u32) -> Option<Best> {
        let (mut total, mut begin) = (Best { seconds: 0.0, reads: 0 }, 0);
        for (index, (address, count)) in spans.iter().enumerate() {
            if index + 1 < spans.len() && way & (1 << index) == 0 {
                continue;
            }
            let (first, last) = (spans[begin].0, address + count - 1);
            let registers = last - first + 1;
            if registers > MOST || refused.iter().any(|register| (first..=last).contains(register)) {
                return None;
            }
            total = Best { seconds: total.seconds + self.read(registers), reads: total.reads + 1 };
            begin = index + 1;
        }
        Some(total)
    }
}
