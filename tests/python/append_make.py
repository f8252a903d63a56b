"""Files to append to, as NumPy and NpyAppendArray write them: grow<i>.npy, and more<i>.npy, the items to append, along the
first axis. cases.txt has a line for each: number, order. Argument: seed."""
import sys
import numpy as np
from numpy.lib import format as npy
from npy_append_array import NpyAppendArray

rng = np.random.default_rng(int(sys.argv[1]))
dtypes = ["?", "i1", "<i2", "<u4", "<i8", "<f2", "<f4", "<f8", "<c8", "<c16", "<M8[us]", "<m8[ns]"]


def random(dtype, shape):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    bits = rng.integers(0, 2 if dtype == "?" else 256, size=size, dtype="u1")
    return np.frombuffer(bits.tobytes(), dtype).reshape(shape)


lines = []
for dtype in dtypes:
    for cell in [(), (3,), (2, 3)]:
        for fortran in [False, True]:
            for writer in ["save", "v2", "v3", "append"]:
                i = len(lines)
                count, more = int(rng.integers(0, 5)), int(rng.integers(1, 6))
                shape = cell + (count,) if fortran else (count,) + cell
                array = random(dtype, shape)
                if fortran:
                    array = np.asfortranarray(array)
                if writer == "append" and array.size > 0:
                    with NpyAppendArray(f"grow{i}.npy") as file:
                        file.append(array)
                else:
                    version = {"v2": (2, 0), "v3": (3, 0)}.get(writer, (1, 0))
                    with open(f"grow{i}.npy", "wb") as file:
                        npy.write_array(file, array, version=version)
                np.save(f"was{i}.npy", array)
                with open(f"grow{i}.npy", "rb") as file:
                    # An array of one axis, or empty, is in both orders, and NumPy writes C.
                    npy.read_magic(file)
                    stored = b"'fortran_order': True" in file.read(200)
                axis = len(cell) if stored else 0
                items = random(dtype, (more,) + (cell if stored == fortran else shape[1:]))
                np.save(f"more{i}.npy", items)
                lines.append(f"{i}\t{axis}")
with open("cases.txt", "w") as file:
    file.write("\n".join(lines))
