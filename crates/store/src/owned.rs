//! Large copies into memory of one's own: what reading all of an array costs besides the map.
//!
//! Most of the time of a copy that is larger than the caches goes to the system, which clears a page at the first touch
//! of it. Large pages and a second thread make that several times faster; NumPy asks for large pages as well.

use std::mem::MaybeUninit;

use hyperslab_core::Element;

/// Less than this is copied as it is.
const LARGE: usize = 4 << 20;
/// What one thread copies at least.
const PART: usize = 2 << 20;
/// More threads do not copy faster than the memory takes it.
const MAX_THREADS: usize = 8;

/// The elements in a vector.
pub(crate) fn copy<T: Element>(elements: &[T]) -> Vec<T> {
    if size_of_val(elements) < LARGE {
        return elements.to_vec();
    }
    let mut copy = Vec::with_capacity(elements.len());
    fill(copy.spare_capacity_mut(), elements);
    #[expect(unsafe_code, reason = "the vector is filled by several threads")]
    // SAFETY: `fill` wrote that many elements, from the first on.
    unsafe {
        copy.set_len(elements.len());
    }
    copy
}

/// Writes the elements to memory that has room for them.
fn fill<T: Element>(room: &mut [MaybeUninit<T>], elements: &[T]) {
    advise(room);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let part = elements.len().div_ceil(threads).max(PART / size_of::<T>().max(1)).max(1);
    std::thread::scope(|scope| {
        let mut parts = room.chunks_mut(part).zip(elements.chunks(part));
        let first = parts.next();
        for (room, elements) in parts {
            scope.spawn(|| write(room, elements));
        }
        if let Some((room, elements)) = first {
            write(room, elements);
        }
    });
}

fn write<T: Element>(room: &mut [MaybeUninit<T>], elements: &[T]) {
    room.iter_mut().zip(elements).for_each(|(room, element)| {
        room.write(*element);
    });
}

/// Asks for large pages; whatever the system answers, the memory is the same.
#[cfg(target_os = "linux")]
fn advise<T>(room: &mut [MaybeUninit<T>]) {
    const SMALL_PAGE: usize = 4096;
    let start = room.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(SMALL_PAGE);
    let Some(len) = size_of_val(room).checked_sub(skip) else { return };
    #[expect(unsafe_code, reason = "advice on memory")]
    // SAFETY: the pages lie in `room`, and this advice changes nothing of what they hold.
    let _ = unsafe {
        let pages = start.wrapping_add(skip).cast();
        rustix::mm::madvise(pages, len / SMALL_PAGE * SMALL_PAGE, rustix::mm::Advice::LinuxHugepage)
    };
}

#[cfg(not(target_os = "linux"))]
fn advise<T>(_room: &mut [MaybeUninit<T>]) {}

#[cfg(test)]
mod tests {
    #[test]
    fn copies_of_any_size_are_equal() {
        for len in [0, 1, 1000, super::LARGE / 8, super::LARGE / 8 + 1, 3 * super::LARGE / 8 + 4711] {
            let elements: Vec<u64> = (0..len as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            assert!(super::copy(&elements) == elements, "{len}");
        }
    }
}
