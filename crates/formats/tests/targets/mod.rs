//! The readers as functions of bytes: what the fuzz targets call (`fuzz/`), and the test of hostile files (`hostile.rs`).
//! Whatever the bytes are, such a function returns: no panic, and no memory beyond what a file of that size is worth.

use std::cell::RefCell;
use std::path::Path;

use hyperslab_core::ArraySource;
use hyperslab_formats::hdf5::Hdf5File;
use hyperslab_formats::{Container, Format};
use tempfile::TempDir;

/// Reads bytes as a file of one format, or as one file of it.
pub(crate) type Target = fn(&[u8]);

/// Every target, by the name that it has in `fuzz/`.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("npy", npy),
    ("npz", npz),
    ("safetensors", safetensors),
    ("torch", torch),
    ("numpack", numpack),
    ("hdf5", hdf5),
    ("zarr_metadata", zarr_metadata),
    ("zarr_chunk", zarr_chunk),
    ("zarr_zip", zarr_zip),
];

/// A `.npy` file, of structured dtypes, too.
pub(crate) fn npy(bytes: &[u8]) {
    file("npy", bytes);
}

/// A `.npz` file.
pub(crate) fn npz(bytes: &[u8]) {
    file("npz", bytes);
}

/// A `.safetensors` file.
pub(crate) fn safetensors(bytes: &[u8]) {
    file("safetensors", bytes);
}

/// A `.pt` file.
pub(crate) fn torch(bytes: &[u8]) {
    file("pt", bytes);
}

/// A package of NumPack's.
pub(crate) fn numpack(bytes: &[u8]) {
    file("npkg", bytes);
}

/// An HDF5 file, with what only its reader gives: the root as one array of several fields, and attributes.
pub(crate) fn hdf5(bytes: &[u8]) {
    in_folder(|folder| {
        let path = folder.join("a.h5");
        write(&path, bytes);
        read(&path);
        let Ok(file) = Hdf5File::open(&path) else { return };
        let _ = file.group("/");
        for entry in file.entries().iter().take(50) {
            if let Ok(source) = file.dataset(&entry.name) {
                let _ = source.attributes();
            }
        }
    });
}

/// The metadata of a Zarr array: `.zarray` where it names no `node_type`, `zarr.json` otherwise. Its first chunk is zeros.
pub(crate) fn zarr_metadata(bytes: &[u8]) {
    zarr(|folder| {
        let third = bytes.windows(9).any(|window| window == b"node_type");
        write(&folder.join(if third { "zarr.json" } else { ".zarray" }), bytes);
        for chunk in ["0", "0.0", "c/0"] {
            write(&folder.join(chunk), &[0; 64]);
        }
    });
}

/// A chunk of a Zarr array of 40 rows, the first of two. Its codecs are those of the number that the first byte is.
pub(crate) fn zarr_chunk(bytes: &[u8]) {
    let Some((codecs, bytes)) = bytes.split_first() else { return };
    in_folder(|folder| {
        let path = folder.join("a.zarr");
        zarr_chunk_folder(&path, *codecs, bytes);
        read(&path);
    });
}

/// Makes the folder that [`zarr_chunk`] reads.
pub(crate) fn zarr_chunk_folder(path: &Path, codecs: u8, chunk: &[u8]) {
    let codecs = CODECS[usize::from(codecs) % CODECS.len()];
    let metadata = format!(
        r#"{{"zarr_format":3,"node_type":"array","shape":[40],"data_type":"int32","fill_value":0,"attributes":{{}},
            "chunk_grid":{{"name":"regular","configuration":{{"chunk_shape":[20]}}}},
            "chunk_key_encoding":{{"name":"default","configuration":{{"separator":"/"}}}},"codecs":[{codecs}]}}"#
    );
    let _ = std::fs::remove_dir_all(path);
    write(&path.join("zarr.json"), metadata.as_bytes());
    write(&path.join("c/0"), chunk);
}

/// A zip archive of a Zarr hierarchy.
pub(crate) fn zarr_zip(bytes: &[u8]) {
    file("zarr.zip", bytes);
}

/// What the chunks of [`zarr_chunk`] are packed with.
pub(crate) const CODECS: &[&str] = &[
    r#"{"name":"bytes","configuration":{"endian":"little"}}"#,
    r#"{"name":"bytes","configuration":{"endian":"big"}},{"name":"zstd","configuration":{"level":1,"checksum":false}}"#,
    r#"{"name":"bytes","configuration":{"endian":"little"}},{"name":"gzip","configuration":{"level":1}}"#,
    r#"{"name":"bytes","configuration":{"endian":"little"}},{"name":"blosc","configuration":{"cname":"lz4","clevel":5,"shuffle":"shuffle","typesize":4,"blocksize":0}}"#,
    r#"{"name":"bytes","configuration":{"endian":"little"}},{"name":"crc32c"}"#,
    r#"{"name":"sharding_indexed","configuration":{"chunk_shape":[5],"index_location":"end",
        "codecs":[{"name":"bytes","configuration":{"endian":"little"}},{"name":"zstd","configuration":{"level":1,"checksum":false}}],
        "index_codecs":[{"name":"bytes","configuration":{"endian":"little"}},{"name":"crc32c"}]}}"#,
    r#"{"name":"sharding_indexed","configuration":{"chunk_shape":[5],"index_location":"start",
        "codecs":[{"name":"bytes","configuration":{"endian":"little"}}],
        "index_codecs":[{"name":"bytes","configuration":{"endian":"little"}}]}}"#,
    // Shards in shards, with all that may be around them, and shards that are packed as a whole.
    r#"{"name":"sharding_indexed","configuration":{"chunk_shape":[10],"index_location":"start","codecs":[
        {"name":"sharding_indexed","configuration":{"chunk_shape":[5],"codecs":[{"name":"bytes"}],"index_codecs":[{"name":"bytes"}]}}],
        "index_codecs":[{"name":"bytes","configuration":{"endian":"big"}}]}}"#,
    r#"{"name":"sharding_indexed","configuration":{"chunk_shape":[10],"codecs":[{"name":"bytes"}],
        "index_codecs":[{"name":"bytes"}]}},{"name":"zstd"}"#,
    r#"{"name":"numcodecs.delta","configuration":{"dtype":"<i4","astype":"<i2"}},{"name":"bytes"},{"name":"numcodecs.adler32"}"#,
    r#"{"name":"numcodecs.fixedscaleoffset","configuration":{"offset":3,"scale":0,"dtype":"<i4","astype":"<f2"}},{"name":"bytes"}"#,
];

/// Reads the bytes as a file of this extension.
fn file(extension: &str, bytes: &[u8]) {
    in_folder(|folder| {
        let path = folder.join(format!("a.{extension}"));
        write(&path, bytes);
        read(&path);
    });
}

fn zarr(fill: impl FnOnce(&Path)) {
    in_folder(|folder| {
        let path = folder.join("a.zarr");
        // What the last call wrote is not this one's.
        let _ = std::fs::remove_dir_all(&path);
        fill(&path);
        read(&path);
    });
}

/// A folder of this thread, made once.
fn in_folder(run: impl FnOnce(&Path)) {
    thread_local!(static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) });
    FOLDER.with_borrow_mut(|folder| {
        if folder.is_none() {
            *folder = tempfile::tempdir().ok();
        }
        run(folder.as_ref().expect("a folder for temporary files").path());
    });
}

fn write(path: &Path, bytes: &[u8]) {
    let folder = path.parent().expect("it is in a folder");
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, bytes)).expect("a file can be written");
}

/// Reads what there is to read, in windows of 1 MiB, and ignores the errors.
pub(crate) fn read(path: &Path) {
    let Ok(container) = Format::of_path(path).expect("it is known").open_container(path) else { return };
    let entries = container.entries().iter().map(|entry| entry.name.as_str());
    for name in entries.chain(["/", ""]).take(50) {
        if let Ok(source) = container.open(name) {
            read_source(source.as_ref());
        }
    }
}

fn read_source(source: &dyn ArraySource) {
    for (i, field) in source.fields().iter().enumerate().take(50) {
        if field.row_bytes() > 1 << 20 {
            continue;
        }
        let all = source.rows();
        let rows = all.min(((1 << 20) / field.row_bytes().max(1)) as u64);
        let _ = source.read(i, 0..rows);
        let _ = source.read(i, rows / 2..rows);
        let _ = source.read(i, all - rows..all);
        let _ = source.take(i, &[all.saturating_sub(1), 0]);
        assert!(source.run_end(i, 0) <= all, "a run ends within the array");
    }
}
