//! Array file formats: one module per format, each an [`ArraySource`] and/or an [`ArraySink`].
//!
//! | format | extension | read | zero copy | write | fields |
//! |---|---|---|---|---|---|
//! | [NumPy's `.npy`](npy) 1.0, 2.0, 3.0 | `.npy` | every dtype, either byte order, C and Fortran order | little-endian C order, bool excepted | version 1.0, little-endian C order | one, named `value` |
//! | [HDF5](hdf5) | `.h5`, `.hdf5` | numbers, bool, complex, text, compounds; contiguous and chunked; deflate, shuffle, fletcher32, lzf, scale-offset | contiguous little-endian, and chunks without filters | | one, named `value`, or the members of a compound |
//!
//! [`open`] and [`create`] choose the format by the path's extension; [`ConcatSource`] reads several files as one
//! array.
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

mod concat;
pub mod hdf5;
mod map;
pub mod npy;

use std::path::Path;
use std::sync::Arc;

use hyperslab_core::{ArraySink, ArraySource, Error, FieldSpec, Result};

pub use concat::ConcatSource;
pub use npy::{NpySink, NpySource};

/// The extensions of the formats that [`open`] and [`create`] know, in lower case.
pub const EXTENSIONS: &[&str] = &["npy"];

/// Opens an array file in the format that its extension names, in either case.
///
/// # Errors
/// `Unsupported` for another extension, listing the known ones; otherwise the format's.
pub fn open(path: &Path) -> Result<Arc<dyn ArraySource>> {
    match extension(path).as_str() {
        "npy" => Ok(Arc::new(NpySource::open(path)?)),
        _ => Err(unknown(path)),
    }
}

/// Starts an array file in the format that the extension names. Nothing of it is visible under `path`, and an existing
/// file stays as it is, until [`ArraySink::finish`].
///
/// # Errors
/// `Unsupported` for another extension, listing the known ones; `Invalid` when the format cannot hold the fields;
/// `Io`.
pub fn create(path: &Path, fields: &[FieldSpec]) -> Result<Box<dyn ArraySink>> {
    match extension(path).as_str() {
        "npy" => {
            let [field] = fields else {
                let names: Vec<_> = fields.iter().map(FieldSpec::name).collect();
                return Err(Error::invalid(format!(
                    "a .npy file holds one field, and there are {}: {names:?}; select one of them",
                    fields.len()
                ))
                .with("file", path.display()));
            };
            Ok(Box::new(NpySink::create(path, field)?))
        }
        _ => Err(unknown(path)),
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn unknown(path: &Path) -> Error {
    let known: Vec<_> = EXTENSIONS.iter().map(|e| format!(".{e}")).collect();
    let path = path.display();
    Error::unsupported(format!("the extension of {path} is that of no known array format; known: {}", known.join(", ")))
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
        let error = create(&path, &[field.clone(), field.renamed("b").unwrap()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("[\"value\", \"b\"]"), "{error}");
    }
}
