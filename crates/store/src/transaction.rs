//! Changes that become one version, or nothing.
//!
//! A transaction keeps a working state: the state of its base with its own changes applied to it. New rows and new
//! values wait in growing buffers ([`stage`]); they become part of the working state, as Arrow arrays, when something
//! needs to see them, and go to files when they are many. What the log must say of rows is found at the commit by
//! holding the working state against the base ([`rows`]), moved to where compaction has put the rows meanwhile
//! ([`rebase`]).

mod append;
mod commit;
mod edit;
mod index;
mod rebase;
mod replace;
mod rows;
mod rows_mut;
mod savepoint;
mod shape;
mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperslab_core::{Error, FieldSpec, Result, check_name};

pub(crate) use commit::now;
pub use rows_mut::RowsMut;
pub use savepoint::Savepoint;

use self::stage::Waiting;
use crate::action::{Action, ArrayCreate, ArrayDrop, ArrayRename, Crc, FieldRecord, Id, SchemaAction};
use crate::log::{Entry, SyncMode};
use crate::snapshot::no_array;
use crate::state::{ArrayState, State, check_fields};
use crate::store::Inner;
use crate::writer::Files;
use crate::{ArrayName, ArrayOptions, Durability, Snapshot};

/// The largest shards that can be asked for: what every file system holds.
const MAX_SHARD_BYTES: u64 = 1 << 40;

/// Changes to any number of arrays that become one version together. Dropping it discards them.
///
/// It sees the newest version of when it began and its own changes, and holds no lock until it commits.
///
/// ```
/// use hyperslab_core::{DType, FieldSpec};
/// use hyperslab_store::{ArrayOptions, Store};
/// use ndarray::array;
///
/// let store = Store::memory();
/// let mut tx = store.begin()?;
/// tx.create("a", vec![FieldSpec::new("value", DType::Int64, vec![])?], ArrayOptions::default())?;
/// tx.append_ndarray("a", &array![1_i64, 2, 3, 4])?;
/// tx.replace_ndarray("a", "value", &[0, -1], &array![10_i64, 40])?;
/// let savepoint = tx.savepoint()?;
/// tx.delete("a", &[1])?;
/// assert_eq!(tx.snapshot()?.array("a")?.rows(), 3);
/// tx.rollback_to(&savepoint)?;
/// tx.commit()?;
///
/// let values = store.snapshot()?.array("a")?.field("value")?.view::<i64>()?;
/// assert_eq!(values.as_slice(), [10, 2, 3, 40]);
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Transaction {
    store: Arc<Inner>,
    base: Arc<Snapshot>,
    id: Id,
    message: Option<String>,
    durability: Durability,
    work: Work,
    /// Everything but rows, in order.
    actions: Vec<Action>,
    /// What is not in the working state yet, by array.
    waiting: BTreeMap<Id, Waiting>,
    files: Files,
    /// Versions whose files this transaction makes its own.
    held: Vec<Arc<Snapshot>>,
    /// The savepoints that can be gone back to, ascending.
    savepoints: Vec<u64>,
    next_savepoint: u64,
    /// Writing failed: part of the rows is missing.
    failed: bool,
}

/// What a savepoint remembers.
#[derive(Debug, Clone)]
struct Work {
    /// The base with this transaction's changes, those excepted that wait.
    state: Arc<State>,
    /// Arrays that this transaction changes.
    touched: BTreeMap<Id, Touched>,
}

/// An array that a transaction changes.
#[derive(Debug, Clone, Default)]
struct Touched {
    /// The array in the base; `None` if it was not there.
    base: Option<Arc<ArrayState>>,
    /// What the log says of its rows once the actions of this transaction are applied: the base, a clone, a restored
    /// version; `None` for a new array.
    logged: Option<Arc<ArrayState>>,
    /// Whether more than its rows changes.
    reshaped: bool,
    /// Bytes of rows and patches in the working state that are in no file.
    memory: usize,
}

impl Transaction {
    pub(crate) fn new(store: Arc<Inner>, base: Arc<Snapshot>) -> Self {
        let id = Id::random();
        Self {
            id,
            message: None,
            durability: store.options.durability,
            work: Work { state: base.state().clone(), touched: BTreeMap::new() },
            actions: Vec::new(),
            waiting: BTreeMap::new(),
            files: Files::new(&store, id),
            held: Vec::new(),
            savepoints: Vec::new(),
            next_savepoint: 0,
            failed: false,
            base,
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
        self.resolve(&name.into()).map(|array| array.own_fields().to_vec())
    }

    /// The number of rows of an array, as this transaction sees it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn rows(&self, name: impl Into<ArrayName>) -> Result<u64> {
        self.resolve(&name.into()).map(|array| self.rows_of(array))
    }

    fn rows_of(&self, array: &ArrayState) -> u64 {
        array.rows() + self.waiting.get(&array.id).map_or(0, Waiting::rows)
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
            crate::shard::part_header(field, crate::shard::Part::Values, 0)?;
        }
        check_shard_bytes(options.shard_bytes)?;
        check_codecs(&fields, &options).map_err(|e| e.with("array", &name))?;
        let array = Id::random();
        let record = |(id, field): (u32, &FieldSpec)| FieldRecord {
            codec: options.codec_of(field.name()),
            ..FieldRecord::new(id, field)
        };
        self.act(Action::ArrayCreate(ArrayCreate {
            array,
            schema: name.schema.clone(),
            name: name.name.clone(),
            fields: (0..).zip(&fields).map(record).collect(),
            shard_bytes: options.shard_bytes,
        }))?;
        self.work.touched.insert(array, Touched { reshaped: true, ..Touched::default() });
        Ok(())
    }

    /// Drops an array.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_array(&mut self, name: impl Into<ArrayName>) -> Result<()> {
        self.check_writable()?;
        let array = self.resolve(&name.into())?.id;
        self.waiting.remove(&array);
        self.touch(array).reshaped = true;
        self.act(Action::ArrayDrop(ArrayDrop { array }))
    }

    /// Renames an array; it may move to another schema.
    ///
    /// # Errors
    /// `NotFound` for the array or the new schema; `AlreadyExists` for the new name; `Invalid`.
    pub fn rename(&mut self, from: impl Into<ArrayName>, to: impl Into<ArrayName>) -> Result<()> {
        let to = to.into();
        self.check_writable()?;
        let array = self.resolve(&from.into())?.id;
        self.check_free(&to)?;
        self.touch(array).reshaped = true;
        self.act(Action::ArrayRename(ArrayRename { array, schema: to.schema, name: to.name }))
    }

    /// Creates a schema.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` for a name.
    pub fn create_schema(&mut self, name: &str) -> Result<()> {
        self.check_writable()?;
        check_name("schema", name)?;
        if self.work.state.has_schema(name) {
            return Err(Error::already_exists(format!("the schema {name:?} exists")));
        }
        self.act(Action::SchemaCreate(SchemaAction { schema: name.to_owned() }))
    }

    /// Drops an empty schema.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for `public` or a schema that holds arrays.
    pub fn drop_schema(&mut self, name: &str) -> Result<()> {
        self.check_writable()?;
        if !self.work.state.has_schema(name) {
            return Err(Error::not_found(format!("there is no schema {name:?}")));
        }
        if name == crate::name::DEFAULT_SCHEMA {
            return Err(Error::invalid(format!("the schema {name:?} is always there and cannot be dropped")));
        }
        if let Some(array) = self.work.state.names_in(name).next() {
            let why = format!("the schema {name:?} is not empty: drop {:?} first", array.to_string());
            return Err(Error::invalid(why));
        }
        self.act(Action::SchemaDrop(SchemaAction { schema: name.to_owned() }))
    }

    /// A message for the history.
    pub fn set_message(&mut self, message: impl Into<String>) {
        self.message = Some(message.into());
    }

    /// The array of a name, as this transaction sees it.
    fn resolve(&self, name: &ArrayName) -> Result<&Arc<ArrayState>> {
        self.work.state.by_name(name).ok_or_else(|| no_array(&self.work.state, name))
    }

    /// Refuses a name that cannot be given to an array.
    fn check_free(&self, name: &ArrayName) -> Result<()> {
        check_name("array", &name.name)?;
        if !self.work.state.has_schema(&name.schema) {
            let why = format!("there is no schema {:?}; create it first", name.schema);
            return Err(Error::not_found(why));
        }
        if self.work.state.by_name(name).is_some() {
            return Err(exists(name));
        }
        Ok(())
    }

    /// The record of changes of an array.
    fn touch(&mut self, id: Id) -> &mut Touched {
        let base = self.base.state();
        self.work.touched.entry(id).or_insert_with(|| {
            let base = base.array(id).cloned();
            Touched { logged: base.clone(), base, ..Touched::default() }
        })
    }

    /// Does something other than changing rows: at once in the working state, at the commit in the log.
    fn act(&mut self, action: Action) -> Result<()> {
        self.work.act(&action)?;
        self.actions.push(action);
        Ok(())
    }

    /// The working state of an array, to be changed.
    fn array_mut(&mut self, id: Id) -> Result<&mut ArrayState> {
        Arc::make_mut(&mut self.work.state).array_mut(id)
    }
}

impl Work {
    /// Applies an action as if it were committed right after the base.
    fn act(&mut self, action: &Action) -> Result<()> {
        let state = Arc::make_mut(&mut self.state);
        let entry = Entry {
            version: state.version.saturating_add(1),
            base: state.version,
            txn: Id(uuid::Uuid::nil()),
            prev: Crc::default(),
            time: state.time.saturating_add(1),
            sync: SyncMode::Os,
            writer: String::new(),
            message: None,
            actions: Vec::new(),
        };
        state.act(action, &entry)
    }
}

/// Refuses a size that shards cannot have.
fn check_shard_bytes(bytes: u64) -> Result<()> {
    if bytes == 0 || bytes > MAX_SHARD_BYTES {
        return Err(Error::invalid(format!("shards of {bytes} bytes; 1 to {MAX_SHARD_BYTES} can be asked for")));
    }
    Ok(())
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
