//! The error that every crate below the DataFusion bridge returns.

use std::fmt;

/// A result with Hyperslab's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarsely enough to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, file or value that cannot be what the caller meant.
    Invalid,
    /// A file or log entry whose bytes are not what was written.
    Corrupt,
    /// Nothing of that name, position or version.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Another commit came first.
    Conflict,
    /// The operation is understood and not offered here.
    Unsupported,
    /// The store was opened read-only, or the system refuses to write.
    ReadOnly,
    /// The operating system failed.
    Io,
    /// A failed sync: whether the commit survives is not known.
    OutcomeUnknown,
}

/// An error: what kind, a message that names the thing concerned, the context it happened in, the cause.
///
/// `Display` prints the message, then each context as `key: value`, then the causes.
///
/// ```
/// use hyperslab_core::Error;
/// let e = Error::not_found("there is no array \"a\"").with("store", "demo.slab");
/// assert_eq!(e.to_string(), "there is no array \"a\" (store: demo.slab)");
/// ```
pub struct Error {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    retryable: bool,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(message: impl Into<String>) -> Self {
            Self::new(ErrorKind::$kind, message)
        }
    )*};
}

impl Error {
    /// An error of `kind` with a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            context: Vec::new(),
            source: None,
            retryable: kind == ErrorKind::Conflict,
        }
    }

    constructors! {
        /// [`ErrorKind::Invalid`].
        invalid => Invalid;
        /// [`ErrorKind::Corrupt`].
        corrupt => Corrupt;
        /// [`ErrorKind::NotFound`].
        not_found => NotFound;
        /// [`ErrorKind::AlreadyExists`].
        already_exists => AlreadyExists;
        /// [`ErrorKind::Conflict`], retryable.
        conflict => Conflict;
        /// [`ErrorKind::Unsupported`].
        unsupported => Unsupported;
        /// [`ErrorKind::ReadOnly`].
        read_only => ReadOnly;
    }

    /// An operating system's error, with what was being done ("reading", "creating") and to which path.
    pub fn io(doing: &str, path: impl fmt::Display, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{doing} {path} failed")).because(source)
    }

    /// Adds context, outermost last.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.context.push((key, value.to_string()));
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong, coarsely.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without context and cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The context pairs, innermost first.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.context
    }

    /// Whether the same call may succeed when repeated.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (i, (key, value)) in self.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}
