//! Files made to do harm, and good ones to be changed at random.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, LargeStringArray, RecordBatch};
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use hdf5_pure::{AttrValue, CompoundTypeBuilder, FileBuilder, MaxExtent};
use hyperslab_core::{DType, FieldSpec};
use hyperslab_formats::{Format, WriteOptions};

/// The MiB of what is packed small: more than one allocation may have.
const BOMB: u64 = 24;

/// Good files of a target.
pub(crate) fn good(target: &str) -> Vec<Vec<u8>> {
    let data = |names: &[&str]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        names.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect()
    };
    match target {
        "npy" => data(&["records.npy", "fortran_records.npy", "unicode.npy", "bytes.npy", "months.npy"]),
        "npz" => data(&["stored.npz", "deflated.npz", "mixed.npz"]),
        "safetensors" => data(&["python.safetensors"]),
        "torch" => data(&["views.pt"]),
        "numpack" => data(&["numpack.npkg"]),
        "hdf5" => [hdf5_files(), data(&["newest.h5", "oldest.h5"])].concat(),
        "zarr_metadata" => {
            [METADATA_3, METADATA_2, RECORDS_3, RECORDS_2].iter().map(|json| json.as_bytes().to_vec()).collect()
        }
        "zarr_chunk" => chunks(),
        "zarr_zip" => [archives(), data(&["python.zarr.zip"])].concat(),
        _ => panic!("no good files of {target}"),
    }
}

const METADATA_3: &str = r#"{"zarr_format":3,"node_type":"array","shape":[40,3],"data_type":"float32","fill_value":"NaN",
    "attributes":{},"dimension_names":["a",null],"chunk_grid":{"name":"regular","configuration":{"chunk_shape":[4,2]}},
    "chunk_key_encoding":{"name":"v2","configuration":{"separator":"."}},
    "codecs":[{"name":"transpose","configuration":{"order":[1,0]}},{"name":"bytes","configuration":{"endian":"big"}},
    {"name":"zstd","configuration":{"level":1,"checksum":false}}]}"#;
const METADATA_2: &str = r#"{"zarr_format":2,"shape":[40,3],"chunks":[4,2],"dtype":"<i2","fill_value":7,"order":"F",
    "filters":null,"dimension_separator":".","compressor":{"id":"blosc","cname":"lz4","clevel":5,"shuffle":1,"blocksize":0}}"#;

const RECORDS_3: &str = r#"{"zarr_format":3,"node_type":"array","shape":[6],"data_type":{"name":"struct","configuration":{
    "fields":[{"name":"a","data_type":"int16"},["n",{"name":"structured","configuration":{"fields":[["t",
    {"name":"numpy.datetime64","configuration":{"unit":"D","scale_factor":2}}],["u",{"name":"fixed_length_utf32",
    "configuration":{"length_bytes":8}}]]}}]]}},"fill_value":{"a":3,"n":{"t":5,"u":"x"}},
    "chunk_grid":{"name":"regular","configuration":{"chunk_shape":[3]}},"chunk_key_encoding":"default","codecs":["bytes"]}"#;
const RECORDS_2: &str = r#"{"zarr_format":2,"shape":[4],"chunks":[2],"dtype":[["a","<i2"],["b",[["c","|S3"],["","|V1"],["d",
    "<f4",[2]]]],["e",">U3"]],"fill_value":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","order":"C","filters":[{"id":"shuffle","elementsize":26},
    {"id":"crc32"}],"compressor":null}"#;

/// Chunks of 20 rows of int32, each after the number of its codecs.
fn chunks() -> Vec<Vec<u8>> {
    let raw: Vec<u8> = (0..20_i32).flat_map(i32::to_le_bytes).collect();
    let checked = [raw.clone(), crc32c::crc32c(&raw).to_le_bytes().to_vec()].concat();
    let index = |entries: &[(u64, u64)]| -> Vec<u8> {
        entries.iter().flat_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()]).flatten().collect()
    };
    let (mut shard, mut places) = (Vec::new(), Vec::new());
    for part in raw.chunks(20) {
        let packed = zstd::bulk::compress(part, 1).unwrap();
        places.push((shard.len() as u64, packed.len() as u64));
        shard.extend(packed);
    }
    let end = index(&places);
    shard.extend([end.clone(), crc32c::crc32c(&end).to_le_bytes().to_vec()].concat());
    let first = [index(&[(64, 20), (84, 20), (104, 20), (u64::MAX, u64::MAX)]), raw.clone()].concat();
    // Two shards of two chunks, of which the very last is not stored.
    let big: Vec<u8> = [32_u64, 72, 104, 52].iter().flat_map(|n| n.to_be_bytes()).collect();
    let inner = [raw[..40].to_vec(), index(&[(0, 20), (20, 20)])].concat();
    let last = [raw[40..60].to_vec(), index(&[(0, 20), (u64::MAX, u64::MAX)])].concat();
    let nested = [big, inner, last].concat();
    let whole = [raw.clone(), index(&[(0, 40), (40, 40)])].concat();
    let whole = zstd::bulk::compress(&whole, 1).unwrap();
    let deltas: Vec<u8> = [0, 0].into_iter().chain([1, 0].repeat(19)).collect();
    let summed = [27_525_140_u32.to_le_bytes().to_vec(), deltas.clone()].concat();
    let raw = || raw.clone();
    let first = [raw(), zstd::bulk::compress(&raw(), 1).unwrap(), gzip(&raw()), blosc(&raw()), checked, shard, first];
    let packed = first.into_iter().chain([nested, whole, summed, deltas]);
    (0_u8..).zip(packed).map(|(codecs, chunk)| [vec![codecs], chunk].concat()).collect()
}

/// Archives of a group of two arrays, one stored and one deflated.
fn archives() -> Vec<Vec<u8>> {
    let second = METADATA_2.replace("\"compressor\":{", "\"compressor\":null,\"x\":{");
    let group = r#"{"zarr_format":2}"#;
    let chunk: Vec<u8> = (0..16).collect();
    let stored =
        [(".zgroup", group.as_bytes()), ("a/.zarray", second.as_bytes()), ("a/0.0", &chunk), ("a/0.0", &chunk)];
    let stored = stored.map(|(name, bytes)| Entry::stored(name, bytes));
    let shard = METADATA_3.split_once("\"codecs\":").unwrap().0;
    let shard = format!("{shard}\"codecs\":[{}]}}", SHARDING);
    let index: Vec<u8> = [0_u64, 8].iter().flat_map(|n| n.to_le_bytes()).collect();
    let chunk = [vec![7; 8], index.repeat(4)].concat();
    let packed = [
        ("zarr.json", br#"{"zarr_format":3,"node_type":"group"}"#.to_vec()),
        ("b/zarr.json", shard.into_bytes()),
        ("b/0.0", chunk),
    ];
    let packed = packed.map(|(name, bytes)| deflated(name, bytes.len(), &bytes, 0));
    vec![zip(&stored), zip(&packed)]
}

const SHARDING: &str =
    r#"{"name":"sharding_indexed","configuration":{"chunk_shape":[2,1],"codecs":["bytes"],"index_codecs":["bytes"]}}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Blosc of version 2 that was not compressed.
fn blosc(bytes: &[u8]) -> Vec<u8> {
    let sizes = [bytes.len() as u32, bytes.len() as u32, bytes.len() as u32 + 16];
    [&[2, 1, 0x22, 4][..], &sizes.map(u32::to_le_bytes).concat(), bytes].concat()
}

fn hdf5_files() -> Vec<Vec<u8>> {
    let mut plain = FileBuilder::new();
    plain.create_dataset("x").with_f64_data(&[1.5; 40]).with_shape(&[10, 4]).set_attr("unit", AttrValue::I64(7));
    let mut group = plain.create_group("g");
    group.create_dataset("words").with_vlen_strings(&["a", "", "some text", "ü"]);
    group.create_dataset("fixed").with_ascii_strings(&["ab", "c"]).unwrap();
    plain.add_group(group.finish());
    let mut chunked = FileBuilder::new();
    let values: Vec<i32> = (0..600).collect();
    let lengths = [60, 10];
    chunked
        .create_dataset("a")
        .with_i32_data(&values)
        .with_shape(&lengths)
        .with_chunks(&[7, 4])
        .with_shuffle()
        .with_deflate(4);
    let unlimited = [MaxExtent::Unlimited];
    chunked.create_dataset("b").with_i32_data(&values).with_maxshape(&unlimited).with_chunks(&[50]).with_lzf();
    chunked.create_dataset("c").with_i32_data(&values).with_chunks(&[600]).with_fletcher32();
    let mut compound = FileBuilder::new();
    let datatype = CompoundTypeBuilder::new().f64_field("x").i32_field("n").u8_field("b").build().unwrap();
    compound.create_dataset("t").with_compound_data(datatype, (0..130).collect(), 10);
    let mut files: Vec<_> = [plain, chunked, compound].into_iter().map(|b| b.finish().unwrap()).collect();
    files.push(our_hdf5());
    files
}

/// A file as it is written here: a B-tree of chunks, heaps of text, a group.
fn our_hdf5() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let options = WriteOptions::new().set("codec", "gzip").set("chunks", "3").set("attributes", r#"{"unit": "m"}"#);
    let fields = [("n", DType::Int32), ("t", DType::Utf8)].map(|(n, d)| FieldSpec::new(n, d, vec![]).unwrap());
    let mut sink = Format::named("hdf5").unwrap().create(&path, &fields, &options).unwrap();
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..20));
    let texts: ArrayRef = Arc::new(LargeStringArray::from_iter_values((0..20).map(|i| "ab".repeat(i))));
    sink.write(&RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()).unwrap();
    sink.finish().unwrap();
    std::fs::read(path).unwrap()
}

/// A file that was made to do harm: its target, what it does, its bytes.
pub(crate) type Hostile = (&'static str, String, Vec<u8>);

/// All of them.
pub(crate) fn hostile() -> Vec<Hostile> {
    [npy(), npz(), safetensors(), torch(), numpack(), zarr(), zarr_zip()].concat()
}

fn npy_of(dict: &str) -> Vec<u8> {
    let head = [b"\x93NUMPY\x02\x00".to_vec(), (dict.len() as u32).to_le_bytes().to_vec()].concat();
    [head, dict.as_bytes().to_vec(), vec![0; 64]].concat()
}

fn npy() -> Vec<Hostile> {
    let dict = |descr: &str, shape: &str| {
        npy_of(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"))
    };
    let mut files = vec![
        ("a header longer than the file", [&b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..], b"{'descr'"].concat()),
        ("a shape that overflows", dict("'<f8'", "(4294967296, 4294967296, 2)")),
        ("a shape of no rows that overflows", dict("'<f8'", "(0, 9223372036854775807, 9223372036854775807)")),
        ("a number larger than any", dict("'<f8'", &format!("({},)", "9".repeat(5000)))),
        ("many axes", dict("'<f8'", &format!("({})", "1,".repeat(100_000)))),
        ("rows without bytes", dict("'|V0'", "(9223372036854775807,)")),
        ("a text of 2^31 characters", dict("'<U2147483647'", "(1,)")),
        ("a huge record", dict("[('a', '<f8', (4294967295, 4294967295))]", "(1,)")),
        ("objects, which would be pickles", dict("'|O'", "(3,)")),
    ];
    for deep in ["(", "[", "{", "[('a', "] {
        files.push(("nesting", dict(&deep.repeat(50_000), "(1,)")));
        files.push(("nesting", dict("'<f8'", &deep.repeat(50_000))));
    }
    files.into_iter().map(|(what, bytes)| ("npy", what.to_owned(), bytes)).collect()
}

/// An entry of a zip archive: its name, the method, the bytes that it claims to hold, what is stored, where it claims to be.
struct Entry {
    name: String,
    method: u16,
    bytes: u32,
    stored: Vec<u8>,
    /// Of what it holds when it is unpacked.
    crc: u32,
    at: Option<u32>,
}

impl Entry {
    fn stored(name: &str, bytes: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(bytes);
        let (name, stored) = (name.to_owned(), bytes.to_vec());
        Self { name, method: 0, bytes: bytes.len() as u32, stored, crc: crc.sum(), at: None }
    }
}

fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let sizes = [entry.crc, entry.stored.len() as u32, entry.bytes].map(u32::to_le_bytes).concat();
        let lens = [entry.name.len() as u16, 0].map(u16::to_le_bytes).concat();
        let common = [&[20, 0, 0, 0], &entry.method.to_le_bytes()[..], &[0, 0, 0x21, 0], &sizes, &lens].concat();
        let at = entry.at.unwrap_or(out.len() as u32);
        directory
            .extend([&b"PK\x01\x02\x14\x00"[..], &common, &[0; 10], &at.to_le_bytes(), entry.name.as_bytes()].concat());
        out.extend([&b"PK\x03\x04"[..], &common, entry.name.as_bytes(), &entry.stored].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let place = [directory.len() as u32, out.len() as u32].map(u32::to_le_bytes).concat();
    [out, directory, b"PK\x05\x06\0\0\0\0".to_vec(), count.to_vec(), count.to_vec(), place, vec![0, 0]].concat()
}

/// An entry that inflates to so many MiB of zeros after these bytes, and claims to hold `bytes`.
fn deflated(name: &str, bytes: usize, first: &[u8], zeros: usize) -> Entry {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::fast());
    out.write_all(first).unwrap();
    out.flush().unwrap();
    let head = out.get_ref().len();
    out.write_all(&vec![0; 1 << 20]).unwrap();
    out.flush().unwrap();
    // Flushed, what is one MiB of zeros once is so again, as often as it is there.
    let (head, one) = out.get_ref().split_at(head);
    let stored = [head, &one.repeat(zeros), &[1, 0, 0, 0xff, 0xff]].concat();
    let mut crc = Crc::new();
    crc.update(first);
    (0..zeros).for_each(|_| crc.update(&[0; 1 << 20]));
    Entry { name: name.to_owned(), method: 8, bytes: bytes as u32, stored, crc: crc.sum(), at: None }
}

fn npz() -> Vec<Hostile> {
    let array = |rows: u64| npy_of(&format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows},), }}\n"));
    let (large, small) = (array(BOMB << 20), array(64));
    let size = large.len() - 64 + ((BOMB as usize) << 20);
    let mut names: Vec<Entry> = (0..3).map(|_| Entry::stored("a.npy", &small)).collect();
    names.push(Entry::stored("../../a.npy", &small));
    names.push(Entry::stored("/etc/a.npy", &small));
    let away = |at| vec![Entry { at: Some(at), ..Entry::stored("a.npy", &small) }];
    let all: Vec<(&str, Vec<u8>)> = vec![
        ("a bomb that says what it is", zip(&[deflated("a.npy", size, &large[..large.len() - 64], BOMB as usize)])),
        ("a bomb that says that it is small", zip(&[deflated("a.npy", small.len(), &small, BOMB as usize)])),
        ("a small entry that says that it is large", zip(&[deflated("a.npy", u32::MAX as usize - 1, &small, 0)])),
        ("an entry behind the end", zip(&away(1 << 30))),
        ("an entry in the directory", zip(&away(small.len() as u32))),
        ("two entries in one place", zip(&[away(0), away(0)].concat_entries())),
        ("names that lead out, and twice the same", zip(&names)),
        ("a method that nobody knows", zip(&[Entry { method: 99, ..Entry::stored("a.npy", &small) }])),
        ("a directory of 65,535 entries that is not there", {
            let mut bytes = zip(&[Entry::stored("a.npy", &small)]);
            let end = bytes.len() - 14;
            bytes[end..end + 4].fill(0xff);
            bytes
        }),
    ];
    all.into_iter().map(|(what, bytes)| ("npz", what.to_owned(), bytes)).collect()
}

trait ConcatEntries {
    fn concat_entries(self) -> Vec<Entry>;
}

impl<const N: usize> ConcatEntries for [Vec<Entry>; N] {
    fn concat_entries(self) -> Vec<Entry> {
        self.into_iter().flatten().collect()
    }
}

fn safetensors() -> Vec<Hostile> {
    let file = |len: u64, json: &str| [&len.to_le_bytes()[..], json.as_bytes(), &[0; 64]].concat();
    let of = |json: &str| file(json.len() as u64, json);
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        of(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}}}"#))
    };
    let all = vec![
        ("a header longer than the file", file(u64::MAX, "{}")),
        ("a header of nearly the largest length", file(i64::MAX as u64 - 7, "{}")),
        ("a header of 99 MB", file(99_000_000, "{}")),
        ("offsets out of range", tensor("F32", "16", "0,18446744073709551615")),
        ("offsets in the wrong order", tensor("F32", "16", "64,0")),
        ("a shape that overflows", tensor("F32", "4294967296,4294967296,4294967296", "0,64")),
        ("a shape of nothing that overflows", tensor("F32", "0,18446744073709551615,18446744073709551615", "0,0")),
        ("negative numbers", tensor("F32", "-1", "-4,0")),
        ("nesting", of(&format!(r#"{{"a":{}"#, "[".repeat(100_000)))),
        ("nesting of objects", of(&r#"{"a":"#.repeat(100_000))),
        ("many axes", tensor("F32", &vec!["1"; 100_000].join(","), "0,4")),
        ("a name of a million bytes", of(&format!(r#"{{"{}":0}}"#, "a".repeat(1_000_000)))),
    ];
    all.into_iter().map(|(what, bytes)| ("safetensors", what.to_owned(), bytes)).collect()
}

/// A file of torch whose pickle is this.
fn pt(pickle: &[u8]) -> Vec<u8> {
    let entry = |name: &str, bytes: &[u8]| Entry::stored(&format!("a/{name}"), bytes);
    zip(&[
        entry("data.pkl", pickle),
        entry("byteorder", b"little"),
        entry("data/0", &[0; 64]),
        entry("version", b"3\n"),
    ])
}

/// The pickle of `{"w": tensor}`, whose size and stride are these pickled tuples.
fn tensor(offset: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQ";
    let head = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(";
    let tail = b"\x89ccollections\nOrderedDict\n)RtRs.";
    [&head[..], storage, offset, size, stride, tail].concat()
}

fn torch() -> Vec<Hostile> {
    let call = |module: &str, name: &str| format!("c{module}\n{name}\n(X\x02\0\0\0idtR.").into_bytes();
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("subprocess", "Popen")] {
        all.push((format!("calls {module}.{name}"), [b"\x80\x02".to_vec(), call(module, name)].concat()));
    }
    let rest: Vec<(&str, Vec<u8>)> = vec![
        (
            "a whole tensor, so that those that follow are nearly good",
            tensor(b"K\0", b"K\x04K\x04\x86", b"K\x04K\x01\x86"),
        ),
        ("an offset out of the storage", tensor(b"K\x0f", b"K\x04K\x04\x86", b"K\x04K\x01\x86")),
        ("an offset larger than any file", tensor(huge, b"K\x04\x85", b"K\x01\x85")),
        ("strides larger than any file", tensor(b"K\0", b"K\x04K\x04\x86", &[&huge[..], huge, b"\x86"].concat())),
        ("a size that overflows", tensor(b"K\0", &[&huge[..], huge, b"\x86"].concat(), b"K\0K\0\x86")),
        ("many rows in one place", tensor(b"K\0", &[&huge[..], b"\x85"].concat(), b"K\0\x85")),
        ("negative strides", tensor(b"K\0", b"K\x04\x85", b"J\xff\xff\xff\xff\x85")),
        ("other strides than sizes", tensor(b"K\0", b"K\x04\x85", b")")),
        ("nesting", [b"\x80\x02".to_vec(), b"]".repeat(1_000_000), b"a".repeat(999_999), b".".to_vec()].concat()),
        ("marks without end", [b"\x80\x02".to_vec(), b"(".repeat(1_000_000)].concat()),
        ("a list in itself", b"\x80\x02]q\0h\0a.".to_vec()),
        ("a dict in itself", b"\x80\x02}q\0K\x01h\0s.".to_vec()),
        ("a memo of index 2^32", b"\x80\x02]r\xff\xff\xff\xff.".to_vec()),
        ("a text longer than the file", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.".to_vec()),
        ("bytes longer than the file", b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.".to_vec()),
        ("an integer longer than the file", b"\x80\x02\x8b\xff\xff\xff\x7f.".to_vec()),
        ("a frame longer than the file", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff]".to_vec()),
        ("doubling", [b"\x80\x02]q\0".to_vec(), b"(h\0h\0tq\0".repeat(200), b".".to_vec()].concat()),
        ("an empty stack", b"\x80\x02aaaaRRRtt.".to_vec()),
        ("no end", b"\x80\x02]".to_vec()),
    ];
    all.extend(rest.into_iter().map(|(what, pickle)| (what.to_owned(), pickle)));
    let mut files: Vec<Hostile> = all.into_iter().map(|(what, pickle)| ("torch", what, pt(&pickle))).collect();
    files.push(("torch", "a bomb as its pickle".to_owned(), {
        // A zero is no opcode, but is reached only when all were unpacked.
        zip(&[
            deflated("a/data.pkl", (BOMB as usize) << 20, b"\x80\x02", BOMB as usize),
            Entry::stored("a/version", b"3\n"),
        ])
    }));
    files.push(("torch", "a bare pickle, as before 1.6".to_owned(), call("os", "system")));
    files
}

fn numpack() -> Vec<Hostile> {
    // A file of a package: its path, the bytes that it claims, the bytes that it claims to have here (0: as it is), and those.
    let package = |count: u32, files: &[(&[u8], u64, u64, &[u8])]| {
        let mut out = [&b"NPKG"[..], &2_u32.to_le_bytes(), &[1], &count.to_le_bytes()].concat();
        for (path, bytes, packed, content) in files {
            let numbers = [bytes.to_le_bytes(), packed.to_le_bytes()].concat();
            out.extend([&(path.len() as u32).to_le_bytes()[..], path, &numbers, content].concat());
        }
        [out, vec![0; 4]].concat()
    };
    let bomb = zstd::bulk::compress(&vec![0; (BOMB as usize) << 20], 1).unwrap();
    let name: &[u8] = b"metadata.npkm";
    let all = vec![
        ("four thousand million files", package(u32::MAX, &[(name, 0, 0, b"")])),
        ("a file longer than the package", package(1, &[(name, u64::MAX, 0, b"x")])),
        ("a packed file longer than the package", package(1, &[(name, 10, u64::MAX, b"x")])),
        ("a bomb that says what it is", package(1, &[(name, BOMB << 20, bomb.len() as u64, &bomb)])),
        ("a bomb that says that it is small", package(1, &[(name, 10, bomb.len() as u64, &bomb)])),
        ("a small file that says that it is large", package(1, &[(name, 1 << 60, 4, b"\x28\xb5\x2f\xfd")])),
        ("a path that leads out", package(2, &[(name, 0, 0, b""), (b"../../x", 1, 0, b"x")])),
        ("an absolute path", package(2, &[(name, 0, 0, b""), (b"/etc/x", 1, 0, b"x")])),
        ("the same path twice", package(2, &[(name, 0, 0, b""), (name, 0, 0, b"")])),
        ("a path of NULs", package(1, &[(&[0; 100], 0, 0, b"")])),
    ];
    all.into_iter().map(|(what, bytes)| ("numpack", what.to_owned(), bytes)).collect()
}

fn zarr() -> Vec<Hostile> {
    let third = |old: &str, new: &str| {
        assert!(METADATA_3.contains(old), "{old}");
        METADATA_3.replace(old, new).into_bytes()
    };
    let second = |old: &str, new: &str| {
        assert!(METADATA_2.contains(old), "{old}");
        METADATA_2.replace(old, new).into_bytes()
    };
    let mut all = vec![
        ("a shape that overflows", third("[40,3]", "[18446744073709551615,18446744073709551615]")),
        ("chunks of no rows", third("[4,2]", "[0,0]")),
        ("chunks larger than any memory", third("[4,2]", "[4611686018427387904,2]")),
        ("a row larger than any memory", third("[40,3]", "[40,1152921504606846976]")),
        ("an order that is none", third("[1,0]", "[1,1]")),
        ("an order out of range", third("[1,0]", "[18446744073709551615,0]")),
        ("negative numbers", third("[40,3]", "[-1,3]")),
        ("a separator that leads out", third("\".\"", "\"/../\"")),
        ("nesting", third("{}", &"[".repeat(100_000))),
        ("nesting of objects", third("{}", &r#"{"a":"#.repeat(100_000))),
        ("many axes", third("[40,3]", &format!("[{}1]", "1,".repeat(100_000)))),
        ("version 2: a separator that leads out", second("\".\"", "\"/../../\"")),
        ("version 2: a dtype of objects", second("\"<i2\"", "\"|O\"")),
        ("version 2: a text of 2^31 characters", second("\"<i2\"", "\"<U2147483647\"")),
        ("version 2: a shape that overflows", second("[40,3]", "[9223372036854775807,9223372036854775807]")),
        ("version 2: chunks larger than any memory", second("[4,2]", "[1099511627776,1024]")),
    ];
    let mut shards = r#"{"name":"bytes"}"#.to_owned();
    for _ in 0..2000 {
        shards = format!(
            r#"{{"name":"sharding_indexed","configuration":{{"chunk_shape":[4,2],"codecs":[{shards}],"index_codecs":[]}}}}"#
        );
    }
    let deep = |open: &str, close: &str| format!("{}\"<i2\"{}", open.repeat(20), close.repeat(20));
    all.push(("records in records", second("\"<i2\"", &deep(r#"[["a","#, "]]"))));
    all.push((
        "version 2: a subarray larger than any memory",
        second("\"<i2\"", r#"[["a","<i2",[4294967295,4294967295]]]"#),
    ));
    all.push(("a record larger than any memory", second("\"<i2\"", r#"[["a","|V2147483647"],["b","|V2147483647"]]"#)));
    let padding = format!(r#"[["a","<i4"]{}]"#, r#",["","|V2147483647"]"#.repeat(1000));
    let padded = METADATA_2.replace("\"<i2\"", &padding).replace("\"fill_value\":7", "\"fill_value\":null");
    all.push(("padding larger than any memory", padded.into_bytes()));
    let no_time = r#"{"name":"struct","configuration":{"fields":[{"name":"a","data_type":"int8"}]}}"#;
    for (data_type, fill) in [(no_time, r#"{"a":"NaT"}"#), ("\"int8\"", "\"NaT\"")] {
        all.push((
            "NaT of integers",
            METADATA_3.replace("\"float32\"", data_type).replace("\"NaN\"", fill).into_bytes(),
        ));
    }
    all.push(("many fields", second("\"<i2\"", &format!("[{}[\"a\",\"<i2\"]]", "[\"a\",\"<i2\"],".repeat(100_000)))));
    let codecs = METADATA_3.split_once("\"codecs\":").unwrap().0;
    let sharding = |codecs: &str, order: &str| {
        format!("{codecs}\"codecs\":[{order}{SHARDING}]}}").replace("[4,2]", "[4611686018427387904,2]").into_bytes()
    };
    all.push(("a shard larger than any memory", sharding(codecs, "")));
    let turned =
        r#"{"name":"transpose","configuration":{"order":[0,1]}},{"name":"transpose","configuration":{"order":[1,0]}},"#;
    all.push(("a turned shard larger than any memory", sharding(codecs, turned)));
    all.push(("shards in shards", format!("{codecs}\"codecs\":[{shards}]}}").into_bytes()));
    let mut files: Vec<Hostile> =
        all.into_iter().map(|(what, bytes)| ("zarr_metadata", what.to_owned(), bytes)).collect();
    // Frames of zstd and members of gzip may follow each other.
    let zeros = vec![0; 1 << 20];
    let bombs =
        [(1, zstd::bulk::compress(&zeros, 1).unwrap().repeat(BOMB as usize)), (2, gzip(&zeros).repeat(BOMB as usize))];
    let large = [&[2, 1, 0x22, 4][..], &[u32::MAX, u32::MAX, 20].map(u32::to_le_bytes).concat(), &[0; 4]].concat();
    // A frame of zstd that claims 2^62 bytes.
    let claims = [&0xFD2F_B528_u32.to_le_bytes()[..], &[0xe0], &(1_u64 << 62).to_le_bytes(), &[1, 0, 0]].concat();
    let far = [u64::MAX - 1, 20, 1 << 62, 1 << 62, 0, u64::MAX - 1, 64, 20].map(u64::to_le_bytes).concat();
    // A shard of zeros as a whole, whose index says that all of it is a chunk, and one that is in itself.
    let inside = [0_u64, 64, 0, 64].map(u64::to_be_bytes).concat();
    let inside = [inside.clone(), inside].concat();
    let more = [(8, zstd::bulk::compress(&zeros, 1).unwrap().repeat(BOMB as usize)), (7, inside)];
    for (codecs, chunk) in bombs.into_iter().chain([(3, large), (1, claims), (6, far)]).chain(more) {
        files.push((
            "zarr_chunk",
            format!("a chunk that claims too much, or is a bomb, of codecs {codecs}"),
            [vec![codecs], chunk].concat(),
        ));
    }
    files
}

fn zarr_zip() -> Vec<Hostile> {
    let size = (BOMB as usize) << 20;
    let array = |name: &str| Entry::stored(name, METADATA_3.as_bytes());
    let group = || Entry::stored("zarr.json", br#"{"zarr_format":3,"node_type":"group"}"#);
    let chunk = |entry: Entry| zip(&[array("zarr.json"), entry]);
    let deep = "a/".repeat(30_000) + "zarr.json";
    let away = |at| Entry { at: Some(at), ..array("zarr.json") };
    let mut names = vec![group(), array("../../zarr.json"), array("/etc/zarr.json"), array("a/../b/zarr.json")];
    names.extend(["a\\..\\b/zarr.json", "a//zarr.json", "./zarr.json", "a\0/zarr.json", "", "/", "a/"].map(array));
    let nothing = METADATA_3.split_once("\"codecs\":").unwrap().0;
    let nothing = nothing.replace("[4,2]", "[1048576,1024]").replace("[40,3]", "[40,2048]").replace("float32", "uint8");
    let nothing = nothing.replace("\"NaN\"", "7");
    let turned = r#"{"name":"transpose","configuration":{"order":[1,0]}}"#;
    let whole = SHARDING.replace("[2,1]", "[1024,1048576]");
    let nothing = format!("{nothing}\"codecs\":[{turned},{whole}]}}");
    let nothing = zip(&["zarr.json", "0.0", "0.1"].map(|name| match name {
        "zarr.json" => Entry::stored(name, nothing.as_bytes()),
        _ => Entry::stored(name, &[0xff; 16]),
    }));
    let mut json = zip(&[deflated("zarr.json", size, b"[", BOMB as usize)]);
    let all = vec![
        ("a bomb as its metadata", json.clone()),
        (
            "a bomb as its metadata, of which it says that it is small",
            zip(&[deflated("zarr.json", 500, b"[", BOMB as usize)]),
        ),
        ("a bomb as a chunk", chunk(deflated("0.0", size, b"", BOMB as usize))),
        ("a bomb as a chunk that says that it is small", chunk(deflated("0.0", 24, b"", BOMB as usize))),
        ("a small chunk that says that it is large", chunk(deflated("0.0", u32::MAX as usize - 1, b"x", 0))),
        ("large shards in which nothing is stored", nothing),
        ("names that lead out", zip(&names)),
        ("many folders in each other", zip(&[group(), array(&deep)])),
        ("two files in one place", zip(&[away(0), away(0)])),
        ("a file behind the end", zip(&[away(1 << 30)])),
        ("a method that nobody knows", zip(&[Entry { method: 99, ..array("zarr.json") }])),
        ("half of an archive", json.split_off(json.len() / 2)),
    ];
    all.into_iter().map(|(what, bytes)| ("zarr_zip", what.to_owned(), bytes)).collect()
}
