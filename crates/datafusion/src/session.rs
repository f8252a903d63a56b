//! The one way in for SQL, and the registration of everything, in order.

use std::path::Path;

use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use hyperslab_store::Store;

/// How a session behaves.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// Partitions of a plan; the machine's cores when not given.
    pub target_partitions: Option<usize>,
}

/// A SQL session over one store.
#[derive(Debug, Clone)]
pub struct Session {}

impl Session {
    /// Opens the store at `path`, creating it if there is none.
    ///
    /// # Errors
    /// What `Store::open` gives.
    pub fn open(_path: impl AsRef<Path>) -> hyperslab_core::Result<Self> {
        todo!()
    }

    /// A session over an empty store in memory.
    pub fn memory() -> Self {
        todo!()
    }

    /// A session over a store.
    pub fn new(_store: Store, _options: SessionOptions) -> Self {
        todo!()
    }

    /// Plans one statement. Queries run when the frame is collected or streamed; everything that changes something
    /// (CREATE, INSERT, DROP, COPY …) runs when its frame is collected too.
    ///
    /// # Errors
    /// Syntax, names, types, and clauses that nothing acts on.
    pub async fn sql(&self, _sql: &str) -> Result<DataFrame> {
        todo!()
    }

    /// Splits a script into statements, as `sql` takes them.
    ///
    /// # Errors
    /// Syntax.
    pub fn split(&self, _script: &str) -> Result<Vec<String>> {
        todo!()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        todo!()
    }

    /// The DataFusion context, for registering more tables and functions.
    pub fn context(&self) -> &SessionContext {
        todo!()
    }
}

/// Adds a store to an existing context, as catalog `catalog`, with the table functions, scalar functions, operators
/// and rules. What works there and what needs a [`Session`] stands in the SQL reference.
///
/// # Errors
/// When the context refuses a registration.
pub fn register(_ctx: &SessionContext, _store: &Store, _catalog: &str) -> Result<()> {
    todo!()
}
