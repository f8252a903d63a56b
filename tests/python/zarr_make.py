"""Zarr folders of every dtype, codec, order and version that zarr-python writes, and what they hold as .npy.
cases.txt: folder, array, .npy or .json of texts, one case a line. Argument: seed."""
import json
import sys
import warnings
import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

warnings.simplefilter("ignore")
rng = np.random.default_rng(int(sys.argv[1]))
cases = open("cases.txt", "w")
count = 0


def expect(folder, array, values):
    global count
    values = np.asarray(values)
    if values.dtype.kind in "OUT":
        name = f"want{count}.json"
        json.dump([str(v) for v in values.reshape(-1)], open(name, "w"))
    else:
        name = f"want{count}.npy"
        order = "=" if values.dtype.kind == "V" else "<"
        np.save(name, np.ascontiguousarray(values.astype(values.dtype.newbyteorder(order))).reshape(values.shape or (1,)))
    count += 1
    print(folder, array, name, sep="\t", file=cases)


def values(dtype, shape):
    dtype = np.dtype(dtype)
    if dtype.kind in "fc":
        return rng.normal(size=shape).astype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    bits = rng.integers(0, 2 if dtype.kind == "b" else 256, size=size, dtype="u1")
    return np.frombuffer(bits.tobytes(), dtype).reshape(shape)


dtypes = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "M8[us]", "m8[ns]"]
shapes = [((37,), (10,)), ((37, 3), (10, 2)), ((11, 2, 3), (4, 2, 3)), ((0, 4), (3, 4)), ((), ())]
for version in [2, 3]:
    name = f"types{version}.zarr"
    root = zarr.open_group(name, mode="w", zarr_format=version)
    for dtype in dtypes:
        for order in "<>":
            for shape, chunks in shapes:
                array = values(np.dtype(dtype).newbyteorder(order), shape)
                path = f"{np.dtype(dtype).name.split('[')[0]}/{'little' if order == '<' else 'big'}/{'x'.join(map(str, shape)) or 'one'}"
                extra = {}
                if version == 3 and np.dtype(dtype).itemsize > 1:
                    extra = dict(serializer=BytesCodec(endian="little" if order == "<" else "big"))
                z = root.create_array(path, shape=shape, chunks=chunks or None or (), dtype=array.dtype, **extra)
                z[...] = array
                z.attrs["unit"] = "m"
                expect(name, path, array)
    name = f"layouts{version}.zarr"
    root = zarr.open_group(name, mode="w", zarr_format=version)
    shuffles = ["noshuffle", "shuffle", "bitshuffle"]
    if version == 2:
        layouts = {f"blosc-{c}-{s}-{size}": dict(compressors=numcodecs.Blosc(c, 5, i, size))
                   for c in ["blosclz", "lz4", "lz4hc", "zlib", "zstd"] for i, s in enumerate(shuffles) for size in [0, 512]}
        layouts |= {"none": dict(compressors=None), "zlib": dict(compressors=numcodecs.Zlib(3)), "gzip": dict(compressors=numcodecs.GZip(3)),
                    "zstd": dict(compressors=numcodecs.Zstd(3)), "lz4": dict(compressors=numcodecs.LZ4()), "default": {},
                    "shuffle": dict(filters=[numcodecs.Shuffle(4)], compressors=numcodecs.Zlib(1)),
                    "fortran": dict(order="F"), "slash": dict(chunk_key_encoding={"name": "v2", "separator": "/"})}
    else:
        layouts = {f"blosc-{c}-{s}": dict(compressors=BloscCodec(cname=c, clevel=5, shuffle=s))
                   for c in ["blosclz", "lz4", "zlib", "zstd"] for s in shuffles}
        layouts |= {"none": dict(compressors=None), "gzip": dict(compressors=GzipCodec(level=3)), "zstd": dict(compressors=ZstdCodec(level=3)),
                    "sums": dict(compressors=[ZstdCodec(checksum=True), Crc32cCodec()]), "default": {},
                    "fortran": dict(filters=[TransposeCodec(order=(2, 1, 0))]), "turned": dict(filters=[TransposeCodec(order=(1, 2, 0))]),
                    "dots": dict(chunk_key_encoding={"name": "default", "separator": "."}), "old": dict(chunk_key_encoding={"name": "v2", "separator": "."}),
                    "shards": dict(shards=(32, 6, 10)), "shardsgzip": dict(shards=(16, 3, 5), compressors=GzipCodec()),
                    "shardsplain": dict(shards=(64, 6, 5), compressors=None)}
    for layout, options in layouts.items():
        for dtype in ["u1", "<i2", "<i4", "<f8", "c16"]:
            array = values(dtype, (50, 6, 10)) if dtype != "<i4" else np.arange(3000, dtype="<i4").reshape(50, 6, 10) // 7
            for chunks in [(16, 3, 5), (8, 6, 10)] if "shards" not in layout else [(8, 3, 5)]:
                path = f"{layout}/{np.dtype(dtype).name}-{chunks[0]}"
                z = root.create_array(path, shape=array.shape, chunks=chunks, dtype=dtype, **options)
                z[...] = array
                expect(name, path, array)
    large = np.repeat(rng.integers(0, 9, 20000), 7).astype("<i4")
    for codec in ["blosclz", "lz4", "zlib", "zstd"]:
        for i, s in enumerate(shuffles):
            blosc = numcodecs.Blosc(codec, 9, i) if version == 2 else BloscCodec(cname=codec, clevel=9, shuffle=s)
            z = root.create_array(f"large/{codec}-{s}", shape=large.shape, chunks=(100001,), dtype="<i4", compressors=blosc)
            z[...] = large
            expect(name, f"large/{codec}-{s}", large)
    for fill in [0, 7, -1]:
        z = root.create_array(f"fill/{fill}", shape=(30, 8), chunks=(4, 3), dtype=">i4", fill_value=fill)
        z[5:9, 2:5] = 3
        expect(name, z.path, z[...])
    for n, fill in enumerate([float("nan"), float("inf"), float("-inf"), 1.5]):
        for dtype in ["f2", "f4", "f8", "c8"]:
            z = root.create_array(f"fill/{dtype}{n}", shape=(9,), chunks=(4,), dtype=dtype, fill_value=fill)
            expect(name, z.path, z[...])
    if version == 3:
        z = root.create_array("fill/shards", shape=(64, 8), chunks=(4, 4), shards=(16, 8), dtype="i4", fill_value=5)
        z[5:9, 2:3] = 3
        z[40, 7] = 2
        expect(name, z.path, z[...])
    words = ["", "a", "grüße", "日本語", "x" * 3000] + [f"word {i}" for i in range(500)]
    name = f"text{version}.zarr"
    root = zarr.open_group(name, mode="w", zarr_format=version)
    for chunks in [100, 7, 1000]:
        z = root.create_array(f"words{chunks}", shape=(505,), chunks=(chunks,), dtype=str)
        z[...] = np.array(words, dtype=object)
        expect(name, z.path, words)
    z = root.create_array("unset", shape=(30,), chunks=(7,), dtype=str, fill_value="none")
    z[8:10] = np.array(["a", "b"], dtype=object)
    expect(name, "unset", z[...])
    for dtype in ["S8", "<U8", ">U8"]:
        short = np.array([w[:8].encode("ascii", "ignore") if dtype == "S8" else w[:8] for w in words], dtype)
        z = root.create_array(f"fixed{dtype.strip('<>')}{'b' if '>' in dtype else ''}", shape=(505,), chunks=(100,), dtype=dtype)
        z[...] = short
        expect(name, z.path, [w.decode() if isinstance(w, bytes) else w for w in short])
    raw = np.array([b"ab\0\0", b"wxyz", b"1234"], "V4")
    z = root.create_array("raw", shape=(3,), chunks=(2,), dtype="V4")
    z[...] = raw
    expect(name, "raw", raw)
    z = zarr.create_array(f"alone{version}.zarr", shape=(5, 2), chunks=(2, 2), dtype="i4", zarr_format=version)
    z[...] = np.arange(10).reshape(5, 2)
    expect(f"alone{version}.zarr", f"alone{version}", z[...])
