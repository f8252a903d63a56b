"""Makes newest.h5, oldest.h5 and blocks.h5, as h5py 3.16 (HDF5 2.0) writes them: small files of every index of chunks, way to keep
links and layout, which tests cut and change. `python make_hdf5.py`, in this folder."""
import h5py
import numpy as np


def low_level(f, name, array, change):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    change(plist)
    d = h5py.h5d.create(f.id, name, h5py.h5t.py_create(array.dtype), h5py.h5s.create_simple(array.shape), plist)
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, array)


def early(plist):
    plist.set_chunk((3, 2))
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)


numbers = np.arange(40, dtype="<i4").reshape(10, 4)
for name, libver in {"newest.h5": "latest", "oldest.h5": "earliest"}.items():
    with h5py.File(name, "w", libver=libver) as f:
        f["plain"] = numbers
        f.create_dataset("unwritten", (6, 2), ">i2", fillvalue=7)
        low_level(f, b"compact", numbers, lambda plist: plist.set_layout(h5py.h5d.COMPACT))
        low_level(f, b"early", numbers, early)
        for filters, options in {"": {}, "_gzip": dict(compression="gzip"), "_scale": dict(scaleoffset=0)}.items():
            f.create_dataset(f"single{filters}", data=numbers, chunks=(10, 4), **options)
            f.create_dataset(f"fixed{filters}", data=numbers, chunks=(3, 2), **options)
            f.create_dataset(f"growing{filters}", data=numbers, chunks=(2, 3), maxshape=(10, None), **options)
            f.create_dataset(f"several{filters}", data=numbers, chunks=(3, 3), maxshape=(None, None), **options)
        f.create_dataset("levels", data=np.arange(100, dtype="u1").reshape(10, 10), chunks=(1, 1), maxshape=(None, None))
        f.create_dataset("texts", data=["", "a", "grüße"], dtype=h5py.string_dtype())
        for i in range(9):
            f[f"links/soft{i}"] = h5py.SoftLink("/plain" if i % 2 else f"soft{i + 1}")
        f["links/circle"] = h5py.SoftLink("circle")
        f["links/other"] = h5py.ExternalLink("other.h5", "/x")
        f["links/up"] = f["/"]
        f["soft"] = h5py.SoftLink("links/soft0")
# Indexes of so many chunks that they have pages.
with h5py.File("blocks.h5", "w", libver="latest") as f:
    d = f.create_dataset("blocks", (140000,), "u1", chunks=(1,), maxshape=(None,))
    d[200] = d[133000] = 1
    d = f.create_dataset("pages", (1100,), "u1", chunks=(1,), fillvalue=3)
    d[5:8] = d[1090:] = 1
