//! `hyperslab pack`, `unpack` and `info` as users run them.

use std::path::Path;
use std::process::{Command, Output};

use hyperslab_tests::hyperslab_binary;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(hyperslab_binary()).current_dir(folder).args(arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_store_becomes_one_file_and_a_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sums = "SELECT count(*), sum(value) FROM a; SELECT count(*), sum(value) FROM b";
    ok(at, &[
        "demo.slab",
        "-c",
        "CREATE TABLE a AS SELECT value FROM generate_series(1, 50000) g(value);
         CREATE TABLE b AS SELECT value FROM a; UPDATE a SET value = -1 WHERE row % 1000 = 3; DELETE FROM b WHERE row < 10;
         CREATE TAG done",
    ]);
    let before = ok(at, &["demo.slab", "--format", "csv", "-c", sums]);
    for options in [&[][..], &["--all-versions", "--level", "9"]] {
        let packed = ok(at, &[&["pack", "demo.slab", "demo.tar.zst", "--overwrite"], options].concat());
        assert!(packed.starts_with("packed version ") && packed.contains(" times smaller), "), "{packed}");
        let info = ok(at, &["info", "demo.tar.zst", "--verify"]);
        for part in ["version   ", "array     a, 50000 rows", "array     b, 49990 rows", "verified version "] {
            assert!(info.contains(part), "{part}: {info}");
        }
        ok(at, &["unpack", "demo.tar.zst", "--verify"]);
        ok(at, &["unpack", "demo.tar.zst", "copy.slab", "--overwrite"]);
        assert_eq!(ok(at, &["copy.slab", "--format", "csv", "-c", sums]), before);
        assert!(ok(at, &["check", "copy.slab"]).contains("0 errors, 0 warnings"));
        let info = ok(at, &["info", "copy.slab"]);
        assert_eq!(info.contains("tag       done"), !options.is_empty(), "{info}");
    }
    let error = refused(at, &["unpack", "demo.tar.zst", "copy.slab"]);
    assert!(error.contains("copy.slab exists; --overwrite"), "{error}");
    let error = refused(at, &["pack", "demo.slab", "demo.tar.zst"]);
    assert!(error.contains("demo.tar.zst exists; --overwrite"), "{error}");
    let error = refused(at, &["unpack", "demo.tar.zst", "new.slab", "--max-size", "10KB"]);
    assert!(error.contains("at most 10000 were allowed"), "{error}");
    let mut bytes = std::fs::read(at.join("demo.tar.zst")).unwrap();
    bytes.pop();
    std::fs::write(at.join("cut.tar.zst"), &bytes).unwrap();
    let error = refused(at, &["unpack", "cut.tar.zst", "new.slab"]);
    assert!(error.contains("cut short"), "{error}");
    let npkg = hyperslab_tests::root().join("crates/formats/tests/data/numpack.npkg");
    let npkg = npkg.to_str().unwrap();
    let error = refused(at, &["unpack", npkg, "copy.slab"]);
    assert!(error.contains("package of NumPack's"), "{error}");
    ok(at, &["unpack", npkg, "numpack.slab"]);
    let there = ok(at, &["numpack.slab", "--format", "csv", "-c", "SELECT name FROM arrays()"]);
    assert!(there.lines().count() > 1, "{there}");
    let error = refused(at, &["pack", "missing.slab", "x.tar.zst"]);
    assert!(error.contains("missing.slab"), "{error}");
    assert!(!at.join("new.slab").exists() && !at.join("x.tar.zst").exists() && !at.join("missing.slab").exists());
}
