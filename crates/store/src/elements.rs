//! Elements as bytes and bytes as elements: the only casts of the engine.

use std::mem::{align_of, size_of};

use hyperslab_core::Element;

#[cfg(not(target_endian = "little"))]
compile_error!("stores are little-endian, and this program maps them as they are");

/// The bytes of elements.
#[expect(unsafe_code, reason = "elements are plain data")]
pub(crate) fn as_bytes<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: `Element` is sealed; its implementors have no padding, so that every byte is initialized.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// The bytes as elements, or `None` if they are not aligned or not a whole number of elements.
#[expect(unsafe_code, reason = "elements are plain data")]
pub(crate) fn from_bytes<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    if bytes.is_empty() {
        return Some(&[]);
    }
    let whole = bytes.len().is_multiple_of(size_of::<T>()) && bytes.as_ptr().align_offset(align_of::<T>()) == 0;
    // SAFETY: length and alignment were checked, and every bit pattern is an element (`Element` is sealed).
    whole.then(|| unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let values = [1.5_f64, -2.0];
        assert_eq!(from_bytes::<f64>(as_bytes(&values)), Some(&values[..]));
        let bytes = as_bytes(&values);
        assert_eq!(from_bytes::<f64>(&bytes[1..9]), None);
        assert_eq!(from_bytes::<f64>(&bytes[..7]), None);
        assert_eq!(from_bytes::<u8>(&[]), Some(&[][..]));
    }
}
