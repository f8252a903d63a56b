//! Indexes: columns beside the fields, which a program computes from the values of one of them.

use std::sync::Arc;

use hyperslab_core::{Error, Result};

use super::ArrayState;
use crate::action::{IndexFill, IndexRecord};

impl ArrayState {
    /// An index by name, and where its columns stand among the fields.
    pub(crate) fn index(&self, name: &str) -> Option<(&IndexRecord, std::ops::Range<usize>)> {
        let mut start = self.own_fields().len();
        for index in &self.indexes {
            let end = start + index.columns.len();
            if index.name == name {
                return Some((index, start..end));
            }
            start = end;
        }
        None
    }

    pub(in crate::state) fn add_index(&mut self, index: &IndexRecord) -> Result<()> {
        if index.columns.iter().any(|column| column.id < self.next_field) {
            return Err(Error::corrupt(format!("the index {:?} has the column of another", index.name)));
        }
        self.push_index(index)
    }

    pub(super) fn push_index(&mut self, index: &IndexRecord) -> Result<()> {
        let bad = |why: &str| Error::corrupt(format!("the index {:?} {why}", index.name));
        let of = self.field_index(index.field)?;
        if of >= self.own_fields().len() {
            return Err(bad("is of another index"));
        }
        if index.columns.is_empty() || self.index(&index.name).is_some() {
            return Err(bad("has no columns, or its name is taken"));
        }
        for column in &index.columns {
            // Behind all others: `own_fields` counts from the front.
            self.insert_column(self.fields.len(), column)?;
        }
        self.indexes.push(index.clone());
        Ok(())
    }

    pub(in crate::state) fn drop_index(&mut self, name: &str) -> Result<()> {
        let missing = || Error::corrupt(format!("there is no index {name:?}"));
        let (_, columns) = self.index(name).ok_or_else(missing)?;
        for _ in columns.clone() {
            self.remove_column(columns.start);
        }
        self.indexes.retain(|index| index.name != name);
        Ok(())
    }

    pub(in crate::state) fn fill_index(&mut self, action: &IndexFill) -> Result<()> {
        let bad = |why: &str| Error::corrupt(format!("an index of segment {:08x} is filled, {why}", action.segment));
        let found = self.segments.iter().position(|s| s.id == action.segment);
        let at = found.ok_or_else(|| bad("which is not there"))?;
        let own = self.own_fields().len();
        let Some(segment) = self.segments.get(at) else { return Ok(()) };
        for shard in &action.shards {
            let column = self.field_index(shard.field)?;
            if column < own || segment.shards.get(column).is_none_or(|shards| !shards.is_empty()) {
                return Err(bad("which has it already, or a field instead"));
            }
        }
        let filled = segment.extended(segment.rows, &action.shards, &self.field_ids, &self.fields)?;
        if let Some(slot) = self.segments.get_mut(at) {
            *slot = Arc::new(filled);
        }
        self.forget();
        Ok(())
    }
}
