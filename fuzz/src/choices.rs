//! The fuzzer's octets read as choices. When they are used up every choice is the first one, so that each
//! prefix of an input is an input.

pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn new(octets: &'a [u8]) -> Choices<'a> {
        Choices(octets)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn octet(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    pub fn number(&mut self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|_| self.octet()))
    }

    /// True for one octet of two.
    pub fn flag(&mut self) -> bool {
        self.octet() & 1 == 1
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.octet()) % all.len()]
    }

    /// From 0 to `most`, inclusive.
    pub fn up_to(&mut self, most: usize) -> usize {
        usize::from(self.octet()) % (most + 1)
    }

    /// At most so many octets, as they stand.
    pub fn some(&mut self, most: usize) -> &'a [u8] {
        let n = self.up_to(most).min(self.0.len());
        self.0.split_off(..n).unwrap_or_default()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
