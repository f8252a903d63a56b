//! `hyperslab convert` as users run it: every pair of formats, many arrays at once, and every input that is wrong.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hyperslab::DType;
use hyperslab::core::npy::write_header;
use hyperslab::formats::FORMATS;
use hyperslab_tests::{hyperslab_binary, root};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(hyperslab_binary());
    command.current_dir(folder).args(arguments).env("HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// `hyperslab convert` that must succeed; what it says.
fn convert(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, &[&["convert"], arguments].concat()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// `hyperslab convert` that must fail with status 1 and leave no file of the name behind.
fn refused(folder: &Path, arguments: &[&str], left: &str) -> String {
    let output = command(folder, &[&["convert"], arguments].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output));
    assert!(!folder.join(left).exists(), "{arguments:?} left {left}");
    assert_eq!(temporary(folder), Vec::<String>::new(), "{arguments:?}");
    text(&output)
}

/// The temporary files in a folder.
fn temporary(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(".tmp")).collect()
}

/// What a query gives, as CSV without its header.
fn sql(folder: &Path, sql: &str) -> String {
    let output = command(folder, &["--format", "csv", "-c", sql]).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", text(&output));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    out.split_once('\n').map(|(_, rows)| rows.trim_end().to_owned()).unwrap_or_default()
}

/// A folder with `cells.npy`: five rows of (2, 3) int16, `floats.npy`: five float32, and `examples`' containers.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["digits.npz", "digits.safetensors", "digits.h5", "digits.npy"] {
        std::fs::copy(root().join("examples/data").join(name), at.join(name)).unwrap();
    }
    let mut cells = write_header(DType::Int16, &[5, 2, 3], 64).unwrap();
    cells.extend((0..30i16).flat_map(|n| (n * 1000 - 9000).to_le_bytes()));
    std::fs::write(at.join("cells.npy"), cells).unwrap();
    let mut floats = write_header(DType::Float32, &[5], 64).unwrap();
    let values = [1.5f32, -0.0, f32::NAN, f32::INFINITY, 1e-30];
    floats.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(at.join("floats.npy"), floats).unwrap();
    folder
}

/// Every format that is written, by its usual extension.
fn extensions() -> Vec<&'static str> {
    let arrays = FORMATS.iter().filter(|f| f.can_write()).filter_map(|f| f.extensions().first().copied());
    arrays.chain(["parquet", "arrow", "csv", "json", "slab"]).collect()
}

#[test]
fn every_format_becomes_every_other_and_comes_back() {
    let folder = workplace();
    let at = folder.path();
    let original = std::fs::read(at.join("cells.npy")).unwrap();
    assert!(extensions().len() >= 10);
    for from in extensions() {
        let first = format!("first.{from}");
        if from != "npy" {
            convert(at, &["cells.npy", &first, "--verify"]);
        } else {
            std::fs::copy(at.join("cells.npy"), at.join(&first)).unwrap();
        }
        for to in extensions() {
            let second = format!("{from}-to.{to}");
            // Texts have the elements, and neither their shape nor their dtype.
            let said = match from {
                "csv" => convert(at, &[&first, &second, "--value", ":", "--cast", "value=int16[2,3]", "--verify"]),
                "json" => convert(at, &[&first, &second, "--cast", "value=int16[2,3]", "--verify"]),
                _ => convert(at, &[&first, &second, "--verify"]),
            };
            assert!(said.contains("1 array, 5 rows") && said.contains("the same"), "{from} to {to}: {said}");
            if to == "csv" {
                assert_eq!(sql(at, &format!("SELECT count(*), max(value_1_2) FROM '{second}'")), "5,20000");
                continue;
            }
            if to == "json" {
                assert_eq!(sql(at, &format!("SELECT value[6] FROM '{second}' LIMIT 1")), "-4000");
                continue;
            }
            let back = format!("{from}-{to}-back.npy");
            convert(at, &[&second, &back]);
            assert_eq!(std::fs::read(at.join(&back)).unwrap(), original, "{from} to {to} and back");
        }
    }
}

#[test]
fn values_stay_what_they_are() {
    let folder = workplace();
    let at = folder.path();
    let original = std::fs::read(at.join("floats.npy")).unwrap();
    for to in ["npz", "h5", "zarr", "safetensors", "parquet", "arrow", "csv", "slab"] {
        convert(at, &["floats.npy", &format!("f.{to}"), "--verify"]);
        convert(at, &[&format!("f.{to}"), &format!("{to}.npy"), "--cast", "float32"]);
        let back = std::fs::read(at.join(format!("{to}.npy"))).unwrap();
        // The bits of a NaN are not those of its text.
        if to != "csv" {
            assert_eq!(back, original, "{to}");
        }
    }
    // Two arrays of a time, a bool, text and halves: what a format lacks is named, with the cast that helps.
    let make = "COPY (SELECT * FROM (VALUES (TIMESTAMP '2024-01-01T00:00:00', true, 'a'), \
                (TIMESTAMP '2024-01-02T00:00:00', false, 'b')) v(t, b, s)) TO 'mixed.parquet'";
    sql(at, make);
    convert(at, &["mixed.parquet", "mixed.h5", "--verify", "--cast", "t=int64"]);
    convert(at, &["mixed.h5", "mixed.slab", "--verify"]);
    convert(at, &["mixed.slab", "again.csv", "--verify"]);
    sql(at, "COPY (SELECT DATE '2024-02-03' AS d, 1.25::DECIMAL(6, 2) AS x) TO 'dates.parquet'");
    convert(at, &["dates.parquet", "dates.npy", "--cast", "d=datetime64[s]", "--cast", "x=float32", "--verify"]);
    assert_eq!(sql(at, "SELECT d, x FROM 'dates.npy'"), "2024-02-03T00:00:00,1.25");
    assert_eq!(sql(at, "SELECT b, s FROM 'again.csv'"), "true,a\nfalse,b");
    let error = refused(at, &["mixed.parquet", "mixed.safetensors"], "mixed.safetensors");
    assert!(error.contains("\"t\"") && error.contains("cast it to int64"), "{error}");
    convert(at, &["mixed.parquet", "mixed.npy", "--verify"]);
    convert(at, &["mixed.npy", "mixed.npz", "--verify", "--option", "text_width=3"]);
    assert_eq!(sql(at, "SELECT b, s FROM 'mixed.npz::mixed'"), "true,a\nfalse,b");
    let error = refused(at, &["mixed.parquet", "mixed.pt", "--cast", "t=int64"], "mixed.pt");
    assert!(error.contains("\"s\"") && error.contains("utf8"), "{error}");
    let error = refused(at, &["dates.parquet", "mixed.parquet", "none.npz", "--option", "text_width=0"], "none.npz");
    assert!(error.contains("text_width"), "{error}");
}

#[test]
fn several_arrays_go_to_folders_files_and_stores() {
    let folder = workplace();
    let at = folder.path();
    let said = convert(at, &["digits.npz", "out/", "--jobs", "2", "--verify"]);
    assert!(said.contains("2 arrays, 200 rows"), "{said}");
    assert_eq!(sql(at, "SELECT count(*), max(value) FROM 'out/labels.npy'"), "100,9");
    convert(at, &["out/", "all.h5", "--option", "codec=gzip", "--verify"]);
    convert(at, &["all.h5", "all.slab", "--verify"]);
    convert(at, &["all.slab", "all.zarr", "--verify"]);
    convert(at, &["all.zarr", "all.safetensors", "--verify"]);
    // A folder is known by what is in it.
    std::fs::rename(at.join("all.zarr"), at.join("bare")).unwrap();
    convert(at, &["bare", "bare.npz", "--verify"]);
    convert(at, &["all.safetensors", "tables/", "--to", "parquet", "--verify"]);
    convert(at, &["tables", "all.npz", "--verify"]);
    let listing = "SELECT name, dtype, shape FROM 'all.npz' ORDER BY name";
    assert_eq!(sql(at, listing), "images,uint8,\"(100, 8, 8)\"\nlabels,int8,(100)");
    assert_eq!(sql(at, listing), sql(at, &listing.replace("all.npz", "digits.npz")));
    // One of them, under a name of its own; several files; a pattern.
    convert(at, &["all.slab::labels", "one.h5::/a/b"]);
    assert_eq!(sql(at, "SELECT count(*) FROM 'one.h5::/a/b'"), "100");
    convert(at, &["cells.npy", "floats.npy", "two.npz", "--verify"]);
    assert_eq!(sql(at, "SELECT name FROM 'two.npz' ORDER BY name"), "cells\nfloats");
    convert(at, &["out/labels.npy", "parts/1.npy", "--slice", "0:10"]);
    convert(at, &["out/labels.npy", "parts/2.npy", "--slice", "10:30"]);
    convert(at, &["parts/*.npy", "joined.parquet", "--verify"]);
    assert_eq!(sql(at, "SELECT count(*) FROM 'joined.parquet'"), "30");
    // An array of several fields, in a store and where there are none.
    sql(at, "COPY (SELECT row AS id, value AS v FROM 'cells.npy') TO 'fields.npy' OPTIONS (keep_row true)");
    convert(at, &["fields.npy", "floats.npy", "all.slab", "--verify"]);
    convert(at, &["all.slab::fields", "fields.safetensors", "--verify"]);
    assert_eq!(sql(at, "SELECT shape FROM 'fields.safetensors' ORDER BY name"), "(5)\n\"(5, 2, 3)\"");
}

#[test]
fn a_table_is_an_array_of_as_many_fields_or_a_matrix() {
    let folder = workplace();
    let at = folder.path();
    let rows: String = (0..20).map(|i| format!("{i},n{i},{}.5,{},{}\n", i, i * 2, i * 3)).collect();
    std::fs::write(at.join("wide.csv"), format!("id,name,c0,c1,c2\n{rows}")).unwrap();
    convert(at, &["wide.csv", "wide.slab", "--verify"]);
    convert(at, &["wide.slab", "wide.parquet", "--verify"]);
    assert_eq!(sql(at, "SELECT name, c0, c2 FROM 'wide.parquet' WHERE id = 7"), "n7,7.5,21");
    convert(at, &["wide.csv", "wide.slab::m", "--value", "c0:c2", "--cast", "value=float32", "--verify"]);
    convert(at, &["wide.slab::m", "m.csv", "--verify"]);
    assert_eq!(sql(at, "SELECT name, value_0, value_2 FROM 'm.csv' WHERE id = 7"), "n7,7.5,21.0");
    convert(at, &["wide.csv", "c.npy", "--select", "SELECT c1, c2 FROM input WHERE id < 5 ORDER BY id DESC"]);
    assert_eq!(sql(at, "SELECT c1, c2 FROM 'c.npy' LIMIT 2"), "8,12\n6,9");
    convert(at, &["wide.csv", "s.parquet", "--slice", "5:8"]);
    assert_eq!(sql(at, "SELECT id FROM 's.parquet'"), "5\n6\n7");
    convert(at, &["wide.csv", "e.parquet", "--slice", "-2:"]);
    assert_eq!(sql(at, "SELECT id FROM 'e.parquet'"), "18\n19");
    // What np.savetxt writes; and rows of tabs.
    std::fs::write(at.join("bare.txt"), "1,2\n3,4\n").unwrap();
    convert(at, &["bare.txt", "bare.npy", "--from", "csv", "--no-header", "--value", ":"]);
    assert_eq!(sql(at, "SELECT value FROM 'bare.npy'"), "\"[1, 2]\"\n\"[3, 4]\"");
    std::fs::write(at.join("tabs.tsv"), "a\tb\n1\tx\n").unwrap();
    convert(at, &["tabs.tsv", "tabs.json", "--verify"]);
    assert_eq!(sql(at, "SELECT a, b FROM 'tabs.json'"), "1,x");
}

#[test]
fn slices_and_casts() {
    let folder = workplace();
    let at = folder.path();
    convert(at, &["cells.npy", "part.npy", "--slice", "1:5:2, :, ::-1", "--verify"]);
    assert_eq!(
        sql(at, "SELECT value FROM 'part.npy' LIMIT 1"),
        sql(at, "SELECT value FROM slice('cells.npy', '1:2, :, ::-1')")
    );
    convert(at, &["cells.npy", "f.npy", "--cast", "float32", "--verify"]);
    assert_eq!(sql(at, "SELECT arrow_typeof(value) FROM 'f.npy' LIMIT 1"), "FixedSizeList(6 x non-null Float32)");
    let header = std::fs::read(at.join("f.npy")).unwrap();
    assert!(String::from_utf8_lossy(&header[..128]).contains("(5, 2, 3)"));
    let error = refused(at, &["cells.npy", "i.npy", "--cast", "value=int8"], "i.npy");
    assert!(error.contains("row 0") && error.contains("-9000 does not fit int8"), "{error}");
    let error = refused(at, &["cells.npy", "i.npy", "--cast", "nope=int8"], "i.npy");
    assert!(error.contains("no field \"nope\"") && error.contains("there are: value"), "{error}");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = workplace();
    let at = folder.path();
    let says = |arguments: &[&str], left: &str, parts: &[&str]| {
        let error = refused(at, arguments, left);
        assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
    };
    std::fs::write(at.join("data.xyz"), "").unwrap();
    says(&["data.xyz", "x.npy"], "x.npy", &["data.xyz", "known: .npy", ".parquet", "--from"]);
    says(&["cells.npy", "x.xyz"], "x.xyz", &["x.xyz", ".npy", "--to"]);
    says(&["cells.npy", "x.npy", "--from", "nope"], "x.npy", &["no format \"nope\"; known: npy"]);
    says(&["nothing.npy", "x.npy"], "x.npy", &["there is no file nothing.npy"]);
    says(&["digits.safetensors::nope", "x.npy"], "x.npy", &["\"nope\"; there are: labels, images"]);
    says(&["digits.npz", "x.npy"], "x.npy", &["2 are read: ", "images", "folder"]);
    std::fs::write(at.join("short.csv"), "a,b\n1,2\n3\n4,5\n").unwrap();
    says(&["short.csv", "x.npy"], "x.npy", &["short.csv", "line 3"]);
    std::fs::write(at.join("late.csv"), format!("a,b\n{}7\n", "1,2\n".repeat(5000))).unwrap();
    says(&["late.csv", "x.parquet"], "x.parquet", &["late.csv", "line 5002"]);
    sql(at, "COPY (SELECT * FROM (VALUES ([1.0, 2.0]), ([3.0, 4.0]), ([5.0])) t(v)) TO 'ragged.parquet'");
    says(&["ragged.parquet", "x.npy"], "x.npy", &["ragged.parquet", "row 2", "1 elements"]);
    convert(at, &["ragged.parquet", "ragged.json", "--verify"]);
    convert(at, &["ragged.parquet", "even.npy", "--select", "SELECT v FROM input LIMIT 2", "--verify"]);
    // An existing output.
    std::fs::write(at.join("there.npy"), "mine").unwrap();
    let output = command(at, &["convert", "cells.npy", "there.npy"]).output().unwrap();
    assert!(!output.status.success() && text(&output).contains("--overwrite"), "{}", text(&output));
    assert_eq!(std::fs::read(at.join("there.npy")).unwrap(), b"mine");
    convert(at, &["cells.npy", "there.npy", "--overwrite"]);
    assert_eq!(std::fs::read(at.join("there.npy")).unwrap(), std::fs::read(at.join("cells.npy")).unwrap());
    // Truncated files.
    for name in ["cells.npy", "digits.npz", "digits.safetensors", "digits.h5"] {
        let bytes = std::fs::read(at.join(name)).unwrap();
        let cut = format!("cut-{name}");
        std::fs::write(at.join(&cut), &bytes[..bytes.len() - 20]).unwrap();
        says(&[&cut, "x.parquet"], "x.parquet", &[&cut]);
    }
    convert(at, &["cells.npy", "cut.parquet"]);
    let bytes = std::fs::read(at.join("cut.parquet")).unwrap();
    std::fs::write(at.join("cut.parquet"), &bytes[..bytes.len() - 20]).unwrap();
    says(&["cut.parquet", "x.npy"], "x.npy", &["cut.parquet"]);
    says(&["cells.npy", "x.npy", "--option", "nope=1"], "x.npy", &["nope"]);
    says(&["cells.npy", "x.slab", "--cast", "int8"], "x.slab", &["row 0"]);
}

#[test]
fn what_is_there_is_left_out_with_resume() {
    let folder = workplace();
    let at = folder.path();
    convert(at, &["digits.npz", "out/"]);
    std::fs::remove_file(at.join("out/images.npy")).unwrap();
    let labels = std::fs::metadata(at.join("out/labels.npy")).unwrap().modified().unwrap();
    let said = convert(at, &["digits.npz", "out/", "--resume"]);
    assert!(said.contains("1 array, 100 rows") && said.contains("1 there already"), "{said}");
    assert!(at.join("out/images.npy").exists());
    assert_eq!(std::fs::metadata(at.join("out/labels.npy")).unwrap().modified().unwrap(), labels);
    convert(at, &["digits.npz::labels", "s.slab"]);
    let error = text(&command(at, &["convert", "digits.npz", "s.slab"]).output().unwrap());
    assert!(error.contains("has an array \"labels\" already"), "{error}");
    convert(at, &["digits.npz", "s.slab", "--resume"]);
    convert(at, &["digits.npz", "s.slab", "--overwrite", "--verify"]);
}

/// A `.npy` of zeros that takes no room on a file system with sparse files.
fn sparse(path: &Path, bytes: u64) {
    let header = write_header(DType::Float32, &[bytes / 512, 128], 64).unwrap();
    std::fs::write(path, &header).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(header.len() as u64 + bytes).unwrap();
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_a_full_disk_leave_nothing() {
    let folder = workplace();
    let at = folder.path();
    sparse(&at.join("big.npy"), 4 << 30);
    for target in ["big.parquet", "copy.npy", "big.h5", "big.csv", "big.zarr", "big.slab", "out/"] {
        let mut child = command(at, &["convert", "big.npy", target]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1000));
        let pid = child.id().to_string();
        assert!(child.try_wait().unwrap().is_none(), "{target} was too fast");
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{target}");
        assert!(target.ends_with('/') || !at.join(target).exists(), "{target}");
        assert_eq!(temporary(at), Vec::<String>::new(), "{target}");
    }
    assert_eq!(std::fs::read_dir(at.join("out")).map_or(0, Iterator::count), 0);
    // A limit on the size of files fails as a full disk does. Values that do not pack, in one chunk.
    let mut state = 1u64;
    let mut random = write_header(DType::Float32, &[20_000, 128], 64).unwrap();
    random.extend((0..20_000 * 64).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state.rotate_left(23) ^ state).to_le_bytes()
    }));
    std::fs::write(at.join("random.npy"), random).unwrap();
    for target in ["full.parquet", "full.npy", "full.h5", "full.csv", "full.zarr", "full.slab"] {
        let chunks = if target == "full.zarr" { "--option chunks=20000,128" } else { "" };
        let line =
            format!("ulimit -f 4000; exec '{}' convert random.npy {target} {chunks}", hyperslab_binary().display());
        let output = Command::new("sh").current_dir(at).args(["-c", &line]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{target}: {}", text(&output));
        assert!(!at.join(target).exists(), "{target}: {}", text(&output));
        assert_eq!(temporary(at), Vec::<String>::new(), "{target}: {}", text(&output));
    }
}

/// The peak of anonymous memory of a conversion, sampled.
#[cfg(target_os = "linux")]
fn peak(folder: &Path, arguments: &[&str]) -> u64 {
    let mut child = command(folder, &[&["convert", "--quiet"], arguments].concat()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let anonymous = status.lines().find_map(|l| l.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
        peak = peak.max(anonymous.and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(3));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    println!("{arguments:?}: peak {} MiB", peak >> 20);
    peak
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    sparse(&at.join("a.npy"), 400 << 20);
    // A row group of 100 MB of what does not pack, as other programs write them.
    let random = "SELECT value::BIGINT * 2654435761 % 2147483647 * (value % 1009 + 1) AS a, value * 1e-3 AS b, \
                  sin(value) AS c, cos(value) AS d FROM generate_series(1, 4000000)";
    let options = "OPTIONS (max_row_group_size 10000000, dictionary_enabled false)";
    sql(at, &format!("COPY ({random}) TO 'group.parquet' {options}"));
    assert!(std::fs::metadata(at.join("group.parquet")).unwrap().len() > 80 << 20);
    let group = peak(at, &["group.parquet", "group.npy"]);
    assert!(group < 100 << 20, "{} MiB", group >> 20);
    let steps = [("a.npy", "b.parquet"), ("b.parquet", "c.slab"), ("c.slab", "d.h5"), ("d.h5", "e.zarr")];
    for (from, to) in steps {
        let peak = peak(at, &[from, to]);
        assert!((1 << 20..300 << 20).contains(&peak), "{from} to {to}: {} MiB", peak >> 20);
    }
    let rows = peak(at, &["a.npy", "f.csv", "--slice", "0:50000"]);
    let back = peak(at, &["f.csv", "g.npy", "--value", ":"]);
    assert!(rows < 300 << 20 && back < 300 << 20, "{} and {} MiB", rows >> 20, back >> 20);
}
