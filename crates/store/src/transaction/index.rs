//! Indexes: made, dropped, and kept true by appends and edits.

use hyperslab_core::{Error, Result, check_name};

use super::Transaction;
use super::edit::field_of;
use crate::ArrayName;
use crate::action::{Action, FieldRecord, Id, IndexCreate, IndexDrop, IndexRecord};
use crate::index::{IndexOptions, indexes};

impl Transaction {
    /// Adds an index of a field, of a kind that the store [knows](crate::Store::add_index_kind). New rows and new values
    /// get its columns from now on; those that are there get them from [`build_index`](crate::Store::build_index).
    ///
    /// # Errors
    /// `NotFound` for array, field or kind; `AlreadyExists`; what the kind refuses.
    pub fn create_index(
        &mut self,
        array: impl Into<ArrayName>,
        name: &str,
        field: &str,
        kind: &str,
        options: &IndexOptions,
    ) -> Result<()> {
        let array_name = array.into();
        self.check_writable()?;
        check_name("index", name)?;
        let array = self.resolve(&array_name)?;
        if array.index(name).is_some() {
            return Err(Error::already_exists(format!("array {:?} has an index {name:?}", array_name.to_string())));
        }
        let (of, spec) = field_of(array, field)?;
        let computes = self.store.index_kinds.get(kind);
        let computes = computes.ok_or_else(|| Error::not_found(format!("there is no kind of index {kind:?}")))?;
        let columns = computes.columns(spec, options).map_err(|e| e.with("array", &array_name).with("field", field))?;
        let mut records = Vec::with_capacity(columns.len());
        for (id, column) in (array.next_field..).zip(&columns) {
            if crate::packed::is_packed(column) || column.row_bytes() == 0 {
                return Err(Error::invalid(format!("the column {:?} of an index may be NULL or empty", column.name())));
            }
            let column = column.renamed(format!("{name}.{}", column.name()))?;
            super::shape::check_new_field(array, column.name())?;
            records.push(FieldRecord::new(id, &column));
        }
        let (id, field) = (array.id, array.field_at(of)?.0);
        let (name, kind, options) = (name.to_owned(), kind.to_owned(), options.clone());
        let index = IndexRecord { name, field, kind, options, columns: records };
        self.reshape(id, Action::IndexCreate(IndexCreate { array: id, index }))
    }

    /// Drops an index.
    ///
    /// # Errors
    /// `NotFound`, naming those that there are.
    pub fn drop_index(&mut self, array: impl Into<ArrayName>, name: &str) -> Result<()> {
        let array_name = array.into();
        self.check_writable()?;
        let array = self.resolve(&array_name)?;
        if array.index(name).is_none() {
            let names: Vec<&str> = array.indexes().iter().map(|index| index.name.as_str()).collect();
            let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            let array = array_name.to_string();
            return Err(Error::not_found(format!("array {array:?} has no index {name:?}; {has}")));
        }
        let id = array.id;
        self.reshape(id, Action::IndexDrop(IndexDrop { array: id, name: name.to_owned() }))
    }

    /// Drops the indexes of a field, which goes itself.
    pub(super) fn drop_indexes_of(&mut self, id: Id, field: u32) -> Result<()> {
        let Some(array) = self.work.state.array(id) else { return Ok(()) };
        let of_field = array.indexes().iter().filter(|index| index.field == field);
        let names: Vec<String> = of_field.map(|index| index.name.clone()).collect();
        names.into_iter().try_for_each(|name| self.reshape(id, Action::IndexDrop(IndexDrop { array: id, name })))
    }

    /// The columns of an array's indexes, for raw rows of its fields.
    pub(super) fn index_columns(&self, id: Id, fields: &[&[u8]], rows: u64) -> Result<Vec<Vec<u8>>> {
        let Some(array) = self.work.state.array(id).filter(|array| !array.indexes().is_empty()) else {
            return Ok(Vec::new());
        };
        let mut columns = Vec::new();
        for of in indexes(array)? {
            let values = fields.get(of.of).copied().unwrap_or_default();
            columns.extend(self.store.index_kinds.columns(&of, rows as usize, values)?);
        }
        Ok(columns)
    }

    /// Where the columns of the indexes of one field stand, and their raw rows for new values of it.
    pub(super) fn index_patches(
        &self,
        id: Id,
        field: usize,
        rows: u64,
        values: &[u8],
    ) -> Result<Vec<(usize, Vec<u8>)>> {
        let Some(array) = self.work.state.array(id).filter(|array| !array.indexes().is_empty()) else {
            return Ok(Vec::new());
        };
        let mut columns = Vec::new();
        for of in indexes(array)?.into_iter().filter(|of| of.of == field) {
            columns.extend(of.at.clone().zip(self.store.index_kinds.columns(&of, rows as usize, values)?));
        }
        Ok(columns)
    }
}
