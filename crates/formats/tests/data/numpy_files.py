"""Makes the small .safetensors, .npz and .npy files of this folder: pip install numpy safetensors ml_dtypes."""

import os
import zipfile

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

os.chdir(os.path.dirname(os.path.abspath(__file__)))

f8 = np.arange(4).astype(ml_dtypes.float8_e4m3fn)
tensors = {name: np.arange(6).astype(name).reshape(3, 2) for name in
           "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 complex64".split()}
tensors |= {"bf16": np.arange(6).reshape(3, 2).astype(ml_dtypes.bfloat16), "f8": f8,
            "scalar": np.array(7.5), "empty": np.zeros((0, 3), "i4"), "cells": np.zeros((2, 0), "i4"),
            "deep": np.arange(24, dtype="i2").reshape(2, 3, 4)}
save_file(tensors, "python.safetensors", {"format": "np", "note": "grüße"})

arrays = {"ints": np.arange(6, dtype="<i4").reshape(3, 2), "big": np.arange(6, dtype=">f8").reshape(2, 3),
          "fortran": np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)), "scalar": np.array(7.5),
          "folder/name": np.arange(3, dtype="u1"), "arr_0": np.zeros((0, 4), "i8"),
          "text": np.array(["a", "grüße", ""])}
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)
with zipfile.ZipFile("mixed.npz", "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("note.txt", "no array")
    with z.open("zip64.npy", "w", force_zip64=True) as f:
        np.lib.format.write_array(f, np.arange(5, dtype="i2"))

people = np.array([(1, "Ann", b"x", 1.5, (1 + 2j), "2020-02-29", [[1, 2], [3, 4]], (5, 6)),
                   (-2, "Zoë", b"yz", -0.5, 3j, "NaT", [[5, 6], [7, 8]], (7, 8))],
                  [("id", "<i4"), ("name", "<U4"), ("code", "S2"), ("half", "<f2"), ("z", ">c8"), ("day", "<M8[D]"),
                   ("m", "u1", (2, 2)), ("at", [("x", "i1"), ("y", ">i2")])])
np.save("records.npy", people)
np.save("aligned.npy", np.array([[(1, 2.5), (3, 4.5)], [(5, 6.5), (7, 8.5)]], np.dtype([("a", "i1"), ("b", "<f8")], align=True)))
np.save("fortran_records.npy", np.asfortranarray(np.array([[(1, 2.5), (3, 4.5)], [(5, 6.5), (7, 8.5)]], [("a", "i1"), ("b", "<f8")])))
np.save("unicode.npy", np.array(["a", "grüße", "日本", ""]))
np.save("bytes.npy", np.array([b"a", b"bc", b""]))
np.save("unicode_2d.npy", np.array([["a", "ü"], ["日", ""]]))
np.save("months.npy", np.array(["1969-12", "2000-03", "NaT"], "M8[M]"))
np.save("tens.npy", np.array([1, -2], ">m8[10ms]"))
