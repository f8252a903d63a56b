"""Runs our program and the peers, each a process, on the same vectors: they take turns."""

import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

import vector_data
from machine import HERE, peer_libraries
from vector_data import FILTERS, K, LABEL, METRICS, QUERIES

PEERS = ["numpy", "faiss", "usearch", "numpack", "duckdb", "lance", "sqlite_vec"]
# How often a case has its turn, and after how many seconds of its own it has had enough.
ROUNDS, ENOUGH = 9, 1.5
# The first words of operations, in the order of their turns.
KINDS = ["sum", "product", "subquery", "order", "filter", "sketch:", "top_k", "batch"]


class Program:
    """A process that answers each line that it is sent by one of JSON; when it ends, every answer is an error."""

    def __init__(self, command, **variables):
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, **variables}, cwd=HERE, **pipe)

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # some libraries print of their own accord
                return json.loads(line)
        return {"error": f"ended with status {self.process.wait()}"}

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass
        return self.read()

    def close(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass
        self.process.wait()


class Hyperslab(Program):
    """Our side: statements through a session, on the arrays docs (and sketched, the same with an index) and queries."""

    built = None  # the milliseconds that the sketch index took

    def __init__(self, folder, threads):
        bench = ["bench", "--quiet", "-p", "hyperslab-benches", "-p", "hyperslab-cli", "--bench", "vectors", "--"]
        super().__init__([os.environ.get("CARGO", "cargo"), *bench, str(folder / "store"), str(threads)])

    def sql(self, sql, parameter=None, number=1):
        return self.ask(json.dumps({"sql": sql, "parameter": parameter, "number": number}))

    def must(self, sql):
        answer = self.sql(sql)
        if "error" in answer:
            raise RuntimeError(f"{sql}: {answer['error']}")

    def load(self, folder, query):
        """Makes the arrays; returns the operations and a note."""
        self.must(f"CREATE TABLE docs AS SELECT value, CAST({LABEL} AS INT) AS label FROM '{folder}/data.npy'")
        self.must(f"CREATE TABLE queries AS SELECT * FROM '{folder}/queries.npy'")
        query = [float(x) for x in query]
        operations = {"sum": {"sum": "docs"}, **statements("docs", query)}
        self.must("CREATE TABLE sketched AS SELECT * FROM docs")
        index = self.sql("CREATE INDEX s ON sketched USING sketch (value) WITH (bits = 8)")
        if "error" in index:
            return operations, [f"no sketch index: {index['error'].splitlines()[0]}"]
        self.built = index["ms"]
        sketched = {f"sketch: {name}": request for name, request in statements("sketched", query, False).items()}
        return {**operations, **sketched}, []


def statements(array, query, filters=True):
    """Requests by operation."""
    search = f"SELECT row, score FROM top_k('{array}', $1, {K}, metric => "
    out = {}
    for metric in METRICS:
        out[f"top_k {metric}"] = {"sql": f"{search}'{metric}')", "parameter": query}
        subquery = search.replace("$1", "(SELECT value FROM queries WHERE row = 0)")
        out[f"subquery {metric}"] = {"sql": f"{subquery}'{metric}')"}
        order = f"SELECT row FROM {array} ORDER BY {metric}_distance(value, $1) LIMIT {K}"
        out[f"order by {metric}"] = {"sql": order, "parameter": query}
        batch = f"top_k('{array}', queries => (SELECT row, value FROM queries), k => {K}, metric => '{metric}')"
        out[f"batch {metric}"] = {"sql": f"SELECT query_row, row, score FROM {batch}"}
    for name, (condition, _) in FILTERS.items() if filters else ():
        out[f"{name} l2"] = {"sql": f"{search}'l2', filter => {condition})", "parameter": query}
    return out


def by_query(answer):
    """The rows found, in a list per query."""
    if "query_row" not in answer:
        return [answer.get("row", [])]
    lists = [[] for _ in range(QUERIES)]
    for query, row in zip(answer["query_row"], answer["row"]):
        lists[query].append(row)
    return lists


def environment(threads):
    """What tells the libraries that ask the environment how many threads to use."""
    names = ["OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "RAYON_NUM", "TOKIO_WORKER", "LANCE_CPU"]
    # OpenBLAS's threads would wait in a loop, in the way of who has the next turn.
    waiting = {"OPENBLAS_THREAD_TIMEOUT": "20", "LD_LIBRARY_PATH": peer_libraries()}
    return {f"{name}_THREADS": str(threads) for name in names} | waiting


def check(operation, answer, true, data, queries):
    """What part of the rows to be found is there; 1 where there are none, such as for a sum."""
    kind, metric = operation.removeprefix("sketch: ").rsplit(" ", 1) if " " in operation else (operation, "")
    best = true.get(f"{kind if kind in ('batch', *FILTERS) else 'top_k'} {metric}")
    if best is None or "checked" in answer:
        return 1
    return vector_data.recall(answer.get("rows") or by_query(answer), best, data, queries, metric)


def measure(cases, true, data, queries):
    """Times by system and operation, the least of the turns; and what was wrong.

    A case is (system, operation, call); its call runs it once. All have a turn in each round, so that a neighbour on the
    machine disturbs all of them alike; the pauses are for threads of the one before that still wait in a loop. The first
    turn warms up, and checks the answer.
    """
    ms, spent, wrong = {}, {}, []
    for turn, (system, operation, call) in itertools.product(range(ROUNDS), cases):
        key = (system, operation)
        if spent.get(key, 0) > ENOUGH:
            continue
        time.sleep(0.02)
        answer = call()
        if "error" in answer:
            wrong.append(f"{system}, {operation}: {answer['error'].splitlines()[0]}")
            spent[key] = float("inf")
        elif turn == 0:
            part = check(operation, answer, true, data, queries)
            if part < 1:
                wrong.append(f"{system}, {operation}: recall {part:.3f}")
        else:
            times = ms.setdefault(system, {})
            times[operation] = min(answer["ms"], times.get(operation, answer["ms"]))
            spent[key] = spent.get(key, 0) + answer["ms"] / 1e3
    return ms, wrong


def compare(threads, data, queries):
    """Everyone on these vectors: times by system and operation (and the processor's rate), notes, and what was wrong."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("BENCH_DIR")))
    programs = []
    try:
        np.save(folder / "data.npy", data)
        np.save(folder / "queries.npy", queries)
        programs.append(Hyperslab(folder, threads))
        requests, notes = programs[0].load(folder, queries[0])
        cases = [
            ("hyperslab", name, lambda request=json.dumps(request): programs[0].ask(request))
            for name, request in requests.items()
        ]
        for peer in PEERS:
            script = [sys.executable, str(HERE / "vector_peers.py"), peer, str(folder), str(threads)]
            program = Program(script, **environment(threads))
            programs.append(program)
            hello = program.read()
            notes += [f"{peer}: {note}" for note in hello.get("notes", [hello.get("error")])]
            names = hello.get("operations", [])
            cases += [(peer, name, lambda program=program, name=name: program.ask(name)) for name in names]
        # Those of one operation one after the other, and what they are held against with them: whoever comes after a peer's
        # long turn finds its memory cold.
        cases.sort(key=lambda case: KINDS.index(case[1].split()[0]))
        ms, wrong = measure(cases, vector_data.truth(data, queries), data, queries)
        ms["hyperslab"]["building the sketch"] = programs[0].built
        ms["processor"] = {"gflops": max(programs[0].ask('{"peak": true}').get("gflops", 0) for _ in range(3))}
        return ms, notes, wrong
    finally:
        for program in programs:
            program.close()
        shutil.rmtree(folder, ignore_errors=True)


def fixed_cost(threads, statements):
    """What statements cost whatever they search, 100 × 768: the least milliseconds by name."""
    data, queries = vector_data.random(100, 768)
    literal, bound = "[" + ", ".join(str(x) for x in queries[0]) + "]", [float(x) for x in queries[0]]
    best = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        np.save(folder + "/data.npy", data)
        ours = Hyperslab(pathlib.Path(folder), threads)
        ours.must(f"CREATE TABLE tiny AS SELECT * FROM '{folder}/data.npy'")
        for _, (name, sql) in itertools.product(range(ROUNDS), statements.items()):
            answer = ours.sql(sql.replace("[…]", literal), bound if "$1" in sql else None, 20)
            if "error" in answer:
                raise RuntimeError(answer["error"])
            best[name] = min(answer["ms"], best.get(name, answer["ms"]))
        ours.close()
    return best
