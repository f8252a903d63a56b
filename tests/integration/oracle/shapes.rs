//! Every dtype and shape of cell through Parquet and Arrow files: back with its dtype and shape, bit for bit, and read by
//! pyarrow.

use hyperslab_tests::{Sql, python, run_python};

use super::{quoted, seed};

/// Copies an array out and in again; its fields and values must be what they were.
fn goes_round(sql: &Sql, folder: &std::path::Path, name: &str) {
    for format in ["parquet", "arrow"] {
        let file = quoted(&folder.join(format!("out_{name}.{format}")));
        let back = format!("{name}_{format}");
        sql.ok(&format!("COPY {name} TO {file}"));
        sql.ok(&format!("CREATE TABLE {back} AS SELECT * FROM {file}"));
        let snapshot = sql.store().snapshot().unwrap();
        let (given, got) = (snapshot.array(name).unwrap(), snapshot.array(back.as_str()).unwrap());
        assert_eq!(got.fields(), given.fields(), "{name} through {format}");
        assert_eq!(got.rows(), given.rows(), "{name} through {format}");
        for field in 0..given.fields().len() {
            let all = |array: &hyperslab::Array| {
                hyperslab::core::ArraySource::read(array, field, 0..array.rows()).unwrap().array.to_data()
            };
            // Bits, since NaN is not NaN.
            assert_eq!(
                format!("{:?}", buffers(&all(&got))),
                format!("{:?}", buffers(&all(&given))),
                "{name}, {format}"
            );
        }
    }
}

fn buffers(data: &datafusion::arrow::array::ArrayData) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = data.buffers().iter().map(|b| b.as_slice().to_vec()).collect();
    all.extend(data.child_data().iter().flat_map(buffers));
    all
}

#[test]
fn every_dtype_and_shape_goes_through_parquet_and_arrow() {
    let folder = tempfile::tempdir().unwrap();
    let sql = Sql::memory();
    // Those that NumPy has not.
    sql.ok("CREATE TABLE b0 (value BFLOAT16)");
    sql.ok("INSERT INTO b0 VALUES (1.5), (-0.0), (3.0e38), ('NaN'::FLOAT), ('Infinity'::FLOAT), (1.0e-39)");
    sql.ok("CREATE TABLE b1 (value BFLOAT16[3])");
    sql.ok("INSERT INTO b1 VALUES ([1, 2, 3]), ([0.1, 0.2, 0.3])");
    sql.ok("CREATE TABLE b2 (value TENSOR(BFLOAT16, 2, 3), other FLOAT[2])");
    sql.ok("INSERT INTO b2 VALUES ([1, 2, 3, 4, 5, 6], [0.1, 0.2])");
    sql.ok("CREATE TABLE texts (t TEXT, n TEXT NULL, b BYTEA, f BINARY(3), i BIGINT NULL, w BFLOAT16 NULL)");
    sql.ok("INSERT INTO texts VALUES ('', NULL, 'ab', 'abc', NULL, NULL), ('äöü', 'x', '', 'xyz', 5, 2.5)");
    sql.ok("CREATE TABLE complexes (c COMPLEX64, v COMPLEX128[2], t TENSOR(COMPLEX64, 2, 2))");
    sql.ok("INSERT INTO complexes VALUES ([1, 2], [[1, 2], [3, 4]], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])");
    for name in ["b0", "b1", "b2", "texts", "complexes"] {
        goes_round(&sql, folder.path(), name);
    }
}

#[test]
fn pyarrow_reads_every_dtype_and_shape() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run_python(&python, folder.path(), include_str!("../../python/shapes_make.py"), &[&seed().to_string()]);
    let sql = Sql::memory();
    let mut count = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let name = stem.strip_prefix("in_").unwrap();
        sql.ok(&format!("CREATE TABLE {name} AS SELECT * FROM {}", quoted(&path)));
        goes_round(&sql, folder.path(), name);
        count += 1;
    }
    assert_eq!(count, 22 * 3);
    println!("{}", run_python(&python, folder.path(), include_str!("../../python/shapes_check.py"), &[]));
}

#[test]
fn tensors_of_pyarrow_are_cells_of_their_shape() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run_python(&python, folder.path(), include_str!("../../python/tensors_make.py"), &[]);
    let sql = Sql::memory();
    for format in ["parquet", "arrow"] {
        sql.ok(&format!(
            "CREATE TABLE {format} AS SELECT * FROM {}",
            quoted(&folder.path().join(format!("t.{format}")))
        ));
        let array = sql.store().snapshot().unwrap().array(format).unwrap();
        let fields: Vec<String> = array.fields().iter().map(ToString::to_string).collect();
        let cells: Vec<&[usize]> = array.fields().iter().map(|f| f.cell()).collect();
        assert_eq!(cells, [&[2, 3][..], &[2], &[], &[]], "{format}: {fields:?}");
        let sum = "SELECT sum(a) FROM (SELECT unnest(image) AS a FROM {0} WHERE row = 3)".replace("{0}", format);
        assert!(format!("{:?}", sql.ok(&sum).column(0)).contains("123.0"), "{format}");
        let when = format!("SELECT \"when\"::VARCHAR FROM {format} WHERE word = 'b' OR \"when\" IS NULL ORDER BY row");
        let shown = format!("{:?}", sql.ok(&when).column(0));
        assert!(shown.contains("2024-03-01") && shown.contains("null"), "{format}: {shown}");
    }
}
