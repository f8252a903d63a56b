"""pyarrow and NumPy read what COPY wrote, every value and shape, in the order of the rows. Argument: rows."""
import csv, json, sys
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet

n = int(sys.argv[1])
id, vector, image = np.load("id.npy"), np.load("vector.npy"), np.load("image.npy")


def values(column):
    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column.flatten().to_numpy(zero_copy_only=False) if pa.types.is_fixed_size_list(column.type) else column.to_numpy()


def check(what, table, rows=slice(None)):
    assert table.column_names == ["id", "vector", "image"], (what, table.column_names)
    field = table.schema.field("image")
    if isinstance(field.type, pa.FixedShapeTensorType):
        shape = list(field.type.shape)
    else:
        meta = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        assert meta.get("ARROW:extension:name") == "arrow.fixed_shape_tensor", (what, field, meta)
        shape = json.loads(meta["ARROW:extension:metadata"])["shape"]
    assert shape == [2, 3], (what, shape)
    assert table.schema.field("vector").type.list_size == 3, (what, table.schema)
    assert table.schema.field("id").type == pa.int64(), (what, table.schema)
    for name, want in [("id", id), ("vector", vector), ("image", image)]:
        want = want[rows]
        got = values(table.column(name))
        assert got.dtype == want.dtype and np.array_equal(got.reshape(want.shape), want), (what, name)


check("parquet", parquet.read_table("all.parquet"))
check("arrow", pa.ipc.open_file("all.arrow").read_all())
check("arrow of a query", pa.ipc.open_file("some.arrow").read_all(), id % 3 == 1)
check("parquet of a query", parquet.read_table("some.parquet"), id % 3 == 1)
assert np.array_equal(np.load("vector_out.npy"), vector)
assert np.array_equal(np.load("image_out.npy"), image)
assert np.array_equal(np.load("backwards.npy"), id[::-1])
assert np.array_equal(np.load("hidden.npy"), vector[np.argsort(id * 48271 % 200003, kind="stable")])
with open("all.csv") as file:
    rows = csv.reader(file)
    header = next(rows)
    assert header[0] == "id", header
    count = 0
    for i, row in enumerate(rows):
        assert int(row[0]) == i, (i, row)
        numbers = " ".join(row[1:]).replace("[", " ").replace("]", " ").replace(",", " ").split()
        assert len(numbers) == 9 and np.array_equal(np.array(numbers[:3], "f4"), vector[i]), (i, row)
        assert np.array_equal(np.array(numbers[3:], "u1"), image[i].ravel()), (i, row)
        count += 1
    assert count == n, count
