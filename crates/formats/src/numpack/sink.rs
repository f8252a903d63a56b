//! Writing NumPack stores, folders and packages.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use flate2::Crc;
use hyperslab_core::{DType, Error, FieldSpec, Result, SinkSummary, arrow};
use zstd::stream::write::Encoder;

use super::metadata::{self, DTYPES, Written};
use super::{MARKS, METADATA, PACKAGE, package};
use crate::WriteOptions;
use crate::container::ContainerSink;
use crate::output::{NewFile, NewFolder};

const LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 256 << 10;
/// What is given to the compressor at a time.
const PACKED_BYTES: usize = 256 << 10;
/// The longest name of an array, so that its files' have one.
const MAX_NAME: usize = 200;

/// A NumPack store being written: a package where the extension is `npkg`, otherwise a folder.
#[derive(Debug)]
pub struct NumPackSink {
    target: Target,
    open: Option<Open>,
    written: Vec<Written>,
    names: HashSet<String>,
    summary: SinkSummary,
    /// Whether a write failed, so that a file's length is not known.
    failed: bool,
}

#[derive(Debug)]
enum Target {
    Folder(NewFolder),
    Package(NewPackage),
}

/// The array that rows go to.
#[derive(Debug)]
struct Open {
    name: String,
    path: String,
    field: FieldSpec,
    rows: u64,
    file: OpenFile,
}

#[derive(Debug)]
enum OpenFile {
    Folder(BufWriter<File>),
    Package(Box<Entry>),
}

impl NumPackSink {
    /// Starts a store. Options, of packages: `codec` (`zstd`, `none`) and `level` (1 to 22).
    ///
    /// # Errors
    /// `AlreadyExists` for what may not be replaced; `Invalid` for an unknown option or value, and for a folder that is no
    /// NumPack store; `Io`.
    pub fn create(path: impl AsRef<Path>, options: &WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        let is_package = path.extension().is_some_and(|e| e.eq_ignore_ascii_case(PACKAGE));
        let target = match is_package {
            true => {
                let level = level(options).map_err(|e| e.with("file", path.display()))?;
                Target::Package(NewPackage::create(NewFile::create(path, options.replaces())?, level)?)
            }
            false => {
                options.check("numpack folders", &[]).map_err(|e| e.with("file", path.display()))?;
                Target::Folder(NewFolder::create(path, options.replaces(), "NumPack store", MARKS)?)
            }
        };
        let (written, names) = (Vec::new(), HashSet::new());
        Ok(Self { target, open: None, written, names, summary: SinkSummary::default(), failed: false })
    }

    fn path(&self) -> &Path {
        match &self.target {
            Target::Folder(folder) => folder.target(),
            Target::Package(package) => package.file.path(),
        }
    }

    fn start(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        let field = field(fields)?;
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['/', '\\', '\0']) {
            let why = format!("a NumPack array's name is that of a file: at most {MAX_NAME} bytes without / and \\");
            return Err(Error::invalid(format!("{why}; choose another name")));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(Error::already_exists(format!("there is an array {name:?} already")));
        }
        let path = format!("data_{name}.npkd");
        let file = match &mut self.target {
            Target::Folder(folder) => {
                let path = folder.path().join(&path);
                let file = File::create_new(&path).map_err(|e| Error::io("creating", path.display(), e))?;
                OpenFile::Folder(BufWriter::with_capacity(BUFFER_BYTES, file))
            }
            Target::Package(package) => OpenFile::Package(Box::new(package.start(&path)?)),
        };
        self.open = Some(Open { name: name.to_owned(), path, field, rows: 0, file });
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        if self.failed {
            return Err(Error::invalid("the store is discarded, because writing to it failed"));
        }
        let Some(open) = self.open.take() else { return Ok(()) };
        match (open.file, &mut self.target) {
            (OpenFile::Folder(file), target) => {
                let synced = file.into_inner().map_err(|e| e.into_error()).and_then(|file| file.sync_all());
                let path = if let Target::Folder(folder) = target { folder.target() } else { Path::new("") };
                synced.map_err(|e| Error::io("writing", path.display(), e))?;
            }
            (OpenFile::Package(entry), Target::Package(package)) => package.complete(*entry)?,
            (OpenFile::Package(_), Target::Folder(_)) => {}
        }
        let bytes = open.rows * open.field.row_bytes() as u64;
        self.summary.rows += open.rows;
        self.summary.bytes += bytes;
        let (shape, dtype) = (open.field.shape(open.rows), open.field.dtype());
        self.written.push(Written { name: open.name, shape, file: open.path, bytes, dtype });
        Ok(())
    }

    fn publish(mut self) -> Result<SinkSummary> {
        self.complete()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros() as u64);
        let metadata = metadata::write(&self.written, now);
        match self.target {
            Target::Folder(folder) => {
                let written = File::create_new(folder.path().join(METADATA))
                    .and_then(|mut file| file.write_all(&metadata).and_then(|()| file.sync_all()));
                written.map_err(|e| Error::io("writing", folder.target().display(), e))?;
                folder.publish(folder.path())?;
                self.summary.bytes += metadata.len() as u64;
            }
            Target::Package(mut package) => {
                let mut entry = package.start(METADATA)?;
                package.write(&mut entry, &metadata)?;
                package.complete(entry)?;
                self.summary.bytes = package.finish()?;
            }
        }
        Ok(self.summary)
    }
}

/// The one field, as the format has it.
fn field(fields: &[FieldSpec]) -> Result<FieldSpec> {
    let [field] = fields else {
        let names: Vec<_> = fields.iter().map(FieldSpec::name).collect();
        let why = format!("a NumPack array holds one field, and there are {}: {names:?}", names.len());
        return Err(Error::invalid(format!("{why}; select one of them")));
    };
    match field.dtype() {
        // Its column is one of float32.
        DType::Bfloat16 => FieldSpec::new(field.name(), DType::Float32, field.cell().to_vec()),
        dtype if DTYPES.contains(&dtype) => Ok(field.clone()),
        dtype => Err(Error::unsupported(format!(
            "field {:?}: NumPack has no {dtype}; cast it to {}, or leave it out",
            field.name(),
            if matches!(dtype, DType::Datetime64(_) | DType::Timedelta64(_)) { "int64" } else { "numbers" }
        ))),
    }
}

/// The level of zstd; `None` for files as they are.
fn level(options: &WriteOptions) -> Result<Option<i32>> {
    options.check("numpack packages", &["codec", "level"])?;
    let zstd = options.one_of("codec", &[("none", false), ("zstd", true)])?.unwrap_or(true);
    match options.number("level", 1..=22)? {
        Some(_) if !zstd => {
            Err(Error::invalid("option level is for codec zstd; set codec to zstd, or leave level out"))
        }
        level => Ok(zstd.then_some(level.unwrap_or(LEVEL))),
    }
}

/// A package being written, file by file, whose sizes are filled in when they are known.
#[derive(Debug)]
struct NewPackage {
    file: NewFile,
    level: Option<i32>,
    count: u32,
    end: u64,
    /// Of the files' checksums.
    crc: Crc,
}

/// The file of a package that bytes go to.
struct Entry {
    /// Where its sizes are.
    sizes: u64,
    bytes: u64,
    crc: Crc,
    /// Once there are bytes: one without any is stored.
    packer: Option<Encoder<'static, Vec<u8>>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("sizes", &self.sizes).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl NewPackage {
    fn create(file: NewFile, level: Option<i32>) -> Result<Self> {
        let mut this = Self { file, level, count: 0, end: 0, crc: Crc::new() };
        let head = this.head();
        this.put(&head)?;
        Ok(this)
    }

    fn head(&self) -> Vec<u8> {
        let mut head = package::MAGIC.to_vec();
        head.extend_from_slice(&package::VERSION.to_le_bytes());
        head.push(u8::from(self.level.is_some()));
        head.extend_from_slice(&self.count.to_le_bytes());
        head
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.end += bytes.len() as u64;
        self.file.write(bytes)
    }

    /// Writes over bytes.
    fn put_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let end = self.end;
        let file = self.file.file()?;
        let written = file
            .seek(SeekFrom::Start(at))
            .and_then(|_| file.write_all(bytes))
            .and_then(|()| file.seek(SeekFrom::Start(end)));
        written.map(|_| ()).map_err(|e| self.file.failed(e))
    }

    fn start(&mut self, path: &str) -> Result<Entry> {
        self.put(&(path.len() as u32).to_le_bytes())?;
        self.put(path.as_bytes())?;
        let sizes = self.end;
        self.put(&[0; 16])?;
        self.count += 1;
        Ok(Entry { sizes, bytes: 0, crc: Crc::new(), packer: None })
    }

    fn write(&mut self, entry: &mut Entry, bytes: &[u8]) -> Result<()> {
        entry.crc.update(bytes);
        entry.bytes += bytes.len() as u64;
        let Some(level) = self.level else { return self.put(bytes) };
        for part in bytes.chunks(PACKED_BYTES) {
            let packer = match &mut entry.packer {
                Some(packer) => packer,
                None => entry.packer.insert(Encoder::new(Vec::new(), level).map_err(|e| self.file.failed(e))?),
            };
            packer.write_all(part).map_err(|e| self.file.failed(e))?;
            let packed = std::mem::take(packer.get_mut());
            self.put(&packed)?;
        }
        Ok(())
    }

    fn complete(&mut self, entry: Entry) -> Result<()> {
        let mut packed = 0;
        if let Some(packer) = entry.packer {
            let rest = packer.finish().map_err(|e| self.file.failed(e))?;
            self.put(&rest)?;
            packed = self.end - entry.sizes - 16;
        }
        self.put_at(entry.sizes, &[entry.bytes, packed].map(u64::to_le_bytes).concat())?;
        self.crc.update(&entry.crc.sum().to_le_bytes());
        Ok(())
    }

    /// Writes what comes at the end and makes the package visible. Returns its bytes.
    fn finish(mut self) -> Result<u64> {
        let crc = self.crc.sum();
        self.put(&crc.to_le_bytes())?;
        let head = self.head();
        self.put_at(0, &head)?;
        self.file.publish()?;
        Ok(self.end)
    }
}

impl ContainerSink for NumPackSink {
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        let begun = self.complete().and_then(|()| self.start(name, fields));
        begun.map_err(|e| e.with("array", name).with("file", self.path().display()))
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.path().display().to_string();
        let Some(open) = &mut self.open else {
            return Err(Error::invalid("rows were given before an array was started").with("file", path));
        };
        let here = |e: Error| e.with("array", &open.name).with("file", &path);
        let [column] = batch.columns() else {
            let found = batch.num_columns();
            return Err(here(Error::invalid(format!("a NumPack array holds one field, and the rows have {found}"))));
        };
        let bytes = arrow::raw_bytes(&open.field, column.as_ref(), open.rows).map_err(here)?;
        open.rows += batch.num_rows() as u64;
        let written = match (&mut open.file, &mut self.target) {
            (OpenFile::Package(entry), Target::Package(package)) => package.write(entry, &bytes),
            (OpenFile::Folder(file), _) => file.write_all(&bytes).map_err(|e| Error::io("writing", path, e)),
            (OpenFile::Package(_), Target::Folder(_)) => Ok(()),
        };
        self.failed |= written.is_err();
        written
    }

    fn finish(self: Box<Self>) -> Result<SinkSummary> {
        let path = self.path().to_owned();
        self.publish().map_err(|e| e.with("file", path.display()))
    }
}
