"""out<i>.npy holds in<i>.npy twice, bit for bit, little-endian and in C order."""
import glob
import numpy as np

count = len(glob.glob("in*.npy"))
assert count == 22 * 16, count
bad = 0
for i in range(count):
    given, got = np.load(f"in{i}.npy"), np.load(f"out{i}.npy")
    want = given.astype(given.dtype.newbyteorder("<"), order="C")
    want = np.concatenate([want, want])
    # Conversions in NumPy may quieten NaNs, so bytes are moved, not values.
    raw = np.ascontiguousarray(given).view("u1").reshape(given.shape + (-1,))
    if given.dtype.byteorder == ">":
        width = given.dtype.itemsize // (2 if given.dtype.kind == "c" else 1)
        raw = raw.reshape(given.shape + (-1, width))[..., ::-1].reshape(given.shape + (-1,))
    bits = raw.tobytes() * 2
    if got.dtype != want.dtype or got.shape != want.shape or not got.flags.c_contiguous or got.tobytes() != bits:
        print("differs:", i, given.dtype, given.shape, got.dtype, got.shape)
        bad += 1
raise SystemExit(min(bad, 1))
