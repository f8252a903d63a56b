#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;

use datafusion::parquet::basic::Encoding;
use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};

use crate::Session;

/// The columns that have a dictionary, and the rows of the first group.
async fn written(session: &Session, path: &Path, options: &str) -> (Vec<String>, i64) {
    let columns =
        "value AS id, sin(value) AS x, [sin(value), 1.0] AS v, [value, 2] AS n, concat('w', value % 9) AS word";
    let rows = format!("SELECT {columns} FROM generate_series(1, 300000)");
    let sql = format!("COPY ({rows}) TO '{}' OPTIONS (overwrite true {options})", path.display());
    session.sql(&sql).await.unwrap().collect().await.unwrap();
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let group = file.metadata().row_group(0);
    let has_dictionary = group.columns().iter().filter(|c| c.encodings().any(|e| e == Encoding::RLE_DICTIONARY));
    (has_dictionary.map(|c| c.column_path().string()).collect(), group.num_rows())
}

#[tokio::test]
async fn floats_have_no_dictionary_in_parquet_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let session = Session::memory();
    let (with, rows) = written(&session, &path, "").await;
    assert_eq!(with, ["id", "n.list.item", "word"]);
    assert!((100_000..300_000).contains(&rows), "{rows}");
    let (with, _) = written(&session, &path, ", dictionary_enabled true").await;
    assert_eq!(with, ["id", "x", "v.list.item", "n.list.item", "word"]);
    let (with, _) = written(&session, &path, ", 'dictionary_enabled::id' false").await;
    assert_eq!(with, ["x", "v.list.item", "n.list.item", "word"]);
}
