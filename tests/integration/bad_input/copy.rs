//! COPY of what a file cannot hold: nothing is left under its name or another.

use super::Place;

const ARRAY_FORMATS: [&str; 5] = ["npy", "npz", "safetensors", "h5", "zarr"];

#[test]
fn types_that_a_format_has_not() {
    let place = Place::new();
    for format in ARRAY_FORMATS {
        place.fails(
            &format!("COPY (SELECT 1.5::DECIMAL(10, 2) AS price) TO 'x.{format}'"),
            &["price", "decimal", "cast"],
        );
        place.fails(&format!("COPY (SELECT [1, 2] AS pair) TO 'x.{format}'"), &["pair", "cast it", "::FLOAT["]);
        place.fails(&format!("COPY (SELECT INTERVAL '1 day' AS wait) TO 'x.{format}'"), &["wait", "interval", "cast"]);
    }
    for format in ["safetensors", "pt", "npk"] {
        place.fails(&format!("COPY (SELECT 'word' AS name) TO 'x.{format}'"), &["name", "utf8"]);
        place.fails(&format!("COPY (SELECT 1 AS id, 'word' AS name) TO 'x.{format}'"), &["name", "utf8"]);
    }
    for format in ["npy", "npz"] {
        place.fails(&format!("COPY (SELECT X'00' AS raw) TO 'x.{format}'"), &["raw", "binary"]);
        place.fails(&format!("COPY (SELECT 1 AS id, X'00' AS raw) TO 'x.{format}'"), &["raw", "binary"]);
        let words = "SELECT value AS id, CASE WHEN value = 20007 THEN NULL ELSE 'word' END AS name FROM generate_series(0, 30000)";
        place.fails(&format!("COPY ({words}) TO 'x.{format}'"), &["name", "row 20007", "NULL"]);
        let words = "SELECT value AS id, repeat('ü', value) AS name FROM generate_series(0, 9000)";
        place.fails(
            &format!("COPY ({words}) TO 'x.{format}' OPTIONS (text_width 8500)"),
            &["name", "row 8501", "room for 8500", "text_width"],
        );
    }
    place.fails(
        "COPY (SELECT [1, 2, 3]::FLOAT[3] AS v, {'a': 1} AS s) TO 'x.h5'",
        &["\"s\"", "struct", "members as columns"],
    );
}

#[test]
fn nulls_and_ragged_lists_name_field_and_row() {
    let place = Place::new();
    for format in ARRAY_FORMATS {
        let rows = "SELECT value AS id, CASE WHEN value = 20007 THEN NULL ELSE value END AS gap FROM generate_series(0, 30000)";
        place.fails(&format!("COPY ({rows}) TO 'x.{format}'"), &["gap", "row 20007", "NULL"]);
        let cells =
            "SELECT CASE WHEN value = 3 THEN NULL ELSE [value, 1]::FLOAT[2] END AS v FROM generate_series(0, 5)";
        place.fails(&format!("COPY ({cells}) TO 'x.{format}'"), &["\"v\"", "row 3", "NULL"]);
    }
    place.fails("INSERT INTO v VALUES ([1, 2, 3]), ([1, 2, 3, 4])", &["value", "row 1 of the input", "4 elements"]);
    place.fails(
        "INSERT INTO m SELECT 1, CASE WHEN value = 5 THEN [1] ELSE [1, 2] END FROM generate_series(0, 9)",
        &["\"e\"", "row 5 of the input", "1 elements"],
    );
}

#[test]
fn options_out_of_range() {
    let place = Place::new();
    for (target, named) in [
        ("'x.npy' OPTIONS (text_width 0)", &["text_width", "1 to 536870911"][..]),
        ("'x.npz' OPTIONS (codec 'zip')", &["codec", "none, deflate"][..]),
        ("'x.npz' OPTIONS (codec 'deflate', level 10)", &["level", "1 to 9"]),
        ("'x.h5' OPTIONS (codec 'gzip', level 10)", &["level", "0 to 9"]),
        ("'x.h5' OPTIONS (level 3)", &["level", "gzip"]),
        ("'x.h5' OPTIONS (chunks 'many')", &["chunks", "1000,384"]),
        ("'x.h5' OPTIONS (shuffle 'perhaps')", &["shuffle", "true"]),
        ("'x.h5' OPTIONS (attributes '[1]')", &["attributes", "JSON"]),
        ("'x.h5' OPTIONS (dataset '')", &["dataset"]),
        ("'x.zarr' OPTIONS (codec 'blosc')", &["codec", "zstd"]),
        ("'x.zarr' OPTIONS (level 23)", &["level", "-7 to 22"]),
        ("'x.zarr' OPTIONS (shards '10', version 2)", &["shards", "version 3"]),
        ("'x.zarr' OPTIONS (version 4)", &["version", "2, 3"]),
        ("'x.safetensors' OPTIONS (metadata '{\"a\": 1}')", &["metadata", "JSON object of texts"]),
        ("'x.parquet' OPTIONS (compression 'zip')", &["zip"]),
        ("'x.parquet' OPTIONS (max_row_group_size 'many')", &["many"]),
        ("'x.csv' OPTIONS (delimiter 'long')", &["delimiter"]),
    ] {
        place.fails(&format!("COPY n TO {target}"), named);
    }
    for format in ["npy", "npz", "safetensors", "h5", "zarr", "parquet", "csv", "json", "arrow"] {
        place.fails(&format!("COPY n TO 'x.{format}' OPTIONS (nonsense 1)"), &["nonsense"]);
        place.fails(&format!("COPY n TO 'x.{format}' OPTIONS (mode 'grow')"), &["mode", "create, overwrite, append"]);
        place.fails(&format!("COPY n TO 'x.{format}' OPTIONS (overwrite 3)"), &["overwrite", "true or false"]);
        place.fails(&format!("COPY n TO 'x.{format}' OPTIONS (rows_per_file -1)"), &["Expected"]);
        place.ok(&format!("COPY n TO 'there.{format}'"));
        place.fails(&format!("COPY n TO 'there.{format}'"), &[&format!("there.{format} exists"), "option overwrite"]);
    }
}
