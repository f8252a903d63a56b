//! What NumPy and NpyAppendArray write grows, and they read it, and append to it, afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;

use hyperslab_core::ArraySource;
use hyperslab_formats::NpySource;
use hyperslab_formats::npy::{HeaderMode, NpyAppender, Widen, npy_ensure_appendable, npy_info};

#[test]
fn files_of_numpy_and_npy_append_array_grow() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("append_make.py", &[&python::seed()], folder.path());
    let cases = std::fs::read_to_string(folder.path().join("cases.txt")).unwrap();
    assert_eq!(cases.lines().count(), 12 * 3 * 2 * 4);
    for (n, case) in cases.lines().enumerate() {
        let (i, axis) = case.split_once('\t').unwrap();
        let path = folder.path().join(format!("grow{i}.npy"));
        let how = if n % 2 == 0 { Widen::Copy } else { Widen::InPlace };
        npy_ensure_appendable(&path, how).unwrap();
        let info = npy_info(&path).unwrap();
        assert!(info.appendable && !info.needs_recovery, "{case}: {info:?}");
        assert_eq!(info.growth_axis, Some(axis.parse().unwrap()), "{case}");
        let more = NpySource::open(folder.path().join(format!("more{i}.npy"))).unwrap();
        let mode = if n % 3 == 0 { HeaderMode::Deferred } else { HeaderMode::EachAppend };
        let appender = NpyAppender::open(&path, mode).unwrap();
        let half = more.rows() / 2;
        for rows in [0..half, half..more.rows()] {
            appender.append(&more.read(0, rows).unwrap().array).unwrap_or_else(|e| panic!("{case}: {e}"));
        }
        appender.finish().unwrap();
    }
    python.run("append_check.py", &[], folder.path());
}
