"""Checks with numpy and safetensors what crates/formats/tests/numpy_write.rs wrote into the current folder."""

import numpy as np
from safetensors import safe_open

FIELDS = ["flag", "small", "half", "real", "z", "day", "cells", "word"]


def expected(name, rows):
    i = np.arange(rows)
    return {
        "flag": i % 3 == 1,
        "small": (i % 100).astype("i1"),
        "half": i.astype("f2"),
        "real": i.astype("f8") / 4,
        "z": (i + 1j * (i + 1)).astype("c8"),
        "day": i.astype("M8[s]"),
        "cells": np.arange(rows * 6, dtype="u2").reshape(rows, 2, 3),
        "word": np.array(["aß😀x" * (k % 3) for k in i] or np.zeros(0, "U1")),
    }[name]


def check(found, name, rows):
    want = expected(name, rows)
    assert found.dtype == want.dtype and found.shape == want.shape, (name, found.dtype, found.shape)
    assert (found == want).all(), name


for file in ["stored.npz", "deflate.npz"]:
    with np.load(file) as npz:
        assert npz.zip.testzip() is None
        for rows in [0, 1, 1000]:
            for name in FIELDS:
                check(npz[f"{name}/{rows}"], name, rows)
            records = npz[f"grüße/{rows}"]
            assert records.dtype.names == tuple(FIELDS)
            for name in FIELDS:
                check(records[name], name, rows)
for file in ["records.npy", "grown.npy"]:
    records = np.load(file)
    for name in FIELDS:
        check(records[name], name, 1000)
with safe_open("tensors.safetensors", "np") as tensors:
    assert tensors.metadata() == {"note": "grüße"}
    for rows in [0, 1, 1000]:
        for name in FIELDS:
            if name not in ("day", "word"):
                check(tensors.get_tensor(f"{name}/{rows}"), name, rows)
