//! Changes that become one version, or nothing.

mod append;
mod commit;
mod edit;
mod replace;
mod savepoint;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperslab_core::{Error, FieldSpec, Result, check_name};

pub(crate) use commit::now;
pub use savepoint::Savepoint;

use crate::action::{Action, ArrayCreate, ArrayDrop, ArrayRename, FieldRecord, Id, SchemaAction};
use crate::snapshot::no_array;
use crate::state::{ArrayState, State, check_fields};
use crate::store::Inner;
use crate::writer::{Files, Target};
use crate::{ArrayName, ArrayOptions, Durability, Snapshot};

/// The largest shards that can be asked for: what every file system holds.
const MAX_SHARD_BYTES: u64 = 1 << 40;

/// Changes to any number of arrays that become one version together. Dropping it discards them.
#[derive(Debug)]
pub struct Transaction {
    store: Arc<Inner>,
    base: Arc<Snapshot>,
    id: Id,
    message: Option<String>,
    durability: Durability,
    /// Everything but rows, in order.
    actions: Vec<Action>,
    /// Names as this transaction sees them, where the base does not.
    names: BTreeMap<ArrayName, Option<Id>>,
    /// Schemas created (true) and dropped.
    schemas: BTreeMap<String, bool>,
    /// Arrays that this transaction changes.
    touched: BTreeMap<Id, Touched>,
    files: Files,
    /// Writing failed: part of the rows is missing.
    failed: bool,
}

/// An array that a transaction changes.
#[derive(Debug)]
struct Touched {
    name: ArrayName,
    target: Target,
    /// The array in the base; `None` if this transaction created it.
    base: Option<Arc<ArrayState>>,
    staged: append::Staged,
    /// Whether more than its rows changes.
    reshaped: bool,
    dropped: bool,
}

impl Transaction {
    pub(crate) fn new(store: Arc<Inner>, base: Arc<Snapshot>) -> Self {
        let id = Id::random();
        Self {
            base,
            id,
            message: None,
            durability: store.options.durability,
            actions: Vec::new(),
            names: BTreeMap::new(),
            schemas: BTreeMap::new(),
            touched: BTreeMap::new(),
            files: Files::new(&store, id),
            failed: false,
            store,
        }
    }

    /// The version this transaction reads.
    pub fn base(&self) -> &Arc<Snapshot> {
        &self.base
    }

    /// Whether the array exists, as this transaction sees it.
    pub fn contains(&self, name: impl Into<ArrayName>) -> bool {
        self.resolve(&name.into()).is_ok()
    }

    /// The fields of an array, as this transaction sees it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn fields(&self, name: impl Into<ArrayName>) -> Result<Vec<FieldSpec>> {
        let name = name.into();
        let id = self.resolve(&name)?;
        let touched = self.touched.get(&id).map(|t| t.target.fields.clone());
        let base = || self.state().array(id).map(|a| a.fields().to_vec());
        touched.or_else(base).ok_or_else(|| no_array(self.state(), &name))
    }

    fn state(&self) -> &State {
        self.base.state()
    }

    fn check_writable(&self) -> Result<()> {
        self.store.check_writable()
    }

    /// A change of no array, which nothing conflicts with, to be durable when it is committed.
    pub(crate) fn durably(&mut self, action: Action) {
        self.durability = Durability::Full;
        self.actions.push(action);
    }

    /// Creates an array.
    ///
    /// # Errors
    /// `AlreadyExists`; `NotFound` for its schema; `Invalid` for a name, no field, or two fields of one name.
    pub fn create(&mut self, name: impl Into<ArrayName>, fields: Vec<FieldSpec>, options: ArrayOptions) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        self.check_free(&name)?;
        check_fields(&fields).map_err(|e| e.with("array", &name))?;
        for field in &fields {
            crate::shard::header(field, 0)?;
        }
        if options.shard_bytes == 0 || options.shard_bytes > MAX_SHARD_BYTES {
            let why = format!("shards of {} bytes; 1 to {MAX_SHARD_BYTES} can be asked for", options.shard_bytes);
            return Err(Error::invalid(why));
        }
        check_codecs(&fields, &options).map_err(|e| e.with("array", &name))?;
        let id = Id::random();
        let field_ids: Vec<u32> = (0u32..).take(fields.len()).collect();
        self.actions.push(Action::ArrayCreate(ArrayCreate {
            array: id,
            schema: name.schema.clone(),
            name: name.name.clone(),
            fields: field_ids
                .iter()
                .zip(&fields)
                .map(|(&id, field)| FieldRecord {
                    codec: options.codec_of(field.name()),
                    ..FieldRecord::new(id, field)
                })
                .collect(),
            shard_bytes: options.shard_bytes,
        }));
        let codecs = fields.iter().map(|field| options.codec_of(field.name())).collect();
        let target = Target { array: id, fields, field_ids, codecs, shard_bytes: options.shard_bytes };
        let (staged, base) = (append::Staged::default(), None);
        let touched = Touched { name: name.clone(), target, base, staged, reshaped: true, dropped: false };
        self.touched.insert(id, touched);
        self.names.insert(name, Some(id));
        Ok(())
    }

    /// Drops an array.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_array(&mut self, name: impl Into<ArrayName>) -> Result<()> {
        let name = name.into();
        self.check_writable()?;
        let id = self.resolve(&name)?;
        let touched = self.touch(id)?;
        touched.dropped = true;
        touched.reshaped = true;
        touched.staged = append::Staged::default();
        self.actions.push(Action::ArrayDrop(ArrayDrop { array: id }));
        self.names.insert(name, None);
        Ok(())
    }

    /// Renames an array; it may move to another schema.
    ///
    /// # Errors
    /// `NotFound` for the array or the new schema; `AlreadyExists` for the new name; `Invalid`.
    pub fn rename(&mut self, from: impl Into<ArrayName>, to: impl Into<ArrayName>) -> Result<()> {
        let (from, to) = (from.into(), to.into());
        self.check_writable()?;
        let id = self.resolve(&from)?;
        self.check_free(&to)?;
        let touched = self.touch(id)?;
        touched.reshaped = true;
        touched.name = to.clone();
        let (schema, name) = (to.schema.clone(), to.name.clone());
        self.actions.push(Action::ArrayRename(ArrayRename { array: id, schema, name }));
        self.names.insert(from, None);
        self.names.insert(to, Some(id));
        Ok(())
    }

    /// Creates a schema.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` for a name.
    pub fn create_schema(&mut self, name: &str) -> Result<()> {
        self.check_writable()?;
        check_name("schema", name)?;
        if self.has_schema(name) {
            return Err(Error::already_exists(format!("the schema {name:?} exists")));
        }
        self.actions.push(Action::SchemaCreate(SchemaAction { schema: name.to_owned() }));
        self.schemas.insert(name.to_owned(), true);
        Ok(())
    }

    /// Drops an empty schema.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for `public` or a schema that holds arrays.
    pub fn drop_schema(&mut self, name: &str) -> Result<()> {
        self.check_writable()?;
        if !self.has_schema(name) {
            return Err(Error::not_found(format!("there is no schema {name:?}")));
        }
        if name == crate::name::DEFAULT_SCHEMA {
            return Err(Error::invalid(format!("the schema {name:?} is always there and cannot be dropped")));
        }
        let in_base = self.state().names_in(name).filter(|n| !self.names.contains_key(n));
        let here = self.names.iter().filter(|(n, id)| n.schema == name && id.is_some()).map(|(n, _)| n);
        if let Some(array) = in_base.chain(here).next() {
            let why = format!("the schema {name:?} is not empty: drop {:?} first", array.to_string());
            return Err(Error::invalid(why));
        }
        self.actions.push(Action::SchemaDrop(SchemaAction { schema: name.to_owned() }));
        self.schemas.insert(name.to_owned(), false);
        Ok(())
    }

    /// A message for the history.
    pub fn set_message(&mut self, message: impl Into<String>) {
        self.message = Some(message.into());
    }

    fn has_schema(&self, name: &str) -> bool {
        self.schemas.get(name).copied().unwrap_or_else(|| self.state().has_schema(name))
    }

    /// The array of a name, as this transaction sees it.
    fn resolve(&self, name: &ArrayName) -> Result<Id> {
        let found = match self.names.get(name) {
            Some(here) => *here,
            None => self.state().by_name(name).map(|array| array.id),
        };
        found.ok_or_else(|| no_array(self.state(), name))
    }

    /// Refuses a name that cannot be given to an array.
    fn check_free(&self, name: &ArrayName) -> Result<()> {
        check_name("array", &name.name)?;
        if !self.has_schema(&name.schema) {
            let why = format!("there is no schema {:?}; create it first", name.schema);
            return Err(Error::not_found(why));
        }
        match self.resolve(name) {
            Ok(_) => Err(exists(name)),
            Err(_) => Ok(()),
        }
    }

    /// The record of changes of an array.
    fn touch(&mut self, id: Id) -> Result<&mut Touched> {
        let base = self.base.state().array(id);
        match self.touched.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let array = base.ok_or_else(|| Error::not_found(format!("there is no array {id}")))?;
                Ok(entry.insert(Touched {
                    name: array.name.clone(),
                    target: Target {
                        array: id,
                        fields: array.fields().to_vec(),
                        field_ids: array.field_ids().to_vec(),
                        codecs: array.codecs().to_vec(),
                        shard_bytes: array.options.shard_bytes,
                    },
                    base: Some(array.clone()),
                    staged: append::Staged::default(),
                    reshaped: false,
                    dropped: false,
                }))
            }
        }
    }
}

/// Refuses codecs that do not exist, and those of fields that do not.
///
/// # Errors
/// `Invalid`.
pub(crate) fn check_codecs(fields: &[FieldSpec], options: &ArrayOptions) -> Result<()> {
    options.codec.check()?;
    for (name, codec) in &options.codecs {
        if !fields.iter().any(|f| f.name() == name) {
            return Err(Error::invalid(format!("there is no field {name:?} to have the codec {codec}")));
        }
        codec.check()?;
    }
    Ok(())
}

fn exists(name: &ArrayName) -> Error {
    Error::already_exists(format!("the array {:?} exists", name.to_string()))
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.files.discard();
    }
}
