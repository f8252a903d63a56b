//! CREATE INDEX: one commit that makes the index, from which on appends and edits keep it, and then one for each segment
//! that was there before.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyperslab_core::{Error, Result};
use hyperslab_store::{ArrayName, IndexInfo, IndexOptions, Store};

/// How often progress is told.
const EVERY: Duration = Duration::from_secs(2);

/// An index to be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct NewIndex {
    pub(crate) array: ArrayName,
    pub(crate) name: String,
    pub(crate) field: String,
    pub(crate) kind: String,
    pub(crate) options: Vec<(String, OptionValue)>,
    /// An index of that name is left as it is, and finished if it is not.
    pub(crate) if_not_exists: bool,
}

/// What an option is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) enum OptionValue {
    Number(i64),
    Text(String),
    Bool(bool),
}

impl NewIndex {
    /// Makes and builds it. What is built stays when it is cancelled or fails, and IF NOT EXISTS goes on from there.
    pub(super) fn create(&self, store: &Store, cancelled: &AtomicBool) -> Result<IndexInfo> {
        let Self { array, name, .. } = self;
        match (self.find(store)?, self.if_not_exists) {
            (None, _) => {
                let mut tx = store.begin()?;
                tx.create_index(array, name, &self.field, &self.kind, &self.options())?;
                tx.commit()?;
            }
            (Some(_), true) => {}
            (Some(_), false) => {
                return Err(Error::already_exists(format!(
                    "array {array} has an index {name}; DROP INDEX {name} ON {array} removes it, and IF NOT EXISTS \
                     builds what it lacks"
                )));
            }
        }
        let mut told = Instant::now();
        store.build_index(array, name, &mut |progress| {
            if told.elapsed() >= EVERY {
                told = Instant::now();
                log::info!("index {name} of {array}: {} of {} rows", progress.done, progress.rows);
            }
            !cancelled.load(Relaxed)
        })?;
        self.find(store)?.ok_or_else(|| Error::not_found(format!("the index {name} of {array} was dropped meanwhile")))
    }

    fn find(&self, store: &Store) -> Result<Option<IndexInfo>> {
        let indexes = store.snapshot()?.array(&self.array)?.indexes()?;
        Ok(indexes.into_iter().find(|info| info.name == self.name))
    }

    fn options(&self) -> IndexOptions {
        let option = |(name, value): &(String, OptionValue)| {
            let value = match value {
                OptionValue::Number(number) => (*number).into(),
                OptionValue::Text(text) => text.as_str().into(),
                OptionValue::Bool(value) => (*value).into(),
            };
            (name.clone(), value)
        };
        self.options.iter().map(option).collect()
    }
}

impl fmt::Display for NewIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { array, name, field, kind, .. } = self;
        write!(f, "create index {name} on {array} using {kind} ({field})")
    }
}
