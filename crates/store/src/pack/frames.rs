//! The zstd file around a pack's tar archive: independent frames, a checksum of all of them, and a table of where they
//! are (the seekable format), so that the head can be read, and the end be told from a cut, without reading the rest.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use hyperslab_core::{Error, Result};
use zstd::bulk::{Compressor, Decompressor};

use crate::action::Crc;
use crate::codec::{Codec, SEEKABLE, SKIPPABLE_HEADER, SKIPPABLE_TABLE, TABLE_FOOTER};

/// What a frame holds of the archive at most.
pub(crate) const FRAME: usize = 4 << 20;
/// Starts the skippable frame before the table.
const SKIPPABLE_MARK: u32 = 0x184D_2A5C;
/// What that frame holds, before the checksum.
const MARK: &[u8; 12] = b"hyperslab1\r\n";
/// Its length: the header, the mark, the checksum.
const MARK_BYTES: usize = SKIPPABLE_HEADER + MARK.len() + 4;
/// The largest frame, compressed.
const MOST: u32 = FRAME as u32 + (FRAME as u32 >> 7) + 1024;

/// Writes frames to anything that takes bytes.
pub(crate) struct Frames<'a> {
    out: &'a mut dyn Write,
    compressor: Compressor<'static>,
    pending: Vec<u8>,
    /// Of each frame the bytes compressed and uncompressed.
    table: Vec<(u32, u32)>,
    crc: Crc,
    written: u64,
}

impl<'a> Frames<'a> {
    /// Frames at a level of zstd.
    ///
    /// # Errors
    /// `Invalid` for a level that zstd does not know.
    pub(crate) fn new(out: &'a mut dyn Write, level: i32) -> Result<Self> {
        Codec::Zstd(level).check()?;
        let failed = |e| Error::invalid("starting zstd").because(e);
        let mut compressor = Compressor::new(level).map_err(failed)?;
        compressor.include_checksum(true).map_err(failed)?;
        compressor.include_contentsize(true).map_err(failed)?;
        let pending = Vec::with_capacity(FRAME);
        Ok(Self { out, compressor, pending, table: Vec::new(), crc: Crc::default(), written: 0 })
    }

    /// Takes bytes of the archive.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == FRAME {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Ends the frame: what follows is read without what was before.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn cut(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let frame = self.compressor.compress(&self.pending);
        let frame = frame.map_err(|e| Error::invalid("compressing with zstd").because(e))?;
        self.table.push((frame.len() as u32, self.pending.len() as u32));
        self.pending.clear();
        self.put(&frame)
    }

    /// Writes what is left, the checksum and the table; gives the bytes of the file.
    ///
    /// # Errors
    /// `Io`; `Invalid` for more frames than the table can count.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.cut()?;
        let crc = self.crc;
        let mut bytes = SKIPPABLE_MARK.to_le_bytes().to_vec();
        bytes.extend_from_slice(&((MARK.len() + 4) as u32).to_le_bytes());
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&crc.0.to_le_bytes());
        self.table.push((MARK_BYTES as u32, 0));
        bytes.extend_from_slice(&crate::codec::seek_table(&self.table)?);
        self.put(&bytes)?;
        Ok(self.written)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc = self.crc.append(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|e| Error::io("writing", "the pack", e))
    }
}

/// A pack, read frame by frame, in order.
pub(crate) struct FrameReader {
    file: File,
    /// Of each frame the bytes compressed and uncompressed.
    table: Vec<(u32, u32)>,
    next: usize,
    crc: Crc,
    /// What the file says that `crc` is in the end.
    expected: Crc,
    decompressor: Decompressor<'static>,
    compressed: Vec<u8>,
    bytes: u64,
}

impl FrameReader {
    /// Opens a pack: looks at its end only.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a file that is no pack; `Corrupt` for one that was cut short or altered.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", path.display())),
            _ => Error::io("opening", path.display(), e),
        };
        if path.is_dir() {
            return Err(Error::invalid(format!("{} is a folder; a pack is a file", path.display())));
        }
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let (table, expected) = read_end(&mut file, bytes)?;
        file.seek(SeekFrom::Start(0)).map_err(read_failed)?;
        let decompressor = Decompressor::new().map_err(|e| Error::invalid("starting zstd").because(e))?;
        let (crc, compressed) = (Crc::default(), Vec::new());
        Ok(Self { file, table, next: 0, crc, expected, decompressor, compressed, bytes })
    }

    /// The bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.bytes
    }

    /// How many frames there are.
    pub(crate) fn count(&self) -> usize {
        self.table.len()
    }

    /// What the next frame holds, or `None` after the last one, when the checksum of all was compared.
    ///
    /// # Errors
    /// `Corrupt`, naming the frame.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let index = self.next;
        let Some(&(len, plain)) = self.table.get(index) else {
            if self.crc != self.expected {
                let why = format!("its frames have the checksum {}, and it says {}", self.crc, self.expected);
                return Err(Error::corrupt(why));
            }
            return Ok(None);
        };
        self.next += 1;
        self.compressed.resize(len as usize, 0);
        self.file.read_exact(&mut self.compressed).map_err(read_failed)?;
        self.crc = self.crc.append(&self.compressed);
        let bad = |why: String| Error::corrupt(format!("frame {index}: {why}"));
        let mut bytes = vec![0; plain as usize];
        match self.decompressor.decompress_to_buffer(&self.compressed, bytes.as_mut_slice()) {
            Ok(found) if found == bytes.len() => Ok(Some(bytes)),
            Ok(found) => Err(bad(format!("it holds {found} bytes, and the table says {plain}"))),
            Err(e) => Err(bad("it cannot be decompressed".into()).because(e)),
        }
    }
}

/// The frames of a pack, as the table at its end has them, and the checksum of all of them.
fn read_end(file: &mut File, bytes: u64) -> Result<(Vec<(u32, u32)>, Crc)> {
    let none = || Error::invalid("it is no pack, or one that was cut short: it does not end as one");
    let footer: [u8; TABLE_FOOTER] = read_at(file, bytes.checked_sub(TABLE_FOOTER as u64).ok_or_else(none)?)?;
    let [c0, c1, c2, c3, descriptor, magic @ ..] = footer;
    let count = u32::from_le_bytes([c0, c1, c2, c3]);
    if u32::from_le_bytes(magic) != SEEKABLE || descriptor != 0 {
        return Err(none());
    }
    let entries = u64::from(count) * 8;
    let start = bytes.checked_sub(TABLE_FOOTER as u64 + entries).ok_or_else(none)?;
    let mark = start.checked_sub((SKIPPABLE_HEADER + MARK_BYTES) as u64).ok_or_else(none)?;
    let head: [u8; MARK_BYTES + SKIPPABLE_HEADER] = read_at(file, mark)?;
    let u32_at = |at: usize| head.get(at..).and_then(|b| b.first_chunk::<4>()).map_or(0, |b| u32::from_le_bytes(*b));
    let says = (u32_at(0), u32_at(4), u32_at(MARK_BYTES), u64::from(u32_at(MARK_BYTES + 4)));
    let is = (SKIPPABLE_MARK, (MARK.len() + 4) as u32, SKIPPABLE_TABLE, entries + TABLE_FOOTER as u64);
    if says != is || head.get(SKIPPABLE_HEADER..SKIPPABLE_HEADER + MARK.len()) != Some(MARK) {
        return Err(none());
    }
    let mut text = vec![0; entries as usize];
    file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut text)).map_err(read_failed)?;
    let mut table: Vec<(u32, u32)> = Vec::with_capacity(count as usize);
    for entry in text.as_chunks::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *entry;
        table.push((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])));
    }
    let expected = Crc(u32_at(SKIPPABLE_HEADER + MARK.len()));
    if table.pop() != Some((MARK_BYTES as u32, 0)) {
        return Err(Error::corrupt("its table of frames is not what was written"));
    }
    let sound = |&(len, plain): &(u32, u32)| len <= MOST && plain > 0 && plain as usize <= FRAME;
    let total: u64 = table.iter().map(|(len, _)| u64::from(*len)).sum();
    if !table.iter().all(sound) || total != mark {
        return Err(Error::corrupt("its table of frames is not what was written"));
    }
    Ok((table, expected))
}

fn read_at<const N: usize>(file: &mut File, at: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map_err(read_failed)?;
    Ok(bytes)
}

fn read_failed(e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::corrupt("it became shorter while it was read"),
        _ => Error::io("reading", "the pack", e),
    }
}
