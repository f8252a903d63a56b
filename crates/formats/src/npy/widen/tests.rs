#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::path::Path;

use hyperslab_core::ErrorKind;

use super::*;
use crate::npy::{HeaderMode, Incomplete, NpyAppender, npy_info, npy_recover};

thread_local! {
    /// How many writes succeed before one is torn, and how much of that one is written, in quarters.
    static CRASH: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// What of a write reaches the disk, if it is the one that crashes.
pub(super) fn torn(bytes: &[u8]) -> Option<&[u8]> {
    let (left, quarters) = CRASH.get()?;
    CRASH.set(left.checked_sub(1).map(|left| (left, quarters)).or(Some((0, 0))));
    (left == 0).then(|| &bytes[..bytes.len() * quarters / 4])
}

/// A file whose header of 80 bytes has no room, and its data.
fn tight(path: &Path, rows: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..rows * 3).map(|i| (i * 7 % 251) as u8).collect();
    let dict = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, 3), }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x00\x00".to_vec();
    bytes.extend_from_slice(dict.as_bytes());
    bytes.push(b'\n');
    let length = (bytes.len() - 10) as u16;
    bytes[8..10].copy_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&data);
    std::fs::write(path, bytes).unwrap();
    data
}

fn data_of(path: &Path) -> Vec<u8> {
    let info = npy_info(path).unwrap();
    assert!(info.appendable && !info.needs_recovery, "{info:?}");
    std::fs::read(path).unwrap()[info.header_bytes as usize..].to_vec()
}

#[test]
fn a_crash_at_any_write_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let mut crashes = 0;
    for rows in [0, 1, 50, 333] {
        for quarters in 0..=4 {
            for write in 0.. {
                let data = tight(&path, rows);
                CRASH.set(Some((write, quarters)));
                let done = npy_ensure_appendable(&path, Widen::InPlace);
                if done.is_ok() {
                    assert_eq!(data_of(&path), data);
                    CRASH.set(None);
                    break;
                }
                crashes += 1;
                if journal(&path).exists() {
                    CRASH.set(None);
                    assert_eq!(npy_info(&path).unwrap_err().kind(), ErrorKind::Conflict);
                    assert_eq!(npy_recover(&path, Incomplete::Drop).unwrap_err().kind(), ErrorKind::Conflict);
                    let error = NpyAppender::open(&path, HeaderMode::EachAppend).unwrap_err();
                    assert!(error.to_string().contains("npy_ensure_appendable"), "{error}");
                }
                // Once more, a little later.
                CRASH.set(Some((write % 5, 3 - quarters % 4)));
                let _ = npy_ensure_appendable(&path, Widen::InPlace);
                CRASH.set(None);
                npy_ensure_appendable(&path, Widen::InPlace).unwrap();
                assert_eq!(data_of(&path), data, "{rows} rows, write {write}, {quarters} quarters");
                assert!(!journal(&path).exists());
            }
        }
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn both_ways_keep_the_data_and_the_mode() {
    for how in [Widen::Copy, Widen::InPlace] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let data = tight(&path, 1000);
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        assert!(!npy_info(&path).unwrap().appendable);
        assert!(npy_ensure_appendable(&path, how).unwrap());
        assert_eq!(data_of(&path), data);
        assert!(!npy_ensure_appendable(&path, how).unwrap());
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(before.permissions(), after.permissions());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(before.ino() == after.ino(), how == Widen::InPlace);
        }
        let info = npy_info(&path).unwrap();
        assert_eq!((info.shape.as_slice(), info.dtype.as_str(), info.header_bytes), (&[1000, 3][..], "uint8", 128));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_foreign_or_damaged_journal_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let data = tight(&path, 40);
    for junk in [&b""[..], b"HSWIDEN1", &[0xff; 4000]] {
        std::fs::write(journal(&path), junk).unwrap();
        npy_ensure_appendable(&path, Widen::InPlace).unwrap();
        assert_eq!(data_of(&path), data);
        tight(&path, 40);
    }
    CRASH.set(Some((3, 2)));
    npy_ensure_appendable(&path, Widen::InPlace).unwrap_err();
    CRASH.set(None);
    let mut bytes = std::fs::read(journal(&path)).unwrap();
    bytes[20] ^= 1;
    std::fs::write(journal(&path), bytes).unwrap();
    let error = npy_ensure_appendable(&path, Widen::InPlace).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("a.npy.widen") && error.to_string().contains("restore"), "{error}");
}
