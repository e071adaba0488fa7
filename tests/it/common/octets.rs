//! Registers as a meter sends them.

use linesman::profile::{Order, Point};

/// Raw bits of one, two or four registers as they stand on the wire.
pub fn on_the_wire(point: &Point, bits: u64) -> Vec<u8> {
    let octets = bits.to_be_bytes();
    let mut words: Vec<[u8; 2]> = octets.chunks(2).map(|word| [word[0], word[1]]).collect();
    words.drain(..4 - usize::from(point.format.count()));
    if point.word_order == Order::Little {
        words.reverse();
    }
    if point.byte_order == Order::Little {
        words.iter_mut().for_each(|word| word.reverse());
    }
    words.concat()
}
