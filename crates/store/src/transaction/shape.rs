//! Changes of more than rows: axes resized, fields added, dropped and renamed, whole arrays cloned and restored, tags.

use std::collections::BTreeMap;

use hyperslab_core::{Error, FieldSpec, Result, check_name};

use super::edit::field_of;
use super::{Touched, Transaction, check_shard_bytes};
use crate::ArrayName;
use crate::action::{
    Action, ArrayRecord, ArraySet, Codec, FieldAdd, FieldDrop, FieldRecord, FieldRename, Id, Resize, SegmentAction,
    TagDrop, TagSet,
};
use crate::state::ArrayState;

/// The most rows that an array can be given without writing them.
const MAX_ROWS: u64 = 1 << 40;

impl Transaction {
    /// Gives the array another number of rows: the last ones go, or new ones come, which hold the fill values. O(1).
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for more than 2^40 rows.
    pub fn resize(&mut self, name: impl Into<ArrayName>, rows: u64) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?;
        let (id, now) = (array.id, self.rows_of(array));
        if rows <= now {
            return self.truncate_to(id, rows, now).map(drop).map_err(|e| e.with("array", name));
        }
        if rows > MAX_ROWS {
            let why = format!("{rows} rows; an array can be given up to {MAX_ROWS} without writing them");
            return Err(Error::invalid(why).with("array", name));
        }
        self.touch(id);
        self.freeze(id)?;
        let mut left = rows - now;
        while left > 0 {
            let rows = left.min(u64::from(u32::MAX));
            let array = self.work.state.array(id).ok_or_else(super::savepoint::gone)?;
            let mut segment = crate::writer::random_segment_id();
            while array.segment(segment).is_some() {
                segment = crate::writer::random_segment_id();
            }
            // A change of rows: what the log gets is found at the commit.
            self.work.act(&Action::SegmentAdd(SegmentAction { array: id, segment, rows, shards: Vec::new() }))?;
            left -= rows;
        }
        Ok(())
    }

    /// Gives a field's cells another shape of as many axes: what an axis loses is gone, what it gains holds the fill
    /// value. O(1).
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for another number of axes or a shape that is too large.
    pub fn resize_cell(&mut self, name: impl Into<ArrayName>, field: &str, cell: &[usize]) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?;
        let (index, spec) = field_of(array, field)?;
        if spec.cell().len() != cell.len() {
            let (has, name) = (spec.cell(), name.to_string());
            return Err(Error::invalid(format!(
                "cells of field {field:?} of array {name:?} have the shape {has:?}, and {cell:?} has another number of axes"
            )));
        }
        if spec.cell() == cell {
            return Ok(());
        }
        if let Some(of) = array.indexes().iter().find(|i| array.field_index(i.field).ok() == Some(index)) {
            let (index, name) = (&of.name, name.to_string());
            let why = format!(
                "field {field:?} of array {name:?} has the index {index:?}; drop that, and create it anew then"
            );
            return Err(Error::invalid(why));
        }
        crate::shard::part_header(&spec.with_cell(cell.to_vec())?, crate::shard::Part::Values, 0)?;
        let (id, field) = (array.id, array.field_at(index)?.0);
        self.reshape(id, Action::Resize(Resize { array: id, field, cell: cell.to_vec() }))
    }

    /// Adds a field, whose rows hold its fill value. O(1).
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists`.
    pub fn add_field(&mut self, name: impl Into<ArrayName>, field: FieldSpec) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?;
        check_new_field(array, field.name())?;
        crate::shard::part_header(&field, crate::shard::Part::Values, 0)?;
        let (id, record) = (array.id, FieldRecord::new(array.next_field, &field));
        self.reshape(id, Action::FieldAdd(FieldAdd { array: id, field: record }))
    }

    /// Drops a field.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the last field.
    pub fn drop_field(&mut self, name: impl Into<ArrayName>, field: &str) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?;
        let (index, _) = field_of(array, field)?;
        if array.own_fields().len() == 1 {
            let name = name.to_string();
            return Err(Error::invalid(format!("{field:?} is the only field of array {name:?}; drop the array")));
        }
        let (id, field) = (array.id, array.field_at(index)?.0);
        self.drop_indexes_of(id, field)?;
        self.reshape(id, Action::FieldDrop(FieldDrop { array: id, field }))
    }

    /// Renames a field.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists`; `Invalid`.
    pub fn rename_field(&mut self, name: impl Into<ArrayName>, from: &str, to: &str) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        let array = self.resolve(&name)?;
        let (index, spec) = field_of(array, from)?;
        check_new_field(array, to)?;
        spec.renamed(to)?;
        let (id, field) = (array.id, array.field_at(index)?.0);
        self.reshape(id, Action::FieldRename(FieldRename { array: id, field, name: to.to_owned() }))
    }

    /// Changes options of an array, for files that are written from now on; what is not named stays.
    ///
    /// # Errors
    /// `NotFound` for the array or a field; `Invalid` for a size or a codec that cannot be.
    pub fn set_options(
        &mut self,
        name: impl Into<ArrayName>,
        shard_bytes: Option<u64>,
        codecs: &BTreeMap<String, Codec>,
    ) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        shard_bytes.map_or(Ok(()), check_shard_bytes)?;
        let array = self.resolve(&name)?;
        let codec = |(field, codec): (&String, &Codec)| {
            codec.check()?;
            let (index, _) = field_of(array, field)?;
            Ok((array.field_at(index)?.0, *codec))
        };
        let codecs: Vec<(u32, Codec)> = codecs.iter().map(codec).collect::<Result<_>>()?;
        if shard_bytes.is_none() && codecs.is_empty() {
            return Ok(());
        }
        let array = array.id;
        self.reshape(array, Action::ArraySet(ArraySet { array, shard_bytes, codecs }))
    }

    /// Makes `to` an array of the same rows as `from`, as this transaction sees them. O(1): the shards are shared.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`rename`](Self::rename).
    pub fn clone_array(&mut self, from: impl Into<ArrayName>, to: impl Into<ArrayName>) -> Result<()> {
        let (from, to) = (from.into(), to.into());
        self.check_writable()?;
        let id = self.resolve(&from)?.id;
        self.check_free(&to)?;
        self.write_out(id)?;
        let array = self.work.state.array(id).ok_or_else(super::savepoint::gone)?.clone();
        let new = Id::random();
        let mut record = array.to_copy(new, &to);
        for (segment, record) in array.segments().iter().zip(&mut record.segments) {
            // Of this transaction's own deletes the state does not know how the log will say them.
            if !self.own_deleted(&array, segment)?.is_empty() {
                record.deleted = self.whole_deleted(&array, segment, new)?;
            }
        }
        self.act(Action::ArrayClone(record))?;
        self.took_over(new, None);
        Ok(())
    }

    /// Makes the array again what it was in an earlier version: fields, rows, options. It may have been dropped since.
    ///
    /// # Errors
    /// `NotFound` when the version has no such array; what [`Store::at`](crate::Store::at) refuses.
    pub fn restore(&mut self, name: impl Into<ArrayName>, version: u64) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        let earlier = self.store.at(version)?;
        let array = earlier.state().by_name(&name).cloned().ok_or_else(|| {
            Error::not_found(format!("there is no array {:?} in version {version}", name.to_string()))
        })?;
        let now = self.work.state.by_name(&name).map(|now| now.id);
        let id = match now {
            // Another array has taken the name, and this one is gone: it comes back as itself, with its past.
            Some(now) if now != array.id && self.work.state.array(array.id).is_none() => {
                self.drop_array(name.clone())?;
                array.id
            }
            Some(now) => now,
            None => {
                self.check_free(&name)?;
                // Renamed since, it goes on under its other name.
                if self.work.state.array(array.id).is_some() { Id::random() } else { array.id }
            }
        };
        let record: ArrayRecord = array.to_copy(id, &name);
        self.waiting.remove(&id);
        let base = self.base.state().array(id).cloned();
        self.act(Action::ArrayRestore(record))?;
        self.took_over(id, base);
        self.held.push(earlier);
        Ok(())
    }

    /// The log will say everything about the array as it is in the working state.
    fn took_over(&mut self, id: Id, base: Option<std::sync::Arc<ArrayState>>) {
        let logged = self.work.state.array(id).cloned();
        self.work.touched.insert(id, Touched { base, logged, reshaped: true, memory: 0 });
    }

    /// Gives a version a name, which keeps it from being vacuumed. A tag that is there moves.
    ///
    /// # Errors
    /// `NotFound` for a version that is not there; `Invalid` for the name.
    pub fn set_tag(&mut self, tag: &str, version: u64) -> Result<()> {
        self.check_writable()?;
        check_name("tag", tag)?;
        let newest = self.base.version();
        if version > newest {
            return Err(Error::not_found(format!("there is no version {version}; the newest is {newest}")));
        }
        if !self.work.state.is_readable(version) {
            return Err(Error::not_found(format!("version {version} has expired and cannot be kept any more")));
        }
        self.act(Action::TagSet(TagSet { tag: tag.to_owned(), version }))
    }

    /// Drops a tag.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_tag(&mut self, tag: &str) -> Result<()> {
        self.check_writable()?;
        if !self.work.state.tags.contains_key(tag) {
            let tags: Vec<&str> = self.work.state.tags.keys().map(String::as_str).collect();
            let has =
                if tags.is_empty() { "there are none".to_owned() } else { format!("there are {}", tags.join(", ")) };
            return Err(Error::not_found(format!("there is no tag {tag:?}; {has}")));
        }
        self.act(Action::TagDrop(TagDrop { tag: tag.to_owned() }))
    }

    /// Changes more of an array than its rows, which stay what they are in the working state.
    pub(super) fn reshape(&mut self, id: Id, action: Action) -> Result<()> {
        self.touch(id);
        self.freeze(id)?;
        self.touch(id).reshaped = true;
        self.act(action)
    }
}

pub(super) fn check_new_field(array: &ArrayState, field: &str) -> Result<()> {
    match array.fields().iter().any(|f| f.name() == field) {
        true => Err(Error::already_exists(format!("array {:?} has a field {field:?}", array.name.to_string()))),
        false => Ok(()),
    }
}
