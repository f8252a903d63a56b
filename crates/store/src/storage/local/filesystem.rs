//! Which file systems let a committed file grow while others map it.

use std::path::Path;

/// Whether `path`, or its nearest folder that exists, is on a local file system known to keep maps and `pwrite`
/// coherent. Unknown, network, FUSE and overlay file systems are not, nor is anything but Linux: there every append
/// makes new files, which is always right and only somewhat slower.
pub(super) fn detect_in_place(path: &Path) -> bool {
    path.ancestors().find(|folder| folder.exists()).is_some_and(known_local)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn known_local(folder: &Path) -> bool {
    /// `f_type` of statfs(2): ext2/3/4, xfs, btrfs, f2fs, tmpfs, ramfs, zfs, bcachefs, jfs.
    const LOCAL: [u64; 9] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0xF2F5_2010,
        0x0102_1994,
        0x8584_58F6,
        0x2FC1_2FC1,
        0xCA45_1A4E,
        0x3153_464A,
    ];
    // The type's width differs between architectures; the magic is its lower 32 bits.
    rustix::fs::statfs(folder).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64 & 0xFFFF_FFFF)))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn known_local(_folder: &Path) -> bool {
    false
}
