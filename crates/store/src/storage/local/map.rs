//! The calls that map files: the only unsafe code of the engine.
//!
//! What makes them sound: a committed file is never truncated and its committed bytes are never written again
//! (its advisory header apart, which is not mapped as data), and the length of a file is checked before it is
//! mapped. Another program that truncates a store's files breaks this, as with any map.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_buffer::Buffer;
use memmap2::MmapOptions;

/// Maps `len` bytes of a file at any offset, read-only and shared.
pub(super) fn single(file: &File, offset: u64, len: usize) -> io::Result<Buffer> {
    #[expect(unsafe_code, reason = "mapping a file")]
    // SAFETY: the bytes of the range exist (the caller checked the length) and do not change: see the module.
    let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file) }?;
    let start = NonNull::from(map.as_ref()).cast::<u8>();
    #[expect(unsafe_code, reason = "a buffer that owns its map")]
    // SAFETY: `start` is valid for `len` bytes as long as the map lives, and the buffer owns the map, whose
    // address does not change when it is moved.
    Ok(unsafe { Buffer::from_custom_allocation(start, len, Arc::new(map)) })
}

#[cfg(unix)]
pub(super) use contiguous::contiguous;

/// Only unix can place maps; elsewhere the pieces are mapped one by one.
#[cfg(not(unix))]
pub(super) fn contiguous<E>(
    _lens: &[usize],
    _open: impl FnMut(usize) -> Result<(File, u64), E>,
) -> Result<Option<Buffer>, E> {
    Ok(None)
}

#[cfg(unix)]
mod contiguous {
    use std::ffi::c_void;
    use std::fs::File;
    use std::ptr::{self, NonNull};
    use std::sync::Arc;

    use arrow_buffer::Buffer;
    use rustix::io::Errno;
    use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

    /// Maps pieces of these lengths one after the other; `open` gives a piece's file, its length already checked,
    /// and offset. All offsets, and all lengths but the last, must be multiples of the system's page size: `None` if
    /// they are not, or if the system refuses for another reason.
    pub(in super::super) fn contiguous<E>(
        lens: &[usize],
        mut open: impl FnMut(usize) -> Result<(File, u64), E>,
    ) -> Result<Option<Buffer>, E> {
        let total = lens.iter().try_fold(0_usize, |sum, len| sum.checked_add(*len));
        let Some(mut region) = total.and_then(Region::reserve) else { return Ok(None) };
        let mut at = 0;
        for (piece, &len) in lens.iter().enumerate() {
            let (file, offset) = open(piece)?;
            if !region.place(at, len, &file, offset) {
                return Ok(None);
            }
            at += len;
        }
        let (start, len) = (region.start, region.len);
        #[expect(unsafe_code, reason = "a buffer that owns its map")]
        // SAFETY: every byte of the region is now backed by a file, and stays so as long as the buffer owns it.
        Ok(Some(unsafe { Buffer::from_custom_allocation(start, len, Arc::new(region)) }))
    }

    /// A run of address space, unmapped when dropped.
    struct Region {
        start: NonNull<u8>,
        len: usize,
        /// A piece whose placing failed: whether its addresses are still ours is not known, so they are never
        /// given back (they hold no memory).
        lost: Option<(usize, usize)>,
    }

    #[expect(unsafe_code, reason = "shared read-only memory")]
    // SAFETY: the memory is only read, and a region has no state that threads could race for.
    unsafe impl Send for Region {}
    #[expect(unsafe_code, reason = "shared read-only memory")]
    // SAFETY: as above.
    unsafe impl Sync for Region {}

    impl Region {
        fn reserve(len: usize) -> Option<Self> {
            #[expect(unsafe_code, reason = "reserving address space")]
            // SAFETY: the system chooses the place, so nothing that exists is touched.
            let start = unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE) };
            Some(Self { start: NonNull::new(start.ok()?.cast())?, len, lost: None })
        }

        /// Maps `len` bytes of a file over the reserved addresses from `at`.
        fn place(&mut self, at: usize, len: usize, file: &File, offset: u64) -> bool {
            if at.checked_add(len).is_none_or(|end| end > self.len) {
                return false;
            }
            let (protection, flags) = (ProtFlags::READ, MapFlags::SHARED | MapFlags::FIXED);
            #[expect(unsafe_code, reason = "mapping a file over addresses reserved for it")]
            // SAFETY: `at..at + len`, rounded up to pages, is inside the region, which is ours and which nobody
            // reads yet; pieces before it are whole pages, else the system answers EINVAL and touches nothing.
            let placed = unsafe { mmap(self.addr(at), len, protection, flags, file, offset) };
            // An argument that was refused left the reservation as it was.
            self.lost = placed.is_err_and(|e| e != Errno::INVAL).then_some((at, len));
            placed.is_ok()
        }

        fn addr(&self, at: usize) -> *mut c_void {
            self.start.as_ptr().wrapping_add(at).cast()
        }

        fn unmap(&self, at: usize, len: usize) {
            if len == 0 {
                return;
            }
            #[expect(unsafe_code, reason = "giving back address space")]
            // SAFETY: these addresses are the region's, and no reference into them is left: the buffers made from
            // it own it. A failure leaves them mapped, which harms nobody.
            let _ = unsafe { munmap(self.addr(at), len) };
        }
    }

    impl Drop for Region {
        fn drop(&mut self) {
            let (at, len) = self.lost.unwrap_or((self.len, 0));
            self.unmap(0, at);
            self.unmap(at + len, self.len.saturating_sub(at + len));
        }
    }
}
