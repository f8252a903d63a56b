"""What the scripts that write HDF5 files share: values, and what a dataset holds as .npy, in cases.txt: file, dataset,
field, .npy, one case a line. Argument: seed."""
import json
import sys
import numpy as np

rng = np.random.default_rng(int(sys.argv[1]))
cases = open("cases.txt", "w")
count = 0


def expect(file, dataset, field, values):
    global count
    values = np.asarray(values)
    if values.dtype.kind in "OUT":
        name = f"want{count}.json"
        json.dump([str(v) for v in values.reshape(-1)], open(name, "w"))
    else:
        name = f"want{count}.npy"
        order = "=" if values.dtype.kind == "V" else "<"
        np.save(name, np.ascontiguousarray(values.astype(values.dtype.newbyteorder(order))).reshape(values.shape or (1,)))
    count += 1
    print(file, dataset, field, name, sep="\t", file=cases)


def values(dtype, shape):
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    bits = rng.integers(0, 2 if dtype.kind == "b" else 256, size=size, dtype="u1")
    made = np.frombuffer(bits.tobytes(), dtype).reshape(shape)
    # Conversions quieten NaNs.
    if dtype.kind in "fc":
        made = rng.normal(size=shape).astype(dtype)
    return made
