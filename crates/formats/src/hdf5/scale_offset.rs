//! The scale-offset filter: each element of a chunk is its distance from the least one, in as many bits as the largest
//! distance needs; floats are rounded to decimals first.
//!
//! Source: HDF5 File Format Specification, IV.A.2.l "The Data Storage - Filter Pipeline Message" (filter 6), and
//! `H5Zscaleoffset.c` of HDF5 1.14 for what it leaves open.

use hyperslab_core::{Error, Result};

/// Bytes before the packed elements.
pub(super) const HEAD: usize = 21;
/// The most bytes of a chunk of elements that are all the same, of which nothing is stored.
const MAX_CONSTANT: usize = 256 << 20;
/// The kind of scaling that is none: of integers.
const INTEGER: u32 = 2;

/// How the elements of a dataset are packed, by the parameters of its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScaleOffset {
    /// Bytes of an element: 1 to 8, and 4 or 8 for floats.
    size: usize,
    /// Digits after the decimal point of floats.
    decimals: Option<i32>,
    big_endian: bool,
    /// The element that all bits set stand for.
    fill: Option<u64>,
    /// Chunks are stored as they are: so many bits were asked for.
    plain: bool,
}

impl ScaleOffset {
    /// `None` for what HDF5's library does not write.
    pub(super) fn new(parameters: &[u32]) -> Option<Self> {
        let &[scale, factor, _, class, size, _, order, has_fill, ref fill @ ..] = parameters else { return None };
        let size = usize::try_from(size).ok().filter(|size| (1..=8).contains(size))?;
        let decimals = match (scale, class) {
            (INTEGER, 0) if u64::from(factor) <= 8 * size as u64 => None,
            (0, 1) if size == 4 || size == 8 => Some(factor as i32),
            _ => return None,
        };
        let low = u64::from(fill.first().copied().unwrap_or(0));
        let high = u64::from(fill.get(1).copied().unwrap_or(0));
        let fill = (has_fill == 1).then_some((high << 32 | low) & mask(8 * size as u32));
        let plain = decimals.is_none() && factor as usize == 8 * size;
        (order <= 1).then_some(Self { size, decimals, big_endian: order == 1, fill, plain })
    }

    /// The elements of a chunk, which have `len` bytes.
    pub(super) fn unpack(self, stored: &[u8], len: usize) -> Result<Vec<u8>> {
        let bad = |why: &str| Error::corrupt(format!("a chunk cannot be unpacked (scale-offset): {why}"));
        if self.plain {
            return Ok(stored.to_vec());
        }
        let ends = || bad("it ends early");
        let (&bits, rest) = stored.split_first_chunk::<4>().ok_or_else(ends)?;
        let bits = u32::from_le_bytes(bits);
        let (&width, rest) = rest.split_first().ok_or_else(ends)?;
        let mut least = [0; 8];
        let width = usize::from(width).min(8);
        least[..width].copy_from_slice(rest.get(..width).ok_or_else(ends)?);
        let least = u64::from_le_bytes(least);
        let full = 8 * self.size as u32;
        if bits > full || !len.is_multiple_of(self.size) {
            return Err(bad("its elements are wider than the dataset's"));
        }
        let count = len / self.size;
        if bits == 0 && len > MAX_CONSTANT {
            return Err(Error::unsupported(format!(
                "a chunk of {len} bytes that are all the same; rewrite it in smaller chunks"
            )));
        }
        let packed = if bits == 0 { &[] } else { stored.get(HEAD..).ok_or_else(ends)? };
        if (packed.len() as u64).saturating_mul(8) < (count as u64).saturating_mul(u64::from(bits)) {
            return Err(ends());
        }
        let mut to = Vec::with_capacity(len);
        if bits == full {
            // As they are, in the order of bytes of who wrote them, which is little-endian.
            packed.chunks_exact(self.size).take(count).for_each(|element| self.push(element, &mut to));
            return Ok(to);
        }
        let mut next = Bits { packed, window: 0, left: 0 };
        for _ in 0..count {
            let distance = next.take(bits);
            let element = match self.fill {
                Some(fill) if distance == mask(bits) => fill,
                _ => self.element(distance, least),
            };
            self.push(&element.to_le_bytes()[..self.size], &mut to);
        }
        Ok(to)
    }

    fn element(self, distance: u64, least: u64) -> u64 {
        match self.decimals {
            None => distance.wrapping_add(least),
            Some(decimals) if self.size == 4 => {
                let value = distance as f32 / 10_f32.powi(decimals) + f32::from_bits(least as u32);
                u64::from(value.to_bits())
            }
            Some(decimals) => (distance as f64 / 10_f64.powi(decimals) + f64::from_bits(least)).to_bits(),
        }
    }

    /// An element in the dataset's order of bytes.
    fn push(self, little: &[u8], to: &mut Vec<u8>) {
        match self.big_endian {
            true => to.extend(little.iter().rev()),
            false => to.extend_from_slice(little),
        }
    }
}

/// So many bits that are set.
fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shr(64 - bits).unwrap_or(0)
}

/// Numbers of bits that follow each other, the highest bit first.
struct Bits<'a> {
    packed: &'a [u8],
    window: u128,
    /// Bits that are in the window.
    left: u32,
}

impl Bits<'_> {
    /// The next number, of less than 64 bits; of zeros beyond the end.
    fn take(&mut self, bits: u32) -> u64 {
        while self.left < bits {
            let (next, rest) = self.packed.split_first().map_or((0, self.packed), |(&b, rest)| (b, rest));
            self.packed = rest;
            self.window = self.window << 8 | u128::from(next);
            self.left += 8;
        }
        self.left -= bits;
        (self.window >> self.left) as u64 & mask(bits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The parameters of a filter: of integers, or of floats of so many decimals.
    fn parameters(decimals: Option<u32>, size: u32, order: u32, fill: Option<u32>) -> Vec<u32> {
        let (scale, class) = if decimals.is_some() { (0, 1) } else { (2, 0) };
        vec![scale, decimals.unwrap_or(0), 4, class, size, 1, order, u32::from(fill.is_some()), fill.unwrap_or(0), 0]
    }

    fn stored(bits: u32, least: i64, packed: &[u8]) -> Vec<u8> {
        [&bits.to_le_bytes()[..], &[8], &least.to_le_bytes(), &[0; 8], packed].concat()
    }

    #[test]
    fn distances_are_added_to_the_least() {
        // 1, 0, 2 and all bits set, which is the fill value.
        let chunk = stored(2, -5, &[0b0100_1011]);
        let filter = ScaleOffset::new(&parameters(None, 2, 0, Some(99))).unwrap();
        let values: Vec<u8> = [-4_i16, -5, -3, 99].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(filter.unpack(&chunk, 8).unwrap(), values);
        let filter = ScaleOffset::new(&parameters(None, 2, 1, None)).unwrap();
        let values: Vec<u8> = [-4_i16, -5, -3, -2].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(filter.unpack(&chunk, 8).unwrap(), values);
        // Every element is as it is, little-endian.
        let filter = ScaleOffset::new(&parameters(None, 1, 1, None)).unwrap();
        assert_eq!(filter.unpack(&stored(8, 0, &[7, 8, 9, 10]), 4).unwrap(), [7, 8, 9, 10]);
        let floats = ScaleOffset::new(&parameters(Some(1), 4, 0, None)).unwrap();
        let least = i64::from(2.5_f32.to_bits());
        let values: Vec<u8> = [2.6_f32, 2.5, 2.7, 2.8].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(floats.unpack(&stored(2, least, &[0b0100_1011]), 16).unwrap(), values);
    }

    #[test]
    fn damaged_chunks_are_errors() {
        let filter = ScaleOffset::new(&parameters(None, 2, 0, None)).unwrap();
        let good = stored(9, 0, &[0; 5]);
        assert_eq!(filter.unpack(&good, 8).unwrap(), [0; 8]);
        for end in 0..good.len() {
            assert!(filter.unpack(&good[..end], 8).is_err(), "{end}");
        }
        assert!(filter.unpack(&stored(17, 0, &[0; 64]), 8).is_err());
        assert!(filter.unpack(&good, 7).is_err());
        for wrong in [parameters(None, 9, 0, None), parameters(Some(1), 2, 0, None), parameters(None, 2, 2, None)] {
            assert_eq!(ScaleOffset::new(&wrong), None);
        }
        assert_eq!(ScaleOffset::new(&[2, 0, 4, 0]), None);
    }
}
