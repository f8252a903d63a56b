"""Checks what crates/formats/tests/torch.rs wrote into the current folder, as torch.load(weights_only=True) reads it."""

import numpy as np
from torch_files import load

found = load("all.pt")
cases = [line.rstrip("\n").split("\t") for line in open("cases.txt", encoding="utf8")]
assert list(found) == [name for name, _, _ in cases]
for name, dtype, want in cases:
    tensor, want = found[name], np.load(want)
    assert tensor.dtype == dtype, (name, tensor.dtype, dtype)
    array = tensor.array()
    if dtype == "bfloat16":
        array = (array.astype("u4") << 16).view("f4")
    assert array.shape == want.shape and array.tobytes() == want.tobytes(), name
assert load("empty.pth") == {}
