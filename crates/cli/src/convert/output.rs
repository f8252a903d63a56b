//! What is written: which arrays go where.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use hyperslab::Store;
use hyperslab::formats::{FORMATS, Format, split_entry};

use super::ConvertArgs;
use super::input::Query;
use super::kind::{Kind, quoted};

/// One thing that appears as a whole: a file, or what is committed to a store at once.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) items: Vec<Item>,
}

/// An array of it.
#[derive(Debug)]
pub(super) struct Item {
    /// Its name there.
    pub(super) name: String,
    pub(super) query: Query,
}

impl Unit {
    fn one(path: PathBuf, kind: Kind, name: String, query: Query) -> Self {
        Self { path, kind, items: vec![Item { name, query }] }
    }

    /// Whether it is a file of several arrays by name.
    pub(super) fn container(&self) -> Option<&'static Format> {
        match self.kind {
            Kind::Arrays(format) if format.writes_arrays_by_name() => Some(format),
            _ => None,
        }
    }
}

/// Lays out what is written, and how many arrays `--resume` leaves out. Nothing is written yet.
pub(super) fn plan(args: &ConvertArgs, queries: Vec<Query>) -> Result<(Vec<Unit>, usize), String> {
    let (path, entry) = split_entry(&args.output);
    let to = args.to.as_deref().map(Kind::named).transpose()?;
    let all = queries.len();
    if entry.is_some() && all != 1 {
        return Err(format!("{} names one array, and {all} are read; leave ::name out", args.output));
    }
    let name_of = |query: &Query| entry.clone().unwrap_or_else(|| query.name.clone());
    let units = match place(args, &path, to)? {
        Place::Folder(kind) => {
            let file = |query: Query| {
                let name = name_of(&query);
                Ok(Unit::one(path.join(file_name(&name, kind)?), kind, name, query))
            };
            queries.into_iter().map(file).collect::<Result<Vec<_>, String>>()?
        }
        Place::Together(kind) => {
            let items = queries.into_iter().map(|query| Item { name: name_of(&query), query });
            vec![Unit { path: path.clone(), kind, items: items.collect() }]
        }
        Place::Alone(kind) => match <[Query; 1]>::try_from(queries) {
            Ok([query]) => vec![Unit::one(path.clone(), kind, name_of(&query), query)],
            Err(queries) => return Err(too_many(&path, kind, &queries)),
        },
    };
    check_names(&units)?;
    let units = without_existing(args, units)?;
    let left: usize = units.iter().map(|u| u.items.len()).sum();
    Ok((units, all - left))
}

/// Where arrays go.
enum Place {
    /// Each to a file of its own.
    Folder(Kind),
    /// Into one file, or a store.
    Together(Kind),
    /// A file of one.
    Alone(Kind),
}

fn place(args: &ConvertArgs, path: &Path, to: Option<Kind>) -> Result<Place, String> {
    if Store::exists(path) || matches!(to, Some(Kind::Store)) {
        return match to {
            None | Some(Kind::Store) => Ok(Place::Together(Kind::Store)),
            Some(_) => Err(format!("{} is a store; leave --to out, or choose another name", path.display())),
        };
    }
    let kind = Kind::of_path(path);
    let is_folder = kind.is_none() && (path.is_dir() || args.output.ends_with(['/', std::path::MAIN_SEPARATOR]));
    match to.or(kind) {
        to if is_folder => {
            let npy = || Kind::named("npy");
            Ok(Place::Folder(to.map_or_else(npy, Ok)?))
        }
        Some(kind @ Kind::Arrays(format)) if format.writes_arrays_by_name() => Ok(Place::Together(kind)),
        Some(kind @ Kind::Arrays(format)) if format.can_write() => Ok(Place::Alone(kind)),
        Some(Kind::Arrays(format)) => Err(format!("{} files are read and not written", format.name())),
        Some(Kind::Store) => Ok(Place::Together(Kind::Store)),
        Some(kind @ Kind::Table(_)) => Ok(Place::Alone(kind)),
        None => Err(format!(
            "the name {} does not say the format; give it an extension ({}), say it with --to, or end the name with / \
             for a folder of .npy files",
            path.display(),
            Kind::extensions()
        )),
    }
}

fn too_many(path: &Path, kind: Kind, queries: &[Query]) -> String {
    let names: Vec<&str> = queries.iter().take(20).map(|q| q.name.as_str()).collect();
    let more = if queries.len() > names.len() { ", …" } else { "" };
    let several: Vec<&str> = FORMATS.iter().filter(|f| f.writes_arrays_by_name()).map(Format::name).collect();
    let extension = kind.extension();
    format!(
        "a .{extension} file holds one array, and {} are read: {}{more}; name one of them (IN::{}), write a folder \
         (OUT/ --to {extension}), or write {} to have one file",
        queries.len(),
        names.join(", "),
        names.first().unwrap_or(&"name"),
        several.join(", ")
    ) + if path.extension().is_some() && queries.iter().all(|q| q.table) {
        "; a pattern in quotes joins files"
    } else {
        ""
    }
}

/// A file's name for an array; a `/` in it makes folders.
fn file_name(name: &str, kind: Kind) -> Result<PathBuf, String> {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(['\0', '\\']);
    if name.split('/').any(bad) {
        return Err(format!("{name:?} cannot be the name of a file; convert this array by itself, to a name of yours"));
    }
    Ok(PathBuf::from(format!("{name}.{}", kind.extension())))
}

/// Refuses two arrays of one name.
fn check_names(units: &[Unit]) -> Result<(), String> {
    let mut seen = HashMap::new();
    for (unit, item) in units.iter().flat_map(|u| u.items.iter().map(move |i| (u, i))) {
        if let Some(other) = seen.insert((&unit.path, &item.name), item) {
            return Err(format!(
                "two of the inputs are named {:?}: {} and {}; convert them one after another, to OUT::NAME, or rename a \
                 file",
                item.name, other.query.label, item.query.label
            ));
        }
    }
    Ok(())
}

/// Refuses what is there, or with `--resume` leaves it out.
fn without_existing(args: &ConvertArgs, units: Vec<Unit>) -> Result<Vec<Unit>, String> {
    if args.overwrite {
        return Ok(units);
    }
    let mut left = Vec::new();
    for mut unit in units {
        if let Kind::Store = unit.kind {
            let there = arrays_in(&unit.path)?;
            if !args.resume
                && let Some(item) = unit.items.iter().find(|item| there.contains(&item.name))
            {
                return Err(format!(
                    "the store {} has an array {:?} already; --overwrite replaces it, --resume leaves out what is there",
                    unit.path.display(),
                    item.name
                ));
            }
            unit.items.retain(|item| !there.contains(&item.name));
        } else if unit.path.exists() {
            if args.resume {
                continue;
            }
            let path = unit.path.display();
            return Err(format!("{path} exists; --overwrite replaces it, --resume leaves out what is there"));
        }
        if !unit.items.is_empty() {
            left.push(unit);
        }
    }
    Ok(left)
}

fn arrays_in(path: &Path) -> Result<HashSet<String>, String> {
    if !Store::exists(path) {
        return Ok(HashSet::new());
    }
    let options = hyperslab::OpenOptions { read_only: true, create: false, ..Default::default() };
    let snapshot = Store::open_with(path, options).and_then(|store| store.snapshot()).map_err(|e| e.to_string())?;
    let mut names = HashSet::new();
    for schema in snapshot.schemas() {
        for name in snapshot.arrays(&schema) {
            names.insert(hyperslab::ArrayName::new(&schema, &name).to_string());
        }
    }
    Ok(names)
}

/// An array's name in a store, as SQL writes it, and the schema that it needs: `schema.name` where it was read from one.
pub(super) fn in_store(name: &str, schema: Option<&str>) -> (Option<String>, String) {
    let inside = schema.and_then(|schema| Some((schema, name.strip_prefix(schema)?.strip_prefix('.')?)));
    match inside {
        Some((schema, name)) => (Some(quoted(schema)), format!("{}.{}", quoted(schema), quoted(name))),
        None => (None, quoted(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_kept_and_a_dot_is_none() {
        assert_eq!(in_store("lab.a.b", Some("lab")), (Some("\"lab\"".into()), "\"lab\".\"a.b\"".into()));
        assert_eq!(in_store("layer.0", Some("main")), (None, "\"layer.0\"".into()));
        assert_eq!(in_store("layer.0", None), (None, "\"layer.0\"".into()));
    }

    #[test]
    fn names_become_paths_inside_the_folder_only() {
        let npy = Kind::named("npy").ok();
        let file = |name: &str| npy.and_then(|kind| file_name(name, kind).ok());
        assert_eq!(file("a/b.c"), Some(PathBuf::from("a/b.c.npy")));
        assert!(["../a", "/a", "a//b", "", "a\\b", "."].iter().all(|name| file(name).is_none()));
    }
}
