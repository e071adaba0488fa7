//! Reading octets front to back without ever reaching past the end; variable-length numbers both ways.

use super::DecodeError;

pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Input<'a> {
        Input { rest: octets }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        self.rest.split_off(..n).ok_or(DecodeError::Short)
    }

    pub(super) fn octet(&mut self) -> Result<u8, DecodeError> {
        self.rest.split_off_first().copied().ok_or(DecodeError::Short)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Short)
    }

    pub(super) fn unsigned(&mut self) -> Result<u128, DecodeError> {
        let (mut value, mut shift) = (0u128, 0u32);
        loop {
            let octet = self.octet()?;
            let bits = u128::from(octet & 0x7F);
            // The nineteenth octet has room for two bits more.
            if shift > 126 || (shift == 126 && bits > 3) {
                return Err(DecodeError::Number);
            }
            value |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    pub(super) fn unsigned_64(&mut self) -> Result<u64, DecodeError> {
        u64::try_from(self.unsigned()?).map_err(|_| DecodeError::Number)
    }

    pub(super) fn signed(&mut self) -> Result<i128, DecodeError> {
        self.unsigned().map(unzigzag)
    }

    /// A small number; more than `most` is damage.
    pub(super) fn count(&mut self, most: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.unsigned()?).map_err(|_| DecodeError::Number)?;
        if count > most { Err(DecodeError::Number) } else { Ok(count) }
    }
}

pub(super) fn put_unsigned(out: &mut Vec<u8>, mut value: u128) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7F);
        }
        out.push(low | 0x80);
    }
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i128) {
    put_unsigned(out, zigzag(value));
}

pub(super) fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)).cast_unsigned()
}

pub(super) fn unzigzag(zigzag: u128) -> i128 {
    (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_unsigned(out, text.len() as u128);
    out.extend_from_slice(text.as_bytes());
}
