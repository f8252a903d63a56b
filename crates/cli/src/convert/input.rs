//! What is read: the arrays of files, folders and stores, each as a query.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use datafusion::common::TableReference;
use hyperslab::formats::{Entry, Format, split_entry};
use hyperslab::{OpenOptions, Selection, Session, SessionOptions, Store};

use super::kind::{Kind, bytes_on_disk, from, is_glob, literal, quoted, stem};
use super::{ConvertArgs, said};

/// Bytes at the start of a CSV file by which the number of its lines is estimated.
const SAMPLE: usize = 64 << 10;

/// The table of `--select` that is the only input.
const INPUT: &str = "input";

/// What is read, with the session that reads it.
pub(super) struct Inputs {
    pub(super) session: Session,
    pub(super) queries: Vec<Query>,
}

/// The rows of one array or table.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// The array's name.
    pub(super) name: String,
    /// What it is called in messages: `file::name`.
    pub(super) label: String,
    pub(super) sql: String,
    /// Whether it comes from a file of rows and columns, and not from one of arrays.
    pub(super) table: bool,
    /// The schema of an array of a store; its name has it in front where it is not the default one.
    pub(super) schema: Option<String>,
    /// Bytes that are read, and rows, where they are known.
    pub(super) bytes: Option<u64>,
    pub(super) rows: Option<u64>,
    /// How many rows were read, where the plan does not say it.
    pub(super) read: Option<Arc<AtomicU64>>,
}

/// An array or table before it is a query.
struct Source {
    query: Query,
    /// What FROM takes.
    from: String,
}

impl Source {
    fn new(name: String, label: String, from: String, table: bool) -> Self {
        let query = Query { name, label, sql: String::new(), table, schema: None, bytes: None, rows: None, read: None };
        Self { query, from }
    }
}

/// Finds what the arguments name.
pub(super) async fn open(args: &ConvertArgs) -> Result<Inputs, String> {
    let kind = args.from.as_deref().map(Kind::named).transpose()?;
    let session = session(args, kind)?;
    let mut sources: Vec<Source> = Vec::new();
    for text in &args.inputs {
        let (path, entry) = split_entry(text);
        if Store::exists(&path) || matches!(kind, Some(Kind::Store)) {
            sources.extend(of_store(&session, &path, entry.as_deref())?);
        } else {
            of_path(args, kind, &session, &path, entry.as_deref(), &mut sources).await?;
        }
    }
    let queries = match &args.select {
        Some(select) => vec![selected(args, &session, select, &sources).await?],
        None => {
            let mut queries = Vec::with_capacity(sources.len());
            for source in sources {
                queries.push(query(args, &session, source).await?);
            }
            queries
        }
    };
    Ok(Inputs { session, queries })
}

/// A session over the store that is read, or over none.
fn session(args: &ConvertArgs, kind: Option<Kind>) -> Result<Session, String> {
    let paths = args.inputs.iter().map(|text| split_entry(text).0);
    let stores: Vec<PathBuf> = paths.filter(|path| matches!(kind, Some(Kind::Store)) || Store::exists(path)).collect();
    let store = match stores.as_slice() {
        [] => Store::memory(),
        [first, rest @ ..] if rest.iter().all(|path| path == first) => {
            let options = OpenOptions { read_only: true, create: false, ..OpenOptions::default() };
            Store::open_with(first, options).map_err(|e| e.to_string())?
        }
        _ => return Err("only one store is read at a time; convert them one after another".to_owned()),
    };
    let session = Session::new(store, SessionOptions::default());
    // Rows are written in their order, by one task: parts of a file would only make line numbers wrong.
    session.context().state_ref().write().config_mut().options_mut().optimizer.repartition_file_scans = false;
    Ok(session)
}

fn of_store(session: &Session, path: &Path, entry: Option<&str>) -> Result<Vec<Source>, String> {
    let snapshot = session.snapshot().map_err(said)?;
    let mut sources = Vec::new();
    for schema in snapshot.schemas() {
        for name in snapshot.arrays(&schema) {
            let array = snapshot.array(hyperslab::ArrayName::new(&schema, &name)).map_err(|e| e.to_string())?;
            let shown = array.name().to_string();
            if entry.is_some_and(|entry| entry != shown) {
                continue;
            }
            let label = format!("{}::{shown}", path.display());
            let from = format!("{}.{}", quoted(&schema), quoted(&name));
            let mut source = Source::new(shown, label, from, false);
            source.query.schema = Some(schema.clone());
            let rows = array.rows();
            let row_bytes: usize = array.fields().iter().map(hyperslab::FieldSpec::row_bytes).sum();
            source.query.rows = Some(rows);
            source.query.bytes = Some(rows.saturating_mul(row_bytes as u64));
            sources.push(source);
        }
    }
    match (sources.is_empty(), entry) {
        (false, _) => Ok(sources),
        (true, None) => Err(format!("the store {} holds no array", path.display())),
        (true, Some(entry)) => {
            let all = of_store(session, path, None)?;
            let names: Vec<&str> = all.iter().map(|s| s.query.name.as_str()).collect();
            Err(format!("the store {} has no array {entry:?}; there are: {}", path.display(), names.join(", ")))
        }
    }
}

/// The arrays of a file, a pattern or a folder.
async fn of_path(
    args: &ConvertArgs,
    kind: Option<Kind>,
    session: &Session,
    path: &Path,
    entry: Option<&str>,
    sources: &mut Vec<Source>,
) -> Result<(), String> {
    let shown = path.display();
    let by_extension = Kind::of_path(path);
    match kind.or(by_extension) {
        Some(_) if !path.exists() && !is_glob(path) => Err(format!("there is no file {shown}")),
        // A folder of files of the format that --from names, unless the format is a folder itself.
        Some(Kind::Store) => Err(format!("{shown} is no store")),
        Some(kind) if by_extension.is_some() || !is_folder_of_files(path) => {
            of_file(args, kind, session, path, entry, sources).await
        }
        _ if path.is_dir() => {
            if let Some(entry) = entry {
                return Err(format!("{shown} is a folder; name the file: {shown}/{entry}.npy, for example"));
            }
            let before = sources.len();
            for file in files_of(path)? {
                if let Some(found) = Kind::of_path(&file).filter(|k| !matches!(k, Kind::Store)) {
                    of_file(args, kind.unwrap_or(found), session, &file, None, sources).await?;
                }
            }
            match sources.len() {
                n if n == before => {
                    Err(format!("the folder {shown} holds no file of a known format; known: {}", Kind::extensions()))
                }
                _ => Ok(()),
            }
        }
        _ if !path.exists() && !is_glob(path) => Err(format!("there is no file or folder {shown}")),
        _ => Err(format!(
            "the extension of {shown} is that of no known format; known: {}; or say it with --from",
            Kind::extensions()
        )),
    }
}

/// Whether a path is a folder, and not one of a format of folders.
fn is_folder_of_files(path: &Path) -> bool {
    path.is_dir() && Format::of_folder(path).is_none()
}

/// The files of a folder, in the order of their names; hidden ones are not seen.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("reading {} failed: {e}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

async fn of_file(
    args: &ConvertArgs,
    kind: Kind,
    session: &Session,
    path: &Path,
    entry: Option<&str>,
    sources: &mut Vec<Source>,
) -> Result<(), String> {
    let shown = path.display();
    let name = if is_glob(path) { stem(path).replace(['*', '?', '[', ']'], "").trim().to_owned() } else { stem(path) };
    let name = if name.is_empty() { "all".to_owned() } else { name };
    match kind {
        Kind::Arrays(format) if format.is_container() => {
            for found in entries(format, path, entry)? {
                let from = from(session, path, Some(&found.name), kind, true).await?;
                let own = found.name.trim_matches('/');
                let own = if own.is_empty() { name.clone() } else { own.to_owned() };
                let mut source = Source::new(own, format!("{shown}::{}", found.name), from, false);
                if !is_glob(path) {
                    source.query.bytes = Some(found.bytes);
                    source.query.rows = Some(found.shape.first().copied().unwrap_or(1));
                }
                sources.push(source);
            }
        }
        Kind::Arrays(_) => {
            let from = from(session, path, entry, kind, true).await?;
            let mut source = Source::new(name, shown.to_string(), from, false);
            source.query.bytes = Some(bytes_on_disk(path)).filter(|&n| n > 0);
            sources.push(source);
        }
        Kind::Table(_) if entry.is_some() => {
            return Err(format!(
                "{shown} is a table, which has no arrays by name; leave ::{} out",
                entry.unwrap_or("")
            ));
        }
        // A query reads only what it needs of a file, which DataFusion sees to.
        Kind::Table("parquet") if args.select.is_none() && !is_glob(path) => {
            let failed = |e| format!("{shown}: {}", said(e));
            let (table, rows, read) = super::parquet::table(path).map_err(failed)?;
            let label = format!("parquet {}", sources.len());
            session.context().register_table(TableReference::bare(label.as_str()), Arc::new(table)).map_err(failed)?;
            let mut source = Source::new(name, shown.to_string(), quoted(&label), true);
            (source.query.bytes, source.query.rows) = (Some(bytes_on_disk(path)), Some(rows));
            source.query.read = Some(read);
            sources.push(source);
        }
        Kind::Table(table) => {
            let from = from(session, path, None, kind, !args.no_header).await?;
            let mut source = Source::new(name, shown.to_string(), from, true);
            source.query.bytes = Some(bytes_on_disk(path)).filter(|&n| n > 0);
            source.query.rows = (table == "csv" || table == "json").then(|| estimated_lines(path)).flatten();
            sources.push(source);
        }
        Kind::Store => return Err(format!("{shown} is no store")),
    }
    Ok(())
}

/// The arrays of a container, or the named one; of a pattern those of the first file.
fn entries(format: &Format, path: &Path, entry: Option<&str>) -> Result<Vec<Entry>, String> {
    if let (Some(entry), true) = (entry, is_glob(path)) {
        return Ok(vec![Entry {
            name: entry.to_owned(),
            dtype: String::new(),
            shape: vec![],
            bytes: 0,
            fields: vec![],
        }]);
    }
    let first = match is_glob(path) {
        true => first_match(path)?,
        false => path.to_owned(),
    };
    let container = format.open_container(&first).map_err(|e| e.to_string())?;
    match entry {
        None if container.entries().is_empty() => Err(format!("{} holds no array", first.display())),
        None => Ok(container.entries().to_vec()),
        Some(wanted) => {
            let is_it = |e: &&Entry| e.name.trim_matches('/') == wanted.trim_matches('/');
            let found = container.entries().iter().find(is_it);
            match found {
                Some(found) => Ok(vec![found.clone()]),
                // A name that is not listed may still be one: a group, or a dataset within one.
                None => {
                    let source = container.open(wanted).map_err(|e| e.to_string())?;
                    let fields = source.fields().to_vec();
                    let bytes: usize = fields.iter().map(hyperslab::FieldSpec::row_bytes).sum();
                    let (rows, name, dtype) = (source.rows(), wanted.to_owned(), String::new());
                    Ok(vec![Entry { name, dtype, shape: vec![rows], bytes: rows * bytes as u64, fields }])
                }
            }
        }
    }
}

/// The first file that a pattern matches: its folder's files hold the names.
fn first_match(pattern: &Path) -> Result<PathBuf, String> {
    let none = || format!("no file matches {:?}", pattern.display().to_string());
    let paths = glob::glob(&pattern.to_string_lossy()).map_err(|e| format!("{}: {e}", pattern.display()))?;
    let mut paths: Vec<PathBuf> = paths.flatten().collect();
    paths.sort_unstable();
    paths.into_iter().next().ok_or_else(none)
}

/// How many lines a file has, judged by its start.
fn estimated_lines(path: &Path) -> Option<u64> {
    let mut start = Vec::new();
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.take(SAMPLE as u64).read_to_end(&mut start).ok()?;
    let lines = start.iter().filter(|&&byte| byte == b'\n').count() as u64;
    (lines > 0).then(|| (length as u128 * u128::from(lines) / start.len().max(1) as u128) as u64)
}

/// The query of `--select`, over the inputs by their names, and by `input` where there is one.
async fn selected(args: &ConvertArgs, session: &Session, select: &str, sources: &[Source]) -> Result<Query, String> {
    let mut views: Vec<(&str, &str)> = Vec::new();
    for source in sources.iter().filter(|s| s.query.schema.is_none()) {
        let name = source.query.name.as_str();
        // A name that two files have is none; the files have theirs.
        if sources.iter().filter(|s| s.query.name == name).count() == 1 {
            views.push((name, &source.from));
        }
    }
    if let [only] = sources
        && only.query.name != INPUT
    {
        views.push((INPUT, &only.from));
    }
    let mut label = "the query of --select".to_owned();
    if !sources.is_empty() {
        let stored = sources.iter().filter(|s| s.query.schema.is_some()).map(|s| s.query.name.as_str());
        let names: Vec<_> = views.iter().map(|v| v.0).chain(stored).take(20).collect();
        label = format!("{label} over {}", names.join(", "));
    }
    for (name, from) in views {
        let view = format!("CREATE VIEW {} AS SELECT * FROM {from}", quoted(name));
        session.sql(&view).await.map_err(said)?;
    }
    let name = match sources {
        [only] => only.query.name.clone(),
        _ => stem(&split_entry(&args.output).0),
    };
    let table = sources.iter().all(|s| s.query.table);
    let sql = select.trim().trim_end_matches(';').to_owned();
    Ok(Query { name, label, sql, table, schema: None, bytes: None, rows: None, read: None })
}

/// A source with `--slice` and `--value`.
async fn query(args: &ConvertArgs, session: &Session, source: Source) -> Result<Query, String> {
    let Source { mut query, from, .. } = source;
    let table = match &args.value {
        Some(columns) => format!("matrix({from}, {})", literal(columns)),
        None => from.clone(),
    };
    query.sql = match &args.slice {
        None => format!("SELECT * FROM {table}"),
        Some(slice) if query.table || args.value.is_some() => {
            query.rows = None;
            format!("SELECT * FROM {table}{}", limit(session, &from, slice).await?)
        }
        Some(slice) => {
            (query.rows, query.bytes) = (None, None);
            format!("SELECT * FROM slice({from}, {})", literal(slice))
        }
    };
    Ok(query)
}

/// A slice of rows in order, of what is no array.
async fn limit(session: &Session, from: &str, slice: &str) -> Result<String, String> {
    let selection = Selection::parse(slice).map_err(|e| e.to_string())?;
    let rows = match slice.contains('-') {
        true => {
            let count = session.sql(&format!("SELECT * FROM {from}")).await.map_err(said)?.count().await;
            count.map_err(said)?
        }
        false => isize::MAX as usize,
    };
    let normal = selection.normalize(&[rows]).map_err(|e| e.to_string())?;
    match normal.axes.as_slice() {
        [axis] if axis.step == 1 && axis.start + axis.len >= rows => Ok(format!(" OFFSET {}", axis.start)),
        [axis] if axis.step == 1 || axis.len <= 1 => Ok(format!(" LIMIT {} OFFSET {}", axis.len, axis.start)),
        _ => Err(format!("--slice {slice:?}: a table is sliced by rows without a step, as in '100:200'; use --select")),
    }
}
