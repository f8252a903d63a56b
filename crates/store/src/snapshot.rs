//! One version of a store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyperslab_core::{Error, Result};

use crate::action::Id;
use crate::name::{DEFAULT_SCHEMA, nearest};
use crate::pins::Hold;
use crate::state::{ArrayState, State};
use crate::store::Inner;
use crate::{Array, ArrayName};

/// One committed version of a store: what it shows never changes.
#[derive(Debug)]
pub struct Snapshot {
    store: Arc<Inner>,
    state: Arc<State>,
    /// Its files are not vacuumed.
    hold: Arc<Hold>,
}

impl Snapshot {
    /// What `state` shows, for which `hold` keeps the files.
    pub(crate) fn new(store: Arc<Inner>, state: Arc<State>, hold: Arc<Hold>) -> Self {
        Self { store, state, hold }
    }

    pub(crate) fn is_of(&self, store: &Arc<Inner>) -> bool {
        Arc::ptr_eq(&self.store, store)
    }

    /// What a transaction on this version sees.
    pub(crate) fn with_state(&self, state: Arc<State>) -> Self {
        Self { store: self.store.clone(), state, hold: self.hold.clone() }
    }

    /// An array of a transaction on this version.
    pub(crate) fn array_of(&self, array: Arc<ArrayState>) -> Array {
        Array::new(self.store.clone(), array, self.hold.clone())
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The version: 0 for a new store, one more for every commit.
    pub fn version(&self) -> u64 {
        self.state.version
    }

    /// When it was committed. Times are strictly increasing.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(self.state.time).unwrap_or(0))
    }

    /// The schemas' names, sorted; `public` is always among them.
    pub fn schemas(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state.schemas.iter().cloned().collect();
        names.push(DEFAULT_SCHEMA.to_owned());
        names.sort_unstable();
        names
    }

    /// Versions that have names, as this version knows them.
    pub fn tags(&self) -> &BTreeMap<String, u64> {
        &self.state.tags
    }

    /// The arrays of a schema, sorted.
    pub fn arrays(&self, schema: &str) -> Vec<String> {
        self.state.names_in(schema).map(|name| name.name.clone()).collect()
    }

    /// Whether the array exists (cheap).
    pub fn contains(&self, name: impl Into<ArrayName>) -> bool {
        self.state.by_name(&name.into()).is_some()
    }

    /// The array with an id.
    pub(crate) fn array_by_id(&self, id: Id) -> Option<Array> {
        let array = self.state.array(id)?;
        Some(Array::new(self.store.clone(), array.clone(), self.hold.clone()))
    }

    /// An array at this version.
    ///
    /// # Errors
    /// `NotFound`, naming the array and the nearest names.
    pub fn array(&self, name: impl Into<ArrayName>) -> Result<Array> {
        let name = name.into();
        match self.state.by_name(&name) {
            Some(array) => Ok(Array::new(self.store.clone(), array.clone(), self.hold.clone())),
            None => Err(no_array(&self.state, &name)),
        }
    }
}

/// The error of a name that no array has.
pub(crate) fn no_array(state: &State, name: &ArrayName) -> Error {
    let near = nearest(name, state.names_in(&name.schema));
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
    Error::not_found(format!("there is no array {:?}{hint}", name.to_string()))
}
