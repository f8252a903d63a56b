//! Indexes: columns beside the fields of an array, computed from the values of one of them.
//!
//! The store keeps them as it keeps fields, so that they are appended, replaced, deleted, compacted, checked, cloned and
//! vacuumed with them, in the same commits, and belong to a version as the rows do. What they mean is not its business:
//! an [`IndexKind`] says which columns there are and computes them. Where none is at hand, and in rows that were there
//! before the index, the columns' fill values stand: they must mean that nothing is known of the row.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hyperslab_core::{Error, FieldSpec, Result};

use crate::action::IndexRecord;
use crate::shard::Kind;
use crate::state::ArrayState;
use crate::{Array, Store};

/// Options of an index, as they stand in the log.
pub type IndexOptions = serde_json::Map<String, serde_json::Value>;

/// What computes the columns of an index.
pub trait IndexKind: Send + Sync + fmt::Debug {
    /// The name that the log has for it.
    fn name(&self) -> &str;

    /// The columns of an index of `field`, of one width and never NULL. Their fill values mean that nothing is known of
    /// a row.
    ///
    /// # Errors
    /// `Invalid` for a field that cannot have such an index, and for options that are not understood.
    fn columns(&self, field: &FieldSpec, options: &IndexOptions) -> Result<Vec<FieldSpec>>;

    /// The raw rows of each column, little-endian, computed from `rows` raw rows of the field.
    ///
    /// # Errors
    /// As [`columns`](Self::columns).
    fn compute(&self, field: &FieldSpec, options: &IndexOptions, rows: usize, values: &[u8]) -> Result<Vec<Vec<u8>>>;
}

/// The kinds that a store knows.
#[derive(Debug, Default)]
pub(crate) struct IndexKinds(RwLock<BTreeMap<String, Arc<dyn IndexKind>>>);

/// An index of an array.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexInfo {
    /// Its name, unique in the array.
    pub name: String,
    /// The field that it is of.
    pub field: String,
    /// What computes it.
    pub kind: String,
    /// How.
    pub options: IndexOptions,
    /// Where its columns stand behind the array's fields: they are read as these.
    pub columns: std::ops::Range<usize>,
    /// Rows of segments that have its columns. In some of them they may say that nothing is known.
    pub rows: u64,
    /// Bytes of its files that are in use.
    pub disk_bytes: u64,
}

impl IndexKinds {
    pub(crate) fn add(&self, kind: Arc<dyn IndexKind>) {
        let mut kinds = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kinds.insert(kind.name().to_owned(), kind);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn IndexKind>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The columns of an index for raw rows of its field: computed, or, by a program that does not know the kind, the
    /// fill values.
    pub(crate) fn columns(&self, of: &IndexOf<'_>, rows: usize, values: &[u8]) -> Result<Vec<Vec<u8>>> {
        let computed = match self.get(&of.index.kind) {
            Some(kind) => kind.compute(of.field, &of.index.options, rows, values)?,
            None => of.columns.iter().map(|column| filled(column, rows)).collect::<Result<_>>()?,
        };
        let fits = |(column, bytes): (&FieldSpec, &Vec<u8>)| bytes.len() == column.row_bytes() * rows;
        if computed.len() != of.columns.len() || !of.columns.iter().zip(&computed).all(fits) {
            return Err(Error::invalid(format!("the columns of index {:?} are not those of its rows", of.index.name)));
        }
        Ok(computed)
    }
}

/// An index with what it is made of.
#[derive(Debug)]
pub(crate) struct IndexOf<'a> {
    pub index: &'a IndexRecord,
    /// The field that it is of, among the array's.
    pub of: usize,
    pub field: &'a FieldSpec,
    /// Where its columns stand.
    pub at: std::ops::Range<usize>,
    pub columns: &'a [FieldSpec],
}

/// The indexes of an array.
///
/// # Errors
/// `Corrupt` for one of a field that is not there.
pub(crate) fn indexes(array: &ArrayState) -> Result<Vec<IndexOf<'_>>> {
    let of = |index| {
        let at = array.index(index).map_or(0..0, |(_, at)| at);
        let index = array.index(index).map(|(index, _)| index);
        let index = index.ok_or_else(|| Error::corrupt("an index is missing"))?;
        let of = array.field_index(index.field)?;
        let (_, field) = array.field_at(of)?;
        let columns = array.fields().get(at.clone()).unwrap_or_default();
        Ok(IndexOf { index, of, field, at, columns })
    };
    array.indexes().iter().map(|index| of(&index.name)).collect()
}

/// Raw rows that hold the fill value.
///
/// # Errors
/// `Invalid` for more rows than fit in memory.
pub(crate) fn filled(column: &FieldSpec, rows: usize) -> Result<Vec<u8>> {
    let block = hyperslab_core::arrow::filled(column, rows)?;
    Ok(crate::packed::of_array(column, block.array.as_ref(), 0)?.to_vec())
}

impl Store {
    /// Makes a kind of indexes known, so that appends and edits through this handle compute their columns.
    pub fn add_index_kind(&self, kind: Arc<dyn IndexKind>) {
        self.inner().index_kinds.add(kind);
    }
}

impl Array {
    /// Compares files of an index with their checksums, those that were not compared before: values that are not what was
    /// written would make a program that trusts them answer wrongly, and nobody see it. The files are taken in `parts`
    /// shares, for as many threads; this is the one with the number `part`.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` or `Io`, naming the file.
    pub fn verify_index(&self, index: &str, part: usize, parts: usize) -> Result<()> {
        let state = self.state();
        let (_, at) = state.index(index).ok_or_else(|| Error::not_found(format!("there is no index {index:?}")))?;
        let segments = state.segments().iter().flat_map(|s| s.shards.get(at.clone()).into_iter().flatten().flatten());
        let patches = at.clone().flat_map(|at| state.patches(at)).flat_map(|p| p.rows.shards.iter().flatten());
        // Frames of compressed ones are compared whenever they are read.
        let raw = segments.chain(patches).filter(|shard| shard.kind == Kind::Raw);
        for shard in raw.skip(part).step_by(parts.max(1)) {
            self.compare(shard).map_err(|e| e.with("array", self.name()))?;
        }
        Ok(())
    }

    /// Its indexes.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn indexes(&self) -> Result<Vec<IndexInfo>> {
        let state = self.state();
        let info = |of: IndexOf<'_>| {
            let shards = |at: usize| state.segments().iter().flat_map(move |s| s.shards.get(at).into_iter().flatten());
            let patches = |at: usize| state.patches(at).iter().flat_map(|p| p.rows.shards.iter().flatten());
            let bytes = |at| shards(at).chain(patches(at)).map(crate::shard::Shard::file_bytes).sum::<u64>();
            let filled = |s: &crate::segment::Segment| {
                of.at.clone().all(|at| s.shards.get(at).is_some_and(|shards| !shards.is_empty()))
            };
            IndexInfo {
                name: of.index.name.clone(),
                field: of.field.name().to_owned(),
                kind: of.index.kind.clone(),
                options: of.index.options.clone(),
                columns: of.at.clone(),
                rows: state.segments().iter().filter(|s| filled(s)).map(|s| s.live()).sum(),
                disk_bytes: of.at.clone().map(bytes).sum(),
            }
        };
        Ok(indexes(state)?.into_iter().map(info).collect())
    }
}
