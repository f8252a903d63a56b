//! Array file formats: one module per format, each an [`ArraySource`] and/or an [`ArraySink`].
//!
//! | format | extension | read | zero copy | write | fields |
//! |---|---|---|---|---|---|
//! | [NumPy's `.npy`](npy) 1.0, 2.0, 3.0 | `.npy` | every dtype but longdouble and object, either byte order, C and Fortran order | little-endian C order, bool, text and structured dtypes excepted | versions 1.0 and 3.0, little-endian C order; text as `U` | one, named `value`, or those of a structured dtype |
//! | [NumPy's `.npz`](npz) | `.npz` | as `.npy`; stored and deflated, zip64 | as `.npy`, stored and aligned | as `.npy`; stored and deflated | several arrays, each as in a `.npy` |
//! | [HDF5](hdf5) | `.h5`, `.hdf5` | numbers, bool, complex, text, compounds; contiguous, compact and chunked, of every version; soft links; deflate, shuffle, fletcher32, lzf, scale-offset | contiguous little-endian, and chunks without filters | contiguous or chunked, deflate, shuffle, fletcher32; text of variable length | several arrays; one named `value`, the members of a compound, or the datasets of a group |
//! | [Zarr](zarr) 2, 3 | `.zarr`, a folder; `.zarr.zip`, read | numbers, bool, complex, times, text, structured dtypes; gzip, zlib, zstd, blosc, lz4, shards in shards, either order, numcodecs' filters | | gzip, zlib (2), zstd, sharding (3); text of variable length | several arrays; one named `value`, or the arrays of a group |
//! | [safetensors] | `.safetensors` | every dtype but F8, F6 and F4; metadata | all, bool and bf16 excepted | the same dtypes; metadata | tensors by name, each one field `value` |
//! | [torch] since 1.6 | `.pt`, `.pth` | bool, ints, floats, complex, bf16; any strides; nothing in the pickle is run | contiguous, bool excepted | the same dtypes, a dict of tensors | tensors by name, each one field `value` |
//! | [NumPack](numpack) up to 0.7 | `.npk`, a folder; `.npkg` | every dtype, deleted rows left out, segments; packages with zstd or zlib | all but compressed packages, bool and gaps between rows | the same dtypes; packages with zstd | several arrays, each one field `value` |
//!
//! [`open`] and [`create`] choose the format by the path's extension; [`ConcatSource`] reads several files as one
//! array. `.npy` files grow in place: [`Format::append`] takes rows, [`npy::NpyAppender`] items of either order.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("a.npy");
//! use std::sync::Arc;
//! use arrow_array::{Int16Array, RecordBatch};
//! use hyperslab_core::{ArraySink, ArraySource, DType, FieldSpec};
//!
//! let field = FieldSpec::new("value", DType::Int16, vec![])?;
//! let mut sink = hyperslab_formats::create(&path, &[field])?;
//! sink.write(&RecordBatch::try_from_iter([("value", Arc::new(Int16Array::from(vec![5, 6, 7])) as _)])?)?;
//! sink.finish()?;
//!
//! let source = hyperslab_formats::open(&path)?;
//! let block = source.read(0, 1..3)?;
//! assert_eq!(block.array.as_ref(), &Int16Array::from(vec![6, 7]));
//! assert_eq!(block.copied, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chunks;
mod concat;
mod container;
mod folder;
mod format;
mod group;
pub mod hdf5;
mod map;
pub mod npy;
pub mod npz;
pub mod numpack;
mod options;
mod output;
mod raw;
pub mod safetensors;
mod texts;
pub mod torch;
mod unpack;
pub mod zarr;
mod zip;

use std::path::Path;
use std::sync::Arc;

use hyperslab_core::{ArraySink, ArraySource, FieldSpec, Result};

pub use concat::ConcatSource;
pub use container::{Container, ContainerSink, Entry};
pub use format::{FORMATS, Format, split_entry};
pub use group::GroupSource;
pub use map::shrunk_files;
pub use npy::{NpySink, NpySource};
pub use npz::{NpzFile, NpzSink};
pub use numpack::{NumPackSink, NumPackStore};
pub use options::WriteOptions;
pub use safetensors::{SafetensorsFile, SafetensorsSink};
pub use torch::{TorchFile, TorchSink};

/// Opens an array file in the format that its extension names, in either case. Of a file of several arrays by name it
/// must hold just one: [`Format::open`] opens the others.
///
/// # Errors
/// `Unsupported` for another extension, listing the known ones; `Invalid` for a file of several arrays, listing their
/// names; otherwise the format's.
pub fn open(path: &Path) -> Result<Arc<dyn ArraySource>> {
    Format::of_path(path)?.open(path, None)
}

/// Opens a file as arrays by name, in the format that its extension names. A file of one array has one entry.
///
/// # Errors
/// `Unsupported` for another extension, listing the known ones; otherwise the format's.
pub fn open_container(path: &Path) -> Result<Arc<dyn Container>> {
    Format::of_path(path)?.open_container(path)
}

/// Starts an array file in the format that the extension names. Nothing of it is visible under `path`, and an existing
/// file stays as it is, until [`ArraySink::finish`], which replaces it. [`Format::create`] takes options.
///
/// # Errors
/// `Unsupported` for another extension, listing the known ones; `Invalid` when the format cannot hold the fields;
/// `Io`.
pub fn create(path: &Path, fields: &[FieldSpec]) -> Result<Box<dyn ArraySink>> {
    Format::of_path(path)?.create(path, fields, &WriteOptions::new().overwrite(true))
}

/// Starts a file of several arrays in the format that the extension names.
///
/// # Errors
/// As [`Format::create_container`].
pub fn create_container(path: &Path, options: &WriteOptions) -> Result<Box<dyn ContainerSink>> {
    Format::of_path(path)?.create_container(path, options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyperslab_core::{DType, ErrorKind};

    use super::*;

    #[test]
    fn the_extension_chooses_the_format() {
        let error = open(Path::new("a.xyz")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("a.xyz") && error.to_string().contains("known: .npy"), "{error}");
        assert!(open(Path::new("npy")).is_err());
        assert_eq!(create(Path::new("a.xyz"), &[]).unwrap_err().kind(), ErrorKind::Unsupported);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("A.NPY");
        let field = FieldSpec::new("value", DType::Int8, vec![]).unwrap();
        create(&path, std::slice::from_ref(&field)).unwrap().finish().unwrap();
        assert_eq!(open(&path).unwrap().fields(), std::slice::from_ref(&field));
        let fields = [field.clone(), field.renamed("b").unwrap()];
        create(&path, &fields).unwrap().finish().unwrap();
        assert_eq!(open(&path).unwrap().fields(), fields);
        assert_eq!(create(&path, &[]).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
