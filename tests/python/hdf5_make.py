"""HDF5 files of every dtype, layout, filter and library version that h5py writes, and what they hold as .npy.
cases.txt: file, dataset, field, .npy, one case a line. Argument: seed."""
import json
import sys
import h5py
import numpy as np

rng = np.random.default_rng(int(sys.argv[1]))
cases = open("cases.txt", "w")
count = 0


def expect(file, dataset, field, values):
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
    print(file, dataset, field, name, sep="\t", file=cases)


def values(dtype, shape):
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    bits = rng.integers(0, 2 if dtype.kind == "b" else 256, size=size, dtype="u1")
    made = np.frombuffer(bits.tobytes(), dtype).reshape(shape)
    # Conversions quieten NaNs.
    if dtype.kind in "fc":
        made = rng.normal(size=shape).astype(dtype)
    return made


dtypes = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
for libver in ["earliest", ("v114", "v114"), ("earliest", "v108"), ("v110", "v110")]:
    name = f"types-{libver if isinstance(libver, str) else libver[1]}.h5"
    with h5py.File(name, "w", libver=libver) as f:
        for dtype in dtypes:
            for order in "<>":
                for shape in [(37,), (37, 3), (11, 2, 3), (0, 4), ()]:
                    array = values(np.dtype(dtype).newbyteorder(order), shape)
                    path = f"/{np.dtype(dtype).name}/{'little' if order == '<' else 'big'}/{'x'.join(map(str, shape)) or 'one'}"
                    f[path] = array
                    f[path].attrs["unit"] = "m"
                    expect(name, path, "value", array)
    name = f"layouts-{libver if isinstance(libver, str) else libver[1]}.h5"
    with h5py.File(name, "w", libver=libver) as f:
        layouts = {
            "plain": dict(chunks=(7, 3)), "rows": dict(chunks=(7, 10)), "one": dict(chunks=(50, 10)), "auto": dict(chunks=True),
            "gzip": dict(chunks=(7, 10), compression="gzip"), "gzip9": dict(chunks=(8, 4), compression="gzip", compression_opts=9),
            "shuffle": dict(chunks=(7, 3), shuffle=True), "both": dict(chunks=(16, 10), compression="gzip", shuffle=True),
            "lzf": dict(chunks=(9, 9), compression="lzf"), "lzfshuffle": dict(chunks=(20, 10), compression="lzf", shuffle=True),
            "sum": dict(chunks=(7, 3), fletcher32=True), "all": dict(chunks=(7, 3), compression="gzip", shuffle=True, fletcher32=True),
            "odd": dict(chunks=(7, 3), compression="lzf", fletcher32=True), "scale": dict(chunks=(7, 3), scaleoffset=0),
        }
        for layout, options in layouts.items():
            for dtype in ["u1", "<i2", ">i4", "<f8", "c8"]:
                if layout == "scale" and np.dtype(dtype).kind != "i":
                    continue
                for maxshape in [None, (None, 10)]:
                    array = values(dtype, (50, 10)) if layout != "lzf" else np.arange(500).reshape(50, 10).astype(dtype)
                    path = f"/{layout}/{np.dtype(dtype).str[1:]}{'' if maxshape is None else '+'}"
                    f.create_dataset(path, data=array, maxshape=maxshape, **options)
                    expect(name, path, "value", array)
        # Many chunks: several levels of each index.
        array = np.arange(20000, dtype="i4").reshape(10000, 2)
        for maxshape in [None, (None, 2)]:
            path = f"/many/{'fixed' if maxshape is None else 'growing'}"
            f.create_dataset(path, data=array, chunks=(3, 2), maxshape=maxshape, compression="gzip")
            expect(name, path, "value", array)
        # Parts that nobody wrote.
        for fill in [None, 7, -1]:
            d = f.create_dataset(f"/fill/{fill}", (30, 8), ">i4", chunks=(4, 3), fillvalue=fill, compression="gzip")
            d[5:9, 2:5] = 3
            expect(name, d.name, "value", d[:])
            d = f.create_dataset(f"/empty/{fill}", (30, 8), "i4", chunks=(4, 8), fillvalue=fill)
            expect(name, d.name, "value", d[:])
            d = f.create_dataset(f"/flat/{fill}", (30, 8), "i4", fillvalue=fill)
            expect(name, d.name, "value", d[:])
        for path, size in [("/shrunk", 31), ("/grown", 160)]:
            d = f.create_dataset(path, data=np.arange(100), chunks=(7,), maxshape=(None,))
            d.resize((31,))
            d.resize((size,))
            expect(name, path, "value", d[:])
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        array = values("<f4", (6, 4))
        d = h5py.h5d.create(f.id, b"compact", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((6, 4)), compact)
        d.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
        expect(name, "/compact", "value", array)
    name = f"text-{libver if isinstance(libver, str) else libver[1]}.h5"
    with h5py.File(name, "w", libver=libver) as f:
        words = ["", "a", "grüße", "日本語", "x" * 3000] + [f"word {i}" for i in range(2000)]
        f.create_dataset("/variable", data=words, dtype=h5py.string_dtype())
        expect(name, "/variable", "value", words)
        f.create_dataset("/packed", data=words, dtype=h5py.string_dtype(), chunks=(100,), compression="gzip")
        expect(name, "/packed", "value", words)
        f.create_dataset("/fixed", data=[w.encode()[:8] for w in words[4:]], dtype="S8")
        expect(name, "/fixed", "value", [w[:8] for w in words[4:]])
        f.create_dataset("/utf8", data=[w.encode() for w in words[:4]], dtype=h5py.string_dtype(length=12))
        expect(name, "/utf8", "value", words[:4])
        f["/single"] = "one"
        expect(name, "/single", "value", ["one"])
        f.create_dataset("/grid", data=np.array([[b"ab", b"c"], [b"", b"def"]], "S3"))
        expect(name, "/grid", "value", np.array([[b"ab", b"c"], [b"", b"def"]], "S3").view("V3"))
        times = np.array(["2020-01-01", "NaT"], "M8[us]")
        f.create_dataset("/times", data=times.astype(h5py.opaque_dtype(times.dtype)))
        expect(name, "/times", "value", times)
        f.create_dataset("/raw", data=np.array([b"ab\0\0", b"wxyz"], "V4"))
        expect(name, "/raw", "value", np.array([b"ab\0\0", b"wxyz"], "V4"))
        f.create_dataset("/level", data=np.array([0, 5, 2], "i2"), dtype=h5py.enum_dtype({"low": 0, "high": 5, "mid": 2}, "i2"))
        expect(name, "/level", "value", np.array([0, 5, 2], "i2"))
        dtype = np.dtype([("id", ">i8"), ("ok", "?"), ("at", "<f4", (3,)), ("word", "S4"), ("z", "<c16"),
                          ("in", [("a", "u1"), ("b", "<f2", (2, 2))])], align=True)
        records = np.zeros(300, dtype)
        for field in ["id", "at", "z"]:
            records[field] = rng.normal(size=records[field].shape) * 100
        records["ok"] = rng.integers(0, 2, 300)
        records["word"] = [b"%d" % i for i in range(300)]
        records["in"]["a"] = rng.integers(0, 256, 300)
        records["in"]["b"] = rng.normal(size=(300, 2, 2))
        for path, options in {"/table": {}, "/chunked": dict(chunks=(64,), compression="gzip", shuffle=True)}.items():
            f.create_dataset(path, data=records, **options)
            for field in ["id", "ok", "at", "z"]:
                expect(name, path, field, records[field])
            expect(name, path, "word", [w.decode() for w in records["word"]])
            expect(name, path, "in.a", records["in"]["a"])
            expect(name, path, "in.b", records["in"]["b"])
        named = np.dtype([("name", h5py.string_dtype()), ("x", "f8")])
        people = np.array([("ann", 1.5), ("bob ü", 2.5)], named)
        f.create_dataset("/people", data=people)
        expect(name, "/people", "name", people["name"])
        expect(name, "/people", "x", people["x"])

with h5py.File("userblock.h5", "w", userblock_size=1024) as f:
    f["x"] = np.arange(5)
    f.create_dataset("y", data=np.arange(50), chunks=(7,), compression="gzip")
    f["t"] = ["a", "bc"]
expect("userblock.h5", "/x", "value", np.arange(5))
expect("userblock.h5", "/y", "value", np.arange(50))
expect("userblock.h5", "/t", "value", ["a", "bc"])

# What is refused, and links.
with h5py.File("other.h5", "w") as f:
    f["secret"] = np.arange(3)
for libver in ["earliest", "v114"]:
    with h5py.File(f"refused-{libver}.h5", "w", libver=(libver, "v114")) as f:
        f["real"] = np.arange(3)
        f["soft"] = h5py.SoftLink("/real")
        f["dangling"] = h5py.SoftLink("/nothing")
        f["outside"] = h5py.ExternalLink("other.h5", "/secret")
        f["hard"] = f["real"]
        f.create_group("loop")
        f["loop/self"] = f["loop"]
        f["loop/up"] = f["/"]
        f.create_group("deep/er")["x"] = np.arange(2)
        f.create_dataset("external", (3,), "i8", external=[("other.h5", 0, 24)])
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "secret", (3,))
        f.create_virtual_dataset("virtual", layout)
        f.create_dataset("reference", data=[f["real"].ref], dtype=h5py.ref_dtype)
        f.create_dataset("lists", (2,), dtype=h5py.vlen_dtype("f4"))
        f["empty"] = h5py.Empty("f4")
        f.create_dataset("both", (4, 4), "i4", maxshape=(None, None), chunks=(2, 2))[:] = 1

with h5py.File("newest.h5", "w", libver="latest") as f:
    f.create_dataset("x", data=np.arange(30), chunks=(4,), compression="gzip")
