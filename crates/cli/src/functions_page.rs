//! The page `docs/functions.md`, made from the one list of functions.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;

use hyperslab::{FunctionDoc, FunctionKind, function_docs};

const INTRODUCTION: &str = "\
# Functions

The functions that Hyperslab adds to [DataFusion's](https://datafusion.apache.org/user-guide/sql/index.html). This page
is made from the list in `crates/datafusion/src/functions.rs` by `make docs`; a test compares the two.
Every example runs as it stands in the root of the repository.
";

fn page() -> String {
    let docs = function_docs();
    let mut page = INTRODUCTION.to_owned();
    for (kind, title) in [
        (FunctionKind::Table, "Table functions"),
        (FunctionKind::Scalar, "Scalar functions"),
        (FunctionKind::Aggregate, "Aggregate functions"),
    ] {
        write!(page, "\n## {title}\n").unwrap();
        docs.iter().filter(|doc| doc.kind == kind).for_each(|doc| section(doc, &mut page));
    }
    page
}

fn section(doc: &FunctionDoc, page: &mut String) {
    write!(page, "\n### {}\n\n`{}`\n\n{}\n", doc.name, doc.signature, doc.summary).unwrap();
    if !doc.aliases.is_empty() {
        let names: Vec<String> = doc.aliases.iter().map(|a| format!("`{a}`")).collect();
        write!(page, "\nAlso: {}.\n", names.join(", ")).unwrap();
    }
    let statements = doc.example.split("; ").collect::<Vec<_>>().join(";\n");
    write!(page, "\n```sql\n{statements};\n```\n").unwrap();
}

#[test]
fn the_functions_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/functions.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).unwrap();
    } else {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "docs/functions.md differs from function_docs(); run `make docs`");
    }
}
