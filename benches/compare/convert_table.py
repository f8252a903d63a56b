"""The conversion section of docs/benchmarks.md: `hyperslab convert` and the peers on the same files."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv

from machine import HERE, figure

DIM, COLUMNS = 128, 10
# At least two rounds, and more of what is short: how long it takes to write a file of 4 GiB varies by half.
ROUNDS, SECONDS = (2, 6), 120
LIMIT_MIB = 400
# What is shown; input and output, as options too, of `hyperslab convert`; peers by the case's name; the ratio aimed at.
CASES = [
    ("npy → parquet", "m.npy", "out.parquet", ["--option", "compression=snappy"], "npy to parquet", ["pyarrow"], 1.2),
    ("parquet → store", "m.parquet", "out.slab", [], "parquet to npy", ["pyarrow"], 1.2),
    ("store → HDF5", "m.slab", "out.h5", [], "npy to hdf5", ["h5py"], 1.2),
    ("HDF5 → npy", "m.h5", "out.npy", [], "hdf5 to npy", ["h5py"], 1.2),
    ("HDF5 → zarr", "m.h5", "out.zarr", [], "hdf5 to zarr", ["zarr"], 1.2),
    ("csv → parquet", "t.csv", "out.parquet", ["--option", "compression=snappy"], "csv to parquet",
     ["duckdb", "pyarrow"], 1.5),
    ("parquet → csv", "t.parquet", "out.csv", [], "parquet to csv", ["duckdb", "pyarrow"], 1.5),
]  # fmt: skip


class Watch(threading.Thread):
    """The most anonymous memory that a process had, in MiB; a map of a file is none."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.peak = process, 0
        self.start()

    def run(self):
        while self.process.poll() is None:
            try:
                lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            except OSError:
                return
            anonymous = [int(line.split()[1]) for line in lines if line.startswith("RssAnon")]
            self.peak = max([self.peak, *(kib >> 10 for kib in anonymous)])
            time.sleep(0.02)


def timed(command, **variables):
    """Seconds, what it printed, and its most anonymous memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}
    )
    watch = Watch(process)
    out, err = process.communicate()
    seconds = time.perf_counter() - start
    watch.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {err.strip()[-500:]}")
    return seconds, out, watch.peak


def remove(path):
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def inputs(program, folder, size):
    """m: one array of float32 × 128 as npy, store, Parquet and HDF5; t: a table of ten columns as CSV and Parquet. Each
    file is about as long as `size` bytes."""
    random = np.random.default_rng(7)
    rows = size // (DIM * 4)
    matrix = np.lib.format.open_memmap(folder / "m.npy", "w+", "<f4", (rows, DIM))
    for start in range(0, rows, 1 << 16):
        part = matrix[start : start + (1 << 16)]
        part[:] = random.standard_normal(part.shape, np.float32)
    matrix.flush()
    del matrix
    names = ["id", *(f"x{i}" for i in range(COLUMNS - 2)), "word"]
    plain = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with open(folder / "t.csv", "wb") as file:
        file.write(",".join(names).encode() + b"\n")
        block, id = 1 << 16, 0
        while file.tell() < size:
            numbers = np.round(random.standard_normal((COLUMNS - 2, block)), 6)
            words = [f"w{word}" for word in random.integers(0, 1000, block)]
            pyarrow.csv.write_csv(pa.table([np.arange(id, id + block), *numbers, words], names), file, plain)
            id += block
    for source, target in [("m.npy", "m.slab"), ("m.npy", "m.h5"), ("m.npy", "m.parquet"), ("t.csv", "t.parquet")]:
        timed([program, "convert", "--quiet", folder / source, folder / target])


def compare(program, folder):
    """By case: by system the least seconds, and the most MiB."""
    results = {}
    for name, source, target, options, case, peers, _ in CASES:
        times = results.setdefault(name, {})
        start = time.perf_counter()
        for round in range(ROUNDS[1]):
            if round >= ROUNDS[0] and time.perf_counter() - start > SECONDS:
                break
            # In turns, each of them first as often as last: what the one before freed is written faster.
            for system in ["hyperslab", *peers][:: -1 if round % 2 else 1]:
                for left in folder.glob("out*"):
                    remove(left)
                os.sync()
                if system == "hyperslab":
                    command = [program, "convert", "--quiet", folder / source, folder / target, *options]
                    seconds, _, peak = timed(command)
                else:
                    script = [sys.executable, str(HERE / "convert_peers.py"), system, case, str(folder)]
                    _, out, peak = timed(script)
                    seconds = json.loads(out)["ms"] / 1e3
                before = times.get(system, (seconds, peak))
                times[system] = (min(seconds, before[0]), max(peak, before[1]))
        print(f"{name}: {times}", file=sys.stderr)
        for left in folder.glob("out*"):
            remove(left)
    return results


def section(program, gib):
    """The lines of the page."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_DIR")))
    try:
        inputs(program, folder, int(gib * 2**30))
        results = compare(program, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    yield f"Files of {gib:g} GiB: float32 × {DIM}, and a table of {COLUMNS} columns. Seconds (MiB of anonymous memory at most), the"
    yield f"least of {ROUNDS[0]} to {ROUNDS[1]}, with the sync of what is written; ours is all of the process, the peers' begins after their"
    yield f"imports. Aims: the ratio, and under {LIMIT_MIB} MiB."
    yield ""
    yield "| | hyperslab | peers | ratio to the best | aim |"
    yield "|---|---|---|---|---|"
    for name, *_, aim in CASES:
        cells = {system: f"{figure(seconds)} ({peak})" for system, (seconds, peak) in results[name].items()}
        ours = cells.pop("hyperslab")
        best = min(seconds for system, (seconds, _) in results[name].items() if system != "hyperslab")
        ratio = results[name]["hyperslab"][0] / best
        peers = ", ".join(f"{system} {cell}" for system, cell in cells.items())
        yield f"| {name} | {ours} | {peers} | **{ratio:.2f}** | ≤ {aim:g} |"
    yield ""
    yield "- A peer that has no store writes a `.npy` instead, or reads one."
