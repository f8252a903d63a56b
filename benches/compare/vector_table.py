"""The vector section of docs/benchmarks.md."""

import sys
import time

import vector_data
from machine import figure
from vector_data import K, QUERIES
from vector_run import PEERS, ROUNDS, compare, fixed_cost

# What is shown, our operation, the system and operation that it is held against, the ratio that is aimed at.
AIMS = [
    ("`top_k`, l2, `$1`", "top_k l2", ("hyperslab", "sum"), 1.1),
    ("`top_k`, l2, a subquery", "subquery l2", ("hyperslab", "sum"), 1.1),
    ("`top_k`, cosine, `$1`", "top_k cosine", ("hyperslab", "sum"), 1.1),
    ("`ORDER BY l2_distance LIMIT`", "order by l2", ("hyperslab", "sum"), 1.1),
    ("`ORDER BY cosine_distance LIMIT`", "order by cosine", ("hyperslab", "sum"), 1.1),
    ("`top_k`, l2", "top_k l2", ("faiss", "top_k l2"), 1),
    ("`top_k`, cosine", "top_k cosine", ("faiss", "top_k cosine"), 1),
    ("8-bit sketch: `top_k`, l2", "sketch: top_k l2", ("numpy", "product"), 0.5),
    ("8-bit sketch: `top_k`, cosine", "sketch: top_k cosine", ("numpy", "product"), 0.5),
    ("8-bit sketch: `ORDER BY l2_distance LIMIT`", "sketch: order by l2", ("numpy", "product"), 0.5),
    (f"{QUERIES} queries, l2", "batch l2", ("numpy", "batch product"), 1.5),
    (f"{QUERIES} queries, cosine", "batch cosine", ("numpy", "batch product"), 1.5),
    (f"{QUERIES} queries, l2", "batch l2", ("numpy", "batch product in place"), None),
    (f"{QUERIES} queries, l2", "batch l2", ("faiss", "batch l2"), 0.125),
    ("a filter that keeps 1 %, `label = 3`", "filter 1 % by label l2", ("hyperslab", "top_k l2"), 0.2),
    ("a filter that keeps 50 %, `label < 50`", "filter 50 % by label l2", ("hyperslab", "top_k l2"), 1.2),
    ("a filter that keeps 1 %, `row % 100 = 3`", "filter 1 % l2", ("hyperslab", "top_k l2"), 0.2),
    ("a filter that keeps 50 %, `(row * 7919) % 1009 < 505`", "filter 50 % l2", ("hyperslab", "top_k l2"), 1.2),
]
AGAINST = {
    ("hyperslab", "sum"): "sum of the map",
    ("hyperslab", "top_k l2"): "no filter",
    ("numpy", "product"): "NumPy's `X @ q`",
    ("numpy", "batch product"): "NumPy's `X @ Q.T`",
    ("numpy", "batch product in place"): "the same, into memory that is there",
    ("faiss", "top_k l2"): "faiss IndexFlatL2",
    ("faiss", "top_k cosine"): "faiss IndexFlatIP",
    ("faiss", "batch l2"): "faiss IndexFlatL2",
}
BESIDE = ["top_k l2", "top_k cosine", "batch l2", "batch cosine"]
# What is shown, the statement, the milliseconds that are aimed at.
SEARCH = f"SELECT row, score FROM top_k('tiny', $1, {K}, metric => 'l2')"
FIXED = [
    ("`SELECT 1`", "SELECT 1", None),
    ("`top_k`, `$1` bound", SEARCH, 0.5),
    ("`top_k`, a scalar subquery", SEARCH.replace("$1", "(SELECT value FROM tiny WHERE row = 7)"), 0.5),
    ("`top_k`, a literal of 768 numbers", SEARCH.replace("$1", "[…]"), 2.0),
]
HEAD = """\
Exact top-{k} of float32 vectors, ours through SQL, from the text of the statement to the collected result, beside its floors
and peers, each with {threads} threads on the same data, in turns: the least of {turns} calls (of fewer that take long), after
one that warms up. Ratios below 1 are faster, in brackets are the milliseconds; *aim* is what the design promises for
1M × 128 and 200k × 768.
"""
NOTES = """\
- *Random*: normal; *clustered*: about a thousand Gaussian centres; *packages*: embeddings of descriptions, queried between
  two of them, as they are, and repeated with copies moved a little.
- The sum of the map reads the mapped array once, on the same threads. NumPy ranks with cached norms and `argpartition`;
  faiss searches IndexFlatL2, and IndexFlatIP over normalised vectors; usearch with `exact=True`; numpack its VectorEngine;
  duckdb `ORDER BY array_distance LIMIT`; lance without an index; sqlite-vec a `vec0` table.
"""


def aims(results):
    """The table of ratios, a column for each of the data."""
    yield "| | against | aim | " + " | ".join(results) + " |"
    yield "|---|---|---|" + "---|" * len(results)
    for what, operation, (system, base), aim in AIMS:
        cells = []
        for ms in results.values():
            ours, theirs = ms.get("hyperslab", {}).get(operation), ms.get(system, {}).get(base)
            cells.append(f"**{ours / theirs:.2f}** ({figure(ours)} / {figure(theirs)})" if ours and theirs else "–")
        goal = f"≤ {aim:g}" if aim else ""
        yield f"| {what} | {AGAINST[system, base]} | {goal} | " + " | ".join(cells) + " |"


def fixed(threads):
    """The table of what a search costs whatever it searches."""
    best = fixed_cost(threads, {name: sql for name, sql, _ in FIXED})
    yield "| | µs | aim |"
    yield "|---|---|---|"
    for name, _, aim in FIXED:
        goal = f"under {aim * 1000:.0f}" if aim else ""
        yield f"| {name} | {best[name] * 1000:.0f} | {goal} |"


def beside(ms):
    """The peers' table for one of the data: milliseconds per query."""
    yield "| | hyperslab | with the sketch | " + " | ".join(PEERS).replace("_", "-") + " |"
    yield "|---|---|---|" + "---|" * len(PEERS)
    for operation in BESIDE:
        per = QUERIES if operation.startswith("batch") else 1
        ours = ms.get("hyperslab", {})
        columns = [ours.get(operation), ours.get(f"sketch: {operation}")]
        columns += [ms.get(peer, {}).get(operation) for peer in PEERS]
        name = operation.replace("top_k", "one query,").replace("batch", f"{QUERIES} queries, per query,")
        yield f"| {name} | " + " | ".join(figure(x and x / per) for x in columns) + " |"


def rates(ms, shape):
    """The arithmetic of a batch, beside what the processor could do, and the time that an index took."""
    timed = [
        ("hyperslab, all of it", "hyperslab", "batch l2"),
        ("NumPy's `X @ Q.T`", "numpy", "batch product"),
        ("the same into memory that is there", "numpy", "batch product in place"),
        ("faiss", "faiss", "batch l2"),
    ]
    operations = 2 * shape[0] * shape[1] * QUERIES
    found = [(name, ms.get(system, {}).get(operation)) for name, system, operation in timed]
    rates = [f"{name} {operations / time / 1e6:.0f}" for name, time in found if time]
    if peak := ms["processor"]["gflops"]:
        rates.append(f"the processor, in registers, {peak:.0f}")
    yield "GFLOP/s of a batch: " + "; ".join(rates) + "."
    if built := ms["hyperslab"]["building the sketch"]:
        yield f"The sketch took {built / 1e3:.1f} s to build."


def data_sets(sizes):
    """By name, a function that makes rows and queries. `sizes` are pairs of rows and dimensions."""
    for rows, dim in sizes:
        short = f"{rows / 1e6:g}M" if rows >= 1e6 else f"{rows / 1e3:g}k"
        yield f"random, {short} × {dim}", lambda rows=rows, dim=dim: vector_data.random(rows, dim)
        yield f"clustered, {short} × {dim}", lambda rows=rows, dim=dim: vector_data.clustered(rows, dim)
    largest = max(rows for rows, _ in sizes)
    yield "packages, 6k × 384", vector_data.packages
    if largest > 6000:
        rows = min(largest, 300_000)
        yield f"packages repeated, {rows / 1e3:g}k × 384", lambda: vector_data.packages(rows)


def section(sizes, threads, word=""):
    """The lines of the page, for the data that have `word` in their name."""
    results, tables, notes, right = {}, [], {}, "Every answer"
    for name, make in data_sets(sizes):
        if word not in name:
            continue
        start = time.time()
        data, queries = make()
        ms, said, wrong = compare(threads, data, queries)
        print(f"{name}: {time.time() - start:.0f} s", *said, *wrong, sep="\n  ", file=sys.stderr)
        results[name] = ms
        notes |= dict.fromkeys(f"- {note}." for note in said)
        tables += ["", f"### {name[0].upper()}{name[1:]}", "", "Milliseconds per query.", "", *beside(ms), ""]
        tables += [*rates(ms, data.shape), *(f"- *Wrong*: {line}." for line in wrong)]
        right = "Every answer but for what is named above" if wrong else right
    return [
        *HEAD.format(k=K, threads=threads, turns=ROUNDS - 1).splitlines(),
        "",
        *aims(results),
        "",
        "What a search costs whatever it searches: 100 × 768, l2, through an open session.",
        "",
        *fixed(threads),
        *tables,
        "",
        f"- {right} was compared with the nearest rows in float64, and is as near.",
        *NOTES.splitlines(),
        *notes,
    ]
