//! The parsers of a store's own files as functions of bytes: what the fuzz targets call (`fuzz/`), and the test of hostile
//! files. Whatever the bytes are, such a function returns: no panic, and no memory beyond what a file of that size is
//! worth. Checksums are made good first, where there are any, so that what is behind them is reached.

use std::path::Path;

use arrow_buffer::Buffer;
use hyperslab_core::Result;
use hyperslab_core::npy::{NpyHeader, NpyRawHeader};
use roaring::RoaringBitmap;

use crate::action::Crc;
use crate::codec::Seekable;
use crate::layout::{SEAL_HEAD, SEAL_TAIL, STORE_FILE};
use crate::log::{Entry, checkpoint, unseal};
use crate::pack::archive_to_pack;
use crate::pins::Pinned;
use crate::state::State;
use crate::{MemoryStorage, OpenOptions, Storage, Store};

/// Reads bytes as a file of one kind.
pub type Target = fn(&[u8]);

/// Every target, by the name that it has in `fuzz/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("log_entries", log_entries),
    ("checkpoint", checkpoint),
    ("store_file", store_file),
    ("pin", pin),
    ("shard_header", shard_header),
    ("compressed_shard", compressed_shard),
    ("deleted_rows", deleted_rows),
    ("pack", pack),
    ("pack_archive", pack_archive),
];

/// A sealed text with a good checksum.
fn sealed(text: &[u8]) -> Vec<u8> {
    let body = text.trim_ascii_end();
    let body = body.strip_suffix(b"}").unwrap_or(body);
    [body, format!("{SEAL_HEAD}{}{SEAL_TAIL}", Crc::of(body)).as_bytes()].concat()
}

/// Log entries without their checksums, a line each, applied one after the other.
pub fn log_entries(bytes: &[u8]) {
    let mut state = State::default();
    for line in bytes.split(|&b| b == b'\n').take(1000) {
        let line = sealed(line);
        let Ok((entry, crc)) = Entry::parse(&line, "entry") else { continue };
        let _ = Entry::parse(&line, "entry").and_then(|(again, _)| again.to_bytes());
        // A store stops at the first that does not continue it; here the next one has its chance.
        let before = state.clone();
        if state.apply(&entry, crc, line.len() as u64).is_err() {
            state = before;
        }
        let _ = checkpoint::to_bytes(&state);
    }
}

/// A checkpoint without its checksum.
pub fn checkpoint(bytes: &[u8]) {
    let sealed = sealed(bytes);
    let version = unseal(&sealed).ok().and_then(|(text, _)| serde_json::from_str::<serde_json::Value>(&text).ok());
    let version = version.and_then(|value| value.get("version")?.as_u64()).unwrap_or(0);
    if let Ok(state) = checkpoint::parse(&sealed, version, "checkpoint") {
        crate::refs::of_state(&state, |file| drop(file.path()));
        let _ = checkpoint::alone(&state);
    }
}

/// `hyperslab.json`.
pub fn store_file(bytes: &[u8]) {
    let storage = MemoryStorage::new();
    if storage.create_new(STORE_FILE, bytes).is_ok() {
        let _ = Store::on(std::sync::Arc::new(storage), OpenOptions::default());
    }
}

/// What a pin says, without its checksum.
pub fn pin(bytes: &[u8]) {
    drop(Pinned::parse(&sealed(bytes)));
}

/// The header of a shard.
pub fn shard_header(bytes: &[u8]) {
    if let Ok(header) = NpyHeader::parse(bytes) {
        let _ = (header.data_bytes(), header.rows(), header.field("value"));
    }
    drop(NpyRawHeader::parse(bytes));
}

/// A compressed shard, of which the first frames are read.
pub fn compressed_shard(bytes: &[u8]) {
    let Ok(file) = Seekable::open("shard", Buffer::from(bytes.to_vec())) else { return };
    let mut at = 0;
    for _ in 0..16 {
        let Ok((index, holds)) = file.frame_of(at) else { break };
        let _ = file.decompress(index);
        at = holds.end;
    }
}

/// A file of deleted rows.
pub fn deleted_rows(bytes: &[u8]) {
    if let Ok(deleted) = RoaringBitmap::deserialize_from(bytes) {
        let _ = (deleted.len(), deleted.iter().take(1000).count());
    }
}

/// A pack.
pub fn pack(bytes: &[u8]) {
    in_folder(|folder| {
        let path = folder.join("a.tar.zst");
        if std::fs::write(&path, bytes).is_ok() {
            let _ = (crate::pack_info(&path), crate::verify_pack(&path), crate::is_pack(&path));
        }
    });
}

/// The tar archive of a pack. Checksums of its headers are made good, and frames and checksums are put around it.
pub fn pack_archive(bytes: &[u8]) {
    let mut archive = bytes.to_vec();
    for block in archive.chunks_exact_mut(512) {
        good_header(block);
    }
    if let Ok(bytes) = archive_as_pack(&archive) {
        pack(&bytes);
    }
}

/// A pack around any tar archive.
///
/// # Errors
/// None in fact.
pub fn archive_as_pack(archive: &[u8]) -> Result<Vec<u8>> {
    archive_to_pack(archive)
}

/// Puts the right checksum into what looks like a header of tar.
fn good_header(block: &mut [u8]) {
    if block.get(257..262) != Some(b"ustar") {
        return;
    }
    if let Some(field) = block.get_mut(148..156) {
        field.fill(b' ');
    }
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    if let Some(field) = block.get_mut(148..156) {
        field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// A folder for temporary files, which goes with the call.
fn in_folder(run: impl FnOnce(&Path)) {
    let folder = std::env::temp_dir().join(format!("hyperslab-{}", uuid::Uuid::new_v4()));
    if std::fs::create_dir(&folder).is_ok() {
        run(&folder);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
