"""One conversion by one peer, in a process of its own: `convert_peers.py PEER CASE FOLDER` prints {"ms": …}.

The input files are convert_table.py's. Each peer does it the way its documentation shows, streaming where it can, and
syncs what it wrote, as ours does.
"""

import json
import os
import pathlib
import sys
import time


def blocks(rows, row_bytes):
    """Ranges of rows of about 16 MiB."""
    step = max(1, (16 << 20) // row_bytes)
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


class Numpy:
    """h5py and zarr work on NumPy's arrays: what it takes to get those is in their figures."""

    @staticmethod
    def map(path):
        import numpy as np

        return np.load(path, mmap_mode="r")

    @staticmethod
    def create(path, like):
        import numpy as np

        return np.lib.format.open_memmap(path, "w+", like.dtype, like.shape)


class pyarrow:
    @staticmethod
    def npy_to_parquet(folder):
        import pyarrow as pa
        import pyarrow.parquet as pq

        values = Numpy.map(folder / "m.npy")
        cells = pa.list_(pa.float32(), values.shape[1])
        schema = pa.schema([("value", cells)])
        with pq.ParquetWriter(folder / "out.parquet", schema, compression="snappy") as writer:
            for rows in blocks(len(values), values[0].nbytes):
                flat = pa.array(values[rows].reshape(-1))
                writer.write_table(pa.table([pa.FixedSizeListArray.from_arrays(flat, type=cells)], schema))

    @staticmethod
    def parquet_to_npy(folder):
        import numpy as np
        import pyarrow.parquet as pq

        file = pq.ParquetFile(folder / "m.parquet")
        dim = file.schema_arrow.field("value").type.list_size
        out = np.lib.format.open_memmap(folder / "out.npy", "w+", "<f4", (file.metadata.num_rows, dim))
        at = 0
        for batch in file.iter_batches(batch_size=32768):
            flat = batch.column(0).flatten().to_numpy()
            out[at : at + len(batch)] = flat.reshape(-1, dim)
            at += len(batch)
        out.flush()

    @staticmethod
    def csv_to_parquet(folder):
        import pyarrow.csv
        import pyarrow.parquet as pq

        with pyarrow.csv.open_csv(folder / "t.csv") as reader:
            with pq.ParquetWriter(folder / "out.parquet", reader.schema, compression="snappy") as writer:
                for batch in reader:
                    writer.write_batch(batch)

    @staticmethod
    def parquet_to_csv(folder):
        import pyarrow.csv
        import pyarrow.parquet as pq

        file = pq.ParquetFile(folder / "t.parquet")
        with pyarrow.csv.CSVWriter(folder / "out.csv", file.schema_arrow) as writer:
            for batch in file.iter_batches():
                writer.write_batch(batch)


class duckdb:
    @staticmethod
    def sql(statement):
        import duckdb

        duckdb.sql(statement)

    @staticmethod
    def csv_to_parquet(folder):
        duckdb.sql(f"COPY (FROM '{folder}/t.csv') TO '{folder}/out.parquet' (COMPRESSION snappy)")

    @staticmethod
    def parquet_to_csv(folder):
        duckdb.sql(f"COPY (FROM '{folder}/t.parquet') TO '{folder}/out.csv'")


class h5py:
    @staticmethod
    def npy_to_hdf5(folder):
        import h5py

        values = Numpy.map(folder / "m.npy")
        with h5py.File(folder / "out.h5", "w") as file:
            out = file.create_dataset("value", values.shape, values.dtype)
            for rows in blocks(len(values), values[0].nbytes):
                out[rows] = values[rows]

    @staticmethod
    def hdf5_to_npy(folder):
        import h5py

        with h5py.File(folder / "m.h5") as file:
            values = file["m"]
            out = Numpy.create(folder / "out.npy", values)
            for rows in blocks(len(values), values[0].nbytes):
                values.read_direct(out, rows, rows)
            out.flush()


class zarr:
    @staticmethod
    def hdf5_to_zarr(folder):
        import h5py
        import zarr

        with h5py.File(folder / "m.h5") as file:
            values = file["m"]
            step = max(1, (4 << 20) // values[0].nbytes)
            out = zarr.create_array(
                folder / "out.zarr", shape=values.shape, dtype=values.dtype, chunks=(step, values.shape[1])
            )
            for start in range(0, len(values), step * 8):
                out[start : start + step * 8] = values[start : start + step * 8]


def main():
    peer, case, folder = sys.argv[1:]
    convert = getattr(globals()[peer], case.replace(" ", "_"))
    if peer != "duckdb":
        __import__(peer)
    start = time.perf_counter()
    convert(pathlib.Path(folder))
    for path in pathlib.Path(folder).glob("out*"):
        for file in [path, *path.rglob("*")]:
            if file.is_file():
                with open(file, "rb+") as opened:
                    os.fsync(opened)
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3}))


main()
