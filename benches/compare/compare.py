"""Runs our programs and the peers and writes docs/benchmarks.md.

`make bench-compare` builds our programs, installs the peers and calls this; `make bench-compare ARGS=--quick` tries all
of it on little data and writes nothing.
"""

import argparse
import os
import pathlib

import convert_table
import store_table
import vector_table
from machine import HERE, describe

PAGE = HERE.parent.parent / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `make bench-compare`: the store, vector search and conversions beside their peers. All of a section was measured in
one run on one machine. Absolute times drift with the machine: the ratios count.
"""


def arguments():
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", metavar="PROGRAM", help="hyperslab-compare, our side of the store section")
    parser.add_argument("hyperslab", metavar="COMMAND", help="hyperslab, our side of the conversions")
    parser.add_argument("--quick", action="store_true", help="little data; prints the page and writes nothing")
    parser.add_argument("--rows", metavar="ROWSxCOLS", help="the store's array; 1000000x10 if not given")
    parser.add_argument("--size", action="append", metavar="ROWSxDIM", help="vectors; 1000000x128 and 200000x768")
    parser.add_argument("--data", metavar="WORD", help="only the vectors that have it in their name, such as random")
    parser.add_argument("--gib", type=float, help="of each file that is converted; 4")
    parser.add_argument("--only", metavar="SECTION", choices=["store", "vectors", "conversions"], help="only this section; the page keeps the others")
    parser.add_argument("--threads", type=int, default=cores, help=f"of each search; {cores}")
    parser.add_argument("--page", type=pathlib.Path, help=f"where to write; {PAGE.name} if neither this nor --quick")
    return parser.parse_args()


def shape(text):
    rows, columns = text.split("x")
    return int(rows), int(columns)


def main():
    options, load = arguments(), os.getloadavg()[0]
    # Who asks how many processors there are is told the same.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    rows = options.rows or ("20000x10" if options.quick else "1000000x10")
    sizes = options.size or (["20000x128", "4000x768"] if options.quick else ["1000000x128", "200000x768"])
    gib = options.gib or (1 / 64 if options.quick else 4)
    sections = {
        "store": ("The store", lambda: store_table.section(options.store, *shape(rows))),
        "vectors": (
            "Vector search",
            lambda: vector_table.section([shape(size) for size in sizes], options.threads, options.data or ""),
        ),
        "conversions": ("Conversions", lambda: convert_table.section(options.hyperslab, gib)),
    }
    chosen = [part for name, part in sections.items() if options.only in (None, name)]
    measured = {}
    for title, section in chosen:
        lines = list(section())
        measured[title] = "\n".join([*describe(load), "", *lines])
    page = written(measured, [title for title, _ in sections.values()], options.page or PAGE)
    if not options.quick:
        (options.page or PAGE).write_text(page)
    print(page)


def written(measured, titles, path):
    """The page: what is measured now, and the sections that it has of another time."""
    before = path.read_text().split("\n## ")[1:] if path.exists() else []
    before = {title: text.strip() for title, _, text in (part.partition("\n") for part in before)}
    parts = {**before, **measured}
    return INTRODUCTION + "".join(f"\n## {title}\n\n{parts[title]}\n" for title in titles if title in parts)


main()
