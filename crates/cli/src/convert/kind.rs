//! The formats that `convert` reads and writes: those of arrays, DataFusion's of tables, and stores.

use std::path::{Path, PathBuf};

use hyperslab::Session;
use hyperslab::formats::{FORMATS, Format};

use super::said;

/// Table formats: the name, the extensions, and the options that an extension implies. DataFusion knows the first
/// extension by itself.
const TABLES: &[(&str, &[&str])] = &[
    ("parquet", &["parquet"]),
    ("csv", &["csv", "tsv"]),
    ("arrow", &["arrow", "feather"]),
    ("json", &["json", "ndjson", "jsonl"]),
];
/// The name of stores, and the extension that they usually have.
const STORE: (&str, &str) = ("store", "slab");

/// What something is read or written as.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Files of one array, or of several.
    Arrays(&'static Format),
    /// A file of rows and columns, by its format's name.
    Table(&'static str),
    /// A store.
    Store,
}

impl Kind {
    /// The kind that `--from` or `--to` names: by a format's name or extension.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let lower = name.to_lowercase();
        Self::of_extension(&lower).or_else(|| Self::of_name(&lower)).ok_or_else(|| {
            let names = FORMATS.iter().map(Format::name).chain(TABLES.iter().map(|t| t.0)).chain([STORE.0]);
            format!("there is no format {name:?}; known: {}", names.collect::<Vec<_>>().join(", "))
        })
    }

    fn of_name(name: &str) -> Option<Self> {
        let table = || TABLES.iter().find(|t| t.0 == name).map(|t| Self::Table(t.0));
        let array = FORMATS.iter().find(|f| f.name() == name).map(Self::Arrays);
        array.or_else(table).or((name == STORE.0).then_some(Self::Store))
    }

    fn of_extension(extension: &str) -> Option<Self> {
        let table = || TABLES.iter().find(|t| t.1.contains(&extension)).map(|t| Self::Table(t.0));
        let array = FORMATS.iter().find(|f| f.extensions().contains(&extension)).map(Self::Arrays);
        array.or_else(table).or((extension == STORE.1).then_some(Self::Store))
    }

    /// The kind that a path's extension names, or that a folder is by the files in it.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let array = Format::of_path(path).ok().map(Self::Arrays);
        let other = || Self::of_extension(&extension(path));
        array.or_else(other).or_else(|| Format::of_folder(path).map(Self::Arrays))
    }

    /// All extensions, for messages.
    pub(super) fn extensions() -> String {
        let arrays = FORMATS.iter().flat_map(Format::extensions);
        let all = arrays.chain(TABLES.iter().flat_map(|t| t.1)).chain([&STORE.1]);
        all.map(|e| format!(".{e}")).collect::<Vec<_>>().join(", ")
    }

    /// The usual extension.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Arrays(format) => format.extensions().first().copied().unwrap_or(format.name()),
            Self::Table(name) => name,
            Self::Store => STORE.1,
        }
    }

    /// Whether lists of any length can be written.
    pub(super) fn holds_lists(self) -> bool {
        matches!(self, Self::Table(name) if name != "csv")
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What FROM takes for an array of a file, or for a table. `header`: whether a CSV has one.
pub(super) async fn from(
    session: &Session,
    path: &Path,
    entry: Option<&str>,
    kind: Kind,
    header: bool,
) -> Result<String, String> {
    let text = path.to_string_lossy();
    match kind {
        Kind::Arrays(format) => {
            let by_itself = Format::of_path(path).is_ok_and(|f| f.name() == format.name());
            let entry = entry.map(literal);
            Ok(match (by_itself, entry) {
                (true, None) => literal(&text),
                (true, Some(entry)) => format!("'{}::{}", text.replace('\'', "''"), &entry[1..]),
                (false, None) => format!("read_{}({})", format.name(), literal(&text)),
                (false, Some(entry)) => format!("read_{}({}, {entry})", format.name(), literal(&text)),
            })
        }
        Kind::Table(name) => {
            let suffix = extension(path);
            if suffix == name && (name != "csv" || header) {
                return Ok(literal(&text));
            }
            external(session, &text, name, &suffix, header).await
        }
        Kind::Store => Err(format!("{} is a store, and a file is needed", path.display())),
    }
}

/// A table of the session over a file that FROM does not know by its name.
async fn external(session: &Session, path: &str, name: &str, suffix: &str, header: bool) -> Result<String, String> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let table = quoted(&format!("file {}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut options = Vec::new();
    if name == "csv" {
        options.push(format!("'format.has_header' '{header}'"));
    }
    if suffix == "tsv" {
        options.push("'format.delimiter' '\t'".to_owned());
    }
    let options = if options.is_empty() { String::new() } else { format!(" OPTIONS ({})", options.join(", ")) };
    let create = format!("CREATE EXTERNAL TABLE {table} STORED AS {name} LOCATION {}{options}", literal(path));
    session.sql(&create).await.map_err(said)?;
    Ok(table)
}

/// Whether a path has the characters of a pattern, and is none that is there.
pub(super) fn is_glob(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[']) && !path.exists()
}

/// The name of a file without its extension.
pub(super) fn stem(path: &Path) -> String {
    Format::stem(path)
}

/// The bytes of a file, or of all files below a folder.
pub(super) fn bytes_on_disk(path: &Path) -> u64 {
    let Ok(there) = std::fs::symlink_metadata(path) else { return 0 };
    match std::fs::read_dir(path) {
        Ok(entries) if there.is_dir() => {
            let paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
            paths.iter().map(|p| bytes_on_disk(p)).sum()
        }
        _ => std::fs::metadata(path).map_or(0, |m| m.len()),
    }
}
