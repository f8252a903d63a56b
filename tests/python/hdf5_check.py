"""h5py reads what cases.txt lists: file, dataset, .npy or .json of texts, the layout that was asked for, one case a line."""
import json
import h5py
import numpy as np

count = bad = 0
for line in open("cases.txt"):
    file, name, want, layout = line.rstrip("\n").split("\t")
    count += 1
    with h5py.File(file) as f:
        d = f[name]
        if want.endswith(".json"):
            texts = json.load(open(want))
            got = [t.decode() if isinstance(t, bytes) else t for t in d[:]] if h5py.check_string_dtype(d.dtype) else [bytes(t).decode() for t in d[:]]
            same = got == texts
        else:
            values = np.load(want)
            got = d[()]
            same = got.dtype == values.dtype and got.shape == values.shape and got.tobytes() == values.tobytes()
        options = (d.chunks, d.compression, d.compression_opts, d.shuffle, d.fletcher32)
        if layout == "plain":
            same = same and d.chunks is None and (d.size == 0 or d.id.get_offset() % 64 == 0)
        elif layout == "gzip":
            same = same and d.compression == "gzip" and d.compression_opts == 6 and d.shuffle and not d.fletcher32
        elif layout == "small":
            same = same and d.chunks[0] == 3 and d.fletcher32 and d.compression == "gzip"
        elif layout == "chunks":
            same = same and d.chunks[0] == 5 and d.compression is None and d.maxshape[0] is None
        if not same:
            print("differs:", line, d.dtype, d.shape, options)
            bad += 1
        for attribute, value in [("unit", "m/s ü"), ("scale", 2), ("x", 0.5)] if file.startswith("attributes") else []:
            if d.attrs[attribute] != value:
                print("attribute:", file, attribute, d.attrs[attribute])
                bad += 1

# What is there can be changed by h5py.
with h5py.File("grow.h5", "r+") as f:
    d = f["x"]
    n = len(d)
    d.resize(n + 10, axis=0)
    d[n:] = d[:10]
    f.create_group("new/group")["y"] = d[:3]
    f["words"].resize(4, axis=0)
    f["words"][3] = "new"
assert list(h5py.File("grow.h5")["words"].asstr()[:]) == ["a", "", "ü", "new"]
assert h5py.File("container.h5").attrs["title"] == "two arrays"
assert sorted(h5py.File("container.h5")) == ["deep", "table"], sorted(h5py.File("container.h5"))
# As many datasets as make several levels of everything.
with h5py.File("many.h5") as f:
    assert len(f) == 700 and all(f[f"d{i}"][0] == i for i in range(700))
print(count)
raise SystemExit(min(bad, 1) or (0 if count > 200 else 2))
