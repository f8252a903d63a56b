"""One peer of the vector tables of docs/benchmarks.md: a process that loads the data and runs what it is told to.

usage: vector_peers.py PEER FOLDER THREADS

It searches data.npy and queries.npy of the folder. The first line that it prints is JSON: its operations, and a note or
an error. Each line that it then reads names one of them, and is answered by the milliseconds of one call and the rows
found. Libraries that read their number of threads from the environment find it there: vector_table.py sets it.
"""

import json
import pathlib
import sys
import tempfile
import time

import numpy as np

from vector_data import K, METRICS, nearest, recall

PEER, FOLDER, THREADS = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
X, Q = np.load(FOLDER / "data.npy"), np.load(FOLDER / "queries.npy")
N, D = X.shape
# Inserting takes sqlite-vec 70 µs per row: it is given these, and its times are scaled.
SQLITE_ROWS = 50_000
calls, notes = {}, []


def add(operation, call, rows=None, scale=1.0):
    """An operation; `rows` makes a list of rows per query out of its result, for the other side to check."""
    calls[operation] = (call, rows, scale)


def numpy():
    norms = np.linalg.norm(X, axis=1)
    squares = norms * norms
    out = np.empty((N, len(Q)), np.float32)

    # What ranks alike: the query's own norm changes no order.
    def l2(q):
        scores = q @ X.T
        scores *= -2
        scores += squares
        return scores

    def cosine(q):
        scores = q @ X.T
        scores /= -norms
        return scores

    add("product", lambda: X @ Q[0])
    add("batch product", lambda: X @ Q.T)
    add("batch product in place", lambda: np.matmul(X, Q.T, out=out))
    for score in (l2, cosine):

        def best(q, score=score):
            return np.argpartition(score(q), K, axis=-1)[..., :K]

        add(f"top_k {score.__name__}", lambda best=best: best(Q[0]), lambda r: [r])
        add(f"batch {score.__name__}", lambda best=best: best(Q), lambda r: r)


def faiss():
    import faiss

    faiss.omp_set_num_threads(THREADS)
    for metric in METRICS:
        data, queries = X, Q
        index = faiss.IndexFlatL2(D) if metric == "l2" else faiss.IndexFlatIP(D)
        if metric == "cosine":
            data, queries = X / np.linalg.norm(X, axis=1)[:, None], Q / np.linalg.norm(Q, axis=1)[:, None]
        index.add(data)
        add(f"top_k {metric}", lambda i=index, q=queries: i.search(q[:1], K), lambda r: r[1])
        add(f"batch {metric}", lambda i=index, q=queries: i.search(q, K), lambda r: r[1])


def usearch():
    from usearch.index import MetricKind, search

    for metric, kind in (("l2", MetricKind.L2sq), ("cosine", MetricKind.Cos)):

        def ask(query, kind=kind):
            return search(X, query, K, kind, exact=True, threads=THREADS)

        add(f"top_k {metric}", lambda ask=ask: ask(Q[0]), lambda r: [r.keys])
        add(f"batch {metric}", lambda ask=ask: ask(Q), lambda r: r.keys)


def numpack():
    from numpack.vector_engine import VectorEngine

    engine = VectorEngine()
    for metric in METRICS:
        add(f"top_k {metric}", lambda m=metric: engine.top_k_search(Q[0], X, m, K), lambda r: [r[0]])
        add(
            f"batch {metric}",
            lambda m=metric: engine.multi_query_top_k(Q, X, m, K),
            lambda r: np.reshape(r[0], (len(Q), K)),
        )


def table():
    import pyarrow

    values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(X.reshape(-1)), D)
    return pyarrow.table({"row": np.arange(N), "v": values})


def duckdb():
    import duckdb

    session = duckdb.connect()
    session.execute(f"SET threads = {THREADS}")
    rows = table()
    session.register("rows", rows)
    session.execute("CREATE TABLE docs AS SELECT * FROM rows")
    session.unregister("rows")
    for metric, function in (("l2", "array_distance"), ("cosine", "array_cosine_distance")):
        sql = f"SELECT row FROM docs ORDER BY {function}(v, $1::FLOAT[{D}]) LIMIT {K}"
        add(f"top_k {metric}", lambda sql=sql: session.execute(sql, [Q[0]]).fetchall(), lambda r: [[x[0] for x in r]])


def lance():
    import lance

    data = lance.write_dataset(table(), tempfile.mkdtemp(dir=FOLDER) + "/docs.lance")
    for metric in METRICS:
        ask = {"column": "v", "q": Q[0], "k": K, "metric": metric, "use_index": False}
        add(
            f"top_k {metric}",
            lambda ask=ask: data.to_table(nearest=ask, columns=["row", "_distance"]),
            lambda r: [r["row"].to_pylist()],
        )


def sqlite_vec():
    import apsw  # the sqlite3 of many Pythons loads no extensions
    import sqlite_vec

    base = apsw.Connection(":memory:")
    base.enable_load_extension(True)
    base.load_extension(sqlite_vec.loadable_path())
    n = min(N, SQLITE_ROWS)
    notes.append("it has one thread" + (f", and {n:,} rows, its times scaled to {N:,}" if n < N else ""))
    for metric in METRICS:
        base.execute(f"CREATE VIRTUAL TABLE {metric} USING vec0(v float[{D}] distance_metric={metric})")
        with base:
            rows = ((i, X[i].tobytes()) for i in range(n))
            base.executemany(f"INSERT INTO {metric}(rowid, v) VALUES (?, ?)", rows)
        sql = f"SELECT rowid FROM {metric} WHERE v MATCH ? AND k = {K}"
        ask = lambda sql=sql: [x[0] for x in base.execute(sql, (Q[0].tobytes(),))]
        add(f"top_k {metric}", ask, (lambda r: [r]) if n == N else None, N / n)
        if n < N:  # what it should find is known of all rows
            part = recall([ask()], nearest(X[:n], Q[:1], metric), X, Q, metric)
            if part < 1:
                notes.append(f"recall of {metric} {part:.2f}")


def answer(operation):
    call, rows, scale = calls[operation]
    start = time.perf_counter()
    result = call()
    ms = (time.perf_counter() - start) * 1e3 * scale
    if rows is None:
        return {"ms": ms, "checked": True}
    return {"ms": ms, "rows": [[int(x) for x in query] for query in rows(result)]}


def describe(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160] if lines else ''}"


def reply(message):
    print(json.dumps(message), flush=True)


try:
    peers = (numpy, faiss, usearch, numpack, duckdb, lance, sqlite_vec)
    {peer.__name__: peer for peer in peers}[PEER]()
    reply({"operations": list(calls), "notes": notes})
except Exception as error:  # an empty column, explained
    reply({"operations": list(calls), "notes": notes + [describe(error)]})
for line in sys.stdin:
    try:
        reply(answer(line.strip()))
    except Exception as error:
        reply({"error": describe(error)})
