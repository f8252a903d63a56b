//! An array's name: its schema and its own.

use std::fmt;

/// The schema of names that do not say one.
pub const DEFAULT_SCHEMA: &str = "public";

/// A schema's name and an array's name in it. `"a".into()` is `public.a`; a dot is part of the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArrayName {
    /// The schema.
    pub schema: String,
    /// The array.
    pub name: String,
}

impl ArrayName {
    /// A name in a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl From<&str> for ArrayName {
    fn from(name: &str) -> Self {
        Self::new(DEFAULT_SCHEMA, name)
    }
}

impl From<&Self> for ArrayName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl fmt::Display for ArrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema == DEFAULT_SCHEMA { f.write_str(&self.name) } else { write!(f, "{}.{}", self.schema, self.name) }
    }
}
