"""HDF5 files of every way in which h5py stores a dataset: versions of the library by layouts, filters, axes that grow and
shapes, so that every index of chunks is there; and what they hold (`hdf5_cases.py`)."""
import h5py
import numpy as np
from hdf5_cases import expect, rng, values

VERSIONS = {"earliest": "earliest", "latest": "latest"} | {v: (v, v) for v in ["v108", "v110", "v112", "v114"]}
SHAPES = {(23,): [(5,), (23,), (40,)], (13, 9): [(4, 4), (3, 9), (13, 9)], (7, 5, 6): [(2, 3, 4), (7, 1, 6), (8, 8, 8)]}
FILTERS = {
    "plain": {}, "gzip": dict(compression="gzip"), "both": dict(compression="gzip", shuffle=True),
    "sum": dict(fletcher32=True), "lzf": dict(compression="lzf"), "scale": dict(scaleoffset=0),
    "all": dict(compression="gzip", shuffle=True, fletcher32=True), "packed": dict(scaleoffset=0, compression="lzf", shuffle=True),
}
# Small numbers, which scale-offset and compression make smaller, and any numbers, which they do not.
DTYPES = ["<i4", ">i2", "u1", "<u8", ">f8", "<f4"]


def growing(shape):
    """The maxshapes of a shape: of no axis that grows, of one (each of them), of several, and of some that grow so far."""
    yield None
    for axis in range(len(shape)):
        yield tuple(None if i == axis else n for i, n in enumerate(shape))
    if len(shape) > 1:
        yield (None,) * len(shape)
        yield (None,) + shape[1:-1] + (None,)
    yield tuple(2 * n + 1 for n in shape)
    yield (None,) + tuple(2 * n + 1 for n in shape[1:])


def text(maxshape):
    return "fixed" if maxshape is None else "x".join("n" if n is None else str(n) for n in maxshape)


def low_level(f, name, array, chunks=None, maxshape=None, change=lambda plist: None):
    """A dataset as only the library's own functions make it."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunks:
        plist.set_chunk(chunks)
    change(plist)
    unlimited = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple(array.shape, maxshape and tuple(unlimited if n is None else n for n in maxshape))
    d = h5py.h5d.create(f.id, name.encode(), h5py.h5t.py_create(array.dtype), space, plist)
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array))


def many_chunks(f, name):
    """So many chunks that the indexes have pages, blocks of blocks, and levels. Returns what is to be read later."""
    later = []
    for filters in ["plain", "gzip"]:
        for shape, chunks in {(7000, 2): (3, 2), (90, 91): (1, 2)}.items():
            array = values("<i2", shape)
            for maxshape in [None, (None, shape[1]), (shape[0], None), (None, None)]:
                path = f"many/{filters}/{shape[0]}/{text(maxshape)}"
                f.create_dataset(path, data=array, chunks=chunks, maxshape=maxshape, **FILTERS[filters])
                expect(name, path, "value", array)
                path += "-part"
                d = f.create_dataset(path, shape, "<i2", chunks=chunks, maxshape=maxshape, fillvalue=5, **FILTERS[filters])
                d[shape[0] // 2:shape[0] // 2 + 5] = 1
                d[-1] = 2
                later.append(path)
        path = f"pages/{filters}"
        d = f.create_dataset(path, (150000,), "u1", chunks=(1,), maxshape=(None,), fillvalue=9, **FILTERS[filters])
        for start in [0, 17, 1000, 70000, 131071, 133000, 149990]:
            d[start:start + 10] = np.arange(10)
        later.append(path)
    array = values("<f4", (160, 160))
    f.create_dataset("deep", data=array, chunks=(2, 1), maxshape=(None, None))
    expect(name, "deep", "value", array)
    return later


for version, libver in VERSIONS.items():
    name = f"layouts-{version}.h5"
    number, later = 0, []
    with h5py.File(name, "w", libver=libver) as f:
        for shape, all_chunks in SHAPES.items():
            for dtype in DTYPES:
                array = values(dtype, shape)
                path = f"whole/{dtype[-2:]}/{len(shape)}"
                f[path] = array
                expect(name, path, "value", array)
                path = f"compact{dtype[-2:]}{len(shape)}"
                low_level(f, path, array, change=lambda plist: plist.set_layout(h5py.h5d.COMPACT))
                expect(name, path, "value", array)
            for filters, options in FILTERS.items():
                for maxshape in dict.fromkeys(growing(shape)):
                    number += 1
                    chunks = all_chunks[number % len(all_chunks)]
                    if maxshape is None or any(n and c > n for c, n in zip(chunks, maxshape)):
                        chunks = tuple(min(c, n) for c, n in zip(chunks, shape))
                    dtype = np.dtype(DTYPES[number % len(DTYPES)])
                    array = values(dtype, shape)
                    if number % 3 and dtype.kind != "f":
                        array = rng.integers(0, 50, size=shape).astype(dtype)
                    options = dict(options)
                    if "scaleoffset" in options:
                        options["scaleoffset"] = 2 if dtype.kind == "f" else 0
                    path = f"{filters}/{len(shape)}/{text(maxshape)}"
                    d = f.create_dataset(path, data=array, chunks=chunks, maxshape=maxshape, **options)
                    if "scaleoffset" in options and dtype.kind == "f":
                        later.append(path)
                    else:
                        expect(name, path, "value", array)
                    # Parts that nobody wrote, of chunks that are there and of those that are not.
                    path = f"{filters}/{len(shape)}/{text(maxshape)}-part"
                    fill = None if number % 2 else 7
                    d = f.create_dataset(path, shape, dtype, chunks=chunks, maxshape=maxshape, fillvalue=fill, **options)
                    d[tuple(slice(n // 2, n // 2 + 1) for n in shape)] = 3
                    later.append(path)
                    if maxshape and None in maxshape:
                        path = f"{filters}/{len(shape)}/{text(maxshape)}-resized"
                        d = f.create_dataset(path, data=array, chunks=chunks, maxshape=maxshape, fillvalue=fill, **options)
                        for factor in [0.4, 2.3]:
                            d.resize(tuple(max(1, int(n * factor)) if m is None else n for n, m in zip(shape, maxshape)))
                        later.append(path)
                # A chunk whose filters were left out.
                if options and filters not in ["scale", "packed"]:
                    for several in [False, True]:
                        path = f"{filters}/left out/{len(shape)}{several}"
                        array = values("<i4", shape).copy()
                        chunks = tuple(min(c, n) for c, n in zip(all_chunks[0], shape))
                        maxshape = (None,) * len(shape) if several else None
                        d = f.create_dataset(path, data=array, chunks=chunks, maxshape=maxshape, **options)
                        chunk = values("<i4", chunks)
                        d.id.write_direct_chunk((0,) * len(shape), chunk.tobytes(), (1 << len(d._filters)) - 1)
                        array[tuple(slice(0, n) for n in chunks)] = chunk
                        expect(name, path, "value", array)
            # All chunks, one after another, from the start on.
            for maxshape in [None, tuple(2 * n + 1 for n in shape), (None,) + shape[1:]]:
                for dtype in ["<i4", ">f8"]:
                    array = values(dtype, shape)
                    path = f"early{len(shape)}{text(maxshape)}{dtype[1:]}"
                    chunks = tuple(min(c, n) for c, n in zip(all_chunks[0], shape))
                    low_level(f, path, array, chunks, maxshape, lambda plist: plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY))
                    expect(name, path, "value", array)
        # Each index is in one of these files.
        if version in ["earliest", "v110", "latest"]:
            later += many_chunks(f, name)
    # What is in the cache while a file is written is not as it will be read: floats are not rounded yet.
    with h5py.File(name) as f:
        for path in later:
            expect(name, path, "value", f[path][:])

# Addresses and lengths of 4 bytes, and a block before the file.
for version in ["earliest", "latest"]:
    name = f"narrow-{version}.h5"
    create, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    create.set_sizes(4, 4)
    create.set_userblock(512)
    if version == "latest":
        access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    with h5py.File(h5py.h5f.create(name.encode(), h5py.h5f.ACC_TRUNC, create, access)) as f:
        for filters, options in FILTERS.items():
            for maxshape in dict.fromkeys(growing((13, 9))):
                if version == "latest" and maxshape and None in maxshape:
                    # HDF5 2.0 does not read them itself: with lengths of 4 bytes it takes "unlimited" for a number.
                    continue
                array = rng.integers(0, 50, size=(13, 9)).astype("<i4")
                path = f"{filters}/{text(maxshape)}"
                f.create_dataset(path, data=array, chunks=(4, 4), maxshape=maxshape, **options)
                f[f"soft/{filters}{text(maxshape)}"] = h5py.SoftLink(f"/{path}")
                expect(name, path, "value", array)
                expect(name, f"soft/{filters}{text(maxshape)}", "value", array)
        words = ["", "a", "grüße", "x" * 3000] + [f"word {i}" for i in range(2000)]
        f.create_dataset("words", data=words, dtype=h5py.string_dtype())
        expect(name, "words", "value", words)
        people = np.array([("ann", 1.5), ("bob ü", 2.5)], np.dtype([("name", h5py.string_dtype()), ("x", "f8")]))
        f.create_dataset("people", data=people)
        expect(name, "people", "name", people["name"])
        expect(name, "people", "x", people["x"])
