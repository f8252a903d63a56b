"""Tensors that pyarrow writes: t.parquet and t.arrow, of cells (2, 3), with plain columns beside."""
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

values = np.arange(4 * 6, dtype="f4").reshape(4, 2, 3)
tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
table = pa.table({
    "image": tensor,
    "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype="i2")), 2),
    "word": pa.array(["a", "b", "a", None]).dictionary_encode(),
    "when": pa.array(np.array(["2024-02-29", "2024-03-01", "NaT", "1969-12-31"], "M8[D]")),
})
parquet.write_table(table, "t.parquet")
with pa.ipc.new_file("t.arrow", table.schema) as file:
    file.write_table(table)
