//! Writing Zarr folders: arrays one after another, each as an array for each of its fields.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::RecordBatch;
use hyperslab_core::{Error, FieldSpec, Result, SinkSummary};
use serde_json::{Map, Value, json};

use super::ARRAY_ATTRIBUTE;
use super::options::ZarrOptions;
use super::writer::{Column, write_file};
use crate::container::ContainerSink;
use crate::options::WriteOptions;
use crate::output::NewFolder;

/// A Zarr folder being written, in a temporary folder beside the final one, which it takes the name of when it is
/// finished; dropped, it vanishes. A whole folder is there or none; unlike a file, its chunks are not synced one by one.
///
/// An array of one field becomes an array of its name, one of several fields a group with an array for each field; a `/`
/// in a name makes groups. Where there is one array, named as the folder without its extension, the folder is that array.
/// NULLs are an error, and bfloat16, which zarr-python has not, is written as float32.
///
/// | option | |
/// |---|---|
/// | `array` | another name; `'/'` is the folder itself |
/// | `version` | `'3'` or `'2'` |
/// | `chunks` | `'1000,384'`: rows first; axes left out are whole. By default up to 1 MiB of rows |
/// | `shards` | version 3: the same, multiples of the chunks that lie in one file |
/// | `codec`, `level` | `'zstd'`, `'gzip'`, `'none'`; version 2 also `'zlib'` |
/// | `attributes` | of the array or group, a JSON object |
#[derive(Debug)]
pub struct ZarrSink {
    folder: NewFolder,
    options: ZarrOptions,
    current: Option<Array>,
    /// The keys of complete arrays, `""` the folder itself.
    arrays: Vec<String>,
    /// The attributes of groups.
    groups: BTreeMap<String, Map<String, Value>>,
    summary: SinkSummary,
}

/// The array that rows go to.
#[derive(Debug)]
struct Array {
    columns: Vec<Column>,
    keys: Vec<String>,
    /// The group of several fields.
    group: Option<String>,
    rows: u64,
}

impl ZarrSink {
    /// Starts a folder.
    ///
    /// # Errors
    /// `AlreadyExists` for what may not be overwritten; `Unsupported` for a `.zip`; `Invalid` for options that are not known
    /// or not possible, and for something at `path` that is no Zarr folder; `Io`.
    pub fn create(path: &Path, options: &WriteOptions) -> Result<Self> {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip")) {
            let why = "zip archives of Zarr are read and not written; write a folder, as x.zarr, and pack it without compression";
            return Err(Error::unsupported(why).with("file", path.display()));
        }
        let read = ZarrOptions::new(options).map_err(|e| e.with("file", path.display()))?;
        let folder = NewFolder::create(path, options.replaces(), "Zarr folder", super::MARKS)?;
        Ok(Self {
            folder,
            options: read,
            current: None,
            arrays: Vec::new(),
            groups: BTreeMap::new(),
            summary: SinkSummary::default(),
        })
    }

    pub(crate) fn create_boxed(path: &Path, options: &WriteOptions) -> Result<Box<dyn ContainerSink>> {
        Ok(Box::new(Self::create(path, options)?))
    }

    fn start(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        let key = self.options.array.as_deref().unwrap_or(name).trim_matches('/').to_owned();
        let (keys, group) = match fields {
            [] => return Err(Error::invalid("there is no field to write")),
            [_] => (vec![key], None),
            _ => {
                let inside = |field: &FieldSpec| match field.name().contains('/') {
                    true => Err(bad_name(field.name())),
                    false => Ok(super::join(&key, field.name())),
                };
                (fields.iter().map(inside).collect::<Result<_>>()?, Some(key))
            }
        };
        for (i, key) in keys.iter().enumerate() {
            // A name that starts with a dot or is zarr.json would be one of the format's own files.
            let bad = |part: &str| {
                part.is_empty() || part.starts_with('.') || part == "zarr.json" || part.contains(['\0', '\\'])
            };
            if !key.is_empty() && key.split('/').any(bad) || key.split('/').any(|part| part.len() > 255) {
                return Err(bad_name(key));
            }
            let within = |a: &str, b: &str| {
                b.is_empty() || a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let mut others = self.arrays.iter().chain(&keys[..i]);
            if let Some(other) = others.find(|other| within(key, other) || within(other, key)) {
                return Err(Error::already_exists(format!(
                    "the folder has an array {other:?}, so that there can be none named {key:?}; choose another name"
                )));
            }
        }
        let root = self.folder.path();
        let columns = keys.iter().zip(fields).map(|(key, field)| {
            let folder = if key.is_empty() { root.to_owned() } else { root.join(key) };
            Column::new(folder, field, &self.options).map_err(|e| e.with("field", field.name()))
        });
        self.current = Some(Array { columns: columns.collect::<Result<_>>()?, keys, group, rows: 0 });
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let Some(array) = self.current.take() else { return Ok(()) };
        self.summary.rows += array.rows;
        let own = self.options.attributes.clone();
        if let Some(group) = &array.group {
            let names: Vec<_> = array.keys.iter().map(|key| key.rsplit('/').next().unwrap_or_default()).collect();
            let attributes = self.groups.entry(group.clone()).or_default();
            attributes.extend(own.clone());
            attributes.insert(ARRAY_ATTRIBUTE.to_owned(), json!(names));
        }
        let attributes = if array.group.is_none() { Value::Object(own) } else { json!({}) };
        for (column, key) in array.columns.into_iter().zip(array.keys) {
            self.summary.bytes += column.finish(&attributes)?;
            self.arrays.push(key);
        }
        Ok(())
    }

    /// Writes the metadata of the groups, and gives the folder its name.
    fn publish(mut self) -> Result<SinkSummary> {
        self.complete()?;
        let stem = crate::Format::stem(self.folder.target());
        let only = matches!(self.arrays.as_slice(), [only] if *only == stem) && self.groups.is_empty();
        let alone = self.arrays.iter().any(String::is_empty);
        if !only && !alone {
            self.groups.entry(String::new()).or_default();
            for key in &self.arrays {
                for (at, _) in key.match_indices('/') {
                    self.groups.entry(key[..at].to_owned()).or_default();
                }
            }
        }
        for (key, attributes) in &self.groups {
            let folder = if key.is_empty() { self.folder.path().to_owned() } else { self.folder.path().join(key) };
            self.summary.bytes += match self.options.version {
                2 => {
                    write_file(&folder.join(".zattrs"), json!(attributes).to_string().as_bytes())?
                        + write_file(&folder.join(".zgroup"), b"{\"zarr_format\": 2}")?
                }
                _ => {
                    let json = json!({"zarr_format": 3, "node_type": "group", "attributes": attributes});
                    write_file(&folder.join("zarr.json"), json.to_string().as_bytes())?
                }
            };
        }
        let done = if only { self.folder.path().join(&stem) } else { self.folder.path().to_owned() };
        self.folder.publish(&done)?;
        Ok(self.summary)
    }
}

fn bad_name(name: &str) -> Error {
    Error::invalid(format!(
        "{name:?} cannot be the name of an array: parts between / may not be empty or start with a dot, and a field may \
         have no /; choose another name"
    ))
}

impl ContainerSink for ZarrSink {
    fn begin(&mut self, name: &str, fields: &[FieldSpec]) -> Result<()> {
        let begun = self.complete().and_then(|()| self.start(name, fields));
        begun.map_err(|e| e.with("array", name).with("file", self.folder.target().display()))
    }

    fn takes_fields_together(&self) -> bool {
        true
    }

    fn holds_text(&self) -> bool {
        true
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let path = self.folder.target().display();
        let array =
            self.current.as_mut().ok_or_else(|| Error::invalid("no array was started that rows could go to"))?;
        if batch.num_columns() != array.columns.len() {
            let (found, wanted) = (batch.num_columns(), array.columns.len());
            return Err(Error::invalid(format!("the rows have {found} fields instead of {wanted}")).with("file", path));
        }
        for (column, values) in array.columns.iter_mut().zip(batch.columns()) {
            column.write(values.as_ref(), array.rows).map_err(|e| e.with("file", &path))?;
        }
        array.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn set_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        self.groups.entry(String::new()).or_default().insert(key.to_owned(), json!(value));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SinkSummary> {
        let path = self.folder.target().to_owned();
        self.publish().map_err(|e| e.with("file", path.display()))
    }
}
