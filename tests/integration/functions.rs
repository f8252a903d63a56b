//! The list of functions is whole: each has an example that runs, a section in the docs, and is registered.

use std::collections::BTreeSet;

use datafusion::arrow::array::AsArray;
use hyperslab::{FunctionKind, function_docs};
use hyperslab_tests::{Sql, root};

#[test]
fn every_function_has_an_example_that_gives_rows() {
    std::env::set_current_dir(root()).unwrap();
    for doc in function_docs() {
        assert!(doc.example.contains(doc.name), "{}: the example does not call it: {}", doc.name, doc.example);
        // Examples may prepare what they need; the last statement is the one that shows the function.
        let sql = Sql::memory();
        let statements = sql.session().split(doc.example).unwrap_or_else(|e| panic!("{}: {e}", doc.name));
        let rows = statements.iter().map(|s| sql.ok(s).num_rows()).last();
        assert!(rows.is_some_and(|n| n > 0), "{}: the example gives no rows: {}", doc.name, doc.example);
    }
}

#[test]
fn every_function_has_a_section_in_the_docs() {
    let mut pages = String::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let headings: Vec<&str> = pages.lines().filter(|l| l.starts_with('#')).collect();
    for doc in function_docs() {
        let found =
            headings.iter().any(|h| h.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|w| w == doc.name));
        assert!(found, "no heading of docs/ names {}", doc.name);
        assert!(pages.contains(doc.signature), "docs/ lacks the signature {}", doc.signature);
        for alias in doc.aliases {
            assert!(pages.contains(&format!("`{alias}`")), "docs/ does not name the alias {alias} of {}", doc.name);
        }
    }
}

#[test]
fn names_are_unique_sorted_and_described() {
    let docs = function_docs();
    let names: Vec<&str> = docs.iter().map(|d| d.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let mut seen = BTreeSet::new();
    for doc in &docs {
        assert!(!doc.summary.is_empty() && doc.signature.starts_with(doc.name), "{doc:?}");
        for name in doc.aliases.iter().chain([&doc.name]) {
            assert!(seen.insert((*name, doc.kind as u8)), "{name} is there twice");
        }
    }
}

/// The functions in `information_schema.routines` of a session.
fn registered(sql: &Sql, column: &str) -> BTreeSet<String> {
    let batch = sql.ok(&format!("SELECT DISTINCT {column} AS name FROM information_schema.routines"));
    let names =
        datafusion::arrow::compute::cast(batch.column(0), &datafusion::arrow::datatypes::DataType::Utf8).unwrap();
    names.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
}

#[test]
fn what_is_listed_is_registered_and_nothing_else() {
    let sql = Sql::memory();
    let ours = registered(&sql, "routine_name");
    let plain = datafusion::prelude::SessionContext::new();
    let theirs: BTreeSet<String> = plain.state().scalar_functions().keys().cloned().collect();
    let docs = function_docs();
    let scalar = docs.iter().filter(|d| d.kind == FunctionKind::Scalar);
    let listed: BTreeSet<String> =
        scalar.flat_map(|d| d.aliases.iter().chain([&d.name])).map(|n| (*n).to_owned()).collect();
    let registered: BTreeSet<String> = sql.session().context().state().scalar_functions().keys().cloned().collect();
    for name in &listed {
        assert!(registered.contains(name), "{name} is listed and not registered");
    }
    assert!(docs.iter().filter(|d| d.kind == FunctionKind::Scalar).all(|d| ours.contains(d.name)), "{ours:?}");
    let unlisted: Vec<_> = registered.difference(&theirs).filter(|n| !listed.contains(*n)).collect();
    assert!(unlisted.is_empty(), "registered and not listed: {unlisted:?}");

    // A table function that is known says what its arguments are; one that is not is said to be unknown.
    for doc in docs.iter().filter(|d| d.kind == FunctionKind::Table) {
        for name in doc.aliases.iter().chain([&doc.name]) {
            let message = sql.error(&format!("SELECT * FROM {name}(no_such_argument => 1)"));
            assert!(message.contains("no_such_argument") && message.contains(doc.signature), "{name}: {message}");
        }
    }
    let unknown = sql.error("SELECT * FROM no_such_function(1)");
    assert!(unknown.contains("no_such_function"), "{unknown}");
}
