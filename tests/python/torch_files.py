"""What torch.save writes and torch.load(weights_only=True) reads, without torch, which is too large to install for tests:
the names, the calls and the archive are torch's (torch/serialization.py, torch/_utils.py, torch/_weights_only_unpickler.py
of 2.9), the tensors are NumPy's. bfloat16 is a uint16 with that label."""

import collections
import io
import pickle
import pickletools
import struct
import sys
import types
import zipfile

import numpy as np

# dtype: storage class of torch, NumPy's dtype.
DTYPES = {
    "bool": ("BoolStorage", "?"), "uint8": ("ByteStorage", "u1"), "int8": ("CharStorage", "i1"),
    "int16": ("ShortStorage", "i2"), "int32": ("IntStorage", "i4"), "int64": ("LongStorage", "i8"),
    "float16": ("HalfStorage", "f2"), "bfloat16": ("BFloat16Storage", "u2"), "float32": ("FloatStorage", "f4"),
    "float64": ("DoubleStorage", "f8"), "complex64": ("ComplexFloatStorage", "c8"),
    "complex128": ("ComplexDoubleStorage", "c16"), "uint16": (None, "u2"), "uint32": (None, "u4"), "uint64": (None, "u8"),
    "float8_e4m3fn": (None, "u1"), "quint8": ("QUInt8Storage", "u1"),
}

for module in ["torch", "torch._utils", "torch.storage", "torch.nn", "torch.nn.parameter", "torch._tensor"]:
    sys.modules[module] = types.ModuleType(module)


def define(module, value, name=None):
    value.__module__, value.__qualname__ = module, name or value.__name__
    setattr(sys.modules[module], name or value.__name__, value)
    return value


class Constant:
    """A dtype, which torch pickles by its name."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return self.name


STORAGES = {None: define("torch.storage", type("UntypedStorage", (), {}))}
for name, (storage, _) in DTYPES.items():
    if storage:
        STORAGES[storage] = define("torch", type(storage, (), {}))
    constant = Constant(name)
    constant.__module__ = "torch"
    setattr(sys.modules["torch"], name, constant)
Size = define("torch", type("Size", (tuple,), {"__reduce__": lambda self: (Size, (tuple(self),))}))
Module = define("torch.nn", type("Module", (), {}))


class Storage:
    """Elements of one dtype, or bytes of any."""

    def __init__(self, array):
        self.array = np.ascontiguousarray(array)


class Tensor:
    def __init__(self, storage, dtype, offset, size, stride, metadata=None):
        self.storage, self.dtype, self.offset = storage, dtype, offset
        self.size, self.stride, self.metadata = tuple(size), tuple(stride), metadata

    @staticmethod
    def of(array, dtype, storage=None):
        """A view of the array's base, or of a storage that holds that."""
        base = array if array.base is None else array.base
        while base.base is not None:
            base = base.base
        start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        storage = storage or Storage(base.reshape(-1))
        step = array.itemsize
        return Tensor(storage, dtype, start // step, array.shape, [s // step for s in array.strides])

    def array(self):
        data = self.storage.array.view(DTYPES[self.dtype][1])
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride))
        assert 0 in self.size or 0 <= self.offset <= last < len(data), (self.offset, self.size, self.stride, len(data))
        strides = [s * data.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.size, strides)

    def __reduce_ex__(self, protocol):
        arguments = (self.storage, self.offset, self.size, self.stride, False, collections.OrderedDict())
        rebuild = rebuild_v2
        if DTYPES[self.dtype][0] is None:
            rebuild, arguments = rebuild_v3, (*arguments, getattr(sys.modules["torch"], self.dtype))
        self.storage.dtype = self.dtype
        return rebuild, arguments + ((self.metadata,) if self.metadata else ())


class Parameter:
    def __init__(self, data, state=None):
        self.data, self.state = data, state

    def __reduce_ex__(self, protocol):
        arguments = (self.data, True, collections.OrderedDict())
        return (rebuild_parameter_with_state, (*arguments, self.state)) if self.state else (rebuild_parameter, arguments)


def rebuild_v2(storage, offset, size, stride, requires_grad, hooks, metadata=None):
    assert requires_grad is False and hooks == {} and storage.dtype is not None
    return Tensor(storage, storage.dtype, offset, size, stride)


def rebuild_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    return Tensor(storage, dtype.name, offset, size, stride)


define("torch._utils", rebuild_v2, "_rebuild_tensor_v2")
define("torch._utils", rebuild_v3, "_rebuild_tensor_v3")
rebuild_parameter = define("torch._utils", lambda data, grad, hooks: data, "_rebuild_parameter")
rebuild_parameter_with_state = define(
    "torch._utils", lambda data, grad, hooks, state: data, "_rebuild_parameter_with_state"
)


def save(value, path, protocol=2, byteorder="little", folder="archive", extra={}):
    """As torch.save does."""
    storages, keys = [], {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, storage):
            if not isinstance(storage, Storage):
                return None
            if id(storage) not in keys:
                keys[id(storage)] = str(len(storages))
                storages.append(storage)
            kind = DTYPES[storage.dtype][0]
            elements = storage.array.nbytes if kind is None else storage.array.nbytes // np.dtype(DTYPES[storage.dtype][1]).itemsize
            return ("storage", STORAGES[kind], keys[id(storage)], "cpu", elements)

    data = io.BytesIO()
    Pickler(data, protocol).dump(value)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def record(name, content):
            info = zipfile.ZipInfo(f"{folder}/{name}")
            # Bytes start at a multiple of 64.
            fill = -(archive.fp.tell() + 30 + len(info.filename) + 4) % 64
            info.extra = b"FB" + struct.pack("<H", fill) + b"Z" * fill
            archive.writestr(info, content)

        record("data.pkl", data.getvalue())
        record(".format_version", "1")
        record(".storage_alignment", "64")
        record("byteorder", byteorder)
        for key, storage in enumerate(storages):
            array = storage.array
            if byteorder == "big":
                array = array.byteswap()
            record(f"data/{key}", array.tobytes())
        record("version", "3\n")
        record(".data/serialization_id", "0" * 40)
        for name, content in extra.items():
            record(name, content)


# What torch's restricted unpickler knows.
OPCODES = set(
    "APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT EMPTY_LIST EMPTY_SET "
    "EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWOBJ NEWTRUE NONE PROTO REDUCE SETITEM SETITEMS "
    "SHORT_BINSTRING STOP TUPLE TUPLE1 TUPLE2 TUPLE3".split()
)


def load(path):
    """As torch.load(path, weights_only=True) does."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        # torch takes the folder of the first entry.
        folder = archive.namelist()[0].split("/")[0]
        assert 1 <= int(archive.read(f"{folder}/version")) <= 10
        assert archive.read(f"{folder}/byteorder") == b"little"
        data = archive.read(f"{folder}/data.pkl")
        for opcode, argument, _ in pickletools.genops(data):
            assert opcode.name in OPCODES, opcode.name
            assert opcode.name != "PROTO" or argument == 2
        read = {}

        class Unpickler(pickle.Unpickler):
            def find_class(self, module, name):
                assert module == "torch" or (module, name) in [
                    ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"),
                    ("torch._utils", "_rebuild_tensor_v3"), ("torch.storage", "UntypedStorage"),
                ], (module, name)
                return super().find_class(module, name)

            def persistent_load(self, saved):
                kind, storage_type, key, location, elements = saved
                assert kind == "storage" and location == "cpu"
                dtype = next((d for d, (s, _) in DTYPES.items() if s == storage_type.__name__), "uint8")
                size = np.dtype(DTYPES[dtype][1]).itemsize
                if key not in read:
                    content = archive.read(f"{folder}/data/{key}")
                    assert len(content) == elements * size, (key, len(content), elements)
                    info = archive.getinfo(f"{folder}/data/{key}")
                    archive.fp.seek(info.header_offset + 26)
                    lengths = struct.unpack("<HH", archive.fp.read(4))
                    assert (info.header_offset + 30 + sum(lengths)) % 64 == 0
                    read[key] = Storage(np.frombuffer(content, "u1"))
                    read[key].dtype = dtype
                return read[key]

        return Unpickler(io.BytesIO(data)).load()
