//! The arrays of a group as the fields of one array.

use std::ops::Range;
use std::sync::Arc;

use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result};

/// Arrays of as many rows, read side by side: a group of arrays of an HDF5 file, of arrays of a Zarr folder.
#[derive(Debug)]
pub struct GroupSource {
    fields: Vec<FieldSpec>,
    sources: Vec<Arc<dyn ArraySource>>,
    rows: u64,
}

impl GroupSource {
    /// Arrays with the names that their fields get.
    pub(crate) fn new(arrays: Vec<(String, Arc<dyn ArraySource>)>) -> Result<Self> {
        let mut fields = Vec::with_capacity(arrays.len());
        for (name, source) in &arrays {
            let [field] = source.fields() else {
                let why = "array {name:?} has several fields, and those of a group need one; open it alone";
                return Err(Error::unsupported(why.replace("{name:?}", &format!("{name:?}"))));
            };
            fields.push(field.renamed(name.as_str())?);
        }
        let rows = arrays.first().map(|(_, source)| source.rows());
        let rows =
            rows.ok_or_else(|| Error::invalid("there is no array in the group; name one in a group below it"))?;
        if let Some((name, other)) = arrays.iter().find(|(_, source)| source.rows() != rows) {
            return Err(Error::invalid(format!(
                "its arrays have different lengths, {rows} rows and {} of {name:?}; open one of them",
                other.rows()
            )));
        }
        Ok(Self { fields, sources: arrays.into_iter().map(|(_, source)| source).collect(), rows })
    }

    fn source(&self, field: usize) -> Result<&Arc<dyn ArraySource>> {
        self.sources.get(field).ok_or_else(|| {
            Error::invalid(format!("there is no field number {field}; there are {}", self.sources.len()))
        })
    }
}

impl ArraySource for GroupSource {
    fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn run_end(&self, field: usize, row: u64) -> u64 {
        self.sources.get(field).map_or(self.rows, |source| source.run_end(0, row))
    }

    fn read(&self, field: usize, rows: Range<u64>) -> Result<Block> {
        self.source(field)?.read(0, rows)
    }

    fn take(&self, field: usize, rows: &[u64]) -> Result<Block> {
        self.source(field)?.take(0, rows)
    }
}
