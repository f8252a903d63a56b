"""Zarr stores beyond plain arrays: structured dtypes, times, fill values, nested shards, filters, zip archives. cases.txt:
store, array, .npy or .json of texts (or of lists of bytes), one case a line; refused.txt: store, array, a word that the
error has. Argument: seed."""
import json
import os
import shutil
import sys
import warnings
import zipfile
import numcodecs
import numpy as np
import zarr
import zarr.codecs.numcodecs as third
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, VLenUTF8Codec, ZstdCodec
from zarr.storage import ZipStore

warnings.simplefilter("ignore")
rng = np.random.default_rng(int(sys.argv[1]))
cases, refused = [], []
count = 0


def expect(store, array, values):
    global count
    values = np.asarray(values)
    flat = [v for v in values.reshape(-1)]
    if values.dtype.kind == "O" and isinstance(flat[0], bytes):
        name = f"want{count}.json"
        json.dump([list(v) for v in flat], open(name, "w"))
    elif values.dtype.kind in "OT" or values.dtype.kind == "U" and values.ndim == 1:
        name = f"want{count}.json"
        json.dump([str(v) for v in flat], open(name, "w"))
    else:
        name = f"want{count}.npy"
        np.save(name, np.ascontiguousarray(values).reshape(values.shape or (1,)))
    count += 1
    cases.append((store, array, name))


def refuse(store, array, word):
    refused.append((store, array, word))


def values(dtype, shape):
    dtype = np.dtype(dtype)
    if dtype.fields:
        result = np.zeros(shape, dtype)
        for name in dtype.names:
            result[name] = values(dtype[name], shape)
        return result
    if dtype.subdtype:
        return values(dtype.subdtype[0], (*shape, *dtype.subdtype[1]))
    if dtype.kind in "fc":
        return rng.normal(size=shape).astype(dtype)
    if dtype.kind in "SU":
        letters = np.array(["", "a", "bc", "def", "some"] + (["ü", "日本"] if dtype.kind == "U" else []))
        return letters[rng.integers(0, len(letters), shape)].astype(dtype)
    if dtype.kind in "mM":
        result = rng.integers(-90_000, 90_000, shape).astype(dtype)
        result.reshape(-1)[::5] = "NaT"
        return result
    size = int(np.prod(shape)) * dtype.itemsize
    bits = rng.integers(0, 2 if dtype.kind == "b" else 256, size=size, dtype="u1")
    return np.frombuffer(bits.tobytes(), dtype).reshape(shape)


def put(name, root, path, array, chunks=None, **extra):
    chunks = chunks or tuple(max(1, n // 2) for n in array.shape)
    z = root.create_array(path, shape=array.shape, chunks=chunks, dtype=array.dtype, **extra)
    z[...] = array
    expect(name, path, array)


def by_hand(store, path, metadata, chunk):
    folder = os.path.join(store, path)
    os.makedirs(folder)
    version = metadata["zarr_format"]
    json.dump(metadata, open(os.path.join(folder, "zarr.json" if version == 3 else ".zarray"), "w"))
    key = os.path.join(folder, *("c0" if version == 3 else "0"))
    if chunk is not None:
        os.makedirs(os.path.dirname(key), exist_ok=True)
        open(key, "wb").write(chunk)


records = {
    "pair": [("a", "<f4"), ("b", "<i8")],
    "one": [("only", "<u2")],
    "many": [("x", "<i2"), ("t", "<M8[us]"), ("days", "<M8[D]"), ("s", "S5"), ("u", "<U4"), ("ok", "?"), ("c", "<c8")],
    "nested": [("p", [("x", "<f8"), ("q", [("y", "<f4"), ("z", "u1")])]), ("n", "<u2")],
}
for version in [2, 3]:
    name = f"records{version}.zarr"
    root = zarr.open_group(name, mode="w", zarr_format=version)
    for kind, dtype in records.items():
        for shape in [(23,), (7, 3)]:
            # Its Blosc takes no times in records.
            extra = dict(compressors=None) if version == 2 and kind == "many" else {}
            put(name, root, f"{kind}/{len(shape)}", values(dtype, shape), **extra)
    if version == 2:
        put(name, root, "big", values([("a", ">f4"), ("b", ">U3"), ("c", ">m8[h]")], (9,)), compressors=None)
        put(name, root, "fortran", values(records["pair"], (6, 4)), order="F")
    z = root.create_array("filled", shape=(11,), chunks=(4,), dtype=records["pair"], fill_value=(1.5, -7))
    z[5:6] = values(records["pair"], (1,))
    expect(name, "filled", z[...])
# What zarr-python 2 writes of subarrays, titles and padding, and the struct of zarr-extensions.
subarrays = np.dtype([("a", "<f4"), ("b", "<i8", (2,)), ("u", "<U2", (3,)), ("pad", "V2"), ("n", [("m", ">i2", (2, 2))])])
array = values(subarrays, (5,))
fields = [["a", "<f4"], ["b", "<i8", [2]], ["u", "<U2", 3], ["pad", "|V2"], ["n", [["m", ">i2", [2, 2]]]]]
metadata = dict(zarr_format=2, shape=[5], chunks=[5], dtype=fields, compressor=None, filters=None, fill_value=None, order="C")
by_hand("records2.zarr", "subarrays", metadata, array.tobytes())
expect("records2.zarr", "subarrays", array)
struct = [dict(name="a", data_type="float32"), dict(name="n", data_type=dict(name="struct", configuration=dict(
    fields=[dict(name="m", data_type="int16"), dict(name="when", data_type=dict(name="numpy.datetime64", configuration=dict(unit="s", scale_factor=1)))])))]
for endian in ["big", "little"]:
    order = "<" if endian == "little" else ">"
    struct_dtype = [("a", order + "f4"), ("n", [("m", order + "i2"), ("when", order + "M8[s]")])]
    array = values(struct_dtype, (4,))
    whole = np.concatenate([array, np.array([(float("nan"), (-3, "1970-01-01T00:01:30"))] * 2, array.dtype)])
    metadata = dict(zarr_format=3, node_type="array", shape=[6], data_type=dict(name="struct", configuration=dict(fields=struct)),
                    chunk_grid=dict(name="regular", configuration=dict(chunk_shape=[4])), dimension_names=["x"], attributes={},
                    chunk_key_encoding=dict(name="default", configuration=dict(separator="/")), storage_transformers=[],
                    codecs=[dict(name="bytes", configuration=dict(endian=endian))], fill_value=dict(a="NaN", n=dict(m=-3, when=90)))
    by_hand("records3.zarr", f"struct-{endian}", metadata, array.tobytes())
    expect("records3.zarr", f"struct-{endian}", whole)
# zarr-python 3.1 cannot write shards of records: an index at the end, of two chunks.
array = values(struct_dtype, (6,))
index = np.array([0, 3 * array.itemsize, 3 * array.itemsize, 3 * array.itemsize], "<u8")
sharding = dict(name="sharding_indexed", configuration=dict(chunk_shape=[3], codecs=[dict(name="bytes")], index_codecs=[dict(name="bytes", configuration=dict(endian="little"))]))
by_hand("records3.zarr", "shards", metadata | dict(codecs=[sharding], chunk_grid=dict(name="regular", configuration=dict(chunk_shape=[6]))), array.tobytes() + index.tobytes())
expect("records3.zarr", "shards", array)
for i, dtype in enumerate(["float8_e4m3", "int4", "r7", dict(name="fixed_length_utf32", configuration=dict(length_bytes=5)), dict(name="other", configuration={})]):
    by_hand("records3.zarr", f"unknown{i}", metadata | dict(data_type=dtype, fill_value=0), None)
    refuse("records3.zarr", f"unknown{i}", dtype if isinstance(dtype, str) else dtype["name"])

for version in [2, 3]:
    name = f"elements{version}.zarr"
    root = zarr.open_group(name, mode="w", zarr_format=version)
    for dtype in ["<M8[D]", "<M8[h]", "<m8[D]", "<M8[10ms]", "<m8[25us]", "<M8[Y]", "<M8[M]", "<M8[ns]", "<S3", "<U3"]:
        for shape in [(13,), (5, 2)]:
            put(name, root, f"{np.dtype(dtype).str[1:].replace('[', '').replace(']', '')}-{len(shape)}", values(dtype, shape))
    fills = [("?", True), ("<i2", -9), ("<u8", 2**64 - 1), ("<i8", -2**63), ("<f2", 0.1), ("<f8", float("nan")), ("<f4", float("-inf")),
             ("<c8", complex(1.5, float("nan"))), ("<c16", complex(float("inf"), -2)), ("S4", b"ab"), ("<U4", "xü"), ("V3", b"\x01\xff\x00"),
             ("<M8[s]", np.datetime64("2020-01-02T03:04:05", "s")), ("<m8[D]", np.timedelta64(5, "D")), ("<M8[ns]", np.datetime64("NaT", "ns"))]
    for i, (dtype, fill) in enumerate(fills):
        for order in "<>" if version == 2 and np.dtype(dtype).itemsize > 1 else "<":
            dtype = np.dtype(dtype).newbyteorder(order)
            z = root.create_array(f"fill{i}{'b' if order == '>' else ''}", shape=(9,), chunks=(4,), dtype=dtype, fill_value=fill)
            z[6:7] = values(dtype, (1,))
            expect(name, z.path, z[...].astype(dtype.newbyteorder("<")))
    z = root.create_array("blobs", shape=(9,), chunks=(4,), dtype=zarr.dtype.VariableLengthBytes(), fill_value=b"\xffab")
    z[0:3] = np.array([b"", b"\x00\xfe", b"abc" * 50], dtype=object)
    expect(name, "blobs", np.array([bytes(v) for v in z[...]], dtype=object))
    if version == 3:
        raw = values("V3", (7,))
        metadata = json.load(open(f"{name}/fill11/zarr.json")) | dict(data_type="r24", shape=[9], fill_value=[1, 2, 255])
        by_hand(name, "bits", metadata | dict(chunk_grid=dict(name="regular", configuration=dict(chunk_shape=[7])), codecs=[dict(name="bytes")]), raw.tobytes())
        expect(name, "bits", np.concatenate([raw, np.array([b"\x01\x02\xff"] * 2, "V3")]))
        bits = values("f4", (4,))
        metadata = metadata | dict(data_type="float32", fill_value="0x7fc00001", codecs=[dict(name="bytes", configuration=dict(endian="big"))])
        by_hand(name, "hex", metadata | dict(chunk_grid=dict(name="regular", configuration=dict(chunk_shape=[4]))), bits.astype(">f4").tobytes())
        expect(name, "hex", np.concatenate([bits, np.full(5, np.uint32(0x7FC00001)).view("f4")]))
    # What nobody can read is no reason not to read the others.
    if version == 2:
        text = dict(zarr_format=2, shape=[3], chunks=[3], compressor=None, fill_value=None, order="C")
        for filter in [dict(id="pickle", protocol=5), dict(id="json2", encoding="utf-8"), dict(id="categorize", labels=["a"], dtype="|O", astype="|u1")]:
            by_hand(name, f"objects-{filter['id']}", text | dict(dtype="|O", filters=[filter]), b"x")
            refuse(name, f"objects-{filter['id']}", "|O")
        by_hand(name, "longdouble", text | dict(dtype="<f16", filters=None), b"x")
        refuse(name, "longdouble", "f16")
        for codec in [numcodecs.BZ2(), numcodecs.LZMA()]:
            root.create_array(codec.codec_id, shape=(5,), chunks=(5,), dtype="i4", compressors=codec)[...] = 7
            refuse(name, codec.codec_id, codec.codec_id)
        by_hand(name, "table", text | dict(dtype="|O", shape=[2, 2], chunks=[2, 2], filters=[dict(id="vlen-utf8")]), b"x")
        refuse(name, "table", "more than one axis")
    else:
        for codec in [third.BZ2(), third.LZMA()]:
            root.create_array(codec.codec_name, shape=(5,), chunks=(5,), dtype="i4", compressors=codec)[...] = 7
            refuse(name, codec.codec_name, codec.codec_name)
        root.create_array("table", shape=(2, 2), chunks=(2, 2), dtype=str)[...] = np.array([["a", "b"], ["c", "d"]], dtype=object)
        refuse(name, "table", "more than one axis")
    os.makedirs(f"{name}/damaged")
    open(f"{name}/damaged/{'zarr.json' if version == 3 else '.zarray'}", "w").write("{")
    refuse(name, "damaged", "no JSON")

# Shards in shards, indexes in any place and order, and shards that are packed or turned as a whole.
name = "shards.zarr"
root = zarr.open_group(name, mode="w", zarr_format=3)
plain, big = [BytesCodec()], [BytesCodec(endian="big")]
inner = {"plain": plain, "big": big, "zstd": [*big, ZstdCodec()], "gzipsum": [*plain, GzipCodec(), Crc32cCodec()],
         "turned": [TransposeCodec(order=(1, 0)), *big, BloscCodec(cname="lz4", shuffle="bitshuffle")]}
indexes = {"usual": {}, "first": dict(index_location="start"), "unchecked": dict(index_codecs=plain, index_location="start"),
           "bigindex": dict(index_codecs=[*big, Crc32cCodec()])}
array = rng.integers(-1000, 1000, (50, 24)).astype("i4")


def sharded(path, codecs, array=array, chunks=(32, 12), **extra):
    z = zarr.create(store=name, path=path, shape=array.shape, chunks=chunks, dtype=array.dtype, codecs=codecs, zarr_format=3, fill_value=9, **extra)
    z[...] = array
    expect(name, path, array)
    z = zarr.create(store=name, path=path + "-holes", shape=array.shape, chunks=chunks, dtype=array.dtype, codecs=codecs, zarr_format=3, fill_value=9, **extra)
    z[3:5, 7:9] = array[3:5, 7:9]
    z[40:42, 20:22] = array[40:42, 20:22]
    expect(name, path + "-holes", z[...])


for kind, codecs in inner.items():
    for place, index in indexes.items():
        one = ShardingCodec(chunk_shape=(4, 6), codecs=codecs, **index)
        two = ShardingCodec(chunk_shape=(16, 12), codecs=[one], **index)
        three = ShardingCodec(chunk_shape=(32, 12), codecs=[two])
        sharded(f"{kind}-{place}-1", [one])
        sharded(f"{kind}-{place}-2", [two])
        if place == "first":
            sharded(f"{kind}-{place}-3", [three])
            sharded(f"{kind}-packed", [one, GzipCodec()])
            sharded(f"{kind}-summed", [two, Crc32cCodec()])
            sharded(f"{kind}-inside", [ShardingCodec(chunk_shape=(16, 12), codecs=[one, ZstdCodec()])])
words = np.array([f"word {i}" for i in range(40)], dtype=object)
for path, codecs in [("words-2", [ShardingCodec(chunk_shape=(8,), codecs=[ShardingCodec(chunk_shape=(4,), codecs=[VLenUTF8Codec(), ZstdCodec()])])])]:
    z = zarr.create(store=name, path=path, shape=(40,), chunks=(16,), dtype=str, codecs=codecs, zarr_format=3, fill_value="no")
    z[:18] = words[:18]
    expect(name, path, z[...])

# Filters, of which some lose something: what zarr-python reads is right.
array = rng.integers(-1000, 1000, (20, 6)).cumsum(axis=0)
floats = rng.normal(1000, 10, (20, 6))
second = {
    "delta": (array.astype("<i4"), [numcodecs.Delta("<i4")]),
    "delta-wide": (array.astype(">i8"), [numcodecs.Delta(">i8", astype="<i4")]),
    "delta-wraps": (values("u1", (20, 6)), [numcodecs.Delta("u1")]),
    "delta-floats": (floats.astype("<f4"), [numcodecs.Delta("<f4")]),
    "delta-doubles": (floats, [numcodecs.Delta("<f8")]),
    "scaled": (floats, [numcodecs.FixedScaleOffset(offset=1000, scale=10, dtype="<f8", astype="<i2")]),
    "scaled-bytes": (floats.astype("<f4"), [numcodecs.FixedScaleOffset(offset=950.5, scale=2.5, dtype="<f4", astype="u1")]),
    "scaled-floats": (floats.astype("<f4"), [numcodecs.FixedScaleOffset(offset=1000, scale=3, dtype="<f4")]),
    "scaled-integers": (array.astype("<i4"), [numcodecs.FixedScaleOffset(offset=-7, scale=1, dtype="<i4", astype="<i8")]),
    "quantized": (floats, [numcodecs.Quantize(digits=1, dtype="<f8", astype="<f4")]),
    "rounded": (floats.astype("<f4"), [numcodecs.BitRound(keepbits=5)]),
    "narrow": (array.astype("<i8"), [numcodecs.AsType(encode_dtype="<i2", decode_dtype="<i8")]),
    "halves": (floats, [numcodecs.AsType(encode_dtype=">f2", decode_dtype="<f8")]),
    "truncated": (array.astype("<i4"), [numcodecs.AsType(encode_dtype="<f4", decode_dtype="<i4")]),
    "bits": (values("?", (21, 5)), [numcodecs.PackBits()]),
    "sums": (array.astype("<i4"), [numcodecs.CRC32(), numcodecs.Adler32(), numcodecs.Fletcher32(), numcodecs.CRC32C()]),
    "sums-elsewhere": (array.astype("<i4"), [numcodecs.CRC32(location="end"), numcodecs.Adler32(location="end"), numcodecs.CRC32C(location="start")]),
    "several": (array.astype("<i4"), [numcodecs.Delta("<i4", astype="<i8"), numcodecs.Shuffle(8), numcodecs.CRC32()]),
}
name = "filters2.zarr"
root = zarr.open_group(name, mode="w", zarr_format=2)
for kind, (filtered, filters) in second.items():
    for order in "CF":
        for compressor in [None, numcodecs.Zlib(1)]:
            path = f"{kind}/{order}{'-zlib' if compressor else ''}"
            z = root.create_array(path, shape=filtered.shape, chunks=(7, 4), dtype=filtered.dtype, filters=filters, compressors=compressor, order=order)
            z[...] = filtered
            expect(name, path, z[...].astype(filtered.dtype.newbyteorder("<")))
name = "filters3.zarr"
root = zarr.open_group(name, mode="w", zarr_format=3)
for kind, (filtered, filters) in {
    "delta": (array.astype("<i4"), [third.Delta(dtype="<i4", astype="<i8")]),
    "delta-same": (array.astype("<i8"), [third.Delta(dtype="int64")]),
    "scaled": (floats, [third.FixedScaleOffset(offset=1000, scale=10, dtype="<f8", astype="<i2")]),
    "scaled-as-is": (floats, [third.FixedScaleOffset(offset=1000, scale=10)]),
    "quantized": (floats, [third.Quantize(digits=1)]),
    "rounded": (floats.astype("<f4"), [third.BitRound(keepbits=5)]),
    "narrow": (floats, [third.AsType(encode_dtype="<f4", decode_dtype="<f8")]),
    "bits": (values("?", (21, 5)), [third.PackBits()]),
}.items():
    z = root.create_array(kind, shape=filtered.shape, chunks=(7, 4), dtype=filtered.dtype, filters=filters)
    z[...] = filtered
    expect(name, kind, z[...])
# The filters of zarr-extensions, which zarr-python 3.1 has not: CF's packed floats, and integers.
packed = np.array([0, 1, -32768, 250, 7], "i2")
metadata = dict(zarr_format=3, node_type="array", shape=[5], data_type="float32", fill_value="NaN", attributes={},
                chunk_grid=dict(name="regular", configuration=dict(chunk_shape=[5])), chunk_key_encoding=dict(name="default"))
cast = dict(name="cast_value", configuration=dict(data_type="int16", rounding="towards-zero", out_of_range="clamp", scalar_map=dict(
    encode=[["NaN", -32768]], decode=[[-32768, "NaN"]])))
scale = dict(name="scale_offset", configuration=dict(offset=3, scale=0.5))
for endian in ["little", "big"]:
    codecs = [scale, cast, dict(name="bytes", configuration=dict(endian=endian))]
    by_hand(name, f"packed-{endian}", metadata | dict(codecs=codecs), packed.astype("<i2" if endian == "little" else ">i2").tobytes())
    expect(name, f"packed-{endian}", np.where(packed == -32768, np.float32("nan"), packed.astype("f4") / np.float32(0.5) + np.float32(3)))
codecs = [dict(name="scale_offset", configuration=dict(offset=-7, scale=5)), dict(name="bytes")]
by_hand(name, "multiples", metadata | dict(codecs=codecs, data_type="int16", fill_value=0), (5 * np.arange(5)).astype("<i2").tobytes())
expect(name, "multiples", (np.arange(5) - 7).astype("i2"))
by_hand(name, "uneven", metadata | dict(chunk_grid=dict(name="rectilinear", configuration=dict(kind="inline", chunk_shapes=[[2, 3]])), codecs=codecs), None)
refuse(name, "uneven", "rectilinear")
for kind, codecs in {"sums": [third.CRC32(), third.Adler32(), third.Fletcher32(), third.CRC32C()], "zlib": [third.Shuffle(elementsize=4), third.Zlib(level=1)],
                     "blosc": [third.Blosc(cname="lz4")], "lz4": [third.LZ4()], "zstd": [third.Zstd(), third.GZip()]}.items():
    z = root.create_array(kind, shape=array.shape, chunks=(7, 4), dtype="<i4", compressors=codecs)
    z[...] = array.astype("<i4")
    expect(name, kind, z[...])

# Archives: by zarr-python, and of the folders above.
for version in [2, 3]:
    for method in [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]:
        name = f"by-zarr-{version}-{method}.zarr.zip"
        store = ZipStore(name, mode="w", compression=method)
        root = zarr.create_group(store=store, zarr_format=version, attributes=dict(unit="m"))
        put(name, root, "plain", values("<f4", (37, 3)), compressors=None)
        put(name, root, "group/packed", values("<i8", (37, 3)))
        put(name, root, "group/records", values(records["pair"], (23,)))
        if version == 3:
            large = rng.integers(0, 9, (4000, 8)).astype("<i4")
            z = root.create_array("shards", shape=large.shape, chunks=(100, 8), shards=(1000, 8), dtype="<i4")
            z[...] = large
            expect(name, "shards", large)
        # Chunks that are written twice are there twice.
        z = root.create_array("again", shape=(9,), chunks=(4,), dtype="<i2")
        z[...] = 1
        z[...] = np.arange(9)
        expect(name, "again", np.arange(9, dtype="<i2"))
        store.close()
        name = f"alone-{version}-{method}.zarr.zip"
        store = ZipStore(name, mode="w", compression=method)
        z = zarr.create_array(store=store, shape=(5, 2), chunks=(2, 2), dtype="i4", zarr_format=version)
        z[...] = np.arange(10).reshape(5, 2)
        store.close()
        expect(name, f"alone-{version}-{method}", np.arange(10, dtype="i4").reshape(5, 2))
for i, folder in enumerate(["records2.zarr", "records3.zarr", "elements2.zarr", "elements3.zarr", "shards.zarr", "filters2.zarr"]):
    zarr.consolidate_metadata(folder) if folder in ["shards.zarr", "filters2.zarr"] else None
    shutil.make_archive(folder, "zip", folder)
    cases.extend((store + ".zip", array, want) for store, array, want in list(cases) if store == folder)
    refused.extend((store + ".zip", array, word) for store, array, word in list(refused) if store == folder)
shutil.make_archive("above", "zip", ".", "records2.zarr")
for name, lines in [("cases.txt", cases), ("refused.txt", refused)]:
    with open(name, "w") as file:
        file.writelines("\t".join(line) + "\n" for line in lines)
