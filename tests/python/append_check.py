"""The grown files of append_make.py: NumPy reads the old items and the new, and NpyAppendArray appends to them."""
import numpy as np
from npy_append_array import NpyAppendArray

for line in open("cases.txt").read().split("\n"):
    i, axis = map(int, line.split("\t"))
    was, more, grown = (np.load(f"{name}{i}.npy") for name in ["was", "more", "grow"])
    # Items lie along the first axis there.
    more = np.moveaxis(more, 0, axis)
    want = np.concatenate([was, more], axis=axis)
    assert grown.dtype == want.dtype and grown.shape == want.shape, (i, grown.shape, want.shape)
    assert np.ascontiguousarray(grown).tobytes() == np.ascontiguousarray(want).tobytes(), i
    if more.size == 0:
        continue
    with NpyAppendArray(f"grow{i}.npy") as file:
        file.append(np.asfortranarray(more) if axis > 0 else np.ascontiguousarray(more))
    twice = np.load(f"grow{i}.npy")
    want = np.concatenate([want, more], axis=axis)
    assert np.ascontiguousarray(twice).tobytes() == np.ascontiguousarray(want).tobytes(), i
