//! Compressed files within files, unpacked to nameless ones that can be mapped.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use flate2::Crc;
use hyperslab_core::{Error, Result};

/// Deflate packs at most 1032 bytes into one.
pub(crate) const MOST_DEFLATED: u64 = 1032;
const WINDOW: usize = 256 << 10;

/// Unpacks to a file without a name, in the system's folder for temporary files. Runs of zeros are left as holes. Returns it
/// and the CRC-32 of its bytes; `None` when there are not just `bytes` of them, of which no more is unpacked than shows it.
///
/// # Errors
/// `Corrupt` when it cannot be unpacked; `Io`.
pub(crate) fn unpack(mut from: impl Read, bytes: u64) -> Result<Option<(File, u32)>> {
    let failed = |e| Error::io("unpacking to", std::env::temp_dir().display(), e);
    let mut file = tempfile::tempfile().map_err(failed)?;
    let (mut window, mut crc, mut found) = (vec![0; WINDOW], Crc::new(), 0_u64);
    loop {
        let read = from.read(&mut window).map_err(|e| Error::corrupt("the entry cannot be unpacked").because(e))?;
        let part = &window[..read];
        found += read as u64;
        if read == 0 || found > bytes {
            break;
        }
        crc.update(part);
        if part.iter().all(|&b| b == 0) {
            file.seek(SeekFrom::Current(read as i64)).map_err(failed)?;
        } else {
            file.write_all(part).map_err(failed)?;
        }
    }
    if found != bytes {
        return Ok(None);
    }
    file.set_len(found).map_err(failed)?;
    Ok(Some((file, crc.sum())))
}
