//! PyTorch's `.pt` and `.pth`: tensors by name, as `torch.save` has written them since torch 1.6.
//!
//! Such a file is a zip archive with a pickle, which in Python may run anything. Here it runs nothing: a small machine
//! knows the calls that make tensors, storages, dicts, lists and plain values, and any other name that the pickle asks
//! for (`os.system`, a class of a model) is an error that says it.
//!
//! | in the file | here |
//! |---|---|
//! | a dict of tensors, such as a `state_dict` | tensors by name |
//! | dicts, lists and tuples in each other | names with dots: `optimizer.state.0.exp_avg` |
//! | one tensor | an array named as the file without its extension |
//! | numbers, texts, `None` | [`Container::metadata`] |
//! | bytes, sets, devices | left out |
//! | bool, ints, floats, complex, bfloat16 | the dtype of that name, of either byte order |
//! | float8, quantized, complex32; views that negate or conjugate | listed, and refused by name when opened |
//! | sparse tensors, tensors without storage, whole modules | the file is refused |
//! | a shape of no axes | one row with a scalar; written again it has the shape `[1]` |
//!
//! The first axis is the rows and the others are the cell of the one field, `value`. Elements that follow each other are
//! read in place, wherever in their storage they are, and others (transposed, sliced, expanded) are gathered for the rows
//! that are read. A storage may be shared by tensors. Every offset and size is checked against the file; checksums are not
//! compared, as for a stored `.npz`. Files of torch before 1.6, which are no zip archives, and TorchScript are refused.
//!
//! What is written is a dict of tensors, each with a storage of its own, aligned to 64 bytes; `torch.load(path,
//! weights_only=True)` opens it, and `mmap=True` maps it. It has no attributes.
//!
//! Source of the format: <https://docs.pytorch.org/docs/stable/notes/serialization.html>.

mod globals;
mod names;
mod pickle;
mod sink;
mod strided;
mod tensor;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hyperslab_core::{ArraySource, ByteOrder, Error, FieldSpec, Result, VALUE};

use crate::container::{Container, Entry, missing_entry};
use crate::map::MappedFile;
use crate::raw::{Encoding, Layout, RawSource};
use crate::zip::{self, Method, Packed};

use strided::StridedSource;
use tensor::{Element, Tensor};

pub use sink::TorchSink;

/// The longest pickle that is read.
const MAX_PICKLE: u64 = 100_000_000;

/// A torch file, mapped.
#[derive(Debug)]
pub struct TorchFile {
    file: Arc<MappedFile>,
    order: ByteOrder,
    entries: Vec<Entry>,
    tensors: Vec<Placed>,
    by_name: HashMap<String, usize>,
    metadata: Vec<(String, String)>,
}

/// A tensor, and where its elements are in the file, from the first that is read to the last.
#[derive(Debug)]
struct Placed {
    tensor: Tensor,
    range: Range<usize>,
}

impl TorchFile {
    /// Maps a file, reads its pickle and places its tensors.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` for a pickle that asks for anything but tensors, naming it, and for files of torch before
    /// 1.6; `Corrupt` for what is no whole archive, or tensors beyond their storage; `Invalid` for what is no regular file,
    /// or two tensors of one name; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(MappedFile::open(path.as_ref())?);
        Self::of(file).map_err(|e| e.with("file", path.as_ref().display()))
    }

    fn of(file: Arc<MappedFile>) -> Result<Self> {
        let archive = Archive::read(file.bytes())?;
        let pickle = archive.bytes("data.pkl")?;
        let order = archive.order()?;
        if pickle.len() as u64 > MAX_PICKLE {
            let why = format!("its pickle has {} bytes, and at most {MAX_PICKLE} are read", pickle.len());
            return Err(Error::unsupported(why));
        }
        let (objects, result) = pickle::run(pickle)?;
        let stem = file.path().file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let found = names::find(&objects, result, &stem, pickle.len())?;
        let mut this = Self {
            order,
            entries: Vec::with_capacity(found.tensors.len()),
            tensors: Vec::with_capacity(found.tensors.len()),
            by_name: HashMap::with_capacity(found.tensors.len()),
            metadata: found.plain,
            file: Arc::clone(&file),
        };
        for (name, tensor) in found.tensors {
            let range = archive.place(&tensor).map_err(|e| e.with("array", &name))?;
            if this.by_name.insert(name.clone(), this.entries.len()).is_some() {
                let why =
                    "two tensors have this name, the names of dicts in each other joined with dots; save one of them";
                return Err(Error::invalid(why).with("array", name));
            }
            this.entries.push(entry(name, &tensor));
            this.tensors.push(Placed { tensor, range });
        }
        Ok(this)
    }

    /// How a tensor's elements that follow each other, in C order or in Fortran order, are read.
    fn raw(&self, field: &FieldSpec, rows: u64, fortran: bool) -> Layout {
        let mut layout = Layout::plain(field.clone(), rows);
        layout.fortran = fortran;
        layout.fields.iter_mut().for_each(|f| f.encoding = Encoding::Plain(self.order));
        layout
    }
}

/// The files of an archive, which lie in one folder.
struct Archive<'a> {
    all: &'a [u8],
    folder: String,
    files: HashMap<String, Packed>,
}

impl<'a> Archive<'a> {
    fn read(all: &'a [u8]) -> Result<Self> {
        if !all.starts_with(b"PK") {
            return Err(match is_old(all) {
                true => Error::unsupported(
                    "it was written by torch before 1.6, or in that format; load it with torch 1.6 or newer and save it again",
                ),
                false => Error::corrupt("this is no file of torch: it is no zip archive"),
            });
        }
        let files: HashMap<_, _> = zip::read(all)?.into_iter().collect();
        let folder = files.keys().find_map(|name| match name.strip_suffix("/data.pkl") {
            Some(folder) if !folder.contains('/') => Some(folder.to_owned()),
            _ => None,
        });
        let folder = folder.ok_or_else(|| Error::corrupt("this is no file of torch: its archive has no data.pkl"))?;
        if files.contains_key(&format!("{folder}/constants.pkl")) {
            let why = "it is a program of TorchScript; load it with torch.jit.load, and save its tensors alone, as by \
                       torch.save(model.state_dict(), …)";
            return Err(Error::unsupported(why));
        }
        Ok(Self { all, folder, files })
    }

    fn find(&self, name: &str) -> Option<&Packed> {
        self.files.get(&format!("{}/{name}", self.folder))
    }

    /// Where a file's bytes are.
    fn range(&self, name: &str) -> Result<Range<usize>> {
        let packed = self.find(name).ok_or_else(|| Error::corrupt(format!("its archive has no {name}")))?;
        match &packed.method {
            Method::Stored => Ok(packed.range.clone()),
            _ => Err(Error::unsupported(format!(
                "{name} in its archive is packed or encrypted, which torch.save does not do; save it again"
            ))),
        }
    }

    fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        Ok(self.all.get(self.range(name)?).unwrap_or_default())
    }

    fn order(&self) -> Result<ByteOrder> {
        if self.find("byteorder").is_none() {
            return Ok(ByteOrder::Little);
        }
        match self.bytes("byteorder")? {
            b"little" => Ok(ByteOrder::Little),
            b"big" => Ok(ByteOrder::Big),
            other => Err(Error::corrupt(format!("its byte order is {:?}", String::from_utf8_lossy(other)))),
        }
    }

    /// Where the elements of a tensor are, from the first to the last.
    fn place(&self, tensor: &Tensor) -> Result<Range<usize>> {
        let storage = &tensor.storage;
        let shape = &tensor.shape;
        let record = self.range(&format!("data/{}", storage.key))?;
        let elements = tensor.elements().ok_or_else(|| Error::corrupt(format!("shape {shape:?} is too large")))?;
        let Element::Known(dtype) = &tensor.element else { return Ok(0..0) };
        if elements == 0 {
            return Ok(0..0);
        }
        let size = dtype.size() as u64;
        let storage_size = match &storage.element {
            Some(Element::Known(dtype)) => dtype.size() as u64,
            _ => 1,
        };
        let claimed = storage.elements.checked_mul(storage_size);
        let there = record.len() as u64;
        let claimed = claimed.filter(|&bytes| bytes <= there).ok_or_else(|| {
            Error::corrupt(format!(
                "its storage {} should have {} elements of {storage_size} bytes, and has {there} bytes",
                storage.key, storage.elements
            ))
        })?;
        let start = tensor.offset.checked_mul(size);
        let end = tensor.end().and_then(|end| end.checked_mul(size)).filter(|&end| end <= claimed);
        let (Some(start), Some(end)) = (start, end) else {
            return Err(Error::corrupt(format!(
                "shape {shape:?} with strides {:?} at element {} reaches beyond its storage of {claimed} bytes",
                tensor.strides, tensor.offset
            )));
        };
        Ok(record.start + start as usize..record.start + end as usize)
    }
}

/// Whether a file starts as those of torch before 1.6: a pickle with a magic number, or a tar archive.
fn is_old(all: &[u8]) -> bool {
    const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let pickle = all.first() == Some(&0x80) && all.get(2..).is_some_and(|rest| rest.starts_with(MAGIC));
    pickle || all.get(257..262) == Some(b"ustar")
}

fn field(tensor: &Tensor) -> Option<Result<FieldSpec>> {
    let Element::Known(dtype) = tensor.element else { return None };
    let cell = tensor.shape.get(1..).unwrap_or_default();
    let cell = cell.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
    Some(FieldSpec::new(VALUE, dtype, cell))
}

fn entry(name: String, tensor: &Tensor) -> Entry {
    let (dtype, size) = match &tensor.element {
        Element::Known(dtype) => (dtype.to_string(), dtype.size() as u64),
        Element::Other(name) => (name.clone(), 1),
    };
    let bytes = tensor.elements().unwrap_or(0).saturating_mul(size);
    let field = field(tensor).filter(|_| tensor.refused.is_none()).and_then(Result::ok);
    Entry { name, dtype, shape: tensor.shape.clone(), bytes, fields: field.into_iter().collect() }
}

impl Container for TorchFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ArraySource>> {
        let i = *self.by_name.get(name).ok_or_else(|| missing_entry(self, name))?;
        let Placed { tensor, range } = &self.tensors[i];
        let here = |e: Error| e.with("array", name).with("file", self.path().display());
        if let Some(why) = tensor.refused {
            return Err(here(Error::unsupported(why)));
        }
        let field = field(tensor).ok_or_else(|| {
            let dtype = &self.entries[i].dtype;
            here(Error::unsupported(format!(
                "dtype {dtype} is not read; convert the tensor to float32 where it was made"
            )))
        })?;
        let (field, file, name) = (field.map_err(here)?, Arc::clone(&self.file), name.to_owned());
        let rows = tensor.shape.first().copied().unwrap_or(1);
        let (contiguous, fortran) = (tensor.is_contiguous(), tensor.is_fortran());
        if contiguous || fortran || range.is_empty() {
            let layout = self.raw(&field, rows, !contiguous && fortran);
            return Ok(Arc::new(RawSource::new(file, range.clone(), layout, Some(name))?));
        }
        // All of them lie within the range, and so within usize; an axis of one element may have any stride.
        let size = field.dtype().size();
        let bytes =
            |(&length, &stride): (&u64, &u64)| (length as usize, if length == 1 { 0 } else { stride as usize * size });
        let mut axes = tensor.shape.iter().zip(&tensor.strides).map(bytes);
        let row_stride = axes.next().map_or(0, |(_, stride)| stride);
        let axes = axes.collect();
        Ok(Arc::new(StridedSource::new(field, file, range.clone(), name, self.order, (rows, row_stride), axes)))
    }
}
