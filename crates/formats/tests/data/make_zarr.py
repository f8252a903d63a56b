"""Writes python.zarr.zip, an archive as zarr-python's ZipStore makes it. Needs zarr."""
import numpy as np
import zarr
from zarr.storage import ZipStore

store = ZipStore("python.zarr.zip", mode="w")
root = zarr.create_group(store=store, attributes={"unit": "m"})
root.create_array("plain", shape=(6, 2), chunks=(4, 2), dtype="f4", compressors=None)[...] = np.arange(12).reshape(6, 2) / 2
records = np.array([(1.5, (7, "a")), (-2.5, (8, "ü"))], [("x", "f8"), ("in", [("n", "i2"), ("t", "U3")])])
root.create_array("group/records", shape=(2,), chunks=(2,), dtype=records.dtype)[...] = records
root.create_array("group/words", shape=(3,), chunks=(2,), dtype=str)[...] = np.array(["one", "", "three"], dtype=object)
store.close()
