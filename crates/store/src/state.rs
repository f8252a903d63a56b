//! The state of a store at one version: what the actions of the log fold to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use hyperslab_core::{Error, FieldSpec, Result};

use crate::action::{Action, ArrayCreate, Crc, FieldRecord, Id, Protocol, SegmentAction};
use crate::log::{Entry, SyncMode};
use crate::name::DEFAULT_SCHEMA;
use crate::runs::Run;
use crate::segment::Segment;
use crate::{ArrayName, ArrayOptions};

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
    names: BTreeMap<ArrayName, Id>,
    arrays: BTreeMap<Id, Arc<ArrayState>>,
}

/// An array at one version.
#[derive(Debug, Clone)]
pub(crate) struct ArrayState {
    pub id: Id,
    pub name: ArrayName,
    pub options: ArrayOptions,
    fields: Vec<FieldSpec>,
    field_ids: Vec<u32>,
    segments: Vec<Arc<Segment>>,
    rows: u64,
    /// The version that last changed it in any way, and that version's time.
    pub changed: u64,
    pub modified: i64,
    /// The version that last changed anything but its rows.
    pub shaped: u64,
    /// Per field, its rows' places, worked out at the first read.
    pub(crate) runs: Vec<OnceLock<Arc<Vec<Run>>>>,
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
        self.version = entry.version;
        self.chain = crc;
        self.time = entry.time;
        self.log_bytes = self.log_bytes.saturating_add(bytes);
        self.unsynced = match entry.sync {
            SyncMode::Full => None,
            SyncMode::Os => self.unsynced.or(Some(entry.version)),
        };
        Ok(())
    }

    fn act(&mut self, action: &Action, entry: &Entry) -> Result<()> {
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
                changed.touch(entry);
                changed.shaped = entry.version;
                self.insert(array)?;
            }
            Action::ArrayDrop(a) => {
                self.remove(a.array)?;
            }
            Action::SegmentAdd(a) => {
                let array = self.array_mut(a.array)?;
                array.add_segment(a)?;
                array.touch(entry);
            }
            Action::SegmentExtend(a) => {
                let array = self.array_mut(a.array)?;
                array.extend_segment(a)?;
                array.touch(entry);
            }
            other => return Err(Error::unsupported(format!("the action {other:?}"))),
        }
        Ok(())
    }

    /// Whether no VACUUM has expired a version up to this one's.
    pub(crate) fn is_readable(&self, version: u64) -> bool {
        version == self.version
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

    fn array_mut(&mut self, id: Id) -> Result<&mut ArrayState> {
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

impl ArrayState {
    /// A new array without rows.
    ///
    /// # Errors
    /// `Corrupt` for fields that cannot be.
    pub(crate) fn create(action: &ArrayCreate, name: ArrayName, version: u64, time: i64) -> Result<Self> {
        let bad = |e: Error| Error::corrupt(format!("array {:?} cannot be created", name.to_string())).because(e);
        let fields: Vec<FieldSpec> = action.fields.iter().map(FieldRecord::spec).collect::<Result<_>>().map_err(bad)?;
        let field_ids: Vec<u32> = action.fields.iter().map(|f| f.id).collect();
        if field_ids.iter().collect::<BTreeSet<_>>().len() != fields.len() {
            return Err(bad(Error::corrupt("two fields have the same id")));
        }
        check_fields(&fields).map_err(bad)?;
        let runs = fields.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            id: action.array,
            name,
            options: ArrayOptions { shard_bytes: action.shard_bytes, ..ArrayOptions::default() },
            fields,
            field_ids,
            segments: Vec::new(),
            rows: 0,
            changed: version,
            modified: time,
            shaped: version,
            runs,
        })
    }

    /// The action that creates it, without rows.
    pub(crate) fn to_action(&self) -> ArrayCreate {
        ArrayCreate {
            array: self.id,
            schema: self.name.schema.clone(),
            name: self.name.name.clone(),
            fields: self.field_ids.iter().zip(&self.fields).map(|(&id, f)| FieldRecord::new(id, f)).collect(),
            shard_bytes: self.options.shard_bytes,
        }
    }

    pub(crate) fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    pub(crate) fn field_ids(&self) -> &[u32] {
        &self.field_ids
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The last segment, where it can grow in place.
    pub(crate) fn open_segment(&self) -> Option<&Arc<Segment>> {
        self.segments.last().filter(|s| s.is_open(&self.fields))
    }

    fn add_segment(&mut self, action: &SegmentAction) -> Result<()> {
        if self.segments.iter().any(|s| s.id == action.segment) {
            return Err(Error::corrupt(format!("segment {:08x} is added twice", action.segment)));
        }
        self.push_segment(action)
    }

    /// Adds a segment whose id is known to be new.
    pub(crate) fn push_segment(&mut self, action: &SegmentAction) -> Result<()> {
        let empty = Segment::empty(action.segment, self.fields.len());
        let segment = empty.extended(action, &self.field_ids, &self.fields)?;
        self.grow(0, segment.rows)?;
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    fn extend_segment(&mut self, action: &SegmentAction) -> Result<()> {
        let last = self.open_segment().filter(|s| s.id == action.segment);
        let last = last
            .ok_or_else(|| Error::corrupt(format!("segment {:08x} grows and is not the open one", action.segment)))?;
        let (before, segment) = (last.rows, last.extended(action, &self.field_ids, &self.fields)?);
        self.grow(before, segment.rows)?;
        self.segments.pop();
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    fn grow(&mut self, before: u64, after: u64) -> Result<()> {
        let rows = self.rows.checked_add(after - before).filter(|&rows| i64::try_from(rows).is_ok());
        self.rows = rows.ok_or_else(|| Error::corrupt("an array has more rows than 63 bits can count"))?;
        self.runs = self.fields.iter().map(|_| OnceLock::new()).collect();
        Ok(())
    }

    fn touch(&mut self, entry: &Entry) {
        self.changed = entry.version;
        self.modified = entry.time;
    }
}

/// Refuses an array without fields or with two of the same name.
///
/// # Errors
/// `Invalid`, naming the field.
pub(crate) fn check_fields(fields: &[FieldSpec]) -> Result<()> {
    if fields.is_empty() {
        return Err(Error::invalid("an array needs at least one field"));
    }
    let mut seen = BTreeSet::new();
    match fields.iter().find(|f| !seen.insert(f.name())) {
        Some(twice) => Err(Error::invalid(format!("two fields are named {:?}", twice.name()))),
        None => Ok(()),
    }
}
