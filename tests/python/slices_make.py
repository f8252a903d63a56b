"""Random arrays and slices of them, as NumPy indexes: a<i>.npy, want<j>.npy and cases.json. Arguments: seed, cases."""
import json, random, sys
import numpy as np

seed, count = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
values = np.random.default_rng(seed)
shapes = [(17,), (1,), (0,), (9, 5), (12, 1), (5, 0), (0, 4), (7, 3, 4), (4, 1, 6), (6, 2, 0, 3), (5, 3, 2, 4), (40, 8, 8)]
dtypes = ["int32", "float64", "uint8", "int64", "float32"]
arrays = []
for i, shape in enumerate(shapes):
    dtype = dtypes[i % len(dtypes)]
    array = values.integers(0, 200, size=shape).astype(dtype)
    if i % 3 == 2:
        array = np.asfortranarray(array)
    if i % 4 == 3:
        array = array.astype(array.dtype.newbyteorder(">"))
    np.save(f"a{i}.npy", array)
    arrays.append((array, dtype))


def number(length):
    edges = [0, 1, -1, length, -length, length - 1, length + 3, -length - 3, 10**12, -10**12]
    return rng.choice(edges) if rng.random() < 0.4 else rng.randint(-length - 2, length + 2)


def item(length):
    if rng.random() < 0.22 and length:
        return str(rng.randint(-length, length - 1))
    if rng.random() < 0.03:
        return str(rng.choice([length, -length - 1, 10**15]))
    part = lambda p, f: str(f()) if rng.random() < p else ""
    step = lambda: rng.choice([1, 2, 3, -1, -2, -5, 7, 10**12, -10**12])
    text = part(0.6, lambda: number(length)) + ":" + part(0.6, lambda: number(length))
    if rng.random() < 0.5:
        text += ":" + part(0.8, step)
    return text


cases = []
for j in range(count):
    i = rng.randrange(len(arrays))
    array, dtype = arrays[i]
    shape = array.shape
    items = [item(n) for n in shape[: rng.randint(1, len(shape))]]
    if rng.random() < 0.3:
        kept = rng.randint(0, len(items))
        tail = len(shape) - kept
        back = rng.randint(0, tail)
        items = items[:kept] + ["..."] + [item(n) for n in shape[len(shape) - back :]] if back else items[:kept] + ["..."]
    if rng.random() < 0.04:
        items += [":"] * (len(shape) + 1 - len([x for x in items if x != "..."]))
    text = rng.choice([", ", ",", " , "]).join(items)
    try:
        want = eval(f"array[{text}]", {"array": array})
    except IndexError:
        cases.append({"array": i, "dtype": dtype, "slice": text, "shape": None})
        continue
    want = np.ascontiguousarray(want).astype(dtype).reshape(np.shape(want))
    np.save(f"want{j}.npy", want)
    cases.append({"array": i, "dtype": dtype, "slice": text, "shape": list(want.shape)})
json.dump(cases, open("cases.json", "w"))
