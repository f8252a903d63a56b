//! What ATTACH put beside the store's schemas: files, folders and other stores, whose arrays are tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use datafusion::common::{Result, plan_err};
use hyperslab_core::{ArraySource, Error};
use hyperslab_formats::{Container, FORMATS, Format};
use hyperslab_store::{ArrayName, DEFAULT_SCHEMA, OpenOptions, Snapshot, Store};

use super::StoreCatalog;
use crate::error::to_datafusion;
use crate::files::local_path;
use crate::index::SketchIndex;
use crate::table::ArrayTable;

/// A file that only the folder of a store has.
const STORE_FILE: &str = "hyperslab.json";

/// What is attached in a session, by name. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attachments {
    places: Arc<RwLock<BTreeMap<String, Place>>>,
    /// What was looked at for the statement at hand: it sees one state of each.
    opened: Arc<Mutex<BTreeMap<String, Arc<Attached>>>>,
}

/// What an attached name stands for.
#[derive(Debug, Clone)]
enum Place {
    Store(Store),
    File(PathBuf, &'static Format),
    /// A folder of array files.
    Folder(PathBuf),
}

/// An attached place as one statement sees it.
#[derive(Debug)]
pub(crate) struct Attached {
    name: String,
    arrays: Arrays,
    /// The tables that were asked for.
    tables: Mutex<BTreeMap<String, ArrayTable>>,
}

#[derive(Debug)]
enum Arrays {
    Store(Store, Arc<Snapshot>),
    File(Arc<dyn Container>),
    Folder(Vec<ArrayFile>),
}

impl Attachments {
    /// The same, to be looked at anew.
    pub(super) fn for_statement(&self) -> Self {
        Self { places: Arc::clone(&self.places), opened: Arc::default() }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.places.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Attaches what is at a path. Its arrays are looked at once, so that a path that holds nothing is refused.
    ///
    /// # Errors
    /// A name in use; a path where nothing is, or nothing that is known.
    pub(super) fn attach(&self, name: &str, path: &str) -> Result<()> {
        let place = Place::at(path).map_err(to_datafusion)?;
        Attached::open(name, &place)?;
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        if places.contains_key(name) {
            return plan_err!("ATTACH: {name:?} is attached already; DETACH it first, or choose another name");
        }
        places.insert(name.to_owned(), place);
        Ok(())
    }

    /// Whether there was one of that name.
    pub(super) fn detach(&self, name: &str) -> bool {
        self.places.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }

    /// The path that a name stands for.
    pub(super) fn path(&self, name: &str) -> Option<String> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        Some(match places.get(name)? {
            Place::Store(store) => store.describe(),
            Place::File(path, _) | Place::Folder(path) => path.display().to_string(),
        })
    }

    /// What is attached under a name, as this statement sees it.
    ///
    /// # Errors
    /// A file, folder or store that cannot be read any more.
    pub(super) fn get(&self, name: &str) -> Result<Option<Arc<Attached>>> {
        let Some(place) = self.places.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned() else {
            return Ok(None);
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attached) = opened.get(name) {
            return Ok(Some(Arc::clone(attached)));
        }
        let attached = Arc::new(Attached::open(name, &place)?);
        opened.insert(name.to_owned(), Arc::clone(&attached));
        Ok(Some(attached))
    }
}

impl Place {
    fn at(text: &str) -> hyperslab_core::Result<Self> {
        let given = local_path(text)?;
        let path = std::path::absolute(&given).map_err(|e| Error::io("opening", given.display(), e))?;
        if !path.exists() {
            return Err(Error::not_found(format!("there is no file or folder {}", path.display())));
        }
        if path.join(STORE_FILE).is_file() {
            let options = OpenOptions { read_only: true, ..OpenOptions::default() };
            let store = Store::open_with(&path, options)?;
            store.add_index_kind(Arc::new(SketchIndex));
            return Ok(Self::Store(store));
        }
        match (Format::of_path(&path), Format::of_folder(&path)) {
            (Ok(format), _) | (Err(_), Some(format)) => Ok(Self::File(path, format)),
            (Err(_), None) if path.is_dir() => Ok(Self::Folder(path)),
            (Err(unknown), None) => Err(unknown),
        }
    }
}

impl Attached {
    fn open(name: &str, place: &Place) -> Result<Self> {
        let arrays = match place {
            Place::Store(store) => store.snapshot().map(|snapshot| Arrays::Store(store.clone(), snapshot)),
            Place::File(path, format) => format.open_container(path).map(Arrays::File),
            Place::Folder(path) => array_files(path).map(Arrays::Folder),
        };
        let arrays = arrays.map_err(to_datafusion)?;
        Ok(Self { name: name.to_owned(), arrays, tables: Mutex::default() })
    }

    /// The names of its arrays. Those that cannot be read are left out; a look-up by name says why.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.arrays {
            Arrays::Store(_, snapshot) => {
                let of = |schema: String| {
                    let arrays = snapshot.arrays(&schema).into_iter();
                    arrays.map(move |array| ArrayName::new(&schema, array).to_string())
                };
                snapshot.schemas().into_iter().flat_map(of).collect()
            }
            Arrays::File(container) => readable(container.as_ref()),
            Arrays::Folder(files) => files.iter().flat_map(ArrayFile::names).collect(),
        }
    }

    /// One of its arrays as a table.
    ///
    /// # Errors
    /// `NotFound`, listing the names that are there; otherwise what the file or store gives.
    pub(super) fn table(&self, name: &str) -> Result<ArrayTable> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(name) {
            return Ok(table.clone());
        }
        let table = self.open_table(name).map_err(to_datafusion)?.attached(&self.name, name);
        tables.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    fn open_table(&self, name: &str) -> hyperslab_core::Result<ArrayTable> {
        match &self.arrays {
            Arrays::Store(store, snapshot) => {
                let array = snapshot.array(name_in(snapshot, name))?;
                Ok(ArrayTable::from_array(store.clone(), array))
            }
            Arrays::File(container) => {
                let path = format!("{}::{name}", container.path().display());
                Ok(ArrayTable::from_file(&path, open_entry(container.as_ref(), name)?))
            }
            Arrays::Folder(files) => {
                let known = files.iter().find_map(|file| Some((file, file.entry(name)?)));
                let Some((file, entry)) = known else {
                    return Err(Error::not_found(format!(
                        "{} has no array {name:?}; there are: {}",
                        self.name,
                        self.names().join(", ")
                    )));
                };
                let source = match entry {
                    None => file.format.open(&file.path, None)?,
                    Some(entry) => open_entry(file.format.open_container(&file.path)?.as_ref(), entry)?,
                };
                Ok(ArrayTable::from_file(&format!("{}::{name}", file.path.display()), source))
            }
        }
    }

    /// The attached store, if it is one, as a catalog at the version that the statement sees.
    pub(super) fn store(&self) -> Option<StoreCatalog> {
        match &self.arrays {
            Arrays::Store(store, snapshot) => Some(StoreCatalog::pinned(store.clone(), Arc::clone(snapshot))),
            _ => None,
        }
    }
}

/// The array that a table of an attached store means: one of the default schema, else `schema.name`.
pub(crate) fn name_in(snapshot: &Snapshot, table: &str) -> ArrayName {
    let plain = ArrayName::new(DEFAULT_SCHEMA, table);
    match table.split_once('.') {
        Some((schema, name)) if !snapshot.contains(&plain) => ArrayName::new(schema, name),
        _ => plain,
    }
}

/// A file of an attached folder. Its table, or what its tables begin with, is called as the file without its extension,
/// unless that is the name of two.
#[derive(Debug)]
struct ArrayFile {
    name: String,
    path: PathBuf,
    format: &'static Format,
}

impl ArrayFile {
    fn names(&self) -> Vec<String> {
        let Ok(container) = self.format.open_container(&self.path) else { return vec![] };
        match readable(container.as_ref()).as_slice() {
            [_] => vec![self.name.clone()],
            names => names.iter().map(|name| format!("{}/{name}", self.name)).collect(),
        }
    }

    /// What a table's name means in this file: its only array, or one of several; `None` for a name of another file.
    fn entry<'a>(&self, table: &'a str) -> Option<Option<&'a str>> {
        match table.strip_prefix(&self.name)? {
            "" => Some(None),
            rest => rest.strip_prefix('/').map(Some),
        }
    }
}

/// The array files of a folder.
fn array_files(folder: &Path) -> hyperslab_core::Result<Vec<ArrayFile>> {
    let failed = |e| Error::io("reading", folder.display(), e);
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if let (Ok(format), false) = (Format::of_path(&path), hidden) {
            files.push(ArrayFile { name: Format::stem(&path), path, format });
        }
    }
    if files.is_empty() {
        let known: Vec<_> = FORMATS.iter().flat_map(|f| f.extensions()).map(|e| format!(".{e}")).collect();
        return Err(Error::not_found(format!(
            "{} is neither a store nor a folder with array files in it; known are {}",
            folder.display(),
            known.join(", ")
        )));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let stems: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
    for file in &mut files {
        if stems.iter().filter(|stem| **stem == file.name).count() > 1 {
            file.name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        }
    }
    Ok(files)
}

/// The names of a container's arrays that can be read, without the slash that HDF5's begin with.
fn readable(container: &dyn Container) -> Vec<String> {
    let entries = container.entries().iter().filter(|e| !e.fields.is_empty());
    entries.map(|e| e.name.trim_start_matches('/').to_owned()).collect()
}

/// Opens an array by its name, with or without the slash that it begins with.
fn open_entry(container: &dyn Container, name: &str) -> hyperslab_core::Result<Arc<dyn ArraySource>> {
    let slash = format!("/{name}");
    let known = container.entries().iter().any(|e| e.name == slash);
    container.open(if known { &slash } else { name })
}
