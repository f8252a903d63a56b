"""HDF5 files of every dtype, layout, filter and library version that h5py writes, and what they hold (`hdf5_cases.py`)."""
import h5py
import numpy as np
from hdf5_cases import expect, rng, values

dtypes = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
for libver in ["earliest", ("v114", "v114"), ("earliest", "v108"), ("v110", "v110"), "latest"]:
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
        rounded = []
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
                if layout == "scale" and np.dtype(dtype).kind == "c":
                    continue
                for maxshape in [None, (None, 10)]:
                    array = values(dtype, (50, 10)) if layout != "lzf" else np.arange(500).reshape(50, 10).astype(dtype)
                    path = f"/{layout}/{np.dtype(dtype).str[1:]}{'' if maxshape is None else '+'}"
                    if layout == "scale":
                        options["scaleoffset"] = 3 if np.dtype(dtype).kind == "f" else 0
                    f.create_dataset(path, data=array, maxshape=maxshape, **options)
                    if layout == "scale" and np.dtype(dtype).kind == "f":
                        rounded.append(path)
                    else:
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
    # What is in the cache while a file is written is not rounded yet.
    with h5py.File(name) as f:
        for path in rounded:
            expect(name, path, "value", f[path][:])
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

def is_dataset(f, path):
    try:
        return isinstance(f[path], h5py.Dataset)
    except (KeyError, OSError, RuntimeError):
        return False


# Links, and what is refused.
with h5py.File("other.h5", "w") as f:
    f["secret"] = np.arange(3)
for version, libver in {"earliest": ("earliest", "v114"), "v114": ("v114", "v114"), "latest": "latest"}.items():
    name = f"links-{version}.h5"
    with h5py.File(name, "w", libver=libver) as f:
        f["real"] = np.arange(3)
        f["hard"] = f["real"]
        f.create_group("loop")
        f["loop/self"] = f["loop"]
        f["loop/up"] = f["/"]
        f.create_group("deep/er")["x"] = np.arange(2)
        f["again"] = f["deep"]
        # Groups of few links and of many, which are stored otherwise.
        for group, count in {"few": 3, "many": 500, "ordered": 3, "ordered many": 30}.items():
            f.create_group(group, track_order="ordered" in group)
            for i in range(count):
                f[f"{group}/data{i:03}"] = np.arange(i % 7)
                f[f"{group}/soft{i:03}"] = h5py.SoftLink(f"data{(i + 1) % count:03}")
                f[f"{group}/gone{i:03}"] = h5py.SoftLink(f"/nothing{i}")
        # Links that are larger than what a heap's blocks take.
        for i in range(12):
            f[f"long/{'name' * 1500}{i}"] = np.arange(i)
        f["soft"] = h5py.SoftLink("/real")
        f["group"] = h5py.SoftLink("deep")
        f["deep/up"] = h5py.SoftLink("/soft")
        f["through"] = h5py.SoftLink("group/./er/x")
        f["aliased"] = h5py.SoftLink("/again/er/x")
        f["name ü"] = h5py.SoftLink("loop/up/loop/self/self/up/deep/er/x")
        for i in range(16):
            f[f"chain{i}"] = h5py.SoftLink(f"chain{i + 1}" if i < 15 else "real")
        f["toolong"] = h5py.SoftLink("chain0")
        f["circle"] = h5py.SoftLink("/circle")
        f["ring1"] = h5py.SoftLink("ring2")
        f["ring2"] = h5py.SoftLink("ring1")
        f["dangling"] = h5py.SoftLink("/nothing")
        f["outside"] = h5py.ExternalLink("other.h5", "/secret")
        f["indirect"] = h5py.SoftLink("outside")
        f.create_dataset("external", (3,), "i8", external=[("other.h5", 0, 24)])
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "secret", (3,))
        f.create_virtual_dataset("virtual", layout)
        f.create_dataset("reference", data=[f["real"].ref], dtype=h5py.ref_dtype)
        f.create_dataset("lists", (2,), dtype=h5py.vlen_dtype("f4"))
        f["empty"] = h5py.Empty("f4")
        readable = ["real", "hard", "soft", "deep/up", "through", "aliased", "name ü", "group/er/x", "chain0", "few/soft002",
                    "many/soft000", "many/soft499", "ordered/soft001", "ordered many/soft029", "loop/up/loop/up/soft", "again/up",
                    f"long/{'name' * 1500}7"]
        for path in readable:
            expect(name, path, "value", f[path][:])
    with h5py.File(name) as f:
        # Those that are listed: all names of datasets but those of links to groups, and one name of a group of several.
        listed = []
        f.visit(lambda path: listed.append(path) if isinstance(f[path], h5py.Dataset) else None)
        f.visititems_links(lambda path, link: listed.append(path) if isinstance(link, h5py.SoftLink) and is_dataset(f, path) else None)
    open(f"listed-{version}.txt", "w").write("\n".join(sorted(set(listed), key=lambda path: path.encode())))

# So many links that the heap which holds them has blocks in blocks, and its index several levels.
for version in ["earliest", "latest"]:
    name = f"huge-{version}.h5"
    with h5py.File(name, "w", libver=version) as f:
        f["x"] = np.arange(5)
        group = f.create_group("links")
        for i in range(20000):
            group[f"a link of which the name is rather long, number {i}"] = h5py.SoftLink("/x")
        for i in [0, 1, 9999, 19999]:
            expect(name, f"links/a link of which the name is rather long, number {i}", "value", np.arange(5))
