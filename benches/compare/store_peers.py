"""The peers' columns of the storage table of docs/benchmarks.md: one JSON object, milliseconds by system and operation.

usage: store_peers.py ROWS COLS
"""

import gc
import json
import os
import sys
import tempfile
import timeit

import numpy as np

ROWS, COLS = int(sys.argv[1]), int(sys.argv[2])
folder = tempfile.mkdtemp(dir=os.environ.get("BENCH_DIR"))
rng = np.random.default_rng(1)
values = rng.random((ROWS, COLS), dtype=np.float32)
new = rng.random((100, COLS), dtype=np.float32)
picks = {n: rng.integers(0, ROWS, n) for n in (100, 1000, 10000)}
scattered = rng.integers(0, ROWS, 100)
out = {}


def put(system, operation, call, number=1, repeat=3):
    gc.collect()
    try:
        ms = min(timeit.repeat(call, number=number, repeat=repeat)) / number * 1e3
    except Exception as error:  # an empty cell, explained
        print(f"{system}, {operation}: {type(error).__name__}: {error}", file=sys.stderr)
        return
    out.setdefault(system, {})[operation] = ms


def numpack():
    from numpack import NumPack

    pack = NumPack(folder + "/a.npk", drop_if_exists=True)
    pack.open()
    put("numpack", "save", lambda: pack.save({"a": values}))
    put("numpack", "full load", lambda: pack.load("a"), 5)
    put("numpack", "lazy open", lambda: pack.load("a", lazy=True), 10)
    for n, rows in picks.items():
        rows = rows.tolist()
        put("numpack", f"random {n}", lambda rows=rows: pack.getitem("a", rows), 20)
    first = list(range(100))
    put("numpack", "replace 100", lambda: pack.replace({"a": new}, first), 5)
    put("numpack", "append 100", lambda: pack.append({"a": new}), 5)

    def edits():
        with pack.writable_batch_mode() as batch:
            for _ in range(100):
                batch.load("a")[:10] *= -1

    put("numpack", "100 edits of 10 rows", edits, repeat=10)
    pack.close()


def npy():
    path = folder + "/a.npy"
    put("npy", "save", lambda: np.save(path, values))
    put("npy", "full load", lambda: np.load(path), 5)
    put("npy", "view, summed", lambda: np.load(path, mmap_mode="r").sum(), 5)
    put("npy", "lazy open", lambda: np.load(path, mmap_mode="r"), 10)
    mapped = np.load(path, mmap_mode="r")
    for n, rows in picks.items():
        put("npy", f"random {n}", lambda rows=rows: mapped[rows], 20)
    writable = np.load(path, mmap_mode="r+")

    def replace():
        writable[:100] = new

    def replace_scattered():
        writable[scattered] = new

    def edits():
        for _ in range(100):
            writable[:10] *= -1

    put("npy", "replace 100", replace, 20)
    put("npy", "replace 100 scattered", replace_scattered, 20)
    put("npy", "100 edits of 10 rows", edits, repeat=10)


def npy_append_array():
    from npy_append_array import NpyAppendArray

    path = folder + "/b.npy"
    np.save(path, values)
    with NpyAppendArray(path) as file:
        put("npy-append-array", "append 100", lambda: file.append(new), 20)


def zarr():
    import zarr

    path, array = folder + "/a.zarr", None

    def save():
        nonlocal array
        array = zarr.create_array(path, data=values, chunks=(max(1, ROWS // 10), COLS), overwrite=True)

    def replace():
        array[:100] = new

    put("zarr", "save", save)
    put("zarr", "full load", lambda: zarr.open(path)[:])
    put("zarr", "lazy open", lambda: zarr.open(path), 5)
    for n, rows in picks.items():
        put("zarr", f"random {n}", lambda rows=rows: array.oindex[rows, :])
    put("zarr", "replace 100", replace)
    put("zarr", "append 100", lambda: array.append(new))


def hdf5():
    import h5py

    path = folder + "/a.h5"

    def save():
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=values, maxshape=(None, COLS), chunks=(10000, COLS))

    put("h5py", "save", save)
    with h5py.File(path, "r+") as file:

        def replace():
            file["a"][:100] = new

        def append():
            data = file["a"]
            data.resize(data.shape[0] + 100, 0)
            data[-100:] = new

        put("h5py", "full load", lambda: file["a"][:])
        unique = np.unique(picks[100])
        put("h5py", "random 100", lambda: file["a"][unique])
        put("h5py", "replace 100", replace, 5)
        put("h5py", "append 100", append, 5)


def arrow():
    import pyarrow as pa
    import pyarrow.feather as feather

    path = folder + "/a.feather"
    table = pa.table({f"c{i}": values[:, i] for i in range(COLS)})
    put("arrow", "save", lambda: feather.write_feather(table, path, compression="uncompressed"))
    put("arrow", "full load", lambda: feather.read_table(path, memory_map=False), 5)


for system in (numpack, npy, npy_append_array, zarr, hdf5, arrow):
    try:
        system()
    except ImportError as error:
        print(f"{system.__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
json.dump(out, sys.stdout)
os.system(f"rm -rf '{folder}'")
