"""Rows and queries of every real dtype, awkward ones among them: x<i>.npy, q<i>.npy, cases.json. Argument: seed."""
import json, sys
import numpy as np

rng = np.random.default_rng(int(sys.argv[1]))
cases = []
for i, dtype in enumerate(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]):
    n, d = 700, int(rng.choice([1, 3, 16, 37]))
    kind = np.dtype(dtype).kind
    if kind == "f":
        x, q = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(4, d)).astype(dtype)
        for value in (np.nan, np.inf, -np.inf):
            x[rng.integers(n), rng.integers(d)] = value
        x[rng.integers(n)] = -0.0
    else:
        low, high = (-9 if kind == "i" else 0), 10
        x, q = rng.integers(low, high, (n, d)).astype(dtype), rng.integers(low, high, (4, d)).astype(dtype)
        x[rng.integers(n)] = np.iinfo(dtype).max
    # Ties, zero vectors, and the queries themselves.
    x[100:160] = x[20]
    x[5] = x[640] = 0
    x[300], x[301] = q[0], q[1]
    q[3] = 0
    np.save(f"x{i}.npy", x)
    np.save(f"q{i}.npy", q)
    cases.append({"k": int(rng.choice([1, 10, 100, n, n + 50])), "dtype": dtype})
json.dump(cases, open("cases.json", "w"))
