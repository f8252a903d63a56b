//! What torch.save writes is read, and what is written torch.load reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod python;
mod values;
mod wanted;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, UInt32Type};
use hyperslab_core::{DType, ErrorKind, FieldSpec};
use hyperslab_formats::{Container, Format, TorchFile, WriteOptions};
use values::{batches, values};
use wanted::wanted;

#[test]
fn what_torch_writes_is_read() {
    let Some(python) = python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("torch_make.py", &[&python::seed()], folder.path());
    let cases = std::fs::read_to_string(folder.path().join("cases.txt")).unwrap();
    assert!(cases.lines().count() > 1500, "{}", cases.lines().count());
    let mut opened: HashMap<&str, TorchFile> = HashMap::new();
    for case in cases.lines() {
        let [file, name, want] = case.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let want = wanted(&folder.path().join(want));
        let torch = opened.entry(file).or_insert_with(|| TorchFile::open(folder.path().join(file)).unwrap());
        let entry = torch.entries().iter().find(|e| e.name == name).unwrap_or_else(|| panic!("{case}"));
        let source = torch.open(name).unwrap_or_else(|e| panic!("{case}: {e}"));
        let rows = source.rows();
        assert_eq!(rows, want.len() as u64, "{case}");
        assert_eq!((entry.fields.as_slice(), entry.shape.first().unwrap_or(&1)), (source.fields(), &rows), "{case}");
        let check = |range: std::ops::Range<u64>| {
            let got = source.read(0, range.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
            let want = want.slice(range.start as usize, (range.end - range.start) as usize);
            assert!(got.array.to_data() == want.to_data(), "{case} {range:?}");
        };
        check(0..rows);
        for step in [1, 64].into_iter().filter(|s| rows / s < 100) {
            (0..rows).step_by(step as usize).for_each(|row| check(row..(row + step).min(rows)));
        }
        if rows > 0 {
            let taken: Vec<u64> = [0, rows - 1, rows / 2, 0, rows / 3].to_vec();
            let got = source.take(0, &taken).unwrap().array;
            for (i, &row) in taken.iter().enumerate() {
                assert!(got.slice(i, 1).to_data() == want.slice(row as usize, 1).to_data(), "{case} row {row}");
            }
        }
        assert_eq!(source.read(0, rows..rows + 1).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(source.take(0, &[rows]).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(source.read(1, 0..0).unwrap_err().kind(), ErrorKind::Invalid);
    }
    // Views where elements follow each other in memory's order, copies where not.
    let little = &opened["little-2.pt"];
    let copied = |name: &str| little.open(name).unwrap().read(0, 0..2).unwrap().copied;
    assert_eq!(["whole", "tail", "steps"].map(|v| copied(&format!("float64.9x4.{v}"))), [0, 0, 64]);
    assert_eq!(opened["big-2.pt"].open("float64.9x4.whole").unwrap().read(0, 0..2).unwrap().copied, 64);
    let plain = opened["nest.pt"].metadata();
    let text = |name: &str| plain.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str());
    let names = ["epoch", "lr", "name", "none", "flag", "minus", "long", "size.1", "optimizer.param_groups.0.params.1"];
    let texts = ["3", "0.001", "grüße", "None", "True", "-5", "1099511627776", "2", "1"];
    assert_eq!(names.map(text), texts.map(Some));
    refused(folder.path());
}

fn refused(folder: &Path) {
    let file = TorchFile::open(folder.join("refused.pt")).unwrap();
    for (name, dtype, why) in [
        ("f8", "float8_e4m3fn", "float8_e4m3fn"),
        ("q", "QUInt8Storage", "QUInt8"),
        ("conj", "complex64", "resolve_conj"),
    ] {
        let entry = file.entries().iter().find(|e| e.name == name).unwrap();
        assert!(entry.fields.is_empty() && entry.dtype == dtype, "{entry:?}");
        let error = file.open(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(why) && error.to_string().contains("refused.pt"), "{error}");
    }
    let error = file.open("y").unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("there are: f8, q, conj, x"), "{error}");
    let system = if cfg!(windows) { "nt.system" } else { "posix.system" };
    for (name, kind, why) in [
        ("bad-system", ErrorKind::Unsupported, system),
        ("bad-eval", ErrorKind::Unsupported, "builtins.eval"),
        ("bad-module", ErrorKind::Unsupported, "torch.nn.Module"),
        ("bad-numpy", ErrorKind::Unsupported, "multiarray._reconstruct"),
        ("bad-twice", ErrorKind::Invalid, "a.b"),
        ("bad-cycle", ErrorKind::Unsupported, "nested"),
        ("bad-many", ErrorKind::Unsupported, "too many names"),
        ("bad-key", ErrorKind::Unsupported, "neither texts nor numbers"),
        ("bad-script", ErrorKind::Unsupported, "TorchScript"),
        ("range-offset", ErrorKind::Corrupt, "beyond its storage of 32 bytes"),
        ("range-size", ErrorKind::Corrupt, "beyond its storage"),
        ("range-stride", ErrorKind::Corrupt, "beyond its storage"),
        ("range-huge", ErrorKind::Corrupt, "too large"),
        ("range-wide", ErrorKind::Corrupt, "beyond its storage"),
        ("range-minus", ErrorKind::Corrupt, "stride"),
        ("range-axes", ErrorKind::Corrupt, "stride"),
        ("range-far", ErrorKind::Corrupt, "offset"),
        ("range-below", ErrorKind::Corrupt, "size"),
        ("old", ErrorKind::Unsupported, "save it again"),
        ("tar", ErrorKind::Unsupported, "save it again"),
        ("none", ErrorKind::Corrupt, "no zip archive"),
    ] {
        let error = TorchFile::open(folder.join(format!("{name}.pt"))).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(why) && error.to_string().contains(&format!("{name}.pt")), "{error}");
    }
    assert!(!folder.join("hacked").exists());
    assert_eq!(TorchFile::open(folder.join("missing.pt")).unwrap_err().kind(), ErrorKind::NotFound);
}

/// A file as torch.save writes it, for where there is no Python.
#[test]
fn a_file_of_torch_is_read() {
    let file = TorchFile::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/views.pt")).unwrap();
    let shapes: Vec<_> =
        file.entries().iter().map(|e| (e.name.as_str(), e.dtype.as_str(), e.shape.as_slice())).collect();
    let expected: [(&str, &str, &[u64]); 6] = [
        ("model.whole", "float32", &[5, 3, 4]),
        ("model.tail", "float32", &[3, 3, 4]),
        ("model.inner", "float32", &[5, 2, 2]),
        ("model.parameter", "uint32", &[3, 4]),
        ("model.flags", "bool", &[4, 3]),
        ("one", "float64", &[]),
    ];
    assert_eq!(shapes, expected);
    let plain: Vec<_> = file.metadata().iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(plain, [("epoch", "3"), ("losses.0", "0.5"), ("losses.1", "0.25")]);
    let read = |name: &str, rows: std::ops::Range<u64>| file.open(name).unwrap().read(0, rows).unwrap();
    let floats = |name, rows| {
        let block = read(name, rows);
        block.array.as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec()
    };
    assert_eq!(floats("model.tail", 0..1), (24..36).map(|n| n as f32).collect::<Vec<_>>());
    assert_eq!(read("model.tail", 0..3).copied, 0, "elsewhere in the storage of another tensor");
    assert_eq!(floats("model.inner", 1..3), [16.0, 18.0, 20.0, 22.0, 28.0, 30.0, 32.0, 34.0]);
    let parameter = read("model.parameter", 0..3).array;
    let columns = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11];
    assert_eq!(parameter.as_fixed_size_list().values().as_primitive::<UInt32Type>().values(), &columns);
    let flags = read("model.flags", 0..4).array;
    let flags: Vec<_> = flags.as_fixed_size_list().values().as_boolean().iter().flatten().collect();
    assert_eq!(flags, (0..12).map(|n| n % 2 == 0).collect::<Vec<_>>());
    assert_eq!(read("one", 0..1).array.as_primitive::<Float64Type>().values(), &[7.5]);
}

#[test]
fn what_is_written_torch_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut seed: u64 = python::seed().parse().unwrap();
    let mut cases = String::new();
    let path = at("all.pt");
    let mut sink = Format::named("torch").unwrap().create_container(&path, &WriteOptions::new()).unwrap();
    let mut expected = Vec::new();
    let times = |d: &DType| matches!(d, DType::Datetime64(_) | DType::Timedelta64(_));
    for dtype in DType::ALL.into_iter().filter(|d| !times(d)).chain([DType::Bfloat16]) {
        for (cell, rows) in [(vec![], 57), (vec![3], 41), (vec![2, 3], 8), (vec![2], 0), (vec![0], 4), (vec![], 1)] {
            let field = FieldSpec::new("value", dtype, cell).unwrap();
            let column = values(&field, rows, &mut seed);
            let name = format!("layer.{}/grüße {dtype}", expected.len());
            let want = format!("{}.npy", expected.len());
            let mut npy = hyperslab_formats::create(&at(&want), std::slice::from_ref(&field)).unwrap();
            sink.begin(&name, std::slice::from_ref(&field)).unwrap();
            for batch in batches(&[("value", column.clone())], 13) {
                sink.write(&batch).unwrap();
                npy.write(&batch).unwrap();
            }
            npy.finish().unwrap();
            writeln!(cases, "{name}\t{dtype}\t{want}").unwrap();
            expected.push((name, field, column));
        }
    }
    let rows: u64 = expected.iter().map(|(_, _, column)| column.len() as u64).sum();
    let summary = sink.finish().unwrap();
    assert_eq!((summary.rows, summary.bytes), (rows, std::fs::metadata(&path).unwrap().len()));
    let file = TorchFile::open(&path).unwrap();
    assert_eq!(file.entries().len(), expected.len());
    for ((name, field, column), entry) in expected.iter().zip(file.entries()) {
        assert_eq!((&entry.name, entry.fields.as_slice()), (name, std::slice::from_ref(field)));
        let block = file.open(name).unwrap().read(0, 0..column.len() as u64).unwrap();
        assert!(block.array.to_data() == column.to_data(), "{name} {field}");
        let in_place = !matches!(field.dtype(), DType::Bool | DType::Bfloat16);
        assert!(block.copied == 0 || !in_place, "{name}");
    }
    // A file without a tensor.
    Format::named("torch").unwrap().create_container(&at("empty.pth"), &WriteOptions::new()).unwrap().finish().unwrap();
    assert!(TorchFile::open(at("empty.pth")).unwrap().entries().is_empty());
    std::fs::write(at("cases.txt"), cases).unwrap();
    if let Some(python) = python::python() {
        python.run("torch_check.py", &[], folder.path());
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let torch = Format::of_path(&path).unwrap();
    let error = torch.create_container(&path, &WriteOptions::new().set("level", "1")).err().unwrap();
    assert!(error.to_string().contains("no option of torch"), "{error}");
    let mut sink = torch.create_container(&path, &WriteOptions::new()).unwrap();
    let field = |dtype| [FieldSpec::new("value", dtype, vec![]).unwrap()];
    let numbers = field(DType::Int8);
    let batch = &batches(&[("value", values(&numbers[0], 1, &mut 1))], 1)[0];
    assert_eq!(sink.write(batch).unwrap_err().kind(), ErrorKind::Invalid);
    for dtype in [DType::Utf8, DType::FixedBytes(3), DType::ALL[14]] {
        let error = sink.begin("a", &field(dtype)).unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(&dtype.to_string()), "{error}");
    }
    let two = [numbers[0].clone(), numbers[0].renamed("b").unwrap()];
    assert_eq!(sink.begin("a", &two).unwrap_err().kind(), ErrorKind::Invalid);
    sink.begin("a", &numbers).unwrap();
    assert_eq!(sink.begin("a", &numbers).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(sink.set_metadata("a", "b").unwrap_err().kind(), ErrorKind::Unsupported);
    drop(sink);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
