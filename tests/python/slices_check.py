"""Compares what the store and SQL gave with NumPy's: want<j>.npy, bin<j> (raw values), sql<j>.npy."""
import json
import os
import numpy as np

bad = 0
for j, case in enumerate(json.load(open("cases.json"))):
    if case["shape"] is None:
        continue
    want = np.load(f"want{j}.npy")
    if os.path.exists(f"bin{j}"):
        got = open(f"bin{j}", "rb").read()
        if got != want.tobytes():
            print("Field::slice differs:", case)
            bad += 1
    for name in (f"file{j}.npy", f"stored{j}.npy"):
        got = np.load(name)
        # A table has rows: what NumPy drops of axis 0 is one row here.
        if got.dtype != want.dtype or got.tobytes() != want.tobytes() or np.squeeze(got).shape != np.squeeze(want).shape:
            print("SQL differs:", name, case, got.dtype, got.shape, want.shape)
            bad += 1
raise SystemExit(min(bad, 1))
