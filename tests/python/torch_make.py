"""Files as torch.save writes them, and what they hold as .npy. cases.txt: file, tensor, .npy, one case a line. Argument:
seed."""

import collections
import os
import sys

import numpy as np
from torch_files import DTYPES, Module, Parameter, Size, Storage, Tensor, save

rng = np.random.default_rng(int(sys.argv[1]))
cases = open("cases.txt", "w")
count = 0


def expect(file, name, array, dtype):
    global count
    want = f"want{count}.npy"
    if dtype == "bfloat16":
        array = (array.astype("u4") << 16).view("f4")
    np.save(want, np.ascontiguousarray(array).reshape(array.shape or (1,)))
    count += 1
    print(file, name, want, sep="\t", file=cases)


def values(dtype, shape):
    numpy = np.dtype(DTYPES[dtype][1])
    if numpy.kind in "fc":
        return np.array(rng.normal(size=shape), numpy)
    if dtype == "bfloat16":
        return np.array(rng.normal(size=shape), "f4").view("u2")[..., 1::2].reshape(shape).copy() if shape else np.array(16000, "u2")
    size = int(np.prod(shape)) * numpy.itemsize
    bits = rng.integers(0, 2 if numpy.kind == "b" else 256, size=size, dtype="u1")
    return np.frombuffer(bits.tobytes(), numpy).reshape(shape).copy()


def views(array):
    """Views of an array of some axes: contiguous or not, of any start."""
    yield "whole", array
    if array.ndim:
        yield "tail", array[1:]
        yield "steps", array[::2]
        yield "first", array[:1]
        yield "many", np.broadcast_to(array, (3, *array.shape))
        if len(array):
            yield "rows", np.broadcast_to(array[:1], (5, *array.shape[1:]))
    if array.ndim > 1:
        yield "transposed", array.T
        yield "columns", array[:, 1:]
        yield "swapped", array.swapaxes(0, 1)
        if array.shape[1]:
            yield "column", array[:, 0]
        yield "cut", array.T[:, 1:]
    if array.ndim > 2:
        yield "last", array.swapaxes(1, 2)
        yield "inner", array[:, :, 1:2]
        yield "steps-in", array[:, ::2, ::2]
        yield "wide", np.broadcast_to(array[:, :1], array.shape)


readable = [d for d in DTYPES if d not in ["float8_e4m3fn", "quint8"]]
for byteorder in ["little", "big"]:
    for protocol in [2, 3, 4, 5]:
        file = f"{byteorder}-{protocol}.pt"
        state = collections.OrderedDict()
        for dtype in readable:
            for shape in [(), (0,), (7,), (0, 3), (3, 0), (9, 4), (5, 3, 4), (2, 3, 2, 5)]:
                base = values(dtype, shape)
                # One storage for all views of it.
                storage = Storage(base.reshape(-1))
                for view, array in views(base):
                    name = f"{dtype}.{'x'.join(map(str, shape)) or 'one'}.{view}"
                    tensor = Tensor.of(base, dtype, storage)
                    step = base.itemsize
                    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
                    tensor.offset = start // step if array.size else 0
                    tensor.size, tensor.stride = array.shape, tuple(s // step for s in array.strides)
                    state[name] = tensor
                    if protocol == 2 or view in ["whole", "transposed"]:
                        expect(file, name, array, dtype)
        state._metadata = collections.OrderedDict([("", {"version": 1})])
        save(state, file, protocol, byteorder, folder=file.removesuffix(".pt"))

large = values("float32", (300, 70))
save({"x": Tensor.of(large[10:, 3:50], "float32"), "t": Tensor.of(large.T, "float32")}, "large.pth")
expect("large.pth", "x", large[10:, 3:50], "float32")
expect("large.pth", "t", large.T, "float32")

one = values("int32", (4, 2))
tensor = lambda: Tensor.of(one, "int32")
save(tensor(), "alone.pt")
expect("alone.pt", "alone", one, "int32")
shared = [tensor()]
nest = {
    "epoch": 3, "lr": 1e-3, "name": "grüße", "none": None, "flag": True, "big": 1 << 80, "minus": -5, "long": 1 << 40,
    "raw": b"\0\1", "set": {1, 2}, "size": Size((4, 2)),
    "model": collections.OrderedDict([("a.weight", Parameter(tensor())), ("b", Parameter(tensor(), {"tag": "x"}))]),
    "optimizer": {"state": {0: {"step": tensor()}, 1: {"step": tensor()}}, "param_groups": [{"params": [0, 1]}]},
    "list": [tensor(), (tensor(), tensor())], "twice": [shared, shared],
}
save(nest, "nest.pt")
for name in [
    "model.a.weight", "model.b", "optimizer.state.0.step", "optimizer.state.1.step", "list.0", "list.1.0", "list.1.1",
    "twice.0.0", "twice.1.0",
]:
    expect("nest.pt", name, one, "int32")

# What is listed and refused when it is opened.
codes = values("uint8", (3, 2))
lazy = Tensor.of(values("complex64", (3,)), "complex64")
lazy.metadata = {"conj": True}
save({"f8": Tensor.of(codes, "float8_e4m3fn"), "q": Tensor.of(codes, "quint8"), "conj": lazy, "x": tensor()}, "refused.pt")
expect("refused.pt", "x", one, "int32")


# What is refused as a whole.
class Bad:
    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


save({"x": tensor(), "y": Bad(os.system, "touch hacked")}, "bad-system.pt")
save([Bad(eval, "1")], "bad-eval.pt", protocol=4)
save(Module(), "bad-module.pt")
save({"x": np.arange(3)}, "bad-numpy.pt")
save({"a": {"b": tensor()}, "a.b": tensor()}, "bad-twice.pt")
cycle = [tensor()]
cycle.append(cycle)
save(cycle, "bad-cycle.pt")
deep = tensor()
for _ in range(40):
    deep = [deep, deep]
save(deep, "bad-many.pt")
save({(1, 2): tensor()}, "bad-key.pt")
save({"x": tensor()}, "bad-script.pt", extra={"constants.pkl": b"\x80\x02)."})
for name, change in {
    "offset": dict(offset=1), "size": dict(size=(5, 2)), "stride": dict(stride=(2, 2)), "huge": dict(size=(1 << 40, 1 << 40)),
    "wide": dict(stride=(1 << 62, 1)), "minus": dict(stride=(-2, 1)), "axes": dict(size=(4,)), "far": dict(offset=1 << 63),
    "below": dict(size=(-4, 2)),
}.items():
    bad = tensor()
    for key, value in change.items():
        setattr(bad, key, value)
    save({"x": bad}, f"range-{name}.pt")
open("old.pt", "wb").write(bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024de9032e"))
open("tar.pt", "wb").write(b"\0" * 257 + b"ustar" + b"\0" * 512)
open("none.pt", "wb").write(b"something else")
