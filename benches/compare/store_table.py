"""The store section of docs/benchmarks.md: the peers, then our program."""

import sys

from machine import HERE, figure, peer_libraries, run

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
    (
        "commit of 100 replaced rows, `full`",
        "replace 100, commit full",
        ("ours", "replace 100, commit full: floor"),
        2.0,
    ),
    ("commit of 100 appended rows, `full`", "append 100, commit full", ("ours", "append 100, commit full: floor"), 2.0),
    ("sum of 1M × 128 after 1 % replaced, 1 % deleted", "sum 1M x 128, edited", ("ours", "sum 1M x 128"), 2.0),
]
PEERS = ["numpack", "npy", "npy-append-array", "zarr", "h5py", "arrow"]


def section(program, rows, cols):
    """The lines of the page."""
    peers = run([sys.executable, str(HERE / "store_peers.py"), str(rows), str(cols)], LD_LIBRARY_PATH=peer_libraries())
    figures = {"ours": run([program, str(rows), str(cols)]), **peers}
    lines = [
        f"{rows:,} × {cols} float32. Milliseconds, the best of a few repetitions, warm cache. Against a peer or floor below",
        "1 is faster; *aim* is what the design promises.",
        "",
        "| | hyperslab | " + " | ".join(PEERS) + " | against | ratio | aim |",
        "|---|" + "---|" * (len(PEERS) + 4),
    ]
    for what, key, against, aim in TABLE:
        ours = figures["ours"].get(key)
        if isinstance(against, tuple):
            base = figures.get(against[0], {}).get(against[1])
            name = (
                f"floor, {figure(base)}"
                if "floor" in against[1]
                else f"clean, {figure(base)}" if against[0] == "ours" else against[0]
            )
        else:
            base, name = against, "" if against is None else f"{against} ms"
        ratio = f"{ours / base:.2f}" if ours is not None and base else "–"
        cells = [figure(figures.get(peer, {}).get(key)) for peer in PEERS]
        goal = "" if aim is None else f"≤ {aim:g}"
        lines.append(f"| {what} | {figure(ours)} | " + " | ".join(cells) + f" | {name} | {ratio} | {goal} |")
    return lines + [
        "",
        "- *Floors* of a commit are the calls that it cannot do without: a `pwrite` and `fdatasync` per data file (one for",
        "  an append, two for a replacement: addresses and values), the entry, its name, its folder. The floor of the",
        "  view is the same sum over the mapped `.npy`.",
        "- numpack's and npy's replace, append and edits commit nothing: they write to a file or map that nobody has made",
        "  durable, and cannot be rolled back. Ours are in a transaction; the 100 edits include its commit under `os`.",
        "- Python's call overhead is part of the peers' figures, as their users see it.",
    ]
