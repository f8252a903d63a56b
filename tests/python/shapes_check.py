"""pyarrow reads what COPY wrote of each dtype and shape: out_<dtype>_<axes>.parquet and .arrow, bit for bit."""
import glob, os
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet


def bits(column, dtype):
    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    while pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    assert column.null_count == 0
    if pa.types.is_boolean(column.type):
        return np.array(column.to_pylist(), "?").tobytes()
    width = column.type.bit_width // 8
    return column.buffers()[1].to_pybytes()[column.offset * width:(column.offset + len(column)) * width]


files = sorted(glob.glob("in_*.npy"))
assert len(files) == 22 * 3, len(files)
bad = []
for given in files:
    name = os.path.basename(given)[3:-4]
    want = np.load(given)
    for extension in ["parquet", "arrow"]:
        path = f"out_{name}.{extension}"
        table = parquet.read_table(path) if extension == "parquet" else pa.ipc.open_file(path).read_all()
        got = bits(table.column("value"), want.dtype)
        if got != want.tobytes():
            bad.append((path, table.schema.field("value").type))
        tensor = table.schema.field("value").type
        if want.ndim == 3 and extension == "arrow":
            assert isinstance(tensor, pa.FixedShapeTensorType) and list(tensor.shape) == [2, 3], (path, tensor)
assert not bad, bad
