//! A group's datasets as the fields of one array.

use std::ops::Range;

use hyperslab_core::{ArraySource, Block, Error, FieldSpec, Result};

use super::source::Hdf5Source;

/// Datasets of as many rows, read side by side.
#[derive(Debug)]
pub struct GroupSource {
    fields: Vec<FieldSpec>,
    sources: Vec<Hdf5Source>,
    rows: u64,
}

impl GroupSource {
    /// Datasets with the names that their fields get.
    pub(super) fn new(datasets: Vec<(String, Hdf5Source)>) -> Result<Self> {
        let mut fields = Vec::with_capacity(datasets.len());
        for (name, source) in &datasets {
            let [field] = source.fields() else {
                let why = "dataset {name:?} has several fields, and those of a group need one; open it alone";
                return Err(Error::unsupported(why.replace("{name:?}", &format!("{name:?}"))));
            };
            fields.push(field.renamed(name.as_str())?);
        }
        let rows = datasets.first().map(|(_, source)| source.rows());
        let rows =
            rows.ok_or_else(|| Error::invalid("there is no dataset in the group; name one in a group below it"))?;
        if let Some((name, other)) = datasets.iter().find(|(_, source)| source.rows() != rows) {
            return Err(Error::invalid(format!(
                "its datasets have different lengths, {rows} rows and {} of {name:?}; open one of them",
                other.rows()
            )));
        }
        Ok(Self { fields, sources: datasets.into_iter().map(|(_, source)| source).collect(), rows })
    }

    fn source(&self, field: usize) -> Result<&Hdf5Source> {
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
