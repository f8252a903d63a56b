"""How numpack.npkg was made, with NumPack 0.5.0 and without zstandard (so that files are packed with zlib), in this
folder."""

import shutil

import numpy as np
from numpack import NumPack, pack

with NumPack("numpack.npk", drop_if_exists=True) as store:
    store.save({"matrix": np.arange(120, dtype="i4").reshape(40, 3), "scores": np.arange(100) / 2, "flags": np.arange(9) % 2 == 0})
    store.drop("matrix", [3, 7])
    store.replace({"scores": np.array([-1.0])}, [4])
pack("numpack.npk", overwrite=True)
shutil.move("numpack.npk.npkg", "numpack.npkg")
shutil.rmtree("numpack.npk")
