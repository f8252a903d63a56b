"""Every dtype, byte order, axis order, header version and number of cell axes: in<i>.npy. Argument: seed."""
import sys
import numpy as np
from numpy.lib import format as npy

rng = np.random.default_rng(int(sys.argv[1]))
units = ["s", "ms", "us", "ns"]
dtypes = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
dtypes += [f"M8[{u}]" for u in units] + [f"m8[{u}]" for u in units]
assert len(dtypes) == 22
i = 0
for dtype in dtypes:
    for cell in [(), (3,), (2, 3), (2, 1, 4)]:
        for order, fortran in [("<", False), (">", False), ("<", True), (">", True)]:
            shape = (5,) + cell
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            # Any bits: NaNs with payloads, signed zeros, subnormals, NaT. A bool is 0 or 1.
            bits = rng.integers(0, 2 if dtype == "?" else 256, size=size, dtype="u1")
            array = np.frombuffer(bits.tobytes(), np.dtype(dtype).newbyteorder(order)).reshape(shape)
            if np.dtype(dtype).kind in "mM":
                array = array.copy()
                array.reshape(-1)[0] = np.array("NaT", dtype)
            array = np.asfortranarray(array) if fortran else array
            with open(f"in{i}.npy", "wb") as file:
                npy.write_array(file, array, version=[(1, 0), (2, 0), (3, 0)][i % 3])
            i += 1
