//! One array being written: its rows become chunks, and chunks files.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use arrow_array::Array;
use hyperslab_core::{DType, Error, FieldSpec, Fill, Result, arrow};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::codecs::{self, Codec};
use super::options::ZarrOptions;
use crate::chunks::grid::Grid;

/// What a chunk holds unless it is told otherwise.
const CHUNK_BYTES: usize = 1 << 20;

/// A field being written as an array in a folder of its own.
#[derive(Debug)]
pub(super) struct Column {
    folder: PathBuf,
    field: FieldSpec,
    version: u8,
    codecs: Vec<Codec>,
    /// The shape of a file's elements, and of a chunk in it where it is a shard.
    outer: Vec<usize>,
    inner: Option<Vec<usize>>,
    /// Whether the number of rows of a chunk was asked for.
    given: bool,
    grid: Grid,
    /// Rows that do not fill a file yet; of text in the form of a chunk, without the count.
    pending: Vec<u8>,
    pending_rows: usize,
    rows: u64,
    files: u64,
    bytes: u64,
}

impl Column {
    pub(super) fn new(folder: PathBuf, field: &FieldSpec, options: &ZarrOptions) -> Result<Self> {
        // No dtype of zarr-python's is bfloat16. A NULL is an error when it comes.
        let dtype = if field.dtype() == DType::Bfloat16 { DType::Float32 } else { field.dtype() };
        let fill = field.fill().filter(|_| dtype == field.dtype()).cloned();
        let mut field = FieldSpec::new(field.name(), dtype, field.cell().to_vec())?;
        if let Some(fill) = fill {
            field = field.with_fill(fill)?;
        }
        let chunk = shape(&field, options.chunks.as_deref(), "chunks")?;
        let (outer, inner) = match options.shards.as_deref() {
            None => (chunk, None),
            Some(_) if dtype.is_variable() => {
                return Err(Error::invalid("text cannot be written in shards; leave the option out"));
            }
            Some(shards) => {
                let outer = shape(&field, Some(shards), "shards")?;
                // Chunks that were not asked for are no longer than the shard.
                let chunk: Vec<usize> = match options.chunks {
                    Some(_) => chunk,
                    None => chunk.iter().zip(&outer).map(|(&c, &o)| largest_divisor(o, c)).collect(),
                };
                if outer.iter().zip(&chunk).any(|(o, c)| o % c != 0) {
                    return Err(Error::invalid(format!(
                        "shards {outer:?} are not made of whole chunks {chunk:?}; make each length a multiple"
                    )));
                }
                (outer, Some(chunk))
            }
        };
        let element = element_bytes(dtype);
        let bytes = outer.iter().try_fold(element, |b, &n| b.checked_mul(n)).filter(|&b| i32::try_from(b).is_ok());
        if bytes.is_none() {
            return Err(Error::invalid(format!("chunks of shape {outer:?} have 2 GiB or more; make them smaller")));
        }
        let grid = grid(&outer, &field)?;
        Ok(Self {
            folder,
            version: options.version,
            codecs: options.codec.into_iter().collect(),
            given: options.chunks.is_some() || options.shards.is_some(),
            field,
            outer,
            inner,
            grid,
            pending: Vec::new(),
            pending_rows: 0,
            rows: 0,
            files: 0,
            bytes: 0,
        })
    }

    /// Appends rows, of which `first` is the first one's number.
    pub(super) fn write(&mut self, column: &dyn Array, first: u64) -> Result<()> {
        if self.field.dtype().is_variable() {
            let parts = arrow::parts(&self.field, column, first)?;
            let offsets = parts.offsets.unwrap_or_else(|| vec![0_i64].into());
            let base = offsets.first().copied().unwrap_or(0);
            for (&start, &end) in offsets.iter().zip(offsets.iter().skip(1)) {
                self.push_text(&parts.values[(start - base) as usize..(end - base) as usize])?;
            }
        } else {
            let bytes = arrow::raw_bytes(&self.field, column, first)?;
            self.write_bytes(&bytes)?;
        }
        self.rows += column.len() as u64;
        Ok(())
    }

    fn push_text(&mut self, text: &[u8]) -> Result<()> {
        let length = u32::try_from(text.len()).map_err(|_| Error::invalid("a text has more than 4 GiB"))?;
        self.pending.extend_from_slice(&length.to_le_bytes());
        self.pending.extend_from_slice(text);
        self.pending_rows += 1;
        if self.pending_rows == self.outer[0] { self.flush_texts() } else { Ok(()) }
    }

    fn flush_texts(&mut self) -> Result<()> {
        let mut chunk = (self.outer[0] as u32).to_le_bytes().to_vec();
        chunk.append(&mut self.pending);
        // A chunk has all its rows.
        chunk.resize(chunk.len() + (self.outer[0] - self.pending_rows) * 4, 0);
        self.pending_rows = 0;
        let bytes = codecs::apply(&self.codecs, Cow::Owned(chunk))?;
        self.bytes += self.put(self.files, &bytes)?;
        self.files += 1;
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let band = self.grid.row_bytes() * self.outer[0];
        if band == 0 {
            return Ok(());
        }
        // As many rows of files at a time as make enough to do at once.
        let group = band * (2 * rayon::current_num_threads()).div_ceil(self.grid.chunks_across().max(1));
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.pending.is_empty() && rest.len() >= group {
                let (whole, after) = rest.split_at(group);
                self.write_bands(whole)?;
                rest = after;
                continue;
            }
            let (taken, after) = rest.split_at(rest.len().min(group - self.pending.len()));
            self.pending.extend_from_slice(taken);
            rest = after;
            if self.pending.len() == group {
                let rows = std::mem::take(&mut self.pending);
                self.write_bands(&rows)?;
                self.pending = rows;
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// Writes rows that fill rows of files.
    fn write_bands(&mut self, rows: &[u8]) -> Result<()> {
        let across = self.grid.chunks_across();
        let bands = rows.chunks(self.grid.row_bytes() * self.outer[0]);
        let chunks: Vec<(usize, &[u8])> = bands.flat_map(|b| (0..across).map(move |i| (i, b))).collect();
        let first = self.files;
        let written = chunks.par_iter().enumerate().map(|(n, &(i, band))| {
            let bytes = self.make(i, band)?;
            self.put(first + n as u64, &bytes)
        });
        let written = written.collect::<Result<Vec<_>>>()?;
        self.bytes += written.iter().sum::<u64>();
        self.files += written.len() as u64;
        Ok(())
    }

    /// A file's bytes.
    fn make<'a>(&self, across: usize, band: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let chunk = match self.grid.has_whole_rows() {
            true => Cow::Borrowed(band),
            false => {
                let mut chunk = vec![0; self.grid.chunk_bytes()];
                self.grid.gather(across, 0..self.outer[0], band, &mut chunk);
                Cow::Owned(chunk)
            }
        };
        let Some(inner) = &self.inner else { return codecs::apply(&self.codecs, chunk) };
        let lengths = |of: &[usize]| of.iter().map(|&n| n as u64).collect::<Vec<_>>();
        let grid = Grid::new(&lengths(&self.outer), &lengths(inner), element_bytes(self.field.dtype()))?;
        let (mut shard, mut index) = (Vec::new(), Vec::new());
        for rows in chunk.chunks(grid.row_bytes() * inner[0]) {
            for i in 0..grid.chunks_across() {
                let mut bytes = vec![0; grid.chunk_bytes()];
                grid.gather(i, 0..inner[0], rows, &mut bytes);
                let bytes = codecs::apply(&self.codecs, Cow::Owned(bytes))?;
                index.extend_from_slice(&(shard.len() as u64).to_le_bytes());
                index.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                shard.extend_from_slice(&bytes);
            }
        }
        shard.extend_from_slice(&index);
        shard.extend_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        Ok(Cow::Owned(shard))
    }

    /// Writes the file with a number, which counts along the last axis first. Returns its bytes.
    fn put(&self, number: u64, bytes: &[u8]) -> Result<u64> {
        let mut rest = number;
        let mut position = Vec::new();
        for (&n, &c) in self.field.cell().iter().zip(&self.outer[1..]).rev() {
            let count = n.div_ceil(c) as u64;
            position.push(rest % count);
            rest /= count;
        }
        position.push(rest);
        let numbers: Vec<String> = position.iter().rev().map(u64::to_string).collect();
        let path = match self.version {
            2 => self.folder.join(numbers.join(".")),
            _ => self.folder.join("c").join(numbers.join("/")),
        };
        write_file(&path, bytes)
    }

    /// Writes what is left, and the metadata with the attributes.
    pub(super) fn finish(mut self, attributes: &Value) -> Result<u64> {
        let total = usize::try_from(self.rows).unwrap_or(usize::MAX);
        if !self.given && self.files == 0 && total < self.outer[0] {
            // No chunk is larger than the array.
            self.outer[0] = total.max(1);
            self.grid = grid(&self.outer, &self.field)?;
        }
        if self.pending_rows > 0 {
            self.flush_texts()?;
        }
        if !self.pending.is_empty() {
            let mut rows = std::mem::take(&mut self.pending);
            let fill = fill_bytes(&self.field);
            let whole = rows.len().next_multiple_of(self.grid.row_bytes() * self.outer[0]);
            while rows.len() < whole {
                rows.extend_from_slice(&fill);
            }
            self.write_bands(&rows)?;
        }
        let file = |name: &str, json: &Value| {
            let bytes =
                serde_json::to_vec_pretty(json).map_err(|e| Error::invalid("metadata that is no JSON").because(e))?;
            write_file(&self.folder.join(name), &bytes)
        };
        let metadata = match self.version {
            2 => file(".zattrs", attributes)? + file(".zarray", &self.v2())?,
            _ => file("zarr.json", &self.v3(attributes))?,
        };
        Ok(self.bytes + metadata)
    }

    fn v2(&self) -> Value {
        let (dtype, filters) = match self.field.dtype() {
            DType::Utf8 => ("|O".to_owned(), json!([{"id": "vlen-utf8"}])),
            DType::Binary => ("|O".to_owned(), json!([{"id": "vlen-bytes"}])),
            dtype => (dtype.npy_descr(), Value::Null),
        };
        let compressor = match self.codecs.first() {
            Some(Codec::Gzip(level)) => json!({"id": "gzip", "level": level}),
            Some(Codec::Zlib(level)) => json!({"id": "zlib", "level": level}),
            Some(Codec::Zstd(level)) => json!({"id": "zstd", "level": level}),
            _ => Value::Null,
        };
        json!({
            "zarr_format": 2, "shape": self.field.shape(self.rows), "chunks": self.outer, "dtype": dtype,
            "compressor": compressor, "fill_value": fill_json(&self.field), "order": "C", "filters": filters,
            "dimension_separator": ".",
        })
    }

    fn v3(&self, attributes: &Value) -> Value {
        let dtype = self.field.dtype();
        let little = json!({"name": "bytes", "configuration": {"endian": "little"}});
        let data_type = match dtype {
            DType::Datetime64(unit) | DType::Timedelta64(unit) => {
                let name = if matches!(dtype, DType::Datetime64(_)) { "numpy.datetime64" } else { "numpy.timedelta64" };
                json!({"name": name, "configuration": {"unit": unit.abbreviation(), "scale_factor": 1}})
            }
            DType::FixedBytes(n) => json!({"name": "raw_bytes", "configuration": {"length_bytes": n}}),
            DType::Utf8 => json!("string"),
            DType::Binary => json!("variable_length_bytes"),
            other => json!(other.to_string()),
        };
        let mut codecs = vec![match dtype {
            DType::Utf8 => json!({"name": "vlen-utf8"}),
            DType::Binary => json!({"name": "vlen-bytes"}),
            _ => little.clone(),
        }];
        codecs.extend(self.codecs.first().and_then(|codec| match codec {
            Codec::Gzip(level) => Some(json!({"name": "gzip", "configuration": {"level": level}})),
            Codec::Zstd(level) => Some(json!({"name": "zstd", "configuration": {"level": level, "checksum": false}})),
            _ => None,
        }));
        if let Some(inner) = &self.inner {
            codecs = vec![json!({"name": "sharding_indexed", "configuration": {
                "chunk_shape": inner, "codecs": codecs, "index_codecs": [little, {"name": "crc32c"}], "index_location": "end",
            }})];
        }
        json!({
            "zarr_format": 3, "node_type": "array", "shape": self.field.shape(self.rows), "data_type": data_type,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.outer}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill_json(&self.field), "codecs": codecs, "attributes": attributes, "storage_transformers": [],
        })
    }
}

/// The shape of a chunk: rows, then the axes of a cell, of which missing ones are whole.
fn shape(field: &FieldSpec, given: Option<&[usize]>, what: &str) -> Result<Vec<usize>> {
    let row_bytes = (field.elements() * element_bytes(field.dtype())).max(1);
    let given = given.unwrap_or_default();
    if given.len() > field.cell().len() + 1 {
        let axes = field.cell().len() + 1;
        return Err(Error::invalid(format!(
            "{what} {given:?} do not fit: the array has {axes} axes; give as many lengths"
        )));
    }
    let mut shape = vec![given.first().copied().unwrap_or((CHUNK_BYTES / row_bytes).max(1))];
    let cell = field.cell().iter().enumerate();
    shape.extend(cell.map(|(axis, &n)| given.get(axis + 1).copied().unwrap_or(n).max(1)));
    Ok(shape)
}

fn grid(outer: &[usize], field: &FieldSpec) -> Result<Grid> {
    let chunk: Vec<u64> = outer.iter().map(|&n| n as u64).collect();
    Grid::new(&field.shape(chunk.first().copied().unwrap_or(1)), &chunk, element_bytes(field.dtype()))
}

/// The largest length up to `most` of which `of` is a multiple.
fn largest_divisor(of: usize, most: usize) -> usize {
    (1..=most.min(of)).rev().find(|&n| of.is_multiple_of(n)).unwrap_or(1)
}

/// Bytes of an element; of text what it has at least.
fn element_bytes(dtype: DType) -> usize {
    if dtype.is_variable() { 4 } else { dtype.size() }
}

fn fill_bytes(field: &FieldSpec) -> Vec<u8> {
    field.fill().map(Fill::as_bytes).map_or_else(|| vec![0; field.dtype().size()], <[u8]>::to_vec)
}

/// The fill value in JSON.
fn fill_json(field: &FieldSpec) -> Value {
    let dtype = field.dtype();
    if dtype.is_variable() {
        return json!("");
    }
    let bytes = fill_bytes(field);
    let float = |x: f64| match x {
        x if x.is_nan() => json!("NaN"),
        x if x.is_infinite() => json!(if x > 0.0 { "Infinity" } else { "-Infinity" }),
        x => json!(x),
    };
    let part = |at: usize, size: usize| {
        let mut all = [0; 8];
        all[..size].copy_from_slice(&bytes[at..at + size]);
        u64::from_le_bytes(all)
    };
    let size = dtype.size();
    match dtype {
        DType::Bool => json!(bytes.iter().any(|&b| b != 0)),
        DType::Float16 => float(half::f16::from_bits(part(0, 2) as u16).to_f64()),
        DType::Float32 => float(f64::from(f32::from_bits(part(0, 4) as u32))),
        DType::Float64 => float(f64::from_bits(part(0, 8))),
        DType::Complex64 => json!([0, 4].map(|at| float(f64::from(f32::from_bits(part(at, 4) as u32))))),
        DType::Complex128 => json!([0, 8].map(|at| float(f64::from_bits(part(at, 8))))),
        DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64 => json!(part(0, size)),
        // Base64 of zeros: a field of bytes has no other fill value in a file.
        DType::FixedBytes(n) => {
            let digits = (n as usize * 8).div_ceil(6);
            json!(format!("{}{}", "A".repeat(digits), "=".repeat(digits.next_multiple_of(4) - digits)))
        }
        // Signed numbers, and times as such.
        _ => {
            let unused = 64 - 8 * size as u32;
            json!((part(0, size) << unused) as i64 >> unused)
        }
    }
}

/// Writes a file, and the folders that it is in.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<u64> {
    let failed = |e| Error::io("writing", path.display(), e);
    match std::fs::write(path, bytes) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(crate::output::folder(path))
                .and_then(|()| std::fs::write(path, bytes))
                .map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    Ok(bytes.len() as u64)
}
