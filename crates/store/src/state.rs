//! The state of a store at one version: what the actions of the log fold to.

mod array;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyperslab_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub(crate) use array::{ArrayState, PatchSegment, address_field, check_fields, patch_fields};

use crate::ArrayName;
use crate::action::{Action, ArrayRecord, Crc, Id, Protocol};
use crate::log::{Entry, SyncMode};
use crate::name::DEFAULT_SCHEMA;

/// Everything that one version says.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub version: u64,
    /// The checksum of that version's entry: what the next one must carry as `prev`.
    pub chain: Crc,
    /// Its time, in microseconds since 1970.
    pub time: i64,
    /// The bytes of all entries up to it.
    pub log_bytes: u64,
    /// The first version since the last one that was committed durably.
    pub unsynced: Option<u64>,
    pub protocol: Protocol,
    /// The schemas; `public` is always there.
    pub schemas: BTreeSet<String>,
    /// Versions with a name.
    pub tags: BTreeMap<String, u64>,
    /// Versions that cannot be read any more.
    pub expired: Option<Expired>,
    names: BTreeMap<ArrayName, Id>,
    arrays: BTreeMap<Id, Arc<ArrayState>>,
}

/// The versions before `before`, those with a tag excepted, may have lost their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expired {
    pub before: u64,
    /// The version that said so.
    pub by: u64,
}

impl State {
    /// The state after `entry`, whose checksum is `crc` and whose file has `bytes` bytes.
    ///
    /// # Errors
    /// `Corrupt` when the entry does not continue this state; the caller names the file.
    pub(crate) fn apply(&mut self, entry: &Entry, crc: Crc, bytes: u64) -> Result<()> {
        for action in &entry.actions {
            self.act(action, entry)?;
        }
        self.seal(entry, crc, bytes);
        Ok(())
    }

    /// Becomes the version of `entry`, all of whose actions were applied.
    pub(crate) fn seal(&mut self, entry: &Entry, crc: Crc, bytes: u64) {
        self.version = entry.version;
        self.chain = crc;
        self.time = entry.time;
        self.log_bytes = self.log_bytes.saturating_add(bytes);
        self.unsynced = match entry.sync {
            SyncMode::Full => None,
            SyncMode::Os => self.unsynced.or(Some(entry.version)),
        };
    }

    /// Applies one action of `entry`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub(crate) fn act(&mut self, action: &Action, entry: &Entry) -> Result<()> {
        match action {
            Action::Protocol(protocol) => {
                protocol.check_reader()?;
                self.protocol = protocol.clone();
            }
            Action::SchemaCreate(a) => {
                if a.schema == DEFAULT_SCHEMA || !self.schemas.insert(a.schema.clone()) {
                    return Err(Error::corrupt(format!("schema {:?} is created twice", a.schema)));
                }
            }
            Action::SchemaDrop(a) => {
                if self.names_in(&a.schema).next().is_some() || !self.schemas.remove(&a.schema) {
                    return Err(Error::corrupt(format!("schema {:?} cannot be dropped", a.schema)));
                }
            }
            Action::ArrayCreate(a) => {
                let name = ArrayName::new(a.schema.clone(), a.name.clone());
                self.insert(Arc::new(ArrayState::create(a, name, entry.version, entry.time)?))?;
            }
            Action::ArrayRename(a) => {
                let mut array = self.remove(a.array)?;
                let changed = Arc::make_mut(&mut array);
                changed.name = ArrayName::new(a.schema.clone(), a.name.clone());
                changed.reshaped(entry);
                self.insert(array)?;
            }
            Action::ArrayDrop(a) => {
                self.remove(a.array)?;
            }
            Action::ArrayClone(record) => self.insert_record(record, entry)?,
            Action::ArrayRestore(record) => {
                if self.arrays.contains_key(&record.create.array) {
                    self.remove(record.create.array)?;
                }
                self.insert_record(record, entry)?;
            }
            Action::ArraySet(a) => self.reshape(a.array, entry, |array| array.set(a))?,
            Action::FieldAdd(a) => self.reshape(a.array, entry, |array| array.add_field(&a.field))?,
            Action::FieldDrop(a) => self.reshape(a.array, entry, |array| array.drop_field(a.field))?,
            Action::FieldRename(a) => self.reshape(a.array, entry, |array| array.rename_field(a.field, &a.name))?,
            Action::IndexCreate(a) => self.reshape(a.array, entry, |array| array.add_index(&a.index))?,
            Action::IndexDrop(a) => self.reshape(a.array, entry, |array| array.drop_index(&a.name))?,
            // Nothing that a query sees changes.
            Action::IndexFill(a) => self.array_mut(a.array)?.fill_index(a)?,
            Action::Resize(a) => self.reshape(a.array, entry, |array| array.resize_cell(a.field, &a.cell))?,
            Action::SegmentAdd(a) => self.change(a.array, entry, |array| array.add_segment(a))?,
            Action::SegmentExtend(a) => self.change(a.array, entry, |array| array.extend_segment(a))?,
            // As little.
            Action::SegmentReplace(a) => self.array_mut(a.array)?.replace_segments(a)?,
            Action::Patch(a) => self.change(a.array, entry, |array| array.patch(a))?,
            Action::Delete(a) => self.change(a.array, entry, |array| array.delete(a))?,
            Action::TagSet(a) => {
                if a.version >= entry.version || !self.is_readable(a.version) {
                    return Err(Error::corrupt(format!("tag {:?} names version {}", a.tag, a.version)));
                }
                self.tags.insert(a.tag.clone(), a.version);
            }
            Action::TagDrop(a) => {
                if self.tags.remove(&a.tag).is_none() {
                    return Err(Error::corrupt(format!("there is no tag {:?}", a.tag)));
                }
            }
            Action::Expire(a) => {
                if a.before > entry.version {
                    return Err(Error::corrupt(format!("versions before {} cannot expire", a.before)));
                }
                // Of two VACUUMs at once the one that reaches farther counts.
                if a.before > self.floor() {
                    self.expired = Some(Expired { before: a.before, by: entry.version });
                }
            }
        }
        Ok(())
    }

    /// Changes the rows of an array.
    fn change(&mut self, id: Id, entry: &Entry, change: impl FnOnce(&mut ArrayState) -> Result<()>) -> Result<()> {
        let array = self.array_mut(id)?;
        change(array)?;
        array.touch(entry);
        Ok(())
    }

    /// Changes more of an array than its rows.
    fn reshape(&mut self, id: Id, entry: &Entry, change: impl FnOnce(&mut ArrayState) -> Result<()>) -> Result<()> {
        let array = self.array_mut(id)?;
        change(array)?;
        array.reshaped(entry);
        Ok(())
    }

    fn insert_record(&mut self, record: &ArrayRecord, entry: &Entry) -> Result<()> {
        let mut array = ArrayState::from_record(record)?;
        array.reshaped(entry);
        self.insert(Arc::new(array))
    }

    /// Versions before this one went with the log's entries, in a repair or a pack.
    pub(crate) fn begin_at(&mut self, version: u64) {
        if version > self.floor() {
            self.expired = Some(Expired { before: version, by: version });
        }
        // The repair has made durable what those entries named.
        if self.unsynced.is_some_and(|first| first <= version) {
            self.unsynced = (version < self.version).then_some(version + 1);
        }
    }

    /// The first version that has not expired.
    pub(crate) fn floor(&self) -> u64 {
        self.expired.map_or(0, |expired| expired.before)
    }

    /// Whether no VACUUM has expired a version.
    pub(crate) fn is_readable(&self, version: u64) -> bool {
        self.expired.is_none_or(|e| version >= e.before) || self.tags.values().any(|&v| v == version)
    }

    pub(crate) fn insert(&mut self, array: Arc<ArrayState>) -> Result<()> {
        let name = &array.name;
        if !self.has_schema(&name.schema) {
            return Err(Error::corrupt(format!("array {:?} is in no schema", name.to_string())));
        }
        if self.names.insert(name.clone(), array.id).is_some() {
            return Err(Error::corrupt(format!("two arrays are named {:?}", name.to_string())));
        }
        if self.arrays.insert(array.id, array).is_some() {
            return Err(Error::corrupt("two arrays have the same id"));
        }
        Ok(())
    }

    fn remove(&mut self, id: Id) -> Result<Arc<ArrayState>> {
        let array = self.arrays.remove(&id).ok_or_else(|| Error::corrupt(format!("there is no array {id}")))?;
        self.names.remove(&array.name);
        Ok(array)
    }

    pub(crate) fn array_mut(&mut self, id: Id) -> Result<&mut ArrayState> {
        let array = self.arrays.get_mut(&id).ok_or_else(|| Error::corrupt(format!("there is no array {id}")))?;
        Ok(Arc::make_mut(array))
    }

    pub(crate) fn array(&self, id: Id) -> Option<&Arc<ArrayState>> {
        self.arrays.get(&id)
    }

    pub(crate) fn by_name(&self, name: &ArrayName) -> Option<&Arc<ArrayState>> {
        self.names.get(name).and_then(|id| self.arrays.get(id))
    }

    pub(crate) fn arrays(&self) -> impl Iterator<Item = &Arc<ArrayState>> {
        self.names.values().filter_map(|id| self.arrays.get(id))
    }

    /// The arrays of a schema, by name.
    pub(crate) fn names_in<'a>(&'a self, schema: &'a str) -> impl Iterator<Item = &'a ArrayName> + 'a {
        let first = ArrayName::new(schema, "");
        self.names.range(first..).map(|(name, _)| name).take_while(move |name| name.schema == schema)
    }

    pub(crate) fn has_schema(&self, schema: &str) -> bool {
        schema == DEFAULT_SCHEMA || self.schemas.contains(schema)
    }
}
