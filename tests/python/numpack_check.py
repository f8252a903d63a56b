"""Checks with NumPack what crates/formats/tests/numpack.rs wrote into the current folder."""

import sys

import numpy as np

try:
    from numpack import NumPack, unpack
except ImportError as e:
    print("SKIPPED: NumPack cannot be loaded:", str(e).splitlines()[0])
    sys.exit(0)

cases = [line.rstrip("\n").split("\t") for line in open("cases.txt", encoding="utf8")]
for package in ["zstd", "none", "best"]:
    unpack(f"{package}.npkg", f"{package}-unpacked.npk")
for path in ["all.npk", "zstd-unpacked.npk", "none-unpacked.npk", "best-unpacked.npk"]:
    with NumPack(path) as store:
        assert set(store.get_member_list()) == {name for name, _ in cases} | {"large"}
        for name, want in cases:
            want = np.load(want)
            assert tuple(store.get_shape(name)) == want.shape, (path, name)
            # NumPack itself cannot load an array without rows.
            if len(want) == 0:
                continue
            found = store.load(name)
            assert found.dtype == want.dtype and found.tobytes() == want.tobytes(), (path, name)
        # It goes on with such a store.
        large = store.load("large")
        store.append({"large": large[:3]})
        store.drop("large", [0, 5])
        assert (store.load("large") == np.delete(np.concatenate([large, large[:3]]), [0, 5], axis=0)).all()
