"""What the sections share: running a program, writing a figure, and saying what machine and packages there are."""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = [
    "numpy", "numpack", "npy-append-array", "zarr", "h5py", "pyarrow",
    "faiss-cpu", "usearch", "duckdb", "pylance", "sqlite-vec",
]  # fmt: skip


def run(command, **variables):
    """The JSON that a program prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **variables}, check=True, text=True)
    return json.loads(done.stdout)


def peer_libraries():
    """Where setup.sh puts what numpack's wheel lacks."""
    return str(next(iter(HERE.glob(".venv/lib/python3*/site-packages/numpack.libs")), ""))


def figure(ms):
    if ms is None:
        return "–"
    return f"{ms:.0f}" if ms >= 99.5 else f"{ms:.2g}" if ms >= 0.01 else f"{ms:.4f}"


def packages():
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"


def cpu():
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, cwd=HERE)
    return done.stdout.strip() or "unknown"


def describe(load_before):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{datetime.date.today()}, {cpu()}, {os.cpu_count()} cores, {memory:.0f} GiB, load {load_before:.1f} before the "
        f"run and {os.getloadavg()[0]:.1f} after it, {platform.system()} {platform.release()}, "
        f"Python {sys.version.split()[0]}, hyperslab at {commit()}.",
        "",
        ", ".join(packages()) + ".",
    ]
