"""How views.pt was made: PYTHONPATH=../../../../tests/python python make_torch.py, in this folder."""

from collections import OrderedDict

import numpy as np
from torch_files import Parameter, Storage, Tensor, save

base = np.arange(60, dtype="f4").reshape(5, 3, 4)
storage = Storage(base.reshape(-1))
ints = np.arange(12, dtype="u4").reshape(4, 3)
state = OrderedDict(
    whole=Tensor.of(base, "float32", storage),
    tail=Tensor.of(base[2:], "float32", storage),
    inner=Tensor.of(base[:, 1:, ::2], "float32", storage),
    parameter=Parameter(Tensor.of(ints.T, "uint32")),
    flags=Tensor.of(ints % 2 == 0, "bool"),
)
state._metadata = OrderedDict([("", {"version": 1})])
save({"model": state, "epoch": 3, "losses": [0.5, 0.25], "one": Tensor.of(np.array(7.5), "float64")}, "views.pt")
