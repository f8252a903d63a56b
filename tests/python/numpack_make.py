"""Stores as NumPack writes them, and what they hold as .npy. cases.txt: store, array, .npy, one case a line. Argument:
seed. Where NumPack cannot be loaded (its library asks for a newer libc), only a line that says so is printed."""

import os
import shutil
import struct
import sys
import zlib

import numpy as np

try:
    from numpack import NumPack, pack
    from numpack.io import package_io
except ImportError as e:
    print("SKIPPED: NumPack cannot be loaded:", str(e).splitlines()[0])
    sys.exit(0)

rng = np.random.default_rng(int(sys.argv[1]))
cases = open("cases.txt", "w")
count = 0


def expect(store, name, array):
    global count
    array = np.asarray(array)
    np.save(f"want{count}.npy", np.ascontiguousarray(array).reshape(array.shape or (1,)))
    print(store, name, f"want{count}.npy", sep="\t", file=cases)
    count += 1


def values(dtype, shape):
    dtype = np.dtype(dtype)
    if dtype.kind in "fc":
        return rng.normal(size=shape).astype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    bits = rng.integers(0, 2 if dtype.kind == "b" else 256, size=size, dtype="u1")
    return np.frombuffer(bits.tobytes(), dtype).reshape(shape).copy()


def packages(store):
    """The store as a package: as it is, with zlib, with zstd, in version 1."""
    stem = store.removesuffix(".npk")
    wanted = [line.rstrip("\n").split("\t") for line in open("cases.txt") if line.startswith(store + "\t")]
    has = package_io._HAS_ZSTD
    assert has
    made = []
    for kind, compression, zstd in [("plain", False, True), ("zlib", True, False), ("zstd", True, True)]:
        package_io._HAS_ZSTD = zstd
        pack(store, f"{stem}-{kind}.npkg", compression=compression)
        made.append(f"{stem}-{kind}.npkg")
    package_io._HAS_ZSTD = has
    write_package(f"{stem}-v1.npkg", [(f, open(f"{store}/{f}", "rb").read()) for f in sorted(os.listdir(store))], version=1)
    for name in made + [f"{stem}-v1.npkg"]:
        for _, array, want in wanted:
            print(name, array, want, sep="\t", file=cases)


def write_package(path, files, version=2, claimed={}):
    """A package, by hand; every second file is compressed."""
    crc = 0
    with open(path, "wb") as f:
        f.write(b"NPKG" + struct.pack("<IBI", version, 1, len(files)))
        for i, (name, content) in enumerate(files):
            packed = zlib.compress(content) if i % 2 else b""
            name = name.encode() if isinstance(name, str) else name
            size = claimed.get(name.decode(), len(content))
            f.write(struct.pack("<I", len(name)) + name + struct.pack("<QQ", size, len(packed)))
            f.write(packed or content)
            crc = zlib.crc32(content, crc) if version == 1 else zlib.crc32(zlib.crc32(content).to_bytes(4, "little"), crc)
        f.write(struct.pack("<I", crc))


dtypes = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"]
shapes = [(37,), (1,), (9, 4), (5, 2, 3), (2, 1, 2, 2), (0, 3), (4, 0), ()]
with NumPack("types.npk", drop_if_exists=True) as store:
    for dtype in dtypes:
        for shape in shapes:
            array = values(dtype, shape)
            name = f"{np.dtype(dtype).name} {'x'.join(map(str, shape)) or 'one'}"
            if 0 in shape and len(shape) > 1 and shape[0] == 0:
                # NumPack itself refuses no rows; the file is made below.
                continue
            store.save({name: array})
            expect("types.npk", name, array)
cases.flush()
packages("types.npk")

with NumPack("rows.npk", drop_if_exists=True) as store:
    for name, rows, dropped in [
        ("one", 100, [3]), ("ends", 100, [0, 99]), ("words", 200, [63, 64, 127, 128]), ("even", 5000, list(range(0, 5000, 2))),
        ("half", 20000, list(range(3000, 13000))), ("random", 9000, sorted(rng.choice(9000, 700, replace=False).tolist())),
        ("but-last", 130, list(range(129))),
    ]:
        array = values("i4", (rows, 3))
        store.save({name: array})
        store.drop(name, dropped)
        left = np.delete(array, dropped, axis=0)
        assert (store.load(name) == left).all()
        expect("rows.npk", name, left)
with NumPack("rows.npk") as store:
    array = values("f8", (50, 2))
    store.save({"replaced": array})
    array[10:13] = values("f8", (3, 2))
    store.replace({"replaced": array[10:13]}, [10, 11, 12])
    array = np.delete(array, [11, 20], axis=0)
    store.drop("replaced", [11, 20])
    assert (store.load("replaced") == array).all()
    expect("rows.npk", "replaced", array)
with NumPack("rows.npk") as store:
    # An append brings dropped rows back, in NumPack too.
    store.save({"appended": np.arange(5, dtype="i8")})
    store.drop("appended", [1])
    store.append({"appended": np.array([7, 8])})
    expect("rows.npk", "appended", store.load("appended"))
    store.save({"longer": np.arange(6, dtype="i8"), "older": np.arange(130, dtype="i2"), "beyond": np.arange(100, dtype="i2")})
    expect("rows.npk", "longer", np.arange(6))
with open("rows.npk/data_longer.npkd", "ab") as f:
    f.write(b"orphans")
# A bitmap without counters, and one of fewer rows than there are.
bits = rng.integers(0, 2, 130, dtype="u1")
words = np.packbits(np.concatenate([bits, np.ones(62, "u1")]), bitorder="little").tobytes()
open("rows.npk/deleted_older.npkb", "wb").write(words)
expect("rows.npk", "older", np.arange(130, dtype="i2")[bits == 1])
open("rows.npk/deleted_beyond.npkb", "wb").write(struct.pack("<QQQ", 64, 9, 5))
expect("rows.npk", "beyond", np.r_[0, 2, 64:100].astype("i2"))
cases.flush()
packages("rows.npk")


def metadata(arrays):
    """Metadata by hand: name, shape, file, dtype's code."""
    text = lambda t: struct.pack("<I", len(t.encode())) + t.encode()
    out = b"NPKB" + struct.pack("<IQI", 1, 0, len(arrays))
    for name, shape, file, code in arrays:
        out += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + text(file)
        out += struct.pack("<QQB", 0, 0, code) + bytes(22)
    return out


def folder(name, described, files):
    shutil.rmtree(name, ignore_errors=True)
    os.mkdir(name)
    open(f"{name}/metadata.npkm", "wb").write(metadata(described))
    for path, content in files.items():
        os.makedirs(os.path.dirname(f"{name}/{path}"), exist_ok=True)
        open(f"{name}/{path}", "wb").write(content)


# Segments, as NumPack 0.7 describes them, with rows deleted across them; no rows.
big = values("f4", (300, 5))
pieces = [big[:100], big[100:100], big[100:230], big[230:]]
listed = [f'{{"file":"data_big_segments/seg_{i:06}.npkd","rows":{len(p)},"bytes":{p.nbytes}}}' for i, p in enumerate(pieces)]
keep = np.ones(300, "u1")
keep[95:105] = keep[299] = 0
bitmap = struct.pack("<QQ", 300, 11) + np.packbits(np.concatenate([keep, np.zeros(20, "u1")]), bitorder="little").tobytes()
files = {f"data_big_segments/seg_{i:06}.npkd": p.tobytes() for i, p in enumerate(pieces)}
files |= {"data_big.npkseg": f'{{"version":1,"segments":[{",".join(listed)}]}}'.encode(), "deleted_big.npkb": bitmap}
described = [("big", (300, 5), "data_big.npkseg", 10), ("none", (0, 3), "data_none.npkd", 7), ("gone", (70,), "data_gone.npkd", 2)]
files |= {"data_none.npkd": b"", "data_gone.npkd": bytes(140), "deleted_gone.npkb": struct.pack("<4Q", 70, 70, 0, 0)}
folder("segments.npk", described, files)
expect("segments.npk", "gone", np.zeros(0, "u2"))
expect("segments.npk", "big", big[keep == 1])
expect("segments.npk", "none", np.zeros((0, 3), "i4"))
write_package("segments.npkg", [("metadata.npkm", metadata(described)), *files.items()])
expect("segments.npkg", "big", big[keep == 1])

# What is refused.
one = [("x", (4, 2), "data_x.npkd", 7)]
data = {"data_x.npkd": bytes(32)}
folder("short.npk", one, {"data_x.npkd": bytes(31)})
folder("missing.npk", one, {})
folder("bitmap.npk", one, data | {"deleted_x.npkb": bytes(20)})
folder("twice.npk", one + one, data)
folder("dtype.npk", [("x", (4, 2), "data_x.npkd", 14)], data)
folder("huge.npk", [("x", (1 << 62, 1 << 62), "data_x.npkd", 7)], data)
folder("outside.npk", [("x", (4, 2), "../secret", 7)], data)
folder("absolute.npk", [("x", (4, 2), os.path.abspath("secret"), 7)], data)
open("secret", "wb").write(bytes(32))
folder("link.npk", one, {})
os.symlink("../secret", "link.npk/data_x.npkd")
folder("rows-missing.npk", [("x", (9, 2), "data_x.npkseg", 7)], data | {"data_x.npkseg": b'{"version":1,"segments":[{"file":"data_x.npkd","rows":4}]}'})
folder("no-segments.npk", [("x", (9, 2), "data_x.npkseg", 7)], {"data_x.npkseg": b'{"version":1'})
blocks = metadata(one)[:-22] + b"\1" + bytes(21)
folder("blocks.npk", one, data)
open("blocks.npk/metadata.npkm", "wb").write(blocks)
folder("cut.npk", one, data)
open("cut.npk/metadata.npkm", "wb").write(metadata(one)[:-1])
folder("magic.npk", one, data)
open("magic.npk/metadata.npkm", "wb").write(b"NPKX" + metadata(one)[4:])
os.makedirs("nothing.npk", exist_ok=True)
whole = [("metadata.npkm", metadata(one)), ("deleted_x.npkb", b""), ("data_x.npkd", bytes(32))]
for name, path in [("parent", "../data_x"), ("root", "/etc/x"), ("inner", "a/../../x"), ("empty", ""), ("windows", "C:\\x")]:
    write_package(f"path-{name}.npkg", [*whole, (path, b"abc")])
write_package("path-twice.npkg", [*whole, whole[0]])
write_package("bomb.npkg", [whole[0], ("data_x.npkd", bytes(32))], claimed={"data_x.npkd": 1 << 40})
write_package("less.npkg", [whole[0], ("data_x.npkd", bytes(64))], claimed={"data_x.npkd": 40})
write_package("more.npkg", [whole[0], ("data_x.npkd", bytes(64))], claimed={"data_x.npkd": 80})
write_package("damaged.npkg", [whole[0], ("data_y.npkd", b"y"), ("data_x.npkd", bytes(32))])
content = bytearray(open("damaged.npkg", "rb").read())
content[-9] ^= 1
open("damaged.npkg", "wb").write(content)
open("tail.npkg", "wb").write(open("segments.npkg", "rb").read() + b"x")
open("newer.npkg", "wb").write(b"NPKG\3" + open("segments.npkg", "rb").read()[5:])
open("other.npkg", "wb").write(b"something else")
