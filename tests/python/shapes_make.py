"""An array of each dtype and shape of cell: in_<dtype>_<axes>.npy. Argument: seed."""
import sys
import numpy as np

rng = np.random.default_rng(int(sys.argv[1]))
dtypes = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
dtypes += [f"M8[{u}]" for u in ["s", "ms", "us", "ns"]] + [f"m8[{u}]" for u in ["s", "ms", "us", "ns"]]
for dtype in dtypes:
    for cell in [(), (3,), (2, 3)]:
        size = int(np.prod((7,) + cell)) * np.dtype(dtype).itemsize
        bits = rng.integers(0, 2 if dtype == "?" else 256, size=size, dtype="u1")
        name = dtype.replace("?", "bool").replace("M8", "time").replace("m8", "span").replace("[", "").replace("]", "")
        np.save(f"in_{name}_{len(cell)}.npy", np.frombuffer(bits.tobytes(), dtype).reshape((7,) + cell))
