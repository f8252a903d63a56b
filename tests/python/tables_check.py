"""pyarrow and NumPy read what COPY wrote, every value and shape, in the order of the rows. Argument: rows."""
import base64, csv, sys
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


def stored_schema(path):
    """The Arrow schema that a Parquet file carries."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(parquet.read_metadata(path).metadata[b"ARROW:schema"])))


def check(what, table, schema, rows=slice(None)):
    assert table.column_names == ["id", "vector", "image"], (what, table.column_names)
    tensor = schema.field("image").type
    assert isinstance(tensor, pa.FixedShapeTensorType) and list(tensor.shape) == [2, 3], (what, tensor)
    assert table.schema.field("vector").type.list_size == 3, (what, table.schema)
    assert table.schema.field("id").type == pa.int64(), (what, table.schema)
    for name, want in [("id", id), ("vector", vector), ("image", image)]:
        want = want[rows]
        got = values(table.column(name))
        assert got.dtype == want.dtype and np.array_equal(got.reshape(want.shape), want), (what, name)


for name, rows in [("all", slice(None)), ("some", id % 3 == 1)]:
    arrow = pa.ipc.open_file(f"{name}.arrow").read_all()
    check(f"{name}.arrow", arrow, arrow.schema, rows)
    # pyarrow does not make a tensor of a Parquet column whose items are not nullable, so the shape is read by hand.
    check(f"{name}.parquet", parquet.read_table(f"{name}.parquet"), stored_schema(f"{name}.parquet"), rows)
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
