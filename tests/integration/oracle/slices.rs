//! Slices by `Field::slice` and by SQL's `slice`, of stored arrays and of files, are NumPy's.

use std::path::Path;

use hyperslab::core::Element;
use hyperslab::{Array, Selection};
use hyperslab_tests::{Sql, python, run_python};
use serde_json::Value;

use super::{quoted, seed};

const CASES: usize = 300;

fn slice<T: Element + ToBytes>(array: &Array, selection: &Selection) -> hyperslab::Result<(Vec<u64>, Vec<u8>)> {
    let got = array.field("value")?.slice::<T>(selection)?;
    Ok((got.shape().iter().map(|&n| n as u64).collect(), got.iter().flat_map(|v| v.bytes()).collect()))
}

/// The bytes of an element in a file.
trait ToBytes: Copy {
    fn bytes(self) -> Vec<u8>;
}

macro_rules! to_bytes {
    ($($ty:ty),*) => {$(
        impl ToBytes for $ty {
            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        }
    )*};
}

to_bytes!(u8, i32, i64, f32, f64);

fn slice_of(dtype: &str, array: &Array, selection: &Selection) -> hyperslab::Result<(Vec<u64>, Vec<u8>)> {
    match dtype {
        "uint8" => slice::<u8>(array, selection),
        "int32" => slice::<i32>(array, selection),
        "int64" => slice::<i64>(array, selection),
        "float32" => slice::<f32>(array, selection),
        "float64" => slice::<f64>(array, selection),
        other => panic!("{other}"),
    }
}

fn case_fails(sql: &Sql, array: &Array, case: &Value, from: &str) {
    let (text, dtype) = (case["slice"].as_str().unwrap(), case["dtype"].as_str().unwrap());
    let error = Selection::parse(text).and_then(|s| slice_of(dtype, array, &s));
    assert!(error.is_err(), "{case}: NumPy refuses this");
    let message = sql.error(&format!("SELECT * FROM slice({from}, '{text}')"));
    let named = text.split(',').any(|item| message.contains(item.trim()));
    assert!(named && message.contains("axis") || message.contains("axes"), "{case}: {message}");
}

#[test]
fn slices_are_numpys() {
    let Some(python) = python() else { return };
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name);
    let make = include_str!("../../python/slices_make.py");
    run_python(&python, folder.path(), make, &[&seed.to_string(), &CASES.to_string()]);
    let cases: Value = serde_json::from_slice(&std::fs::read(path("cases.json".into())).unwrap()).unwrap();

    let sql = Sql::memory();
    for i in 0.. {
        let file = path(format!("a{i}.npy"));
        if !file.exists() {
            break;
        }
        sql.ok(&format!("CREATE TABLE a{i} WITH (shard_bytes = '4096') AS SELECT * FROM {}", quoted(&file)));
    }
    let snapshot = sql.store().snapshot().unwrap();
    for (j, case) in cases.as_array().unwrap().iter().enumerate() {
        let (name, text) = (format!("a{}", case["array"]), case["slice"].as_str().unwrap());
        let array = snapshot.array(name.as_str()).unwrap();
        let file = path(format!("{name}.npy"));
        let Some(shape) = case["shape"].as_array() else {
            case_fails(&sql, &array, case, &format!("'{name}'"));
            case_fails(&sql, &array, case, &quoted(&file));
            continue;
        };
        let selection = Selection::parse(text).unwrap_or_else(|e| panic!("{case}: {e}"));
        let (got, bytes) = slice_of(case["dtype"].as_str().unwrap(), &array, &selection).unwrap();
        assert!(got.iter().copied().eq(shape.iter().map(|n| n.as_u64().unwrap())), "{case}: {got:?}");
        std::fs::write(path(format!("bin{j}")), bytes).unwrap();
        for (from, to) in [(quoted(&file), format!("file{j}.npy")), (format!("'{name}'"), format!("stored{j}.npy"))] {
            copy(&sql, &format!("SELECT value FROM slice({from}, '{text}')"), &path(to));
        }
    }
    println!("{}", run_python(&python, folder.path(), include_str!("../../python/slices_check.py"), &[]));
}

fn copy(sql: &Sql, query: &str, to: &Path) {
    sql.ok(&format!("COPY ({query}) TO {}", quoted(to)));
}
