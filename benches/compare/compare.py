"""Runs our program and the peers one after the other and writes docs/benchmarks.md.

usage: compare.py OUR_PROGRAM [ROWS COLS]
"""
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "benchmarks.md"
ROWS, COLS = (sys.argv[2:] + ["1000000", "10"])[:2] if len(sys.argv) > 2 else ("1000000", "10")

# What is shown, our figure, whom it is held against, the ratio that is aimed at.
TABLE = [
    ("save 38 MB, no fsync", "save", ("npy", "save"), 1.0),
    ("save, durable", "save, full", None, None),
    ("full load, owned copy", "full load", ("arrow", "full load"), 1.0),
    ("whole array as a view, summed", "view, summed", ("ours", "view, summed: floor"), 1.1),
    ("array of an open store", "lazy open", ("numpack", "lazy open"), 1.0),
    ("open the store, and the array", "open the store", ("npy", "lazy open"), 1.0),
    ("random 100 rows", "random 100", ("npy", "random 100"), 1.0),
    ("random 1,000 rows", "random 1000", ("npy", "random 1000"), 1.0),
    ("random 10,000 rows", "random 10000", ("npy", "random 10000"), 1.0),
    ("replace 100 rows, in a transaction", "replace 100", ("numpack", "replace 100"), 1.0),
    ("replace 100 scattered rows, in a transaction", "replace 100 scattered", ("npy", "replace 100 scattered"), None),
    ("append 100 rows, in a transaction", "append 100", ("numpack", "append 100"), 1.0),
    ("100 edits of 10 rows, with the commit", "100 edits of 10 rows", ("numpack", "100 edits of 10 rows"), 1.0),
    ("commit of 100 replaced rows, `os`", "replace 100, commit os", 0.1, 1.0),
    ("commit of 100 appended rows, `os`", "append 100, commit os", 0.1, 1.0),
    ("commit of 100 replaced rows, `full`", "replace 100, commit full", ("ours", "replace 100, commit full: floor"), 2.0),
    ("commit of 100 appended rows, `full`", "append 100, commit full", ("ours", "append 100, commit full: floor"), 2.0),
    ("sum of 1M × 128 after 1 % replaced, 1 % deleted", "sum 1M x 128, edited", ("ours", "sum 1M x 128"), 2.0),
]
PEERS = ["numpack", "npy", "npy-append-array", "zarr", "h5py", "arrow"]
PACKAGES = ["numpy", "numpack", "npy-append-array", "zarr", "h5py", "pyarrow"]


def run(command, **variables):
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **variables}, check=True, text=True)
    return json.loads(done.stdout)


def figure(ms):
    if ms is None:
        return "–"
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.2g}" if ms >= 0.01 else f"{ms:.4f}"


def packages():
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            pass


def cpu():
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, cwd=HERE)
    return done.stdout.strip() or "unknown"


def main():
    libs = next(iter(HERE.glob(".venv/lib/python3*/site-packages/numpack.libs")), "")
    peers = run([sys.executable, str(HERE / "peers.py"), ROWS, COLS], LD_LIBRARY_PATH=str(libs))
    figures = {"ours": run([sys.argv[1], ROWS, COLS]), **peers}
    load = os.getloadavg()[0]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench-compare`: the store beside its peers, in one run on one machine. Milliseconds, the best of",
        "a few repetitions, warm cache. Absolute times drift with the machine: the ratios count. Against a peer or floor",
        "below 1 is faster; *aim* is what the design promises.",
        "",
        f"{datetime.date.today()}, {cpu()}, {os.cpu_count()} cores, {memory():.0f} GiB, load {load:.1f} after the run, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, " + ", ".join(packages())
        + f", hyperslab at {commit()}. {int(ROWS):,} × {COLS} float32.",
        "",
        "| | hyperslab | " + " | ".join(PEERS) + " | against | ratio | aim |",
        "|---|" + "---|" * (len(PEERS) + 4),
    ]
    for what, key, against, aim in TABLE:
        ours = figures["ours"].get(key)
        if isinstance(against, tuple):
            base = figures.get(against[0], {}).get(against[1])
            name = f"floor, {figure(base)}" if "floor" in against[1] else f"clean, {figure(base)}" if against[0] == "ours" else against[0]
        else:
            base, name = against, "" if against is None else f"{against} ms"
        ratio = f"{ours / base:.2f}" if ours is not None and base else "–"
        cells = [figure(figures.get(peer, {}).get(key)) for peer in PEERS]
        goal = "" if aim is None else f"≤ {aim:g}"
        lines.append(f"| {what} | {figure(ours)} | " + " | ".join(cells) + f" | {name} | {ratio} | {goal} |")
    lines += [
        "",
        "- *Floors* of a commit are the calls that it cannot do without: a `pwrite` and `fdatasync` per data file (one for",
        "  an append, two for a replacement: addresses and values), the entry, its name, its folder. The floor of the view is the same sum over the",
        "  mapped `.npy`.",
        "- numpack's and npy's replace, append and edits commit nothing: they write to a file or map that nobody has made",
        "  durable, and cannot be rolled back. Ours are in a transaction; the 100 edits include its commit under `os`.",
        "- Python's call overhead is part of the peers' figures, as their users see it.",
        "",
    ]
    PAGE.write_text("\n".join(lines))
    print("\n".join(lines))


main()
