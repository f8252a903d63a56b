"""zarr-python reads what cases.txt lists: folder, array ("" the folder itself), .npy or .json of texts, one case a line."""
import json
import warnings
import numpy as np
import zarr

warnings.simplefilter("ignore")
count = bad = 0
for line in open("cases.txt"):
    folder, name, want = line.rstrip("\n").split("\t")
    count += 1
    node = zarr.open(folder, mode="r")
    z = node[name] if name else node
    got = z[...]
    if want.endswith(".json"):
        same = list(got) == json.load(open(want))
    else:
        values = np.load(want)
        same = got.dtype == values.dtype and got.shape == values.shape and got.tobytes() == values.tobytes()
    if not same or z.metadata.zarr_format != (2 if "-v2" in folder else 3):
        print("differs:", line, z.dtype, z.shape, z.metadata)
        bad += 1
    if "shards" in folder and (z.shards is None or z.shards[0] != 20 or z.chunks[0] != 5):
        print("shards:", line, z.shards, z.chunks)
        bad += 1
    if "attributes" in folder and dict(z.attrs) != {"unit": "m/s ü", "scale": 2, "list": [1, 2]}:
        print("attributes:", line, dict(z.attrs))
        bad += 1
for version in [2, 3]:
    root = zarr.open_group(f"container{version}.zarr", mode="r")
    assert sorted(root) == ["deep", "table"] and root.attrs["title"] == "two arrays", sorted(root)
    assert list(root["table/words"][:]) == ["a", "", "ü"]
    assert list(root["table/a raw"][:]) == [b"\0\xff", b"", b"x"]
    z = zarr.open_array(f"fill{version}.zarr", mode="r+")
    z.resize((12,))
    assert list(z[8:]) == [1.5] * 4, z[8:]
print(count)
raise SystemExit(min(bad, 1) or (0 if count > 200 else 2))
