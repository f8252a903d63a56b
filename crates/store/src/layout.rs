//! Every file name, folder name and magic value of a store, and nothing else.

use std::ops::RangeInclusive;

use uuid::Uuid;

/// The major version of the format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u64 = 1;
/// The file that says that a folder is a store, and of which format.
pub(crate) const STORE_FILE: &str = "hyperslab.json";
/// The file, in each further directory of a store, that says whose it is.
pub(crate) const DIR_FILE: &str = "hyperslab-dir.json";
/// Starts the paths in a further directory, before its number.
const DIR: &str = "@";
/// The folder of the log.
pub(crate) const LOG: &str = "_log";
/// The writers' lock: an empty file, locked by the system while a commit runs.
pub(crate) const LOCK: &str = "_log/lock";
/// Starts the names of files that are still being written; [`Storage::list`](crate::Storage::list) hides them.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";
/// The hint to the newest checkpoint.
pub(crate) const LAST_CHECKPOINT: &str = "_log/_last_checkpoint";
/// The folder of the pins: a file per process that has the store open.
pub(crate) const PINS: &str = "_pins";
/// The folder of the arrays' folders.
pub(crate) const ARRAYS: &str = "arrays";
/// Where the data of a shard starts: one page, which the `.npy` header fills.
pub(crate) const DATA_OFFSET: u64 = 4096;
/// The page size that shards are laid out for.
pub(crate) const PAGE: u64 = 4096;
/// How many of the newest log entries stay in files of their own, and how many entries make a pack.
pub(crate) const LOOSE_ENTRIES: u64 = 100;
/// A segment is closed at about this many times the size that its shards aim at (4 × 256 MiB = 1 GiB).
pub(crate) const SEGMENT_SHARDS: u64 = 4;
/// The most rows of a segment.
pub(crate) const SEGMENT_ROWS: u64 = 1 << 24;
/// The rows of a segment are a multiple of this where they are more.
pub(crate) const SEGMENT_ROWS_MULTIPLE: u64 = 65_536;
/// What follows the bytes that a checksum covers, before the eight hexadecimal digits…
pub(crate) const SEAL_HEAD: &str = ",\"crc32c\":\"";
/// …and after them.
pub(crate) const SEAL_TAIL: &str = "\"}\n";

const ENTRY: &str = ".json";
const START: &str = ".start.json";
const CHECKPOINT: &str = ".checkpoint.json";
const PACK: &str = ".jsonl";

/// The log entry of a version.
pub(crate) fn entry(version: u64) -> String {
    format!("{LOG}/{version:020}{ENTRY}")
}

/// The file that says that the log starts at the checkpoint of a version.
pub(crate) fn start(version: u64) -> String {
    format!("{LOG}/{version:020}{START}")
}

/// The checkpoint at a version.
pub(crate) fn checkpoint(version: u64) -> String {
    format!("{LOG}/{version:020}{CHECKPOINT}")
}

/// The pack of the entries of some versions.
pub(crate) fn pack(versions: &RangeInclusive<u64>) -> String {
    format!("{LOG}/{:020}-{:020}{PACK}", versions.start(), versions.end())
}

/// A path in one of the store's directories: 0 is the store's own.
pub(crate) fn in_dir(dir: u16, path: &str) -> String {
    match (dir, path) {
        (0, _) => path.to_owned(),
        (_, "") => format!("{DIR}{dir}"),
        _ => format!("{DIR}{dir}/{path}"),
    }
}

/// The directory that a path is in, and the path there.
pub(crate) fn dir_of(path: &str) -> Option<(u16, &str)> {
    let Some(rest) = path.strip_prefix(DIR) else { return Some((0, path)) };
    let (number, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let dir: u16 = number.parse().ok()?;
    (dir > 0 && dir.to_string() == number).then_some((dir, rest))
}

/// The folder of an array's files in one of the store's directories.
pub(crate) fn array_folder(dir: u16, array: Uuid) -> String {
    in_dir(dir, &format!("{ARRAYS}/{array}"))
}

/// The path of a file of an array; that of a shard is [`Shard::path`](crate::shard::Shard::path).
pub(crate) fn array_file(dir: u16, array: Uuid, file: &str) -> String {
    in_dir(dir, &format!("{ARRAYS}/{array}/{file}"))
}

/// The name of the `n`-th shard that a transaction writes.
pub(crate) fn shard_file(txn: Uuid, n: u64) -> String {
    format!("{txn}-{n}.npy")
}

/// The same of a compressed shard.
pub(crate) fn compressed_file(txn: Uuid, n: u64) -> String {
    format!("{txn}-{n}.npy.zst")
}

/// The same of a file of deleted rows.
pub(crate) fn deleted_file(txn: Uuid, n: u64) -> String {
    format!("{txn}-{n}.roaring")
}

/// What a file in the log's folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogFile {
    Entry(u64),
    Checkpoint(u64),
    Pack(RangeInclusive<u64>),
    /// The log starts at the checkpoint of this version: what was before was given up.
    Start(u64),
}

impl LogFile {
    /// What the name says, or `None` for the lock, the hint, and what is not ours (temporary files).
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number = |text: &str| {
            (text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
        };
        if let Some(stem) = name.strip_suffix(CHECKPOINT) {
            return number(stem).map(Self::Checkpoint);
        }
        if let Some(stem) = name.strip_suffix(START) {
            return number(stem).map(Self::Start);
        }
        if let Some(stem) = name.strip_suffix(ENTRY) {
            return number(stem).map(Self::Entry);
        }
        let (first, last) = name.strip_suffix(PACK)?.split_once('-')?;
        Some(Self::Pack(number(first)?..=number(last)?))
    }
}

/// Whether the name, in an array's folder, can be a shard's: no separator, no way out of the folder.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on disk is found again under these names for ever: a change here is a change of the format.
    #[test]
    fn names_are_pinned() {
        let id = Uuid::from_u128(0x1234);
        assert_eq!(FORMAT, 1);
        assert_eq!(STORE_FILE, "hyperslab.json");
        assert_eq!(entry(7), "_log/00000000000000000007.json");
        assert_eq!(entry(u64::MAX), "_log/18446744073709551615.json");
        assert_eq!(checkpoint(100), "_log/00000000000000000100.checkpoint.json");
        assert_eq!(pack(&(0..=99)), "_log/00000000000000000000-00000000000000000099.jsonl");
        assert_eq!(LAST_CHECKPOINT, "_log/_last_checkpoint");
        assert_eq!((LOCK, TEMP_PREFIX, PINS), ("_log/lock", ".tmp-", "_pins"));
        assert_eq!(array_folder(0, id), "arrays/00000000-0000-0000-0000-000000001234");
        assert_eq!(array_file(0, id, "x.npy"), "arrays/00000000-0000-0000-0000-000000001234/x.npy");
        assert_eq!(array_file(2, id, "x.npy"), "@2/arrays/00000000-0000-0000-0000-000000001234/x.npy");
        assert_eq!((in_dir(3, ""), in_dir(0, "")), ("@3".into(), String::new()));
        assert_eq!(
            (dir_of("@12/a/b"), dir_of("@12"), dir_of("a/b")),
            (Some((12, "a/b")), Some((12, "")), Some((0, "a/b")))
        );
        for bad in ["@", "@x/a", "@0/a", "@01/a", "@70000/a", "@-1", "@/a"] {
            assert_eq!(dir_of(bad), None, "{bad}");
        }
        assert_eq!(
            (DIR_FILE, compressed_file(id, 3).as_str()),
            ("hyperslab-dir.json", "00000000-0000-0000-0000-000000001234-3.npy.zst")
        );
        assert_eq!(deleted_file(id, 3), "00000000-0000-0000-0000-000000001234-3.roaring");
        assert_eq!(shard_file(id, 3), "00000000-0000-0000-0000-000000001234-3.npy");
        assert_eq!((DATA_OFFSET, PAGE, LOOSE_ENTRIES, SEGMENT_SHARDS), (4096, 4096, 100, 4));
        assert_eq!((SEGMENT_ROWS, SEGMENT_ROWS_MULTIPLE), (16_777_216, 65_536));
        assert_eq!((SEAL_HEAD, SEAL_TAIL), (",\"crc32c\":\"", "\"}\n"));
    }

    #[test]
    fn log_names_are_read_back() {
        let name = |path: String| path.strip_prefix("_log/").unwrap_or_default().to_owned();
        assert_eq!(LogFile::parse(&name(entry(7))), Some(LogFile::Entry(7)));
        assert_eq!(LogFile::parse(&name(checkpoint(9))), Some(LogFile::Checkpoint(9)));
        assert_eq!(LogFile::parse(&name(start(9))), Some(LogFile::Start(9)));
        assert_eq!(LogFile::parse(&name(pack(&(100..=199)))), Some(LogFile::Pack(100..=199)));
        for other in ["lock", "_last_checkpoint", "7.json", "0000000000000000000x.json", "", ".json", "-.jsonl"] {
            assert_eq!(LogFile::parse(other), None, "{other}");
        }
        assert!(is_file_name("a-1.npy"));
        for bad in ["", "../x", "a/b", ".hidden", "c:d"] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
